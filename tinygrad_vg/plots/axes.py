"""What the pictures share: their axes, legends and ticks, and the numbers of a history that they draw."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.instruments.history import History
from tinygrad_vg.notation import BROKEN, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = "log$_{10}$‖∂C/∂b‖ (decades)"


def new_axes() -> "Axes":
    """Axes of a new figure.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed, with the name of the extra that brings it.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need Matplotlib: install it with pip install 'tinygrad_vg[examples]'"
        ) from error
    return pyplot.subplots(figsize=(7, 4.5), layout="constrained")[1]


def norms_of(history: History) -> Floats:
    """The history's log10‖∂C/∂b‖, (S, L, R) with R = 1 for a single network.

    Raises:
        ValueError: if there is nothing to draw.
    """
    norms: Floats = np.asarray(history.log10_norm, np.float64)
    if not norms.size:
        raise ValueError(f"the history is empty: its log10_norm has shape {norms.shape} (step, layer, member)")
    return norms.reshape(*norms.shape[:2], -1)


def finite(values: Floats) -> Floats:
    """NaN in place of infinities: Matplotlib leaves a gap there."""
    return np.where(np.isfinite(values), values, np.nan)


def mark_edge(ax: "Axes", x: Iterable[float], values: Iterable[Floats]) -> None:
    """Mark on the lower edge, for each x, whether some of its values are no finite numbers; say in the legend why."""
    places: Floats = np.array([*x], np.float64)
    zero, broken = np.array([(np.isneginf(v).any(), (np.isnan(v) | np.isposinf(v)).any()) for v in values]).T
    lost = {"exactly 0 for some": (zero, "v", "black"), "NaN or inf for some": (broken, "X", BROKEN)}
    named = ax.get_legend_handles_labels()[1]
    for label, (where, marker, color) in lost.items():
        if where.any():
            ax.plot(places[where], np.zeros(where.sum()), marker, ms=5, color=color, zorder=3, clip_on=False,
                    transform=ax.get_xaxis_transform(), label=None if label in named else label)  # fmt: skip


def legend_below(ax: "Axes", title: str | None = None, handles: Sequence[Any] | None = None) -> None:
    """A legend under the x-axis's label: of `handles`, or of what has a label; none if there is nothing."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.1, frameon=False,
                  ncols=min(3, len(handles)), fontsize="small", title=title, title_fontsize="small")  # fmt: skip


def beside(ax: "Axes", words: str, y: float) -> None:
    """Words at the height of y, to the right of the axes, where no data are."""
    ax.annotate(words, (1, y), (4, 0), ("axes fraction", "data"), "offset points", va="center", size="small",
                annotation_clip=True)  # fmt: skip


def layer_ticks(layers: Sequence[int]) -> list[int]:
    """The layers whose numbers are shown on an axis: all, or the first and the round ones."""
    if len(layers) <= 14:
        return list(layers)
    step = next(step for step in (unit * 10**power for power in range(9) for unit in (2, 5, 10))
                if len(layers) <= 12 * step)  # fmt: skip
    return [layer for layer in layers if layer == layers[0] or (layer % step == 0 and 2 * (layer - layers[0]) >= step)]
