"""Pictures of a ledger's history: what is drawn is the history, and it can be read."""

import functools

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.plots.samples import line
from tests.plots.test_every_picture import assert_legible
from tinygrad_vg import plots

pytest.importorskip("matplotlib")

STEPS = ("total", "weights", "activation")
LAYERS = ("log10_norm", "stable_rank", "dead_fraction", "saturated_fraction")


@functools.cache
def history(layers=4, steps=40, members=2, **options):
    net = tg.nn.stack([tg.nn.mlp([*[6] * layers, 3], tg.nn.ReLU, rng=seed) for seed in range(members)])
    sgd, rng = tg.optim.SGD(net.parameters(), lr=0.01), np.random.default_rng(0)
    with tg.instruments.Ledger(net, every=2, **({"neurons": True, "spectra": True} | options)) as ledger:
        for _ in range(2 * steps):
            sgd.zero_grad()
            np.sum(np.square(net(rng.normal(size=(8, 6))) - 1.0)).backward()
            sgd.step()
    return ledger.history


def mean(array):
    sound = np.isfinite(array)
    return np.where(sound, array, 0.0).sum(axis=-1) / sound.sum(axis=-1)


@pytest.mark.parametrize("quantity", [*STEPS, *LAYERS, "alignment"])
def test_a_line_is_the_mean_over_the_members(quantity, ax):
    whole = history()
    assert plots.over_time(whole, quantity, ax, steps_per_epoch=10) is ax
    fraction = quantity.endswith("fraction")
    values = getattr(whole, quantity)
    if fraction:
        values = values()[29:]
    count = 4 if quantity in ("log10_norm", "stable_rank") else 3  # steps, pairs, and layers with a ReLU
    for i in range(count):
        name = (
            f"{i + 2}→{i + 1}"
            if quantity in STEPS
            else f"layers {i + 1}, {i + 2}"
            if quantity == "alignment"
            else f"layer {i + 1}"
        )
        drawn = line(ax, name)
        assert drawn.get_ydata() == pytest.approx(mean(values[:, i]), nan_ok=True)
        assert drawn.get_xdata() == pytest.approx(whole.steps[-len(values) :] / 10)
    assert len(ax.get_legend().get_texts()) == count + any("0 for some" in x.get_label() for x in ax.lines)
    assert ax.get_xlabel() == "epoch"
    assert ("30 rows" in ax.get_ylabel()) == fraction


@pytest.mark.parametrize("layers", [3, 14, 40])
@pytest.mark.parametrize("quantity", ["total", "stable_rank", "dead_fraction"])
def test_words_are_in_the_figure_and_on_nothing(layers, quantity, ax):
    assert_legible(plots.over_time(history(layers, 3 if layers == 40 else 70), quantity, ax))


def test_what_was_not_recorded_is_refused_by_name(ax):
    bare = history(3, 3, neurons=False, spectra=False)
    for quantity, words in {
        "speed": "there is no 'speed' to draw", "alignment": "spectra=True", "dead_fraction": "neurons=True",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=words):
            plots.over_time(bare, quantity, ax)
    with pytest.raises(ValueError, match="is empty"):
        plots.over_time(bare[:0], ax=ax)
    with pytest.raises(ValueError, match="one step does not tell"):
        plots.over_time(history(3, 1), "dead_fraction", ax)
    with pytest.raises(ValueError, match="steps_per_epoch"):
        plots.over_time(bare, ax=ax, steps_per_epoch=0)
    assert not ax.has_data()


def test_blame_draws_the_rows_of_a_history(ax):
    whole = history(4, 5)
    plots.blame(whole.rows(), ax)
    widths = [bar.get_width() for bar in next(c for c in ax.containers if c.get_label() == "weights")]
    assert widths == pytest.approx([whole.weights[:, i].mean() for i in range(3)])
