"""Pictures of a training: what is drawn is the mean or the median of the history."""

import numpy as np
import pytest

from tests.plots.samples import broken, history, legend_texts, line, with_norms
from tinygrad_vg import plots

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex
from matplotlib.figure import Figure


def test_learning_speed_draws_the_mean_of_decades(ax):
    whole = history(4, 50, 3)
    plots.learning_speed(whole, ax, steps_per_epoch=10)
    for i, layer in enumerate(whole.layers):
        drawn = line(ax, f"layer {layer}")
        assert np.allclose(drawn.get_xdata(), np.arange(50) * 5 / 10)
        assert np.allclose(drawn.get_ydata(), whole.log10_norm[:, i].mean(axis=1))
    assert legend_texts(ax) == ["layer 4", "layer 3", "layer 2", "layer 1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "log$_{10}$‖∂C/∂b‖ (decades)")


def test_learning_speed_has_a_band_of_members(ax):
    """Over 60 rows a band is of the members' own means over neighbouring rows; a network alone has none."""
    whole = history(2, 120, 5)
    plots.learning_speed(whole, ax, colors=["red", "blue"])
    assert [line(ax, f"layer {layer}").get_color() for layer in (1, 2)] == ["red", "blue"]
    means = whole.log10_norm.reshape(60, 2, 2, 5).mean(axis=1)
    for i, band in enumerate(ax.collections):
        edges = band.get_paths()[0].vertices
        low, high = np.quantile(means[:, i], [0.05, 0.95], axis=1)
        for time, bottom, top in zip(line(ax, "layer 1").get_xdata(), low, high, strict=True):
            there = edges[np.isclose(edges[:, 0], time), 1]
            assert np.allclose([there.min(), there.max()], [bottom, top])
    assert ax.get_legend().get_title().get_text() == "band: 5-95 %\nof 5 members"
    alone = Figure().subplots()
    plots.learning_speed(history(2, 120, 1), alone)
    assert (len(alone.collections), alone.get_legend().get_title().get_text()) == (0, "")


def test_a_colour_for_each_layer(ax):
    with pytest.raises(ValueError, match="colors has 2 colours for 3 layers: give one for each layer"):
        plots.learning_speed(history(3, 10), ax, colors=["red", "blue"])
    assert not ax.has_data()


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
