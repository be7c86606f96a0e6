"""`graph`: a picture of the computational graph by operations, with the factor of the chain rule on every edge."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.draw.calls import words_of
from tinygrad_vg.engine import ExtendedArray, Node, Tensor, cotangents, local_derivative, share
from tinygrad_vg.instruments.factors import PRODUCTS
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.nn import Activation, Module
from tinygrad_vg.notation import subscripted

if TYPE_CHECKING:
    from graphviz import Digraph


@dataclass
class _Edge:
    """The edge from an operation's output to one of its arguments."""

    source: Tensor
    factor: float | None  # the derivative, if both ends are single numbers
    gain: float  # log10 of |factor|, or of the ratio of the gradient's norms
    symbol: str = ""  # the factor as the book writes it
    pair: tuple[str, float] | None = None  # the factor times w_j, in words, and log10 of its magnitude
    silent: bool = False  # the gradient at the output is 0, so there is no ratio of norms
    is_branch: bool = False  # the argument is a leaf beside the path, such as a weight

    @property
    def value(self) -> str:
        if self.factor is not None:
            return style.three_digits(self.factor)
        return f"gain {style.power(1.0, self.gain)}"


def graph(
    cost: Tensor,
    params: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None,
    *,
    gradient: Any = None,
    rankdir: str = "TB",
) -> "Digraph":
    """A picture of the recorded graph of `cost`. Each edge has the factor by which it multiplies the gradient.

    The factors are computed by the rules of the recorded operations, applied to 1. If both ends of an edge are single
    numbers, the factor is a derivative, and the factors along the path from a leaf to the cost multiply to the leaf's
    gradient (Eq. 122 of Nielsen's chapter 5). The edge of a σ after a weight also has the two together: "with w₂: 0.3"
    is w₂ σ′(z₂), and w₂ alone stands on the edge before. `draw.chain` shows each pair once. Otherwise the factor is a
    matrix, and the edge has its gain: the ratio of the norms of the gradient at its two ends. Gains are computed in
    extended range, so that no gradient underflows. As long as no leaf has a `.grad`, all of them are "–". Colours and
    widths mark the path from the cost down; an edge to a leaf beside the path, such as a weight, has only its number.
    Drawing changes no `.grad` and calls no hook. It does not recurse; 5,000 operations take less than a second.

    Args:
        cost: a Tensor with its graph, of one element unless `gradient` is given.
        params: names for leaves without a name: a dict, or pairs such as `net.named_parameters()`.
        gradient: the cotangent to start from, as in `Tensor.backward`.
        rankdir: the direction of the data: "TB" down, "LR" to the right, "BT" up, "RL" to the left.

    Returns:
        A `graphviz.Digraph`: Jupyter shows it, `draw.save` writes it to a file.

    Raises:
        TypeError: if `cost` is not a Tensor, or `params` is a module.
        ValueError: if the cost has several elements and there is no `gradient`, if it requires no gradients (nothing
            was recorded), or for another `rankdir`.

    >>> import tinygrad_vg as tg
    >>> b1, w2 = tg.Tensor(0.5, requires_grad=True, name="b1"), tg.Tensor(-2.0, requires_grad=True, name="w2")
    >>> cost = tg.ops.sigmoid(w2 * tg.ops.sigmoid(b1))
    >>> cost.backward()
    >>> "with w₂: −0.347" in tg.draw.graph(cost).source
    True
    """
    if not isinstance(cost, Tensor):
        raise TypeError(f"graph draws how a Tensor was computed, not {type(cost).__name__}")
    if isinstance(params, Module):
        raise TypeError("params takes names with their tensors: write net.named_parameters() in place of the module")
    picture = style.canvas(rankdir)
    totals = cotangents(cost, gradient)
    computed = style.has_gradient(tensor for tensor in totals if tensor.node is None)
    norms = {tensor: _log10(g) for tensor, g in totals.items()}
    uses = Counter(source for tensor in totals if tensor.node is not None for _, source, _ in tensor.node.edges)
    edges = {tensor: _edges(tensor, g, norms, uses) for tensor, g in totals.items() if tensor.node is not None}
    _name_pairs(edges)

    names = {id(tensor): name for name, tensor in dict(params or {}).items()}
    ids = {id(tensor): f"n{i}" for i, tensor in enumerate(totals)}
    for tensor, norm in norms.items():
        size = style.magnitude(norm) if computed else style.NOT_COMPUTED
        if tensor.node is None:
            g = totals[tensor].mantissa
            value = style.power(float(np.sign(g.item())), norm) if g.size == 1 and computed else None
            _leaf(picture, ids[id(tensor)], tensor, tensor.name or names.get(id(tensor)), size, value)
        else:
            _operation(picture, ids, tensor, tensor.node, size, is_cost=tensor is cost)
            for edge in edges[tensor]:
                _draw_edge(picture, ids[id(edge.source)], ids[id(tensor)], edge, computed)
    style.legend(picture, *_notes(computed, [edge for group in edges.values() for edge in group]))
    return picture


