"""The rules of NumPy's factorizations of matrices, for stacks (..., m, n) of float32 or float64.

A node has one output, so a factorization of several parts is an operation that returns them side by side in one array;
the composite takes it apart. NumPy reads one triangle of a symmetric matrix, and this triangle gets the whole gradient.
At equal eigenvalues or singular values a part of the derivative is undefined; it is 0 here, as at other kinks.

Formulas: I. Murray, "Differentiation of the Cholesky decomposition" (2016); M. Giles, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation" (2008); J. Townsend, "Differentiating the singular
value decomposition" (2016).
"""

from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine.linalg import identity_like, transposed
from tinygrad_vg.engine.operations import composite, operation
from tinygrad_vg.engine.selecting import take_along_axis


def inverse_of(difference: Any) -> Any:
    """1/difference, elementwise; 0 where the difference is 0."""
    zero = difference == 0
    return np.where(zero, 0, 1 / np.where(zero, 1, difference))


def halved(a: Any) -> Any:
    """The lower triangle, with half of the diagonal."""
    return np.tril(a) - 0.5 * identity_like(a, np.shape(a)[-1]) * a


def folded(a: Any) -> Any:
    """The gradient of a symmetric matrix as that of its lower triangle."""
    return np.tril(a) + np.tril(transposed(a), -1)


def cholesky_vjp(g: Any, y: Any, a: Any) -> Any:
    """y⁻ᵀ Φ(yᵀ g) y⁻¹, where Φ is `halved`."""
    inner = halved(np.matmul(transposed(y), g))
    inverse = np.linalg.inv(y)
    return folded(np.matmul(transposed(inverse), np.matmul(inner, inverse)))


@partial(operation, rules=(cholesky_vjp,), name="np.linalg.cholesky")
def lower_cholesky(a: Any) -> Any:
    """np.linalg.cholesky: the lower triangle."""
    return np.linalg.cholesky(a)


