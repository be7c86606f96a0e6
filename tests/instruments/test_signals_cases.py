"""Blocks, branches, tied and frozen layers: which layers stand in a row, and what lies between them."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger, log10_norm

WIDTH = 4


def linear(seed: int, n_in: int = WIDTH, n_out: int = WIDTH) -> nn.Linear:
    return nn.Linear(n_in, n_out, rng=seed)


class Row(nn.Module):
    """Modules one after the other, kept from the last to the first."""

    def __init__(self, *modules: nn.Module) -> None:
        self.modules = [*modules][::-1]

    def forward(self, x: Any) -> Any:
        for module in self.modules[::-1]:
            x = module(x)
        return x


class Around(Row):
    """A residual block of a user's own."""

    def forward(self, x: Any) -> Any:
        return super().forward(x) + x


class Gated(nn.Module):
    """Two Linears side by side: tanh(P x) σ(Q x)."""

    def __init__(self, seed: int) -> None:
        self.value, self.gate = linear(seed), linear(seed + 1)

    def forward(self, x: Any) -> Any:
        return np.tanh(self.value(x)) * tg.ops.sigmoid(self.gate(x))


def blocks(*inside: nn.Module) -> list[nn.Module]:
    return [nn.Residual(nn.Sequential(*inside)), Around(*inside)]


def images() -> Any:
    return np.random.default_rng(1).normal(size=(5, WIDTH))


def cost_of(net: Any, x: Any = None) -> Any:
    y = net(images() if x is None else x)
    return np.sum(y * np.random.default_rng(2).normal(size=y.shape[-2:]))


def heard(net: Any, x: Any = None, **options: bool) -> tuple[Ledger, Any]:
    with Ledger(net) as ledger:
        cost = cost_of(net, x)
        cost.backward(**options)
    return ledger, cost


def figures(ledger: Ledger) -> Any:
    return np.array([[row.weights, row.activation, row.total, row.log10_norm] for row in ledger])


def labels(ledger: Ledger) -> list[str]:
    return [unit.label for unit in ledger.chain.units]


def telescopes(ledger: Ledger) -> None:
    for row in ledger:
        assert row.weights + row.activation == pytest.approx(row.total, abs=1e-12)
        assert sum(part.decades for part in row.parts) == pytest.approx(row.activation, abs=1e-12)
    for low, high in pairwise(ledger.log10_norm.tolist()):
        assert low - high == pytest.approx(next(row.total for row in ledger if row.log10_norm == low), abs=1e-12)


a, b, c, d, e = (linear(seed) for seed in range(5))
tanh = nn.Tanh()
PLACES = [
    *((f"bottom {k}", Row(block, a, tanh, b), ["Linear", "Tanh", "Linear"], []) for k, block in enumerate(
        [*blocks(c, tanh), *blocks(c, tanh, d), Gated(9), Around(Around(c, tanh), d)])),
    *((f"middle {k}", Row(a, tanh, block, b), ["Linear", "Tanh", type(block).__name__, "Linear"], []) for k, block in
        enumerate([*blocks(c, tanh), *blocks(tanh, c, tanh, d), Gated(9), Around(Gated(9)), Around(Around(c), d)])),
    *((f"end {k}", Row(a, tanh, b, block), ["Linear", "Tanh", "Linear"], [type(block).__name__]) for k, block in
        enumerate([*blocks(c, tanh), *blocks(c, tanh, d), Gated(9), Around(Around(c, tanh), d)])),
    ("everywhere", Row(*blocks(c), a, *blocks(d, tanh), tanh, *blocks(e), b, *blocks(c, d)),
     ["Linear", "Residual", "Around", "Tanh", "Residual", "Around", "Linear"], ["Residual", "Around"]),
]  # fmt: skip


@pytest.mark.parametrize(("net", "units", "tail"), [place[1:] for place in PLACES], ids=[place[0] for place in PLACES])
def test_a_module_with_a_way_around_its_layers_is_one_unit(net: Row, units: list[str], tail: list[str]) -> None:
    """Wherever it stands, heard or read; its part is what the gradient's norm does from its output to its input."""
    ledger, cost = heard(net)
    told = Ledger.of(net, cost)
    for found in (ledger, told):
        assert labels(found) == units
        assert [unit.label for unit in found.chain.tail] == tail
        telescopes(found)
    assert figures(told) == pytest.approx(figures(ledger), abs=1e-12)
    x, norms, outputs = images(), [], []
    for module in net.modules[::-1]:
        x = module(x)
        outputs.append(x)
    seed = np.random.default_rng(2).normal(size=x.shape)
    norms = [log10_norm(tg.grad(x, output, seed)[0]) for output in outputs]
    first, last = next(i for i, m in enumerate(net.modules[::-1]) if m is a), net.modules[::-1].index(b)
    expected = [norms[i] - norms[i + 1] for i in reversed(range(first, last - 1))]
    assert [part.decades for part in ledger.rows[0].parts] == pytest.approx(expected, abs=1e-12)
    assert "layer 2" in tg.draw.layers(net, cost).source


