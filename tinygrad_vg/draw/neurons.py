"""`neurons`: a picture of the strongest path of Eq. 122 through a network, and of Nielsen's bars of ∂C/∂b."""

import math
from itertools import pairwise, product
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.engine import ExtendedArray, Tensor, cotangents
from tinygrad_vg.instruments.paths import Path, strongest_path
from tinygrad_vg.instruments.signals import recorded
from tinygrad_vg.nn import Module
from tinygrad_vg.notation import subscripted

if TYPE_CHECKING:
    from graphviz import Digraph

_BAR = 60  # the length of the longest bar, in points
_SIDES = {"TB": ("s", "n"), "BT": ("n", "s"), "LR": ("e", "w"), "RL": ("w", "e")}  # the sides of the ends of a line


def neurons(
    model: Module,
    cost: Tensor,
    *,
    first: int = 0,
    sample: int = 0,
    rankdir: str = "TB",
) -> "Digraph":
    """A picture of the strongest path through a network, neuron by neuron, for one sample.

    The gradient ∂C/∂b of a neuron in layer 1 is a sum over all paths from it to the cost; each path contributes the
    product of its factors w σ′(z) (Eq. 122). The path drawn has the product of the largest magnitude of all paths from
    all neurons of layer 1. Its edges have their factors; the last node has the product, and the sum over all paths.
    Neurons off the path are folded ("+29"). Each neuron has the number |∂C/∂b| for the whole cost, and a bar. All bars
    have the same linear scale, as in Nielsen's diagram; a neuron with a short bar learns slowly.

    Args:
        model: Linears in a row, with at most one activation between each two.
        cost: the cost of one call of the model, on a batch or a single sample.
        first: the number of neurons of each layer, from the first one on, that are drawn besides those on the path;
            Nielsen's diagram has 6.
        sample: the number of the sample in the batch, counted from 0.
        rankdir: the direction of the data: "TB" down, "LR" to the right, "BT" up, "RL" to the left.

    Returns:
        A `graphviz.Digraph`. As long as no parameter of the model has a `.grad`, its numbers are "–", and only the
        first neurons of each layer are drawn.

    Raises:
        TypeError: if `cost` is not a Tensor, or `first` or `sample` not a whole number.
        ValueError: if the cost is of another model or an ensemble, other modules lie between the layers, or the batch
            has no such sample.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(2, 30, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(30, 1, rng=1))
    >>> cost = np.sum(net(np.ones((1, 2))))
    >>> cost.backward()
    >>> "+29" in tg.draw.neurons(net, cost).source
    True
    """
    _check(cost, first, sample)
    chain = recorded(model, cost, gradients=False)
    if chain.members:
        raise ValueError("a path has one network's weights: take a member of this ensemble by tg.nn.unstack")
    if others := [unit.label for unit in chain.layers if unit.channels_first]:
        raise ValueError(f"a path leads through single neurons, and {others[0]} has channels of images")
    layers = chain.layers
    batch = len(layers[0].z) if layers[0].z.ndim == 2 else 1
    if not -batch <= sample < batch:
        raise ValueError(f"there is no sample {sample} in a batch of {batch}")
    picture = style.canvas(rankdir, splines="line")
    computed = style.has_gradient(model.parameters())
    totals = cotangents(cost) if computed else {}
    path = strongest_path(chain, totals, sample) if computed else None
    biases: list[Any] = [layer.module.bias for layer in layers]  # type: ignore[union-attr]
    _draw_layers(
        picture, [layer.z.shape[-1] for layer in layers], path, [_size(totals.get(bias)) for bias in biases],
        first if path else max(first, 1),
    )  # fmt: skip
    if path:
        _draw_path(picture, path)
        style.legend(picture, *_notes(path, range(batch)[sample], batch))
    else:
        picture.node("C", style.box(["cost C"], frame=style.INK, bold=0), tooltip="the cost")
        for tail, head in pairwise([*(f"layer {layer}" for layer in range(1, len(layers) + 1)), "C"]):
            picture.edge(tail, head, **style.unknown("not computed"))
        style.legend(picture, "–: not computed: no parameter has a .grad, call backward.")
    return picture


def _check(cost: Any, first: Any, sample: Any) -> None:
    if not isinstance(cost, Tensor):
        raise TypeError(f"neurons draws the cost of a model, a Tensor, not {type(cost).__name__}")
    for name, count in (("first", first), ("sample", sample)):
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise TypeError(f"{name} is a number of neurons or samples, counted from 0, not {count!r}")
    if first < 0:
        raise ValueError(f"first counts neurons, 0 or more, not {first}")


def _notes(path: Path, sample: int, batch: int) -> list[str]:
    notes = ["Yellow: the path with the largest product of factors (Eq. 122), one of the many whose sum is ∂C/∂b₁."]
    if not math.isfinite(path.end[1]) or not all(path.slopes) or not all(path.weights):
        notes = ["No path stands out: all products are 0, or not finite."]
    notes.append("Bars: |∂C/∂b| of the whole cost, on one linear scale.")
    if batch > 1:
        notes.append(f"The path and its numbers are those of sample {sample} of {batch}, counted from 0.")
    return notes


def _size(gradient: ExtendedArray | None) -> Any:
    """|∂C/∂b| of a layer, (out,); None if it was not computed."""
    return None if gradient is None else np.abs(np.asarray(gradient, np.float64))


