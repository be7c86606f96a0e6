"""A Linear without a bias is recorded as if it had one of 0: the same numbers, for every kind of network and step."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.instruments import GradientRecorder, diagnose, log10_norm

NUMBERS = ("log10_norm", "log10_weight_norm", "log10_rms", "coherence", "saturation", "log10_update")


def network(bias: bool, sizes: tuple[int, ...] = (5, 6, 6, 4), seed: int = 0, dtype: Any = np.float64) -> Any:
    """The same weights with biases of 0 that are not trained on, or without."""
    rng = np.random.default_rng(seed)
    parts: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        weight = (rng.normal(size=(n_out, n_in)) / np.sqrt(n_in)).astype(dtype)
        layer = nn.Linear(n_in, n_out, bias=bias, dtype=dtype, rng=0)
        layer.weight.data = weight
        if bias:
            layer.bias.data = np.zeros(n_out, dtype)
        parts += [layer, nn.Tanh()]
    return nn.Sequential(*parts[:-1])


class Tied(nn.Module):
    """One layer, used several times."""

    def __init__(self, net: Any, uses: int) -> None:
        self.first, self.tied, self.last = net[0], net[2], net[4]
        self.uses = uses

    def forward(self, x: Any) -> Any:
        h = np.tanh(self.first(x))
        for _ in range(self.uses):
            h = np.tanh(self.tied(h))
        return self.last(h)


KINDS = {
    "single": lambda bias: network(bias),
    "float32": lambda bias: network(bias, dtype=np.float32),
    "ensemble": lambda bias: nn.stack([network(bias, seed=seed) for seed in range(3)]),
    "one neuron": lambda bias: network(bias, (1, 1, 1, 1)),
    "twice": lambda bias: Tied(network(bias), 2),
    "five times": lambda bias: Tied(network(bias), 5),
    "ensemble, twice": lambda bias: nn.stack([Tied(network(bias, seed=seed), 2) for seed in range(3)]),
}
SHAPES = {"batch": (7,), "batch of one": (1,), "two axes": (3, 7), "three axes": (2, 3, 7), "sample": ()}
CASES = [(kind, shape) for kind in KINDS for shape in SHAPES if "ensemble" not in kind or shape != "sample"]


def data(net: Any, shape: tuple[int, ...], k: int = 0) -> Any:
    weight = next(net.parameters())
    return np.random.default_rng(k).normal(size=(*shape, weight.shape[-1])).astype(weight.dtype)


def run(net: Any, shape: tuple[int, ...] = (7,), steps: int = 3, backward: Any = None, **options: Any) -> Any:
    """Steps that move the weights alone; the histories of both networks must then be the same."""
    sgd = optim.SGD([p for name, p in net.named_parameters() if "weight" in name], lr=0.01)
    with GradientRecorder(net, statistics=True, values=True, **options) as recorder:
        for k in range(steps):
            net.zero_grad()
            np.sum(np.square(net(data(net, shape, k)) - 1)).backward(**(backward or {}))
            if not backward:
                sgd.step()
    return recorder.history


def same(one: Any, other: Any, tolerance: float, numbers: tuple[str, ...] = NUMBERS) -> None:
    """To a tolerance in decades; 0 is bit for bit."""
    assert one.layers == other.layers
    assert one.names == other.names
    assert one.steps.tolist() == other.steps.tolist()
    for name in numbers:
        a, b = getattr(one, name), getattr(other, name)
        assert a.shape == b.shape
        assert a == pytest.approx(b, abs=tolerance, rel=0, nan_ok=True), name
    for a, b in zip(one.values, other.values, strict=True):
        assert a.dtype == b.dtype
        assert a == pytest.approx(b, rel=0, abs=tolerance * float(np.abs(b).max()))


def tolerance_of(kind: str) -> float:
    """Sums over uses are taken in another order; beyond two terms that is one rounding or some. Else nothing."""
    return {"five times": 1e-14, "float32": 5e-7}.get(kind, 5e-15)


@pytest.mark.parametrize(("kind", "shape"), CASES)  # for an ensemble the axis of 3 is that of its members
def test_every_number_is_that_of_a_bias_of_0(kind: str, shape: str) -> None:
    one, other = (run(KINDS[kind](bias), SHAPES[shape]) for bias in (False, True))
    assert np.isfinite(one.log10_norm).all()
    same(one, other, tolerance_of(kind))


def test_of_one_use_and_one_sample_the_vectors_are_the_same_bits() -> None:
    for shape in ((), (1,)):  # a sum over samples is taken in another order, and differs by a rounding
        one, other = (run(network(bias), shape) for bias in (False, True))
        same(one, other, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backward", [{"extended_range": True}, {"create_graph": True}], ids=str)
def test_every_kind_of_backward_is_recorded(kind: str, backward: dict[str, bool]) -> None:
    one, other = (run(KINDS[kind](bias), backward=backward, steps=1) for bias in (False, True))
    assert np.isfinite(one.log10_norm).all()
    same(one, other, tolerance_of(kind))


def test_what_underflows_is_seen_in_extended_range() -> None:
    histories = []
    for bias in (False, True):
        net = network(bias, (5, *[6] * 60, 4), dtype=np.float32)
        for layer in list(net)[::2]:
            layer.weight.data = layer.weight.data * np.float32(0.1)
        histories.append(run(net, backward={"extended_range": True}, steps=1))
    assert histories[0].log10_norm[0, 0] < -50
    same(*histories, tolerance=2e-6)


def test_layers_with_and_without_a_bias_stand_side_by_side() -> None:

    def mixed() -> Any:
        net = network(True)
        net[2].bias = None
        return net

    one, other, chosen = run(mixed()), run(network(True)), run(mixed(), layers=2)
    assert one.layers == (1, 2, 3)
    same(one, other, 2e-15)
    assert chosen.layers == (2,)
    assert np.array_equal(chosen.log10_norm, one.log10_norm[:, 1:2])


def test_a_frozen_bias_is_none_but_its_layer_is_not_recorded_as_before() -> None:
    """A bias that is not trained has no gradient that anybody gets."""
    net = network(True)
    net[2].bias.requires_grad = False
    with GradientRecorder(net) as recorder:
        np.sum(net(data(net, (7,)))).backward()
    assert recorder.history.names == ("0", "4")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [False, True])
def test_the_weights_norm_is_that_of_their_gradient(kind: str, bias: bool) -> None:
    net = KINDS[kind](bias)
    with GradientRecorder(net, statistics=True) as recorder:
        np.sum(np.square(net(data(net, (7,))) - 1)).backward()
    layers = [module for _, module in net.named_modules() if isinstance(module, nn.Linear)]
    expected = [log10_norm(layer.weight.grad, axis=(-2, -1)) for layer in layers]
    assert recorder.history.log10_weight_norm[0] == pytest.approx(np.array(expected), abs=1e-14)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_raised_by_layer_and_step(value: float) -> None:
    messages = []
    for bias in (False, True):
        net = network(bias)
        with GradientRecorder(net, on_nonfinite="raise") as recorder:
            np.sum(net(data(net, (7,)))).backward()
            z = net[:3](data(net, (7,)))
            z.register_hook(lambda g: np.full_like(g, value))
            with pytest.raises(FloatingPointError) as caught, np.errstate(invalid="ignore"):
                np.sum(net[3:](z)).backward()
        messages.append(str(caught.value))
        assert recorder.history.first_nonfinite == 1
        assert net[0].weight.grad is not None  # of the step before; that of the last was not added
        assert np.isfinite(net[0].weight.grad).all()
    assert messages[0] == messages[1]
    assert "layer 2 ('2')" in messages[0]
    assert "backward 1" in messages[0]


@pytest.mark.parametrize("kind", ["single", "ensemble", "five times"])
def test_training_goes_on_bit_for_bit_as_without_a_recorder(kind: str) -> None:
    heard, alone = KINDS[kind](False), KINDS[kind](False)
    run(heard)
    sgd = optim.SGD(list(alone.parameters()), lr=0.01)
    for k in range(3):
        alone.zero_grad()
        np.sum(np.square(alone(data(alone, (7,), k)) - 1)).backward()
        sgd.step()
    assert all(np.array_equal(a.data, b.data) for a, b in zip(heard.parameters(), alone.parameters(), strict=True))


def test_a_step_is_a_backward_that_reaches_a_layer() -> None:
    """Two passes before one backward are summed, as a bias would; evaluations and other backwards do not count."""
    histories = []
    for bias in (False, True):
        net, other = network(bias), network(bias, seed=5)
        with GradientRecorder(net, values=True, statistics=True) as recorder:
            costs = [np.sum(net(data(net, (7,), k))) for k in range(2)]
            with tg.no_grad():
                net(data(net, (7,), 9))
            np.sum(other(data(net, (7,)))).backward()
            (costs[0] + 3 * costs[1]).backward()
            costs[0].backward()  # its graph is still there
            costs[1].backward()
            tg.grad(np.sum(net(data(net, (7,)))), net[2].weight)
        histories.append(recorder.history)
    one, other = histories
    assert one.log10_norm.shape[0] >= 3
    assert one.log10_norm[:3] == pytest.approx(other.log10_norm[:3], abs=1e-14)
    for a, b in zip(one.values, other.values, strict=True):
        assert a[:3] == pytest.approx(b[:3], abs=1e-13)


def test_its_history_is_judged_as_that_of_biases() -> None:
    one, other = (diagnose(run(network(bias))[0]) for bias in (False, True))
    assert str(one) == str(other)


def test_a_pass_that_was_walked_back_before_counts_again() -> None:
    """As it does for a bias: what is recorded is ∂C/∂b of this backward's cost, however old its passes are."""
    histories = []
    for bias in (False, True):
        net = network(bias)
        with GradientRecorder(net, values=True) as recorder:
            old = np.sum(net(data(net, (7,), 0)))
            old.backward()
            new = np.sum(net(data(net, (7,), 1)))
            (old + new).backward()
            np.sum(net(data(net, (7,), 2)))
            old.backward()
        histories.append(recorder.history)
    assert histories[0].steps.tolist() == histories[1].steps.tolist() == [0, 1, 2]
    assert histories[0].log10_norm == pytest.approx(histories[1].log10_norm, abs=1e-14)