@composite(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """np.linalg.cholesky, by `lower_cholesky`."""
    return transposed(lower_cholesky(transposed(a))) if upper else lower_cholesky(a)


def packed_eigh_vjp(g: Any, y: Any, a: Any, uplo: str) -> Any:
    """v (diag(gw) + F ∘ vᵀ gv) vᵀ with F_ij = 1/(w_j − w_i)."""
    w, v = y[..., 0, :], y[..., 1:, :]
    gw, gv = g[..., 0, :], g[..., 1:, :]
    f = inverse_of(np.expand_dims(w, -2) - np.expand_dims(w, -1))
    core = f * np.matmul(transposed(v), gv) + np.expand_dims(gw, -2) * identity_like(y, np.shape(w)[-1])
    share = folded(np.matmul(v, np.matmul(core, transposed(v))))
    return share if uplo == "L" else transposed(share)


@partial(operation, rules=(packed_eigh_vjp,), name="np.linalg.eigh")
def packed_eigh(a: Any, uplo: str) -> Any:
    """np.linalg.eigh of a triangle (..., n, n), "L" or "U": the eigenvalues above the vectors, (..., 1 + n, n)."""
    w, v = np.linalg.eigh(a, uplo)  # type: ignore[call-overload]
    return np.concatenate([np.expand_dims(w, -2), v], axis=-2)


@composite(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 - NumPy's name
    """np.linalg.eigh, by `packed_eigh`. Equal eigenvalues have no derivative of single vectors, which is 0 here."""
    both = packed_eigh(a, UPLO.upper())
    return type(np.linalg.eigh(np.eye(1)))(both[..., 0, :], both[..., 1:, :])


@composite(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 - NumPy's name
    """np.linalg.eigvalsh: the first part of `eigh`."""
    return eigh(a, UPLO)[0]


def packed_svd_vjp(g: Any, y: Any, a: Any) -> Any:
    """Townsend's formula, for u (m, k), s (k,) and v (n, k)."""
    m = np.shape(a)[-2]
    u, s, v = y[..., :m, :], y[..., m, :], y[..., m + 1 :, :]
    gu, gs, gv = g[..., :m, :], g[..., m, :], g[..., m + 1 :, :]
    ut, vt, row, column = transposed(u), transposed(v), np.expand_dims(s, -2), np.expand_dims(s, -1)
    f = inverse_of((row - column) * (row + column))
    of_u, of_v = np.matmul(ut, gu), np.matmul(vt, gv)
    core = (of_u - transposed(of_u)) * f * row + column * (of_v - transposed(of_v)) * f
    core = core + np.expand_dims(gs, -2) * identity_like(y, np.shape(s)[-1])
    share = np.matmul(u, np.matmul(core, vt))
    below, right = inverse_of(row), inverse_of(column)
    share = share + np.matmul((gu - np.matmul(u, of_u)) * below, vt)
    return share + np.matmul(u, right * transposed(gv - np.matmul(v, of_v)))


@partial(operation, rules=(packed_svd_vjp,), name="np.linalg.svd")
def packed_svd(a: Any) -> Any:
    """np.linalg.svd (..., m, n) of k = min(m, n) singular values: u above s above v, (..., m + 1 + n, k)."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([u, np.expand_dims(s, -2), np.swapaxes(vh, -1, -2)], axis=-2)


@composite(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """np.linalg.svd, by `packed_svd`.

    Raises:
        TypeError: for the full matrices of a matrix that is not square, because the additional vectors are not unique.
    """
    m, n = np.shape(a)[-2:]
    if hermitian:
        return _svd_of_symmetric(a, compute_uv)
    both = packed_svd(a)
    if not compute_uv:
        return both[..., m, :]
    if full_matrices and m != n:
        raise TypeError(
            "np.linalg.svd of a Tensor has no derivative of the vectors that full_matrices=True adds; "
            "write full_matrices=False"
        )
    parts = both[..., :m, :], both[..., m, :], transposed(both[..., m + 1 :, :])
    return type(np.linalg.svd(np.eye(1)))(*parts)


def _svd_of_symmetric(a: Any, compute_uv: bool) -> Any:
    """By `eigh`: the singular values are the magnitudes of the eigenvalues, and the signs go to the vectors of v."""
    w, u = eigh(a)
    order = np.flip(np.argsort(np.abs(w)), -1)
    w, u = take_along_axis(w, order), take_along_axis(u, np.expand_dims(order, -2))
    parts = u, np.abs(w), transposed(u * np.expand_dims(np.sign(w), -2))
    return type(np.linalg.svd(np.eye(1)))(*parts) if compute_uv else parts[1]


@composite(getattr(np.linalg, "svdvals", None))
def svdvals(x: Any, /) -> Any:
    """np.linalg.svdvals, by `packed_svd`."""
    return svd(x, compute_uv=False)


def packed_qr_vjp(g: Any, y: Any, a: Any) -> Any:
    """(gq + q C(r grᵀ − gqᵀ q)) r⁻ᵀ, where C copies the lower triangle into the upper; a has m ≥ n."""
    m = np.shape(a)[-2]
    q, r = y[..., :m, :], transposed(y[..., m:, :])
    gq, gr = g[..., :m, :], transposed(g[..., m:, :])
    core = np.matmul(r, transposed(gr)) - np.matmul(transposed(gq), q)
    core = np.tril(core) + transposed(np.tril(core, -1))
    return transposed(np.linalg.solve(r, transposed(gq + np.matmul(q, core))))


@partial(operation, rules=(packed_qr_vjp,), name="np.linalg.qr")
def packed_qr(a: Any) -> Any:
    """np.linalg.qr (..., m, n) for m ≥ n: q above rᵀ, (..., m + n, n)."""
    q, r = np.linalg.qr(a)
    return np.concatenate([q, np.swapaxes(r, -1, -2)], axis=-2)


@composite(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """np.linalg.qr, by `packed_qr`. For m < n the columns after the first m give qᵀ a, a part of r.

    Raises:
        TypeError: for the mode "raw", and for "complete" if some columns of q are not unique.
    """
    m, n = np.shape(a)[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise TypeError(f"np.linalg.qr of a Tensor takes mode='reduced' or 'r', not {mode!r}: q is not unique in it")
    both = packed_qr(a[..., : min(m, n)])
    q, r = both[..., :m, :], transposed(both[..., m:, :])
    if m < n:
        r = np.concatenate([r, np.matmul(transposed(q), a[..., m:])], axis=-1)
    return r if mode == "r" else type(np.linalg.qr(np.eye(1)))(q, r)
