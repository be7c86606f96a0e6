"""`layers`: a picture of a network by layers, with the change of the gradient's norm in each step and its causes."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.engine import Tensor
from tinygrad_vg.instruments.accounts import MEASURE, Part, Row
from tinygrad_vg.instruments.diagnose import diagnose
from tinygrad_vg.instruments.factors import slopes_at
from tinygrad_vg.instruments.ledger import Ledger
from tinygrad_vg.instruments.signals import Unit, outline
from tinygrad_vg.instruments.verdict import KEEPS, SATURATED, STEADY, Diagnosis
from tinygrad_vg.nn import Layer, Module, Residual, Sequential
from tinygrad_vg.notation import median

if TYPE_CHECKING:
    from graphviz import Digraph

_MEANINGS = {
    "shrinking": f"the gradient's step to the layer loses more than {STEADY} decades",
    "saturated": f"it loses more than {STEADY}, by slopes more than {SATURATED:g} decade below their largest",
    "growing": f"it gains more than {STEADY} decades",
    "stable": f"it changes by {STEADY} decades at most",
    "dead": "no gradient arrives, in several backwards",
    "no gradient": "none arrives in this backward",
    "underflow": "it is below the smallest number of its type",
    "not finite": "it, or z of the last layer, holds NaN or infinity",
}
# The states of layers that say the same as the state of the network; the others say something else beside any.
_DOWN = {"shrinking", "saturated"}
_LIKE = {"vanishing": _DOWN, "shrinking": _DOWN, "exploding": {"growing"}, "growing": {"growing"}, "stable": {"stable"},
         "uneven": set[str](), "unsure": set[str]()}  # fmt: skip
_FOLDED = 3  # this number of identical neighbours, or more, is drawn as one


@dataclass(frozen=True)
class _Layer:
    """A layer, with the gradient's step to it from the next layer; the last layer has no step."""

    number: int
    module: Layer
    units: tuple[Unit, ...]  # the units between this layer and the next one
    row: Row | None
    z: Any  # None if the layer was not called
    log10_norm: float | None  # None if no backward reached the layer; NaN if the gradient holds NaN
    state: str

    @property
    def size(self) -> str:
        return style.NOT_COMPUTED if self.log10_norm is None else style.magnitude(self.log10_norm)

    @property
    def kind(self) -> tuple[Any, ...]:
        """Neighbours with the same kind may be drawn as one."""
        units = tuple(_words(unit) for unit in self.units)
        return _words_of_layer(self.module), units, self.state, self.row is None


