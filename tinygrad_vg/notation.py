"""What pictures, tables and sentences write in the same way: decades, signs, subscripts; and their median."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOT_COMPUTED = "–"
BROKEN = "#ff00ff"  # NaN and infinity, magenta: no colormap, fill or line of the pictures has this colour
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def with_minus(words: str) -> str:
    """Numbers with the minus sign of print, which is as wide as the plus beside it.

    >>> with_minus("-2 ± 1")
    '−2 ± 1'
    """
    return words.replace("-", "−")


def decades(x: float, digits: int = 2) -> str:
    """A difference of logarithms, with its sign unless the digits show 0.

    >>> decades(-0.674), decades(2, digits=3), decades(-0.001), decades(-math.inf), decades(math.nan)
    ('−0.67', '+2.000', '0.00', '−∞', 'NaN')
    """
    if math.isnan(x):
        return "NaN"
    words = f"{x:+.{digits}f}"
    return with_minus(words if float(words) else words[1:]).replace("inf", "∞")


def magnitude(log10: float) -> str:
    """A logarithm, which has a sign only below 0; −∞ is that of 0.

    >>> magnitude(-2.314), magnitude(0.5), magnitude(-math.inf)
    ('−2.31', '0.50', '−∞')
    """
    return decades(log10).removeprefix("+")


def subscripted(letter: str, number: int) -> str:
    """A letter with a layer's number.

    >>> subscripted("z", 12)
    'z₁₂'
    """
    return f"{letter}{number}".translate(_SUBSCRIPTS)


def quantiles(values: Floats, share: float) -> Floats:
    """The quantiles along the last axis of what is not NaN, by linear interpolation; NaN where nothing is left.

    Infinities are the smallest and the largest of numbers. Between one of them and another number there is no
    interpolation: the nearer one is taken, and half-way their mean, which is the infinity.

    Args:
        values: (..., n), n ≥ 1.
        share: of the values that lie below, from 0 to 1.

    Returns:
        (...).

    >>> quantiles(np.array([[1.0, 2.0, np.nan, 4.0], [-np.inf, 1.0, 2.0, 3.0]]), 0.25)
    array([1.5, 1. ])
    """
    ordered = np.sort(values, axis=-1)  # NaN goes last
    place = share * np.maximum(np.sum(~np.isnan(values), axis=-1, keepdims=True) - 1, 0)
    low = np.take_along_axis(ordered, np.floor(place).astype(int), axis=-1)
    high = np.take_along_axis(ordered, np.ceil(place).astype(int), axis=-1)
    part = place % 1
    with np.errstate(invalid="ignore"):  # inf − inf: not used, or half-way between the two infinities, where it is NaN
        between = low + (high - low) * part
        nearest = np.select([part < 0.5, part > 0.5], [low, high], low + high)
    return np.where(np.isfinite(low) & np.isfinite(high), between, nearest)[..., 0]


def median(values: Any) -> float:
    """The median of all numbers that are not NaN; −∞, the logarithm of 0, counts as the smallest.

    NaN if there is none. A median of −∞ and a number is −∞.

    >>> median([-math.inf, math.nan, -1.0, 0.0]), median([-math.inf, 1.0]), median([math.nan])
    (-1.0, -inf, nan)
    """
    known = np.ravel(np.asarray(values, np.float64))
    known = known[~np.isnan(known)]
    return float(quantiles(known, 0.5)) if len(known) else math.nan
