"""What-if: over many changes the prediction holds, and it is the measurement that says so."""

import math
import sys

import numpy as np
import pytest

from tinygrad_vg import nn
from tinygrad_vg.instruments import mean_field, what_if
from tinygrad_vg.notation import decades


def network(activation, depth, width, gain=1.0, bias=1.0):
    rng, modules = np.random.default_rng(0), []
    for _ in range(depth):
        linear = nn.Linear(width, width, rng=rng)
        nn.init.scaled_normal_(linear.weight, gain=gain, rng=rng)
        nn.init.normal_(linear.bias, std=bias, rng=rng)
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def scaled(gain):
    def initializer(weight, rng):
        return nn.init.scaled_normal_(weight, gain=gain, rng=rng)

    return initializer


BASES = {
    "Nielsen's sigmoids": network(nn.Sigmoid, 6, 30),
    "tanh": network(nn.Tanh, 8, 50, 1.3, 0.2),
    "ReLU": network(nn.ReLU, 8, 50, math.sqrt(2), 0.0),
}
CHANGES = [
    {"activation": nn.Tanh},
    {"activation": nn.Sigmoid},
    {"activation": nn.ReLU},
    {"activation": nn.Identity},
    {"initializer": nn.init.standard_normal_},
    {"initializer": nn.init.kaiming_normal_},
    {"initializer": scaled(0.5)},
    {"depth": 3},
    {"depth": 15},
    {"activation": nn.Tanh, "initializer": nn.init.xavier_normal_, "depth": 12},
]
CASES = [  # smooth slopes and slopes with a jump always, others where there is time
    pytest.param(name, change, id=f"{name}, {', '.join(change)} {i}", marks=[pytest.mark.long] * (name == "tanh"))
    for name in BASES
    for i, change in enumerate(CHANGES)
]


@pytest.mark.parametrize(("name", "change"), CASES)
def test_predictions_hold(name, change):
    """Within 10 % or 0.03 decades a layer, with 64 seeds: their standard error is below 0.01."""
    images = np.random.default_rng(1).normal(size=(6, BASES[name][0].in_features))
    answer = what_if(BASES[name], images, **change, rng=0)
    assert abs(answer.measured - answer.predicted) <= max(0.03, 0.1 * abs(answer.predicted))


