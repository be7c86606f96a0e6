"""How many fresh draws of a narrow, deep ReLU network are born dead: the theory, and the forecast made of it."""

import math
from itertools import pairwise

import numpy as np
import pytest

from tests.instruments.hearing import heard
from tinygrad_vg import nn, ops, optim
from tinygrad_vg.instruments import GradientRecorder, Ledger, born_dead, diagnose


class Hinge(nn.Activation):
    """A ReLU of one's own, of which nobody has told the instruments anything."""

    function = staticmethod(lambda z: np.maximum(z, 0))


class Leaky(nn.Activation):
    function = staticmethod(lambda z: ops.relu(z) - 0.01 * ops.relu(-z))


def net_of(sizes, activation=nn.ReLU, seed=0, between=()):
    """He's initialization, without biases; `between` makes modules from a width, to stand before each activation."""
    rng, modules = np.random.default_rng(seed), []
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out, rng=rng)
        nn.init.kaiming_normal_(linear.weight, rng=rng)
        nn.init.zeros_(linear.bias)
        modules += [linear, *(make(n_out) for make in between), activation()]
    return nn.Sequential(*modules[: -1 - len(between)])


NARROW = [2, *[4] * 10, 3]


def judged(net, batch=16, backwards=1, step=None):
    x = np.random.default_rng(1).normal(size=(batch, net[0].in_features))
    return diagnose(heard(net, x, backwards, step))


# The theory.


@pytest.mark.parametrize("widths", [[5] * 16, [3] * 4, [2, 7, 3, 4]])
@pytest.mark.parametrize("init", [nn.init.kaiming_uniform_, nn.init.orthogonal_])
def test_of_simulated_draws_as_many_are_silent_as_the_theory_says(widths, init):
    """The gradient itself is asked, of one input; the interval is of 4 standard deviations."""
    rng, draws = np.random.default_rng(0), 1000
    template = net_of([2, *widths, 1])
    net = nn.stack([template] * draws)
    for layer in net[::2]:
        init(layer.weight, rng=rng)
    np.sum(net(np.array([[0.3, -1.2]]))).backward()
    silent = ~net[0].bias.grad.any(axis=-1)
    share = born_dead(widths)
    assert share == pytest.approx(1 - math.prod(1 - 2.0**-n for n in widths))
    assert abs(silent.mean() - share) < 4 * math.sqrt(share * (1 - share) / draws)


def test_for_a_batch_it_is_an_upper_bound():
    nets = nn.stack([net_of(NARROW, seed=seed) for seed in range(300)])
    np.sum(nets(np.random.default_rng(0).normal(size=(50, 2)))).backward()
    silent = (~nets[0].bias.grad.any(axis=-1)).mean()
    assert 0.05 < silent < born_dead(NARROW[1:-1])


@pytest.mark.parametrize(("widths", "share"), [([], 0.0), ([1], 0.5), ([1, 1], 0.75), ([1000], 0.0)])
def test_born_dead_by_hand(widths, share):
    assert born_dead(widths) == pytest.approx(share)


def test_a_layer_without_units_is_refused():
    with pytest.raises(ValueError, match="one unit or more, not 0"):
        born_dead([3, 0])


class Counting(nn.Activation):
    """A ReLU that counts its calls."""

    calls = 0

    def forward(self, z):
        self.calls += 1
        return ops.relu(z)


# The forecast.


def test_an_activation_is_asked_only_when_the_forecast_is_read():
    """A training is not changed: an activation may draw random numbers in each call."""
    net = net_of(NARROW, Counting)
    ledger = Ledger(net)
    with ledger:
        np.sum(net(np.ones((3, 2)))).backward()
    assert {net[i].calls for i in range(1, 20, 2)} == {1}
    assert ledger.dying is not None


def test_an_activation_that_is_not_defined_below_0():
    class Root(nn.Activation):
        def forward(self, z):  # a `function` would stay np.sqrt's activation for all other tests
            return np.sqrt(z)

    assert judged(net_of(NARROW, Root)).dying is None


