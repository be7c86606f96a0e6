"""The notation that pictures, tables and sentences share: decades, signs and subscripts; and quantiles of decades.

A decade is a factor of 10: decades are differences of log10.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOT_COMPUTED = "–"
BROKEN = "#ff00ff"  # magenta, the colour of NaN and infinity: no colormap, fill or line uses it for anything else
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def with_minus(words: str) -> str:
    """The same text with minus signs, which are as wide as a plus, in place of hyphens.

    >>> with_minus("-2 ± 1")
    '−2 ± 1'
    """
    return words.replace("-", "−")


def decades(x: float, digits: int = 2) -> str:
    """A difference of logarithms with its sign; without a sign if its digits are all 0.

    >>> decades(-0.674), decades(2, digits=3), decades(-0.001), decades(-math.inf), decades(math.nan)
    ('−0.67', '+2.000', '0.00', '−∞', 'NaN')
    """
    if math.isnan(x):
        return "NaN"
    words = f"{x:+.{digits}f}"
    return with_minus(words if float(words) else words[1:]).replace("inf", "∞")


def magnitude(log10: float) -> str:
    """A logarithm, with a sign only if it is negative; that of 0 is −∞.

    >>> magnitude(-2.314), magnitude(0.5), magnitude(-math.inf)
    ('−2.31', '0.50', '−∞')
    """
    return decades(log10).removeprefix("+")


def subscripted(letter: str, number: int) -> str:
    """A letter with the number of a layer as subscript.

    >>> subscripted("z", 12)
    'z₁₂'
    """
    return f"{letter}{number}".translate(_SUBSCRIPTS)


def quantiles(values: Floats, share: float) -> Floats:
    """Quantiles along the last axis by linear interpolation, without the NaN; NaN where all values are NaN.

    Infinities count as the smallest and the largest number. A quantile between an infinity and another number is the
    nearer of the two; half-way between them it is their mean, the infinity.

    Args:
        values: (..., n), n ≥ 1.
        share: the share of the values that lie below the quantile, from 0 to 1.

    Returns:
        The quantiles, (...).

    >>> quantiles(np.array([[1.0, 2.0, np.nan, 4.0], [-np.inf, 1.0, 2.0, 3.0]]), 0.25)
    array([1.5, 1. ])
    """
    ordered = np.sort(values, axis=-1)  # NaN goes last
    place = share * np.maximum(np.sum(~np.isnan(values), axis=-1, keepdims=True) - 1, 0)
    low = np.take_along_axis(ordered, np.floor(place).astype(int), axis=-1)
    high = np.take_along_axis(ordered, np.ceil(place).astype(int), axis=-1)
    part = place % 1
    with np.errstate(invalid="ignore"):  # inf − inf is replaced below, or lies half-way between −∞ and ∞: NaN
        between = low + (high - low) * part
        nearest = np.select([part < 0.5, part > 0.5], [low, high], low + high)
    return np.where(np.isfinite(low) & np.isfinite(high), between, nearest)[..., 0]


def median(values: Any) -> float:
    """The median of all values that are not NaN; NaN if there are none.

    −∞, the logarithm of 0, counts as the smallest number. The median of −∞ and one other number is −∞.

    >>> median([-math.inf, math.nan, -1.0, 0.0]), median([-math.inf, 1.0]), median([math.nan])
    (-1.0, -inf, nan)
    """
    known = np.ravel(np.asarray(values, np.float64))
    known = known[~np.isnan(known)]
    return float(quantiles(known, 0.5)) if len(known) else math.nan
