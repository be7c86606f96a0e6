"""The verdict on a bench of networks whose fate is known from theory, beside the rules that go by a threshold.

`pytest tests/instruments/test_verdict.py -m long -s` prints the scores.
"""

import copy
import math
import pickle
import warnings
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.instruments.hearing import heard
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder, History, Ledger, diagnose, mean_field
from tinygrad_vg.instruments.verdict import KEEPS, severity_of
from tinygrad_vg.notation import with_minus

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


@pytest.mark.long
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


def samples(width):
    return np.random.default_rng(0).normal(size=(BATCH, width))


def test_saturated():
    diagnosis = diagnose(heard(Net(nn.Sigmoid, 10.0, 60.0, 15, 50).build(), samples(50)))
    assert (diagnosis.state, diagnosis.cause) == ("vanishing", "activation")
    assert {"saturated"} <= {verdict.state for verdict in diagnosis.layers}
    assert "the saturated slopes of Sigmoid (σ′) take" in str(diagnosis)


def dead():
    net = Net(nn.ReLU, 1.4, 0.0, 5, 10).build()
    net[4].bias.data = np.full_like(net[4].bias.data, -1e3)
    return net


@pytest.mark.parametrize(("count", "words"), [(2, "; the slopes of"), (3, "; the saturated slopes of")])
def test_slopes_are_called_saturated_where_those_of_most_layers_are(count, words):
    diagnosis = diagnose(heard(nn.mlp([30] * 6, rng=0), samples(30)))
    assert (diagnosis.cause, len(diagnosis.layers)) == ("activation", 4)
    layers = [
        replace(layer, state="saturated" if i < count else "shrinking") for i, layer in enumerate(diagnosis.layers)
    ]
    assert f"{words} Sigmoid (σ′)" in str(replace(diagnosis, layers=tuple(layers)))


def test_dead_needs_more_than_one_backward_and_names_the_layer():
    once, twice = (diagnose(heard(dead(), np.ones((BATCH, 10)), backwards)) for backwards in (1, 2))
    # Layer 3 is silent, so that layer 4, without biases, stands at ReLU's corner: no gradient arrives at 1 to 4.
    assert (once.state, once.is_ill) == ("no gradient", False)
    assert str(once) == "no gradient in this backward arrives at layers 1 to 4: all slopes at layer 3 are 0"
    assert (twice.state, twice.is_ill) == ("dead", True)
    assert {verdict.state for verdict in twice.layers} == {"dead"}
    assert str(twice) == "dead: no gradient arrives at layers 1 to 4: all slopes at layer 3 are 0"
    assert twice.total == -math.inf
    with GradientRecorder(net := dead()) as recorder:
        heard(net, np.ones((BATCH, 10)), 2)
    assert diagnose(recorder).state == "dead"


def test_one_dead_member_is_not_the_ensemble_and_most_of_them_are():
    def ensemble(broken):
        nets = Net(nn.ReLU, 1.4, 0.2, 5, 10).build()
        bias = nets[4].bias.data.copy()
        bias[:broken] = -1e3
        nets[4].bias.data = bias
        return nets

    states = [diagnose(heard(ensemble(broken), samples(10), 2)).state for broken in (0, 1, 4, 5, 8)]
    assert states[3:] == ["dead", "dead"]
    assert not {"dead", "no gradient"} & {*states[:3]}  # half of the members are not most


