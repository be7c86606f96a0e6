"""NumPy's differences, running sums and products, interpolation and polynomials; and ufunc.accumulate."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_vg.engine.composites import concatenate
from tinygrad_vg.engine.operations import NO_RULES, Recordable, composite, defvjp, differentiable, operation
from tinygrad_vg.engine.rules import of_list
from tinygrad_vg.engine.selecting import take_along_axis

# Differences.


def _along(axis: int, part: slice) -> tuple[Any, ...]:
    """An index of a part of one axis."""
    return (*[slice(None)] * axis, part)


def _spread(end: Any, a: Any, axis: int) -> Any:
    """The array that is put before or after another one; a number is spread along the whole side."""
    shape = np.shape(a)
    return np.broadcast_to(end, (*shape[:axis], 1, *shape[axis + 1 :])) if np.ndim(end) == 0 else end


@composite(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """np.diff, by np.subtract of two slices.

    Raises:
        ValueError: for a negative order.
    """
    if n < 0:
        raise ValueError(f"the order of a difference is 0 or larger, not {n}")
    axis = normalize_axis_index(axis, np.ndim(a))
    parts = [None if prepend is None else _spread(prepend, a, axis), a]
    parts.append(None if append is None else _spread(append, a, axis))
    given = [part for part in parts if part is not None]
    a = concatenate(given, axis) if len(given) > 1 else a
    for _ in range(n):
        a = a[_along(axis, slice(1, None))] - a[_along(axis, slice(None, -1))]
    return a


@composite(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """np.ediff1d, by `diff` of the elements in one row."""
    parts = [to_begin, diff(np.ravel(ary)), to_end]
    given = [p if isinstance(p, Recordable) else np.asarray(p, ary.dtype) for p in parts if p is not None]
    return concatenate(given, None)


def _slopes(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """The slopes along an axis, at distances h (n − 1,): of a parabola through three points, at the ends of a line."""
    f = np.moveaxis(f, axis, -1)
    left, right = h[:-1], h[1:]
    inner = (
        -right / (left * (left + right)) * f[..., :-2]
        + (right - left) / (left * right) * f[..., 1:-1]
        + left / (right * (left + right)) * f[..., 2:]
    )
    if edge_order == 1:
        first, last = (f[..., 1:2] - f[..., :1]) / h[:1], (f[..., -1:] - f[..., -2:-1]) / h[-1:]
    else:
        p, q = h[:1], h[1:2]
        first = (
            -(2 * p + q) / (p * (p + q)) * f[..., :1] + (p + q) / (p * q) * f[..., 1:2]
            - p / (q * (p + q)) * f[..., 2:3]
        )  # fmt: skip
        p, q = h[-2:-1], h[-1:]
        last = (
            q / (p * (p + q)) * f[..., -3:-2] - (p + q) / (p * q) * f[..., -2:-1]
            + (2 * q + p) / (q * (p + q)) * f[..., -1:]
        )  # fmt: skip
    return np.moveaxis(concatenate([first, inner, last], -1), -1, axis)


@composite(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """np.gradient, by sums of slices; distances or coordinates may be Tensors.

    Raises:
        ValueError: for another edge_order than 1 and 2, or fewer than edge_order + 1 elements.
        TypeError: if the number of distances does not match the axes.
    """
    f = of_list(f)
    f = f if f.dtype.kind == "f" else f.astype(np.float64)
    axes = tuple(range(np.ndim(f))) if axis is None else normalize_axis_tuple(axis, np.ndim(f))
    steps = varargs or (1.0,)
    steps = steps * len(axes) if len(steps) == 1 and np.ndim(steps[0]) == 0 else steps
    if len(steps) != len(axes):
        raise TypeError(f"np.gradient got {len(varargs)} distances for {len(axes)} axes")
    if edge_order not in (1, 2):
        raise ValueError("edge_order is 1 or 2")
    found = []
    for i, step in zip(axes, steps, strict=True):
        n = np.shape(f)[i]
        if n < edge_order + 1:
            raise ValueError(f"np.gradient needs {edge_order + 1} elements along an axis, not {n}")
        if np.ndim(step) and np.shape(step) != (n,):
            raise ValueError(f"np.gradient got {np.shape(step)} coordinates for an axis of {n}")
        h = np.diff(step) if np.ndim(step) else step * np.ones(n - 1, f.dtype)
        found.append(_slopes(f, h.astype(f.dtype), i, edge_order))
    return found[0] if len(found) == 1 else tuple(found)


@composite(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """np.trapezoid, by the sum of the means of neighbours times their distance."""
    y, axis = of_list(y), normalize_axis_index(axis, np.ndim(y))
    if x is not None:
        dx = np.diff(x) if np.ndim(x) == 1 else np.diff(x, axis=axis)
        dx = np.reshape(dx, (-1, *[1] * (np.ndim(y) - axis - 1))) if np.ndim(x) == 1 else dx
    return np.sum(dx * (y[_along(axis, slice(1, None))] + y[_along(axis, slice(None, -1))]) / 2.0, axis)


@composite(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    """np.interp: the line between two points. At a point the slope is that of the line to its right.

    All three may be Tensors. The result keeps float32, where NumPy's own makes it float64.
    """
    x, xp, fp = (a if isinstance(a, Recordable) else np.asarray(a) for a in (x, xp, fp))
    before = np.clip(np.searchsorted(xp, x, side="right"), 1, max(np.size(xp) - 1, 1)) - 1
    after = np.minimum(before + 1, np.size(xp) - 1)
    (x0, x1), (f0, f1) = ([take_along_axis(a, place, None) for place in (before, after)] for a in (xp, fp))
    width = x1 - x0
    y = f0 + (x - x0) * ((f1 - f0) / (width + (width == 0)))
    y = np.where(x < xp[0], fp[0] if left is None else left, y)
    return np.where(x > xp[-1], fp[-1] if right is None else right, y)


# Running sums and products.


def cumprod_vjp(g: Any, y: Any, a: Any, axis: int | None = None) -> Any:
    """The sum of g over all products that contain the element, each times the other factors; a may be 0.

    With p the product of all before the element, the sum is p h with h_j = g_j + a_{j+1} h_{j+1}, found by doubling.
    """
    shape = np.shape(a)
    along = np.reshape(a, (-1,)) if axis is None or not shape else np.moveaxis(a, axis, -1)
    h = np.reshape(g, (-1,)) if axis is None or not shape else np.moveaxis(g, axis, -1)
    ones = np.ones_like(along[..., :1])
    before, factor = concatenate([ones, along[..., :-1]], -1), concatenate([along[..., 1:], ones], -1)
    distance, n = 1, np.shape(along)[-1]
    while distance < n:
        h = h + factor * concatenate([h[..., distance:], np.zeros_like(h[..., :distance])], -1)
        factor = factor * concatenate([factor[..., distance:], np.ones_like(factor[..., :distance])], -1)
        before = before * concatenate([np.ones_like(before[..., :distance]), before[..., :-distance]], -1)
        distance *= 2
    share = before * h
    return np.reshape(share, shape) if axis is None or not shape else np.moveaxis(share, -1, axis)


defvjp(np.cumprod, cumprod_vjp)


def _cumulative(function: Any, x: Any, axis: int | None, first: Any) -> Any:
    """np.cumsum or np.cumprod, after their first value if that is not None.

    Raises:
        ValueError: without an axis, if the array has several.
    """
    if axis is None and np.ndim(x) > 1:
        raise ValueError("a running sum or product of an array with several axes needs axis=")
    axis = normalize_axis_index(-1 if axis is None else axis, max(np.ndim(x), 1))
    result = function(x, axis=axis)
    if first is None:
        return result
    return concatenate([first(result[_along(axis, slice(0, 1))], dtype=result.dtype), result], axis)


@composite(getattr(np, "cumulative_sum", None))
def cumulative_sum(x: Any, /, *, axis: int | None = None, include_initial: bool = False) -> Any:
    """np.cumulative_sum, by np.cumsum."""
    return _cumulative(np.cumsum, x, axis, np.zeros_like if include_initial else None)


@composite(getattr(np, "cumulative_prod", None))
def cumulative_prod(x: Any, /, *, axis: int | None = None, include_initial: bool = False) -> Any:
    """np.cumulative_prod, by np.cumprod."""
    return _cumulative(np.cumprod, x, axis, np.ones_like if include_initial else None)


@partial(operation, rules=NO_RULES, kind="constant")
def last_of_largest(a: Any, axis: int) -> Any:
    """The place of the largest element so far; of equal ones the last, as in torch.cummax."""
    largest = np.maximum.accumulate(a, axis=axis)
    shape = tuple(n if i == axis else 1 for i, n in enumerate(a.shape))
    numbers = np.arange(a.shape[axis]).reshape(shape)
    return np.maximum.accumulate(np.where((a == largest) | (a != a), numbers, 0), axis=axis)


def running_max(a: Any, axis: int = 0) -> Any:
    """np.maximum.accumulate, by `take_along_axis`."""
    axis = normalize_axis_index(axis, np.ndim(a))
    return take_along_axis(a, last_of_largest(a, axis), axis)


def running_min(a: Any, axis: int = 0) -> Any:
    """np.minimum.accumulate, by `take_along_axis`."""
    axis = normalize_axis_index(axis, np.ndim(a))
    return take_along_axis(a, last_of_largest(-a, axis), axis)


def running_sum(a: Any, axis: int = 0) -> Any:
    """np.add.accumulate, by np.cumsum."""
    return np.cumsum(a, axis=axis)


def running_product(a: Any, axis: int = 0) -> Any:
    """np.multiply.accumulate, by np.cumprod."""
    return np.cumprod(a, axis=axis)


ACCUMULATE = {np.add: running_sum, np.multiply: running_product, np.maximum: running_max, np.minimum: running_min}

# The identity, plus turns.
defvjp(np.unwrap, lambda g, y, p, discont=None, axis=-1, *, period=2 * math.pi: g)


# Polynomials, and sin(πx)/(πx).


@composite(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """np.polyval, by Horner's scheme."""
    x = of_list(x)
    y = 0 * x
    for i in range(np.shape(p)[0]):
        y = y * x + p[i]
    return y