def test_the_model_itself_is_left_alone():
    net = network(nn.Sigmoid, 3, 10)
    before = net.state_dict()
    answer = what_if(net, np.ones((2, 10)), depth=5, rng=0)
    assert all(np.array_equal(net.state_dict()[name], array) for name, array in before.items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert "predicted" in str(answer)
    assert answer == what_if(net, np.ones((2, 10)), depth=5, rng=0)


def test_the_model_s_own_rate_stands_beside_those_of_fresh_networks():
    images = np.random.default_rng(1).normal(size=(20, 30))
    net = network(nn.Sigmoid, 6, 30)
    answer = what_if(net, images, activation=nn.Tanh, rng=0)
    assert answer.own == pytest.approx(answer.measured_before, abs=0.05)  # it is fresh itself
    assert f"the model itself {decades(answer.own, 3)}" in str(answer)
    several = what_if(nn.stack([net, net, net]), images, activation=nn.Tanh, rng=0)
    assert several.own == pytest.approx(answer.own, abs=0.01)
    for linear in net[2:-1:2]:  # orthogonal directions of one size: the same spread, and another network
        linear.weight.data = np.roll(np.eye(30), 1, axis=0)
    trained = what_if(net, images, activation=nn.Tanh, rng=0)
    assert trained.measured_before == pytest.approx(answer.measured_before, abs=0.05)
    net[4].weight.data = net[4].weight.data * 0.1
    net[6].weight.data = net[6].weight.data * 0.1
    assert what_if(net, images, activation=nn.Tanh, rng=0).own < trained.own - 0.2


def test_what_is_measured_has_the_top_layer_s_fan_in_of_the_new_depth():
    """Hidden layers are left out from the top: the output layer then takes what the last that is left puts out."""
    rng = np.random.default_rng(0)
    widths = [10, 40, 20, 5, 3]
    net = nn.mlp(widths, rng=rng)
    answer = what_if(net, rng.normal(size=(3, 10)), depth=2, rng=0)
    assert abs(answer.measured - answer.predicted) < 0.1
    shallow = nn.mlp([10, 40, 3], rng=rng)
    same = what_if(shallow, rng.normal(size=(3, 10)), depth=2, rng=0)
    assert answer.measured_after == pytest.approx(same.measured_after, abs=0.05)


def test_what_is_sampled_is_of_the_model_s_kind_layer_by_layer():
    """Also of the hidden layers that are added, which are like the last one; by the theory, from the same figures."""
    rng, stds, biases = np.random.default_rng(0), (1.0, 0.5, 2.5, 1.5), (0.1, 2.0, 0.3, 1.0)
    modules = []
    for weight_std, bias_std in zip(stds, biases, strict=True):
        linear = nn.Linear(100, 100, rng=rng)
        nn.init.scaled_normal_(linear.weight, gain=weight_std, rng=rng)
        nn.init.constant_(linear.bias, bias_std)
        modules += [linear, nn.Tanh()]
    images = rng.normal(size=(3, 100))
    answer = what_if(nn.Sequential(*modules[:-1]), images, depth=6, rng=0)
    for figure, order in ((answer.predicted_before, [0, 1, 2, 3]), (answer.predicted_after, [0, 1, 2, 2, 2, 3])):
        kind = [stds[i] for i in order], [biases[i] for i in order]
        theory = mean_field(nn.Tanh, *kind, width=100, depth=len(order), input_q=np.mean(images**2))
        assert figure == pytest.approx(theory.decades_per_layer.mean(), abs=0.005)


@pytest.mark.parametrize(
    ("rates", "own"), [([0.0, 0.0, 3.0], 1.0), ([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [3.0, 1.0, 9.0]], 1.0)]
)
def test_the_model_s_own_rate_is_the_mean_over_samples_and_the_median_over_members(rates, own, monkeypatch):
    monkeypatch.setattr(sys.modules["tinygrad_vg.instruments.what_if"], "_measure", lambda *_: np.array(rates))
    assert what_if(network(nn.Sigmoid, 3, 10), np.ones((3, 10)), depth=5, rng=0).own == own


def test_a_sample_without_a_gradient_has_no_rate():
    """In a narrow network of ReLUs some draws pass no gradient for some sample: the mean of the others is the rate."""
    net, images = nn.mlp([8, 6, 6, 2], rng=0), np.random.default_rng(1).normal(size=(4, 8))
    answer = what_if(net, images, activation=nn.ReLU, rng=0)
    assert answer.silent_before == answer.silent_own == 0 < answer.silent_after < 0.5
    assert answer.measured_after == pytest.approx(answer.predicted_after, abs=0.1)
    assert np.isfinite([answer.measured, answer.own]).all()
    end = f"; after the change {100 * answer.silent_after:.3g} % of samples and draws have no gradient"
    assert str(answer).endswith(end)
    assert "∞" not in str(answer)


def test_a_network_without_any_gradient_has_the_rate_minus_infinity():
    net = network(nn.ReLU, 3, 10)
    net[2].bias.data = np.full(10, -1e3)
    answer = what_if(net, np.ones((2, 10)), depth=4, rng=0)
    assert answer.own == -math.inf
    assert answer.silent_own == 1
    assert str(answer).endswith("; the model itself has no gradient for 100 % of samples")


def test_what_cannot_be_asked():
    net = network(nn.Sigmoid, 3, 10)
    with pytest.raises(ValueError, match="needs a change"):
        what_if(net, np.ones((2, 10)))
    for wrong in ("tanh", nn.Tanh()):
        with pytest.raises(TypeError, match=r"takes the class of an activation, such as nn.Tanh, and not .*[tT]anh"):
            what_if(net, np.ones((2, 10)), activation=wrong)
    with pytest.raises(ValueError, match="2 or more, not 1"):
        what_if(net, np.ones((2, 10)), depth=1)
    with pytest.raises(ValueError, match="one activation between two neighbours"):
        what_if(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), np.ones((2, 3)), depth=3)
