"""Drawings, factors, what-if, theory and extended range on networks of PyTorch, by their twins."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import draw, nn
from tinygrad_vg.instruments import Ledger, chain_factors, diagnose, mean_field_of, what_if

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
T = torch.nn

from tests.bridges import networks  # noqa: E402 - it needs torch
from tinygrad_vg.bridges.torch import twin  # noqa: E402


def mlp(sizes: list[int], activation: Any) -> Any:
    """A network of PyTorch with Nielsen's initial weights: N(0, 1/n), biases N(0, 1)."""
    generator, parts = torch.Generator().manual_seed(0), []
    for n, m in pairwise(sizes):
        layer = T.Linear(n, m)
        with torch.no_grad():
            layer.weight.normal_(0, n**-0.5, generator=generator)
            layer.bias.normal_(0, 1, generator=generator)
        parts += [layer, activation()]
    return T.Sequential(*parts[:-1])


def cost_of(ours: nn.Module, inputs: int, outputs: int) -> tg.Tensor:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, inputs)), rng.integers(0, 2, (5, outputs)).astype(float)
    loss = nn.BCEWithLogitsLoss("batchmean")(ours(x), t)
    loss.backward()
    return loss


def ledger_of(ours: nn.Module, x: Any) -> Ledger:
    with Ledger(ours) as ledger:
        output = ours(x)
        output.backward(np.ones(output.shape, output.dtype))
    return ledger


def test_pictures_name_what_pytorch_names() -> None:
    net = T.Sequential(T.Linear(4, 5), networks.Mlp(5))
    ours = twin(net.double())
    loss = cost_of(ours, 4, 3)
    layers, neurons, graph = draw.layers(ours, loss), draw.neurons(ours, loss), draw.graph(loss)
    assert all(f"layer {i}: Linear" in layers.source for i in (1, 2, 3, 4))
    assert "decades of" in layers.source
    assert "tanh′" in neurons.source
    assert all(name in graph.source for name, _ in net.named_parameters())


def test_a_residual_block_is_drawn_with_the_way_around_it() -> None:
    net = T.Sequential(T.Linear(4, 4), networks.PreNorm(4), networks.Block(T.Linear(4, 4)), T.Linear(4, 3)).double()
    ours = twin(net)
    source = draw.layers(ours, cost_of(ours, 4, 3)).source
    assert source.count("x + block") == 3
    assert source.count("around it") == 3


def test_the_factors_of_a_chain() -> None:
    net = mlp([1, 1, 1, 1], T.Sigmoid).double()
    ours, x = twin(net), np.array([[0.4]])
    factors = chain_factors(np.sum(ours(x)), ours[0].bias)  # type: ignore[arg-type, attr-defined]
    net(torch.from_numpy(x)).sum().backward()
    assert [factor.label for factor in factors] == ["σ′(z₁)", "w₂", "σ′(z₂)", "∂C/∂a₂"]
    assert math.prod(factor.value for factor in factors) == pytest.approx(net[0].bias.grad.item(), rel=1e-12)


def test_the_theory_and_the_verdict_agree_on_a_sigmoid_network() -> None:
    """Ten layers of sigmoids, in float32 as PyTorch has them."""
    net = mlp([30] * 11, T.Sigmoid)
    ours = twin(net)
    x = np.random.default_rng(1).normal(size=(10, 30)).astype(np.float32)
    predicted = mean_field_of(ours, x).decades_per_layer.mean()
    ledger = ledger_of(ours, x)
    measured = (np.mean(ledger.log10_norm[0]) - np.mean(ledger.log10_norm[-1])) / 9
    assert measured == pytest.approx(predicted, abs=0.1)
    assert "vanishing" in str(diagnose(ledger))
    assert "trained already: no forecast" in str(diagnose(ledger_of(twin(net, trained=True), x)))
    answer = what_if(ours, x, activation=nn.Tanh, rng=0)
    assert answer.measured == pytest.approx(answer.predicted, abs=0.05)
    assert answer.measured > 0.2


def test_extended_range_shows_what_float32_shows_as_zero() -> None:
    """Its digits are those of a float64 gradient, which is not below 1e-308 yet."""
    net, x = mlp([10] * 101, T.Sigmoid), torch.ones(1, 10)
    net(x).sum().backward()
    assert not net[0].bias.grad.any()  # 100 layers take about 70 decades, and float32 ends at 1e-45
    ours = twin(net)
    np.sum(ours(x.numpy())).backward(extended_range=True)
    gradient = ours[0].bias.grad  # type: ignore[attr-defined]
    wide = net.double()
    wide.zero_grad()
    wide(x.double()).sum().backward()
    shown = float(tg.instruments.log10_norm(gradient))
    assert -90 < shown < -50
    assert shown == pytest.approx(math.log10(wide[0].bias.grad.norm()), abs=1e-3)


def test_a_twin_is_stacked_and_compiled() -> None:
    nets = [mlp([4, 5, 2], T.Tanh).double() for _ in range(3)]
    for i, net in enumerate(nets):
        net[0].bias.data.fill_(i)
    ensemble, x = nn.stack([twin(net) for net in nets]), np.random.default_rng(2).normal(size=(6, 4))
    expected = np.stack([net(torch.from_numpy(x)).detach().numpy() for net in nets])
    np.testing.assert_allclose(ensemble(x).data, expected, rtol=1e-12)
    ours = twin(T.Sequential(networks.PreNorm(4), T.Linear(4, 2)).double())
    sgd = tg.optim.SGD(ours.parameters(), lr=0.0)

    @tg.compile(backend="numpy")
    def step(x: Any) -> Any:
        sgd.zero_grad()
        loss = np.sum(ours(x) ** 2)
        loss.backward()
        sgd.step()
        return loss

    assert step(x).item() == pytest.approx(float(np.sum(ours(x).data ** 2)), rel=1e-12)
