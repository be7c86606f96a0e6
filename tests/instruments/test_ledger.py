"""The ledger: its steps are those of the formulas, they telescope, and keeping it changes nothing."""

import copy
import gc
import io
import math
import re
import weakref
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.instruments import GradientRecorder, Ledger, log10_norm
from tinygrad_vg.instruments.accounts import cause_of

SLOPES = {
    nn.Sigmoid: lambda z: 1 / (2 + np.exp(z) + np.exp(-z)),
    nn.Tanh: lambda z: 1 / np.cosh(z) ** 2,
    nn.ReLU: lambda z: (z > 0).astype(z.dtype),
}


def network(sizes: list[int], activation: type[nn.Module] = nn.Sigmoid, seed: int = 0, dtype: Any = np.float64) -> Any:
    return nn.mlp(sizes, activation, dtype=dtype, rng=seed)


def data(net: Any, batch: int = 8, seed: int = 1, dtype: Any = np.float64) -> Any:
    """Inputs (B, in) and the gradient of the output (B, out)."""
    rng = np.random.default_rng(seed)
    n_in, n_out = next(net.parameters()).shape[-1], list(net.parameters())[-1].shape[-1]
    return rng.normal(size=(batch, n_in)).astype(dtype), rng.normal(size=(batch, n_out)).astype(dtype)


def ledger_of(net: Any, x: Any = None, g: Any = None, **options: bool) -> Ledger:
    x, g = data(net) if x is None else (x, g)
    with Ledger(net) as ledger:
        y = net(x)
        y.backward(np.broadcast_to(g, y.shape), **options)
    return ledger


def column(ledger: Ledger, name: str) -> Any:
    return np.array([getattr(row, name) for row in ledger])


def decades(a: Any) -> float:
    return math.log10(np.linalg.norm(a))


# The numbers.


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("batch", [None, 1, 7], ids=["sample", "batch of one", "batch"])
def test_each_half_of_a_step_is_its_formula(activation: type[nn.Module], batch: int | None) -> None:
    net = network([6, 5, 4, 3, 2], activation)
    x, g = data(net, batch or 1)
    x, g = (x, g) if batch else (x[0], g[0])
    ledger = ledger_of(net, x, g)
    linears, zs, a = list(net)[::2], [], x
    for linear in linears:
        zs.append(a @ linear.weight.data.T + linear.bias.data)
        a = activation()(zs[-1])
    delta = g
    assert [row.layer for row in ledger] == [1, 2, 3]
    per_sample = 0.5 * math.log10(batch or 1)
    assert ledger.log10_norm[-1] == pytest.approx(decades(g) + per_sample, abs=1e-13)
    for layer in (3, 2, 1):
        row = ledger.rows[layer - 1]
        u = delta @ linears[layer].weight.data
        below = SLOPES[activation](zs[layer - 1]) * u
        assert row.weights == pytest.approx(decades(u) - decades(delta), abs=1e-13)
        assert row.activation == pytest.approx(decades(below) - decades(u), abs=1e-13)
        assert row.total == pytest.approx(decades(below) - decades(delta), abs=1e-13)
        assert row.log10_norm == ledger.log10_norm[layer - 1] == pytest.approx(decades(below) + per_sample, abs=1e-13)
        assert [part.label for part in row.parts] == [activation.__name__]
        assert row.parts[0].decades == row.activation
        assert (row.cause, row.name) == (None, str(2 * layer - 2))
        assert isinstance(row.weights, float)
        delta = below


def random_network(rng: np.random.Generator) -> Any:
    parts: list[nn.Module] = []
    width = int(rng.integers(2, 20))
    for _ in range(rng.integers(2, 12)):
        wide = int(rng.integers(2, 20))
        parts.append(nn.Linear(width, wide, rng=rng))
        between = [nn.Sigmoid(), nn.Tanh(), nn.LayerNorm(wide), nn.Identity(),
                   nn.Residual(nn.Sequential(nn.Linear(wide, wide, rng=rng), nn.Tanh())),
                   nn.Sequential(nn.LayerNorm(wide), nn.Sequential(nn.Tanh()))]  # fmt: skip
        parts += [between[i] for i in rng.integers(len(between), size=rng.integers(0, 4))]
        width = wide
    return nn.Sequential(*parts, nn.Linear(width, 3, rng=rng))