class Layers(nn.Module):
    """Four Linears; `forward` is a subclass's."""

    def __init__(self) -> None:
        self.top, self.right, self.left, self.below = d, c, b, a


class SideBySide(Layers):
    def forward(self, x: Any) -> Any:
        h = np.tanh(self.below(x))
        return self.top(np.tanh(self.left(h)) * tg.ops.sigmoid(self.right(h)))


class WayAround(Layers):
    def forward(self, x: Any) -> Any:
        h = np.tanh(self.below(x))
        h = h + np.tanh(self.left(h))
        return self.top(np.tanh(self.right(h)))


class TwoTowers(Layers):
    def forward(self, x: Any) -> Any:
        return self.top(np.tanh(self.left(np.tanh(self.below(x)))) + self.right(x))


class BranchAtTheEnd(Layers):
    def forward(self, x: Any) -> Any:
        h = np.tanh(self.left(np.tanh(self.below(x))))
        return self.right(h) + self.top(h)


class WayAroundAtTheEnd(Layers):
    def forward(self, x: Any) -> Any:
        h = np.tanh(self.right(np.tanh(self.left(np.tanh(self.below(x))))))
        return h + self.top(h)


REFUSED = [
    (SideBySide(), "to the input of 'top' goes around 'right'"),
    (WayAround(), "to the input of 'right' goes around 'left'"),
    (TwoTowers(), "to the input of 'top' goes around 'right'"),
    (BranchAtTheEnd(), "to the output of the model goes around 'top'"),
    (WayAroundAtTheEnd(), "to the output of the model goes around 'top'"),
    (nn.Residual(nn.Sequential(a, tanh, b)), "to the output of the model goes around 'module.2'"),
    (nn.Sequential(*blocks(a), *blocks(b)), "each is in a module with a way around"),
]


@pytest.mark.parametrize(
    ("net", "words"), REFUSED, ids=[f"{i} {type(net).__name__}" for i, (net, _) in enumerate(REFUSED)]
)
def test_a_branch_that_no_module_encloses_is_refused_by_name(net: nn.Module, words: str) -> None:
    ledger, cost = heard(net)
    with pytest.raises(ValueError, match=words):
        _ = ledger.rows
    with pytest.raises(ValueError, match=words):
        Ledger.of(net, cost)
    for draw in (tg.draw.layers, tg.draw.neurons):
        with pytest.raises(ValueError, match=words):
            draw(net, cost)
    with pytest.raises(ValueError, match=words):
        tg.instruments.mean_field_of(net, images())


class Recurrence(nn.Module):
    """h = tanh(W h + x_t), unrolled; with x_0 alone if `drive` is 0."""

    def __init__(self, steps: int, drive: float = 0.0) -> None:
        self.head, self.w, self.steps, self.drive = linear(1, WIDTH, 2), linear(0), steps, drive

    def forward(self, x: Any) -> Any:
        h = x
        for t in range(self.steps):
            h = np.tanh(self.w(h) + t * x if self.drive else self.w(h))
        return self.head(h)


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("drive", [0.0, 0.1])
def test_an_unrolled_recurrence_has_a_row_for_each_use(steps: int, drive: float) -> None:
    net = Recurrence(steps, drive)
    ledger, cost = heard(net)
    for found in (ledger, Ledger.of(net, cost)):
        assert found.names == ("w",) * steps + ("head",)
        assert len(found.rows) == steps
        telescopes(found)
    assert figures(Ledger.of(net, cost)) == pytest.approx(figures(ledger), abs=1e-12)
    # By hand: δ_t = σ′ ⊙ Wᵀ δ_{t+1}, the weights of every step those of the one W.
    zs, h = [], images()
    for t in range(steps):
        zs.append(net.w(h).data + (t * images() if drive else 0.0))
        h = np.tanh(zs[-1])
    delta = np.random.default_rng(2).normal(size=(5, 2))
    for row, z, layer in zip(ledger.rows[::-1], zs[::-1], [net.head] + [net.w] * (steps - 1), strict=True):
        u = delta @ layer.weight.data
        assert row.weights == pytest.approx(log10_norm(u) - log10_norm(delta), abs=1e-12)
        delta = u / np.cosh(z) ** 2
        assert row.log10_norm == pytest.approx(log10_norm(delta) + 0.5 * np.log10(len(delta)), abs=1e-12)


