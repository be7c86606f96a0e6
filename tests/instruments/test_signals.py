"""Networks as users write them: every instrument says of them what it says of a Sequential of the same weights."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger, chain_factors, diagnose, mean_field_of, what_if

FIGURES = ("weights", "activation", "total", "log10_norm")


def linears(sizes: list[int], seed: int = 0) -> list[nn.Linear]:
    rng = np.random.default_rng(seed)
    return [nn.Linear(n_in, n_out, rng=rng) for n_in, n_out in pairwise(sizes)]


class Net(nn.Module):
    """Four Linears that were made in another order than they are called in; `forward` is a subclass's."""

    def __init__(self, sizes: list[int], seed: int = 0) -> None:
        first, second, third, last = linears(sizes, seed)
        self.last, self.second, self.first, self.third = last, second, first, third
        self.act = nn.Tanh()
        self.norm = nn.LayerNorm(sizes[2])
        self.norm.weight.data = np.linspace(0.5, 1.5, sizes[2])

    @property
    def layers(self) -> list[nn.Linear]:
        return [self.first, self.second, self.third, self.last]

    def between(self) -> list[list[nn.Module]]:
        """What lies behind the first, second and third layer, for the Sequential that does the same."""
        return [[nn.Tanh()], [nn.Tanh()], [nn.Tanh()]]

    def twin(self) -> nn.Sequential:
        parts: list[nn.Module] = []
        for layer, units in zip(self.layers, [*self.between(), []], strict=True):
            parts += [layer, *units]
        return nn.Sequential(*parts)


class RawFunctions(Net):
    """NumPy's tanh and the module, by turns."""

    def forward(self, x: Any) -> Any:
        return self.last(np.tanh(self.third(self.act(self.second(np.tanh(self.first(x)))))))


class RawSigmoids(Net):
    """The function, not the module."""

    def forward(self, x: Any) -> Any:
        for layer in self.layers[:-1]:
            x = tg.ops.sigmoid(layer(x))
        return self.last(x)

    def between(self) -> list[list[nn.Module]]:
        return [[nn.Sigmoid()]] * 3


class OneActivation(Net):
    """One activation module in three places."""

    def forward(self, x: Any) -> Any:
        return self.last(self.act(self.third(self.act(self.second(self.act(self.first(x)))))))


class NoActivation(Net):
    """Nothing at all behind the second layer."""

    def forward(self, x: Any) -> Any:
        return self.last(np.tanh(self.third(self.second(np.tanh(self.first(x))))))

    def between(self) -> list[list[nn.Module]]:
        return [[nn.Tanh()], [], [nn.Tanh()]]


class Keywords(Net):
    """Options, and the input itself, by keyword."""

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        h = np.tanh(self.first(x=x))
        h = np.tanh(self.third(x=np.tanh(self.second(x=h))))
        return self.last(x=h) * scale


class Normalised(Net):
    """A layer whose input comes through a LayerNorm."""

    def forward(self, x: Any) -> Any:
        h = self.norm(np.tanh(self.second(self.act(self.first(x)))))
        return self.last(np.tanh(self.third(h)))

    def between(self) -> list[list[nn.Module]]:
        return [[nn.Tanh()], [nn.Tanh(), self.norm], [nn.Tanh()]]


