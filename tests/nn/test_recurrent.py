"""Recurrent cells and layers: laws that hold without PyTorch."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
T, B, IN, H = 4, 3, 2, 5

CELLS: dict[str, Callable[..., Any]] = {
    "tanh": nn.RNNCell,
    "relu": functools.partial(nn.RNNCell, nonlinearity="relu"),
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
}
LAYERS: dict[str, Callable[..., Any]] = {
    "tanh": nn.RNN,
    "relu": functools.partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
every_kind = pytest.mark.parametrize("kind", CELLS)


def states(hx: Any) -> list[Any]:
    return list(hx) if isinstance(hx, tuple) else [hx]


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def by_hand(kind: str, x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> tuple[Any, Any]:
    """(h, c) after a step of one sample, by the formulas, unit by unit of the rows of the weights."""
    given, product = w_ih @ x + b_ih, w_hh @ h + b_hh
    n = len(h)
    if kind == "tanh":
        return np.tanh(given + product), c
    if kind == "relu":
        return np.maximum(given + product, 0), c
    if kind == "lstm":
        i, f, g, o = (given + product).reshape(4, n)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    r, z = sigmoid(given + product)[: 2 * n].reshape(2, n)
    return (1 - z) * np.tanh(given[2 * n :] + r * product[2 * n :]) + z * h, c


@every_kind
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_layer_is_its_formula(rng: np.random.Generator, kind: str, num_layers: int) -> None:
    layer = LAYERS[kind](IN, H, num_layers, rng=rng)
    x, first = rng.normal(size=(T, B, IN)), rng.normal(size=(2, num_layers, B, H))
    hx = tuple(first) if kind == "lstm" else first[0]
    output, last = layer(x, hx)
    for sample in range(B):
        sequence = list(x[:, sample])
        for k in range(num_layers):
            h, c = first[:, k, sample]
            parameters = [p.data for p in layer.of_layer(k)]
            for t in range(T):
                h, c = by_hand(kind, sequence[t], h, c, *parameters)
                sequence[t] = h
            for tensor, value in zip(states(last), (h, c), strict=False):
                close(tensor.data[k, sample], value)
        close(output.data[:, sample], sequence)


@every_kind
def test_a_layer_is_a_loop_over_its_cell(rng: np.random.Generator, kind: str) -> None:
    layer, cell = LAYERS[kind](IN, H, rng=rng), CELLS[kind](IN, H)
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in layer.state_dict().items()})
    x, hx, outputs = rng.normal(size=(T, B, IN)), None, []
    for t in range(T):
        hx = cell(x[t], hx)
        outputs.append(states(hx)[0])
    output, last = layer(x)
    close(output.data, [h.data for h in outputs])
    for ours, of_cell in zip(states(last), states(hx), strict=True):
        close(ours.data, of_cell.data[None])
    g = rng.normal(size=(T, B, H))
    output.backward(g)
    np.stack(outputs).backward(g)
    for name, parameter in cell.named_parameters():
        close(parameter.grad, vars(layer)[f"{name}_l0"].grad)


@every_kind
def test_batch_first_and_no_batch_are_the_same_numbers(rng: np.random.Generator, kind: str) -> None:
    layer = LAYERS[kind](IN, H, 2, rng=rng)
    x = rng.normal(size=(T, B, IN))
    output, last = layer(x)
    layer.batch_first = True
    swapped, swapped_last = layer(x.swapaxes(0, 1))
    close(swapped.data.swapaxes(0, 1), output.data)
    alone, alone_last = layer(x[:, 1])  # without a batch there is nothing to swap
    close(alone.data, output.data[:, 1])
    for whole, same, one in zip(states(last), states(swapped_last), states(alone_last), strict=True):
        close(same.data, whole.data)
        close(one.data, whole.data[:, 1])


@every_kind
@pytest.mark.parametrize("batch", [2, 3], ids=["another", "as many as members"])
@pytest.mark.parametrize("own_inputs", [False, True], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_ensemble_is_a_loop_over_its_members(
    rng: np.random.Generator, kind: str, batch: int, own_inputs: bool, batch_first: bool
) -> None:
    members = 3
    layers = [LAYERS[kind](IN, H, 2, batch_first=batch_first, rng=rng) for _ in range(members)]
    ensemble = nn.stack(layers)
    x = rng.normal(size=(T, members, batch, IN) if own_inputs else (T, batch, IN))
    first = rng.normal(size=(2, 2, members, batch, H) if own_inputs else (2, 2, batch, H))
    g = rng.normal(size=(T, members, batch, H))

    def called(layer: Any, x: Any, first: Any, g: Any) -> Any:
        output, last = layer(
            x.swapaxes(0, -2) if batch_first else x, tuple(first) if kind == "lstm" else first[0]
        )  # fmt: skip
        output.backward(g.swapaxes(0, -2) if batch_first else g)
        return output.data.swapaxes(0, -2) if batch_first else output.data, [h.data for h in states(last)]

    output, last = called(ensemble, x, first, g)
    assert output.shape == g.shape
    for i, layer in enumerate(layers):
        own, own_last = called(
            layer, x[:, i] if own_inputs else x, first[:, :, i] if own_inputs else first, g[:, i]
        )  # fmt: skip
        close(output[:, i], own)
        for whole, single in zip(last, own_last, strict=True):
            close(whole[:, i], single)
        for name, parameter in layer.named_parameters():
            close(vars(ensemble)[name].grad[i], parameter.grad)
    assert nn.unstack(ensemble, 1).weight_hh_l1.shape == layers[1].weight_hh_l1.shape


@every_kind
def test_an_ensemble_of_cells(rng: np.random.Generator, kind: str) -> None:
    cells = [CELLS[kind](IN, H, rng=seed) for seed in range(B)]
    ensemble, x = nn.stack(cells), rng.normal(size=(B, IN))
    of_all = states(ensemble(x, ensemble(x)))
    for i, cell in enumerate(cells):
        for whole, single in zip(of_all, states(cell(x, cell(x))), strict=True):
            close(whole.data[i], single.data)


@every_kind
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_those_of_finite_differences(rng: np.random.Generator, kind: str, order: int) -> None:
    steps, size = (3, 2) if order == 1 else (2, 1)
    layer = LAYERS[kind](1, size, rng=4)
    layer.weight_hh_l0.data = 2 * layer.weight_hh_l0.data
    # The second order goes through W_hh alone, of which the gradient of each step depends on all the others.
    names = [name for name, _ in layer.named_parameters() if order == 1 or name == "weight_hh_l0"]

    def function(x: Any, *parameters: Any) -> Any:
        for name, parameter in zip(names, parameters, strict=True):
            object.__setattr__(layer, name, parameter)
        output, last = layer(x)
        return np.sum(output * g) + sum(np.sum(h) for h in states(last))

    x = tg.Tensor(rng.normal(size=(steps, 1, 1)), requires_grad=True)
    g = rng.normal(size=(steps, 1, size))
    inputs = x, *[tg.Tensor(vars(layer)[name].data, requires_grad=True) for name in names]
    assert tg.gradcheck(function, inputs, order=order)


@every_kind
def test_parameters_are_sampled_as_pytorch_says(kind: str) -> None:
    layer = LAYERS[kind](30, 25, 2, rng=0)
    for parameter in layer.parameters():
        assert abs(parameter.data).max() <= 0.2
        assert parameter.ndim == 1 or abs(parameter.data.std() - 0.2 / 3**0.5) < 0.01
    again, other = LAYERS[kind](30, 25, 2, rng=0), LAYERS[kind](30, 25, 2, rng=1)
    assert np.array_equal(layer.weight_hh_l1.data, again.weight_hh_l1.data)
    assert not np.array_equal(layer.weight_hh_l1.data, other.weight_hh_l1.data)
    assert len({float(p.data.ravel()[0]) for p in layer.parameters()}) == 8  # no two from the same seed


@every_kind
def test_float32_stays_float32(kind: str) -> None:
    layer = LAYERS[kind](IN, H, 2, dtype=np.float32, rng=0)
    output, last = layer(np.ones((T, B, IN), np.float32))
    output.backward(np.ones_like(output.data))
    assert {output.dtype, *(h.dtype for h in states(last)), *(p.grad.dtype for p in layer.parameters())} == {
        np.dtype(np.float32)
    }


def test_without_bias_there_are_no_bias_parameters() -> None:
    layer = nn.GRU(IN, H, 2, bias=False, rng=0)
    assert [*layer.state_dict()] == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
    assert [*nn.LSTMCell(IN, H, bias=False).state_dict()] == ["weight_ih", "weight_hh"]
    with_zeros = nn.GRU(IN, H, 2, rng=0)
    for name, parameter in with_zeros.named_parameters():
        parameter.data = layer.state_dict().get(name, np.zeros(3 * H))
    x = np.random.default_rng(1).normal(size=(T, B, IN))
    close(layer(x)[0].data, with_zeros(x)[0].data)


@every_kind
def test_input_and_initial_state_have_gradients(rng: np.random.Generator, kind: str) -> None:
    """What a layer below, or a chunk of the sequence before, needs: one sequence is two chunks, one after the other."""
    layer = LAYERS[kind](IN, H, 2, rng=rng)
    x = tg.Tensor(rng.normal(size=(T, B, IN)), requires_grad=True)
    g = rng.normal(size=(2, B, H))
    states(layer(x)[1])[0].backward(g)
    whole, x.grad = x.grad, None
    middle = layer(x[:2])[1]
    states(layer(x[2:], middle)[1])[0].backward(g)
    close(x.grad, whole)
    assert abs(whole[0]).max() > 0


def test_repr_says_what_is_not_usual() -> None:
    assert repr(nn.LSTM(2, 3, 2, batch_first=True)) == "LSTM(2, 3, num_layers=2, batch_first=True)"
    assert repr(nn.GRUCell(2, 3)) == "GRUCell(2, 3)"


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.RNN(0, 3), ValueError, "1 or more, not 0, 3, 1"),
        (lambda: nn.RNNCell(2, 0), ValueError, "not 2 and 0"),
        (lambda: nn.RNN(2, 3, nonlinearity="selu"), ValueError, "'selu'"),
        (lambda: nn.LSTM(2, 3)(np.ones((4, 5, 1))), ValueError, "last of length 2"),
        (lambda: nn.GRU(2, 3)(np.ones(2)), ValueError, "3 axes"),
        (lambda: nn.GRU(2, 3)(np.ones((0, 5, 2))), ValueError, "one step or more"),
        (lambda: nn.LSTM(2, 3)(np.ones((4, 5, 2)), np.ones((1, 5, 3))), TypeError, "tuple of 2, not of 1"),
        (lambda: nn.GRU(2, 3)(np.ones((4, 5, 2)), np.ones((5, 3))), ValueError, r"\(1, 5, 3\) here, not \(5, 3\)"),
        (lambda: nn.RNNCell(2, 3)(np.ones((5, 2)), np.ones(3)), ValueError, r"\(5, 3\) here"),
        (lambda: nn.stack([nn.RNN(2, 3), nn.RNN(2, 3)])(np.ones((4, 2))), ValueError, "of the members"),
        (lambda: nn.stack([nn.RNN(2, 3), nn.RNN(2, 3)])(np.ones((4, 3, 5, 2))), ValueError, "of the members"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()
