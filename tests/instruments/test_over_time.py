"""Over time: what a recorder tells while a network trains."""

import math

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder, History, Ledger, diagnose


def history(levels):
    layers = range(1, levels.shape[1] + 1)
    return History(np.arange(0, 5 * len(levels), 5), tuple(layers), tuple(map(str, layers)), levels)


def noise(*shape):
    return np.random.default_rng(0).normal(scale=0.05, size=shape)


def test_a_spike_names_the_layer_that_rose_first():
    levels = noise(100, 4)
    levels[40, 2] += 2.0
    levels[41, :] += 3.0
    levels[70, [0, 3]] += [1.5, 2.5]  # in one step: the one that rose most
    first, second = history(levels).spikes()
    assert (first.step, first.layer, first.layers[0]) == (200, 3, 3)
    assert set(first.layers) == {1, 2, 3, 4}
    assert first.decades == pytest.approx(2.0, abs=0.2)
    assert (second.step, second.layer, second.layers) == (350, 4, (4, 1))


def test_a_spike_is_measured_against_the_median_of_the_ten_before_it():
    levels = 0.05 * np.arange(40.0)[:, None]
    levels[20] += 3
    (spike,) = history(levels).spikes()
    assert spike.decades == pytest.approx(3 + 0.05 * (20 - 14.5))  # rows 10 to 19


def test_one_quiet_step_ends_a_spike():
    levels = np.zeros((40, 2))
    levels[[20, 21, 23], [0, 1, 1]] = 3
    assert [(spike.step // 5, spike.layers) for spike in history(levels).spikes()] == [(20, (1, 2)), (23, (2,))]


def test_no_spike_where_gradients_are_noisy_grow_slowly_or_are_new():
    assert history(noise(100, 3)).spikes() == ()
    assert history(20 * noise(100, 3)).spikes() == ()  # a decade is nothing there
    assert history(np.linspace(0, 3, 100)[:, None] + noise(100, 3)).spikes() == ()
    assert history(np.array([[0.0, 0.0]] * 5 + [[4.0, 4.0]] * 5)).spikes() == ()  # nothing to compare with
    silent = noise(60, 2)
    silent[:30, 0] = -np.inf
    assert history(silent).spikes() == ()  # from 0 to something is no rise in decades
    broken = noise(60, 2)
    broken[30:] = np.nan
    assert history(broken).spikes() == ()


def test_spikes_of_an_ensemble_are_its_members():
    levels = noise(60, 2, 3)
    levels[30, 1, 2] += 2.0
    (spike,) = history(levels).spikes()
    assert (spike.step, spike.layer, spike.member) == (150, 2, 2)


def step_of(net, x, sgd):
    net.zero_grad()
    np.sum(np.square(net(x) - 1.0)).backward()
    sgd.step()


@pytest.mark.parametrize("members", [None, 3])
def test_scalars_are_the_last_step(members):
    net = nn.mlp([5, 6, 6, 2], rng=0)
    if members:
        net = nn.stack([nn.mlp([5, 6, 6, 2], rng=seed) for seed in range(members)])
    with GradientRecorder(net) as recorder:
        assert recorder.scalars() == {}
        for _ in range(3):
            step_of(net, np.ones((4, 5)), tg.optim.SGD(net.parameters(), lr=0.1))
    scalars = recorder.scalars()
    assert all(isinstance(value, float) for value in scalars.values())
    last = recorder.history.log10_norm[-1].reshape(3, -1)
    assert [scalars[f"grad/{i}"] for i in (1, 2, 3)] == pytest.approx(np.median(last, axis=1))
    assert scalars["total"] == pytest.approx(np.median(last[0] - last[2]))
    assert scalars["rate"] == pytest.approx(scalars["total"] / 2)
    assert scalars["span"] >= abs(scalars["total"]) - 1e-12
    one = nn.Linear(2, 2, rng=0)
    with GradientRecorder(one) as recorder:
        np.sum(one(np.ones((1, 2)))).backward()
    assert [*recorder.scalars()] == ["grad/1"]


def test_on_verdict_is_called_when_the_verdict_changes():
    net, told = nn.mlp([10] * 7, rng=0), []
    sgd = tg.optim.SGD(net.parameters(), lr=1e-6)
    x = np.random.default_rng(0).normal(size=(8, 10))
    with GradientRecorder(net, on_verdict=told.append) as recorder:
        for _ in range(20):
            step_of(net, x, sgd)
        assert [(each.state, each.at_start) for each in told] == [("vanishing", True), ("shrinking", False)]
        net[4].weight.data = np.full((10, 10), np.nan)
        for _ in range(20):
            step_of(net, x, sgd)
    assert [each.state for each in told] == ["vanishing", "shrinking", "not finite"]
    assert diagnose(recorder) == told[-1] or diagnose(recorder).state == "not finite"


def test_training_is_the_same_with_on_verdict():
    def weights(**options):
        net = nn.mlp([5, 6, 6, 2], rng=0)
        with GradientRecorder(net, **options):
            for _ in range(5):
                step_of(net, np.ones((4, 5)), tg.optim.SGD(net.parameters(), lr=0.1))
        return net.state_dict()

    plain, watched = weights(), weights(on_verdict=lambda diagnosis: None)
    assert all(np.array_equal(plain[name], watched[name]) for name in plain)


def test_a_ledger_judges_the_weights_of_its_backward_without_asking_for_their_bounds(monkeypatch):
    """After the optimizer's step the weights are gone, and no verdict needs their largest stretch."""
    net = nn.mlp([10] * 5, rng=0)
    x = np.random.default_rng(0).normal(size=(8, 10))
    with Ledger(net) as ledger:
        np.sum(np.square(net(x) - 1.0)).backward()
        before = diagnose(ledger)
        tg.optim.SGD(net.parameters(), lr=0.1).step()
        monkeypatch.setattr(np.linalg, "norm", None)
        monkeypatch.setattr(np.linalg, "svd", None)
        assert diagnose(ledger) == before
    assert math.isfinite(before.total)
    assert before.at_start
