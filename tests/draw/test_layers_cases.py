"""The picture by layers where it is odd: ensembles, ways around, nothing computed yet, networks that broke down."""

import re

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.draw.nets import NETS, network, residual, trained_once
from tests.draw.reading import assert_svg_says_the_same, read
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style
from tinygrad_vg.instruments import Ledger


def test_an_ensemble_s_figures_are_medians():
    net = nn.stack([network([6, 5, 5, 5, 2], nn.Tanh, nn.Sigmoid, nn.Sigmoid, seed=seed) for seed in range(5)])
    cost, ledger = trained_once(net)
    picture = read(draw.layers(net, cost, expand=True))
    labels = {edge.tail: edge.lines for edge in picture.edges if edge.lines}
    assert len(labels) == 3
    for row in ledger:
        between = "tanh′" if row.layer == 1 else "σ′"
        assert labels[f"layer {row.layer}"] == [
            f"{style.decades(np.median(row.total))} decades of ‖δ‖",
            f"{between} {style.decades(np.median(row.activation))}, W {style.decades(np.median(row.weights))}",
        ]
        size = f"log₁₀‖δ‖ = {style.magnitude(np.median(row.log10_norm))}"
        assert size in picture.nodes[f"layer {row.layer}"].lines
    assert read(draw.layers(net, ledger, expand=True)).edges == picture.edges
    assert "medians of 5 networks" in draw.layers(net, cost).source


def test_an_ensemble_of_which_some_are_dead():
    nets = [network([4, 4, 4, 4], nn.ReLU, seed=seed) for seed in range(3)]
    for dead in nets[:2]:
        dead[2].bias.data = np.full(4, -1e3)
    net = nn.stack(nets)
    cost, ledger = trained_once(net)
    picture = read(draw.layers(net, cost))
    assert picture.nodes["layer 1"].lines[-1] == "no gradient"
    assert picture == read(draw.layers(net, cost, expand=True))
    assert np.isneginf(ledger.log10_norm[0]).tolist() == [True, True, False]


# The ways around.


def test_a_residual_block_has_its_way_around():
    net = residual(7, 2)
    cost, ledger = trained_once(net)
    (row,) = ledger
    picture = read(draw.layers(net, cost))
    blocks = [key for key, node in picture.nodes.items() if node.lines[0] == "Residual(Linear 7 → 7, Tanh)"]
    sums = [key for key, node in picture.nodes.items() if node.lines[0] == "x + block"]
    ways = [(edge.tail, edge.head, edge.lines) for edge in picture.edges]
    tails = ["layer 1", sums[0]]
    for tail, block, end in zip(tails, blocks, sums, strict=True):
        assert (tail, block, []) in ways
        assert (block, end, []) in ways
        assert (tail, end, ["×1"]) in ways
    assert [picture.nodes[end].lines[1] for end in sums] == [
        f"{style.decades(part.decades)} decades of ‖δ‖" for part in reversed(row.parts)
    ]
    (step,) = (edge for edge in picture.edges if edge.head == "layer 2")
    assert step.tail == sums[1]
    assert step.lines == [
        f"{style.decades(row.total)} decades of ‖δ‖",
        f"Residual {style.decades(row.activation)}, W {style.decades(row.weights)}",
    ]


def test_many_blocks_alike_are_one(engine, tmp_path):
    net = residual(7, 30)
    cost, ledger = trained_once(net)
    digraph = draw.layers(net, cost)
    picture = read(digraph)
    (end,) = (node for node in picture.nodes.values() if node.lines[0] == "x + block")
    gain = sum(part.decades for part in ledger.rows[0].parts)
    assert end.lines[1] == f"×30: {style.decades(gain)} decades of ‖δ‖"
    assert len(picture.nodes) == 6
    draw.save(digraph, tmp_path / "residual.svg")
    assert_svg_says_the_same(tmp_path / "residual.svg", picture)


def test_blocks_behind_the_last_layer_have_no_account():
    net = nn.Sequential(*residual(4, 1), nn.Residual(nn.Sequential(nn.Linear(2, 2, rng=0))))
    cost, _ = trained_once(net)
    picture = read(draw.layers(net, cost))
    assert picture.nodes["layer 2 block 0.0"].lines == ["Residual(Linear 2 → 2)"]
    assert "–" not in draw.layers(net, cost).source


# Before a backward.


def figures(digraph):
    """The lines with figures of a picture's nodes, but for the cost's: those of the forward, and the others."""
    nodes = [node for key, node in read(digraph).nodes.items() if key != "C"]
    lines = [line for node in nodes for line in node.lines if " = " in line or re.search("–$|decades", line)]
    forward = [line for line in lines if line.startswith(("z = ", "mean "))]
    return forward, [line for line in lines if line not in forward]


@pytest.mark.parametrize("kind", NETS)
def test_before_a_backward_only_the_forward_has_figures(kind):
    net = NETS[kind]()
    ledger = Ledger(net)
    fresh = draw.layers(net, ledger, expand=True)
    with ledger:
        cost = np.sum(net(np.ones((2, next(net.parameters()).shape[-1]))))
    before = draw.layers(net, cost, expand=True)
    assert figures(draw.layers(net, ledger, expand=True)) == figures(before)
    for digraph in (fresh, before):
        assert all(edge.lines in ([], ["–"], ["×1"]) for edge in read(digraph).edges)
        assert all(line.endswith("–") for line in figures(digraph)[1])
        assert "not computed: no parameter has a .grad" in digraph.source
    assert all(line.endswith("–") for line in figures(fresh)[0])
    cost.backward()
    after = draw.layers(net, cost, expand=True)
    assert "–" not in after.source
    assert figures(after)[0] == figures(before)[0]
    net.zero_grad()
    assert draw.layers(net, cost, expand=True).source == before.source


