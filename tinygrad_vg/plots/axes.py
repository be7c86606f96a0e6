"""Functions that the pictures share: new axes, legends, ticks, and the norms of a history."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.extras import install
from tinygrad_vg.notation import BROKEN, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygrad_vg.instruments.history import History
    from tinygrad_vg.instruments.ledger_history import LedgerHistory

DECADES = "log$_{10}$‖∂C/∂b‖ (decades)"

_HISTORIES = {  # what to write for a history of each kind, and what draws it
    "History": ("write recorder.history", "plots.ladder, learning_speed and heat_map"),
    "LedgerHistory": ("write ledger.history of a Ledger(net, every=1)", "plots.ladder and over_time"),
}


def new_axes() -> "Axes":
    """Axes of a new figure.

    Raises:
        ModuleNotFoundError: if Matplotlib is missing; the message names the extra that installs it.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"pictures need Matplotlib: {install('examples')} installs it") from error
    return pyplot.subplots(figsize=(7, 4.5), layout="constrained")[1]


def norms_of(history: "History | LedgerHistory") -> Floats:
    """The norms of a history, log10, (S, L, R) with R = 1 for a single network.

    Raises:
        ValueError: if the history is empty.
    """
    norms: Floats = np.asarray(history.log10_norm, np.float64)
    if not norms.size:
        raise ValueError(f"the history is empty: its log10_norm has shape {norms.shape} (step, layer, member)")
    return norms.reshape(*norms.shape[:2], -1)


def check_kind(picture: str, given: Any, *kinds: type) -> None:
    """Check that a picture gets what it draws.

    Raises:
        TypeError: if it gets something else; the message says what to write.
    """
    if isinstance(given, kinds):
        return
    named = type(given).__name__
    instead = " or ".join(_HISTORIES[kind.__name__][0] for kind in kinds)
    if named in _HISTORIES:
        instead = f"what draws it is {_HISTORIES[named][1]}"
    takes = " or a ".join(kind.__name__ for kind in kinds)
    raise TypeError(f"plots.{picture} draws a {takes}, not a {named}: {instead}")


def finite(values: Floats) -> Floats:
    """The values with NaN in place of infinities, where Matplotlib then leaves a gap."""
    return np.where(np.isfinite(values), values, np.nan)


def mark_edge(ax: "Axes", x: Iterable[float], values: Iterable[Floats]) -> None:
    """Mark each x where some values are −∞ (a norm of 0), NaN or ∞ on the lower edge; the legend names the marks."""
    places: Floats = np.array([*x], np.float64)
    zero, broken = np.array([(np.isneginf(v).any(), (np.isnan(v) | np.isposinf(v)).any()) for v in values]).T
    marks = {"exactly 0 for some": (zero, "v", "black"), "NaN or inf for some": (broken, "X", BROKEN)}
    named = ax.get_legend_handles_labels()[1]
    for label, (where, marker, color) in marks.items():
        if where.any():
            ax.plot(places[where], np.zeros(where.sum()), marker, ms=5, color=color, zorder=3, clip_on=False,
                    transform=ax.get_xaxis_transform(), label=None if label in named else label)  # fmt: skip


def legend_below(ax: "Axes", title: str | None = None, handles: Sequence[Any] | None = None) -> None:
    """Add a legend below the label of the x-axis, of `handles` or of all artists with a label, if there are any."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.1, frameon=False,
                  ncols=min(3, len(handles)), fontsize="small", title=title, title_fontsize="small")  # fmt: skip


def beside(ax: "Axes", words: str, y: float) -> None:
    """Write words to the right of the axes, at the height of y."""
    ax.annotate(words, (1, y), (4, 0), ("axes fraction", "data"), "offset points", va="center", size="small",
                annotation_clip=True)  # fmt: skip


def layer_ticks(layers: Sequence[int]) -> list[int]:
    """The layers whose numbers are shown on an axis: all, or the first and the round ones."""
    if len(layers) <= 14:
        return list(layers)
    step = next(step for step in (unit * 10**power for power in range(9) for unit in (2, 5, 10))
                if len(layers) <= 12 * step)  # fmt: skip
    return [layer for layer in layers if layer == layers[0] or (layer % step == 0 and 2 * (layer - layers[0]) >= step)]
