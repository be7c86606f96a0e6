"""NumPy's norms of vectors and matrices, and the condition number."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_vg.engine.factorizations import svd
from tinygrad_vg.engine.operations import composite, fixed, operation
from tinygrad_vg.engine.rules import unreduce


def length_vjp(g: Any, y: Any, a: Any, axis: tuple[int, ...]) -> Any:
    """g a / y; 0 at the origin, as in PyTorch."""
    y = unreduce(y, axis)
    return unreduce(g, axis) * (a / (y + (y == 0)))


@partial(operation, rules=(length_vjp,), name="np.linalg.norm")
def length(a: Any, axis: tuple[int, ...]) -> Any:
    """√Σ a² over the axes, in units of a power of two, so that no square underflows or overflows."""
    _, exponent = np.frexp(np.max(np.abs(a), axis=axis, keepdims=True, initial=0))
    squares = np.square(np.ldexp(a, -exponent))
    return np.ldexp(np.sqrt(np.sum(squares, axis=axis)), np.squeeze(exponent, axis))


def _vector_norm(x: Any, order: Any, axis: tuple[int, ...]) -> Any:
    """The norm of a vector that lies along the axes."""
    if order is None or order == 2:
        return length(x, axis)
    if order == math.inf:
        return np.max(np.abs(x), axis=axis)
    if order == -math.inf:
        return np.min(np.abs(x), axis=axis)
    if order == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axis)
    if order == 1:
        return np.sum(np.abs(x), axis=axis)
    total = np.sum(np.abs(x) ** order, axis=axis)
    zero = np.logical_and(total == 0, order > 0)  # where the root has no slope
    return np.where(zero, 0, np.where(zero, 1, total) ** (1 / order))


def _matrix_norm(x: Any, order: Any, axis: tuple[int, ...]) -> Any:
    """The norm of a matrix in the last two axes."""
    if order is None or order == "fro":
        return length(x, (-2, -1))
    if order in (2, -2, "nuc"):
        s = svd(x, compute_uv=False)
        return {2: np.max, -2: np.min, "nuc": np.sum}[order](s, axis=-1)  # type: ignore[operator]
    if order not in (1, -1, math.inf, -math.inf):
        raise ValueError(f"{order!r} is no order of the norm of a matrix")
    sums = np.sum(np.abs(x), axis=-2 if abs(order) == 1 else -1)
    return np.max(sums, axis=-1) if order > 0 else np.min(sums, axis=-1)


@composite(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """np.linalg.norm. Its slope at 0 is 0; equal largest numbers share the gradient of the norm ∞.

    Raises:
        ValueError: if there is no such norm.
    """
    fixed(np.linalg.norm, ord=ord)
    ndim = np.ndim(x)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if axis is None:
        axes = tuple(range(ndim))
        if ord is not None and len(axes) > 2:
            raise ValueError("np.linalg.norm of more than two axes needs axis=, or no ord=")
        as_matrix = ord is not None and ndim == 2
    else:
        axes = normalize_axis_tuple(axis, ndim)
        as_matrix = len(axes) == 2
    if as_matrix:
        result = _matrix_norm(np.moveaxis(x, axes, (-2, -1)), ord, axes)
    elif len(axes) == 1 or ord is None:
        result = _vector_norm(x, ord, axes)
    else:
        raise ValueError(f"np.linalg.norm takes one axis or two, not {axis}")
    return np.expand_dims(result, axes) if keepdims else result


@composite(getattr(np.linalg, "vector_norm", None))
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """np.linalg.vector_norm: of all elements, or along some axes."""
    fixed(np.linalg.norm, ord=ord)
    axes = tuple(range(np.ndim(x))) if axis is None else normalize_axis_tuple(axis, np.ndim(x))
    result = _vector_norm(x, ord, axes)
    return np.expand_dims(result, axes) if keepdims else result


@composite(getattr(np.linalg, "matrix_norm", None))
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """np.linalg.matrix_norm: of the last two axes."""
    return norm(x, ord, (-2, -1), keepdims)


@composite(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """np.linalg.cond: the ratio of the singular values, or the norm times that of the inverse."""
    if p is None or p in (2, -2):
        s = svd(x, compute_uv=False)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(np.linalg.inv(x), p, (-2, -1))
