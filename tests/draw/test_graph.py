"""The graph by operation: what its edges say multiplies to the gradient, as it is printed and to the last digit."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import tinygrad_vg as tg
from tests.draw.chains import assert_printed, chains, exact
from tests.draw.reading import assert_svg_says_the_same, printed, read
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style
from tinygrad_vg.instruments import chain_factors, log10_norm
from tinygrad_vg.notation import with_minus


@given(chains)
@settings(deadline=None)
def test_the_factors_on_the_way_from_any_leaf_multiply_to_its_gradient(chain):
    cost, leaves = chain.build()
    cost.backward(extended_range=True)
    picture = read(draw.graph(cost))
    for name, leaf in leaves.items():
        factors = [edge.factor for edge in picture.up(picture.key(name))]
        assert_printed(math.prod(factors), len(factors), exact(leaf.grad))
        size = picture.nodes[picture.key(name)].lines[-1]
        assert size == f"log₁₀‖∂C/∂·‖ = {style.magnitude(log10_norm(leaf.grad))}"


@given(chains)
@settings(deadline=None)
def test_the_pairs_of_equation_122(chain):
    """∂C/∂b₁ = σ′(z₁) · w₂ σ′(z₂) · ... · w_L σ′(z_L) · ∂C/∂a_L, with the book's names."""
    cost, leaves = chain.build()
    cost.backward(extended_range=True)
    slope, *factors, end = chain_factors(cost, leaves["b1"])
    picture = read(draw.graph(cost))
    way = list(picture.up(picture.key("b1")))
    pairs = [edge.lines[1] for edge in way if len(edge.lines) == 2]
    weights, slopes = factors[::2], factors[1::2]
    assert pairs == [
        f"with {w.label}: {style.three_digits(w.value * s.value)}" for w, s in zip(weights, slopes, strict=True)
    ]
    named = [edge.lines[0] for edge in way if " = " in edge.lines[0]]
    assert named == [with_minus(str(factor)) for factor in (slope, *factors)]  # so each weight stands on one edge
    last = max(i for i, edge in enumerate(way) if "′" in edge.lines[0])
    rest = [edge.factor for edge in way[last + 1 :]]
    assert_printed(math.prod(rest), len(rest), Fraction(end.value))
    product = printed(named[0]) * math.prod(map(printed, pairs)) * math.prod(rest)
    assert_printed(product, 1 + len(pairs) + len(rest), exact(leaves["b1"].grad))


def test_where_there_is_no_one_weight_there_is_no_pair():
    b, w = (tg.Tensor(value, requires_grad=True) for value in (0.5, -2.0))
    a = tg.ops.sigmoid(b)
    for z in (a * a, np.exp(w) * a, w * a + 2.0 * a, w * a - 1.0, w + b, a):
        cost = np.tanh(z)
        cost.backward()
        assert "w₂" not in draw.graph(cost).source
        assert "tanh′(z₂) = " in draw.graph(cost).source or z.node.function is np.add


@given(chain=chains)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rendered_picture_says_what_dot_says(chain, engine, tmp_path):
    """So the laws above hold for what a reader sees. The engine stays the same for all examples."""
    cost, _ = chain.build()
    cost.backward()
    digraph = draw.graph(cost)
    draw.save(digraph, tmp_path / "chain.svg")
    assert_svg_says_the_same(tmp_path / "chain.svg", read(digraph))


# Wide layers: the factors are matrices, and an edge shows its gain.

WIDE = {
    "sigmoid": (nn.Sigmoid, False),
    "tanh": (nn.Tanh, False),
    "relu": (nn.ReLU, False),
    "normalised": (nn.Tanh, True),
}


