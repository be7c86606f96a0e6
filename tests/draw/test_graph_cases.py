"""The graph by operation where it is odd: before a backward, deep, shared, dead or broken."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.draw.reading import Picture, assert_svg_says_the_same, read
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style


def leaf(value: Any, name: str | None = None, dtype: Any = np.float64) -> tg.Tensor:
    return tg.Tensor(np.asarray(value, dtype), requires_grad=True, name=name)


def drawn(cost: tg.Tensor, **options: Any) -> Picture:
    cost.backward(**options)
    return read(draw.graph(cost))


def labels(picture: Picture) -> list[list[str]]:
    return [edge.lines for edge in picture.edges if not edge.is_data]


# Before a backward nothing is known, and nothing is made up.


def two_costs() -> Iterator[tuple[tg.Tensor, list[tg.Tensor]]]:
    a, b = leaf(0.5), leaf(2.0)
    yield tg.ops.sigmoid(a * b + 1.0), [a, b]
    net = nn.Sequential(nn.Linear(5, 4, rng=0), nn.Sigmoid(), nn.Linear(4, 3, rng=0))
    yield np.sum(net(np.ones((2, 5)))), list(net.parameters())


def test_before_a_backward_all_figures_are_dashes():
    for cost, leaves in two_costs():
        before = draw.graph(cost)
        picture = read(before)
        assert set(map(tuple, labels(picture))) == {("–",)}
        sizes = [line for node in picture.nodes.values() for line in node.lines if "∂C" in line]
        assert sizes == ["log₁₀‖∂C/∂·‖ = –"] * len(leaves)
        assert "not computed: no leaf has a .grad" in before.source
        cost.backward()
        assert "–" not in draw.graph(cost).source
        for tensor in leaves:
            tensor.grad = None
        assert draw.graph(cost).source == before.source


# Odd graphs.


def test_a_square_has_two_edges():
    x = leaf(3.0, "x")
    picture = drawn(x * x)
    assert labels(picture) == [["3"], ["3"]]
    assert picture.nodes[picture.key("x")].lines[1:] == ["= 3", "∂C/∂· = 6", "log₁₀‖∂C/∂·‖ = 0.78"]


def test_shared_tensors_are_drawn_once():
    y = leaf(1.0, "x")
    for _ in range(60):  # 2⁶⁰ paths
        y = y + y
    picture = drawn(y)
    assert len(picture.nodes) == 61
    assert labels(picture) == [["1"]] * 120
    assert picture.nodes[picture.key("x")].lines[-1] == f"log₁₀‖∂C/∂·‖ = {60 * math.log10(2):.2f}"


def test_what_asks_for_no_gradient_is_data():
    x = leaf(np.ones((2, 3)), "x")
    mask, shared, constant = np.ones(3), np.full(3, 2.0), tg.Tensor(2.0, name="constant")
    cost = np.sum(np.clip(x, -1.0, 4.0) * mask * shared * shared * constant, axis=None, keepdims=False)
    picture = drawn(cost)
    data = [edge for edge in picture.edges if edge.is_data]
    assert [picture.nodes[edge.tail].lines for edge in data] == [
        ["constant", "2"], ["data (3,)"], ["data (3,)"], ["data (3,)"],
    ]  # fmt: skip
    assert len({edge.tail for edge in data}) == 3  # `shared` is drawn once
    assert all(not edge.lines for edge in data)
    assert "np.clip(·, -1.0, 4.0)" in picture.nodes[picture.key("np.clip(·, -1.0, 4.0)")].lines
    assert "np.sum(·, keepdims=False)" in picture.nodes["n0"].lines


def test_what_asks_for_none_any_more_still_has_its_edge():
    x, y = leaf(2.0, "x"), leaf(3.0, "y")
    cost = x * y
    cost.backward()
    y.requires_grad = False  # frozen after the forward pass
    picture = read(draw.graph(cost))
    assert sorted(labels(picture)) == [["2"], ["3"]]
    assert len(picture.edges) == 2


def test_numbers_of_all_shapes_have_factors():
    x, y = leaf([[2.0]], "x"), leaf(3.0, "y")
    picture = drawn(np.sum(np.reshape(x, (1,)) * y))
    assert [edge.lines for edge in picture.up(picture.key("x"))] == [["1"], ["3"], ["1"]]
    assert [edge.lines for edge in picture.up(picture.key("y"))] == [["2"], ["1"]]


def test_a_dead_neuron():
    picture = drawn(3.0 * tg.ops.relu(2.0 * leaf(-1.0, "x")))
    assert [edge.lines for edge in picture.up(picture.key("x"))] == [["2"], ["relu′(z₁) = 0"], ["3"]]
    assert picture.nodes[picture.key("x")].lines[-1] == "log₁₀‖∂C/∂·‖ = −∞"


def test_where_no_gradient_arrives_an_array_has_no_gain():
    x = leaf([-1.0, -2.0], "x")
    picture = drawn(np.sum(tg.ops.relu(x * 2.0)))
    assert [edge.lines for edge in picture.up(picture.key("x"))] == [["–"], ["gain 0"], ["gain 1.41"]]
    (first, *_) = picture.up(picture.key("x"))
    assert first.colour == "#ffffff"
    assert first.attributes["tooltip"] == "no gradient arrives here"


@pytest.mark.parametrize(("value", "factor", "gain"), [(np.nan, "NaN", "gain NaN"), (np.inf, "∞", "gain ∞")])
def test_broken_gradients_are_said_and_shown(value, factor, gain):
    x = leaf(1.0, "x")
    picture = drawn(x * value)
    assert labels(picture) == [[factor]]
    assert "–" not in picture.nodes[picture.key("x")].lines[-1]
    picture = drawn(np.sum(leaf([1.0, 2.0], "x") * value), extended_range=True)
    (edge, _) = picture.up(picture.key("x"))
    assert edge.lines == [gain]
    if np.isnan(value):
        assert edge.colour == edge.attributes["color"] == style.BROKEN


def test_factors_and_gains_beyond_the_floats():
    v = leaf(np.full(2, 1e-300), "v")
    weight = np.full((2, 2), 1.5e308)
    picture = drawn(np.sum(np.matmul(weight, v)), extended_range=True)
    (edge, _) = picture.up(picture.key("v"))
    assert edge.lines == ["gain 3.00e+308"]
    picture = drawn(leaf(1e-200, "x") ** -1.0, extended_range=True)
    (edge,) = picture.up(picture.key("x"))
    assert edge.lines == ["−∞"]


def test_300_layers_in_float32_show_gains_all_the_way():
    rng = np.random.default_rng(0)
    net = nn.mlp([30] * 301, dtype=np.float32, rng=rng)
    cost = np.sum(net(rng.normal(size=(4, 30)).astype(np.float32)))
    cost.backward()
    assert not np.any(net[0].bias.grad)  # below the floats
    picture = read(draw.graph(cost, dict(net.named_parameters())))
    for edge in picture.edges:
        assert edge.is_data or (edge.lines[0].startswith("gain ") and edge.factor > 0)
    first = picture.nodes[picture.key("0.bias")].lines[-1]
    assert first.startswith("log₁₀‖∂C/∂·‖ = −2")
    assert "float32" in picture.nodes[picture.key("0.bias")].attributes["tooltip"]


def test_leaves_beside_the_way_have_figures_and_no_colour():
    w, x = leaf(np.full((3, 3), 40.0), "w"), leaf(np.ones((4, 3)), "x")
    cost = np.sum(np.matmul(np.tanh(0.01 * x), w))
    picture = drawn(cost)
    (branch, *_), way = picture.up(picture.key("w")), list(picture.up(picture.key("x")))
    assert float(branch.factor) < 0.1
    assert branch.colour == style.WHITE
    assert style.line(0.0).items() <= branch.attributes.items()
    assert branch not in way
    for edge in way:  # from x on, which is the only leaf of its operation
        assert edge.colour == style.fill(math.log10(edge.factor))
        assert edge.attributes["weight"] == "20"
    assert "Edges to leaves beside the way, such as weights, have no colour." in draw.graph(cost).source
    broken = drawn(np.tanh(x[0, 0]) * leaf(np.nan, "v"))
    assert {edge.colour for edge in broken.up(broken.key("x"))} >= {style.BROKEN}
    broken = drawn((np.tanh(x[0, 0]) * np.nan) * leaf(1.0, "v"))
    (edge,) = broken.up(broken.key("v"))
    assert edge.colour == edge.attributes["color"] == style.BROKEN


# Size.


@contextmanager
def little_room(frames: int = 60) -> Iterator[None]:
    depth, frame, limit = 0, sys._getframe(), sys.getrecursionlimit()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    sys.setrecursionlimit(depth + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def deep() -> tg.Tensor:
    y = leaf(0.5)
    for _ in range(2500):
        y = np.tanh(y * 1.01)
    return y


def broad() -> tg.Tensor:
    x, y = leaf(0.5), tg.Tensor(0.0)
    for i in range(2500):
        y = y + x * float(i)
    return y


@pytest.mark.parametrize("build", [deep, broad])
def test_5000_operations_are_walked_and_not_recursed_into(build):
    cost = build()
    cost.backward()
    with little_room():
        digraph = draw.graph(cost)
        source = digraph.source
    assert source.count(" -> ") >= 5000
    assert len(digraph.body) >= 10_000


# Names, directions, errors.


def test_names_for_leaves_that_have_none():
    net = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Sigmoid())
    net[0].weight.name = "its own"
    cost = np.sum(net(np.ones(2)))
    titles = {node.lines[0] for node in read(draw.graph(cost, dict(net.named_parameters()))).nodes.values()}
    assert {"its own", "0.bias", "cost C"} <= titles
    assert "Parameter" in {node.lines[0] for node in read(draw.graph(cost)).nodes.values()}


def test_every_direction_is_laid_out(engine, tmp_path):
    for rankdir in ("TB", "BT", "LR", "RL"):
        for cost, _ in two_costs():
            cost.backward()
            digraph = draw.graph(cost, rankdir=rankdir)
            draw.save(digraph, tmp_path / "graph.svg")
            assert f"rankdir={rankdir}" in digraph.source
            assert_svg_says_the_same(tmp_path / "graph.svg", read(digraph))


def test_what_cannot_be_drawn():
    x = leaf([1.0, 2.0], "x")
    net = nn.Linear(2, 1, rng=0)
    with pytest.raises(TypeError, match=r"write net.named_parameters\(\) in place of the module"):
        draw.graph(np.sum(net(x)), net)
    with pytest.raises(TypeError, match="draws how a Tensor was computed, not ndarray"):
        draw.graph(np.ones(2))
    with pytest.raises(ValueError, match=r"the output of np.multiply has shape \(2,\).*pass the cotangent"):
        draw.graph(x * 2.0)
    with pytest.raises(ValueError, match=r"must have shape \(2,\), not \(3,\)"):
        draw.graph(x * 2.0, gradient=np.ones(3))
    with pytest.raises(ValueError, match="rankdir is one of TB, BT, LR, RL, not 'down'"):
        draw.graph(np.sum(x), rankdir="down")
    with pytest.raises(ValueError, match="tensor 'c' has no gradient: nothing it was computed from requires gradients"):
        draw.graph(tg.Tensor(1.0, name="c"))
    with tg.no_grad():
        nothing = np.sum(x)
    with pytest.raises(ValueError, match="has no gradient"):
        draw.graph(nothing)
