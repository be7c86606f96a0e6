"""Magnitudes in decades (log10), over the whole range of the floats."""

import math
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray, Tensor


def log10_norm(array: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """log10 of the Euclidean norm ‖x‖, accurate from the smallest to the largest number of every float type.

    `np.linalg.norm` squares in the array's own type, which gives 0 below 1e-23 and infinity above 1e19 in float32. This
    function squares in float64. Where the squares leave its range too, it first scales the largest element to the
    neighbourhood of 1 by a power of two, which is exact.

    Args:
        array: an array, Tensor or ExtendedArray.
        axis: the axes over which the norm is taken; all if None.

    Returns:
        log10‖x‖ in decades, float64: a float for `axis=None`, else an array without those axes. It is −inf for the
        norm 0, NaN if an element is NaN, and inf if an element is infinite.

    >>> import numpy as np
    >>> from tinygrad_vg.instruments import log10_norm
    >>> x = np.full(4, 1e-30, np.float32)
    >>> float(np.linalg.norm(x)), round(log10_norm(x), 6)
    (0.0, -29.69897)
    """
    if isinstance(array, ExtendedArray):
        return log10_norm(array.mantissa, axis) + array.exponent * math.log10(2)
    x = array.data if isinstance(array, Tensor) else np.asarray(array)
    x = x if x.dtype == np.longdouble else x.astype(np.float64)
    with np.errstate(all="ignore"):
        squares = np.sum(x * x, axis=axis, keepdims=True)
        decades = (0.5 * np.log10(squares)).astype(np.float64)
        is_direct = (squares > 1e-200) & (squares < 1e200)
    if not is_direct.all():  # each norm has the same bits whatever stands beside it
        decades = np.where(is_direct, decades, _of_scaled(np.abs(x), axis))
    return float(decades.item()) if axis is None else np.squeeze(decades, axis)


def _of_scaled(x: Any, axis: int | tuple[int, ...] | None) -> Any:
    """log10 of the norm, with axes of length 1 in place of `axis`, of numbers whose squares leave the range."""
    largest = np.max(x, axis=axis, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):  # inf · 0 and the like; such results are replaced below
        _, exponent = np.frexp(largest)
        half = -exponent // 2  # in two steps: the scale of the smallest numbers is beyond the floats
        one = x.dtype.type(1)
        scaled = x * np.ldexp(one, half) * np.ldexp(one, -exponent - half)
        squares = np.sum(scaled * scaled, axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):  # log10(0) = −inf is the right answer
        decades = exponent * math.log10(2) + 0.5 * np.log10(squares)
    return np.where(np.isfinite(largest), decades, largest).astype(np.float64)


def log10_norms(x: Any) -> Any:
    """log10_norm over the last axis, in a fraction of the time if the squares stay in the range of float64.

    >>> import numpy as np
    >>> log10_norms(np.array([[3.0, 4.0], [1e-200, 0.0]])).round(6)
    array([   0.69897, -200.     ])
    """
    if x.dtype != np.longdouble:
        wide = x.astype(np.float64, copy=False)
        squares = np.einsum("...i,...i->...", wide, wide)
        if np.all((squares > 1e-200) & (squares < 1e200)):
            return 0.5 * np.log10(squares)
    return log10_norm(x, axis=-1)


def array_of(gradient: Any) -> Any:
    """The array of a gradient: the data of a Tensor, the mantissa of an ExtendedArray."""
    if isinstance(gradient, ExtendedArray):
        return gradient.mantissa
    return gradient.data if isinstance(gradient, Tensor) else gradient


def decades_beside(gradient: Any) -> float:
    """The exponent of an ExtendedArray in decades; 0 for other gradients."""
    return gradient.exponent * math.log10(2) if isinstance(gradient, ExtendedArray) else 0.0