def test_steps_telescope_to_the_whole_way_over_50_random_networks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        net = random_network(rng)
        ledger, layers = ledger_of(net), [part for part in net if isinstance(part, nn.Linear)]
        bound = 1e-12 * len(layers)
        whole = ledger.log10_norm[0] - ledger.log10_norm[-1]
        assert ledger.layers == tuple(range(1, len(layers) + 1))
        assert abs(column(ledger, "total").sum() - whole) <= bound
        assert abs(column(ledger, "weights").sum() + column(ledger, "activation").sum() - whole) <= bound
        for row in ledger:
            assert row.weights + row.activation == pytest.approx(row.total, abs=1e-12)
            assert sum(part.decades for part in row.parts) == pytest.approx(row.activation, abs=1e-12)


def test_sigmoids_take_98_percent_with_nielsens_initializer() -> None:
    net = nn.stack([network([784, *[30] * 6, 10], seed=seed) for seed in range(20)])
    x, _ = data(net, 32)
    with Ledger(net) as ledger:
        nn.BCEWithLogitsLoss("batchmean")(net(np.abs(x)), np.eye(10)[np.arange(32) % 10]).backward()
    hidden = ledger.rows[:-1]  # of the output layer's W, 10 rows, half of the steps give more
    assert np.median(sum(row.activation for row in hidden) / sum(row.total for row in hidden)) >= 0.98
    assert all(-0.72 < np.median(row.activation) < -0.65 for row in ledger)
    assert all(abs(np.mean(row.weights)) < 0.05 for row in ledger)


@pytest.mark.parametrize("between", [[], [nn.Identity()], [nn.Identity(), nn.Identity()]], ids=len)
def test_an_orthogonal_linear_network_takes_nothing(between: list[nn.Module]) -> None:
    layers = [nn.Linear(20, 20, rng=seed) for seed in range(50)]
    for seed, layer in enumerate(layers):
        nn.init.orthogonal_(layer.weight, rng=seed)
    net = nn.Sequential(*[part for layer in layers for part in (layer, *between)])
    ledger = ledger_of(net, *data(layers[0]))
    assert len(ledger.rows) == 49
    assert np.abs(column(ledger, "weights")).max() < 1e-13
    assert not column(ledger, "activation").any()
    assert [len(row.parts) for row in ledger] == [len(between)] * 49
    assert "keeps its size" in str(ledger)


def test_doubling_one_weight_moves_log10_of_2_to_it() -> None:
    net = network([6, 5, 5, 5, 2], nn.ReLU)
    for layer in list(net)[::2]:
        layer.bias.data = np.zeros_like(layer.bias.data)  # so that all z keep their signs
    before = ledger_of(net)
    net[4].weight.data = 2 * net[4].weight.data  # layer 3's: the step from 3 to 2
    after = ledger_of(net)
    assert column(after, "weights") - column(before, "weights") == pytest.approx([0, math.log10(2), 0], abs=1e-14)
    assert column(after, "activation") == pytest.approx(column(before, "activation"), abs=1e-14)


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("own_inputs", [False, True], ids=["shared inputs", "own inputs"])
def test_a_members_rows_are_those_of_its_network_alone(activation: type[nn.Module], own_inputs: bool) -> None:
    nets = [network([6, 5, 4, 3, 2], activation, seed=seed) for seed in range(4)]
    x, g = np.random.default_rng(1).normal(size=(4, 8, 6)), np.random.default_rng(2).normal(size=(8, 2))
    together = ledger_of(nn.stack(nets), x if own_inputs else x[0], g)
    assert together.log10_norm.shape == (4, 4)
    for i, net in enumerate(nets):
        alone = ledger_of(net, x[i] if own_inputs else x[0], g)
        for mine, own in zip(together, alone, strict=True):
            for name in ("weights", "activation", "total", "log10_norm"):
                assert getattr(mine, name).shape == (4,)
                assert getattr(mine, name)[i] == pytest.approx(getattr(own, name), abs=1e-12)
            assert mine.cause == (None,) * 4
            assert mine.parts[0].decades[i] == pytest.approx(own.parts[0].decades, abs=1e-12)