def _edges(tensor: Tensor, g: ExtendedArray, norms: Mapping[Tensor, float], uses: Mapping[Tensor, int]) -> list[_Edge]:
    """The edges from an operation's output to its arguments; `g` is the gradient at the output."""
    node, norm = tensor.node, norms[tensor]
    assert node is not None
    edges = []
    for index, source, rule in node.edges:
        is_branch = source.node is None and len(node.edges) > 1
        if tensor.size == source.size == 1:
            factor = float(np.sum(local_derivative(node, rule)))
            gain = math.log10(abs(factor)) if factor else -math.inf
            edges.append(_Edge(source, factor, gain, is_branch=is_branch))
        else:
            # If the source has no other consumer, its gradient is the one that this edge passes on.
            arrived = norms[source] if uses[source] == 1 else _log10(share(node, (index, source, rule), g))
            edges.append(_Edge(source, None, arrived - norm, silent=norm == -math.inf, is_branch=is_branch))
    return edges


def _log10(g: ExtendedArray) -> float:
    """log10‖g‖, by a faster way for single numbers, which are most of the gradients in a large graph."""
    if g.mantissa.size > 1:
        return float(log10_norm(g))
    size = abs(float(g.mantissa.item()))
    return math.log10(size) + g.exponent * math.log10(2) if size else -math.inf


def _name_pairs(edges: dict[Tensor, list[_Edge]]) -> None:
    """Find each activation after a weight among the edges of single numbers, and set their symbols and the pair."""
    below: dict[Tensor, int] = {}  # the number of activations on the path to a tensor
    inside = _inside_activations(edges)
    for tensor in reversed(edges):  # sources first
        activation = None if tensor in inside else Activation.of(tensor)
        below[tensor] = max(below.get(edge.source, 0) for edge in edges[tensor]) + (activation is not None)
        (first, *others) = edges[tensor]
        if activation is None or first.factor is None or others or first.source in inside:
            continue
        layer = below[tensor]
        first.symbol = f"{activation.symbol}′({subscripted('z', layer)})"
        if (weight := _weight_below(first.source, edges)) and weight.factor is not None:
            weight.symbol = subscripted("w", layer)
            words = f"with {weight.symbol}: {style.three_digits(weight.factor * first.factor)}"
            first.pair = words, weight.gain + first.gain


def _inside_activations(edges: dict[Tensor, list[_Edge]]) -> set[Tensor]:
    """The intermediate results of activations that consist of several operations. They are not activations
    themselves.
    """
    inside: set[Tensor] = set()
    for tensor in edges:
        call = Activation.call_of(tensor)
        given = {id(x) for x in call.inputs} if call else set()
        unseen = [tensor] if given else []
        while unseen:
            for edge in edges.get(unseen.pop(), ()):
                if id(edge.source) not in given and edge.source not in inside and edge.source.node is not None:
                    inside.add(edge.source)
                    unseen.append(edge.source)
    return inside


def _weight_below(z: Tensor, edges: dict[Tensor, list[_Edge]]) -> _Edge | None:
    """The edge from z = w a + b to the earlier activation a, through one product and perhaps a sum; None if none is."""
    terms = [z]
    if z.node is not None and z.node.function is np.add:
        terms = [edge.source for edge in edges[z]]
    products = [t for t in terms if t.node is not None and t.node.function in PRODUCTS]
    entering = [edge for product in products for edge in edges[product] if edge.source.node is not None]
    if len(entering) != 1:
        return None
    return entering[0] if Activation.of(entering[0].source) else None


