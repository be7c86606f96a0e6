"""Pictures of a whole training: the gradient of each layer over time, as lines and as a heat map."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger_history import WINDOW, LedgerHistory
from tinygrad_vg.notation import BROKEN, Floats, quantiles
from tinygrad_vg.plots.axes import DECADES, check_kind, layer_ticks, legend_below, mark_edge, new_axes, norms_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_POINTS, _COLUMNS = 60, 200  # the largest numbers of points of a line and of columns of a heat map
_NAMED = 12  # the largest number of lines that a legend names


def learning_speed(
    history: History, ax: "Axes | None" = None, steps_per_epoch: int = 1, colors: Sequence[Any] | None = None
) -> "Axes":
    """Draw log10‖∂C/∂b‖ of each layer over time, with one line for each layer.

    A history of more than 60 rows is drawn with 60 points, each the mean over neighbouring rows, because single
    mini-batches are noisy. Members are averaged too, and a band goes from 5 to 95 % of them; a mean of decades is
    a geometric mean of norms. The means ignore gradients that are exactly 0, NaN or infinite; marks on the lower edge
    show their times.

    Args:
        history: the history of a network or an ensemble.
        ax: Matplotlib axes to draw on; new ones by default.
        steps_per_epoch: the number of backwards in an epoch. With 1, as in full-batch descent, time is in steps.
        colors: the colour of each layer, so that several pictures can share one legend.

    Returns:
        The axes. With more than 12 layers a colour bar replaces the legend, and there are no bands.

    Raises:
        TypeError: if it is no history of a recorder.
        ValueError: if the history is empty, `steps_per_epoch` is less than 1, or the number of colours is not that of
            layers.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> history = History(np.arange(3), (1, 2), ("0", "2"), np.array([[-1.7, -1.0], [-1.6, -0.9], [-1.6, -0.8]]))
    >>> [line.get_label() for line in learning_speed(history, Figure().subplots()).lines]
    ['layer 2', 'layer 1']
    """
    check_kind("learning_speed", history, History)
    norms = norms_of(history)
    groups, steps = _groups(len(norms), _POINTS), _epochs(history, steps_per_epoch)
    times = np.array([steps[group].mean() for group in groups])
    means = np.array([_finite_mean(norms[group]) for group in groups])
    if colors is not None and len(colors) != len(history.layers):
        raise ValueError(f"colors has {len(colors)} colours for {len(history.layers)} layers: give one for each layer")
    ax = new_axes() if ax is None else ax

    shades = _lines(ax, times, means, [f"layer {layer}" for layer in history.layers], colors)
    banded = norms.shape[2] > 1 and len(shades) <= _NAMED
    if banded:
        of_members = np.array([_finite_mean(norms[group], axis=0) for group in groups])
        for i, shade in enumerate(shades):
            low, high = (quantiles(of_members[:, i], share) for share in (0.05, 0.95))
            ax.fill_between(times, low, high, color=shade, alpha=0.2, lw=0)
    mark_edge(ax, times, [norms[group] for group in groups])
    _name_time(ax, steps_per_epoch)
    ax.set_ylabel(DECADES)
    _name_lines(ax, history.layers, shades, f"band: 5-95 %\nof {norms.shape[2]} members" if banded else None)
    return ax


_STEPS = ("weights", "activation", "total")  # of the gradient
_DECADES = ("log10_norm", *_STEPS)
_FRACTIONS = ("dead_fraction", "saturated_fraction")
_LABELS = {
    "log10_norm": "log$_{10}$‖δ‖ (decades)",
    "weights": "‖δ‖: change by the weights (decades)",
    "activation": "‖δ‖: change by what lies between (decades)",
    "total": "‖δ‖: change in each step (decades)",
    "stable_rank": "stable rank ‖W‖²$_F$ / ‖W‖²$_2$",
    "alignment": "alignment of neighbours' weights, |cos|",
    "dead_fraction": "neurons dead in the last WINDOW rows (fraction)",
    "saturated_fraction": "neurons saturated in the last WINDOW rows (fraction)",
}


def over_time(
    history: LedgerHistory, quantity: str = "total", ax: "Axes | None" = None, steps_per_epoch: int = 1
) -> "Axes":
    """Draw a quantity of a ledger's history over time, with a line for each layer, or each step of the gradient.

    A history of more than 60 rows is drawn with 60 points, each the mean over neighbouring rows. Members are averaged
    too. The means ignore numbers that are not finite; marks on the lower edge show the times at which decades are −∞,
    NaN or ∞.

    Args:
        history: the history of a network or an ensemble.
        quantity: "total", "weights" and "activation" (of a step of the gradient), "log10_norm"; with `spectra=True`
            "stable_rank" and "alignment"; with `neurons=True` "dead_fraction" and "saturated_fraction", of the last 30
            rows, or of all if there are fewer.
        ax: Matplotlib axes to draw on; new ones by default.
        steps_per_epoch: the number of backwards in an epoch. With 1, as in full-batch descent, time is in steps.

    Returns:
        The axes. With more than 12 lines a colour bar replaces the legend.

    Raises:
        TypeError: if it is no history of a ledger.
        ValueError: if there is no such quantity, the history does not have it or is empty, or `steps_per_epoch` is less
            than 1.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> import tinygrad_vg as tg
    >>> net = tg.nn.mlp([3, 4, 4, 1], rng=0)
    >>> with tg.instruments.Ledger(net, every=1) as ledger:
    ...     for _ in range(5):
    ...         np.sum(net(np.ones((5, 3)))).backward()
    >>> [line.get_label() for line in over_time(ledger.history, "weights", Figure().subplots()).lines[:2]]
    ['3→2', '2→1']
    """
    check_kind("over_time", history, LedgerHistory)
    values = _values(history, quantity)
    layers = [i for i in range(values.shape[1]) if quantity in _DECADES or np.isfinite(values[:, i]).any()]
    values, numbers = values[:, layers], [history.layers[i] for i in layers]
    groups, steps = _groups(len(values), _POINTS), _epochs(history, steps_per_epoch)[-len(values) :]
    times = np.array([steps[group].mean() for group in groups])
    names = [_line_name(quantity, layer) for layer in numbers]
    ax = new_axes() if ax is None else ax

    means = np.array([_finite_mean(values[group]) for group in groups])
    shades = _lines(ax, times, means, names)
    if quantity in _STEPS:
        ax.axhline(0, lw=0.8, color="black", zorder=1)  # above this line a step grows the gradient
    if quantity in _DECADES:
        mark_edge(ax, times, [values[group] for group in groups])
    else:
        ax.set_ylim(*((0, 1.05 * np.nanmax(means)) if quantity == "stable_rank" else (-0.03, 1.03)))
    _name_time(ax, steps_per_epoch)
    ax.set_ylabel(_LABELS[quantity].replace("WINDOW", str(_window(history))))
    _name_lines(ax, numbers, shades, "step from\nlayer to layer" if quantity in _STEPS else None)
    return ax


def _values(history: LedgerHistory, quantity: str) -> Floats:
    """A quantity (S, L, R) of a ledger's history, R = 1 for a single network; for fractions the rows that have one."""
    if quantity not in _LABELS:
        raise ValueError(f"there is no {quantity!r} to draw, but {', '.join(_LABELS)}")
    if not len(history.steps):
        raise ValueError("the history is empty: it has no steps")
    if quantity in _FRACTIONS:
        if history.off is None:
            raise ValueError(f"the history has no {quantity}: Ledger(model, every=..., neurons=True) records neurons")
        window = _window(history)
        if window < 2:
            raise ValueError("one step does not tell which neurons are dead or saturated for long")
        array = getattr(history, quantity)(window)[window - 1 :]
    else:
        array = getattr(history, quantity)
    if array is None:
        raise ValueError(f"the history has no {quantity}: Ledger(model, every=..., spectra=True) records it")
    if not array.shape[1] or (quantity not in _DECADES and not np.isfinite(array).any()):
        raise ValueError(f"the history has no finite {quantity} of any layer")
    values: Floats = np.asarray(array, np.float64)
    return values.reshape(*values.shape[:2], -1)