def test_float32_keeps_norms_that_its_squares_would_lose() -> None:
    single, double = (ledger_of(n, *data(n, dtype=t)) for n, t in (
        (network([6, *[10] * 40, 2], dtype=t), t) for t in (np.float32, np.float64)))  # fmt: skip
    assert single.log10_norm[0] < -25  # squared: 1e-50, which float32 has not
    assert single.log10_norm == pytest.approx(double.log10_norm, abs=1e-4)
    assert column(single, "weights") + column(single, "activation") == pytest.approx(column(single, "total"), abs=1e-13)


@pytest.mark.parametrize("is_ensemble", [False, True], ids=["one network", "ensemble"])
def test_magnitudes_do_not_depend_on_the_size_of_the_batch(is_ensemble: bool) -> None:
    """The same samples many times, with a cost that is a mean over them."""
    nets = [tg.nn.mlp([6, 5, 4, 3], rng=seed) for seed in range(2)]
    net = tg.nn.stack(nets) if is_ensemble else nets[0]
    x, _ = data(nets[0])
    found = []
    for times in (1, 10):
        images = np.tile(x, (times, 1))
        with GradientRecorder(net, statistics=True) as recorder, Ledger(net, every=1) as ledger:
            tg.nn.MSELoss("batchmean")(net(images), np.zeros((len(images), 3))).backward()
        found.append((ledger.log10_norm, ledger.log10_bias_norm))
        history = recorder.history
        np.testing.assert_allclose(ledger.log10_norm, history.log10_rms[0], atol=1e-12)
        np.testing.assert_allclose(ledger.log10_bias_norm, history.log10_norm[0], atol=1e-12)
        np.testing.assert_allclose(ledger.history.log10_norm[0], ledger.log10_norm, atol=1e-12)
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)


def test_a_cotangent_that_is_filled_again_changes_no_account() -> None:
    net = network([6, 5, 4, 3], nn.Sigmoid)
    x, g = data(net)
    with Ledger(net) as ledger:
        net(x).backward(g)
    right = log10_norm(g) + 0.5 * math.log10(len(g))
    g[:] = 0
    assert ledger.log10_norm[-1] == right


@pytest.mark.parametrize(
    ("norms", "cause"),
    [
        ([-math.inf, -37.94, -30.0], "underflow"),
        ([-math.inf, -math.inf, -37.94], "underflow"),
        ([-math.inf, -37.92, -30.0], "no gradient"),
        ([-math.inf, -math.inf, -math.inf], "no gradient"),
        ([-45.0, -44.0, -30.0], None),
        ([-45.0, math.nan, -30.0], "not finite"),
        ([-45.0, -44.0, math.nan], None),  # above the step
        ([math.inf, -44.0, -30.0], "not finite"),
    ],
)
def test_a_gradient_that_has_come_to_nothing_says_why(norms: list[float], cause: str | None) -> None:
    """The smallest normal number of float32 is at −37.93."""
    assert cause_of(norms, 1, math.log10(np.finfo(np.float32).tiny)) == cause


def test_split_against_bounds() -> None:
    net = network([6, 5, 4, 3], nn.Sigmoid)
    net = nn.Sequential(*list(net)[:3], nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3, rng=0))
    weights = [part.weight.data for part in net if isinstance(part, nn.Linear)]
    x, g = data(net)
    ledger = ledger_of(net, x, g)
    first, second = ledger.split()
    for split, row, weight in zip((first, second), ledger, weights[1:], strict=True):
        assert split.spectral == pytest.approx(math.log10(np.linalg.svd(weight)[1][0]), abs=1e-14)
        assert split.spectral + split.alignment == pytest.approx(row.weights, abs=1e-14)
        assert split.alignment <= 0
    assert first.cap == math.log10(0.25)
    assert first.cap + first.saturation == pytest.approx(ledger.rows[0].activation, abs=1e-14)
    assert first.saturation < 0
    assert math.isnan(second.cap)  # a LayerNorm has no bound
    assert math.isnan(second.saturation)
    del weights, weight
    net[5].weight.data = 2 * net[5].weight.data
    with pytest.raises(RuntimeError, match="weights of layer 3 have changed"):
        ledger.split()