@composite(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803 - NumPy's name
    """np.vander, by np.power."""
    powers = np.arange(np.size(x) if N is None else N).astype(np.int8)
    return np.power(np.expand_dims(x, -1), powers if increasing else powers[::-1])


def _sinc_slope_vjp(g: Any, y: Any, a: Any, order: int) -> Any:
    return g * sinc_slope(a, order + 1)


@differentiable(_sinc_slope_vjp)
def sinc_slope(a: Any, order: int) -> Any:
    """The derivative of sin(πx)/(πx) of an order from 1 on.

    s x = sin(πx)/π gives s⁽ᵏ⁾ x + k s⁽ᵏ⁻¹⁾ = πᵏ⁻¹ sin(πx + kπ/2), from which each follows from the one before; near 0
    the differences lose their digits, and the Taylor series is summed.
    """
    x = np.asarray(a, np.result_type(np.asarray(a).dtype, np.float32))
    near = np.abs(x) < 0.5 + 0.25 * order
    far = np.where(near, 1, x)
    slope = np.sin(math.pi * far) / (math.pi * far)
    for k in range(1, order + 1):
        slope = (math.pi ** (k - 1) * np.sin(math.pi * far + k * math.pi / 2) - k * slope) / far
    z = np.where(near, x, 0)
    series = np.zeros_like(z)
    for n in range(order + order % 2, order + 40, 2):  # the terms of x^(n − order) of cos-like signs
        term = (-1) ** (n // 2) * math.pi**n / ((n + 1) * math.factorial(n - order))
        series = series + term * z ** (n - order)
    return np.where(near, series, slope).astype(np.asarray(a).dtype)


defvjp(np.sinc, lambda g, y, a: g * sinc_slope(a, 1))
