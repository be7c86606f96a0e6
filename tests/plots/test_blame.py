"""The bars of a ledger."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.plots.samples import ledger, line
from tinygrad_vg import plots

pytest.importorskip("matplotlib")


def bars(ax, label):
    (found,) = [bars for bars in ax.containers if bars.get_label() == label]
    return found


@pytest.mark.parametrize("members", [1, 3])
def test_blame_draws_the_ledger(members, ax):
    accounts = ledger(12, members=members)
    plots.blame(accounts, ax)
    weights = np.array([np.mean(row.weights) for row in accounts])
    activation = np.array([np.mean(row.activation) for row in accounts])
    assert np.array_equal([bar.get_width() for bar in bars(ax, "weights")], weights)
    assert np.allclose([bar.get_width() for bar in bars(ax, "activation")], activation, rtol=1e-12)
    begins = [bar.get_x() for bar in bars(ax, "activation")]
    assert np.array_equal(begins, np.where(weights < 0, weights, 0))  # the activation always takes
    assert (weights > 0).any()
    assert (weights < 0).any()
    assert np.allclose(line(ax, "sum").get_xdata(), [np.mean(row.total) for row in accounts])
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"{row.layer + 1}→{row.layer}" for row in accounts]
    a, w = (f"{x:+z.2f}".replace("-", "−").replace("+0.00", "0.00") for x in (activation.sum(), weights.sum()))
    assert ax.get_title().startswith(f"activations {a}, weights {w}: ")
    assert ("mean of 3 members" in ax.get_xlabel()) == (members == 3)


def test_a_dead_step_is_a_word_and_no_bar(ax):
    plots.blame(ledger(4, tg.nn.ReLU, 1, dead=2), ax)
    assert [(text.get_text(), text.xy[1]) for text in ax.texts] == [("no gradient", 0), ("no gradient", 1)]
    widths = [bar.get_width() for bar in bars(ax, "activation")]
    assert np.isnan(widths[:2]).all()
    assert np.isfinite(widths[2:]).all()
    assert ax.get_title() == ""  # there is no sum


def test_members_that_live_have_their_bar_beside_the_count_of_the_dead(ax):
    accounts = ledger(4, tg.nn.ReLU, 3, dead=2)
    plots.blame(accounts, ax)
    assert [text.get_text() for text in ax.texts] == ["1 of 3 no gradient"] * 2
    widths = [bar.get_width() for bar in bars(ax, "weights")]
    assert widths[0] == accounts.rows[0].weights[1:].mean()
    assert widths[3] == accounts.rows[3].weights.mean()


def test_thin_dead_steps_share_a_word(ax):
    plots.blame(ledger(50, tg.nn.ReLU, 1, dead=20), ax)
    assert [text.get_text() for text in ax.texts] == ["layers 1-20:\nno gradient"]


def test_blame_takes_rows_and_refuses_none(ax):
    rows = ledger(4).rows
    plots.blame(rows[1:3], ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["3→2", "4→3"]
    with pytest.raises(ValueError, match="the ledger has no step"):
        plots.blame([], ax)
