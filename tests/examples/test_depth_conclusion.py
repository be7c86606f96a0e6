"""The conclusion of the main job: its sentences follow the numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import Ledger, diagnose

ARGS = SimpleNamespace(epochs=2, depths=[], activation="Tanh", init=None, hidden=30, data=None)
FRESH = [0.0, 0.1, -0.1, 0.05]  # in %, around a mean, one for each seed


def verdict(activation=tg.nn.Sigmoid, depth=1, broken=None):
    """Of a real backward through a network at its start; `broken` is a weight in place of all of the first layer."""
    net = tg.nn.mlp([8] * (depth + 2), activation, rng=0)
    if broken is not None:
        net[0].weight.data = np.full((8, 8), broken)
    with np.errstate(invalid="ignore"), Ledger(net) as ledger:
        tg.nn.MSELoss("batchmean")(net(np.random.default_rng(1).random((5, 8))), np.zeros((5, 8))).backward()
    return diagnose(ledger)


def results(means, spread=FRESH, ends=None, starts=None):
    """Results as of the job, of trainings with these mean accuracies in %: half the chance, and one image in ten."""
    made = {}
    for depth, mean in means.items():
        accuracies = np.array([[mean - 1] * len(spread), mean + np.array(spread)]) / 100
        made["training", depth] = {"accuracies": accuracies, "verdict": (ends or {}).get(depth, verdict()),
                                   "chance": 0.1, "validated": 10_000}  # fmt: skip
        made["descent", depth] = {"verdict": (starts or {}).get(depth, verdict())}
    return made


@pytest.fixture
def job(script):
    return script("depth_conclusion")


def test_depth_helps_up_to_the_depth_from_which_on_no_gain_is_certain(job):
    found = results({1: 96.0, 2: 97.0, 3: 96.5, 4: 96.4})
    text = " ".join(job.conclusion(found, ARGS))
    assert text.startswith(
        "Depth helps up to 2 hidden layers: 97.01 %, with 1 96.01 % (gain 1.00 points ± 0.00, the 95%"
    )
    assert text.endswith("More layers help no more: 96.51 % with 3 and 96.41 % with 4.")
    assert job.headline(found, ARGS) == "Depth helps up to 2 hidden layers"
    better = results({1: 96.0, 2: 97.0, 3: 97.5, 4: 96.4})
    assert job.headline(better, ARGS) == "Depth helps up to 3 hidden layers"
    better["training", 3]["accuracies"][-1] -= [0.004, 0.006, 0.003, 0.0066]  # 3 is as good as 2 to the seeds' spread
    assert better["training", 3]["accuracies"][-1].mean() > better["training", 2]["accuracies"][-1].mean()
    assert job.headline(better, ARGS) == "Depth helps up to 2 hidden layers"


def test_depth_does_not_help_or_the_seeds_cannot_tell(job):
    worse = results({1: 97.0, 2: 96.0})
    assert job.conclusion(worse, ARGS) == ["Depth does not help: 97.01 % with 1 hidden layer, 96.01 % with 2."]
    unsure = results({1: 96.0, 2: 96.1})
    unsure["training", 2]["accuracies"][-1] += [0.01, -0.01, 0.02, -0.02]
    assert job.headline(unsure, ARGS) == "No gain by depth is certain"
    assert "0.10 points ± " in job.conclusion(unsure, ARGS)[0]
    alone = results({1: 96.0, 2: 97.0}, spread=[0.0])
    assert job.conclusion(alone, ARGS) == ["No gain by depth is certain: 96.00 % with 1 and 97.00 % with 2, at most "
                                           "1.00 points more."]  # fmt: skip


def test_sixteen_seeds_are_tested_as_pairs(job):
    """The sentences have p-values, corrected for three pairs of depths; four seeds can show nothing."""
    found = results({1: 96.0, 3: 96.6, 4: 96.6}, spread=np.random.default_rng(0).normal(0, 0.1, 16).round(2))
    found["training", 4]["accuracies"][-1] += np.tile([-2e-4, 2e-4], 8)
    first, *_, last = job.conclusion(found, ARGS)
    assert first.startswith("Depth helps up to 3 hidden layers: ")
    assert last == (
        "By a paired test over 16 seeds, p corrected for 3 pairs of depths: +0.60 points from 1 to 3 (p = "
        f"{3 * 2 / 2**16:.2g}) and 0.00 points from 3 to 4 (p = 1)."
    )
    two = results({1: 96.0, 3: 96.6}, spread=np.random.default_rng(0).normal(0, 0.1, 16).round(2))
    assert job.conclusion(two, ARGS)[-1].startswith("By a paired test over 16 seeds: +0.60 points from 1 to 3 (p = ")
    assert "paired" not in " ".join(job.conclusion(results({1: 96.0, 2: 97.0}), ARGS))
    chapter = {"epochs": 30, "activation": "Sigmoid", "init": None, "hidden": 30, "data": None, "lr": 0.1, "batch": 10}
    for change, said in ((0, "is not shown to be significant."), (-0.002, "is significant.")):
        for depth in (1, 3, 4):
            last = found["training", depth]["accuracies"][-1] + change * (depth == 4)
            found["training", depth]["accuracies"] = np.tile(last, (30, 1))
        text = job.conclusion(found, SimpleNamespace(depths=[], **chapter))[-1]
        assert text.startswith('The step from 3 to 4, in the book "probably not a statistically significant drop", is')
        assert text.endswith(said)


def test_where_nothing_is_learned_the_instruments_give_the_cause(job):
    deep = verdict(depth=8)
    assert (deep.state, deep.cause) == ("vanishing", "activation")
    found = results({1: 96.0, 2: 97.0, 8: 10.2}, starts={8: deep}, ends={8: deep})
    text = " ".join(job.conclusion(found, ARGS))
    lost = -deep.total
    assert "With 8 hidden layers nothing is learned: the accuracy of 10.21 % is chance (naming always the most " in text
    assert (
        f"because the gradient vanishes on its way to the input: at the start it shrinks by {lost:.1f} decades" in text
    )
    assert "(by the slopes of Sigmoid), after 2 epochs it shrinks" in text
    assert "With 2 hidden layers, which learn, at the start it keeps its size to a decade" in text
    assert job.headline(found, ARGS) == "Depth helps up to 2 hidden layers; with 8 hidden layers nothing is learned"
    also = results({1: 96.0, 7: 10.3, 8: 10.2}, starts={7: deep, 8: deep})
    assert "From 7 hidden layers on nothing is learned" in " ".join(job.conclusion(also, ARGS))


def test_another_cause_gives_another_sentence(job):
    healthy = results({1: 10.0, 2: 9.9})
    text = " ".join(job.conclusion(healthy, ARGS))
    assert text.startswith("From 1 hidden layer on nothing is learned")
    assert "The gradient is not the cause" in text
    assert "because" not in text
    nan = verdict(broken=np.nan)
    text = " ".join(job.conclusion(results({1: 96.0, 2: 9.9}, ends={2: nan}), ARGS))
    assert "because the gradient is no finite number any more" in text
    dead = verdict(tg.nn.ReLU, 2, -9.0)
    text = " ".join(job.conclusion(results({1: 96.0, 2: 9.9}, ends={2: dead}), ARGS))
    assert "because the gradient arrives nowhere" in text


def test_some_seeds_learn_and_trainings_that_did_not_end_are_left_out(job):
    found = results({1: 96.0, 2: 97.0, 3: 50.0}, starts={3: verdict(depth=8)})
    found["training", 3]["accuracies"][-1] = [0.9, 0.1, 0.104, 0.9]
    assert "With 3 hidden layers 2 of 4 seeds learn." in job.conclusion(found, ARGS)
    found["training", 3]["accuracies"] = found["training", 3]["accuracies"][:1]
    assert [*job.final(found, ARGS)] == [1, 2]
    assert job.conclusion({}, ARGS) == ["No training came to its end: there is nothing to conclude about depth."]
    assert job.headline({}, ARGS) == ""


def test_depths_that_are_not_finished_are_named(job):
    args = SimpleNamespace(**vars(ARGS) | {"depths": [1, 2, 3]})
    found = results({2: 97.0, 3: 96.0})
    first, second = job.conclusion(found, args)
    assert first == "Training with 1 hidden layer is not finished, and the conclusion is without it."
    assert second.startswith("Depth does not help: 97.01 % with 2 hidden layers")
    assert job.headline(found, args) == "Depth does not help\n(not finished: 1 hidden layer)"
    found["training", 3]["accuracies"] = found["training", 3]["accuracies"][:1]
    assert "Training with 1 and 3 hidden layers is not finished" in job.conclusion(found, args)[0]
    assert job.headline(results({1: 96.0, 2: 97.0, 3: 96.5}), args) == "Depth helps up to 2 hidden layers"


def test_the_interval_of_a_mean(job):
    """Quantiles of Student's distribution, from its tables; 95 of 100 intervals hold the mean of a normal."""
    assert [job.student(n) for n in (2, 3, 4, 31)] == pytest.approx([12.706, 4.303, 3.182, 2.042], abs=2e-3)
    samples = np.random.default_rng(0).normal(size=(2000, 4))
    inside = np.mean([abs(sample.mean()) < job.half_width(sample) for sample in samples])
    assert inside == pytest.approx(0.95, abs=0.015)
    assert np.isnan(job.half_width([1.0]))