def test_split_notices_the_step_of_an_optimizer() -> None:
    net = network([6, 5, 4, 3], nn.Sigmoid)
    x, g = data(net)
    with Ledger(net) as ledger:
        net(x).backward(g)
    assert len(ledger.split()) == 2
    optim.SGD(net.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="weights of layer 2 have changed"):
        ledger.split()


@pytest.mark.parametrize("kind", ["heard", "told"])
def test_split_notices_what_is_written_into_the_weights(kind: str) -> None:
    """Also of a ledger that keeps them; not what was written before the pass."""
    net = network([6, 5, 4, 3], nn.Sigmoid)
    x, g = data(net)
    net[4].weight.data *= 2
    with Ledger(net) as ledger:
        cost = np.sum(net(x) * g)
        cost.backward()
    if kind == "told":
        ledger = Ledger.of(net, cost)
    before = [astuple(one) for one in ledger.split()]
    net[0].weight.data *= 2  # the first layer's are in no row
    assert [astuple(one) for one in ledger.split()] == before
    net[4].weight.data *= 2
    with pytest.raises(RuntimeError, match="weights of layer 3 have changed"):
        ledger.split()
    if kind == "heard":
        with ledger:
            net(x).backward(g)
        assert ledger.split()[1].spectral == pytest.approx(before[1][1] + math.log10(2), abs=1e-14)


def test_split_of_a_recorded_cost_is_by_the_weights_of_its_graph() -> None:
    net = network([6, 5, 4, 3], nn.Sigmoid)
    x, g = data(net)
    with Ledger(net) as heard:
        cost = np.sum(net(x) * g)
        cost.backward()
    told = Ledger.of(net, cost)
    for one, other in zip(heard.split(), told.split(), strict=True):
        assert astuple(one) == pytest.approx(astuple(other), abs=1e-14)
    del cost
    before = [astuple(one) for one in told.split()]
    optim.SGD(net.parameters(), lr=0.1).step()
    assert [astuple(one) for one in told.split()] == before


def test_modules_between_layers_have_parts_in_the_order_the_gradient_meets_them() -> None:
    block = nn.Residual(nn.Sequential(nn.Linear(5, 5, rng=1), nn.Tanh()))
    net = nn.Sequential(
        nn.Linear(6, 5, rng=0), nn.Sequential(nn.LayerNorm(5), block), nn.ReLU(), nn.Linear(5, 2, rng=2)
    )
    ledger = ledger_of(net)
    (row,) = ledger
    assert [part.label for part in row.parts] == ["ReLU", "Residual", "LayerNorm"]
    assert ledger.names == ("0", "3")
    x, g = data(net)
    tensors = [net[0](x)]
    for part in (net[1][0], block, net[2], net[3]):
        tensors.append(part(tensors[-1]))
    norms = [log10_norm(tg.grad(tensors[-1], tensor, g)[0]) for tensor in tensors]
    expected = [norms[2] - norms[3], norms[1] - norms[2], norms[0] - norms[1]]
    assert [part.decades for part in row.parts] == pytest.approx(expected, abs=1e-13)


# What is no number.


def dead_network() -> Any:
    net = network([6, 5, 5, 5, 5, 2], nn.ReLU)
    net[4].bias.data = np.full(5, -1e3)  # layer 3
    return net


