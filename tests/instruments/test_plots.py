"""The pictures: what is drawn is the data, words are where they can be read, and nothing else is touched."""

import dataclasses
import re
import sys
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import mean_field, plots
from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger import Ledger

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import to_hex, to_rgba  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402

DEPTHS = (4, 12, 50)


@pytest.fixture
def ax():
    """Axes that pyplot does not know."""
    return FigureCanvasAgg(Figure(figsize=(7, 4.5), layout="constrained")).figure.subplots()


def history(layers, steps=1, members=50, slope=0.7):
    rng = np.random.default_rng(0)
    below = np.arange(layers)[::-1]
    noise = 0.1 * rng.standard_normal((steps, layers, members)).cumsum(axis=0)
    norms = -0.5 - slope * below[:, None] + noise / np.sqrt(steps)
    return History(np.arange(steps) * 5, tuple(range(1, layers + 1)), tuple(map(str, range(layers))), norms)


def with_norms(whole, norms):
    return dataclasses.replace(whole, log10_norm=norms)


def broken(layers, steps=40):
    """Exact zeros at the start, NaN in one member from the middle, everything NaN below the middle at the end."""
    norms = history(layers, steps, 4).log10_norm
    norms[: steps // 4, : layers // 3] = -np.inf
    norms[steps // 2 :, :, 0] = np.nan
    norms[-steps // 4 :, : layers // 2] = np.nan
    return with_norms(history(layers, steps, 4), norms)


def ledger(layers, activation=tg.nn.Sigmoid, members=3, dead=None):
    """Of a real backward. `dead` is a hidden layer whose ReLUs are all off, in the first member."""
    networks = [tg.nn.mlp([*[8] * (layers + 1), 3], activation, rng=seed) for seed in range(members)]
    if dead is not None:
        bias = networks[0][2 * (dead - 1)].bias
        bias.data = bias.data - 100
    net = tg.nn.stack(networks) if members > 1 else networks[0]
    with Ledger(net) as accounts:
        tg.nn.MSELoss("batchmean")(net(np.random.default_rng(9).random((5, 8))), np.zeros((5, 3))).backward()
    return accounts


def vectors(layers, n=30):
    rng = np.random.default_rng(0)
    return [5.0 ** (layer - layers) * rng.standard_normal(n) for layer in range(layers)]


def theory(layers):
    return mean_field(tg.nn.Sigmoid, 1, 1, width=30, depth=layers + 1, input_q=0.1)


def several_ladders(layers, ax):
    for depth in range(max(1, layers - 5), layers + 1):
        plots.ladder(history(depth), ax, f"{depth} hidden", theory=theory(depth))
    return ax


def line(ax, label):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


PICTURES = {
    "ladder": lambda layers, ax: plots.ladder(history(layers), ax, theory=theory(layers)),
    "ladder, flat": lambda layers, ax: plots.ladder(history(layers, slope=0.0), ax),
    "ladder, rising": lambda layers, ax: plots.ladder(history(layers, slope=-9.0), ax),
    "ladders": several_ladders,
    "ladder, broken": lambda layers, ax: plots.ladder(broken(layers), ax),
    "blame": lambda layers, ax: plots.blame(ledger(layers), ax),
    "blame, dead": lambda layers, ax: plots.blame(ledger(layers, tg.nn.ReLU, 1, layers // 2), ax),
    "blame, some dead": lambda layers, ax: plots.blame(ledger(layers, tg.nn.ReLU, 3, layers // 2), ax),
    "learning speed": lambda layers, ax: plots.learning_speed(history(layers, 100, 4), ax, 10),
    "learning speed, broken": lambda layers, ax: plots.learning_speed(broken(layers), ax),
    "heat map": lambda layers, ax: plots.heat_map(history(layers, 40, 4), ax, 10),
    "heat map, broken": lambda layers, ax: plots.heat_map(broken(layers), ax),
    "neuron bars": lambda layers, ax: plots.neuron_bars(vectors(layers), ax),
    "neuron bars, broken": lambda layers, ax: plots.neuron_bars([*vectors(layers - 1), np.full(4, np.nan)], ax),
}


# --- All pictures -----------------------------------------------------------------------------------------


def words(figure):
    """The boxes of all words that are drawn, in pixels, by text."""
    out_of_view = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    out_of_view |= {tick.label1, tick.label2}
    drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in drawn if text not in out_of_view]


def data_points(ax):
    """Pixels on the lines and on the edges of the bands and bars of the axes, close together."""
    paths = [line.get_transform().transform_path(line.get_path()) for line in ax.lines]
    paths += [patch.get_transform().transform_path(patch.get_path()) for patch in ax.patches]
    for collection in ax.collections:
        paths += [collection.get_transform().transform_path(path) for path in collection.get_paths()]
    points = np.concatenate([path.interpolated(20).vertices for path in paths if len(path.vertices)])
    return points[np.isfinite(points).all(axis=1)]


def overlapping(a, b):
    shared = Bbox.intersection(a, b)
    return shared is not None and min(shared.width, shared.height) > 0.5  # pixels


def assert_legible(ax):
    figure = ax.figure
    figure.draw_without_rendering()
    boxes = words(figure)
    assert len(boxes) > 8
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
        assert box.height > 8, text
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not overlapping(a, b), (one, other)
    points = data_points(ax)
    boxes += [("legend", ax.get_legend().get_window_extent())] if ax.get_legend() else []
    for text, box in boxes:
        assert not box.count_contains(points), text


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("picture", PICTURES)
def test_words_are_in_the_figure_and_on_nothing(picture, layers, ax):
    assert_legible(PICTURES[picture](layers, ax))


def test_words_beside_slope_curves(ax):
    for activation in (tg.nn.Sigmoid, tg.nn.Tanh, tg.nn.ReLU, tg.ops.softplus, np.sin):
        assert_legible(plots.slope_curve(activation, ax))


@pytest.mark.parametrize("picture", PICTURES)
def test_axes_out_are_the_axes_in_and_nothing_global_changes(picture, ax):
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    assert PICTURES[picture](4, ax) is ax
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("draw", [plots.ladder, plots.learning_speed, plots.heat_map])
def test_without_axes_there_is_a_new_figure(draw):
    from matplotlib import pyplot

    ax = draw(history(4, 3))
    assert pyplot.get_fignums() == [ax.figure.number]
    pyplot.close(ax.figure)


@pytest.mark.parametrize("draw", [plots.ladder, plots.learning_speed, plots.heat_map])
@pytest.mark.parametrize("cut", [slice(0), (slice(None), slice(0))])
def test_an_empty_history_is_refused(draw, cut, ax):
    with pytest.raises(ValueError, match=r"the history is empty.*shape"):
        draw(history(4, 3)[cut], ax)
    assert not ax.has_data()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -3.0])
@pytest.mark.parametrize("draw", [plots.ladder, plots.learning_speed, plots.heat_map])
@pytest.mark.parametrize(("steps", "members"), [(1, 1), (300, 2)])
def test_histories_of_one_value_draw_without_warnings(value, draw, steps, members, ax):
    whole = history(3, steps, members)
    draw(with_norms(whole, np.full_like(whole.log10_norm, value)), ax)
    ax.figure.draw_without_rendering()
    if value != -3:
        assert any(("exactly 0" if value == -np.inf else "NaN or inf") in text for text in legend_texts(ax))


@pytest.mark.parametrize("draw", [plots.ladder, plots.learning_speed, plots.heat_map])
def test_a_single_network_has_no_axis_of_members(draw, ax):
    whole = history(4, 3, 1)
    draw(with_norms(whole, whole.log10_norm[..., 0]), ax)
    assert ax.has_data()


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="pictures need Matplotlib") as raised:
        plots.ladder(history(4))
    extra = re.search(r"tinygrad_vg\[(\w+)\]", str(raised.value)).group(1)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(need.startswith("matplotlib") for need in project["optional-dependencies"][extra])


# --- Ladder -----------------------------------------------------------------------------------------------


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
    assert plots.ladder(flat, ax).get_title() == "0.00 decades per layer, towards the input"


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


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_quantiles_are_those_of_numpy_and_infinities_have_their_place(share):
    from tinygrad_vg.instruments.plots.axes import quantiles

    values = np.random.default_rng(0).standard_normal((6, 37))
    assert np.allclose(quantiles(values, share), np.quantile(values, share, axis=1), rtol=1e-13)
    values[:, ::5] = np.nan
    assert np.allclose(quantiles(values, share), np.nanquantile(values, share, axis=1), rtol=1e-13)
    values[:3], values[3, 0] = np.array([[np.nan], [np.inf], [-np.inf]]), np.inf
    assert np.array_equal(quantiles(values[:3], share), [np.nan, np.inf, -np.inf], equal_nan=True)
    assert np.isfinite(quantiles(values[3], share))
    assert quantiles(np.array([-np.inf, -np.inf, 1.0, np.inf]), 0.5) in (-np.inf, 1.0)


# --- Blame ------------------------------------------------------------------------------------------------


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
    assert [(text.get_text(), text.xy[1]) for text in ax.texts] == [("dead", 0), ("dead", 1)]
    widths = [bar.get_width() for bar in bars(ax, "activation")]
    assert np.isnan(widths[:2]).all()
    assert np.isfinite(widths[2:]).all()
    assert ax.get_title() == ""  # there is no sum


def test_members_that_live_have_their_bar_beside_the_count_of_the_dead(ax):
    accounts = ledger(4, tg.nn.ReLU, 3, dead=2)
    plots.blame(accounts, ax)
    assert [text.get_text() for text in ax.texts] == ["1 of 3 dead"] * 2
    widths = [bar.get_width() for bar in bars(ax, "weights")]
    assert widths[0] == accounts.rows[0].weights[1:].mean()
    assert widths[3] == accounts.rows[3].weights.mean()


def test_thin_dead_steps_share_a_word(ax):
    plots.blame(ledger(50, tg.nn.ReLU, 1, dead=20), ax)
    assert [text.get_text() for text in ax.texts] == ["layers 1-20:\ndead"]


def test_blame_takes_rows_and_refuses_none(ax):
    rows = ledger(4).rows
    plots.blame(rows[1:3], ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["3→2", "4→3"]
    with pytest.raises(ValueError, match="the ledger has no step"):
        plots.blame([], ax)


# --- Time -------------------------------------------------------------------------------------------------


def test_learning_speed_draws_the_mean_of_decades(ax):
    whole = history(4, 50, 3)
    plots.learning_speed(whole, ax, steps_per_epoch=10)
    for i, layer in enumerate(whole.layers):
        drawn = line(ax, f"layer {layer}")
        assert np.allclose(drawn.get_xdata(), np.arange(50) * 5 / 10)
        assert np.allclose(drawn.get_ydata(), whole.log10_norm[:, i].mean(axis=1))
    assert legend_texts(ax) == ["layer 4", "layer 3", "layer 2", "layer 1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "log$_{10}$‖∂C/∂b‖ (decades)")


def test_a_long_learning_speed_is_drawn_in_60_points(ax):
    whole = history(2, 601, 1)
    plots.learning_speed(whole, ax)
    drawn = line(ax, "layer 1")
    first = slice(0, 11)
    assert len(drawn.get_xdata()) == 60
    assert drawn.get_xdata()[0] == whole.steps[first].mean()
    assert drawn.get_ydata()[0] == pytest.approx(whole.log10_norm[first, 0].mean())
    assert ax.get_xlabel() == "step"


def test_what_no_float_holds_is_drawn_in_decades(ax):
    whole = history(3, 10, 1)
    plots.learning_speed(with_norms(whole, whole.log10_norm - 690), ax)
    assert line(ax, "layer 1").get_ydata().max() < -600


def test_50_lines_have_a_colour_bar_and_12_names(ax):
    plots.learning_speed(history(50, 10, 1), ax)
    assert ax.get_legend() is None
    (bar,) = (other for other in ax.figure.axes if other is not ax)
    assert [label.get_text() for label in bar.get_yticklabels()] == [str(n) for n in (1, *range(5, 51, 5))]
    other = Figure().subplots()
    plots.learning_speed(history(12, 10, 1), other)
    assert len(legend_texts(other)) == 12
    assert len(other.figure.axes) == 1


def test_learning_speed_leaves_out_what_is_lost(ax):
    whole = broken(4)
    plots.learning_speed(whole, ax)
    assert line(ax, "exactly 0 for some").get_xdata().tolist() == whole.steps[:10].tolist()
    assert line(ax, "NaN or inf for some").get_xdata().tolist() == whole.steps[20:].tolist()
    lowest = line(ax, "layer 1").get_ydata()
    assert np.isnan([*lowest[:10], *lowest[30:]]).all()
    assert np.allclose(lowest[20:30], whole.log10_norm[20:30, 0, 1:].mean(axis=1))


def test_heat_map_draws_the_median(ax):
    whole = history(12, 40, 5)
    plots.heat_map(whole, ax, steps_per_epoch=10)
    (mesh,) = ax.collections
    assert np.allclose(mesh.get_array(), np.median(whole.log10_norm, axis=2).T)
    assert mesh.get_cmap().name == "cividis"
    edges = mesh.get_coordinates()
    assert np.allclose(edges[0, :, 0], (np.arange(41) - 0.5) * 5 / 10)
    assert np.allclose(edges[:, 0, 1], np.arange(13) - 0.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == [str(layer) for layer in whole.layers]
    (bar,) = (other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == "log$_{10}$‖∂C/∂b‖ (decades)"
    assert (mesh.norm.vmin, mesh.norm.vmax) == (mesh.get_array().min(), mesh.get_array().max())
    assert (ax.get_title(), ax.get_legend()) == ("", None)


def test_a_long_heat_map_is_drawn_in_200_columns(ax):
    whole = history(2, 1000, 1)
    plots.heat_map(whole, ax)
    array = ax.collections[0].get_array()
    assert array.shape == (2, 200)
    assert array[1, 3] == pytest.approx(np.median(whole.log10_norm[15:20, 1]))


def test_heat_map_says_what_is_lost(ax):
    whole = broken(4)
    plots.heat_map(whole, ax)
    mesh, zeros = ax.collections
    lost = np.zeros((4, 40), bool)
    lost[:2, 30:] = True
    dead = np.zeros((4, 40), bool)
    dead[0, :10] = True
    assert np.array_equal(mesh.get_array().mask, lost | dead)
    assert np.array_equal(~zeros.get_array().mask, dead)  # drawn over it
    assert to_hex(mesh.get_cmap().get_bad()) == to_hex("magenta")
    assert to_hex(zeros.get_cmap()(0.5)) == to_hex("white")
    assert legend_texts(ax) == ["exactly 0", "NaN or inf"]
    assert ax.get_title() == "the first NaN or inf at step 100"  # in one member: no cell is lost yet


@pytest.mark.parametrize("draw", [plots.learning_speed, plots.heat_map])
def test_an_epoch_has_steps(draw, ax):
    with pytest.raises(ValueError, match="steps_per_epoch counts backwards, 1 or more, not 0"):
        draw(history(3, 4), ax, 0)


# --- Neurons ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", DEPTHS)
def test_neuron_bars_are_as_long_as_the_gradients(layers, ax):
    gradients = vectors(layers)
    plots.neuron_bars(gradients, ax)
    (drawn,) = ax.containers
    sizes = np.abs([vector[:6] for vector in gradients])
    heights = np.array([bar.get_height() for bar in drawn]).reshape(layers, 6)
    assert np.allclose(heights / heights.max(), sizes / sizes.max(), rtol=1e-9, atol=1e-12)
    assert np.allclose([bar.get_center()[0] for bar in drawn], np.repeat(np.arange(layers) + 1, 6))
    assert ax.get_title() == f"|∂C/∂b| of the first 6 neurons of each layer; the longest bar is {sizes.max():.3g}"
    assert all(bar.get_linewidth() >= 1 and bar.get_edgecolor()[3] == 1 for bar in drawn)  # the shortest is a line


def test_bars_do_not_leave_their_circles(ax):
    plots.neuron_bars([np.ones(6)] * 12, ax)
    ax.figure.canvas.draw()
    (circles,) = (line for line in ax.lines if len(line.get_xdata()))
    radius = circles.get_markersize() / 2 * ax.figure.dpi / 72
    for bar, center in zip(ax.containers[0], ax.transData.transform(circles.get_xydata()), strict=True):
        corners = bar.get_window_extent().corners()
        assert np.hypot(*(corners - center).T).max() < radius
    assert 2 * radius < ax.get_window_extent().width / 12


def test_neuron_bars_of_other_sizes_and_of_nothing(ax):
    plots.neuron_bars([np.zeros(2), np.array([np.nan, np.inf, 0.0])], ax, top=3)
    assert len(ax.containers[0]) == 3
    crosses = line(ax, "NaN or inf")
    assert crosses.get_xdata().tolist() == [2, 2]
    assert ax.get_title() == "|∂C/∂b| of the neurons; the longest bar is 0"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2", "3"]


@pytest.mark.parametrize(("gradients", "top"), [([], 6), ([np.ones((2, 3))], 6), ([np.ones(3)], 0)])
def test_neuron_bars_refuse(gradients, top, ax):
    with pytest.raises(ValueError, match=r"a vector of ∂C/∂b for each layer|top counts neurons"):
        plots.neuron_bars(gradients, ax, top)


def test_slope_curve_of_the_sigmoid(ax):
    plots.slope_curve(tg.nn.Sigmoid(), ax)
    curve = line(ax, "σ′(z)")
    z, slope = curve.get_xdata(), curve.get_ydata()
    assert np.allclose(slope, 1 / (2 * np.cosh(z / 2)) ** 2)
    assert [text.get_text() for text in ax.texts] == ["largest: 1/4"]
    (peak,) = (line for line in ax.lines if line.get_marker() == "o")
    assert (peak.get_xdata().item(), peak.get_ydata()[0]) == (pytest.approx(0, abs=1e-12), 0.25)


@pytest.mark.parametrize(
    ("activation", "label", "note"),
    [(tg.nn.Tanh, "tanh′(z)", "largest: 1"), (np.sin, "sin′(z)", "largest: 1"),
     (tg.nn.ReLU(), "relu′(z)", "largest: 1"), (lambda z: z * tg.ops.sigmoid(z), "<lambda>′(z)", "largest: 1.1"),
     (np.log, "log′(z)", "largest: 100")],
)  # fmt: skip
def test_slope_curve_of_any_activation(activation, label, note, ax):
    plots.slope_curve(activation, ax)
    assert line(ax, label)
    assert ax.texts[0].get_text() == note


@pytest.mark.parametrize(
    ("activation", "why"),
    [(np.sum, "not elementwise"), (lambda z: 3.0, "not elementwise"), (lambda z: np.log(z - 100), "no finite slope")],
)
def test_slope_curve_refuses(activation, why, ax):
    with pytest.raises(ValueError, match=why):
        plots.slope_curve(activation, ax)
