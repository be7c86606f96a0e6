"""The verdict on a bench of networks whose fate is known from theory, beside the rules that go by a threshold.

`pytest tests/instruments/test_verdict.py -s` prints the scores.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose, mean_field
from tinygrad_vg.instruments.verdict import KEEPS

MEMBERS, BATCH = 8, 16


@dataclass(frozen=True)
class Net:
    """A point of the bench: activation, σ_w, σ_b, depth and width; orthogonal weights where it says so."""

    activation: Any
    weight_std: float
    bias_std: float
    depth: int
    width: int
    orthogonal: bool = False

    def __str__(self):
        kind = "orthogonal " if self.orthogonal else ""
        name = f"{kind}{self.activation.__name__} σw={self.weight_std:.3g} σb={self.bias_std:.3g}"
        return f"{name} {self.depth}×{self.width}"

    def build(self):
        def member(rng):
            layers = []
            for _ in range(self.depth):
                linear = nn.Linear(self.width, self.width, rng=rng)
                init = nn.init.orthogonal_ if self.orthogonal else nn.init.scaled_normal_
                init(linear.weight, gain=self.weight_std, rng=rng)
                nn.init.normal_(linear.bias, std=self.bias_std, rng=rng)
                layers += [linear, self.activation()]
            return nn.Sequential(*layers[:-1])

        return nn.stack([member(np.random.default_rng(seed)) for seed in range(MEMBERS)])

    def truth(self):
        """State and cause by √χ of the layers between, without looking at the network."""
        field = mean_field(self.activation, self.weight_std, self.bias_std, self.width, self.depth, 1.0)
        rate, total = 0.5 * np.log10(field.chi).mean(), 0.5 * np.log10(field.chi).sum()
        weights = math.log10(self.weight_std)
        state = "stable" if abs(total) < KEEPS else "vanishing" if total < 0 else "exploding"
        cause = None if state == "stable" else "weights" if (weights < rate - weights) == (rate < 0) else "activation"
        return state, cause


SIZES = list(product((2, 5, 12, 25, 50), (30, 100)))
SETTINGS = [
    (nn.Sigmoid, 1.0, 1.0, False),  # Nielsen's
    (nn.Sigmoid, 1.0, 0.0, False),
    (nn.Sigmoid, math.sqrt(2), 0.0, False),
    (nn.Tanh, math.sqrt(1.76095), math.sqrt(0.05), False),  # critical
    (nn.Tanh, 0.5, 0.0, False),
    (nn.Tanh, 4.0, 0.0, False),
    (nn.ReLU, math.sqrt(2), 0.0, False),  # critical
    (nn.ReLU, 1.0, 0.0, False),
    (nn.ReLU, 2.5, 0.0, False),
    (nn.Identity, 1.0, 0.0, True),  # isometric
    (nn.Identity, 0.6, 0.0, True),
    (nn.Identity, 2.0, 0.0, True),
]
BENCH = [Net(a, w, b, depth, width, o) for (a, w, b, o), (depth, width) in product(SETTINGS, SIZES)]


@pytest.fixture(scope="module")
def results():
    """For each network of the bench its diagnosis, and (mean |g₁|, ‖g₁‖, ‖g_L‖) of the biases' gradients."""
    found = []
    for net in BENCH:
        model = net.build()
        with Ledger(model) as ledger:
            np.sum(model(np.random.default_rng(99).normal(size=(BATCH, net.width)))).backward()
        first, last = model[0].bias.grad[0], list(model)[-1].bias.grad[0]
        found.append((diagnose(ledger), np.abs(first).mean(), np.linalg.norm(first), np.linalg.norm(last)))
    return found


def score(answers, truths):
    return sum(a == t for a, t in zip(answers, truths, strict=True)) / len(truths)


def test_verdicts_are_right_and_thresholds_are_not(results):
    truths = [net.truth() for net in BENCH]
    states = [d.state for d, *_ in results]
    causes = [d.cause for d, *_ in results]
    unstable = [i for i, (state, _) in enumerate(truths) if state != "stable"]
    right = score(states, [state for state, _ in truths])
    blamed = score([causes[i] for i in unstable], [truths[i][1] for i in unstable])
    # The rules of other tools only know vanishing or not.
    vanishing = [state == "vanishing" for state, _ in truths]
    by_mean = score([mean < 1e-7 for _, mean, _, _ in results], vanishing)
    by_ratio = score([g1 / gl < 1e-3 and g1 < 1e-4 for _, _, g1, gl in results], vanishing)
    print(f"\n{len(BENCH)} networks: states {right:.0%} right, causes {blamed:.0%}; vanishing or not: "
          f"mean |g| < 1e-7 {by_mean:.0%}, ratio < 1e-3 and norm < 1e-4 {by_ratio:.0%}")  # fmt: skip
    wrong = [(str(net), t, s) for net, (t, _), s in zip(BENCH, truths, states, strict=True) if t != s]
    assert right >= 0.95, wrong
    assert blamed >= 0.95
    assert max(by_mean, by_ratio) < right
    assert not [net for net in wrong if net[1] == "stable" and net[2] == "vanishing"]