class Block(nn.Module):
    """A Linear and tanh, in a module of its own."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer

    def forward(self, x: Any, *, times: int = 1) -> Any:
        return np.tanh(self.layer(x))


class Nested(Net):
    """Blocks in a dictionary, and a block of blocks."""

    def __init__(self, sizes: list[int], seed: int = 0) -> None:
        first, second, third, last = linears(sizes, seed)
        self.parts = {"upper": [Block(third), last], "lower": nn.Sequential(Block(first), nn.Sequential(Block(second)))}

    @property
    def layers(self) -> list[Any]:
        first, (second,) = self.parts["lower"]
        third, last = self.parts["upper"]
        return [first.layer, second.layer, third.layer, last]

    def forward(self, x: Any) -> Any:
        third, last = self.parts["upper"]
        return last(third(self.parts["lower"](x), times=2))


NETS = [RawFunctions, RawSigmoids, OneActivation, NoActivation, Keywords, Normalised, Nested]
SINGLE = [RawFunctions, RawSigmoids, OneActivation, Keywords, Nested]  # one activation between each two layers
SIZES = [4, 6, 5, 5, 3]


def images(batch: int = 7) -> Any:
    return np.random.default_rng(1).normal(size=(batch, SIZES[0]))


def heard(net: Any, x: Any = None, **options: bool) -> tuple[Ledger, Any]:
    """A ledger that was there, and the cost."""
    with Ledger(net) as ledger:
        y = net(images() if x is None else x)
        cost = np.sum(y * np.random.default_rng(2).normal(size=y.shape[-2:]))
        cost.backward(**options)
    return ledger, cost


def figures(ledger: Ledger) -> Any:
    return np.array([[getattr(row, name) for name in FIGURES] for row in ledger])


def same_accounts(one: Ledger, other: Ledger) -> None:
    assert [unit.label for unit in one.chain.units] == [unit.label for unit in other.chain.units]
    assert [[part.label for part in row.parts] for row in one] == [[part.label for part in row.parts] for row in other]
    assert [row.cause for row in one] == [row.cause for row in other]
    assert figures(one) == pytest.approx(figures(other), abs=1e-12, nan_ok=True)
    assert str(diagnose(one)) == str(diagnose(other))


@pytest.mark.parametrize("kind", NETS)
def test_the_accounts_are_those_of_the_sequential(kind: type[Net]) -> None:
    """Heard live or read from the graph: the same units, rows, bounds and verdict, and layers in order of calls."""
    net = kind(SIZES)
    ledger, cost = heard(net)
    expected, _ = heard(net.twin())
    names = {module: name for name, module in net.named_modules()}
    for found in (ledger, Ledger.of(net, cost)):
        same_accounts(found, expected)
        assert found.names == tuple(names[layer] for layer in net.layers)
        assert [split.alignment for split in found.split()] == pytest.approx(
            [split.alignment for split in expected.split()], abs=1e-12
        )
        if kind is not Nested:
            assert str(found) == str(expected)


@pytest.mark.parametrize("kind", NETS)
def test_the_picture_is_that_of_the_sequential(kind: type[Net]) -> None:
    """Label for label; also before a call, when only the shapes are known."""
    net = kind(SIZES)
    twin = net.twin()
    assert tg.draw.layers(net, Ledger(net)).source == tg.draw.layers(twin, Ledger(twin)).source
    for module in (net, twin):
        module.zero_grad()
    (ledger, cost), (other, expected) = heard(net), heard(twin)
    assert tg.draw.layers(net, cost).source == tg.draw.layers(twin, expected).source
    assert tg.draw.layers(net, ledger).source == tg.draw.layers(twin, other).source


@pytest.mark.parametrize("kind", [*SINGLE, NoActivation])
def test_the_strongest_path_is_that_of_the_sequential(kind: type[Net]) -> None:
    net = kind(SIZES)
    sources = []
    for module in (net, net.twin()):
        module.zero_grad()
        sources.append(tg.draw.neurons(module, heard(module)[1], sample=2).source)
    assert sources[0] == sources[1]


def test_a_path_through_a_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="one activation between two layers"):
        tg.draw.neurons(net := Normalised(SIZES), heard(net)[1])


@pytest.mark.parametrize("kind", [*SINGLE, NoActivation])
def test_the_theory_is_that_of_the_sequential(kind: type[Net]) -> None:
    net = kind(SIZES)
    one, other = mean_field_of(net, images()), mean_field_of(net.twin(), images())
    assert one.log10_norm == pytest.approx(other.log10_norm, abs=1e-12)
    assert one.q == pytest.approx(other.q, abs=1e-12)
    assert one.width.tolist() == SIZES[1:]


@pytest.mark.parametrize("kind", SINGLE)
def test_what_if_says_the_same_of_both(kind: type[Net]) -> None:
    net = kind([3, 4, 4, 4, 2])
    x = images(2)[:, :3]
    one, other = (what_if(module, x, activation=nn.ReLU, rng=0) for module in (net, net.twin()))
    assert one == other
    assert one.predicted != 0


@pytest.mark.parametrize("kind", SINGLE)
def test_the_factors_of_one_neuron_a_layer_are_those_of_the_sequential(kind: type[Net]) -> None:
    """And they multiply to the gradient."""
    net = kind([1] * 5, seed=3)
    told = []
    for module in (net, net.twin()):
        module.zero_grad()
        cost = np.sum(np.square(module(np.ones((1, 1)))))
        told.append(chain_factors(cost, net.layers[0].bias))
        cost.backward()
        product = np.prod([factor.value for factor in told[-1]])
        assert product == pytest.approx(net.layers[0].bias.grad.item(), rel=1e-12)
    symbol = "σ" if kind is RawSigmoids else "tanh"
    expected = [f"{symbol}′(z₁)", "w₂", f"{symbol}′(z₂)", "w₃", f"{symbol}′(z₃)", "∂C/∂a₃"]
    assert [factor.label for factor in told[0]] == expected
    assert told[0] == told[1]


def test_a_factor_between_a_layer_and_its_activation_has_its_own_part() -> None:
    """tanh(scale · z), scale a keyword: a product outside of modules, and then tanh."""

    class Scaled(Net):
        def forward(self, x: Any, scale: float = 1.0) -> Any:
            return self.last(np.tanh(self.third(self.act(self.second(np.tanh(self.first(x) * scale))))))

    net = Scaled(SIZES)
    with Ledger(net) as ledger:
        cost = np.sum(net(images(), scale=0.25))
        cost.backward()
    for found in (ledger, Ledger.of(net, cost)):
        parts = found.rows[0].parts
        assert [part.label for part in parts] == ["Tanh", "np.multiply"]
        assert parts[1].decades == pytest.approx(np.log10(0.25), abs=1e-12)
        assert sum(part.decades for part in parts) == pytest.approx(found.rows[0].activation, abs=1e-12)


def test_several_inputs_may_be_data_or_recorded() -> None:
    """forward(x, y): the sum of both is what the first layer sees; a second layer is given data beside its input."""

    class Two(Net):
        def forward(self, x: Any, y: Any = 0.0) -> Any:
            h = np.tanh(self.first(x + y))
            return self.last(np.tanh(self.third(np.tanh(self.second(h) + 0.0 * np.sum(y)))))

    net, encoder = Two(SIZES), nn.Linear(4, 4, rng=9)
    x = images()
    expected = figures(heard(net.twin(), x)[0])
    for y in (np.zeros((7, 4)), tg.Tensor(np.zeros((7, 4)), requires_grad=True)):
        with Ledger(net) as ledger:
            out = net(x, y=y)
            np.sum(out * np.random.default_rng(2).normal(size=out.shape)).backward()
        assert figures(ledger) == pytest.approx(expected, abs=1e-12)
    first = np.tanh(encoder(x))
    with Ledger(net) as ledger:
        out = net(first)
        np.sum(out * np.random.default_rng(2).normal(size=out.shape)).backward()
    assert figures(ledger) == pytest.approx(figures(heard(net.twin(), first.data)[0]), abs=1e-12)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("options", [{}, {"extended_range": True}, {"create_graph": True}], ids=str)
def test_a_members_rows_are_those_of_its_network_alone(kind: type[Net], options: dict[str, bool]) -> None:
    nets = [kind(SIZES, seed) for seed in range(3)]
    together, cost = heard(nn.stack(nets), **options)
    assert figures(Ledger.of(together.model, cost)) == pytest.approx(figures(together), abs=1e-12)
    for i, net in enumerate(nets):
        assert figures(together)[:, :, i] == pytest.approx(figures(heard(net, **options)[0]), abs=1e-12)


def test_copies_of_a_network_have_accounts_of_their_own() -> None:
    """A ledger of one does not hear the other, though both are called in between."""
    net = RawFunctions(SIZES)
    other = copy.deepcopy(net)
    other.first.weight.data = 2 * other.first.weight.data
    with Ledger(net) as mine, Ledger(other) as theirs:
        costs = [np.sum(module(images())) for module in (net, other, net)]
        costs[1].backward()
        costs[2].backward()
    assert figures(mine) == pytest.approx(figures(Ledger.of(net, costs[0])), abs=1e-12)
    assert figures(theirs) == pytest.approx(figures(Ledger.of(other, costs[1])), abs=1e-12)
