"""NumPy's functions that split arrays, join them or give them another shape, as compositions of others."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_vg.engine.composites import concatenate
from tinygrad_vg.engine.operations import Recordable, composite, fixed

# Splitting: each part is a slice of the array.


def _parts(function: Callable[..., Any], ary: Any, indices_or_sections: Any, axis: int) -> list[Any]:
    """The slices into which a NumPy function splits an axis, found by splitting the numbers of its elements."""
    fixed(function, indices_or_sections=indices_or_sections)
    axis = normalize_axis_index(axis, np.ndim(ary))
    parts = function(np.arange(np.shape(ary)[axis]), indices_or_sections)
    before = [slice(None)] * axis
    return [ary[(*before, slice(p[0], p[-1] + 1) if p.size else slice(0, 0))] for p in parts]


@composite(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """np.split, by slices."""
    return _parts(np.split, ary, indices_or_sections, axis)


@composite(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """np.array_split, by slices."""
    return _parts(np.array_split, ary, indices_or_sections, axis)


@composite(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """np.hsplit, by slices of the second axis, or of a vector."""
    return _parts(np.split, ary, indices_or_sections, 1 if np.ndim(ary) > 1 else 0)


@composite(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """np.vsplit, by slices of the first of two axes or more."""
    if np.ndim(ary) < 2:
        raise ValueError("np.vsplit takes an array of two axes or more")
    return _parts(np.split, ary, indices_or_sections, 0)


@composite(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """np.dsplit, by slices of the third axis."""
    if np.ndim(ary) < 3:
        raise ValueError("np.dsplit takes an array of three axes or more")
    return _parts(np.split, ary, indices_or_sections, 2)


@composite(getattr(np, "unstack", None))
def unstack(x: Any, /, *, axis: int = 0) -> Any:
    """np.unstack, by an index for each part."""
    moved = np.moveaxis(x, axis, 0)
    return tuple(moved[i] for i in range(np.shape(moved)[0]))


# Joining.


@composite(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """np.append, by `concatenate`."""
    return concatenate([arr, values], axis)


@composite(np.column_stack)
def column_stack(tup: Any) -> Any:
    """np.column_stack, by `concatenate`; a vector is a column."""
    return concatenate([np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in tup], 1)


@composite(np.dstack)
def dstack(tup: Any) -> Any:
    """np.dstack, by `concatenate` along the third axis."""
    return concatenate([_with_three_axes(a) for a in tup], 2)


@composite(np.block)
def block(arrays: Any) -> Any:
    """np.block, by `concatenate` of the innermost lists along the last axis, of those around them along the others.

    Raises:
        ValueError: if some arrays are in more lists than others.
    """
    depths, ndim = set(), 0
    unseen = [(arrays, 0)]
    while unseen:
        part, level = unseen.pop()
        if isinstance(part, list):
            unseen += [(p, level + 1) for p in part]
        else:
            depths.add(level)
            ndim = max(ndim, level, np.ndim(part))
    if len(depths) != 1:
        raise ValueError(f"np.block takes arrays nested equally deep; these are {sorted(depths)} lists deep")
    (depth,) = depths

    def joined(part: Any, level: int) -> Any:
        if isinstance(part, list):
            return concatenate([joined(p, level + 1) for p in part], level - depth)
        return np.reshape(part, (1,) * (ndim - np.ndim(part)) + np.shape(part))

    return joined(arrays, 0)


# Axes.


def _each(arrays: tuple[Any, ...], function: Callable[[Any], Any]) -> Any:
    """The function's results, in a tuple where there are several, as np.atleast_1d has them."""
    results = tuple(map(function, arrays))
    return results[0] if len(results) == 1 else results


def _with_three_axes(a: Any) -> Any:
    shape = np.shape(a)
    return np.reshape(a, {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}.get(len(shape), shape))


@composite(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    """np.atleast_1d, by np.reshape."""
    return _each(arys, lambda a: np.reshape(a, np.shape(a) or (1,)))


@composite(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    """np.atleast_2d, by np.reshape; a vector is a row."""
    return _each(arys, lambda a: np.reshape(a, (1,) * (2 - np.ndim(a)) + np.shape(a)))


@composite(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    """np.atleast_3d, by np.reshape."""
    return _each(arys, _with_three_axes)


@composite(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """np.rollaxis, by np.moveaxis."""
    axis = normalize_axis_index(axis, np.ndim(a))
    start = start + np.ndim(a) if start < 0 else start
    return np.moveaxis(a, axis, start - 1 if axis < start else start)


@composite(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """np.matrix_transpose, by np.swapaxes."""
    return np.swapaxes(x, -1, -2)


@composite(np.flipud)
def flipud(m: Any) -> Any:
    """np.flipud, by np.flip."""
    return np.flip(m, 0)


@composite(np.fliplr)
def fliplr(m: Any) -> Any:
    """np.fliplr, by np.flip."""
    return np.flip(m, 1)


@composite(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> Any:
    """np.broadcast_arrays, by np.broadcast_to."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(a, shape) for a in args)


@composite(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """np.meshgrid, by np.reshape and np.broadcast_to."""
    if indexing not in ("xy", "ij"):
        raise ValueError("indexing is 'xy' or 'ij'")
    places = [1, 0, *range(2, len(xi))] if indexing == "xy" and len(xi) > 1 else [*range(len(xi))]
    shapes = [tuple(-1 if d == place else 1 for d in range(len(xi))) for place in places]
    grids = [np.reshape(x, shape) for x, shape in zip(xi, shapes, strict=True)]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


@composite(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """np.apply_over_axes: the function along one axis after the other, each kept with length 1."""
    for axis in np.atleast_1d(axes):
        axis = normalize_axis_index(int(axis), np.ndim(a))
        result = func(a, axis)
        a = result if np.ndim(result) == np.ndim(a) else np.expand_dims(result, axis)
    return a


# The same numbers.


@composite(np.copy)
def copy(a: Any, order: str = "K") -> Any:
    """np.copy, by np.positive."""
    return np.positive(a)


@composite(getattr(np, "astype", None))
def astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    """np.astype, by the method."""
    return x.astype(dtype)


@composite(np.real, np.real_if_close)
def real(val: Any, tol: float = 100) -> Any:
    """np.real and np.real_if_close of real numbers: the numbers."""
    return np.positive(val)


@composite(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """np.full_like: an array, or a Tensor where the value is one, with the sum of all gradients for it."""
    like = np.zeros_like(a, dtype=dtype, shape=shape)
    if isinstance(fill_value, Recordable):
        filled: Any = fill_value  # a Tensor
        return np.broadcast_to(filled, like.shape).astype(like.dtype)
    return np.full_like(like, fill_value)


@composite(np.linspace)
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, *, axis: int = 0) -> Any:
    """np.linspace between Tensors: start and stop weighted by numbers that add up to 1."""
    later = np.arange(num).reshape((num, *[1] * np.ndim(start - stop)))
    later = (later / max(num - 1 if endpoint else num, 1)).astype(np.result_type(start, stop, np.float16))
    return np.moveaxis(start * (1 - later) + stop * later, 0, axis)