def _window(history: LedgerHistory) -> int:
    return min(WINDOW, len(history.steps))


def _line_name(quantity: str, layer: int) -> str:
    if quantity == "alignment":
        return f"layers {layer}, {layer + 1}"
    return f"{layer + 1}→{layer}" if quantity in _STEPS else f"layer {layer}"


def _lines(ax: "Axes", times: Floats, means: Floats, names: Sequence[str], colors: Sequence[Any] | None = None) -> Any:
    """Draw a line for each column of the means, and return their colours."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(names))) if colors is None else colors
    few = len(names) <= _NAMED
    marker = "o" if len(times) == 1 else None  # one point makes no line
    for i, name in reversed([*enumerate(names)]):  # the last layer first: at the top of the legend
        ax.plot(times, means[:, i], marker=marker, color=shades[i], label=name if few else None)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.grid(alpha=0.3)
    return shades


def _name_lines(ax: "Axes", layers: Sequence[int], shades: Any, title: str | None = None) -> None:
    if len(layers) <= _NAMED:  # beside the lines
        ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title=title,
                  title_fontsize="small")  # fmt: skip
    else:
        _layer_bar(ax, layers, shades)
        legend_below(ax)


def heat_map(history: History, ax: "Axes | None" = None, steps_per_epoch: int = 1) -> "Axes":
    """Draw log10‖∂C/∂b‖ as a heat map, with time to the right and layers upwards.

    A cell is the median over the members; for a history of more than 200 rows it is also the median over neighbouring
    rows. The median ignores NaN. A cell with only NaN, or with an infinite median, is magenta; a cell whose
    median gradient is exactly 0 is white. The title gives the time of the first NaN or inf in any member.

    Args:
        history: the history of a network or an ensemble.
        ax: Matplotlib axes to draw on; new ones by default.
        steps_per_epoch: the number of backwards in an epoch. With 1, as in full-batch descent, time is in steps.

    Returns:
        The axes. The colour bar beside them is in decades.

    Raises:
        TypeError: if it is no history of a recorder.
        ValueError: if the history is empty, or `steps_per_epoch` is less than 1.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> history = History(np.arange(3), (1, 2), ("0", "2"), np.array([[-1.7, -1.0], [-1.6, -0.9], [np.nan, np.inf]]))
    >>> heat_map(history, Figure().subplots()).get_title()
    'the first NaN or inf at step 2'
    """
    check_kind("heat_map", history, History)
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


def _epochs(history: History | LedgerHistory, steps_per_epoch: int) -> Floats:
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


def _finite_mean(norms: Floats, axis: int | tuple[int, int] = (0, 2)) -> Floats:
    """The mean of the finite numbers of each layer, (rows, L, R) → (L,); NaN where there are none."""
    sound = np.isfinite(norms)
    sums, counts = np.where(sound, norms, 0.0).sum(axis=axis), sound.sum(axis=axis)
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
