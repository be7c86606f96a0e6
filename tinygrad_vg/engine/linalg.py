"""The rules of NumPy's inverses and determinants, for stacks of matrices (..., n, n) of float32 or float64.

Formulas: M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
(2008); G. H. Golub and V. Pereyra, "The differentiation of pseudo-inverses" (1973).
"""

from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import NO_RULES, composite, defvjp, differentiable, fixed, operation


def transposed(a: Any) -> Any:
    """The matrices of a stack, transposed."""
    return np.swapaxes(a, -1, -2)


def beside(g: Any) -> Any:
    """A number for each matrix of a stack, in a shape that broadcasts to the matrices."""
    return np.expand_dims(g, (-2, -1))


def mirrored(a: Any) -> Any:
    """The symmetric matrix of a lower triangle, which is all that NumPy reads of one."""
    return np.tril(a) + transposed(np.tril(a, -1))


def identity_like(a: Any, n: int) -> Any:
    return np.eye(n, dtype=a.dtype)


# Inverses and systems of equations.


def inv_vjp(g: Any, y: Any, a: Any) -> Any:
    """−yᵀ g yᵀ."""
    return -np.matmul(transposed(y), np.matmul(g, transposed(y)))


def solved(a: Any, g: Any, b: Any) -> Any:
    """a⁻ᵀ g as a matrix: `b`, the right side of the equation, is a vector or a matrix."""
    return np.linalg.solve(transposed(a), np.expand_dims(g, -1) if np.ndim(b) == 1 else g)


def solve_left_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """−a⁻ᵀ g yᵀ."""
    y = np.expand_dims(y, -1) if np.ndim(b) == 1 else y
    return -np.matmul(solved(a, g, b), transposed(y))


def solve_right_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """a⁻ᵀ g."""
    share = solved(a, g, b)
    return np.squeeze(share, -1) if np.ndim(b) == 1 else share


defvjp(np.linalg.inv, inv_vjp)
defvjp(np.linalg.solve, solve_left_vjp, solve_right_vjp)


def pinv_vjp(g: Any, y: Any, a: Any) -> Any:
    """−yᵀ g yᵀ, and the parts of the columns and rows that `a` does not span; the rank stays what it is."""
    m, n = np.shape(a)[-2:]
    gt, yt = transposed(g), transposed(y)
    outside_rows = identity_like(y, m) - np.matmul(a, y)
    outside_columns = identity_like(y, n) - np.matmul(y, a)
    share = np.matmul(outside_rows, np.matmul(gt, np.matmul(y, yt)))
    share = share + np.matmul(np.matmul(yt, y), np.matmul(gt, outside_columns))
    return share - np.matmul(yt, np.matmul(g, yt))


@partial(operation, rules=(lambda g, y, a, rcond: pinv_vjp(g, y, a),), name="np.linalg.pinv")
def pseudo_inverse(a: Any, rcond: Any) -> Any:
    """np.linalg.pinv."""
    return np.linalg.pinv(a, rcond)


@composite(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """np.linalg.pinv, by `pseudo_inverse`."""
    fixed(np.linalg.pinv, rcond=rcond, rtol=rtol)
    if rcond is None:  # NumPy's own number, so that both names mean the same
        rcond = 1e-15 if rtol is None else rtol
    return pseudo_inverse(mirrored(a) if hermitian else a, rcond)


@composite(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """np.linalg.tensorinv, by np.linalg.inv of a matrix."""
    shape = np.shape(a)
    rows = int(np.prod(shape[ind:], dtype=int))
    return np.reshape(np.linalg.inv(np.reshape(a, (rows, -1))), shape[ind:] + shape[:ind])


@composite(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """np.linalg.tensorsolve, by np.linalg.solve of a matrix."""
    ndim = np.ndim(a)
    axes = [i % ndim for i in axes or ()]
    a = np.transpose(a, (*(i for i in range(ndim) if i not in axes), *axes))
    kept = np.shape(a)[np.ndim(b) :]
    n = int(np.prod(kept, dtype=int))
    return np.reshape(np.linalg.solve(np.reshape(a, (n, n)), np.reshape(b, (n,))), kept)


@composite(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """np.linalg.matrix_power, by np.matmul of the squares."""
    fixed(np.linalg.matrix_power, n=n)
    if n < 0:
        a, n = np.linalg.inv(a), -n
    power, square = None, a
    while n:
        n, odd = divmod(n, 2)
        if odd:
            power = square if power is None else np.matmul(power, square)
        square = np.matmul(square, square) if n else square
    if power is None:
        return 0 * a + identity_like(a, np.shape(a)[-1])
    return power


# Determinants.


def cofactors_vjp(g: Any, y: Any, a: Any) -> Any:
    """a⁻ᵀ Σ g y − a⁻ᵀ gᵀ y, for an invertible matrix."""
    inverse = transposed(np.linalg.inv(a))
    return np.sum(g * y, axis=(-2, -1), keepdims=True) * inverse - np.matmul(np.matmul(inverse, transposed(g)), y)


@differentiable(cofactors_vjp)
def cofactors(a: Any) -> Any:
    """The derivative of the determinant, det(a) a⁻ᵀ, also of a singular matrix.

    From the singular values: det(u) det(vᵀ) Σ u_i v_i Π_{j≠i} s_j.
    """
    u, s, vh = np.linalg.svd(a)
    others = np.where(np.eye(s.shape[-1], dtype=bool), 1, np.expand_dims(s, -2))
    scale = np.linalg.det(u) * np.linalg.det(vh)
    return np.expand_dims(scale, (-2, -1)) * np.matmul(u * np.expand_dims(np.prod(others, axis=-1), -2), vh)


defvjp(np.linalg.det, lambda g, y, a: beside(g) * cofactors(a))


@partial(operation, rules=(lambda g, y, a: beside(g) * transposed(np.linalg.inv(a)),), name="log|det|")
def log_abs_det(a: Any) -> Any:
    """log |det a|, without overflow."""
    return np.linalg.slogdet(a)[1]


@partial(operation, rules=NO_RULES, kind="constant", name="sign of det")
def sign_of_det(a: Any) -> Any:
    """The sign of the determinant; 0 if it is 0."""
    return np.linalg.slogdet(a)[0]


@composite(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    """np.linalg.slogdet: the sign, which has no derivative, and `log_abs_det`."""
    return type(np.linalg.slogdet(np.eye(1)))(sign_of_det(a), log_abs_det(a))
