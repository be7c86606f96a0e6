"""Every picture: words are where they can be read, and nothing else is touched."""

import re
import sys
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.plots.samples import broken, history, ledger, legend_texts, theory, vectors, with_norms
from tinygrad_vg import plots
from tinygrad_vg.instruments import GradientRecorder, Ledger

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib.text import Text  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402

DEPTHS = (4, 12, 50)


def several_ladders(layers, ax):
    for depth in range(max(1, layers - 5), layers + 1):
        plots.ladder(history(depth), ax, f"{depth} hidden", theory=theory(depth))
    return ax


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


class Other:
    """A thing that is drawn by none."""


WRONG = {
    "ladder": "write recorder.history or write ledger.history",
    "learning_speed": "write recorder.history",
    "heat_map": "write recorder.history",
    "over_time": "write ledger.history of a Ledger",
}


@pytest.mark.parametrize("picture", WRONG)
def test_what_it_does_not_draw_is_refused_with_what_to_write(picture, ax):
    """A ledger has norms too, of other axes: its picture would be wrong."""
    for given in (ledger(4), GradientRecorder(tg.nn.mlp([3, 4, 2], rng=0)), Other()):
        words = rf"plots.{picture} draws a .*, not a {type(given).__name__}: {WRONG[picture]}"
        with pytest.raises(TypeError, match=words):
            getattr(plots, picture)(given, ax=ax)
    assert not ax.has_data()


def test_a_history_of_the_other_kind_is_refused_with_what_draws_it(ax):
    net = tg.nn.mlp([3, 4, 4, 2], rng=0)
    with GradientRecorder(net) as recorder, Ledger(net, every=1) as of_ledger:
        np.sum(net(np.ones((5, 3)))).backward()
    for draw in (plots.learning_speed, plots.heat_map):
        with pytest.raises(TypeError, match=r"not a LedgerHistory: what draws it is plots.ladder and over_time"):
            draw(of_ledger.history, ax)
    with pytest.raises(TypeError, match=r"not a History: what draws it is plots.ladder, learning_speed and"):
        plots.over_time(recorder.history, ax=ax)
    with pytest.raises(TypeError, match=r"not a History: give it a Ledger: a recorder knows no causes"):
        plots.blame(recorder.history, ax)
    with pytest.raises(TypeError, match=r"not a LedgerHistory: give it history.rows\(\)"):
        plots.blame(of_ledger.history, ax)
    assert not ax.has_data()


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="pictures need Matplotlib") as raised:
        plots.ladder(history(4))
    extra = re.search(r"\[(\w+)\]", str(raised.value)).group(1)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(need.startswith("matplotlib") for need in project["optional-dependencies"][extra])
