"""The strongest path of Eq. 122: no other path of any neuron is stronger, and its factors are what its edges say."""

import math
import re
from itertools import product
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tests.draw.nets import network, residual, trained_once
from tests.draw.reading import Edge, Picture, assert_svg_says_the_same, printed, read
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style

ACTIVATIONS = {
    nn.Sigmoid: ("σ", lambda z: 1 / (2 + np.exp(z) + np.exp(-z))),
    nn.Tanh: ("tanh", lambda z: 1 / np.cosh(z) ** 2),
    nn.ReLU: ("relu", lambda z: (z > 0).astype(float)),
    nn.Identity: ("", np.ones_like),
}

SUBSCRIPTS = "₀₁₂₃₄"


class Case:
    """A small network on random data after its backward, and by hand all factors of all its paths."""

    def __init__(self, sizes: list[int], activation: Any, is_at_end: bool, batch: int, seed: int) -> None:
        net = network(sizes, activation, seed=seed)
        self.net = nn.Sequential(*net, activation()) if is_at_end else net
        rng = np.random.default_rng(seed + 1)
        a = x = rng.normal(size=(batch, sizes[0]) if batch else sizes[0])  # batch 0: a sample without a batch's axis
        output = self.net(x)
        self.cost = np.sum(np.square(output - 0.3))
        self.cost.backward()
        self.end = np.atleast_2d(tg.grad(self.cost, output)[0])  # (B, n)
        self.linears = list(net)[::2]
        name, slope = ACTIVATIONS[activation]
        self.names = [name] * (len(sizes) - 1) if is_at_end else [*[name] * (len(sizes) - 2), ""]
        self.slopes = []  # of each layer (B, n)
        for linear, name in zip(self.linears, self.names, strict=True):
            z = a @ linear.weight.data.T + linear.bias.data
            self.slopes.append(np.atleast_2d(slope(z) if name else np.ones_like(z)))
            a = activation()(z)

    def factors(self, path: tuple[int, ...], sample: int) -> list[float]:
        """Of each layer w σ′, and ∂C/∂a_L."""
        found = [self.slopes[0][sample, path[0]]]
        for i in range(1, len(path)):
            found.append(self.linears[i].weight.data[path[i], path[i - 1]] * self.slopes[i][sample, path[i]])
        return [*found, self.end[sample, path[-1]]]

    def paths(self) -> Any:
        return product(*(range(linear.out_features) for linear in self.linears))

    def labels(self, path: tuple[int, ...], sample: int) -> list[str]:
        """What must stand on the path's edges."""
        found = []
        for i, (name, factor) in enumerate(zip(self.names, self.factors(path, sample), strict=False), 1):
            words = [f"w{SUBSCRIPTS[i]}"] if i > 1 else []
            words += [f"{name}′(z{SUBSCRIPTS[i]})"] if name else []
            found.append(f"{' '.join(words) or '∂z₁/∂b₁'} = {style.three_digits(factor)}")
        top = f"{'a' if self.names[-1] else 'z'}{SUBSCRIPTS[len(path)]}"
        return [*found, f"∂C/∂{top} = {style.three_digits(self.end[sample, path[-1]])}"]


def path_of(picture: Picture) -> tuple[list[Edge], tuple[int, ...]]:
    """The edges with figures, and the neurons that they lead through."""
    edges = [edge for edge in picture.edges if edge.lines]
    return edges, tuple(int(edge.ports[1].split(":")[1]) for edge in edges[:-1])


cases = st.builds(
    Case,
    st.lists(st.integers(1, 4), min_size=2, max_size=5),
    st.sampled_from(list(ACTIVATIONS)),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 2**32 - 2),
)


@given(cases, st.data())
@settings(deadline=None)
def test_no_other_path_is_stronger(case, data):
    sample = data.draw(st.integers(0, len(case.end) - 1))
    picture = read(draw.neurons(case.net, case.cost, sample=sample))
    edges, path = path_of(picture)
    strongest = max(abs(math.prod(case.factors(other, sample))) for other in case.paths())
    assert len(path) == len(case.linears)
    found = math.prod(case.factors(path, sample))
    assert abs(found) >= strongest * (1 - 1e-12)
    assert [edge.lines for edge in edges] == [[label] for label in case.labels(path, sample)] or found == 0
    shown = math.prod(printed(edge.lines[0]) for edge in edges)
    assert float(shown) == pytest.approx(found, rel=1.005 ** len(edges) - 1)
    assert float(printed(picture.nodes["C"].lines[1])) == pytest.approx(found, rel=0.005001)


