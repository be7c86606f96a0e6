"""Neuron by neuron: the strongest path of Eq. 122 through a network, and Nielsen's bars of ∂C/∂b."""

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

_BAR = 60  # points, the longest
_SIDES = {"TB": ("s", "n"), "BT": ("n", "s"), "LR": ("e", "w"), "RL": ("w", "e")}  # where a line leaves and arrives


def neurons(
    model: Module,
    cost: Tensor,
    *,
    first: int = 0,
    sample: int = 0,
    rankdir: str = "TB",
) -> "Digraph":
    """The strongest path through a network: that with the largest product of factors, for one sample, neuron by neuron.

    The gradient ∂C/∂b of a first-layer neuron is a sum over all paths to the cost, each a product of the factors
    w σ′(z) of Eq. 122. The path drawn has the largest product in size, of all paths of all first-layer neurons; its
    edges carry their factors, and the last node the product, beside the sum that it is a part of. Neurons off the path
    are folded ("+29"). On each neuron stand a bar and the number of |∂C/∂b|, of the whole cost and on one linear scale,
    as in Nielsen's diagram: what is short here learns slowly.

    Args:
        model: a chain of Linears, between them one activation each, or none.
        cost: of one call of the model, on a batch or a single sample.
        first: also draw the first so many neurons of each layer; Nielsen's diagram has 6.
        sample: which sample of the batch the path is of.
        rankdir: where the data flows: "TB" down, "LR" to the right, "BT", "RL".

    Returns:
        A `graphviz.Digraph`. Before a backward (no parameter of the model has a `.grad`) its figures are "–", and of
        each layer only the first neurons are drawn.

    Raises:
        TypeError: if `cost` is no Tensor, or `first` or `sample` no whole number.
        ValueError: for a cost of another model, an ensemble, a model with other modules between layers, or a sample
            that the batch does not have.

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
    """|∂C/∂b| of a layer, (out,); None where no gradient was asked for, or none computed."""
    return None if gradient is None else np.abs(np.asarray(gradient, np.float64))


def _draw_layers(picture: "Digraph", widths: list[int], path: Path | None, sizes: list[Any], first: int) -> None:
    """A box for each layer with the neurons that are shown, and faint lines between those of neighbours."""
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
                # Not for the layout to regard: so many lines would push the path's labels aside.
                picture.edge(*_ends(picture, layer, tail, head), arrowhead="none", color=style.FAINT,
                             tooltip=" ", constraint="false")  # fmt: skip


def _longest(sizes: list[Any]) -> float:
    """The |∂C/∂b| that has the longest bar."""
    finite = [float(np.max(size[np.isfinite(size)], initial=0.0)) for size in sizes if size is not None]
    return max(finite, default=0.0) or 1.0


def _layer(layer: int, neurons: list[str], rest: int, upright: bool) -> str:
    """A layer's box: its name, the cells of its neurons, and how many more there are."""
    cells = [f'<td width="{8 * len(f"layer {layer}")}"><b>layer {layer}</b></td>', *neurons]
    if rest:
        cells.append(f'<td width="{7 * len(str(rest)) + 10}">+{rest}</td>')
    return style.table([f"<tr>{cell}</tr>" for cell in cells] if upright else ["<tr>", *cells, "</tr>"], spacing=3)


def _ends(picture: "Digraph", layer: int, tail: int, head: int) -> tuple[str, str]:
    """The places in two neighbouring boxes that a line from one neuron to another joins."""
    out, into = _SIDES[picture.graph_attr["rankdir"]]
    return f"layer {layer - 1}:{tail}:{out}", f"layer {layer}:{head}:{into}"


def _neuron(i: int, value: float | None, longest: float, on_path: bool) -> str:
    """A neuron's cell: its number, its bar and its |∂C/∂b|."""
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
    """The path's edges with their factors, from b of its first neuron to the cost."""
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
