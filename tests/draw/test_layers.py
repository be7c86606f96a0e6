"""The picture by layers: its edges add up to the whole way, folded or not, from a cost as from a ledger."""

import html
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.draw.nets import NETS, fate, network, trained_once
from tests.draw.reading import SVG, Picture, assert_svg_says_the_same, read
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style
from tinygrad_vg.instruments import Ledger, diagnose


def steps(picture: Picture) -> list[tuple[int, float, float, float]]:
    """Of each edge with figures: how many layers it stands for, and its decades in all, between, and of W."""
    found = []
    for edge in picture.edges:
        if edge.lines and "decades" in edge.lines[0]:
            count, total = re.fullmatch(r"(?:×(\d+): )?(\S+) decades of ‖δ‖", edge.lines[0]).groups()
            *between, weights = (share.rsplit(" ", 1)[1] for share in edge.lines[1].split(", "))
            numbers = [float(x.replace("−", "-")) for x in (total, weights, *between)]
            found.append((int(count or 1), numbers[0], sum(numbers[2:]), numbers[1]))
    return found


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("expand", [False, True, [2]])
def test_the_edges_add_up_to_the_whole_way(kind, expand, monkeypatch):
    net = NETS[kind]()
    cost, ledger = trained_once(net)
    if expand and len(ledger.layers) == 1:
        expand = [1]
    whole = ledger.log10_norm[0] - ledger.log10_norm[-1]
    found = steps(read(draw.layers(net, cost, expand=expand)))
    assert sum(count for count, *_ in found) == len(ledger.layers) - 1
    assert sum(total for _, total, _, _ in found) == pytest.approx(whole, abs=0.005001 * len(found))
    for _, total, between, weights in found:
        assert between + weights == pytest.approx(total, abs=0.025001)
    monkeypatch.setattr(style, "decades", lambda x: f"{x:+.17g}")
    found = steps(read(draw.layers(net, cost, expand=expand)))
    assert sum(total for _, total, _, _ in found) == pytest.approx(whole, abs=1e-11)
    for _, total, between, weights in found:
        assert between + weights == pytest.approx(total, abs=1e-11)


@pytest.mark.parametrize("kind", NETS)
def test_a_cost_and_a_ledger_give_one_picture(kind):
    net = NETS[kind]()
    cost, ledger = trained_once(net)
    of_cost = Ledger.of(net, cost)
    for own, other in zip(of_cost, ledger, strict=True):
        for name in ("log10_norm", "weights", "activation", "total"):
            assert getattr(own, name) == pytest.approx(getattr(other, name), abs=1e-12)
        assert [part.label for part in own.parts] == [part.label for part in other.parts]
        decades = [[part.decades for part in row.parts] for row in (own, other)]
        assert decades[0] == pytest.approx(decades[1], abs=1e-12)
        assert own.cause == other.cause
    for expand in (False, True):
        pictures = [read(draw.layers(net, source, expand=expand)) for source in (cost, ledger, of_cost)]
        assert pictures[0].nodes.pop("C").lines == [f"cost C = {cost.item():.3g}"]
        for picture in pictures[1:]:
            assert picture.nodes.pop("C").lines == ["cost C"]
            assert picture == pictures[0]


def test_each_share_of_an_edge_is_of_the_module_that_it_names():
    between = [nn.Linear(5, 5, rng=0), nn.Sigmoid(), nn.LayerNorm(5)]
    net = nn.Sequential(*between, nn.Linear(5, 5, rng=1))
    cost, ledger = trained_once(net)
    (row,) = ledger
    of = {part.label: style.decades(part.decades) for part in row.parts}
    assert of["Sigmoid"] != of["LayerNorm"]
    (edge,) = [edge for edge in read(draw.layers(net, cost)).edges if edge.tail == "layer 1" and edge.head == "layer 2"]
    assert edge.lines[1] == f"σ′ {of['Sigmoid']}, LayerNorm {of['LayerNorm']}, W {style.decades(row.weights)}"


def test_the_edge_of_a_folded_node_has_the_colour_of_a_step():
    net = network([30] * 5, nn.Sigmoid)
    cost, ledger = trained_once(net)
    (edge,) = [edge for edge in read(draw.layers(net, cost)).edges if edge.tail == "layer 1"]
    mean = np.mean([row.total for row in ledger])
    assert edge.colour == style.fill(mean) != style.fill(3 * mean)
    assert edge.attributes["penwidth"] == style.line(mean)["penwidth"]


def test_a_folded_node_tells_of_all_its_layers():
    net = network([30] * 5, nn.Sigmoid)
    cost, ledger = trained_once(net)
    group = read(draw.layers(net, cost)).nodes["layer 1"]
    z = np.array(ledger.outputs[:3])
    norms = [style.magnitude(row.log10_norm) for row in ledger]
    assert group.lines[1:4] == [
        f"z = {z.mean():.3g} ± {z.std():.3g}".replace("-", "−"),
        f"mean σ′ = {np.mean(1 / (2 + np.exp(z) + np.exp(-z))):.3g}",
        f"log₁₀‖δ‖ = {norms[0]} … {norms[2]}",
    ]


def test_the_nodes_tell_z_slope_and_norm():
    net = network([5, 4, 4], nn.Sigmoid)
    x = np.random.default_rng(0).normal(size=(3, 5))
    with Ledger(net) as ledger:
        np.sum(net(x)).backward()
    z = x @ net[0].weight.data.T + net[0].bias.data
    slope = np.mean(np.exp(-z) / (1 + np.exp(-z)) ** 2)
    (row,) = ledger
    assert read(draw.layers(net, ledger)).nodes["layer 1"].lines == [
        "layer 1: Linear 5 → 4",
        f"z = {z.mean():.3g} ± {z.std():.3g}".replace("-", "−"),
        f"mean σ′ = {slope:.3g}",
        f"log₁₀‖δ‖ = {row.log10_norm:.2f}".replace("-", "−"),
        diagnose(ledger).layers[0].state,
    ]