@given(cases)
@settings(deadline=None, max_examples=30)
def test_all_paths_of_all_samples_together_are_the_gradient(case):
    """What the docstring says of ∂C/∂b, by which one path means something."""
    sums = np.zeros(case.linears[0].out_features)
    for path in case.paths():
        sums[path[0]] += sum(math.prod(case.factors(path, sample)) for sample in range(len(case.end)))
    assert np.allclose(sums, case.linears[0].bias.grad, rtol=1e-9, atol=1e-12)


# What is shown of a layer.


def cells(picture: Picture, layer: int) -> dict[int, tuple[list[str], int, str]]:
    """Of each neuron shown its lines, the length of its bar and its background."""
    table = ElementTree.fromstring(picture.nodes[f"layer {layer}"].attributes["label"][1:-1])
    found = {}
    for cell in table.iter("td"):
        if (port := cell.get("port")) is not None:
            lines = ["".join(inner.itertext()) for inner in cell.iter("td") if inner.get("width") == "70"]
            bars = [int(bar.get("width")) for bar in cell.iter("td") if bar.get("bgcolor") == "#2f7fc4"]
            found[int(port)] = (lines, sum(bars), cell.get("bgcolor"))
    return found


@pytest.mark.parametrize("first", [0, 1, 6, 30, 99])
def test_bars_are_as_long_as_the_gradients_are_large(first):
    net = network([20, 30, 30, 10], nn.Sigmoid)
    cost, _ = trained_once(net)
    picture = read(draw.neurons(net, cost, first=first))
    _, path = path_of(picture)
    sizes = [np.abs(linear.bias.grad) for linear in net[::2]]
    longest = max(size.max() for size in sizes)
    for layer, (size, on_path) in enumerate(zip(sizes, path, strict=True), 1):
        found = cells(picture, layer)
        assert set(found) == {*range(min(first, len(size))), on_path}
        for i, (lines, bar, colour) in found.items():
            assert lines == [f"neuron {i + 1}", style.three_digits(size[i])]
            assert bar == round(60 * size[i] / longest)
            assert (colour == "#fff8e1") == (i == on_path)
        rest = len(size) - len(found)
        counted = [line for line in picture.nodes[f"layer {layer}"].lines if line.startswith("+")]
        assert counted == ([f"+{rest}"] if rest else [])
        assert f"{len(size)} neurons" in picture.nodes[f"layer {layer}"].attributes["tooltip"]
    lines = [edge for edge in picture.edges if not edge.lines]
    counts = [len(cells(picture, layer)) for layer in (1, 2, 3)]
    assert len(lines) == counts[0] * counts[1] - 1 + counts[1] * counts[2] - 1  # all pairs but those of the path
    assert {edge.attributes["arrowhead"] for edge in lines} <= {"none"}


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_every_direction_is_laid_out(rankdir, engine, tmp_path):
    net = network([4, 8, 8, 3], nn.Tanh)
    cost, _ = trained_once(net)
    digraph = draw.neurons(net, cost, first=3, rankdir=rankdir)
    draw.save(digraph, tmp_path / "path.svg")
    assert_svg_says_the_same(tmp_path / "path.svg", read(digraph))


def test_before_a_backward_all_figures_are_dashes():
    net = network([4, 5, 3], nn.Tanh)
    cost = np.sum(net(np.ones((2, 4))))
    before = draw.neurons(net, cost, first=2)
    picture = read(before)
    assert [picture.nodes[f"layer {i}"].lines for i in (1, 2)] == [
        ["layer 1", "neuron 1", "–", "neuron 2", "–", "+3"], ["layer 2", "neuron 1", "–", "neuron 2", "–", "+1"],
    ]  # fmt: skip
    assert [edge.lines for edge in picture.edges if edge.lines] == [["–"], ["–"]]
    assert not [bar for layer in (1, 2) for _, bar, _ in cells(picture, layer).values() if bar]
    assert "product" not in before.source
    cost.backward()
    assert "–" not in draw.neurons(net, cost, first=2).source
    net.zero_grad()
    assert draw.neurons(net, cost, first=2).source == before.source


def test_100_layers_in_float32_have_a_product_and_bars_of_their_own():
    net = nn.mlp([9] * 101, dtype=np.float32, rng=0)
    cost = np.sum(net(np.ones((2, 9), np.float32)))
    cost.backward()
    assert not np.any(net[0].bias.grad)  # below the floats
    picture = read(draw.neurons(net, cost))
    edges, path = path_of(picture)
    whole = sum(math.log10(abs(edge.factor)) for edge in edges)
    mantissa, exponent = re.fullmatch(r"product of this path = -?([\d.]+)e-(\d+)", picture.nodes["C"].lines[1]).groups()
    assert math.log10(float(mantissa)) - int(exponent) == pytest.approx(whole, abs=0.0022 * len(edges))
    assert whole < -60
    (lines, _, _) = cells(picture, 1)[path[0]]
    assert 0 < float(lines[1]) < 1e-45


