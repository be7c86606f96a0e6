"""Pictures of neurons: a bar for the gradient of each neuron, and the slope of an activation."""

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.engine import Tensor, cotangents
from tinygrad_vg.instruments.theory import ActivationLike
from tinygrad_vg.notation import BROKEN
from tinygrad_vg.plots.axes import beside, layer_ticks, legend_below, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 0.5  # the length of the longest bar, as a share of the distance between neurons
_COLUMNS_WITH_CIRCLES = 14  # with more columns, circles would be too small for the bars
_REACH = 8.0  # slopes are drawn for z from −8 to 8


def neuron_bars(gradients: Iterable[Any], ax: "Axes | None" = None, top: int = 6) -> "Axes":
    """Draw Nielsen's diagram: a column of neurons for each layer, with a bar of length |∂C/∂b| on each neuron.

    All bars have the same linear scale, as in the book; a neuron with a short bar learns slowly. A bar that is too
    short to see is a line at the neuron's place. NaN and inf are magenta crosses.

    Args:
        gradients: ∂C/∂b of one backward, a vector (n,) for each layer, layer 1 first. From a history with values they
            are `[of_layer[0] for of_layer in history.values]`.
        ax: Matplotlib axes to draw on; new ones by default.
        top: how many neurons of each layer are drawn, from the first one on.

    Returns:
        The axes. The title gives the value of the longest bar.

    Raises:
        ValueError: if there is no layer, a gradient is not a vector, or `top` is less than 1.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> neuron_bars([[0.01, -0.02], [0.5, 0.1]], Figure().subplots()).get_title()
    '|∂C/∂b| of the neurons; the longest bar is 0.5'
    """
    if top < 1:
        raise ValueError(f"top counts neurons, 1 or more, not {top!r}")
    vectors = [np.asarray(gradient, np.float64) for gradient in gradients]
    shapes = [vector.shape for vector in vectors]
    if not vectors or any(len(shape) != 1 for shape in shapes):
        raise ValueError(
            f"neuron_bars takes a vector of ∂C/∂b for each layer, of one backward and one member, not {shapes}"
        )
    numbers = [
        (layer, i, abs(value)) for layer, vector in enumerate(vectors, 1) for i, value in enumerate(vector[:top])
    ]
    layers, neurons, sizes = np.array(numbers).reshape(-1, 3).T
    sound = np.isfinite(sizes)
    longest = sizes[sound].max(initial=0.0)
    ax = new_axes() if ax is None else ax

    middle = _LONGEST / 2 - neurons
    rows = int(neurons.max(initial=0)) + 1
    if len(vectors) <= _COLUMNS_WITH_CIRCLES:
        pitch = min(ax.bbox.height / rows, ax.bbox.width / len(vectors)) * 72 / ax.figure.dpi  # in points
        ax.plot(layers, middle, "o", ms=0.85 * pitch, mfc="none", color="darkgray")
    heights, width = _LONGEST * sizes[sound] / (longest or 1.0), min(0.5, len(vectors) / 48)
    ax.bar(layers[sound], heights, width, -neurons[sound], color="tab:blue", edgecolor="tab:blue", lw=1.2)
    ax.plot(layers[~sound], middle[~sound], "X", color=BROKEN, label=None if sound.all() else "NaN or inf")
    ax.set_xticks(layer_ticks(range(1, len(vectors) + 1)))
    ax.set_xlim(0.4, len(vectors) + 0.6)
    ax.set_yticks(_LONGEST / 2 - np.arange(rows), [str(i + 1) for i in range(rows)])
    ax.set_ylim(_LONGEST / 2 - rows + 0.4, _LONGEST / 2 + 0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("layer (1 = input side)")
    ax.set_ylabel("neuron")
    of = f"first {top} neurons of each layer" if any(len(vector) > top for vector in vectors) else "neurons"
    ax.set_title(f"|∂C/∂b| of the {of}; the longest bar is {longest:.3g}")
    legend_below(ax)
    return ax


def slope_curve(activation: ActivationLike, ax: "Axes | None" = None) -> "Axes":
    """Draw the slope of an activation, σ′(z), for z from −8 to 8, and mark its maximum, 1/4 for the sigmoid.

    Several curves may be drawn on the same axes.

    Args:
        activation: an elementwise module such as `nn.Sigmoid()`, or its class, or any function of Tensors such as
            `np.sin`. The engine computes the slope.
        ax: Matplotlib axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: if the activation is not elementwise, or has no finite slope between −8 and 8.
        ModuleNotFoundError: if there is no `ax` and no Matplotlib.

    >>> from matplotlib.figure import Figure
    >>> from tinygrad_vg.nn import Sigmoid
    >>> slope_curve(Sigmoid, Figure().subplots()).texts[0].get_text()
    'largest: 1/4'
    """
    function = activation() if isinstance(activation, type) else activation
    z = np.linspace(-_REACH, _REACH, 1601)
    x = Tensor(z, requires_grad=True)
    with np.errstate(all="ignore"):  # a function may not be defined everywhere
        y = function(x)
        if not isinstance(y, Tensor) or y.shape != z.shape:
            raise ValueError(f"{function!r} is not elementwise: it returns {getattr(y, 'shape', y)!r} for {z.shape}")
        slope = np.asarray(cotangents(y, np.ones(z.shape), of=[x])[x])
    slope = np.where(np.isfinite(y.data), slope, np.nan)
    known = np.where(np.isfinite(slope), slope, -np.inf)
    largest = float(known.max())
    if largest == -np.inf:
        raise ValueError(f"{function!r} has no finite slope between {-_REACH:g} and {_REACH:g}")
    ax = new_axes() if ax is None else ax

    found = nn.Activation.of(y)  # also for a function such as ops.sigmoid
    (line,) = ax.plot(z, slope, label=f"{found.symbol if found else getattr(function, '__name__', 'φ')}′(z)")
    ax.axhline(largest, ls="--", lw=0.8, color=line.get_color())
    peaks = np.flatnonzero(known == largest)
    if len(peaks) == 1 and 0 < peaks[0] < len(z) - 1:  # mark a single maximum that is not at an end of the curve
        ax.plot(z[peaks], [largest], "o", ms=5, color=line.get_color())
    fraction = Fraction(largest).limit_denominator(9)
    note = f"largest: {fraction}" if abs(fraction - largest) < 1e-9 else f"largest: {largest:.3g}"
    if note not in {text.get_text() for text in ax.texts}:
        beside(ax, note, largest)
    ax.set_xlabel("z")
    ax.set_ylabel("slope")
    ax.grid(alpha=0.3)
    legend_below(ax)
    return ax
