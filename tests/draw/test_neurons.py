"""The strongest path of Eq. 122: no other path of any neuron is stronger, and its factors are what its edges say."""

import math
import re
from itertools import combinations, product
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tests.draw.nets import network, residual, trained_once
from tests.draw.reading import SVG, Node, Picture, assert_svg_says_the_same, printed, read
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
        cost = "Cₓ" if len(self.end) > 1 else "C"
        return [*found, f"∂{cost}/∂{top} = {style.three_digits(self.end[sample, path[-1]])}"]


def path_of(picture: Picture) -> tuple[list[str], tuple[int, ...]]:
    """What stands on the edges of the path, and the neurons that it leads through."""
    labels = [" ".join(node.lines) for key, node in picture.nodes.items() if key.startswith("factor ")]
    on_path = [key for key, node in picture.nodes.items() if re.fullmatch(r"\d+\.\d+", key) and is_marked(node)]
    return labels, tuple(int(key.split(".")[1]) - 1 for key in on_path)


def is_marked(node: Node) -> bool:
    return node.colour == style.HIGHLIGHT


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
    labels, path = path_of(picture)
    strongest = max(abs(math.prod(case.factors(other, sample))) for other in case.paths())
    assert len(path) == len(case.linears)
    found = math.prod(case.factors(path, sample))
    assert abs(found) >= strongest * (1 - 1e-12)
    assert labels == case.labels(path, sample) or found == 0
    shown = math.prod(map(printed, labels))
    assert float(shown) == pytest.approx(found, rel=1.005 ** len(labels) - 1)
    assert float(printed(picture.nodes["result"].lines[0])) == pytest.approx(found, rel=0.005001)


@given(cases)
@settings(deadline=None, max_examples=30)
def test_all_paths_of_all_samples_together_are_the_gradient(case):
    """What the docstring says of ∂C/∂b, by which one path means something."""
    sums = np.zeros(case.linears[0].out_features)
    for path in case.paths():
        sums[path[0]] += sum(math.prod(case.factors(path, sample)) for sample in range(len(case.end)))
    assert np.allclose(sums, case.linears[0].bias.grad, rtol=1e-9, atol=1e-12)


# What is shown of a layer.


def cells(picture: Picture, layer: int) -> dict[int, tuple[list[str], float, bool]]:
    """Of each neuron shown its lines, the length of its bar in points, and whether it is on the path."""
    found = {}
    for key, node in picture.nodes.items():
        if match := re.fullmatch(rf"{layer}\.(\d+)", key):
            bar = picture.nodes.get(f"{key} bar")
            length = 72 * float(bar.attributes["width"]) if bar else 0.0
            found[int(match[1]) - 1] = (node.lines, length, is_marked(node))
    return found


@pytest.mark.parametrize("first", [0, 1, 6, 30, 99])
def test_bars_are_as_long_as_the_gradients_are_large(first):
    net = network([20, 30, 30, 10], nn.Sigmoid)
    cost, _ = trained_once(net, batch=1)
    picture = read(draw.neurons(net, cost, first=first))
    _, path = path_of(picture)
    sizes = [np.abs(linear.bias.grad) for linear in net[::2]]
    longest = max(size.max() for size in sizes)
    for layer, (size, on_path) in enumerate(zip(sizes, path, strict=True), 1):
        found = cells(picture, layer)
        assert set(found) == {*range(min(first, len(size))), on_path}
        for i, (lines, bar, is_on_path) in found.items():
            assert lines == [f"neuron {i + 1}", style.three_digits(size[i])]
            assert bar == pytest.approx(58 * size[i] / longest, abs=0.51)
            assert is_on_path == (i == on_path)
        rest = [node.lines for key, node in picture.nodes.items() if key == f"layer {layer} rest"]
        assert rest == ([[f"+{len(size) - len(found)}"]] if len(size) > len(found) else [])
        assert f"{len(size)} neurons" in picture.nodes[f"layer {layer}"].attributes["tooltip"]
    lines = [edge for edge in picture.edges if edge.attributes["color"] == style.FAINT]
    counts = [len(cells(picture, layer)) for layer in (1, 2, 3)]
    assert len(lines) == counts[0] * counts[1] - 1 + counts[1] * counts[2] - 1  # all pairs but those of the path
    assert {edge.attributes["arrowhead"] for edge in lines} <= {"none"}


