"""Pictures of neurons: bars as long as gradients, and slopes."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.plots.samples import line, vectors
from tinygrad_vg import plots

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("layers", [4, 12, 50])
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
