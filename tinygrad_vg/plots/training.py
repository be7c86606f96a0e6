"""Pictures of a whole training: the gradient of each layer over time, as lines and as a heat map."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_vg.instruments.history import History
from tinygrad_vg.notation import BROKEN, Floats, quantiles
from tinygrad_vg.plots.axes import DECADES, layer_ticks, legend_below, mark_edge, new_axes, norms_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_POINTS, _COLUMNS = 60, 200  # the largest numbers of points of a line and of columns of a heat map
_NAMED = 12  # the largest number of lines that a legend names


def learning_speed(history: History, ax: "Axes | None" = None, steps_per_epoch: int = 1) -> "Axes":
    """Draw log10‖∂C/∂b‖ of each layer over time, with one line for each layer.

    A history of more than 60 rows is drawn with 60 points, each the mean over neighbouring rows, because single
    mini-batches are noisy. Members are averaged too; a mean of decades is a geometric mean of norms. Gradients that are
    exactly 0, NaN or infinite are left out of the means, and their times are marked on the lower edge.

    Args:
        history: the history of a network or an ensemble.
        ax: Matplotlib axes to draw on; new ones by default.
        steps_per_epoch: the number of backwards in an epoch. With 1, as in full-batch descent, time is in steps.

    Returns:
        The axes. With more than 12 layers a colour bar replaces the legend.

    Raises:
        ValueError: if the history is empty, or `steps_per_epoch` less than 1.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> history = History(np.arange(3), (1, 2), ("0", "2"), np.array([[-1.7, -1.0], [-1.6, -0.9], [-1.6, -0.8]]))
    >>> [line.get_label() for line in learning_speed(history, Figure().subplots()).lines]
    ['layer 2', 'layer 1']
    """
    norms = norms_of(history)
    groups, steps = _groups(len(norms), _POINTS), _epochs(history, steps_per_epoch)
    times = np.array([steps[group].mean() for group in groups])
    means = np.array([_finite_mean(norms[group]) for group in groups])
    ax = new_axes() if ax is None else ax

    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(history.layers)))
    few = len(history.layers) <= _NAMED
    marker = "o" if len(times) == 1 else None  # one point makes no line
    for i, layer in reversed([*enumerate(history.layers)]):  # the last layer first: at the top of the legend
        ax.plot(times, means[:, i], marker=marker, color=shades[i], label=f"layer {layer}" if few else None)
    mark_edge(ax, times, [norms[group] for group in groups])
    _name_time(ax, steps_per_epoch)
    ax.set_ylabel(DECADES)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.grid(alpha=0.3)
    if few:
        ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)  # beside the lines
    else:
        _layer_bar(ax, history.layers, shades)
        legend_below(ax)
    return ax


def heat_map(history: History, ax: "Axes | None" = None, steps_per_epoch: int = 1) -> "Axes":
    """Draw log10‖∂C/∂b‖ as a heat map, with time to the right and layers upwards.

    A cell is the median over the members; for a history of more than 200 rows it is also the median over neighbouring
    rows. NaN is left out of the median. A cell with only NaN, or with an infinite median, is magenta; a cell whose
    median gradient is exactly 0 is white. The title has the time of the first NaN or inf in any member.

    Args:
        history: the history of a network or an ensemble.
        ax: Matplotlib axes to draw on; new ones by default.
        steps_per_epoch: the number of backwards in an epoch. With 1, as in full-batch descent, time is in steps.

    Returns:
        The axes. The colour bar beside them is in decades.

    Raises:
        ValueError: if the history is empty, or `steps_per_epoch` less than 1.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> history = History(np.arange(3), (1, 2), ("0", "2"), np.array([[-1.7, -1.0], [-1.6, -0.9], [np.nan, np.inf]]))
    >>> heat_map(history, Figure().subplots()).get_title()
    'the first NaN or inf at step 2'
    """
    norms = norms_of(history)
    groups, steps = _groups(len(norms), _COLUMNS), _epochs(history, steps_per_epoch)
    cells = np.array([quantiles(np.moveaxis(norms[group], 1, 0).reshape(norms.shape[1], -1), 0.5) for group in groups])
    shown = cells[np.isfinite(cells)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ax = new_axes() if ax is None else ax

    import matplotlib
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    colors = matplotlib.colormaps["cividis"].with_extremes(bad=BROKEN)
    grid = _edges(steps, groups), np.arange(len(history.layers) + 1) - 0.5
    mesh = ax.pcolormesh(*grid, np.ma.masked_invalid(cells.T), cmap=colors, vmin=low, vmax=high, rasterized=True)
    zero = np.isneginf(cells.T)
    if zero.any():
        ax.pcolormesh(*grid, np.ma.masked_where(~zero, zero), cmap=ListedColormap(["white"]), rasterized=True)
    if len(shown):
        ax.figure.colorbar(mesh, ax=ax, label=DECADES)
    _number_layers(ax.yaxis, history.layers)
    _name_time(ax, steps_per_epoch)
    ax.set_ylabel("layer (1 = input side)")
    nonfinite = np.isnan(norms) | np.isposinf(norms)
    if nonfinite.any():
        first = steps[np.argmax(nonfinite.any(axis=(1, 2)))]
        ax.set_title(f"the first NaN or inf at {_unit(steps_per_epoch)} {first:.4g}")
    states = {("exactly 0", "white"): zero.any(), ("NaN or inf", BROKEN): not np.isfinite(cells.T[~zero]).all()}
    patches = [Patch(facecolor=color, edgecolor="black", lw=0.8, label=label)
               for (label, color), present in states.items() if present]  # fmt: skip
    legend_below(ax, handles=patches)
    return ax


def _epochs(history: History, steps_per_epoch: int) -> Floats:
    """The time of each row, in steps or epochs."""
    if not steps_per_epoch >= 1:
        raise ValueError(f"steps_per_epoch counts backwards, 1 or more, not {steps_per_epoch!r}")
    times: Floats = np.asarray(history.steps) / steps_per_epoch
    return times


def _name_time(ax: "Axes", steps_per_epoch: int) -> None:
    ax.set_xlabel(_unit(steps_per_epoch))
    ax.xaxis.get_major_locator().set_params(integer=steps_per_epoch == 1, min_n_ticks=1)  # type: ignore[call-arg]


def _unit(steps_per_epoch: int) -> str:
    return "step" if steps_per_epoch == 1 else "epoch"


def _groups(steps: int, most: int) -> list[NDArray[np.intp]]:
    """The positions of neighbouring rows that are drawn as one."""
    return np.array_split(np.arange(steps), min(most, steps))


def _edges(times: Floats, groups: list[NDArray[np.intp]]) -> Floats:
    """The times at which neighbouring groups meet, with the two ends of the axis."""
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.5
    inner = [(times[group[0] - 1] + times[group[0]]) / 2 for group in groups[1:]]
    return np.array([times[0] - half, *inner, times[-1] + half])


def _finite_mean(norms: Floats) -> Floats:
    """The mean of the finite numbers of each layer, (rows, L, R) → (L,); NaN where there are none."""
    sound = np.isfinite(norms)
    sums, counts = np.where(sound, norms, 0.0).sum(axis=(0, 2)), sound.sum(axis=(0, 2))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _layer_bar(ax: "Axes", layers: Sequence[int], shades: Any) -> None:
    """Draw a colour bar that gives the layer of each line's colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colors = ScalarMappable(Normalize(-0.5, len(layers) - 0.5), ListedColormap(shades))
    _number_layers(ax.figure.colorbar(colors, ax=ax, label="layer (1 = input side)").ax.yaxis, layers)


def _number_layers(axis: "Axis", layers: Sequence[int]) -> None:
    """Label an axis with layer numbers, at the layers' positions from 0."""
    numbers = layer_ticks(layers)
    axis.set_ticks([layers.index(layer) for layer in numbers], [str(layer) for layer in numbers])
