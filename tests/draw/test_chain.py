"""The strip of Eq. 122: the product drawn is the gradient, each weight stands once, and the bars have one scale."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import tinygrad_vg as tg
from tests.draw.chains import assert_printed, chains, exact
from tests.draw.reading import SVG, Picture, assert_svg_says_the_same, printed, read
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style
from tinygrad_vg.instruments import chain_factors, log10_norm


def neurons(weights, biases, x=0.8, activation=tg.ops.sigmoid):
    """The cost of a chain, and b₁."""
    b = [tg.Tensor(value, requires_grad=True) for value in biases]
    a = x
    for weight, bias in zip(weights, b, strict=True):
        a = activation(tg.Tensor(weight, requires_grad=True) * a + bias)
    return (1.0 - a) ** 2 / 2, b[0]


def strip(picture: Picture, name: str, strip: int = 1) -> list[list[str]]:
    """The lines of all nodes of a strip whose keys begin with a name, from left to right."""
    return [node.lines for key, node in picture.nodes.items() if re.match(rf"{strip} {name} ", f"{key} ")]


def bars(picture: Picture, strip: int = 1) -> list[tuple[float, float, str]]:
    """The bars: their lower and upper end in points, upwards, and their colours."""
    found = []
    for key, node in picture.nodes.items():
        if key.startswith(f"{strip} bar "):
            middle, height = float(node.attributes["pos"].split(",")[1]), 72 * float(node.attributes["height"])
            found.append((middle - height / 2, middle + height / 2, node.colour))
    return found


@given(chains)
@settings(max_examples=25, deadline=None)
def test_the_product_drawn_is_the_gradient(chain):
    cost, leaves = chain.build()
    picture = read(draw.chain(cost, leaves["b1"]))
    cost.backward(extended_range=True)
    gradient = exact(leaves["b1"].grad)
    edges = [printed(lines[-1]) for lines in strip(picture, "factors")]
    numbers = [printed(lines[0]) for lines in strip(picture, "number")]
    for i in range(len(edges)):  # each bar is the product of the edges so far
        assert_printed(math.prod(edges[: i + 1]), i + 2, numbers[i])
    assert_printed(numbers[-2], 1, gradient)
    assert_printed(numbers[-1], 1, gradient)
    (result,) = strip(picture, "result")
    assert re.search(r"equal( to 10 digits)?$", result[0])
    assert f"measured ∂C/∂b₁: {style.power(float(np.sign(gradient)), log10_norm(leaves['b1'].grad))}," in result[0]


@given(chains)
@settings(max_examples=25, deadline=None)
def test_each_factor_stands_once(chain):
    cost, leaves = chain.build()
    factors = chain_factors(cost, leaves["b1"])
    picture = read(draw.chain(cost, leaves["b1"]))
    names = " ".join(lines[0] for lines in strip(picture, "factors"))
    assert names == " ".join(factor.label for factor in factors)
    words = " ".join(line for node in picture.nodes.values() for line in node.lines)
    for factor in factors:
        assert len(re.findall(rf"{re.escape(factor.label)}(?![₀-₉])", words)) == 1 + (factor.label == "∂C/∂b₁")
    values = [line.split(" × ") for lines in strip(picture, "factors") for line in lines[1:-1]]
    assert [x for pair in values for x in pair] == [style.three_digits(f.value) for f in factors[1:-1]]
    (result,) = strip(picture, "result")
    assert result[0].startswith(f"product of the {len(factors)} factors: ")


def test_bars_are_as_long_as_the_decades_of_their_product_on_one_scale():
    vanishing = neurons([0.8, 0.7, -0.9, 1.1], [0.1, 0.2, -0.3, 0.4])
    exploding = neurons([100.0] * 4, [-80.0, -50.0, -50.0, -50.0])
    (cost, b), (large, c) = vanishing, exploding
    picture = read(draw.chain([cost, large], [b, c]))
    scales = []
    for number, pair in enumerate((vanishing, exploding), 1):
        drawn = bars(picture, number)
        factors = chain_factors(*pair)
        sizes = np.log10(np.abs([factor.value for factor in factors]))
        decades = np.add.accumulate([sizes[0], *(sizes[1:-1:2] + sizes[2:-1:2]), sizes[-1]])
        decades = [*decades, decades[-1]]  # the measured gradient beside the last product
        assert len(drawn) == len(decades) == 6
        one = {round(high if size < 0 else low, 1) for (low, high, _), size in zip(drawn, decades, strict=True)}
        assert len(one) == 1  # they all begin at 1
        scales += [(high - low) / abs(size) for (low, high, _), size in zip(drawn, decades, strict=True)]
        blue, red = (style.line(gain)["color"] for gain in (-1.0, 1.0))
        assert [colour for _, _, colour in drawn] == [blue if size < 0 else red for size in decades]
    assert scales == pytest.approx([scales[0]] * 12, rel=1e-2)
    assert decades[-1] > 3 > 0 > np.log10(abs(chain_factors(*vanishing)[0].value))


def places(picture: Picture, name: str) -> list[tuple[float, float]]:
    """Where the nodes with such a key stand: x, and y downwards."""
    found = [node.attributes["pos"] for key, node in picture.nodes.items() if re.match(rf"1 {name} \d", key)]
    return [(float(x), -float(y)) for x, y in (position.split(",") for position in found)]


@pytest.mark.parametrize(("depth", "rows"), [(1, 1), (4, 1), (10, 3), (20, 5)])
def test_a_long_chain_has_rows_and_can_be_read_at_600_pixels(depth, rows, engine, tmp_path):
    rng = np.random.default_rng(depth)
    cost, b = neurons(rng.normal(size=depth), rng.normal(size=depth))
    digraph = draw.chain(cost, b)
    draw.save(digraph, tmp_path / "strip.svg")
    root = ElementTree.parse(tmp_path / "strip.svg").getroot()
    smallest = min(float(text.get("font-size")) for text in root.iter(f"{SVG}text"))
    assert smallest * 600 / float(root.get("viewBox").split()[2]) > 8.9  # pixels
    picture = read(digraph)
    factors, bar = places(picture, "factors"), places(picture, "number")
    assert len(factors) == depth + 1 == len(bar) - 1
    assert len({y for _, y in factors}) == rows
    assert factors == sorted(factors, key=lambda place: (place[1], place[0]))  # as one reads
    assert [x for x, _ in bar[:-1]] == pytest.approx([x for x, _ in factors])  # each product under its factor
    assert bar[-1][0] > bar[-2][0]  # the measured one behind the last product
    again = {int(key.split()[-1]): node.lines for key, node in picture.nodes.items() if key.startswith("1 again")}
    assert len(again) == rows - 1
    assert all(lines == [str(i)] for i, lines in again.items())
    counts = [sum(y == other for _, other in factors) for y in sorted({y for _, y in factors})]
    assert max(counts) - min(counts) <= 1
    for edge in picture.edges:
        if edge.tail.split()[1:2] in (["node"], ["again"]):  # from left to right, in one row
            (x, y), (u, v) = (
                map(float, picture.nodes[end].attributes["pos"].split(",")) for end in (edge.tail, edge.head)
            )
            assert u > x
            assert v == y


def test_dots_that_lie_too_near_are_counted():
    """Twenty numbers side by side would be wider than the curve."""
    cost, b = neurons([0.1] * 20, [0.0, 0.0, 3.0] * 6 + [0.0, 0.0])
    labels = [lines[0] for lines in strip(read(draw.chain(cost, b)), "slopes label")]
    assert any(re.fullmatch(r"\d+ neurons", label) for label in labels)
    assert all(style.width_of(label, 11.0) < 100 for label in labels)


def test_the_dots_lie_on_the_curve():
    cost, b = neurons([0.8, 0.7, -0.9], [0.1, 2.2, -3.3])
    picture = read(draw.chain(cost, b))
    ends = [edge.attributes["pos"] for edge in picture.edges if edge.attributes.get("penwidth") == "1.5"]
    (curve,) = (np.array([p.split(",") for p in position.split()], float) for position in ends)
    dots = [node.attributes["pos"] for key, node in picture.nodes.items() if key.startswith("1 slopes dot")]
    assert len(dots) == 3
    for dot in dots:
        x, y = map(float, dot.split(","))
        assert np.interp(x, *curve.T) == pytest.approx(y, abs=0.3)
    z = [float(printed(lines[0])) for lines in strip(picture, r"z \d")]
    assert np.corrcoef(z, [float(dot.split(",")[0]) for dot in dots])[0, 1] > 0.9999


@given(chain=chains)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rendered_strip_says_what_dot_says(chain, engine, tmp_path):
    cost, leaves = chain.build()
    digraph = draw.chain(cost, leaves["b1"])
    draw.save(digraph, tmp_path / "strip.svg")
    assert_svg_says_the_same(tmp_path / "strip.svg", read(digraph))


def test_drawing_changes_nothing_and_asks_for_no_backward():
    cost, b = neurons([0.8, 0.7], [0.1, 0.2])
    before = draw.chain(cost, b).source
    assert b.grad is None
    cost.backward()
    gradient = b.grad.copy()
    assert draw.chain(cost, b).source == before
    assert np.array_equal(b.grad, gradient)


def test_a_network_one_neuron_wide_is_a_chain():
    net = nn.mlp([1] * 5, rng=0)
    picture = read(draw.chain(np.sum(net(np.ones((1, 1)))), net[0].bias))
    assert [lines[0] for lines in strip(picture, "factors")] == [
        "σ′(z₁)", "w₂ σ′(z₂)", "w₃ σ′(z₃)", "∂C/∂a₃",
    ]  # fmt: skip
    inner = read(draw.chain(np.sum(net(np.ones((1, 1)))), net[2].bias))  # the path begins at any bias
    assert len(strip(inner, "factors")) == 3


@pytest.mark.parametrize(("depth", "weight", "dtype"), [(40, 0.1, np.float32), (100, 1e4, np.float64)])
def test_products_beyond_the_floats(depth, weight, dtype):
    b = tg.Tensor(dtype(0.0), requires_grad=True)
    a = b
    for _ in range(depth):
        a = tg.ops.sigmoid(dtype(weight) * (a - dtype(0.5)) if a is not b else a)
    (result,) = strip(read(draw.chain(a, b)), "result")
    size = (depth - 1) * math.log10(weight) + depth * math.log10(0.25)
    exponent = int(re.search(r"measured ∂C/∂b₁: \S+e([+−]\d+),", result[0])[1].replace("−", "-"))
    assert exponent == math.floor(size)
    assert re.search(r"equal to (\d+) digits", result[0])


@pytest.mark.parametrize(("weight", "activation"), [(-1.0, tg.ops.relu), (np.nan, np.tanh), (np.inf, np.tanh)])
def test_dead_and_broken_chains_are_drawn(weight, activation, engine, tmp_path):
    with np.errstate(all="ignore"):
        cost, b = neurons([1.0, weight, 1.0], [0.5, 0.0, 0.1], activation=activation)
        digraph = draw.chain(cost, b)
    draw.save(digraph, tmp_path / "strip.svg")
    numbers = [lines[0] for lines in strip(read(digraph), "number")]
    assert numbers[-1] in ("0", "NaN")
    assert_svg_says_the_same(tmp_path / "strip.svg", read(digraph))


def test_a_product_of_0_has_no_bar():
    """A bar that ends at the end of the axis would look like a product of 0.1."""
    picture = read(draw.chain(*neurons([1.0, -1.0, 1.0], [0.5, 0.0, 0.1], activation=tg.ops.relu)))
    numbers = [lines[0] for lines in strip(picture, "number")]
    assert 0 < numbers.count("0") < len(numbers)
    assert len(bars(picture)) == len(numbers) - numbers.count("0")


def test_what_cannot_be_drawn():
    net = nn.mlp([3, 4, 4, 1], rng=0)
    cost = np.sum(net(np.ones((1, 3))))
    with pytest.raises(ValueError, match=r"\(4,\) wide.*draw.neurons\(model, cost\) draws the strongest"):
        draw.chain(cost, net[0].bias)
    thin = nn.mlp([1, 1, 1], rng=0)
    several = np.sum(thin(np.ones((5, 1))))
    with pytest.raises(ValueError, match=r"on one sample\. .*; here it is \(5, 1\) wide at the output of linear"):
        draw.chain(several, thin[0].bias)
    other = nn.mlp([1, 1, 1], rng=0)
    with pytest.raises(ValueError, match=r"gradient of .*, and the cost does not depend on it: give a tensor"):
        draw.chain(np.sum(thin(np.ones((1, 1)))), other[0].bias)
    with pytest.raises(ValueError, match=r"this cost has shape \(5, 1\): write np.sum\(cost\) or np.mean\(cost\)"):
        draw.chain(thin(np.ones((5, 1))), thin[0].bias)
    with pytest.raises(TypeError, match=r"takes the cost as a Tensor, not float: write draw.chain\(cost, net"):
        draw.chain(3.0, thin[0].bias)
    with pytest.raises(TypeError, match=r"takes the bias as a Tensor, not Sequential"):
        draw.chain(np.sum(thin(np.ones((1, 1)))), thin)
    with pytest.raises(ValueError, match="one bias for each cost, and here are 2 costs, 1 bias"):
        draw.chain([cost, cost], [net[0].bias])