def layers(
    model: Module,
    source: Tensor | Ledger,
    *,
    expand: bool | int | Collection[int] = False,
    rankdir: str = "TB",
) -> "Digraph":
    """A picture of a network with a node for each layer. Each edge has the change of the gradient's norm in decades.

    A node shows z (mean ± standard deviation), the mean slope of its activation and log₁₀‖δ‖; its colour is that of the
    verdict on its step (`instruments.diagnose`). The last layer has no step; it is "not finite" where its z is not
    finite. The legend has the verdict on the network. An edge shows the total of the gradient's step, and the parts of
    weights and slopes. Three or more identical neighbours are drawn as one
    node, and the edge from it has the sum of their steps; so all edges of a picture add up to the total change. For an
    ensemble, decades are medians over the members, which need not add up; z and slopes are taken over all members
    together.

    Args:
        model: Linears in a row with modules between them, as for `Ledger`.
        source: the cost of one call of the model, or a Ledger that has heard a backward. The numbers of gradients are
            "–" as long as no parameter of the model has a `.grad`, and for a ledger that has heard no backward.
        expand: True to fold nothing, or the number or numbers of layers that are to have their own node.
        rankdir: the direction of the data: "TB" down, "LR" to the right, "BT" up, "RL" to the left. Many layers fit on
            a page only from top to bottom.

    Returns:
        A `graphviz.Digraph`: Jupyter shows it, `draw.save` writes it to a file.

    Raises:
        TypeError: if `source` is neither a Tensor nor a Ledger.
        ValueError: if the cost or ledger is of another model, the layers are not in a row, or the model does not have
            the layers in `expand`.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.mlp([30] * 51, rng=0)
    >>> cost = np.sum(net(np.ones((10, 30))))
    >>> cost.backward()
    >>> "layers 1 to 49" in tg.draw.layers(net, cost).source
    True
    """
    ledger = Ledger.of(model, source) if isinstance(source, Tensor) else source
    if not isinstance(ledger, Ledger):
        raise TypeError(f"layers draws the cost of a model or a Ledger, not {type(source).__name__}")
    if ledger.chain.unit != "layer":
        raise ValueError("layers draws layers, and this model has time steps: plots.blame(ledger) draws those")
    computed = ledger.heard
    if isinstance(source, Tensor):  # Ledger.of has computed the gradients, but they are shown only after a backward
        computed = style.has_gradient(model.parameters())
    picture = style.canvas(rankdir)
    diagnosis = diagnose(ledger) if computed and ledger.rows else None
    chain = _chain(model, ledger, computed, diagnosis)
    picture.node(
        "x",
        style.box(
            [f"x: {chain[0].module.width[0]} {'channels' if chain[0].module.channels_first else 'inputs'}"], style.DATA
        ),
        tooltip="the data",
    )
    tail = "x"
    below: list[_Layer] = []
    for group in _folded(chain, expand):
        key = f"layer {group[0].number}"
        picture.node(key, **_node(group))
        link = _edge(below) if below else {"tooltip": "no gradient is asked for", "style": "dashed"}
        picture.edge(tail, key, **link)
        tail = key if len(group) > 1 else _residuals(picture, key, group[0], fold=expand is not True)
        below = group
    value = f" = {style.three_digits(source.item())}" if isinstance(source, Tensor) else ""
    picture.node("C", style.box([f"cost C{value}"], frame=style.INK, bold=0), tooltip="the cost")
    picture.edge(tail, "C", tooltip="from the last layer's z to the cost")
    notes = _notes(chain, computed, diagnosis)
    if computed and ledger.log10_norm.ndim > 1:
        notes.append(f"An ensemble: medians of {ledger.log10_norm.shape[1]} networks, and C is the sum of their costs.")
    style.legend(picture, *notes)
    return picture


def _chain(model: Module, ledger: Ledger, computed: bool, diagnosis: Diagnosis | None) -> list[_Layer]:
    chain = ledger.chain if ledger.chain.units else outline(model)
    parts = {id(module) for _, module in model.named_modules()}
    if any(id(unit.module) not in parts for unit in ledger.chain.units if unit.name is not None):
        raise ValueError("this ledger keeps the accounts of another model")
    rows = ledger.rows if computed else ()
    states = [verdict.state for verdict in diagnosis.layers] if diagnosis else []
    layers = []
    modules: list[Any] = [layer.module for layer in chain.layers]
    behind = [units for _, units, _ in chain.steps()]
    for i, layer in enumerate(chain.layers):
        is_lost = computed and layer.z is not None and not np.isfinite(layer.z).all()
        state = states[i] if i < len(rows) else "not finite" if is_lost else ""
        layers.append(
            _Layer(
                number=i + 1,
                module=modules[i],
                units=tuple(behind[i] if i < len(behind) else chain.tail),
                row=rows[i] if i < len(rows) else None,
                z=layer.z,
                log10_norm=median(ledger.log10_norm[i]) if computed and state != "not computed" else None,
                state=state,
            )
        )
    return layers