@pytest.mark.parametrize("first", [1, MEMBERS // 2])
def test_most_members_must_be_silent_again_and_again(first):
    """Half of them are not most."""
    nets = Net(nn.ReLU, 1.4, 0.2, 5, 10).build()

    def silence(members):
        bias = nets[4].bias.data.copy()
        bias[:members] = -1e3
        nets[4].bias.data = bias

    silence(first)
    ledger = heard(nets, samples(10), 1, lambda: silence(MEMBERS))
    with ledger:
        np.sum(nets(samples(10))).backward()
        assert ledger.silent.tolist() == [2] * first + [1] * (MEMBERS - first)
        assert diagnose(ledger).state == "no gradient"
        np.sum(nets(samples(10))).backward()
        assert diagnose(ledger).state == "dead"


def test_silence_ends_with_a_gradient_however_small():
    net = nn.mlp([6] * 5, rng=0)
    with Ledger(net) as ledger:
        for factor, silent in ((0.0, 1), (0.0, 2), (1.0, 0), (1e-200, 0), (1e-200, 0), (0.0, 1)):
            (np.sum(net(samples(6))) * factor).backward()
            assert ledger.silent == silent  # also where squares would be 0


def test_weights_at_right_angles_to_the_gradient_are_named():
    net = nn.mlp([6, 6, 6, 2], rng=0)
    net[4].weight.data = np.outer([1.0, -1.0], np.arange(1.0, 7.0))
    with Ledger(net) as ledger:
        np.sum(net(samples(6))).backward()
    assert str(diagnose(ledger).named[0]) == "the weights of layer 3"


def test_the_worst_of_two_faults_is_named_first():
    rng, modules = np.random.default_rng(0), []
    for factor in (1, 1, 100, 1, 1e-6, 1, 1, 1):
        linear = nn.Linear(30, 30, rng=rng)
        linear.weight.data = linear.weight.data * factor
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.ReLU()]
    diagnosis = diagnose(heard(nn.Sequential(*modules[:-1]), samples(30)))
    assert [(named.layer, named.part) for named in diagnosis.named] == [(5, "weights"), (3, "weights")]


def test_a_last_layer_of_zeros_has_no_gradient_before_the_first_step():
    net = nn.mlp([6] * 5, rng=0)
    nn.init.zeros_(net[6].weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ledger = heard(net, samples(6))
        diagnosis = diagnose(ledger)
        assert str(diagnosis) == "no gradient before the first step: the weights of layer 4 are 0"
        assert "layers 1-3: no gradient" in str(ledger)  # its table, without a warning
        assert (diagnosis.state, diagnosis.is_ill, diagnosis.forecast) == ("no gradient", False, None)
        after = diagnose(heard(net, samples(6), 2, tg.optim.SGD(net.parameters(), lr=0.01).step))
    assert math.isfinite(after.total)


@pytest.mark.parametrize("layer", [1, 3, 5])
def test_not_finite_names_the_lowest_layer(layer):
    net = nn.mlp([6] * 6, rng=0)
    net[2 * layer - 2].weight.data = np.full((6, 6), np.nan)
    diagnosis = diagnose(heard(net, samples(6)))
    assert str(diagnosis) == f"not finite: the weights of layer {layer}"
    assert diagnosis.is_ill
    other = nn.mlp([6] * 6, rng=0)
    other[2 * layer - 2].weight.data = np.full((6, 6), 1e308)  # z overflows, and σ of infinity is 1, with the slope 0
    other[2 * layer - 2].bias.data = np.full(6, np.inf)
    diagnosis = diagnose(heard(other, samples(6)))
    assert str(diagnosis) == f"not finite: z of layer {layer}"


def test_underflow_is_not_death():
    net = nn.mlp([6] * 100, rng=0, dtype=np.float32)
    diagnosis = diagnose(heard(net, samples(6).astype(np.float32)))
    assert diagnosis.state == "underflow"
    assert -50 < diagnosis.total < -37
    assert 40 < diagnosis.steps < 99
    assert diagnosis.cause == "activation"
    assert "extended_range=True" in str(diagnosis)
    assert {verdict.state for verdict in diagnosis.layers} == {"underflow", "shrinking"}
    with Ledger(net) as ledger:
        np.sum(net(samples(6).astype(np.float32))).backward(extended_range=True)
    assert diagnose(ledger).state == "vanishing"


def test_what_falls_and_rises_again_is_uneven():
    """Half of the steps take what the other half give: only the span tells."""
    rng, modules = np.random.default_rng(0), []
    for gain in [1.4] + [4.0] * 6 + [0.5] * 6:
        linear = nn.Linear(50, 50, rng=rng)
        nn.init.scaled_normal_(linear.weight, gain=gain, rng=rng)
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.ReLU()]
    diagnosis = diagnose(heard(nn.Sequential(*modules[:-1]), samples(50)))
    assert (diagnosis.state, diagnosis.severity, diagnosis.cause) == ("uneven", "at risk", None)
    assert abs(diagnosis.total) < 1 < 2 < diagnosis.span
    assert "uneven, at risk:" in str(diagnosis)


def test_the_sentence():
    diagnosis = diagnose(heard(nn.mlp([30] * 8, rng=0), samples(30)))
    total, rate, slopes = diagnosis.total, diagnosis.rate, 6 * diagnosis.activation
    assert diagnosis.total == pytest.approx(6 * diagnosis.rate)
    assert str(diagnosis) == with_minus(
        f"vanishing, severe: {total:.1f} decades over 6 steps ({rate:.2f} a layer); "
        f"the slopes of Sigmoid (σ′) take {slopes:.1f}"
    )
    assert diagnosis.forecast == "does not train with plain SGD"


def test_a_unit_that_holds_layers_is_a_step_and_only_activations_have_slopes():
    def block(rng):
        return nn.Residual(nn.Sequential(nn.Linear(8, 8, rng=rng), nn.Tanh(), nn.Linear(8, 8, rng=rng)))

    rng = np.random.default_rng(0)
    modules = [module for _ in range(4) for module in (nn.Linear(8, 8, rng=rng), block(rng))]
    net = nn.Sequential(*modules, nn.Linear(8, 8, rng=rng))
    diagnosis = diagnose(heard(net, samples(8)))
    assert (diagnosis.unit, diagnosis.slopes) == ("step", False)
    assert "a step)" in str(diagnosis)
    assert "σ′" not in str(diagnosis)
    net = nn.Sequential(*(m for _ in range(9) for m in (nn.Linear(8, 8, rng=rng), nn.LayerNorm(8), nn.Sigmoid())))
    diagnosis = diagnose(heard(net, samples(8)))
    assert (diagnosis.unit, diagnosis.slopes) == ("layer", False)
    assert "what lies between (Sigmoid, LayerNorm) takes" in str(diagnosis)


# Of what has been trained: what is, and no forecast.


def by_an_optimizer(net):
    return tg.optim.SGD(net.parameters(), lr=0.01).step


def by_hand(net):
    def step():
        for parameter in net.parameters():
            parameter.data = parameter.data - 0.01 * parameter.grad

    return step


@pytest.mark.parametrize("way", [by_an_optimizer, by_hand])
def test_a_trained_network_is_not_called_vanishing(way):
    net = nn.mlp([10] * 7, rng=0)
    once = heard(net, samples(10), 1, way(net))
    assert diagnose(once).state == "vanishing"  # the accounts are those of before the step
    twice = diagnose(heard(net, samples(10), 3, way(net)))
    assert (twice.state, twice.at_start, twice.forecast, twice.is_ill) == ("shrinking", False, None, False)
    assert str(twice).startswith("shrinking: −")
    assert twice.severity == "severe"
    assert str(twice).endswith("; trained already: no forecast")
    assert "forecast" not in str(diagnose(once))


@pytest.mark.parametrize(("layers", "severity"), [(2, None), (3, "mild"), (4, "at risk")])
def test_a_trained_network_lacks_a_forecast_only_where_it_would_be_a_bad_one(layers, severity):
    net = nn.mlp([10] * (layers + 1), rng=0)
    with tg.no_grad():
        for parameter in net.parameters():
            parameter *= 1.0  # counts as training
    diagnosis = diagnose(heard(net, samples(10)))
    assert (diagnosis.at_start, diagnosis.severity) == (False, severity)
    assert ("trained already: no forecast" in str(diagnosis)) == (severity == "at risk")


def test_whoever_looks_later_knows_that_it_was_trained(tmp_path):
    net = nn.mlp([10] * 7, rng=0)
    heard(net, samples(10), 2, by_an_optimizer(net))
    loaded = nn.mlp([10] * 7, rng=1)
    loaded.load_state_dict(net.state_dict())
    for other in (net, loaded, copy.deepcopy(net), pickle.loads(pickle.dumps(net)), nn.stack([nn.mlp([10] * 7), net])):
        assert diagnose(heard(other, samples(10))).state == "shrinking"
        with GradientRecorder(other) as recorder:
            np.sum(other(samples(10))).backward()
        assert not diagnose(recorder).at_start
    for i, linear in enumerate(net[::2]):
        nn.init.kaiming_normal_(linear.weight, rng=i)
    assert diagnose(heard(net, samples(10))).at_start  # an initializer begins anew
    fresh = nn.mlp([10] * 7, rng=0)
    heard(net, samples(10), 2, by_an_optimizer(net))
    assert diagnose(heard(fresh, samples(10))).at_start
    assert diagnose(Ledger.of(fresh, np.sum(fresh(samples(10))))).at_start
    assert not diagnose(Ledger.of(net, np.sum(net(samples(10))))).at_start


def test_of_a_long_history_the_last_steps_are_judged():
    net = nn.mlp([10] * 7, rng=0)
    with GradientRecorder(net) as recorder:
        heard(net, samples(10), 50, tg.optim.SGD(net.parameters(), lr=1e-6).step)
    history = recorder.history
    assert diagnose(history[0]).state == "vanishing"
    assert diagnose(history[:-1]).state == "shrinking"
    steps = history.log10_norm[-30:, 0] - history.log10_norm[-30:, -1]
    assert diagnose(recorder).total == pytest.approx(np.median(steps))
    assert diagnose(recorder) == diagnose(history)


def test_no_direction_where_members_differ():
    log10_norm = np.stack([np.linspace(end, 0, 6) for end in np.linspace(-8, 5, 20)], axis=-1)
    history = History(np.arange(1), tuple(range(1, 7)), tuple("abcdef"), log10_norm[None])
    diagnosis = diagnose(history)
    assert diagnosis.interval[0] < 0 < diagnosis.interval[1]
    assert diagnosis.total < -1
    assert (diagnosis.state, diagnosis.cause) == ("unsure", None)


def test_the_span_of_an_ensemble_is_that_of_its_median_way_from_the_last_layer():
    """Measured from the first layer it would be another: each member has a total of its own."""
    levels = np.random.default_rng(2).normal(size=(6, 9)).cumsum(axis=0)
    diagnosis = diagnose(History(np.arange(1), tuple(range(1, 7)), tuple("abcdef"), levels[None]))
    down, up = (np.median(levels - levels[end], axis=1) for end in (-1, 0))
    assert diagnosis.span == pytest.approx(np.ptp(down))
    assert abs(np.ptp(up) - np.ptp(down)) > 0.1


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


def test_the_interval_of_one_network_is_that_of_its_steps_mean():
    levels = np.array([[-3.0, -2.5, -1.7, -1.3, 0.0]])
    diagnosis = diagnose(History(np.arange(1), tuple(range(1, 6)), tuple("abcde"), levels))
    steps = np.array([-0.5, -0.8, -0.4, -1.3])
    error = 1.645 * steps.std(ddof=1) / 2
    assert diagnosis.interval == pytest.approx((steps.mean() - error, steps.mean() + error))


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_network_is_not_dead_where_the_cost_asks_for_nothing(rounds):
    net = nn.mlp([5] * 5, rng=0)
    with Ledger(net) as ledger, GradientRecorder(net) as recorder:
        for _ in range(rounds):
            np.sum(net(samples(5)) * 0.0).backward()
    assert str(diagnose(ledger)) == "no gradient in this backward arrives at layers 1 to 3: the cost gives none"
    assert diagnose(recorder).state == "no gradient"
    assert not diagnose(ledger).is_ill


def test_a_gradient_that_is_not_finite_above_a_sound_forward():
    net = nn.mlp([5] * 4, rng=0)
    with Ledger(net) as ledger, np.errstate(all="ignore"):
        np.sum(net(samples(5)) * np.inf).backward()
    assert str(diagnose(ledger)) == "not finite: the gradient of layer 3"


def test_what_ledger_and_recorder_say_of_a_broken_ensemble():
    """Most members decide, and of the others nothing is said."""
    nets = nn.stack([nn.mlp([6] * 6, rng=seed) for seed in range(5)])
    weights = nets[4].weight.data.copy()
    weights[:3] = np.nan
    nets[4].weight.data = weights
    with GradientRecorder(nets) as recorder:
        diagnosis = diagnose(heard(nets, samples(6), 2))
    assert str(diagnosis) == "not finite: the weights of layer 3"
    assert diagnose(recorder).state == "not finite"
    weights = weights.copy()
    weights[1:3] = 0.1
    nets[4].weight.data = weights
    diagnosis = diagnose(heard(nets, samples(6), 2))
    assert (diagnosis.state, diagnosis.samples) == ("vanishing", 4)


def test_the_borders_are_those_of_the_docs():
    assert [severity_of(x) for x in (0.99, 1, 1.99, 2, 2.99, 3, math.inf)] == [
        None, "mild", "mild", "at risk", "at risk", "severe", "severe"
    ]  # fmt: skip


def test_what_cannot_be_judged():
    with pytest.raises(TypeError, match="takes a History, a LedgerHistory, a GradientRecorder or a Ledger, not"):
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


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.ReLU])
def test_what_ends_not_finite_is_not_finite(kind):
    """NaN stays in the weights: a sound beginning does not outvote it."""
    net = nn.mlp([5] * 5, kind, rng=1)
    with GradientRecorder(net) as recorder, Ledger(net, every=1) as ledger, np.errstate(all="ignore"):
        for step in range(5):
            if step == 4:
                net[2].weight.data = np.full((5, 5), np.nan)
            nn.MSELoss()(net(samples(5)), np.zeros((len(samples(5)), 5))).backward()
            if step == 3:
                assert diagnose(recorder).state != "not finite" != diagnose(ledger.history).state
    assert diagnose(recorder).state == diagnose(ledger.history).state == "not finite"