# One sample, whose cost the batch may take the mean of.


@pytest.mark.parametrize("sample", [0, 4])
@pytest.mark.parametrize("first", [0, 3])
def test_all_numbers_are_those_of_the_sample_alone(sample, first):
    net = network([6, 5, 4, 3], nn.Sigmoid)
    x, target = np.random.default_rng(2).normal(size=(5, 6)), np.eye(3)[[0, 1, 2, 0, 1]]
    costs = {"mean of 5 samples": nn.BCEWithLogitsLoss("batchmean"), "cost of 5 samples": nn.BCEWithLogitsLoss("sum")}
    alone = nn.BCEWithLogitsLoss("sum")(net(x[[sample]]), target[[sample]])
    alone.backward()
    own = read(draw.neurons(net, alone, first=first))
    for words, loss in costs.items():
        picture = read(draw.neurons(net, loss(net(x), target), first=first, sample=sample))
        whole = next(edge for edge in picture.edges if edge.head == "whole")
        assert whole.attributes["style"] == "dashed"
        assert whole.attributes["color"] == style.line(0.0)["color"]
        assert "penwidth" not in whole.attributes
        assert picture.nodes["mean"].lines == [words]
        for key, node in own.nodes.items():
            assert [line.replace("Cₓ", "C") for line in picture.nodes[key].lines] == node.lines
        lines = [[edge.attributes.get("penwidth") for edge in x.edges if edge.head != "whole"] for x in (own, picture)]
        assert lines[0] == lines[1]


@pytest.mark.parametrize(("layers", "pixels"), [(3, 10.0), (6, 8.0)])
def test_the_diagram_is_legible_on_a_page_600_pixels_wide(layers, pixels, tmp_path):
    net = network([9] + [30] * layers, nn.Sigmoid)
    cost, _ = trained_once(net)
    for rankdir in ("LR", "TB"):
        draw.save(draw.neurons(net, cost, first=6, rankdir=rankdir), tmp_path / "net.svg")
        root = ElementTree.parse(tmp_path / "net.svg").getroot()
        smallest = min(float(text.get("font-size")) for text in root.iter(f"{SVG}text"))
        assert smallest * 600 / float(root.get("viewBox").split()[2]) >= pixels


MEANS = {
    "np.mean": (np.mean, True),
    "a sum divided": (lambda z: np.sum(z) / 5, True),
    "a half of it": (lambda z: 0.5 * (np.sum(z * z) / 5), True),
    "MSELoss": (lambda z: nn.MSELoss()(z, np.zeros((5, 2))), True),
    "CrossEntropyLoss": (lambda z: nn.CrossEntropyLoss()(z, np.array([0, 1, 0, 1, 1])), True),
    "weights of classes": (
        lambda z: nn.CrossEntropyLoss(weight=np.array([1.0, 3.0]))(z, np.array([0, 1, 0, 1, 1])), False,
    ),
    "np.sum": (np.sum, False),
    "a sum divided by 2": (lambda z: np.sum(z) / 2, False),
    "a quotient": (lambda z: 5.0 / np.sum(z), False),
    "a penalty": (lambda z: np.mean(z) + np.sum(z * z), False),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEANS)
def test_what_is_a_mean_is_called_one(kind):
    function, is_mean = MEANS[kind]
    net = network([3, 2, 2], nn.Sigmoid)
    cost = function(net(np.random.default_rng(0).normal(size=(5, 3))))
    cost.backward()
    words = "mean of 5 samples" if is_mean else "cost of 5 samples"
    assert read(draw.neurons(net, cost)).nodes["mean"].lines == [words]


