"""NumPy's functions that pick elements of an array, repeat them, sort them or put them elsewhere.

They are compositions of indexing: the same function is called on the numbers of the elements, and so finds the place of
each of them. Their derivative is that of indexing: an element that occurs several times gets the sum of the gradients.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_vg.engine.composites import concatenate
from tinygrad_vg.engine.operations import Recordable, composite, fixed
from tinygrad_vg.engine.ops import at, scatter
from tinygrad_vg.engine.rules import of_list


def rearranged(function: Callable[..., Any], *arrays: Any) -> Any:
    """function(*arrays), for a function that copies elements and computes nothing.

    It is called on the numbers of the elements to find the place of each of them.
    """
    starts = accumulate(map(np.size, arrays[:-1]), initial=0)
    numbers = (np.arange(np.size(a)).reshape(np.shape(a)) + start for a, start in zip(arrays, starts, strict=True))
    flat = concatenate(arrays, None) if len(arrays) > 1 else np.ravel(arrays[0])
    return at(flat, function(*numbers))


# Picking.


@composite(np.take)
def take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    """np.take, by indexing along one axis."""
    if not isinstance(indices, Recordable):
        indices = np.asarray(indices)
        indices = indices.astype(np.intp) if indices.dtype == bool else indices
    n = np.size(a) if axis is None else np.shape(a)[axis]
    if mode != "raise":
        indices = indices % n if mode == "wrap" else np.clip(indices, 0, n - 1)
    if axis is None:
        return at(np.ravel(a), indices)
    return at(a, *[slice(None)] * normalize_axis_index(axis, np.ndim(a)), indices)


@composite(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """np.take_along_axis, by an index of arrays."""
    if axis is None:
        return at(np.ravel(arr), indices)
    ndim = np.ndim(arr)
    axis = normalize_axis_index(axis, ndim)
    if np.ndim(indices) != ndim:
        raise ValueError("np.take_along_axis takes indices with as many axes as the array")
    lengths = enumerate(np.shape(arr))
    index = [np.arange(n).reshape(tuple(n if i == d else 1 for i in range(ndim))) for d, n in lengths]
    index[axis] = indices
    return at(arr, *index)


@composite(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """np.compress, by `take` of the places where the condition, an array, is true."""
    fixed(np.compress, condition=condition)
    return take(a, np.flatnonzero(condition), axis)


@composite(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """np.extract, by `take` of the places where the condition, an array, is true."""
    fixed(np.extract, condition=condition)
    return take(arr, np.flatnonzero(condition))


@composite(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """np.select, by np.where from the last condition to the first."""
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError("np.select takes as many conditions as choices, and at least one")
    chosen = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        chosen = np.where(condition, choice, chosen)
    return chosen


@composite(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """np.diagonal, by `rearranged`."""
    return rearranged(lambda numbers: np.diagonal(numbers, offset, axis1, axis2), a)


@composite(getattr(np.linalg, "diagonal", None))
def matrix_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """np.linalg.diagonal: of the last two axes."""
    return diagonal(x, offset, -2, -1)


@composite(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """np.trace, by np.sum of the `diagonal`."""
    return np.sum(diagonal(a, offset, axis1, axis2), -1)


@composite(getattr(np.linalg, "trace", None))
def matrix_trace(x: Any, /, *, offset: int = 0) -> Any:
    """np.linalg.trace: of the last two axes."""
    return trace(x, offset, -2, -1)


@composite(sliding_window_view)
def windows(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """np.lib.stride_tricks.sliding_window_view, by `rearranged`; the result is a copy."""
    return rearranged(lambda numbers: sliding_window_view(numbers, window_shape, axis), x)


# Order. Equal elements stay in their order, so each of them keeps its own gradient, as with torch.sort(stable=True).


@composite(np.sort)
def sort(a: Any, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Any:
    """np.sort, by np.argsort, which is stable here for every kind."""
    if axis is None:
        a, axis = np.ravel(a), -1
    return take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis)


@composite(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1) -> Any:
    """np.partition, by np.argpartition."""
    fixed(np.partition, kth=kth)
    if axis is None:
        a, axis = np.ravel(a), -1
    return take_along_axis(a, np.argpartition(a, kth, axis=axis), axis)


# Repeating and rearranging.


@composite(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """np.repeat, by `rearranged`."""
    fixed(np.repeat, repeats=repeats)
    return rearranged(lambda numbers: np.repeat(numbers, repeats, axis), a)


@composite(np.tile)
def tile(A: Any, reps: Any) -> Any:  # noqa: N803 - NumPy's name
    """np.tile, by `rearranged`."""
    fixed(np.tile, reps=reps)
    return rearranged(lambda numbers: np.tile(numbers, reps), A)


@composite(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """np.resize, by `rearranged`: the elements again and again."""
    return rearranged(lambda numbers: np.resize(numbers, new_shape), a)


@composite(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """np.delete, by `rearranged`."""
    fixed(np.delete, obj=obj)
    return rearranged(lambda numbers: np.delete(numbers, obj, axis), arr)


@composite(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """np.insert, by `rearranged`, in the dtype of `arr`."""
    fixed(np.insert, obj=obj)
    arr = of_list(arr)
    if isinstance(values, Recordable):
        values = values.record(np.ndarray.astype, (values, arr.dtype), {})
    else:
        values = np.asarray(values, arr.dtype)
    return rearranged(lambda numbers, inserted: np.insert(numbers, obj, inserted, axis), arr, values)


@composite(np.rot90)
def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """np.rot90, by `rearranged`."""
    return rearranged(lambda numbers: np.rot90(numbers, k, axes), m)


PADDED_WITH_ELEMENTS = ("edge", "reflect", "symmetric", "wrap")


@composite(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """np.pad with numbers, or with elements of the array.

    Raises:
        TypeError: for a mode that computes what it pads with, or a Tensor as `constant_values`.
    """
    fixed(np.pad, pad_width=pad_width, constant_values=constant_values)
    if mode in PADDED_WITH_ELEMENTS:
        return rearranged(lambda numbers: np.pad(numbers, pad_width, mode), array)  # type: ignore[call-overload]
    if mode != "constant":
        raise TypeError(
            f"np.pad of a Tensor does not take mode={mode!r}, only 'constant', "
            f"{', '.join(map(repr, PADDED_WITH_ELEMENTS))}; write np.concatenate with the values of the border"
        )
    zeros = np.zeros(np.shape(array), array.dtype)
    padded = np.pad(zeros, pad_width, constant_values=constant_values)
    if not zeros.size:  # there is no element to take
        return np.sum(array) + padded
    numbers = np.pad(np.arange(zeros.size).reshape(zeros.shape), pad_width, constant_values=-1)
    return np.where(numbers >= 0, at(np.ravel(array), np.maximum(numbers, 0)), padded)


# Matrices of a part of the elements.


@composite(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """np.diag: a matrix of zeros around a vector, or the diagonal of a matrix."""
    if np.ndim(v) != 1:
        return diagonal(v, k)
    n = np.size(v) + abs(k)
    places = np.arange(np.size(v))
    return scatter(v, (places + max(-k, 0), places + max(k, 0)), (n, n))


@composite(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """np.diagflat, by `diag`."""
    return diag(np.ravel(v), k)


def _below(m: Any, k: int) -> Any:
    """Which elements of the last two axes lie on or below a diagonal; a vector stands for each row."""
    n = np.shape(m)[-1]
    return np.arange(np.shape(m)[-2] if np.ndim(m) > 1 else n)[:, None] + k >= np.arange(n)


@composite(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """np.tril, by np.where."""
    return np.where(_below(m, k), m, 0)


@composite(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """np.triu, by np.where."""
    return np.where(_below(m, k - 1), 0, m)