def test_a_dead_layer_is_minus_infinity_with_its_cause_and_never_nan() -> None:
    ledger = ledger_of(dead_network())
    assert column(ledger, "cause").tolist() == ["no gradient"] * 3 + [None]
    assert np.isneginf(ledger.log10_norm).tolist() == [True, True, True, False, False]
    killer = ledger.rows[2]
    assert killer.activation == killer.total == killer.parts[0].decades == -math.inf
    assert math.isfinite(killer.weights)
    # Further down nothing arrives, so nobody takes anything.
    assert [(row.weights, row.activation, row.total) for row in ledger.rows[:2]] == [(0, 0, 0)] * 2
    assert column(ledger, "total").sum() == -math.inf
    assert "layers 1-3: no gradient" in str(ledger)


def test_of_an_ensemble_only_the_dead_member_is_dead() -> None:
    ledger = ledger_of(nn.stack([network([6, 5, 5, 5, 5, 2], nn.ReLU), dead_network()]))
    assert [row.cause for row in ledger] == [(None, "no gradient")] * 3 + [(None, None)]
    assert np.isfinite(ledger.log10_norm[:, 0]).all()
    assert not np.isnan([row.total for row in ledger]).any()
    assert "layers 1-3: no gradient in 1 of 2 networks" in str(ledger)


def test_weights_of_0_are_to_blame_themselves() -> None:
    net = network([6, 5, 5, 2])
    nn.init.zeros_(net[4].weight)
    ledger = ledger_of(net)
    assert (ledger.rows[1].weights, ledger.rows[1].activation, ledger.rows[1].cause) == (-math.inf, 0.0, "no gradient")


def test_underflow_is_told_from_death_and_extended_range_has_none() -> None:
    net = network([6, *[10] * 70, 2], dtype=np.float32)
    x, g = data(net, dtype=np.float32)
    short, long = ledger_of(net, x, g), ledger_of(net, x, g, extended_range=True)
    assert {row.cause for row in short} == {"underflow", None}
    assert {row.cause for row in long} == {None}
    assert long.log10_norm[0] < -46
    normal = short.log10_norm > -37
    assert short.log10_norm[normal] == pytest.approx(long.log10_norm[normal], abs=1e-5)


def test_what_a_backward_does_not_reach_is_not_computed() -> None:
    net = network([6, 5, 4, 3, 2])
    with Ledger(net) as ledger:
        h = net[:3](np.ones((1, 6)))
        np.sum(net[3:](h.detach())).backward()  # layers 3 and 4 alone
    assert np.isnan(ledger.log10_norm).tolist() == [True, True, False, False]
    assert column(ledger, "cause").tolist() == ["not computed", "not computed", None]
    assert np.isnan(column(ledger, "total")).tolist() == [True, True, False]
    assert "layers 1-2: not computed" in str(ledger)


def test_frozen_layers_are_not_computed() -> None:
    net = network([6, 5, 4, 2])
    for parameter in net[:2].parameters():
        parameter.requires_grad = False
    ledger = ledger_of(net)
    assert column(ledger, "cause").tolist() == ["not computed", None]


def test_nan_and_infinity_are_reported() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)
    for value in (np.nan, np.inf):
        with np.errstate(invalid="ignore"):
            ledger = ledger_of(net, x, np.full_like(g, value))
        assert column(ledger, "cause").tolist() == ["not finite"] * 2
        *_, sums, summary = str(ledger).splitlines()
        assert sums.split() == ["sum", "–", "–", "–"]
        assert summary == "layers 1-2: not finite"


def test_a_member_that_is_not_finite_is_left_out_of_the_sums() -> None:
    net = nn.stack([nn.mlp([6, 5, 4, 2], rng=seed) for seed in range(4)])
    for linear in net[::2]:
        linear.weight.data[:3] = linear.weight.data[3]
        linear.bias.data[:3] = linear.bias.data[3]
    x, g = np.ones((3, 6)), np.ones((4, 3, 2))
    whole = str(ledger_of(net, x, g)).splitlines()
    net[0].bias.data[0] = np.nan
    with np.errstate(invalid="ignore"):
        *_, sums, summary = str(ledger_of(net, x, g)).splitlines()
    assert sums == whole[-2]
    assert summary == f"layers 1-2: not finite in 1 of 4 networks; {whole[-1]}"


# What is counted.


def rows_equal(a: Ledger, b: Ledger) -> bool:
    return all(np.array_equal(column(a, name), column(b, name)) for name in ("weights", "activation", "total"))