def test_columns_do_not_stagger():
    net = network([9] + [8] * 5 + [4], nn.Sigmoid)
    cost, _ = trained_once(net, batch=3)
    for rankdir, axis in (("LR", 1), ("TB", 0)):
        picture = read(draw.neurons(net, cost, first=4, rankdir=rankdir))
        places = {key: node.attributes["pos"].split(",") for key, node in picture.nodes.items()}
        for i in range(1, 5):
            assert len({places[f"{layer}.{i}"][axis] for layer in range(1, 7)}) == 1


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_labels_lie_on_nothing(rankdir, first):
    """Neither on each other nor on the layers."""
    net = network([4, 8, 8, 3], nn.Tanh)
    cost, _ = trained_once(net)
    picture = read(draw.neurons(net, cost, first=first, rankdir=rankdir))
    boxes = {}
    for key, node in picture.nodes.items():
        if re.match(r"factor|mean|whole|cost|b$|result|layer \d$", key):
            x, y = map(float, node.attributes["pos"].split(","))
            width, height = (72 * float(node.attributes[name]) for name in ("width", "height"))
            boxes[key] = (x - width / 2, x + width / 2, y - height / 2, y + height / 2)
    assert len(boxes) == 3 + 4 + 5  # layers, factors, and the others
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a[1] <= b[0] + 0.1 or b[1] <= a[0] + 0.1 or a[3] <= b[2] + 0.1 or b[3] <= a[2] + 0.1
        assert apart, (one, other)


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
    shown = [node.lines for key, node in picture.nodes.items() if re.match(r"\d|layer \d .", key)]
    neurons = ["neuron 1", "–"], ["neuron 2", "–"]
    assert shown == [["layer 1"], ["+3"], *neurons, ["layer 2"], ["+1"], *neurons]
    assert path_of(picture) == (["–", "–"], ())
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
    labels, path = path_of(picture)
    whole = sum(math.log10(abs(printed(label))) for label in labels)
    words = picture.nodes["result"].lines[0]
    mantissa, exponent = re.fullmatch(r"product of this path = −?([\d.]+)e−(\d+)", words).groups()
    assert math.log10(float(mantissa)) - int(exponent) == pytest.approx(whole, abs=0.0022 * len(labels))
    assert whole < -60
    (lines, _, _) = cells(picture, 1)[path[0]]
    assert 0 < printed(lines[1]) < 1e-45


def test_a_layer_without_bias_has_the_same_figures():
    """∂C/∂b of a neuron is ∂C/∂z, which needs no bias."""
    nets = [nn.Sequential(nn.Linear(3, 2, bias=b, rng=0), nn.Sigmoid(), nn.Linear(2, 1, rng=1)) for b in (True, False)]
    nn.init.normal_(nets[0][0].bias, std=0.0, rng=0)
    nets[1][0].weight.data = nets[0][0].weight.data
    nets[1][2].bias.data = nets[0][2].bias.data
    nets[1][2].weight.data = nets[0][2].weight.data
    pictures = []
    for net in nets:
        cost = np.sum(net(np.ones((2, 3))))
        cost.backward()
        pictures.append(read(draw.neurons(net, cost)))
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_a_broken_network_is_drawn(value):
    net = network([3, 4, 4, 4, 2], nn.ReLU)
    net[2].weight.data[0, 1] = value
    with np.errstate(all="ignore"):
        cost = np.sum(net(np.random.default_rng(0).normal(size=(5, 3))))
        cost.backward(extended_range=True)
    for sample in range(5):
        assert read(draw.neurons(net, cost, sample=sample, first=4)).nodes["result"].lines[0].startswith("product")


def notes(digraph: Any) -> list[str]:
    return re.findall(r"<td colspan[^>]*>([^<]*)</td>", digraph.source)