def _folded(chain: Sequence[_Layer], expand: bool | int | Collection[int]) -> Iterator[list[_Layer]]:
    """The layers in groups; each group is drawn as one node."""
    if isinstance(expand, bool):
        expand = [layer.number for layer in chain] if expand else []
    alone = set(expand if isinstance(expand, Collection) else [expand])
    if unknown := alone - {layer.number for layer in chain}:
        raise ValueError(f"expand names layers {sorted(unknown)}; this model has layers 1 to {len(chain)}")
    for _, neighbours in groupby(chain, lambda layer: (layer.number if layer.number in alone else 0, layer.kind)):
        group = list(neighbours)
        if len(group) >= _FOLDED:
            yield group
        else:
            yield from ([layer] for layer in group)


def _node(group: Sequence[_Layer]) -> dict[str, str]:
    first, last = group[0], group[-1]
    shape = _words_of_layer(first.module)
    title = f"layer {first.number}" if first is last else f"layers {first.number} to {last.number}"
    lines = [f"{title}: {shape}", f"z = {_spread(group)}"]
    if first.units and first.units[0].activation and first.units[0].activation.symbol:
        lines.append(f"mean {_symbol(first.units[0])} = {_mean_slope(group)}")
    size = " … ".join(dict.fromkeys([first.size, last.size]))
    lines.append(f"log₁₀‖δ‖ = {size}")
    if first.state:
        lines.append(first.state)
    if first is not last and any(isinstance(unit.module, Residual) for unit in first.units):
        lines.append("around each block: ×1")
    tip = f"{title}: {shape}; log₁₀‖δ‖ = {size}; {first.state or 'no step to judge'}"
    colour = style.VERDICTS.get(first.state, style.PAPER)
    return {"label": style.box(lines, colour, bold=0), "tooltip": style.tooltip(tip)}


def _spread(group: Sequence[_Layer]) -> str:
    """Mean ± standard deviation of z over all layers of a group."""
    if any(layer.z is None for layer in group):
        return style.NOT_COMPUTED
    z = np.concatenate([np.ravel(layer.z).astype(np.float64) for layer in group])
    with np.errstate(over="ignore", invalid="ignore"):  # z of an exploded network may be infinite
        return f"{style.three_digits(z.mean())} ± {style.three_digits(z.std())}"


def _mean_slope(group: Sequence[_Layer]) -> str:
    """The mean slope of the activation over samples and neurons."""
    if any(layer.z is None for layer in group):
        return style.NOT_COMPUTED
    means = [np.mean(slopes_at(layer.units[0].activation, layer.z), dtype=np.float64) for layer in group]
    return style.three_digits(float(np.mean(means)))


def _symbol(unit: Unit) -> str:
    """The symbol of the factor of a unit between two layers: "σ′", or the unit's label."""
    return f"{unit.activation.symbol}′" if unit.activation and unit.activation.symbol else unit.label


def _edge(group: Sequence[_Layer]) -> dict[str, str]:
    """The attributes of the edge to the next layer, with the sum of the steps of the group."""
    rows = [layer.row for layer in group if layer.row is not None]
    count = f"×{len(group)}: " if len(group) > 1 else ""
    if not rows or group[0].state == "not computed":
        return style.unknown("not computed", count)
    if all(np.max(row.log10_norm) == -math.inf and median(row.total) == 0 for row in rows):
        return style.unknown("no gradient arrives here", count)
    total, weights, between = (
        sum(median(getattr(row, name)) for row in rows) for name in ("total", "weights", "activation")
    )
    shares: dict[str, float] = {} if group[0].units else {"between": between}
    for i, unit in enumerate(group[0].units):
        name = _symbol(unit)
        # The parts of a row are in the order in which the gradient passes them, the reverse of the units' order.
        shares[name] = shares.get(name, 0.0) + sum(median(row.parts[::-1][i].decades) for row in rows)
    split = ", ".join(f"{name} {style.decades(share)}" for name, share in {**shares, "W": weights}.items())
    lines = [f"{count}{style.decades(total)} decades of ‖δ‖", split]
    tip = style.tooltip(f"the gradient's way back through {len(rows)} step(s): {'; '.join(lines)}")
    return {
        "label": style.box(lines, style.fill(total / len(rows)), bold=0),
        "tooltip": tip,
        "labeltooltip": tip,
        **style.line(total / len(rows)),
    }


