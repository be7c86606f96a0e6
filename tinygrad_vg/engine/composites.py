"""NumPy's functions that are written here as compositions of functions in the table.

Most of them take a list of arrays. The engine looks for Tensors among the arguments of a call and not inside a list, so
each function here passes the elements of its list on as arguments.
"""

from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from tinygrad_vg.engine.arrays import refuse
from tinygrad_vg.engine.operations import ForEach, enter, operation


def _join_vjp(index: int, g: Any, y: Any, *arrays: Any, axis: int, ends: tuple[int, ...]) -> Any:
    """The part of g that belongs to the array number `index`."""
    cut = [slice(None)] * np.ndim(y)
    cut[axis] = slice(ends[index], ends[index + 1])
    return g[tuple(cut)]


@partial(operation, rules=ForEach(_join_vjp), name="np.concatenate")
def join(*arrays: Any, axis: int, ends: tuple[int, ...]) -> Any:
    """np.concatenate of arrays as arguments; `ends` are where each ends along the axis, after a 0."""
    return np.concatenate(arrays, axis=axis)


def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    """np.concatenate, by `join`."""
    if axis is None:
        arrays, axis = [np.ravel(a) for a in arrays], 0
    lengths = [np.shape(a)[axis] for a in arrays]
    return join(*arrays, axis=axis, ends=tuple(accumulate(lengths, initial=0)))


def stack(arrays: Any, axis: int = 0) -> Any:
    """np.stack, by np.expand_dims and `concatenate`."""
    arrays = [*arrays]
    for a in arrays:
        refuse(a)  # before NumPy fails at a third axis of a matrix
    return concatenate([np.expand_dims(a, axis) for a in arrays], axis)


def vstack(tup: Any) -> Any:
    """np.vstack, by `concatenate` of matrices; a vector is a row."""
    return concatenate([np.reshape(a, (1, -1)) if np.ndim(a) < 2 else a for a in tup])


def hstack(tup: Any) -> Any:
    """np.hstack, by `concatenate` along the first axis for vectors, else along the second."""
    rows = [np.reshape(a, (-1,)) if np.ndim(a) < 1 else a for a in tup]
    return concatenate(rows, 0 if np.ndim(rows[0]) == 1 else 1)


def outer(a: Any, b: Any) -> Any:
    """np.outer, by np.multiply of a column and a row."""
    return np.multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)))


enter(np.concatenate, kind="composite", kernel=concatenate)
enter(np.stack, kind="composite", kernel=stack)
enter(np.vstack, kind="composite", kernel=vstack)
enter(np.hstack, kind="composite", kernel=hstack)
enter(np.outer, kind="composite", kernel=outer)