@pytest.mark.parametrize(("sizes", "is_only"), [([2, 3, 1], True), ([2, 3, 1, 1], True), ([2, 1, 3, 1], False)])
def test_the_only_path_of_a_neuron_is_called_so(sizes, is_only):
    net = network(sizes, nn.Sigmoid)
    cost, _ = trained_once(net, batch=1)
    digraph = draw.neurons(net, cost)
    product, whole = (printed(line) for line in read(digraph).nodes["result"].lines)
    assert (product == whole) == is_only
    assert ("the only one from its neuron of layer 1: its product is ∂C/∂b₁." in notes(digraph)) == is_only
    assert ("one of the many whose sum is ∂C/∂b₁." in notes(digraph)) == (not is_only)


COSTS = {
    "MSELoss": nn.MSELoss(),
    "MSELoss sum": nn.MSELoss("sum"),
    "BCEWithLogitsLoss": nn.BCEWithLogitsLoss("batchmean"),
    "CrossEntropyLoss": nn.CrossEntropyLoss(),
    "a mean": lambda z, target: 0.5 * (np.sum(np.square(z - target)) / len(target)),
    "a mean of rows": lambda z, target: np.mean(np.sum(np.square(z - target), axis=1)),
}


@pytest.mark.parametrize("name", COSTS)
def test_the_legend_has_the_cost_of_the_sample_beside_the_cost(name):
    net, loss = network([6, 5, 3], nn.Sigmoid), COSTS[name]
    x, target = np.random.default_rng(2).normal(size=(3, 6)), np.eye(3)[[0, 1, 2]]
    cost = loss(net(x), target)
    cost.backward()
    for sample in range(3):
        own = loss(net(x[[sample]]), target[[sample]]).item()
        words = f"Cₓ = {style.three_digits(own)}, C = {style.three_digits(cost.item())}."
        assert notes(draw.neurons(net, cost, sample=sample))[-1] == words


@pytest.mark.parametrize(
    "function",
    [np.max, lambda z: np.sum(np.mean(z, axis=0)), lambda z: np.sum(z) + np.sum(z * z), lambda z: np.sum(z @ z)],
)
def test_where_the_cost_is_not_one_of_each_sample_it_stands_alone(function):
    net = network([6, 5, 3], nn.Sigmoid)
    cost = function(net(np.random.default_rng(2).normal(size=(3, 6))))
    cost.backward()
    assert notes(draw.neurons(net, cost))[-1] == f"C = {style.three_digits(cost.item())}."


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU])
def test_where_z_is_nan_no_path_stands_out(activation):
    net = network([3, 4, 4, 2], activation)
    net[0].weight.data[:] = np.nan
    with np.errstate(all="ignore"):
        cost = np.sum(net(np.ones((2, 3))))
        cost.backward()
    digraph = draw.neurons(net, cost)
    assert read(digraph).nodes["factor 0"].lines == [f"{activation.symbol}′(z₁) = NaN"]
    assert "No path stands out: all products are 0, or not finite." in notes(digraph)


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


def test_the_result_tells_what_the_path_is_a_part_of():
    """∂C/∂b₁ of the path's first neuron, of the sample drawn."""
    net = network([4, 5, 3], nn.Sigmoid)
    cost, _ = trained_once(net, batch=3)
    for sample in range(3):
        words, whole = read(draw.neurons(net, cost, sample=sample)).nodes["result"].lines
        assert words.startswith("product of this path = ")
        assert whole.startswith("all paths: ∂Cₓ/∂b₁ of neuron ")
    single = np.sum(net(np.ones(4)))
    net.zero_grad()
    single.backward()
    picture = read(draw.neurons(net, single))
    _, (first, _) = path_of(picture)
    size = style.three_digits(net[0].bias.grad[first])
    assert picture.nodes["result"].lines[1] == f"all paths: ∂C/∂b₁ of neuron {first + 1} = {size}"