def test_rows_are_those_of_the_last_backward_also_through_one_graph() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)
    with Ledger(net) as ledger:
        y = net(x)
        y.backward(g)
        first = copy.deepcopy(ledger.rows)
        y.backward(np.eye(8, 2))
        assert ledger.rows[0].weights != first[0].weights
        y.backward(g)
    assert rows_equal(ledger, ledger_of(net, x, g))
    assert ledger.rows[0].weights == first[0].weights


def test_of_several_calls_in_one_backward_the_last_is_counted() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)
    with Ledger(net) as ledger:
        (np.sum(net(2 * x)) + np.sum(net(x) * g)).backward()
    assert rows_equal(ledger, ledger_of(net, x, g))


def test_calls_without_gradients_do_not_count() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)
    with Ledger(net) as ledger:
        y = net(x)
        with tg.no_grad():
            net(2 * x)
            net[2](np.ones(5))
        y.backward(g)
        net(3 * x)  # a call without a backward leaves the accounts as they are
    assert rows_equal(ledger, ledger_of(net, x, g))


def test_a_module_may_stand_in_several_places() -> None:
    rng = np.random.default_rng(0)
    tied, act = nn.Linear(5, 5, rng=rng), nn.Sigmoid()
    net = nn.Sequential(nn.Linear(6, 5, rng=rng), act, tied, act, tied, act, nn.Linear(5, 2, rng=rng))
    apart = copy.deepcopy(net)
    apart = nn.Sequential(*[copy.deepcopy(part) for part in apart])
    assert rows_equal(ledger_of(net), ledger_of(apart))
    assert ledger_of(net).names == ("0", "2", "2", "6")
    assert ledger_of(net).layers == (1, 2, 3, 4)


def test_recorded_backwards_count_too() -> None:
    net = network([6, 5, 4, 2])
    assert rows_equal(ledger_of(net, create_graph=True), ledger_of(net))


def test_gradients_changed_after_the_backward_do_not_reach_the_accounts() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)
    with Ledger(net) as ledger:
        y = net(x[0])  # of one sample a bias gets the array that the hook has seen
        y.backward(seed := g[0].copy())
    seed *= 10
    for parameter in net.parameters():
        parameter.grad *= 10
    assert rows_equal(ledger, ledger_of(net, x[0], g[0]))


# What it leaves behind.


def train(net: Any, steps: int) -> None:
    rng = np.random.default_rng(0)
    sgd, cost = tg.optim.SGD(net.parameters(), lr=0.5, momentum=0.9), nn.MSELoss()
    for _ in range(steps):
        x, y = rng.normal(size=(8, 6)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
        sgd.zero_grad()
        cost(net(x), y).backward()
        sgd.step()


@pytest.mark.parametrize("members", [1, 3])
def test_training_is_bit_identical_with_and_without(members: int) -> None:
    nets = [network([6, 5, 4, 2], seed=seed, dtype=np.float32) for seed in range(members)]
    net = nn.stack(nets) if members > 1 else nets[0]
    other = copy.deepcopy(net)
    with Ledger(net) as ledger:
        train(net, 50)
    train(other, 50)
    for mine, plain in zip(net.parameters(), other.parameters(), strict=True):
        assert np.array_equal(mine.data, plain.data)
    assert np.isfinite(ledger.log10_norm).all()


def test_hooks_are_gone_after_the_block_also_when_it_raises() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)

    def fail() -> None:
        with Ledger(net) as ledger:
            tensors.append(net(x))
            raise ZeroDivisionError(ledger)

    tensors: list[Any] = []
    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    (ledger,) = caught.value.args
    tensors[0].backward(g)
    net(x).backward(g)
    assert not any(module._forward_hooks for _, module in net.named_modules())
    assert not tensors[0].hooks
    with pytest.raises(RuntimeError, match="has heard no backward"):
        _ = ledger.rows
    words = "3 layers; no backward heard yet (call the model and backward inside the `with` block)"
    assert str(ledger).endswith(words)
    cost = np.sum(net(data(net)[0]))  # the pass is outside
    with ledger:
        cost.backward()
    assert str(ledger).endswith(words)