def test_a_layer_without_bias_has_no_figures():
    net = nn.Sequential(nn.Linear(3, 2, bias=False, rng=0), nn.Sigmoid(), nn.Linear(2, 1, rng=1))
    net[2].bias.requires_grad = False
    cost = np.sum(net(np.ones((2, 3))))
    cost.backward()
    picture = read(draw.neurons(net, cost))
    assert [line for i in (1, 2) for lines, _, _ in cells(picture, i).values() for line in lines[1:]] == ["–", "–"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_a_broken_network_is_drawn(value):
    net = network([3, 4, 4, 4, 2], nn.ReLU)
    net[2].weight.data[0, 1] = value
    with np.errstate(all="ignore"):
        cost = np.sum(net(np.random.default_rng(0).normal(size=(5, 3))))
        cost.backward(extended_range=True)
    for sample in range(5):
        assert read(draw.neurons(net, cost, sample=sample, first=4)).nodes["C"].lines[1].startswith("product of this")


def test_what_cannot_be_drawn():
    net = network([4, 5, 3], nn.Tanh)
    cost, _ = trained_once(net, batch=8)
    with pytest.raises(TypeError, match="draws the cost of a model, a Tensor, not ndarray"):
        draw.neurons(net, np.ones(3))
    for sample in (8, -9):
        with pytest.raises(ValueError, match=f"there is no sample {sample} in a batch of 8"):
            draw.neurons(net, cost, sample=sample)
    assert read(draw.neurons(net, cost, sample=-1)) == read(draw.neurons(net, cost, sample=7))
    single = np.sum(net(np.ones(4)))
    single.backward()
    with pytest.raises(ValueError, match="there is no sample 1 in a batch of 1"):
        draw.neurons(net, single, sample=1)
    for value in (True, 1.5, "1"):
        with pytest.raises(TypeError, match=f"sample is a number of neurons or samples, counted from 0, not {value!r}"):
            draw.neurons(net, cost, sample=value)
        with pytest.raises(TypeError, match=f"first is a number of neurons .*, not {value!r}"):
            draw.neurons(net, cost, first=value)
    numbers = {"sample": np.int64(7), "first": np.int64(2)}
    assert read(draw.neurons(net, cost, **numbers)) == read(draw.neurons(net, cost, sample=7, first=2))
    with pytest.raises(ValueError, match="first counts neurons, 0 or more, not -1"):
        draw.neurons(net, cost, first=-1)
    with pytest.raises(ValueError, match="only a tensor of one element has a gradient"):
        draw.neurons(net, net(np.ones((2, 4))))
    with pytest.raises(ValueError, match="has 0 of the model's 2 layers"):
        draw.neurons(network([4, 5, 3], nn.Tanh), cost)
    with pytest.raises(ValueError, match="rankdir is one of"):
        draw.neurons(net, cost, rankdir="")
    ensemble = nn.stack([network([4, 5, 3], nn.Tanh, seed=seed) for seed in range(2)])
    for x in (np.ones((8, 4)), np.ones((2, 8, 4))):
        with pytest.raises(ValueError, match=r"take a member of this ensemble by tg.nn.unstack"):
            draw.neurons(ensemble, np.sum(ensemble(x)))
    for other in (
        residual(4, 1),
        nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh(), nn.Sigmoid(), nn.Linear(3, 3, rng=1)),
    ):
        cost, _ = trained_once(other)
        with pytest.raises(ValueError, match="needs one activation between two layers, such as Sigmoid, or none"):
            draw.neurons(other, cost)


def test_the_last_node_tells_what_the_path_is_a_part_of():
    """∂C/∂b₁ of the path's first neuron, of the sample drawn."""
    net = network([4, 5, 3], nn.Sigmoid)
    cost, _ = trained_once(net, batch=3)
    pictures = [read(draw.neurons(net, cost, sample=sample)) for sample in range(3)]
    for picture in pictures:
        words, whole = picture.nodes["C"].lines[1:]
        assert words.startswith("product of this path = ")
        assert whole.startswith("all paths: ∂C/∂b₁ = ")
    single = np.sum(net(np.ones(4)))
    net.zero_grad()
    single.backward()
    picture = read(draw.neurons(net, single))
    (first,) = (int(re.search(r"neuron (\d+)", line)[1]) - 1 for line in picture.nodes["b"].lines)
    assert picture.nodes["C"].lines[2] == f"all paths: ∂C/∂b₁ = {style.three_digits(net[0].bias.grad[first])}"