# Folding, and what it is for.


def test_three_neighbours_alike_are_one_and_two_are_not():
    net = network([30, 20, 20, 20, 20, 20, 10, 10, 10], nn.Sigmoid)
    cost, ledger = trained_once(net)
    assert {verdict.state for verdict in diagnose(ledger).layers} == {"shrinking"}  # so that only shapes differ
    titles = [node.lines[0] for node in read(draw.layers(net, cost)).nodes.values()]
    assert titles == [
        "x: 30 inputs", "layer 1: Linear 30 → 20", "layers 2 to 5: Linear 20 → 20", "layer 6: Linear 20 → 10",
        "layer 7: Linear 10 → 10", "layer 8: Linear 10 → 10", f"cost C = {cost.item():.3g}",
    ]  # fmt: skip
    apart = read(draw.layers(net, cost, expand={2, 3}))
    assert [key for key in apart.nodes if key.startswith("layer")] == [f"layer {i}" for i in range(1, 9)]
    assert read(draw.layers(net, cost, expand=[4])).nodes.keys() == apart.nodes.keys()
    assert read(draw.layers(net, cost, expand=np.int64(4))) == read(draw.layers(net, cost, expand=4))
    assert read(draw.layers(net, cost, expand=True)) == apart
    assert [count for count, *_ in steps(read(draw.layers(net, cost)))] == [1, 4, 1, 1]


@pytest.mark.parametrize(
    ("units", "expand", "most"),
    [([nn.Sigmoid], False, 4), ([nn.Sigmoid], True, 52), ([nn.Sigmoid, nn.Tanh], False, 52)],
)
def test_50_layers_are_a_picture_that_can_be_read(units, expand, most, engine, tmp_path):
    net = network([30] * 51, *units)
    cost, _ = trained_once(net)
    digraph = draw.layers(net, cost, expand=expand)
    picture = read(digraph)
    assert len(picture.nodes) == most <= 60
    draw.save(digraph, tmp_path / "layers.svg")
    assert_svg_says_the_same(tmp_path / "layers.svg", picture)
    assert (tmp_path / "layers.svg").stat().st_size <= 200_000
    root = ElementTree.parse(tmp_path / "layers.svg").getroot()
    width = float(root.get("viewBox").split()[2])
    smallest = min(float(text.get("font-size")) for text in root.iter(f"{SVG}text"))
    assert smallest * 1200 / width >= 9  # px, on a page 1,200 px wide


# Verdicts.


@pytest.mark.parametrize("state", style.VERDICTS)
def test_the_verdict_has_its_word_and_its_colour(state):
    assert len(set(style.VERDICTS.values())) == len(style.VERDICTS)
    net = fate(state)
    _, ledger = trained_once(net, backwards=2 if state == "dead" else 1)
    digraph = draw.layers(net, ledger, expand=True)
    picture = read(digraph)
    states = [verdict.state for verdict in diagnose(ledger).layers]
    assert state in states
    for i, each in enumerate(states, 1):
        node = picture.nodes[f"layer {i}"]
        assert node.lines[-1] == each
        assert node.colour == style.VERDICTS[each]
    # The last layer has no step, but a z.
    last = style.VERDICTS["not finite"] if state == "not finite" else style.PAPER
    assert picture.nodes["layer 6"].colour == last
    named = [verdict for verdict in style.VERDICTS if verdict in states]
    assert f"Layers are coloured by their step's verdict: {', '.join(named)}." in html.unescape(digraph.source)
    for words in str(diagnose(ledger)).split("; "):
        assert words in html.unescape(digraph.source)
    measures = re.findall(r">([\w ]+): [^<]*(?:0\.1|arrives|smallest|NaN)[^<]*\.<", digraph.source)
    assert measures == named


@pytest.mark.parametrize(
    ("scales", "state", "is_said"),
    [((1.0, 1.0, 1.0, 1.0), "stable", False), ((1.0, 2.0, 2.0, 1.0), "stable", True),
     ((0.25, 0.25, 0.25, 0.25), "vanishing", False), ((0.05, 2.0, 0.1, 0.1), "vanishing", True),
     ((20.0, 20.0, 0.01, 20.0), "exploding", True)],
)  # fmt: skip
def test_the_legend_says_why_a_layer_has_another_word_than_the_network(scales, state, is_said):
    """The words are about one step, and the verdict is about the whole way."""
    net = nn.Sequential(*(nn.Linear(3, 3, rng=seed) for seed in range(len(scales) + 1)))
    for layer, scale in zip(net, (1.0, *scales), strict=True):
        layer.weight.data = scale * np.eye(3)
    _, ledger = trained_once(net)
    diagnosis = diagnose(ledger)
    assert diagnosis.state == state
    words = [verdict.state for verdict in diagnosis.layers]
    like = {"stable": "stable", "vanishing": "shrinking", "exploding": "growing"}[state]
    assert (set(words) != {like}) == is_said
    source = html.unescape(draw.layers(net, ledger, expand=True).source)
    assert ("This is the verdict on the whole way" in source) == is_said
    assert ("the whole way, less than 1 decade;" in source) == (is_said and state == "stable")


def test_a_dead_layer_takes_everything():
    net = fate("dead")
    cost, ledger = trained_once(net)
    lines = [edge.lines[0] for edge in read(draw.layers(net, cost, expand=True)).edges if edge.lines]
    assert "−∞ decades of ‖δ‖" in lines
    assert ledger.log10_norm[0] == -math.inf