def _residuals(picture: "Digraph", key: str, layer: _Layer, fold: bool) -> str:
    """Draw the residual blocks after a layer, each with the edge around it; return the last node drawn."""
    parts: Sequence[Part | None] = layer.row.parts[::-1] if layer.row else [None] * len(layer.units)
    blocks = [pair for pair in zip(layer.units, parts, strict=False) if isinstance(pair[0].module, Residual)]
    tail = key
    for i, (inside, neighbours) in enumerate(groupby(blocks, lambda pair: _words(pair[0]))):
        group = list(neighbours)
        for j, some in enumerate([group] if fold and len(group) >= _FOLDED else [[block] for block in group]):
            block, end = f"{key} block {i}.{j}", f"{key} sum {i}.{j}"
            gains = [median(part.decades) for _, part in some if part is not None]
            count = f"×{len(some)}: " if len(some) > 1 else ""
            size = f"{style.decades(sum(gains))} decades of ‖δ‖" if gains else style.NOT_COMPUTED
            colour = style.fill(sum(gains) / len(gains)) if gains else style.PAPER
            picture.node(block, style.box([inside]), tooltip=style.tooltip(f"x + {inside}"))
            # After the last layer there is no step, so there are no decades.
            is_last = layer.row is None and layer.log10_norm is not None
            lines = ["x + block"] if is_last else ["x + block", f"{count}{size}"]
            picture.node(end, style.box(lines, colour), tooltip="both ways together")
            picture.edge(tail, block, tooltip="through the block")
            picture.edge(block, end, tooltip="through the block")
            picture.edge(tail, end, style.box(["×1"], style.WHITE), tooltip="around it: the gradient as it is")
            tail = end
    return tail


def _words(unit: Unit) -> str:
    """A unit in a few words: its module with the modules inside, or its label."""
    return unit.label if unit.module is None else _summary(unit.module)


def _words_of_layer(layer: Layer) -> str:
    return "{} {} → {}".format(type(layer).__name__, *layer.width)


def _summary(module: Module) -> str:
    if isinstance(module, Layer):
        return _words_of_layer(module)
    inner = [_summary(child) for _, child in module.named_children()]
    if isinstance(module, Sequential):
        return ", ".join(inner)
    return type(module).__name__ + (f"({', '.join(inner)})" if inner else "")


def _beside(diagnosis: Diagnosis) -> list[str]:
    """Why layers have another state than the network, in notes; none if they have not."""
    states = {verdict.state for verdict in diagnosis.layers}
    if states <= _LIKE.get(diagnosis.state, states):
        return []
    border = f", less than {KEEPS:g} decade" if diagnosis.state == "stable" else ""
    return [f"This is the verdict on the whole way{border};", "the words in the boxes are those on one step each."]


def _notes(chain: Sequence[_Layer], computed: bool, diagnosis: Diagnosis | None) -> list[str]:
    notes = str(diagnosis).split("; ") if diagnosis else []
    if diagnosis:
        notes += _beside(diagnosis)
    notes.append(MEASURE)
    notes.append("Edges: decades (log₁₀) that ‖δ‖ gains or loses in one step back,")
    notes.append("split into what lies between the layers (σ′) and the weights (W).")
    notes.append("Their colour: the decades of a step; of layers drawn as one, the mean of their steps.")
    states = [state for state in style.VERDICTS if any(layer.state == state for layer in chain)]
    if not computed:
        notes.append("–: not computed: no parameter has a .grad, call backward.")
    elif states:
        notes.append(f"Layers are coloured by their step's verdict: {', '.join(states)}.")
        notes += [f"{state}: {_MEANINGS[state]}." for state in states]
    return notes
