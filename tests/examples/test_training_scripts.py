"""The scripts that train: small runs of their functions; `-m long` runs the scripts themselves with --quick."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.long  # seconds for each script

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["initial_gradients", "learning_speed", "regularization", "time_to_wake", "significance", "frozen_layers",
         "minibatches", "exploding_training"]  # fmt: skip


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_book_s_speeds_at_the_start_are_typical(script, depth):
    decades, author = script("initial_gradients").norms(depth, 20), script("chapter").author(depth)[0]
    assert (np.abs(author - decades.mean(axis=1)) < 2 * decades.std(axis=1)).all()
    assert (np.diff(decades, axis=0) > 0).all()  # every layer faster than the one before it, in every network


def test_wilson(script):
    wilson = script("chapter").wilson
    assert wilson(1000, 1000) == pytest.approx((0.99617, 1.0), abs=1e-5)
    assert wilson(13, 40) == pytest.approx((0.2008, 0.4798), abs=1e-3)


def test_the_author_s_curves_are_the_book_s(script):
    author = script("chapter").author
    assert 10 ** author(2)[0] == pytest.approx([0.07, 0.31], abs=0.005)
    assert 10 ** author(3)[0] == pytest.approx([0.012, 0.060, 0.283], abs=0.0005)
    assert 10 ** author(4)[0] == pytest.approx([0.003, 0.017, 0.070, 0.285], abs=0.0005)
    assert [author(depth).shape for depth in (2, 3, 4)] == [(500, 2), (500, 3), (500, 4)]


def test_learning_speed(script):
    """In 30 epochs both layers slow down by more than a decade, as the author's do."""
    example, author = script("learning_speed"), script("chapter").author(2)
    decades = example.speeds((2, range(3)), 30)
    assert (decades[0] - decades[-1] > 1).mean() > 0.9
    assert (author[0] - author[29] > 1).all()
    assert np.abs(decades.mean(axis=2) - author[:30]).max() < 0.5
    between = np.stack([author[:30] - 0.1, author[:30] + 0.1], axis=2)
    assert np.array_equal(example.within(between, author), [1, 1])
    assert np.array_equal(example.within(between + 0.2, author), [0, 0])
    assert example.always_slower(decades) <= 3


def test_regularization(script):
    """At the start last : first is the same for every λ; after 40 epochs it is the larger, the larger λ is."""
    example = script("regularization")
    results = [example.gaps((decay, range(1)), epochs=40) for decay in example.DECAYS]
    starts, ends = [of_mean[0] for of_mean, _, _ in results], [of_mean[-1].mean() for of_mean, _, _ in results]
    assert np.array_equal(starts[0], starts[1])
    assert np.array_equal(starts[0], starts[2])
    assert ends == sorted(ends)
    assert 1.5 < starts[0].mean() < 2.7


def test_the_epoch_of_waking(script):
    example = script("time_to_wake")
    gaps = np.full((100, 3), 1.0)
    gaps[50:, 0] = gaps[70:90, 1] = 0.3  # 10^0.3 is just below 2
    found = example.first_below(gaps, 50)
    assert found[:2] == pytest.approx([0.5, 0.7])
    assert np.isnan(found[2])
    decades = script("initial_gradients").norms(3, 2)
    look = example.look_of(script("chapter").ensemble(3, range(2)))
    assert look() == pytest.approx(decades[-1] - decades[0], abs=1e-4)


def test_the_exact_test_agrees_with_scipy(script):
    stats = pytest.importorskip("scipy.stats")
    p_value, rng = script("significance").p_value, np.random.default_rng(0)
    assert p_value([1.0, 2.0, 3.0, 0.5]) == 2 / 16
    for shift in (0.0, 0.5, 1.0):
        d = rng.normal(shift, size=7)
        exact = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert p_value(d) == pytest.approx(exact.pvalue)


def test_minibatches(script):
    """A mini-batch of all images is a full batch, and averages of 50 equal gradients are what they are averages of."""
    example = script("minibatches")
    values = example.gradients((1000, range(2)), steps=5)
    decades = script("chapter").descent(2, range(2), 5)[0]
    for layer, of_layer in enumerate(values):
        assert np.log10(np.linalg.norm(of_layer, axis=-1)) == pytest.approx(decades[:, layer], abs=1e-4)
    same = np.tile(values[0][:1], (100, 1, 1))
    mean, of_mean, spread = example.speeds(same)
    assert mean == pytest.approx(of_mean)
    assert spread == pytest.approx(0, abs=1e-6)


def test_exploding_training(script):
    example = script("exploding_training")
    slopes = {}
    for kind in example.KINDS:
        decades, _, _ = example.training(kind, steps=2, seeds=2)
        slopes[kind] = decades[0, 0] - decades[0, -1]
    vanishing, balanced, exploding = slopes.values()
    assert vanishing < -4
    assert abs(balanced) < 0.5
    assert exploding > 1.5


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_the_script_with_quick(name, tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), "--quick", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, timeout=300)
    assert result.returncode == 0, result.stderr.decode()
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.long
def test_the_author_s_curve_is_within_the_band_of_40_seeds(script):
    example, author = script("learning_speed"), script("chapter").author(2)
    assert (example.within(example.speeds((2, range(40)), 100), author) >= example.BAR).all()


@pytest.mark.long
def test_a_network_needs_its_first_layer(script):
    """The chapter: with a random first layer, training the others cannot suffice."""
    training = script("frozen_layers").training
    everything, frozen = training("all layers learn", 2, 2), training("layer 1 frozen", 2, 2)
    assert everything[-1].min() > 92
    assert frozen[-1].max() < 75
