"""One fault, and the verdict names its layer: networks of 4 to 11 layers with one fault each, and healthy ones.

`pytest tests/instruments/test_naming.py -s` prints the scores of docs/verdicts.md.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger, diagnose
from tinygrad_vg.instruments.accounts import Part, Row
from tinygrad_vg.instruments.naming import outliers

ACTIVATIONS = (nn.Sigmoid, nn.Tanh, nn.ReLU)
GAINS = {nn.Sigmoid: 1.0, nn.Tanh: 1.2, nn.ReLU: 2**0.5}


def healthy(activation, seed):
    rng = np.random.default_rng([7, seed])
    widths = rng.integers(20, 61, size=rng.integers(4, 12) + 1)
    modules = []
    for n_in, n_out in pairwise(widths):
        linear = nn.Linear(int(n_in), int(n_out), rng=rng)
        nn.init.scaled_normal_(linear.weight, gain=GAINS[activation], rng=rng)
        nn.init.normal_(linear.bias, std=rng.choice([0.0, 0.2]), rng=rng)
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def times(factor):
    def spoil(linear):
        linear.weight.data = linear.weight.data * factor

    return spoil


def nan(linear):
    linear.weight.data = linear.weight.data.copy()
    linear.weight.data[1, 2] = np.nan


def shifted(size):
    def spoil(linear):
        signs = np.sign(np.random.default_rng(0).normal(size=linear.bias.shape)) if size > 0 else 1.0
        linear.bias.data = np.full(linear.bias.shape, size) * signs

    return spoil


FAULTS = {
    "weights × 100": (times(100.0), ACTIVATIONS),
    "weights × 0.01": (times(0.01), ACTIVATIONS),
    "weights 0": (times(0.0), ACTIVATIONS),
    "weights NaN": (nan, ACTIVATIONS),
    "dead": (shifted(-1e3), (nn.ReLU,)),
    "saturated": (shifted(12.0), (nn.Sigmoid, nn.Tanh)),
}


def verdict(net, seed):
    x = np.random.default_rng([8, seed]).normal(size=(32, net[0].in_features))
    with Ledger(net) as ledger, np.errstate(all="ignore"):
        for _ in range(2):
            output = net(x)
            np.sum(np.square(output - 1.0)).backward()
    return diagnose(ledger)


def cases():
    """(fault, activation, seed): fifteen of each kind, and the layer that it befalls."""
    for name, (_, activations) in FAULTS.items():
        for activation in activations:
            for seed in range(15):
                yield name, activation, seed


@pytest.fixture(scope="module")
def scores():
    found = defaultdict(list)
    wrong = []
    for name, activation, seed in cases():
        net = healthy(activation, seed)
        layers = (len(list(net)) + 1) // 2
        # The weights of layer 1 stand in no step: the gradient does not go through them. The last has no activation.
        low, high = (1, layers) if name in ("dead", "saturated", "weights NaN") else (2, layers + 1)
        layer = int(np.random.default_rng([9, seed]).integers(low, high))
        FAULTS[name][0](net[2 * (layer - 1)])
        diagnosis = verdict(net, seed)
        right = bool(diagnosis.named) and diagnosis.named[0].layer == layer
        found[name].append(right)
        if not right:
            wrong.append((name, activation.__name__, layers, layer, str(diagnosis)))
    return found, wrong


@pytest.mark.long
def test_the_faulty_layer_is_named(scores):
    found, wrong = scores
    for name, hits in found.items():
        print(f"\n| {name} | {sum(hits)} of {len(hits)} |", end="")
    hits = [hit for some in found.values() for hit in some]
    print(f"\n| all | {sum(hits)} of {len(hits)} |")
    assert len(hits) >= 200
    assert np.mean(hits) >= 0.97, wrong


@pytest.mark.long
def test_nothing_is_named_in_healthy_networks():
    alarms = {}
    for activation in ACTIVATIONS:
        for seed in range(100, 200):
            diagnosis = verdict(healthy(activation, seed), seed)
            if diagnosis.named:
                alarms[activation.__name__, seed] = str(diagnosis)
    print(f"\n| healthy, named all the same | {len(alarms)} of {3 * 100} |")
    assert len(alarms) <= 3, alarms


def rows(*steps):
    """A row of each (label, decades of the weights, decades of the slopes)."""
    return [
        Row(i, "", 0.0, weights, slopes, weights + slopes, (Part(label, slopes, True, "", 0.0),), None)
        for i, (label, weights, slopes) in enumerate(steps, 1)
    ]


def named(*steps):
    return [(one.part, one.layer) for one in outliers(rows(*steps))]


def test_slopes_are_compared_with_those_of_the_same_modules():
    alike = [("Sigmoid", 0.0, -0.7)] * 3 + [("Identity", 0.0, 0.0)] * 5
    assert named(*alike) == []
    assert named(*alike, ("Sigmoid", 0.0, 0.0)) == [("slopes", 9)]


def test_who_stands_out_is_half_a_decade_off_and_five_times_the_spread():
    tanh = [("Tanh", 0.0, 0.0)] * 4
    assert named(*tanh, ("Tanh", 0.49, 0.0)) == []
    assert named(*tanh, ("Tanh", 0.51, 0.0)) == [("weights", 6)]
    spread = [("Tanh", weights, 0.0) for weights in (-0.2, -0.1, 0.0, 0.1, 0.2)]  # 1.48 · 0.2 with the sixth
    assert named(*spread, ("Tanh", 1.0, 0.0)) == []
    assert named(*spread, ("Tanh", 1.6, 0.0)) == [("weights", 7)]


def test_of_two_steps_none_stands_out():
    assert named(("Tanh", 0.0, 0.0), ("Tanh", -5.0, 0.0)) == []
    assert named(("Tanh", 0.0, 0.0), ("Tanh", 0.1, 0.0), ("Tanh", -5.0, 0.0)) == [("weights", 4)]
    assert named(("Tanh", np.nan, -np.inf)) == []