def test_layers_that_a_backward_did_not_reach_have_dashes():
    net = network([5, 4, 4, 4, 3], nn.Tanh)
    with Ledger(net) as ledger:
        hidden = net[:3](np.ones((2, 5)))
        rest = net[3:](hidden)
        np.sum(hidden).backward()
    assert rest.requires_grad
    picture = read(draw.layers(net, ledger))
    for layer in (2, 3):
        z, _, size, state = picture.nodes[f"layer {layer}"].lines[1:]
        assert not z.endswith("–")
        assert (size, state) == ("log₁₀‖δ‖ = –", "not computed")
        (step,) = (edge for edge in picture.edges if edge.tail == f"layer {layer}")
        assert step.lines == ["–"]


# Networks that have broken down, and places where nothing is recorded.


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_broken_network_is_drawn(value):
    net = network([3, 4, 4, 4, 4, 2], nn.ReLU)
    net[2].weight.data = net[2].weight.data * value
    with np.errstate(all="ignore"):
        cost = np.sum(net(np.random.default_rng(0).normal(size=(5, 3))))
        cost.backward(extended_range=True)
    picture = read(draw.layers(net, cost, expand=True))
    figures = " ".join(" ".join(edge.lines) for edge in picture.edges)
    assert ("NaN" in figures) == (not np.isfinite(value))
    norms = [node.lines[-2] for key, node in picture.nodes.items() if key.startswith("layer ") and len(node.lines) > 3]
    assert not any("–" in norm for norm in norms)  # they were computed, whatever came of it
    assert any("NaN" in norm for norm in norms) == (not np.isfinite(value))
    if np.isfinite(value):
        assert "+200" in figures or "+19" in figures


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid])
def test_the_slope_at_nan_is_nan_and_the_last_layer_is_coloured(activation):
    net = network([3, 4, 4, 4, 2], activation)
    net[0].weight.data[:] = np.nan
    with np.errstate(all="ignore"):
        cost = np.sum(net(np.ones((5, 3))))
        cost.backward()
    nodes = read(draw.layers(net, cost, expand=True)).nodes
    for i in (1, 2, 3):
        assert nodes[f"layer {i}"].lines[1:3] == ["z = NaN ± NaN", f"mean {activation.symbol}′ = NaN"]
    assert nodes["layer 4"].lines[-1] == "not finite"
    assert nodes["layer 4"].colour == style.VERDICTS["not finite"]
    net.zero_grad()
    assert read(draw.layers(net, cost)).nodes["layer 4"].colour == style.PAPER


def test_it_can_be_drawn_where_nothing_is_recorded():
    net = network([5, 4, 4, 4], nn.Tanh)
    cost, _ = trained_once(net)
    with tg.no_grad():
        inside = draw.layers(net, cost).source
    assert inside == draw.layers(net, cost).source


# Errors.


class Twice(nn.Module):
    def forward(self, x):
        return x * 2.0


def test_what_cannot_be_drawn():
    net = network([5, 4, 3], nn.Sigmoid)
    cost, ledger = trained_once(net)
    twin = network([5, 4, 3], nn.Sigmoid)
    other_cost, other_ledger = trained_once(twin)
    with pytest.raises(TypeError, match="draws the cost of a model or a Ledger, not float"):
        draw.layers(net, 3.0)
    with pytest.raises(ValueError, match="has 0 of the model's 2 layers"):
        draw.layers(net, other_cost)
    with pytest.raises(ValueError, match="this ledger keeps the accounts of another model"):
        draw.layers(net, other_ledger)
    with pytest.raises(ValueError, match="only a tensor of one element has a gradient by default"):
        draw.layers(net, net(np.ones((2, 5))))
    with pytest.raises(ValueError, match="comes from several calls of the model"):
        draw.layers(net, np.sum(net(np.ones((2, 5))) + net(np.zeros((2, 5)))))
    with pytest.raises(ValueError, match="rankdir is one of TB, BT, LR, RL, not 'tb'"):
        draw.layers(net, cost, rankdir="tb")
    with pytest.raises(ValueError, match=r"expand names layers \[0, 3\]; this model has layers 1 to 2"):
        draw.layers(net, ledger, expand=[0, 3])
    with pytest.raises(ValueError, match="Sequential has no Linear"):
        draw.layers(nn.Sequential(nn.Sigmoid()), cost)
    net[0].weight.data = net[0].weight.data * 1.0
    net[2].weight.data = net[2].weight.data * 1.0  # an optimizer's step: the accounts hold all that is drawn
    assert read(draw.layers(net, ledger)).edges == read(draw.layers(net, cost)).edges


def test_a_module_of_one_s_own_is_found_by_its_call():
    net = nn.Sequential(nn.Linear(3, 4, rng=0), Twice(), nn.Linear(4, 4, rng=1))
    x = np.ones((2, 3))
    with Ledger(net) as ledger:
        cost = np.sum(net(x))
        cost.backward()
    assert read(draw.layers(net, cost)).edges == read(draw.layers(net, ledger)).edges
    (step,) = (edge for edge in read(draw.layers(net, ledger)).edges if edge.lines)
    assert step.lines[1].startswith("Twice +0.30, W ")
