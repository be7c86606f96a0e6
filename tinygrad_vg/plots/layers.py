"""Pictures layer by layer: the gradient against the layer, and the causes of its change in each step."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from tinygrad_vg.instruments.accounts import Row
from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.theory import MeanField
from tinygrad_vg.notation import Floats, decades, quantiles
from tinygrad_vg.plots.axes import (
    DECADES,
    beside,
    check_kind,
    finite,
    layer_ticks,
    legend_below,
    mark_edge,
    new_axes,
    norms_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FLOATS = (np.float16, np.float32, np.float64)
_ROWS_WITH_LABELS = 20  # with more bars, each is too thin for a label
_THEORY = "theory, 90 % band dotted"
_ladders: WeakSet[Any] = WeakSet()  # the lines that are ladders; the title of axes describes all of their ladders


def ladder(
    history: History | LedgerHistory,
    ax: "Axes | None" = None,
    label: str | None = None,
    color: Any = None,
    theory: MeanField | None = None,
) -> "Axes":
    """Draw log10‖∂C/∂b‖ against the layer: the median and the band from 5 to 95 % over all rows and members.

    Slice the history to choose rows and layers: `ladder(history[0, :-1])` draws the first backward without the output
    layer. Several ladders may be drawn on the same axes. Thin lines show the smallest normal numbers of float16,
    float32 and float64 that are in range. A layer is marked on the lower edge if some of its gradients are exactly 0,
    NaN or infinite; the median and the band ignore NaN.

    From the history of a ledger it draws log10‖δ‖, whose norm is the root mean square over the samples; over time steps
    log10‖∂C/∂h_t‖ against t. The label of the y-axis names what is drawn.

    Args:
        history: the history of a network or an ensemble, of a recorder or a ledger.
        ax: Matplotlib axes to draw on; new ones by default.
        label: the name of the line in the legend.
        color: the colour of the line and the band.
        theory: a prediction, drawn dashed through the median of the highest layer shown, with a dotted 90 % band.
            It may have more layers than the history.

    Returns:
        The axes. The title is the slope in decades per layer, from the median of the first layer to the median of the
        last one. With several ladders it gives the smallest and the largest slope.

    Raises:
        TypeError: if it is no history.
        ValueError: if the history is empty, or the theory lacks some of its layers.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> history = History(np.arange(1), (1, 2, 3), ("0", "2", "4"), np.array([[-2.4, -1.7, -1.0]]))
    >>> ladder(history, Figure().subplots()).get_title()
    '−0.70 decades per layer, towards the input'
    """
    check_kind("ladder", history, History, LedgerHistory)
    norms = norms_of(history)
    unit = history.unit if isinstance(history, LedgerHistory) else "layer"
    over_time = unit == "time step"
    layers = np.array(history.layers)
    per_layer = np.moveaxis(norms, 1, 0).reshape(len(layers), -1)
    low, median, high = (finite(quantiles(per_layer, share)) for share in (0.05, 0.5, 0.95))
    known = np.flatnonzero(np.isfinite(median))
    if theory is not None:
        theory = _between(theory, layers[0], layers[known[-1] if len(known) else -1])
    ax = new_axes() if ax is None else ax

    size = 4 if len(layers) <= 20 else 2.5
    (line,) = ax.plot(layers, median, "o-", ms=size, lw=2, color=color, label=label or "measured")
    _ladders.add(line)
    ax.fill_between(layers, low, high, alpha=0.2, lw=0, color=line.get_color())
    if theory is not None and len(known) and len(theory.layers) > 1:  # one point makes no line
        _draw_theory(ax, theory, median[known[-1]])
    mark_edge(ax, layers, per_layer)
    bottom, top = (np.nanmin([low, median]), np.nanmax([median, high])) if len(known) else (-1.0, 0.0)
    if np.floor(top) - np.ceil(bottom) < 1 or not len(known):
        # Show at least one whole decade, so that a flat ladder looks flat and two gridlines have numbers.
        ax.update_datalim([(layers[0], np.floor(bottom)), (layers[-1], max(np.ceil(top), np.floor(bottom) + 1))])
    _decade_grid(ax)
    _draw_floors(ax)
    if title := _slopes(ax, "time step, towards the first" if over_time else f"{unit}, towards the input"):
        ax.set_title(title)
    ax.set_xlabel("time step" if over_time else f"{unit} (1 = input side)")
    drawn = "∂C/∂h" if over_time else "δ" if isinstance(history, LedgerHistory) else "∂C/∂b"
    ax.set_ylabel(DECADES.replace("∂C/∂b", drawn))
    if norms[:, 0].size > 1 or label or theory is not None or not np.isfinite(norms).all():
        handles = sorted(ax.get_legend_handles_labels()[0], key=lambda handle: handle.get_label() == _THEORY)
        legend_below(ax, _statistic(len(norms), norms.shape[2]), handles)
    return ax


def _slopes(ax: "Axes", way: str) -> str:
    """The slopes of all ladders on the axes, from the first to the last point of each that is finite."""
    ladders = [line for line in ax.lines if line in _ladders]
    found = [points[np.isfinite(points).all(axis=1)] for points in (np.asarray(line.get_xydata()) for line in ladders)]
    if not any(map(len, found)):
        return "no gradient here is a finite number other than 0"
    slopes = [(points[0, 1] - points[-1, 1]) / (points[-1, 0] - points[0, 0]) for points in found if len(points) > 1]
    if not slopes:
        return ""
    label = "" if len(ladders) > 1 or ladders[0].get_label() == "measured" else f"{ladders[0].get_label()}: "
    shown = dict.fromkeys(map(decades, (min(slopes), max(slopes))))
    return f"{label}{' to '.join(shown)} decades per {way}"


def _between(theory: MeanField, first: int, last: int) -> MeanField:
    """The part of a prediction from layer `first` to layer `last`."""
    if not {first, last} <= set(theory.layers):
        raise ValueError(
            f"the theory is of layers {theory.layers[0]} to {theory.layers[-1]}, the history of {first} to {last}: "
            "slice both alike"
        )
    return theory[theory.layers.index(first) : theory.layers.index(last) + 1]


def _draw_theory(ax: "Axes", theory: MeanField, anchor: float) -> None:
    named = ax.get_legend_handles_labels()[1]
    ax.plot(theory.layers, theory.log10_norm + anchor, "--", color="black", lw=1,
            label=None if _THEORY in named else _THEORY)  # fmt: skip
    for edge in theory.band(0.9):
        ax.plot(theory.layers, edge + anchor, ":", color="black", lw=0.8)


def _decade_grid(ax: "Axes") -> None:
    """Draw a gridline for each decade, if there are not too many, and for each layer with a tick."""
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    ax.yaxis.set_minor_locator(MaxNLocator(60, integer=True, steps=[1, 2, 5, 10]))
    ax.tick_params(axis="y", which="minor", length=0)
    first, last = ax.dataLim.intervalx
    if np.isfinite([first, last]).all():
        ax.set_xticks(layer_ticks(range(round(first), round(last) + 1)))
    ax.grid(alpha=0.3)
    ax.grid(alpha=0.15, which="minor", axis="y")


def _draw_floors(ax: "Axes") -> None:
    """Draw a line at the smallest normal number of each float type that is in range, if there is none yet."""
    bottom, top = ax.get_ylim()
    for kind in _FLOATS:
        floor = float(np.log10(np.finfo(kind).tiny.astype(np.float64)))
        name = f"{kind.__name__} min normal"
        if bottom < floor < top and name not in {text.get_text() for text in ax.texts}:
            ax.axhline(floor, lw=0.8, color="gray")
            beside(ax, name, floor)


def _statistic(steps: int, members: int) -> str | None:
    """What the median and the band are taken over, in words; None if there is only one row and member."""
    counts = [f"{n} {unit}" for n, unit in ((steps, "steps"), (members, "members")) if n > 1]
    return f"median and 5-95 % of {' × '.join(counts)}" if counts else None


def blame(ledger: Iterable[Row], ax: "Axes | None" = None) -> "Axes":
    """Draw as bars by how many decades weights and activations change the gradient in each step towards the input.

    The uppermost bar is the step to layer 1. If both changes have the same sign, the bar of the activation begins where
    the bar of the weights ends; a dot shows their sum. For an ensemble the bars are means over the members whose step
    has no cause (see `Row.cause`). A step with a cause in all members shows the cause in place of a bar.

    Args:
        ledger: a ledger that has recorded a backward, or rows of a ledger.
        ax: Matplotlib axes to draw on; new ones by default.

    Returns:
        The axes. If every step has a bar, the title gives the sums of the bars.

    Raises:
        TypeError: if it is no ledger, and holds no rows of one.
        ValueError: if there is no step: the network has one layer.
        RuntimeError: if the ledger has recorded no backward.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> row = Row(1, "0", log10_norm=-1.7, weights=-0.1, activation=-0.6, total=-0.7, parts=(), cause=None)
    >>> blame([row], Figure().subplots()).get_title()
    'activations −0.60, weights −0.10: −0.70 decades'
    """
    if isinstance(ledger, History | LedgerHistory):
        instead = "history.rows()" if isinstance(ledger, LedgerHistory) else "a Ledger: a recorder knows no causes"
        raise TypeError(f"plots.blame draws the rows of a ledger, not a {type(ledger).__name__}: give it {instead}")
    rows = list(ledger)
    if not rows:
        raise ValueError("the ledger has no step: a step needs two layers")
    causes = [row.cause if isinstance(row.cause, tuple) else (row.cause,) for row in rows]
    weights, activation = np.array([_means(row, cause) for row, cause in zip(rows, causes, strict=True)]).T
    ax = new_axes() if ax is None else ax

    places = np.arange(len(rows))
    begin = np.where(weights * activation > 0, weights, 0)
    bars: list[Any] = [
        ax.barh(places, activation, 0.8, begin, color="tab:orange", label="activation"),
        ax.barh(places, weights, 0.8, color="tab:blue", label="weights"),
    ]
    dots = ax.plot(weights + activation, places, "o", ms=3, color="black", label="sum")
    ax.axvline(0, lw=0.8, color="black")
    layers = [row.layer for row in rows]
    _write_causes(ax, layers, causes, rows[0].unit)
    shown = layers if len(rows) <= _ROWS_WITH_LABELS else layer_ticks(layers)
    ax.set_yticks([layers.index(layer) for layer in shown], [f"{layer + 1}→{layer}" for layer in shown])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    members = len(causes[0])
    ax.set_xlabel(f"decades{f', mean of {members} members' if members > 1 else ''} (− shrinks the gradient)")
    ax.set_ylabel(f"step from {rows[0].unit} to {rows[0].unit}")
    if np.isfinite(weights).all():
        w, a = weights.sum(), activation.sum()
        ax.set_title(f"activations {decades(a)}, weights {decades(w)}: {decades(w + a)} decades")
    legend_below(ax, handles=[*bars, *dots])
    return ax


def _means(row: Row, causes: tuple[str | None, ...]) -> tuple[float, float]:
    """`weights` and `activation` of a row, as means over the members without a cause; NaN if there are none."""
    sound = np.array([cause is None for cause in causes])
    if not sound.any():
        return np.nan, np.nan
    parts: Floats = np.array([np.atleast_1d(row.weights), np.atleast_1d(row.activation)])[:, sound]
    return float(parts[0].mean()), float(parts[1].mean())


def _write_causes(ax: "Axes", layers: Sequence[int], causes: list[tuple[str | None, ...]], unit: str) -> None:
    """Write the causes beside the bars. If the bars are thin, neighbouring bars share one label."""
    counts = [Counter(cause for cause in row if cause) for row in causes]
    runs: list[list[int]] = [[place] for place, count in enumerate(counts) if count]
    if len(causes) > _ROWS_WITH_LABELS:
        runs = [list(run) for marked, run in groupby(range(len(counts)), lambda place: bool(counts[place])) if marked]
    for run in runs:
        words = [f"{unit}s {layers[run[0]]}-{layers[run[-1]]}:"] if len(run) > 1 else []
        for cause in dict.fromkeys(cause for place in run for cause in counts[place]):
            numbers = [counts[place][cause] for place in run if counts[place][cause]]
            few, many = min(numbers), max(numbers)
            share = f"{few if few == many else f'{few}-{many}'} of {len(causes[0])} " if len(causes[0]) > 1 else ""
            words.append(share + cause)
        beside(ax, "\n".join(words), (run[0] + run[-1]) / 2)