@pytest.mark.parametrize("activation", [nn.ReLU, Hinge])
def test_a_narrow_deep_network_is_at_risk(activation):
    diagnosis = judged(net_of(NARROW, activation, seed=0))
    assert (diagnosis.state, diagnosis.severity, diagnosis.cause) == ("dying", "at risk", "width")
    assert diagnosis.forecast == "may not train with plain SGD"
    assert not diagnosis.is_ill
    assert diagnosis.dying.share == born_dead([4] * 10)
    assert diagnosis.dying.widths == (4,) * 10
    assert "10 layers of 4 units that are closed below 0: 48 % of fresh draws pass no gradient" in str(diagnosis)


def test_the_share_of_samples_is_that_of_zero_gradients():
    nets = nn.stack([net_of(NARROW, seed=seed) for seed in range(20)])
    x = np.random.default_rng(1).normal(size=(16, 2))
    with Ledger(nets) as ledger:
        np.sum(nets(x)).backward()
    silent = ~ledger.chain.units[0].gradient.any(axis=-1)
    assert ledger.dying.here == pytest.approx(silent.mean())
    assert 0 < ledger.dying.here < 1


def test_a_draw_without_any_gradient_is_called_so_and_is_at_risk():
    seed = next(s for s in range(100) if judged(net_of(NARROW, seed=s)).state == "no gradient")
    once, twice = (judged(net_of(NARROW, seed=seed), backwards=backwards) for backwards in (1, 2))
    assert (once.state, once.severity, once.forecast, once.dying.here) == ("no gradient", "at risk", None, 1.0)
    assert str(once).startswith("no gradient in this backward")
    assert str(once).endswith("this one none for 100 % of its samples")
    assert (twice.state, twice.is_ill) == ("dead", True)


def test_what_is_worse_by_its_decades_keeps_its_name():
    net = net_of(NARROW, seed=1)
    for layer in net[::2]:
        layer.weight.data = 0.1 * layer.weight.data
    diagnosis = judged(net)
    assert (diagnosis.state, diagnosis.severity, diagnosis.cause) == ("vanishing", "severe", "weights")
    assert diagnosis.dying is not None


def with_biases():
    net = net_of(NARROW, seed=1)
    nn.init.constant_(net[4].bias, 0.1)
    return net


def with_weights_of_one_sign():
    net = net_of(NARROW, seed=1)
    for layer in net[::2]:
        layer.weight.data = np.abs(layer.weight.data)
    return net


def with_residuals():
    blocks = (nn.Residual(net_of([4, 4, 4], seed=seed)) for seed in range(10))
    return nn.Sequential(*net_of([2, 4, 4], seed=1), nn.ReLU(), *blocks, nn.Linear(4, 3, rng=0))


def with_one_layer_again_and_again():
    first, middle, last = net_of([2, 4, 4, 3], seed=1)[::2]
    return nn.Sequential(first, *(m for _ in range(9) for m in (nn.ReLU(), middle)), nn.ReLU(), last)


NO_CLAIM = {
    "tanh": lambda: net_of(NARROW, nn.Tanh),
    "sigmoid in saturation": lambda: net_of(NARROW, nn.Sigmoid),
    "a slope below 0": lambda: net_of(NARROW, Leaky),
    "wide": lambda: net_of([2, *[20] * 30, 3]),
    "shallow": lambda: net_of([2, 4, 4, 3]),
    "biases": with_biases,
    "weights of one sign": with_weights_of_one_sign,
    "residual": with_residuals,
    "a layer again and again": with_one_layer_again_and_again,
    "normalized": lambda: net_of(NARROW, between=(nn.LayerNorm,)),
}


@pytest.mark.parametrize("name", NO_CLAIM)
def test_no_claim_where_the_theory_has_none(name):
    diagnosis = judged(NO_CLAIM[name]())
    assert diagnosis.dying is None
    assert diagnosis.state != "dying"


def test_no_forecast_of_what_has_been_trained():
    net = net_of(NARROW, seed=1)
    adam = optim.Adam(net.parameters(), lr=1e-3)
    first, later = judged(net, 16, 1, adam.step), judged(net, 16, 2, adam.step)
    assert first.dying is not None  # the step came after the backward that is judged
    assert later.dying is None
    assert later.state not in ("dying", "vanishing")


def test_a_history_knows_no_architecture():
    net = net_of(NARROW, seed=1)
    with GradientRecorder(net) as recorder:
        np.sum(net(np.ones((3, 2)))).backward()
    assert diagnose(recorder).dying is None
