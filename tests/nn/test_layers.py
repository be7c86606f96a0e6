"""Linear and the activations against their formulas, for one network and for ensembles."""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_vg as tg
from tinygrad_vg import nn

Array = NDArray[np.floating[Any]]

SHAPES = {"sample": (3,), "batch": (5, 3), "batch of one": (1, 3), "as many as inputs": (3, 3), "stacked": (4, 5, 3)}
# (members, batch, out, in); equal numbers would hide axes that were taken for one another, or show ones of length 1.
ENSEMBLES = [(3, 5, 2, 4), (2, 2, 2, 2), (1, 5, 2, 4), (3, 1, 2, 4), (3, 5, 1, 1)]
close = functools.partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-13)


def backward(layer: nn.Linear, x: Array, cotangent: Array) -> tuple[Array, Array]:
    """The layer's output, and the gradient of its input; those of the parameters are left in their `.grad`."""
    tensor = tg.Tensor(x, requires_grad=True)
    output = layer(tensor)
    output.backward(cotangent)
    return output.data, tensor.grad


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_linear_is_its_formula(rng: np.random.Generator, shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(3, 2, bias, rng=rng)
    x, g = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 2))
    output, x_grad = backward(layer, x, g)
    weight, shift = layer.weight.data, layer.bias.data if layer.bias is not None else 0
    assert output.shape == g.shape
    weight_grad = np.zeros_like(weight)
    for sample in np.ndindex(shape[:-1]):
        close(output[sample], weight @ x[sample] + shift)
        close(x_grad[sample], weight.T @ g[sample])
        weight_grad += np.outer(g[sample], x[sample])
    close(layer.weight.grad, weight_grad)
    if bias:
        close(layer.bias.grad, g.reshape(-1, 2).sum(axis=0))
    assert [name for name, _ in layer.named_parameters()] == (["weight", "bias"] if bias else ["weight"])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("own_inputs", [False, True], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize("sizes", ENSEMBLES, ids=str)
def test_an_ensemble_is_a_loop_over_its_members(
    rng: np.random.Generator, sizes: tuple[int, ...], own_inputs: bool, bias: bool
) -> None:
    members, batch, n_out, n_in = sizes
    layers = [nn.Linear(n_in, n_out, bias, rng=rng) for _ in range(members)]
    ensemble = nn.stack(layers)
    x = rng.normal(size=(members, batch, n_in) if own_inputs else (batch, n_in))
    g = rng.normal(size=(members, batch, n_out))
    output, x_grad = backward(ensemble, x, g)
    x_grads = []
    for i, layer in enumerate(layers):
        expected, member_x_grad = backward(layer, x[i] if own_inputs else x, g[i])
        x_grads.append(member_x_grad)
        close(output[i], expected)
        close(ensemble.weight.grad[i], layer.weight.grad)
        if bias:
            close(ensemble.bias.grad[i], layer.bias.grad)
    close(x_grad, np.stack(x_grads) if own_inputs else sum(x_grads))
    assert ensemble.weight.grad.shape == (members, n_out, n_in)


def test_an_ensemble_takes_batches_only() -> None:
    """The outputs (R, out) for one sample would pass for a batch of R in the next layer."""
    ensemble = nn.stack([nn.Linear(4, 2, rng=seed) for seed in range(3)])
    with pytest.raises(ValueError, match=r"x\[None\] is a batch"):
        ensemble(np.ones(4))


@pytest.mark.parametrize("shape", [(4,), (5, 2), (3, 5, 1)], ids=str)
def test_inputs_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Linear\(3, 2\) takes arrays of shape \(\.\.\., 3\), not \(") as caught:
        nn.Linear(3, 2)(np.ones(shape))
    assert str(caught.value).endswith(f"not {shape}")


@pytest.mark.parametrize("shape", [(28, 28), (5, 28, 28), (5, 1, 28, 28), (2, 5, 28, 28), (2, 3, 5, 28, 28)], ids=str)
def test_images_that_are_not_flat_are_told_what_makes_them_so(shape: tuple[int, ...]) -> None:
    """What the error says to write is taken."""
    x, layer = np.zeros(shape), nn.Linear(784, 3, rng=0)
    with pytest.raises(ValueError, match=r": write x\.reshape\(.*, 784\)") as caught:
        layer(x)
    lead = re.search(r"reshape\((.*), 784\)", str(caught.value))
    assert lead is not None
    assert layer(x.reshape(*map(int, lead[1].split(", ")), 784)).size == x.size // 784 * 3
    if "nn.Flatten()" in str(caught.value):
        assert layer(nn.Flatten()(x)).shape == (shape[0], 3)
    else:
        assert nn.Flatten()(x).shape[1:] != (784,)


def test_linear_starts_as_in_the_book() -> None:
    """Weights N(0, 1/in), then biases N(0, 1) from the same generator: not one seed used twice."""
    layer, rng = nn.Linear(7, 5, rng=3), np.random.default_rng(3)
    close(layer.weight.data, rng.normal(size=(5, 7)) / np.sqrt(7))
    close(layer.bias.data, rng.normal(size=5))


def test_the_same_seed_gives_the_same_layer() -> None:
    arrays = {seed: nn.Linear(3, 2, rng=seed).state_dict() for seed in [0, 1]}
    again = nn.Linear(3, 2, rng=np.random.default_rng(0)).state_dict()
    assert all(np.array_equal(array, again[name]) for name, array in arrays[0].items())
    assert not any(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())


def test_a_generator_goes_on_and_no_seed_is_a_fresh_one() -> None:
    rng = np.random.default_rng(0)
    layers = [nn.Linear(3, 2, rng=rng), nn.Linear(3, 2, rng=rng), nn.Linear(3, 2), nn.Linear(3, 2)]
    assert len({layer.weight.data.tobytes() for layer in layers}) == 4


def test_gradients_need_floats() -> None:
    with pytest.raises(TypeError, match="not int"):
        nn.Linear(3, 2, dtype=int)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("members", [0, 3], ids=["single", "ensemble"])
def test_a_network_keeps_its_dtype_through_a_training_step(rng: np.random.Generator, dtype: type, members: int) -> None:
    def network(seed: int) -> nn.Sequential:
        parts: list[nn.Module] = []
        weights = np.random.default_rng(seed)
        for activation in [nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.Identity()]:
            parts += [nn.Linear(4, 4, dtype=dtype, rng=weights), activation]
        return nn.Sequential(*parts)

    net = nn.stack([network(seed) for seed in range(members)]) if members else network(0)
    x = rng.normal(size=(5, 4)).astype(dtype)
    optimizer = tg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for loss in [nn.MSELoss(), nn.BCEWithLogitsLoss("batchmean"), nn.CrossEntropyLoss("sum")]:
        optimizer.zero_grad()
        output = net(x)
        cost = loss(output, np.full((5, 4), 0.25))  # float64 targets, as users have them
        cost.backward()
        optimizer.step()
        arrays = [output, cost, *net.parameters(), *(p.grad for p in net.parameters())]
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}


# Activations: (the layer, its formula, its slope); the formulas are right at moderate z only.
ACTIVATIONS: dict[str, tuple[nn.Module, Callable[[Array], Any], Callable[[Array], Any]]] = {
    "sigmoid": (nn.Sigmoid(), lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (nn.Tanh(), lambda z: np.sinh(z) / np.cosh(z), lambda z: np.cosh(z) ** -2.0),
    "relu": (nn.ReLU(), lambda z: z * (z > 0), lambda z: 1.0 * (z > 0)),
    "identity": (nn.Identity(), lambda z: z, np.ones_like),
}


@pytest.mark.parametrize(("layer", "formula", "slope"), ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize("shape", [(), (7,), (5, 3), (2, 5, 3)], ids=str)
def test_activations_are_their_formulas(
    rng: np.random.Generator, layer: nn.Module, formula: Any, slope: Any, shape: tuple[int, ...]
) -> None:
    z, g = tg.Tensor(rng.normal(scale=3, size=shape), requires_grad=True), rng.normal(size=shape)
    output = layer(z)
    close(output.data, formula(z.data))
    output.backward(g)
    close(z.grad, g * slope(z.data))
    assert list(layer.parameters()) == []


def test_activations_at_their_ends() -> None:
    z = tg.Tensor([-800.0, 0.0, 800.0], requires_grad=True)
    assert nn.Sigmoid()(z).data.tolist() == [0, 0.5, 1]
    assert nn.Tanh()(z).data.tolist() == [-1, 0, 1]
    assert nn.ReLU()(z).data.tolist() == [0, 0, 800]
    assert nn.Identity()(z) is z
    np.sum(nn.ReLU()(z)).backward()
    assert z.grad.tolist() == [0, 0, 1]


@pytest.mark.parametrize("layer", [nn.Linear(3, 2, rng=0), nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.Identity()], ids=repr)
def test_layers_take_plain_arrays(rng: np.random.Generator, layer: nn.Module) -> None:
    x = rng.normal(size=(5, 3))
    output, expected = layer(x), layer(tg.Tensor(x))
    assert np.array_equal(output.data if isinstance(output, tg.Tensor) else output, expected.data)
