"""Residual and LayerNorm against their formulas, finite differences and PyTorch, for one network and for ensembles."""

from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

SHAPES = [(4,), (1, 4), (5, 4), (2, 5, 4)]


def norm(rng: np.random.Generator, features: int = 4, dtype: type = np.float64) -> nn.LayerNorm:
    """A LayerNorm whose weights and biases are not those that it starts with."""
    layer = nn.LayerNorm(features, dtype=dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, mean=0.5, rng=rng)
    return layer


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm_is_its_formula(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    layer, x = norm(rng), rng.normal(3, 2, size=shape)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(x).data, expected * layer.weight.data + layer.bias.data, rtol=1e-13, atol=1e-13)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_layer_norm_starts_as_the_identity_on_normal_rows_and_survives_constant_ones() -> None:
    layer = nn.LayerNorm(3, eps=0.1)
    x = tg.Tensor(np.full((2, 3), 7.0), requires_grad=True)
    y = layer(x)
    assert np.array_equal(y.data, np.zeros((2, 3)))
    y.backward(np.eye(2, 3))
    assert np.isfinite(x.grad).all()
    row = np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5)  # mean 0, variance 1
    np.testing.assert_allclose(layer(row).data, row / np.sqrt(1.1), rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_those_of_finite_differences(
    rng: np.random.Generator, shape: tuple[int, ...], order: int
) -> None:
    layer = norm(rng)

    def function(x: Any, weight: Any, bias: Any) -> Any:
        vars(layer).update(weight=weight, bias=bias)  # Tensors, for their gradients
        return nn.Residual(layer)(x)

    inputs = [
        tg.Tensor(a, requires_grad=True) for a in (rng.normal(size=shape), rng.normal(size=4), rng.normal(size=4))
    ]
    assert tg.gradcheck(function, inputs, order=order)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 5, 4)], ids=["sample", "shared inputs", "own inputs"])
def test_an_ensemble_is_a_loop_over_its_members(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    members = [nn.Residual(norm(rng)) for _ in range(3)]
    ensemble, x = nn.stack(members), rng.normal(size=shape)
    g = rng.normal(size=(3, *shape[-2:]))
    y = ensemble(x)
    y.backward(g)
    for i, member in enumerate(members):
        output = member(x[i] if len(shape) == 3 else x)
        output.backward(g[i])
        np.testing.assert_allclose(y.data[i], output.data, rtol=1e-13)
        for mine, alone in zip(ensemble.parameters(), member.parameters(), strict=True):
            np.testing.assert_allclose(mine.grad[i], alone.grad, rtol=1e-13, atol=1e-15)


def test_float32_stays_float32(rng: np.random.Generator) -> None:
    layer = nn.Residual(norm(rng, dtype=np.float32))
    y = layer(rng.normal(size=(5, 4)).astype(np.float32))
    np.sum(y).backward()
    assert {y.dtype, *(p.grad.dtype for p in layer.parameters())} == {np.dtype(np.float32)}


def test_residual_adds_and_lets_the_gradient_through(rng: np.random.Generator) -> None:
    layer = nn.Linear(3, 3, rng=rng)
    x, g = tg.Tensor(rng.normal(size=(5, 3)), requires_grad=True), rng.normal(size=(5, 3))
    y = nn.Residual(layer)(x)
    assert np.array_equal(y.data, x.data + layer(x.data).data)
    y.backward(g)
    np.testing.assert_allclose(x.grad, g + g @ layer.weight.data, rtol=1e-14)
    assert list(dict(nn.Residual(layer).named_parameters())) == ["module.weight", "module.bias"]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"LayerNorm\(4, eps=1e-05\) takes arrays of shape \(\.\.\., 4\)"):
        nn.LayerNorm(4)(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="at least one feature"):
        nn.LayerNorm(0)
    with pytest.raises(ValueError, match=r"Linear made \(5, 1\) of \(5, 3\)"):
        nn.Residual(nn.Linear(3, 1))(np.zeros((5, 3)))
    with pytest.raises(TypeError, match="Residual takes a module"):
        nn.Residual(np.tanh)  # type: ignore[arg-type]


@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm_is_that_of_pytorch(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    layer, twin = norm(rng), torch.nn.LayerNorm(4, dtype=torch.float64)
    with torch.no_grad():
        twin.weight.copy_(torch.tensor(layer.weight.data))
        twin.bias.copy_(torch.tensor(layer.bias.data))
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    ours, theirs = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    output, twin_output = layer(ours), twin(theirs)
    output.backward(g)
    twin_output.backward(torch.tensor(g))
    pairs = [(output.data, twin_output.detach()), (ours.grad, theirs.grad)]
    pairs += [(layer.weight.grad, twin.weight.grad), (layer.bias.grad, twin.bias.grad)]
    for mine, reference in pairs:
        np.testing.assert_allclose(mine, reference.numpy(), rtol=1e-12, atol=1e-13)
