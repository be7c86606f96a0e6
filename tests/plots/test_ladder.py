"""The ladder: what is drawn is the data."""

import numpy as np
import pytest

from tests.plots.samples import history, legend_texts, line, theory, with_norms
from tinygrad_vg import nn, plots
from tinygrad_vg.instruments import GradientRecorder, Ledger
from tinygrad_vg.instruments.history import History

pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure


def test_ladder_draws_median_and_band(ax):
    whole = history(12, 3)
    plots.ladder(whole, ax, "label", "tab:green")
    low, median, high = np.quantile(np.moveaxis(whole.log10_norm, 1, 0).reshape(12, -1), [0.05, 0.5, 0.95], axis=1)
    drawn = line(ax, "label")
    assert drawn.get_xdata().tolist() == list(whole.layers)
    assert np.allclose(drawn.get_ydata(), median, rtol=1e-14)
    assert drawn.get_color() == "tab:green"
    band = ax.collections[0].get_paths()[0].vertices
    for layer, bottom, top in zip(whole.layers, low, high, strict=True):
        assert np.allclose([band[band[:, 0] == layer, 1].min(), band[band[:, 0] == layer, 1].max()], [bottom, top])
    slope = (median[0] - median[-1]) / 11
    assert slope < 0
    assert ax.get_title() == f"label: −{-slope:.2f} decades per layer, towards the input"
    assert ax.get_legend().get_title().get_text() == "median and 5-95 % of 3 steps × 50 members"


def test_the_slope_of_an_exploding_and_of_a_flat_net(ax):
    norms = np.array([[2.0, 1.5, 1.0]])
    exploding = History(np.arange(1), (1, 2, 3), ("a", "b", "c"), norms)
    assert plots.ladder(exploding, ax).get_title() == "+0.50 decades per layer, towards the input"
    assert ax.get_legend() is None  # one line of one network, with no name
    flat = with_norms(exploding, np.array([[1.0, 1.0, 1.001]]))
    assert plots.ladder(flat, Figure().subplots()).get_title() == "0.00 decades per layer, towards the input"


def test_the_title_is_about_all_ladders(ax):
    """A ladder of one layer has no slope, and a line that somebody else has drawn is no ladder."""
    ax.plot([1, 3], [5, -5], "o-")
    for slope in (0.7, 0.4, 0.55):
        assert plots.ladder(history(4, slope=slope), ax, f"{slope}") is ax
    plots.ladder(history(1), ax, "one layer")
    medians = np.array([line(ax, f"{slope}").get_ydata() for slope in (0.7, 0.4, 0.55)])
    slopes = (medians[:, 0] - medians[:, -1]) / 3
    low, high = (f"−{-slope:.2f}" for slope in (slopes.min(), slopes.max()))
    assert ax.get_title() == f"{low} to {high} decades per layer, towards the input"
    same = Figure().subplots()
    for name in ("a", "b"):
        plots.ladder(history(4), same, name)
    assert same.get_title() == f"{low} decades per layer, towards the input"


def test_the_theory_is_the_last_name_of_the_legend(ax):
    for depth in (3, 4):
        plots.ladder(history(depth), ax, f"{depth} hidden", theory=theory(depth))
    assert legend_texts(ax) == ["3 hidden", "4 hidden", "theory, 90 % band dotted"]
    alone = plots.ladder(history(1), Figure().subplots(), "1 hidden", theory=theory(1))
    assert legend_texts(alone) == ["1 hidden"]  # a line of one point is not seen


def test_layers_left_out_count_in_the_slope(ax):
    some = history(9, members=1).select(1, 5, 9)
    slope = (some.log10_norm[0, 0] - some.log10_norm[0, -1]).item() / 8
    assert plots.ladder(some, ax).get_title().startswith(f"−{-slope:.2f} ")


def test_theory_is_anchored_at_the_highest_layer_shown(ax):
    whole, prediction = history(6), theory(6)
    plots.ladder(whole[:, 1:5], ax, theory=prediction)
    shown = prediction[1:5]
    median = line(ax, "measured").get_ydata()
    dashed = line(ax, "theory, 90 % band dotted")
    assert dashed.get_linestyle() == "--"
    assert [*dashed.get_xdata()] == [2, 3, 4, 5]
    assert np.array_equal(dashed.get_ydata(), shown.log10_norm + median[-1])
    dotted = [line.get_ydata() for line in ax.lines if line.get_linestyle() == ":"]
    assert np.array_equal(dotted, np.array(shown.band(0.9)) + median[-1])


