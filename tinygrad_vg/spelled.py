"""NumPy's functions that are spelled in others: a call of one is a call of those, with the Tensors as arguments.

Most of them take a list of arrays, where the engine would not find the Tensors.
"""

import functools
from typing import Any

import numpy as np

from tinygrad_vg.rules import SPELLED
from tinygrad_vg.tensor import differentiable


@functools.cache
def concatenation(n: int) -> Any:
    """The operation that joins n arrays: the rule of each argument cuts its own part out of the gradient."""

    def part(i: int) -> Any:
        def rule(g: Any, y: Any, *arrays: Any, axis: int = 0) -> Any:
            ends = np.cumsum([0] + [np.shape(a)[axis] for a in arrays])
            cut = [slice(None)] * np.ndim(y)
            cut[axis] = slice(ends[i], ends[i + 1])
            return g[tuple(cut)]

        return rule

    @differentiable(*(part(i) for i in range(n)))
    def concatenate(*arrays: Any, axis: int = 0) -> Any:
        return np.concatenate(arrays, axis=axis)

    return concatenate


def _concatenate(arrays: Any, axis: int | None = 0) -> Any:
    if axis is None:
        return _concatenate([np.ravel(a) for a in arrays])
    return concatenation(len(arrays))(*arrays, axis=axis)


def _stack(arrays: Any, axis: int = 0) -> Any:
    return _concatenate([np.expand_dims(a, axis) for a in arrays], axis)


def _vstack(tup: Any) -> Any:
    return _concatenate([np.reshape(a, (1, -1)) if np.ndim(a) < 2 else a for a in tup])


def _hstack(tup: Any) -> Any:
    rows = [np.reshape(a, (-1,)) if np.ndim(a) < 1 else a for a in tup]
    return _concatenate(rows, 0 if np.ndim(rows[0]) == 1 else 1)


def _dot(a: Any, b: Any) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    if np.ndim(b) > 2:
        raise TypeError(f"np.dot of a Tensor with {np.ndim(b)} axes is not supported; write np.matmul or np.sum")
    return np.matmul(a, b)


def _outer(a: Any, b: Any) -> Any:
    return np.multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)))


SPELLED |= {
    np.concatenate: _concatenate, np.stack: _stack, np.vstack: _vstack, np.hstack: _hstack,
    np.dot: _dot, np.outer: _outer,
}  # fmt: skip