def deep(seed: int = 0) -> nn.Sequential:
    return nn.mlp([WIDTH] * 5, nn.Tanh, rng=seed)


@pytest.mark.parametrize("frozen", [(0,), (2,), (0, 4), (0, 2), (2, 4), (6,)], ids=str)
def test_frozen_layers_keep_their_place(frozen: tuple[int, ...]) -> None:
    """At the bottom they are not computed, for no gradient comes there; elsewhere the rows are as if they were not."""
    net, free = deep(), figures(heard(deep())[0])
    for i in frozen:
        for parameter in net[i].parameters():
            parameter.requires_grad = False
    ledger, _ = heard(net)
    assert ledger.names == ("0", "2", "4", "6")
    bottom = 1 if 0 in frozen else 0
    bottom += 2 in frozen and 0 in frozen
    assert [row.cause for row in ledger] == ["not computed"] * bottom + [None] * (3 - bottom)
    assert figures(ledger)[bottom:] == pytest.approx(free[bottom:], abs=1e-12)
    assert [z.shape for z in ledger.outputs] == [(5, WIDTH)] * 4


def test_a_frozen_layer_below_a_tied_one_keeps_its_place() -> None:
    net = Row(linear(7), tanh, tied := linear(8), tanh, tied, tanh, linear(9))
    for parameter in net.modules[-1].parameters():
        parameter.requires_grad = False
    assert heard(net)[0].names == ("modules.6", "modules.2", "modules.2", "modules.0")
    assert [row.cause for row in heard(net)[0]] == ["not computed", None, None]


@pytest.mark.parametrize("options", [{}, {"extended_range": True}, {"create_graph": True}], ids=str)
@pytest.mark.parametrize("kind", ["recurrence", "residual", "gated", "row"])
def test_members_of_an_ensemble_have_the_rows_of_the_single_networks(kind: str, options: dict[str, bool]) -> None:
    def make(seed: int) -> nn.Module:
        net = {"recurrence": lambda: Recurrence(4), "row": deep,
               "residual": lambda: Row(linear(0), *blocks(linear(1), tanh), tanh, linear(2)),
               "gated": lambda: Row(linear(0), tanh, Gated(1), linear(3))}[kind]()  # fmt: skip
        rng = np.random.default_rng(seed)
        for parameter in net.parameters():
            parameter.data = rng.normal(size=parameter.shape)
        return net

    nets = [make(seed) for seed in range(3)]
    together, cost = heard(nn.stack(nets), **options)
    told = Ledger.of(together.model, cost)
    for i, net in enumerate(nets):
        alone = figures(heard(net, **options)[0])
        assert figures(together)[:, :, i] == pytest.approx(alone, abs=1e-12)
        assert figures(told)[:, :, i] == pytest.approx(alone, abs=1e-12)


def test_data_beside_what_a_layer_takes_are_no_way_around() -> None:
    """The input put in once more, behind the first layer."""

    class Beside(nn.Module):
        def __init__(self) -> None:
            self.last, self.first = linear(1, 2 * WIDTH), linear(0)

        def forward(self, x: Any) -> Any:
            return self.last(np.hstack([np.tanh(self.first(x)), x]))

    ledger, cost = heard(net := Beside())
    assert labels(ledger) == labels(Ledger.of(net, cost)) == ["Linear", "Tanh", "np.concatenate", "Linear"]
    telescopes(ledger)


def test_a_layer_that_computes_its_weights_has_rows_but_no_path() -> None:
    """Normalised weights: what passes it is heard as of any other; the factor of one neuron is nowhere to be read."""

    class Normalised(nn.Linear):
        def forward(self, x: Any) -> Any:
            return tg.ops.linear(x, self.weight / np.sqrt(np.sum(self.weight**2)), self.bias)

    net = Row(linear(0), tanh, Normalised(WIDTH, 2, rng=1))
    ledger, cost = heard(net)
    telescopes(ledger)
    delta = np.random.default_rng(2).normal(size=(5, 2))
    weight = net.modules[0].weight.data
    u = delta @ weight / np.linalg.norm(weight)
    assert ledger.rows[0].weights == pytest.approx(log10_norm(u) - log10_norm(delta), abs=1e-12)
    with pytest.raises(ValueError, match="computes its weight"):
        tg.draw.neurons(net, cost)
