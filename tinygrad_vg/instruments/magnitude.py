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
    x = x.astype(x.dtype if x.dtype == np.longdouble else np.float64, order="C", copy=False)
    if axis is None:
        x = x.reshape(-1)
    elif axis != -1:
        axes = axis if isinstance(axis, tuple) else (axis,)
        x = np.moveaxis(x, axes, range(-len(axes), 0))
        x = np.ascontiguousarray(x.reshape(*x.shape[: -len(axes)], math.prod(x.shape[-len(axes) :])))
    with np.errstate(all="ignore"):
        squares = np.einsum("...i,...i->...", x, x)
        decades = (0.5 * np.log10(squares)).astype(np.float64)
        is_direct = (squares > 1e-200) & (squares < 1e200)
    if not is_direct.all():  # each norm has the same bits whatever stands beside it
        decades = np.where(is_direct, decades, _of_scaled(np.abs(x)))
    return float(decades) if axis is None else decades


def _of_scaled(x: Any) -> Any:
    """log10 of the norm over the last axis, of numbers whose squares leave the range."""
    largest = np.max(x, axis=-1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):  # inf · 0 and the like; such results are replaced below
        _, exponent = np.frexp(largest)
        half = -exponent // 2  # in two steps: the scale of the smallest numbers is beyond the floats
        one = x.dtype.type(1)
        scaled = x * np.ldexp(one, half) * np.ldexp(one, -exponent - half)
        squares = np.sum(scaled * scaled, axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):  # log10(0) = −inf is the right answer
        decades = exponent * math.log10(2) + 0.5 * np.log10(squares)
    return np.where(np.isfinite(largest), decades, largest).astype(np.float64)[..., 0]


def array_of(gradient: Any) -> Any:
    """The array of a gradient: the data of a Tensor, the mantissa of an ExtendedArray."""
    if isinstance(gradient, ExtendedArray):
        return gradient.mantissa
    return gradient.data if isinstance(gradient, Tensor) else gradient


def decades_beside(gradient: Any) -> float:
    """The exponent of an ExtendedArray in decades; 0 for other gradients."""
    return gradient.exponent * math.log10(2) if isinstance(gradient, ExtendedArray) else 0.0
