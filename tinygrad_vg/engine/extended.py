"""Extended range: a gradient stored as an array times a power of two, which neither underflows nor overflows.

Rules are linear in g, and scaling by a power of two is exact. Therefore a walk that scales small gradients up to about
1 computes the same digits as a plain walk, with an exponent that has no bounds.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_vg.engine.graph import Plain, fit
from tinygrad_vg.engine.operations import Rule


class ExtendedArray:
    """The array `mantissa · 2**exponent`, with one exponent for all its elements.

    `backward(extended_range=True)` stores it in `.grad` and passes it to hooks. `np.asarray(x)` rounds it to the range
    of its dtype; `instruments.log10_norm` takes it without rounding.

    Attributes:
        mantissa: a read-only array.
        exponent: a Python integer, which has no smallest or largest.

    >>> import tinygrad_vg as tg
    >>> x = tg.Tensor(1e300, requires_grad=True)
    >>> (x * 1e-200 * 1e-200 * 1e-200).backward(extended_range=True)
    >>> float(x.grad), round(tg.instruments.log10_norm(x.grad), 9)
    (0.0, -600.0)
    >>> x.grad.shape, x.grad.dtype
    ((), dtype('float64'))
    """

    __slots__ = ("mantissa", "exponent")

    def __init__(self, mantissa: Any, exponent: int = 0) -> None:
        self.mantissa = np.asarray(mantissa)[...]
        self.mantissa.setflags(write=False)  # several gradients may share it
        self.exponent = exponent

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the mantissa."""
        return self.mantissa.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the mantissa."""
        return self.mantissa.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        wide = self.mantissa if dtype is None else self.mantissa.astype(dtype)  # first, for it may have more range
        return np.asarray(shifted(wide, self.exponent), wide.dtype)

    def __float__(self) -> float:
        return float(np.asarray(self))

    def __repr__(self) -> str:
        return f"ExtendedArray({self.mantissa!r} * 2**{self.exponent})"

    def __add__(self, term: Any) -> "ExtendedArray":
        """The sum, at the larger of the two exponents. The digits lost from the other term lie below the sum's own."""
        other: ExtendedArray = term if isinstance(term, ExtendedArray) else ExtendedArray(term)
        if self.exponent != other.exponent:  # zeros may have a large exponent, which must not cost the other its digits
            if not other.mantissa.any():
                return self
            if not self.mantissa.any():
                return other
        exponent = max(self.exponent, other.exponent)
        terms = [shifted(each.mantissa, each.exponent - exponent) for each in (self, other)]
        return ExtendedArray(terms[0] + terms[1], exponent).rescaled()

    __radd__ = __add__
    __array_ufunc__ = None  # makes `array + extended` call __radd__; NumPy would round first

    def through(self, rule: Callable[..., Any], y: Any, *args: Any, **kwargs: Any) -> "ExtendedArray":
        """The rule's result for this gradient: `rule(g, y, *args, **kwargs)`.

        >>> ExtendedArray(3.0, exponent=2).through(lambda g, y, a: g * a, None, 5.0)
        ExtendedArray(array(15.) * 2**2)
        """
        with np.errstate(over="ignore", invalid="ignore"):
            share = rule(self.mantissa, y, *args, **kwargs)
        largest = largest_exponent(self.mantissa)
        if largest is not None and largest > 0 and not np.all(np.isfinite(share)):
            # The result has overflowed: apply the rule again, to a mantissa below 1.
            return ExtendedArray(shifted(self.mantissa, -largest), self.exponent + largest).through(
                rule, y, *args, **kwargs
            )
        return ExtendedArray(share, self.exponent).rescaled()

    def rescaled(self) -> "ExtendedArray":
        """The same numbers with a mantissa whose largest element is at least 1/2; scaling up loses no digit.

        A mantissa with a larger element is unchanged, for scaling down could lose its small elements.

        >>> ExtendedArray([0.125, -0.25]).rescaled()
        ExtendedArray(array([ 0.25, -0.5 ]) * 2**-1)
        """
        exponent = largest_exponent(self.mantissa)
        if exponent is None or exponent >= 0:
            return self
        return ExtendedArray(shifted(self.mantissa, -exponent), self.exponent + exponent)


def shifted(array: Any, exponent: int) -> Any:
    """array · 2**exponent, where an exponent beyond the range of the floats gives 0 or infinity."""
    with np.errstate(over="ignore"):
        return np.ldexp(array, max(-40_000, min(40_000, exponent)))


def largest_exponent(array: Any) -> int | None:
    """The exponent of the smallest power of two above the largest magnitude; None if that is 0 or not finite."""
    largest = np.max(np.abs(array), initial=0.0)
    return int(np.frexp(largest)[1]) if 0 < largest < np.inf else None


class Extended(Plain):
    """The mode of a walk in extended range: every gradient is an ExtendedArray."""

    def apply(self, rule: Rule, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> ExtendedArray:
        g, *seen = arguments
        return g.through(rule, *seen, **kwargs)  # type: ignore[no-any-return]

    def fit(self, g: ExtendedArray, value: Any) -> ExtendedArray:
        return ExtendedArray(fit(g.mantissa, value), g.exponent).rescaled()

    def shown(self, g: ExtendedArray) -> ExtendedArray:
        return g  # its mantissa is read-only

    def replaced(self, replacement: Any, vertex: Any) -> ExtendedArray:
        if isinstance(replacement, ExtendedArray):
            return ExtendedArray(super().replaced(replacement.mantissa, vertex), replacement.exponent)
        return ExtendedArray(super().replaced(replacement, vertex))


EXTENDED = Extended()