def test_theory_below_a_layer_that_is_lost(ax):
    whole = history(4)
    norms = whole.log10_norm.copy()
    norms[:, 3] = np.nan
    plots.ladder(with_norms(whole, norms), ax, theory=theory(4))
    assert [*line(ax, "theory, 90 % band dotted").get_xdata()] == [1, 2, 3]
    assert line(ax, "theory, 90 % band dotted").get_ydata()[-1] == np.median(norms[0, 2])


def test_a_theory_that_lacks_layers_is_refused(ax):
    with pytest.raises(ValueError, match="the theory is of layers 1 to 3, the history of 1 to 4: slice both alike"):
        plots.ladder(history(4), ax, theory=theory(3)[:-1])
    assert not ax.has_data()


@pytest.mark.parametrize(
    ("lowest", "floors"),
    [(-3, []), (-10, ["float16"]), (-60, ["float16", "float32"]), (-690, ["float16", "float32", "float64"])],
)
def test_floors_are_drawn_once_and_only_in_range(lowest, floors, ax):
    norms = np.array([[lowest, -1.0]])
    for _ in range(2):
        plots.ladder(History(np.arange(1), (1, 2), ("a", "b"), norms), ax)
    assert [text.get_text() for text in ax.texts] == [f"{kind} min normal" for kind in floors]
    levels = [text.xy[1] for text in ax.texts]
    assert np.allclose(levels, [np.log10(float(np.finfo(kind).tiny)) for kind in floors])


def test_a_gridline_for_each_decade_and_numbers_for_few(ax):
    plots.ladder(history(50), ax)
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    assert {*range(int(np.ceil(low)), int(high) + 1)} <= {*ax.yaxis.get_minorticklocs(), *ax.yaxis.get_majorticklocs()}
    assert sum(low <= tick <= high for tick in ax.yaxis.get_majorticklocs()) <= 10
    assert ax.get_xticks().tolist() == [1, *range(5, 51, 5)]


def test_a_flat_ladder_spans_a_whole_decade(ax):
    plots.ladder(history(12, slope=0.0), ax)
    low, high = ax.get_ylim()
    assert high - low > 1
    assert sum(low <= tick <= high for tick in ax.yaxis.get_majorticklocs()) >= 2


def test_what_is_lost_is_marked_and_left_out(ax):
    whole = history(3)
    norms = whole.log10_norm.copy()
    norms[0, 0, 0], norms[0, 1, :2], norms[0, 2] = -np.inf, np.nan, np.inf
    plots.ladder(with_norms(whole, norms), ax)
    assert line(ax, "exactly 0 for some").get_xdata().tolist() == [1]
    marks = line(ax, "NaN or inf for some")
    assert marks.get_xdata().tolist() == [2, 3]
    assert to_rgba(marks.get_color()) == to_rgba("magenta")
    median = line(ax, "measured").get_ydata()
    assert median[1] == pytest.approx(np.median(norms[0, 1, 2:]))
    assert np.isnan(median[2])


@pytest.mark.parametrize(("net", "x", "drawn"), [
    (nn.mlp([3, 4, 4, 1], rng=0), (5, 3), "δ"),
    (nn.RNN(2, 3, rng=0), (6, 5, 2), "∂C/∂h"),
], ids=["layers", "time steps"])  # fmt: skip
def test_the_axis_names_what_a_ledger_measures(ax, net, x, drawn):
    with Ledger(net, every=1) as ledger, GradientRecorder(net) as recorder:
        y = net(np.ones(x))
        np.sum(y[0] if isinstance(y, tuple) else y).backward()
    assert plots.ladder(ledger.history, ax).get_ylabel() == f"log$_{{10}}$‖{drawn}‖ (decades)"
    (measured,) = ledger.history.log10_norm
    assert np.array_equal(line(ax, "measured").get_ydata(), measured)
    assert plots.ladder(recorder.history, Figure().subplots()).get_ylabel() == "log$_{10}$‖∂C/∂b‖ (decades)"