def _draw_layers(picture: "Digraph", widths: list[int], path: Path | None, sizes: list[Any], first: int) -> None:
    """Draw a box for each layer with the neurons that are shown, and faint lines between neurons of neighbours."""
    route = path.neurons if path else []
    shown = [sorted({*range(min(first, width)), *route[i : i + 1]}) for i, width in enumerate(widths)]
    longest = _longest(sizes)
    for layer, (width, size, some) in enumerate(zip(widths, sizes, shown, strict=True), 1):
        on_path = route[layer - 1 : layer]
        cells = [_neuron(i, None if size is None else float(size[i]), longest, i in on_path) for i in some]
        largest = style.NOT_COMPUTED if size is None else style.three_digits(float(np.max(size)))
        tip = f"layer {layer}: {width} neurons, the largest |∂C/∂b| is {largest}"
        label = _layer(layer, cells, width - len(cells), upright=picture.graph_attr["rankdir"] in ("LR", "RL"))
        picture.node(f"layer {layer}", label, tooltip=tip)
    for layer, (tails, heads) in enumerate(pairwise(shown), 2):
        for tail, head in product(tails, heads):
            if [tail, head] != route[layer - 2 : layer]:
                # The layout ignores these lines (constraint): they would push the labels of the path aside.
                picture.edge(*_ends(picture, layer, tail, head), arrowhead="none", color=style.FAINT,
                             tooltip=" ", constraint="false")  # fmt: skip


def _longest(sizes: list[Any]) -> float:
    """The largest finite |∂C/∂b|, whose bar is the longest."""
    finite = [float(np.max(size[np.isfinite(size)], initial=0.0)) for size in sizes if size is not None]
    return max(finite, default=0.0) or 1.0


def _layer(layer: int, neurons: list[str], rest: int, upright: bool) -> str:
    """The box of a layer: its name, the cells of its neurons, and the number of neurons that are not shown."""
    cells = [f'<td width="{8 * len(f"layer {layer}")}"><b>layer {layer}</b></td>', *neurons]
    if rest:
        cells.append(f'<td width="{7 * len(str(rest)) + 10}">+{rest}</td>')
    return style.table([f"<tr>{cell}</tr>" for cell in cells] if upright else ["<tr>", *cells, "</tr>"], spacing=3)


def _ends(picture: "Digraph", layer: int, tail: int, head: int) -> tuple[str, str]:
    """The ports in two neighbouring boxes between which the line from one neuron to another is drawn."""
    out, into = _SIDES[picture.graph_attr["rankdir"]]
    return f"layer {layer - 1}:{tail}:{out}", f"layer {layer}:{head}:{into}"


def _neuron(i: int, value: float | None, longest: float, on_path: bool) -> str:
    """The cell of a neuron: its number, its bar and its |∂C/∂b|."""
    size = style.NOT_COMPUTED if value is None else style.three_digits(value)
    length = 0 if value is None or not math.isfinite(value) else round(_BAR * value / longest)
    bar = f'<td width="{length}" height="7" fixedsize="true" bgcolor="{style.BAR}"></td>' if length else ""
    rest = f'<td width="{_BAR - length}" height="7" fixedsize="true"></td>' if length < _BAR else ""
    background, frame = (style.HIGHLIGHT, style.HIGHLIGHT_FRAME) if on_path else (style.WHITE, style.FRAME)
    return (
        f'<td port="{i}" border="1" style="rounded" bgcolor="{background}" color="{frame}">'
        '<table border="0" cellborder="0" cellspacing="0" cellpadding="1">'
        f'<tr><td width="70">neuron {i + 1}</td></tr><tr><td width="70">{size}</td></tr>'
        '<tr><td><table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
        f"<tr>{bar}{rest}</tr></table></td></tr></table></td>"
    )


def _draw_path(picture: "Digraph", path: Path) -> None:
    """Draw the edges of the path with their factors, from b of its first neuron to the cost."""
    depth = len(path.neurons)
    bias = f"{subscripted('b', 1)} of neuron {path.neurons[0] + 1}"
    picture.node("b", style.box([bias], style.HIGHLIGHT, style.HIGHLIGHT_FRAME), tooltip="where the path begins")
    ends = [("b", f"layer 1:{path.neurons[0]}"),
            *(_ends(picture, layer, *path.neurons[layer - 2 : layer]) for layer in range(2, depth + 1))]  # fmt: skip
    sign, log10 = path.end
    for layer, (tail, head) in enumerate(ends, 1):
        slope = f"{path.symbols[layer - 1]}′({subscripted('z', layer)})" if path.symbols[layer - 1] else ""
        words = " ".join(word for word in (subscripted("w", layer) if layer > 1 else "", slope) if word)
        factor = path.slopes[layer - 1] * (path.weights[layer - 2] if layer > 1 else 1.0)
        size = math.log10(abs(factor)) if factor else -math.inf
        _factor(picture, tail, head, words or "∂z₁/∂b₁", style.three_digits(factor), size)
        sign, log10 = sign * math.copysign(1.0, factor), log10 + size
    top = subscripted("a" if path.symbols[-1] else "z", depth)
    _factor(picture, f"layer {depth}:{path.neurons[-1]}", "C", f"∂C/∂{top}", style.power(*path.end), path.end[1])
    product = f"product of this path = {style.power(sign, log10)}"
    whole = f"all paths: ∂C/∂b₁ = {style.power(*path.whole)}"
    tip = style.tooltip(f"{product}; {whole}")
    picture.node("C", style.box(["cost C", product, whole], frame=style.INK, bold=0), tooltip=tip)


def _factor(picture: "Digraph", tail: str, head: str, words: str, value: str, gain: float) -> None:
    tip = style.tooltip(f"{words} = {value}, {style.decades(gain)} decades")
    label = style.box([f"{words} = {value}"], style.fill(gain))
    picture.edge(tail, head, label, tooltip=tip, labeltooltip=tip, **style.line(gain))