def test_graphs_are_freed_as_without_a_ledger() -> None:
    net = network([6, 5, 4, 2])
    x, g = data(net)
    gc.disable()
    try:
        with Ledger(net):
            y = net(x)
            y.backward(g)
            dropped = weakref.ref(y)
            del y
            assert dropped() is None
            net(x)
            collected = gc.collect()
            for _ in range(10):
                net(x).backward(g)
            assert gc.collect() <= collected + len(net) * 2  # the hooks of the last call at most, not of all
    finally:
        gc.enable()


# What has no ledger.


def test_models_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="Sigmoid has no Linear"):
        Ledger(nn.Sigmoid())
    with pytest.raises(ValueError, match="Sequential has no Linear"):
        Ledger(nn.Sequential(nn.ReLU()))


def test_one_layer_has_a_norm_and_no_step() -> None:
    ledger = ledger_of(nn.Linear(3, 2, rng=0))
    assert (ledger.rows, ledger.log10_norm.shape) == ((), (1,))
    assert str(ledger).endswith("one layer: no step")


# How it is shown.


@pytest.mark.parametrize("members", [1, 20])
def test_the_table_is_plain_and_has_at_most_100_columns(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    rng = np.random.default_rng(0)
    for _ in range(10):
        net = random_network(rng)
        text = str(ledger_of(nn.stack([net] * members) if members > 1 else net))
        assert max(map(len, text.splitlines())) <= 100
        assert "\x1b" not in text
    deep = network([6, *[10] * 400, 2])
    assert max(map(len, str(ledger_of(nn.stack([deep] * members) if members > 1 else deep)).splitlines())) <= 100


def test_the_table_holds_the_rows_their_sum_and_a_sentence() -> None:
    ledger = ledger_of(network([6, 30, 30, 30, 2]))
    header, *lines, total, sentence = str(ledger).splitlines()
    assert header.split()[:6] == ["layer", "log10‖δ‖", "total", "weights", "activation", "between"]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    for line, row in zip(lines, ledger, strict=False):
        figures = (row.log10_norm, row.total, row.weights, row.activation)
        assert line.split()[1:6] == [*(f"{x:+.3f}".replace("-", "−") for x in figures), "Sigmoid"]
        assert line.count("█") > 10
    assert total.split()[:2] == ["sum", f"−{-column(ledger, 'total').sum():.3f}"]
    share = 100 * column(ledger, "activation").sum() / column(ledger, "total").sum()
    assert sentence == f"σ′ takes {share:.0f} % of −{-column(ledger, 'total').sum():.2f} decades"


def test_the_sentence_when_both_trade() -> None:
    net = network([6, 30, 30, 30, 30])
    for layer in list(net)[2::2]:
        layer.weight.data = layer.weight.data * 4
    assert re.search(
        r"\n(σ′ takes|W gives) \d\.\d\d decades, (W gives|σ′ takes) \d\.\d\d: [+−]\d\.\d\d in all$", str(ledger_of(net))
    )


def test_rich_shows_the_same_with_colours_unless_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    console = pytest.importorskip("rich.console")
    ledger = ledger_of(network([6, 30, 30, 2]))

    def shown(width: int, **options: Any) -> str:
        file = io.StringIO()
        console.Console(file=file, width=width, **options).print(ledger)
        return file.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = "\n".join(line.rstrip() for line in shown(120).splitlines())
    assert plain == str(ledger)
    assert "\x1b[34m" in shown(120, force_terminal=True, color_system="standard")
    assert max(map(len, shown(80).splitlines())) <= 80
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(120, force_terminal=True)


def test_jupyter_gets_a_table_with_every_name_escaped() -> None:
    label = "<script>alert(1)</script>"
    odd = type(label, (nn.Tanh,), {})()
    net = nn.Sequential(nn.Linear(6, 5, rng=0), odd, nn.Linear(5, 2, rng=1))
    html = ledger_of(net)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 4  # header, two layers, sum
