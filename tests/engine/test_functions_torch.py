"""The hardest of NumPy's functions against PyTorch's, in float64: values, gradients, and gradients of gradients."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.engine.cases import ANY, CUBE, POSITIVE, ROW, numbers
from tests.engine.cases_of_arrays import SQUARE, SQUARES, TALL, WIDE

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def both(module):
    """A symmetric matrix by the way it is computed: of it PyTorch and NumPy mean the same."""
    return lambda a: module.matmul(a, module.swapaxes(a, -1, -2))


OURS, THEIRS = both(np), both(torch)

# Ours, PyTorch's, and the arrays.
TWINS = {
    "cholesky": (lambda a: np.linalg.cholesky(OURS(a)), lambda a: torch.linalg.cholesky(THEIRS(a)), SQUARES),
    "cholesky, upper": (
        lambda a: np.linalg.cholesky(OURS(a), upper=True), lambda a: torch.linalg.cholesky(THEIRS(a), upper=True),
        SQUARE),
    "eigh": (
        lambda a: [np.linalg.eigh(OURS(a))[0], np.abs(np.linalg.eigh(OURS(a))[1])],
        lambda a: [torch.linalg.eigh(THEIRS(a))[0], torch.abs(torch.linalg.eigh(THEIRS(a))[1])], SQUARES),
    "eigvalsh, upper": (
        lambda a: np.linalg.eigvalsh(OURS(a), "U"), lambda a: torch.linalg.eigvalsh(THEIRS(a), UPLO="U"), SQUARE),
    "qr": (lambda a: [*np.linalg.qr(a)], lambda a: [*torch.linalg.qr(a)], TALL),
    "qr, wide": (lambda a: [*np.linalg.qr(a)], lambda a: [*torch.linalg.qr(a)], WIDE),
    "svdvals": (lambda a: np.linalg.svd(a, compute_uv=False), torch.linalg.svdvals, SQUARES),
    "svd": (
        lambda a: [np.abs(part) for part in np.linalg.svd(a, full_matrices=False)],
        lambda a: [torch.abs(part) for part in torch.linalg.svd(a, full_matrices=False)], TALL),
    "solve": (np.linalg.solve, torch.linalg.solve, SQUARES, numbers(2, 3, 2)),
    "solve, a vector": (np.linalg.solve, torch.linalg.solve, SQUARE, ROW),
    "slogdet": (lambda a: np.linalg.slogdet(a)[1], lambda a: torch.linalg.slogdet(a)[1], SQUARES),
    "det": (np.linalg.det, torch.linalg.det, SQUARES),
    "pinv": (np.linalg.pinv, torch.linalg.pinv, TALL),
    "norm, nuclear": (lambda a: np.linalg.norm(a, "nuc"), lambda a: torch.linalg.matrix_norm(a, "nuc"), WIDE),
    "norm, 3": (lambda a: np.linalg.norm(a, 3, axis=1), lambda a: torch.linalg.vector_norm(a, 3, dim=1), CUBE),
    "matrix_power": (lambda a: np.linalg.matrix_power(a, -3), lambda a: torch.linalg.matrix_power(a, -3), SQUARE),
    "percentile": (
        lambda a: np.percentile(a, [12, 77], axis=1),
        lambda a: torch.quantile(a, torch.tensor([0.12, 0.77], dtype=torch.float64), 1), ANY),
    "quantile, midpoint": (
        lambda a: np.quantile(a, 0.4, method="midpoint"), lambda a: torch.quantile(a, 0.4, interpolation="midpoint"),
        CUBE),
    "pad, reflect": (
        lambda a: np.pad(a, ((0, 0), (2, 1)), "reflect"), lambda a: torch.nn.functional.pad(a, (2, 1), "reflect"), ANY),
    "pad, edge": (
        lambda a: np.pad(a, ((0, 0), (2, 1)), "edge"), lambda a: torch.nn.functional.pad(a, (2, 1), "replicate"), ANY),
    "pad, wrap": (
        lambda a: np.pad(a, ((0, 0), (2, 1)), "wrap"), lambda a: torch.nn.functional.pad(a, (2, 1), "circular"), ANY),
    "sort": (lambda a: np.sort(a, axis=0), lambda a: torch.sort(a, 0).values, ANY),
    "cumprod": (lambda a: np.cumprod(a, axis=1), lambda a: torch.cumprod(a, 1), np.where(ANY > 1, 0, ANY)),
    "running maximum": (lambda a: np.maximum.accumulate(a, axis=1), lambda a: torch.cummax(a, 1).values, CUBE),
    "sinc": (np.sinc, torch.sinc, ANY),
    "cov": (np.cov, torch.cov, ANY),
    "einsum": (
        lambda a, b: np.einsum("iik,...k->...i", a, b), lambda a, b: torch.einsum("iik,...k->...i", a, b),
        numbers(2, 2, 3), POSITIVE),
    "gradient": (
        lambda a, x: np.gradient(a, x, edge_order=2), lambda a, x: torch.gradient(a, spacing=(x,), edge_order=2)[0],
        numbers(5), np.cumsum(POSITIVE)[:5]),
    "rfft": (tg.ops.rfft, lambda a: torch.view_as_real(torch.fft.rfft(a)), numbers(2, 6)),
    "irfft": (
        lambda a: tg.ops.irfft(a, 5), lambda a: torch.fft.irfft(torch.view_as_complex(a), 5), numbers(2, 3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_values_and_both_derivatives(name):
    ours, theirs, *arrays = TWINS[name]
    a, b = ([make(x) for x in arrays] for make in (lambda x: tg.Tensor(x, requires_grad=True), of_torch))
    y, z = ours(*a), theirs(*b)
    y, z = (list(v) if isinstance(v, list) else [v] for v in (y, z))
    for one, two in zip(y, z, strict=True):
        np.testing.assert_allclose(one.data, two.detach().numpy(), rtol=1e-9, atol=1e-12)
    weights = [np.random.default_rng(i).uniform(0.5, 2, np.shape(part)) for i, part in enumerate(y)]
    first = tg.grad(sum(np.sum(p * w) for p, w in zip(y, weights, strict=True)), a, create_graph=True)
    cost = sum((p * torch.as_tensor(w)).sum() for p, w in zip(z, weights, strict=True))
    their_first = torch.autograd.grad(cost, b, create_graph=True)
    for one, two in zip(first, their_first, strict=True):
        np.testing.assert_allclose(one.data, two.detach().numpy(), rtol=1e-8, atol=1e-10)
    if not any(g.requires_grad for g in first):
        return
    second = tg.grad(sum(np.sum(g * g) for g in first), a)
    their_second = torch.autograd.grad(sum((g * g).sum() for g in their_first), b)
    for one, two in zip(second, their_second, strict=True):
        np.testing.assert_allclose(one, two.numpy(), rtol=1e-7, atol=1e-8)


def of_torch(array):
    return torch.tensor(array, requires_grad=True)


def test_torch_spreads_the_gradient_of_a_symmetric_matrix_over_both_triangles():
    """Which docs/functions.md says; ours is in the triangle that is read, and the sums of the two are equal."""
    matrix = SQUARE @ SQUARE.T
    t, u = tg.Tensor(matrix, requires_grad=True), of_torch(matrix)
    (ours,) = tg.grad(np.sum(np.linalg.cholesky(t)), t)
    (theirs,) = torch.autograd.grad(torch.linalg.cholesky(u).sum(), u)
    np.testing.assert_allclose(theirs, theirs.T, rtol=1e-12)
    np.testing.assert_allclose(ours + ours.T, 2 * theirs.numpy(), rtol=1e-10)


def test_ties_are_as_in_torch():
    tied = np.array([2.0, 1.0, 2.0, 1.0])
    for ours, theirs in (
        (lambda a: np.sort(a)[1], lambda a: torch.sort(a, stable=True).values[1]),
        (lambda a: np.maximum.accumulate(a)[-1], lambda a: torch.cummax(a, 0).values[-1]),
        (lambda a: np.linalg.norm(0 * a), lambda a: torch.linalg.norm(0 * a)),
    ):
        t, u = tg.Tensor(tied, requires_grad=True), of_torch(tied)
        assert tg.grad(ours(t), t)[0].tolist() == torch.autograd.grad(theirs(u), u)[0].tolist()