def wide(kind: str, seed: int = 0) -> tuple[nn.Sequential, list[tg.Tensor], tg.Tensor]:
    """A network of Nielsen's widths, what its modules put out, named after them, and the cost of random data."""
    activation, normalised = WIDE[kind]
    rng = np.random.default_rng(seed)
    parts: list[Any] = []
    for n_in, n_out in [(784, 30), (30, 30), (30, 10)]:
        parts += [nn.Linear(n_in, n_out, rng=rng), *([nn.LayerNorm(n_out)] if normalised else []), activation()]
    net, h, outputs = nn.Sequential(*parts[:-1]), rng.normal(size=(16, 784)) / 28, []
    for i, module in enumerate(net):
        h = module(h)
        h.name = f"output {i}"
        outputs.append(h)
    return net, outputs, np.sum(np.square(h - rng.normal(size=(16, 10))))


@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("digits", ["three", "all"])
def test_gains_multiply_to_the_ratio_of_norms(kind, digits, monkeypatch):
    if digits == "all":
        monkeypatch.setattr(style, "three_digits", repr)
    net, outputs, cost = wide(kind)
    cost.backward()
    picture = read(draw.graph(cost, dict(net.named_parameters())))
    gradients = {h.name: g for h, g in zip(outputs, tg.grad(cost, outputs), strict=True)}
    gradients |= {name: parameter.grad for name, parameter in net.named_parameters()}
    titles = {picture.key(name): name for name in gradients}
    checked = 0
    for key, name in titles.items():
        gain, way = 1.0, 0
        while sum(edge.tail == key for edge in picture.edges) == 1:  # where consumers join, norms do not add
            (edge,) = (edge for edge in picture.edges if edge.tail == key)
            gain, way, key = gain * float(edge.factor), way + 1, edge.head
            if key in titles:
                ratio = 10.0 ** (log10_norm(gradients[name]) - log10_norm(gradients[titles[key]]))
                assert gain == pytest.approx(ratio, rel=1.005**way - 1 if digits == "three" else 1e-12)
                checked += 1
                break
    # All but the last output, which goes into the cost, and the three that LayerNorm uses twice.
    assert checked == len(gradients) - (4 if kind == "normalised" else 1)


@pytest.mark.parametrize("kind", WIDE)
def test_what_is_no_derivative_of_a_number_is_called_a_gain(kind):
    _, _, cost = wide(kind)
    cost.backward()
    picture = read(draw.graph(cost))
    assert [edge for edge in picture.edges if edge.is_data]
    for edge in picture.edges:
        if not edge.is_data:
            assert len(edge.lines) == 1
            assert edge.lines[0].startswith("gain ")
            assert edge.factor > 0
            assert edge.attributes["tooltip"].startswith("gain of the gradient's norm ")


def test_a_number_in_front_of_an_array_has_a_gain_and_the_numbers_after_it_factors():
    x = tg.Tensor([1.0, 2.0, 2.0], requires_grad=True, name="x")
    cost = 3.0 * np.sqrt(np.sum(x * x))
    cost.backward()
    picture = read(draw.graph(cost))
    assert [edge.lines for edge in picture.up(picture.key("np.sum"))] == [["0.167"], ["3"]]
    (spread,) = (edge for edge in picture.edges if edge.head == picture.key("np.sum"))
    assert spread.lines == ["gain 1.73"]  # of one number's three copies


def test_of_what_is_used_twice_each_edge_has_the_gain_of_its_own_share():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    h = x * np.array([5.0, 5.0])
    h.name = "h"
    y = h * np.array([2.0, 2.0]) + h * np.array([-3.0, -3.0])
    y.backward(np.ones(2))
    picture = read(draw.graph(y, gradient=np.ones(2)))
    gains = [edge.lines for edge in picture.edges if edge.tail == picture.key("h")]
    assert sorted(gains) == [["gain 2"], ["gain 3"]]  # of their sum it would be 1
    assert [edge.lines for edge in picture.edges if edge.tail == picture.key("x")] == [["gain 5"]]


def test_a_cotangent_of_several_elements():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = x * np.array([3.0, 4.0])
    y.backward([1.0, 0.0])
    picture = read(draw.graph(y, gradient=[1.0, 0.0]))
    assert [edge.lines for edge in picture.up(picture.key("x"))] == [["gain 3"]]
    assert picture.nodes[picture.key("x")].lines[-1] == "log₁₀‖∂C/∂·‖ = 0.48"