def nielsen(hidden):
    return nn.mlp([784, *[30] * hidden, 10], rng=0)


def test_nielsen_s_network_of_four_hidden_layers_vanishes():
    images, labels = tg.datasets.mnist("test", dtype=np.float64)
    net = nielsen(4)
    with Ledger(net) as ledger, GradientRecorder(net) as recorder:
        nn.BCEWithLogitsLoss("batchmean")(net(images[:200]), np.eye(10)[labels[:200]]).backward()
    assert np.abs(net[0].bias.grad).mean() > 1e-7  # what a threshold calls healthy
    diagnosis = diagnose(ledger)
    assert (diagnosis.state, diagnosis.cause) == ("vanishing", "activation")
    assert diagnosis.rate == pytest.approx(-0.69, abs=0.1)
    assert diagnosis.interval[0] < diagnosis.rate < diagnosis.interval[1]
    assert "vanishing" in str(diagnosis)
    assert "σ′" in str(diagnosis)
    assert [verdict.layer for verdict in diagnosis.layers] == [1, 2, 3, 4]
    by_history = diagnose(recorder.history[:, :-1])
    assert (by_history.state, by_history.cause) == ("vanishing", None)
    assert "σ′" not in str(by_history)


def test_saturated():
    net = Net(nn.Sigmoid, 30.0, 60.0, 5, 50).build()
    with Ledger(net) as ledger:
        np.sum(net(np.random.default_rng(0).normal(size=(BATCH, 50)))).backward()
    diagnosis = diagnose(ledger)
    assert diagnosis.cause == "activation"
    assert {"saturated"} <= {verdict.state for verdict in diagnosis.layers}


def test_dead():
    net = Net(nn.ReLU, 1.4, 0.0, 5, 10).build()
    net[4].bias.data = np.full_like(net[4].bias.data, -1e3)
    with Ledger(net) as ledger:
        np.sum(net(np.ones((BATCH, 10)))).backward()
    diagnosis = diagnose(ledger)
    assert diagnosis.state == "dead"
    # Layer 3 is silent, so that layer 4, without biases, stands at ReLU's corner: no gradient arrives at 1 to 4.
    assert {verdict.state for verdict in diagnosis.layers} == {"dead"}
    assert str(diagnosis) == "dead: no gradient arrives at layer 1, 2, 3, 4"


def test_not_computed():
    net = nielsen(2)
    with GradientRecorder(net) as recorder:
        np.sum(net[4](np.ones((1, 30)))).backward()
    diagnosis = diagnose(recorder.history)
    assert diagnosis.state == "not computed"
    assert math.isnan(diagnosis.rate)


def test_intervals_are_over_members():
    single = Net(nn.Sigmoid, 1.0, 1.0, 10, 30).build()
    with Ledger(single) as ledger:
        np.sum(single(np.random.default_rng(0).normal(size=(1, 30)))).backward()
    diagnosis = diagnose(ledger)
    rates = np.array([row.total for row in ledger]).mean(axis=0)
    assert diagnosis.rate == pytest.approx(np.median(rates))
    assert diagnosis.interval == pytest.approx(tuple(np.quantile(rates, [0.05, 0.95])))


def test_what_cannot_be_judged():
    with pytest.raises(TypeError, match="takes a History, a GradientRecorder or a Ledger, not Sequential"):
        diagnose(nielsen(1))
    net = nn.Sequential(nn.Linear(3, 2, rng=0))
    with GradientRecorder(net) as recorder:
        pass
    with pytest.raises(ValueError, match="holds no steps"):
        diagnose(recorder.history)
    with GradientRecorder(net) as recorder:
        np.sum(net(np.ones((1, 3)))).backward()
    with pytest.raises(ValueError, match="needs two"):
        diagnose(recorder.history)
