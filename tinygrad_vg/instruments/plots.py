"""Pictures of a history, with Matplotlib: axes in (`ax=`), axes out."""

from typing import Any

import numpy as np

from tinygrad_vg.instruments.recorder import History

_FLOATS = (np.float16, np.float32, np.float64)


def matplotlib() -> Any:
    """The library, if it is installed.

    Raises:
        ModuleNotFoundError: if not, with the name of the extra that brings it.
    """
    try:
        import matplotlib.pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need Matplotlib: install it with pip install 'tinygrad_vg[examples]'"
        ) from error
    return matplotlib


def new_axes() -> Any:
    """Axes of a new figure."""
    return matplotlib().pyplot.subplots(layout="constrained")[1]


def ladder(history: History, ax: Any = None, label: str | None = None, color: Any = None) -> Any:
    """Draw log10‖∂C/∂b‖ against the layer: the median, and the band from 5 to 95 %, of all steps and members.

    Slice the history first to choose: `ladder(history[0, :-1])` is the start of training without the output layer.

    Args:
        history: of a network or an ensemble.
        ax: Matplotlib axes to draw on; new ones by default.
        label: names the line in a legend.
        color: of line and band.

    Returns:
        The axes. Their title is the slope of the last ladder drawn, in decades a layer.
    """
    ax = new_axes() if ax is None else ax
    norms = np.moveaxis(history.log10_norm, 1, 0).reshape(len(history.layers), -1)
    low, median, high = np.nanquantile(norms, [0.05, 0.5, 0.95], axis=1)
    (line,) = ax.plot(history.layers, median, "o-", ms=4, label=label, color=color)
    ax.fill_between(history.layers, low, high, alpha=0.2, lw=0, color=line.get_color())
    ax.set_xlabel("layer (1 = input side)")
    ax.set_ylabel("log$_{10}$‖∂C/∂b‖ (decades)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.get_major_locator().set_params(integer=True)  # a gridline per decade, or per few
    ax.grid(alpha=0.3)
    if len(median) > 1:
        ax.set_title(f"{(median[0] - median[-1]) / (len(median) - 1):+.2f} decades per layer, towards the input")
    bottom, top = ax.get_ylim()
    for kind in _FLOATS:
        floor = np.log10(np.finfo(kind).tiny.astype(np.float64))
        if bottom < floor < top:
            ax.axhline(floor, lw=0.8, color="gray")
            name = f"smallest normal {kind.__name__}"
            ax.annotate(name, (1, floor), xycoords=("axes fraction", "data"), ha="right", va="bottom", size="small")
    return ax


def learning_speed(history: History, ax: Any = None, steps_per_epoch: int = 1) -> Any:
    """Draw ‖∂C/∂b‖ of each layer over the epochs, one line a layer, on a logarithmic axis.

    A long history is drawn in at most 60 points, each the geometric mean over neighbouring steps: single
    mini-batches are noisy. Members are averaged in the same way.

    Args:
        history: of a network or an ensemble.
        ax: Matplotlib axes to draw on; new ones by default.
        steps_per_epoch: backwards in an epoch; 1 for full-batch descent.

    Returns:
        The axes.
    """
    ax = new_axes() if ax is None else ax
    norms = history.log10_norm.reshape(len(history.steps), len(history.layers), -1).mean(axis=2)
    groups = np.array_split(np.arange(len(norms)), min(60, len(norms)))
    epochs = [history.steps[group].mean() / steps_per_epoch for group in groups]
    means = np.array([norms[group].mean(axis=0) for group in groups])
    shades = matplotlib().colormaps["viridis"](np.linspace(0, 0.9, len(history.layers)))
    for i, layer in reversed([*enumerate(history.layers)]):  # the last layer on top in the legend, as in the plot
        ax.plot(epochs, 10.0 ** means[:, i], label=f"layer {layer}", color=shades[i])
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("‖∂C/∂b‖")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)  # beside the lines
    return ax