def _leaf(picture: "Digraph", key: str, tensor: Tensor, name: str | None, size: str, value: str | None) -> None:
    title = name or type(tensor).__name__
    what = f"= {style.three_digits(tensor.item())}" if tensor.shape == () else f"shape {tensor.shape}"
    lines = [title, what, f"log₁₀‖∂C/∂·‖ = {size}"]
    if value is not None:
        lines.insert(2, f"∂C/∂· = {value}")
    tip = style.tooltip(f"{title}: {tensor.dtype} of shape {tensor.shape}, log₁₀‖∂C/∂·‖ = {size}")
    style.node(picture, key, style.box(lines, style.HIGHLIGHT, style.HIGHLIGHT_FRAME, bold=0), tooltip=tip)


def _operation(picture: "Digraph", ids: dict[int, str], tensor: Tensor, node: Node, size: str, is_cost: bool) -> None:
    """Draw the node of an operation, and nodes for its arguments that are data and require no gradient."""
    key = ids[id(tensor)]
    asking = {index for index, _, _ in node.edges}
    for i, (value, argument) in enumerate(zip(node.values, node.inputs, strict=True)):
        if isinstance(argument, Tensor | np.ndarray) and i not in asking:
            if id(argument) not in ids:
                ids[id(argument)] = f"n{len(ids)}"
                _constant(picture, ids[id(argument)], argument, value)
            style.edge(picture, ids[id(argument)], key, style="dashed", tooltip="data: no gradient is asked for")
    call = words_of(node)
    shape = f"= {style.three_digits(tensor.item())}" if tensor.shape == () else f"shape {tensor.shape}"
    title = tensor.name or ("cost C" if is_cost else None)
    lines = [*([title] if title else []), call, shape]
    tip = f"{call}: {tensor.dtype} of shape {tensor.shape}, log₁₀‖∂C/∂·‖ = {size}"
    frame, bold = style.INK if is_cost else style.FRAME, 0 if title else None
    style.node(picture, key, style.box(lines, frame=frame, bold=bold), tooltip=style.tooltip(tip))


def _constant(picture: "Digraph", key: str, argument: Any, value: Any) -> None:
    name = argument.name if isinstance(argument, Tensor) else None
    what = f"{style.three_digits(float(value))}" if np.shape(value) == () else f"data {np.shape(value)}"
    lines = [*([name] if name else []), what]
    tip = f"{name or 'data'}: {value.dtype} of shape {np.shape(value)}, no gradient is asked for"
    style.node(picture, key, style.box(lines, style.DATA, bold=0 if name else None), tooltip=style.tooltip(tip))


def _draw_edge(picture: "Digraph", tail: str, head: str, edge: _Edge, computed: bool) -> None:
    if not computed or edge.silent:
        why = "no gradient arrives here" if computed else "not computed: call backward first"
        style.edge(picture, tail, head, **style.unknown(why))
        return
    lines = [f"{edge.symbol} = {edge.value}" if edge.symbol else edge.value]
    what = "factor" if edge.factor is not None else "gain of the gradient's norm"
    tip = style.tooltip(f"{what} {edge.value.removeprefix('gain ')}, {style.decades(edge.gain)} decades")
    # Branches are drawn as a gain of 1, thin and white, so that the path stands out; but NaN is always shown.
    shown = 0.0 if edge.is_branch and not math.isnan(edge.gain) else edge.gain
    label = style.box(lines, style.fill(shown))
    if edge.pair:
        words, gain = edge.pair
        label = style.box([*lines, words], style.fill(shown), bold=1, under_bold=style.fill(gain))
    weight = "" if edge.is_branch else "20"  # Graphviz draws heavy edges straight, so leaves are beside the path
    style.edge(picture, tail, head, label, tooltip=tip, labeltooltip=tip, weight=weight, **style.line(shown))


def _notes(computed: bool, edges: Sequence[_Edge]) -> list[str]:
    if not computed:
        return ["Arrows: the way of the data. –: not computed: no leaf has a .grad, call backward."]
    notes = ["Arrows: the way of the data. On an edge: what multiplies the gradient on its way back."]
    if any(edge.factor is None for edge in edges):
        notes.append("gain: how the norm of the gradient changes where the factor is a matrix.")
    if any(edge.pair for edge in edges):
        notes.append("with w: this factor times the w of the edge before; that w is not a second factor.")
    if any(edge.is_branch for edge in edges):
        notes.append("Edges to leaves beside the way, such as weights, have no colour.")
    return notes
