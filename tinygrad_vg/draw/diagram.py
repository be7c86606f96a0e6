"""Nielsen's diagram of a network: a column of neurons for each layer, with bars, and one path through them.

This module is internal to `draw`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.draw.plane import Plane, Point
from tinygrad_vg.instruments.paths import Path
from tinygrad_vg.notation import subscripted

_SMALL = 11.0  # the size of the letters
_CELL: Point = (70.0, 42.0)  # the size of a neuron's box
_BAR = 58.0  # the length of the longest bar
_ROOM = 5.0  # between two neurons, and between them and the frame of their layer
_LINE = 14.0  # the height of a line of text
_ARROW = 10.0  # what is seen of an arrow before and after its label
_GAP = 34.0  # the least room between two layers side by side
_END = 28.0  # the size of the boxes at both ends of the path
_WAYS = {"LR": (1, 0), "RL": (-1, 0), "TB": (0, 1), "BT": (0, -1)}  # of the data: to the right, and down


class Diagram:
    """A diagram in one of four directions. "Along" is the way of the data, and "across" is at right angles to it.

    Args:
        rankdir: the direction, as for `draw.neurons`.
        widths: the number of neurons of each layer.

    Attributes:
        picture: the `graphviz.Digraph`.

    Raises:
        ValueError: for another `rankdir`.
    """

    def __init__(self, rankdir: str, widths: Sequence[int]) -> None:
        if rankdir not in _WAYS:
            style.canvas(rankdir)  # which says what is allowed
        self._way = _WAYS[rankdir]
        self._is_upright = self._way[1] == 0  # the neurons of a layer stand one below the other
        self._along, self._across = _CELL if self._is_upright else _CELL[::-1]
        self._plane = Plane()
        self._widths = widths
        self._gap = 0.0  # between two layers
        self._bottom = 0.0  # of all layers
        self.picture = self._plane.picture

    def draw(self, path: Path, sizes: Sequence[Any], first: int, samples: int, is_mean: bool) -> None:
        """Draw the layers, and the path from b₁ to the cost.

        Args:
            path: the path.
            sizes: |∂C/∂b| of each layer's neurons, arrays (out,).
            first: how many neurons of each layer are drawn besides those on the path.
            samples: the number of samples of the cost; if it is 1, the cost is that sample's own.
            is_mean: whether the cost is the mean of its samples' own costs.
        """
        route, cost = path.neurons, "C" if samples == 1 else "Cₓ"
        factors = _factors(path, cost)
        labels = [words if self._is_upright else [" ".join(words)] for words, _ in factors]
        self._make_room(labels)
        shown = [sorted({*range(min(first, width)), i}) for width, i in zip(self._widths, route, strict=True)]
        self._draw_layers(shown, sizes, route)
        slots = [some.index(i) for some, i in zip(shown, route, strict=True)]
        for layer, (below, above) in enumerate(pairwise(shown)):
            for tail, head in product(range(len(below)), range(len(above))):
                if (tail, head) != (slots[layer], slots[layer + 1]):
                    self._draw_faint(layer, tail, head)
        self._draw_end("b", -1, slots[0], subscripted("b", 1), style.HIGHLIGHT_FRAME, f"of neuron {route[0] + 1}")
        self._draw_end("cost", len(route), slots[-1], cost, style.INK, "the cost" if samples == 1 else "its own cost")
        stops = [slots[0], *slots, slots[-1]]
        for i, ((_, gain), label) in enumerate(zip(factors, labels, strict=True)):
            self._draw_factor(i, stops[i : i + 2], label, gain)
        if samples > 1:
            self._draw_whole(slots[-1], samples, is_mean)
        self._draw_result(path, cost)

    def draw_unknown(self, first: int) -> None:
        """Draw the first neurons of each layer without a number."""
        self._make_room([[style.NOT_COMPUTED]])
        shown = [list(range(min(first, width))) for width in self._widths]
        self._draw_layers(shown, [None] * len(shown), [])
        for layer, (below, above) in enumerate(pairwise(shown)):
            for tail, head in product(range(len(below)), range(len(above))):
                if tail or head:
                    self._draw_faint(layer, tail, head)
        self._draw_end("cost", len(shown), 0, "C", style.INK, "the cost")
        for i in range(1, len(shown) + 1):
            self._draw_factor(i, [0, 0], [style.NOT_COMPUTED], 0.0, "not computed")

    # Where things are.

    def _make_room(self, labels: Sequence[Sequence[str]]) -> None:
        """Set the gap between two layers, so that the arrows and labels of the path have room.

        Labels stand between layers that are one below the other. Layers side by side would be too far apart: there
        the labels stand in a row below all layers, each under its gap, and only need not overlap.
        """
        width, height = (
            max(style.width_of(line, _SMALL) for lines in labels for line in lines) + 6,
            max(map(len, labels)) * _LINE + 4,
        )
        if self._is_upright:
            self._gap = max(_GAP, width + 4 - self._along - 2 * _ROOM)
        else:
            self._gap = height + 2 * _ARROW

    def _at(self, layer: float, slot: float, shift: float = 0.0) -> Point:
        """The middle of a neuron, by the number of its layer from 0 on and its place there; or shifted along."""
        along = layer * (self._along + 2 * _ROOM + self._gap) + shift
        across = slot * (self._across + _ROOM)
        x, y = self._way
        return (x * along, across) if self._is_upright else (across, y * along)

    def _side(self, layer: int, slot: int, side: int) -> Point:
        """Where a line arrives at a layer (side −1) or leaves it (1): at its frame, beside the neuron."""
        if 0 <= layer < len(self._widths):
            return self._at(layer, slot, side * (self._along / 2 + _ROOM))
        return self._at(layer, slot, self._to_end(layer) + side * _END / 2)

    def _to_end(self, layer: int) -> float:
        """How much nearer to the layers the box at an end of the path is than a layer would be."""
        nearer = self._along / 2 + _ROOM - _END / 2
        return nearer if layer < 0 else -nearer

    # What is drawn.

    def _draw_layers(self, shown: Sequence[Sequence[int]], sizes: Sequence[Any], route: Sequence[int]) -> None:
        """Draw a frame for each layer with its name, the neurons that are shown, and how many are not."""
        finite = [float(np.max(size[np.isfinite(size)], initial=0.0)) for size in sizes if size is not None]
        longest = max(finite, default=0.0) or 1.0
        for layer, (some, size) in enumerate(zip(shown, sizes, strict=True)):
            self._draw_frame(layer, len(some), size)
            for slot, i in enumerate(some):
                value = None if size is None else float(size[i])
                self._draw_neuron(layer, slot, i, value, longest, is_on_path=route[layer : layer + 1] == [i])
        self._bottom = self._plane.bottom

    def _draw_frame(self, layer: int, count: int, size: Any) -> None:
        name, width = f"layer {layer + 1}", self._widths[layer]
        rest = f"+{width - count}" if width > count else ""
        largest = style.NOT_COMPUTED if size is None else style.three_digits(float(np.max(size)))
        tip = style.tooltip(f"{name}: {width} neurons, the largest |∂C/∂b| is {largest}")
        before = _LINE if self._is_upright else style.width_of(name, _SMALL)
        after = 0.0 if not rest else _LINE if self._is_upright else style.width_of("+999", _SMALL)
        length = count * (self._across + _ROOM) + _ROOM
        (x, y), (dx, dy) = self._at(layer, (count - 1) / 2), ((0, 1) if self._is_upright else (1, 0))
        sizes = self._along + 2 * _ROOM, length + before + after
        shift = (after - before) / 2
        self._plane.box(name, (x + dx * shift, y + dy * shift), sizes if self._is_upright else sizes[::-1], [],
                        tooltip=tip)  # fmt: skip
        at = -(length + before) / 2 + _ROOM / 2, (length + after) / 2 - _ROOM / 2
        for key, words, across in ((f"{name} name", name, at[0]), (f"{name} rest", rest, at[1])):
            if words:
                self._plane.words(key, (x + dx * across, y + dy * across), words, _SMALL, fill=style.PAPER)

    def _draw_neuron(
        self, layer: int, slot: int, i: int, value: float | None, longest: float, is_on_path: bool
    ) -> None:
        """Draw a neuron: its number, its |∂C/∂b| and its bar."""
        key, (x, y) = f"{layer + 1}.{i + 1}", self._at(layer, slot)
        fill, frame = (style.HIGHLIGHT, style.HIGHLIGHT_FRAME) if is_on_path else (style.WHITE, style.FRAME)
        size = style.NOT_COMPUTED if value is None else style.three_digits(value)
        tip = f"neuron {i + 1} of layer {layer + 1}"
        self._plane.box(key, (x, y), _CELL, [f"neuron {i + 1}", size, " "], fill=fill, frame=frame, tooltip=tip,
                        fontsize=f"{_SMALL:g}")  # fmt: skip
        length = 0.0 if value is None or not math.isfinite(value) else _BAR * value / longest
        if length >= 0.5:
            self._plane.bar(f"{key} bar", (x - (_BAR - length) / 2, y + _CELL[1] / 2 - 6), (length, 6.0), style.BAR)

    def _draw_faint(self, layer: int, tail: int, head: int) -> None:
        """Draw a line between two neurons of neighbouring layers."""
        self._plane.line([self._side(layer, tail, 1), self._side(layer + 1, head, -1)], color=style.FAINT)

    def _draw_end(self, key: str, layer: int, slot: int, words: str, frame: str, tip: str) -> None:
        fill = style.HIGHLIGHT if frame == style.HIGHLIGHT_FRAME else style.PAPER
        middle = self._at(layer, slot, self._to_end(layer))
        self._plane.box(key, middle, (_END, _END), [words], fill=fill, frame=frame, tooltip=tip)

    def _draw_factor(self, i: int, slots: Sequence[int], lines: Sequence[str], gain: float, why: str = "") -> None:
        """Draw the edge of the path to layer i, counted from 0, and its label; `why` there is no number."""
        tip = style.tooltip(why or f"{' '.join(lines)}, {style.decades(gain)} decades")
        start, end = self._side(i - 1, slots[0], 1), self._side(i, slots[1], -1)
        line = {} if why else style.line(gain)
        self._plane.arrow(self._key(i - 1), self._key(i), start, end, tooltip=tip, **line)
        (x, y), height = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), len(lines) * _LINE + 4
        width = max(style.width_of(line, _SMALL) for line in lines) + 6
        middle = (x, self._bottom + 8 + height / 2) if self._is_upright else (x, y)
        self._plane.box(f"factor {i}", middle, (width, height), lines, fill=style.fill(gain),
                        tooltip=tip, fontsize=f"{_SMALL:g}")  # fmt: skip

    def _key(self, layer: int) -> str:
        """The node at an end of the path's edges: the frame of a layer, or what is before or after all of them."""
        return f"layer {layer + 1}" if 0 <= layer < len(self._widths) else "b" if layer < 0 else "cost"

    def _draw_whole(self, slot: int, samples: int, is_mean: bool) -> None:
        """Draw the cost of all samples beside that of the one, and a dashed line to it, which has no factor."""
        layer = len(self._widths)
        x, y = self._at(layer, slot, self._to_end(layer))
        words = f"mean of {samples} samples" if is_mean else f"cost of {samples} samples"
        lines = words.rsplit(" ", 2) if self._is_upright else [words]
        width, height = max(style.width_of(line, _SMALL) for line in lines) + 6, len(lines) * _LINE
        length = (height if self._is_upright else width) + 30
        # Up, away from the labels below the layers; or back over the layers, if they reach as far.
        back = -1 if self._is_upright or slot * (self._across + _ROOM) > length else 1
        dx, dy = (0, back) if self._is_upright else (back, 0)
        start, end = ((x + dx * distance, y + dy * distance) for distance in (_END / 2, _END / 2 + length))
        self._plane.arrow("cost", "whole", start, end, color=style.FRAME, style="dashed", tooltip=words)
        self._plane.box("whole", (end[0] + dx * _END / 2, end[1] + dy * _END / 2), (_END, _END), ["C"],
                        frame=style.FRAME, tooltip=words)  # fmt: skip
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        self._plane.box("mean", middle, (width, height), lines, fill=style.WHITE, frame=style.WHITE, style="filled",
                        fontsize=f"{_SMALL:g}", tooltip=words)  # fmt: skip

    def _draw_result(self, path: Path, cost: str) -> None:
        """Say below everything what the product of the path is, and what all paths give."""
        lines = [
            f"product of this path = {style.power(*path.product)}",
            f"all paths: ∂{cost}/∂b₁ of neuron {path.neurons[0] + 1} = {style.power(*path.whole)}",
        ]
        left, right, bottom = self._plane.left, self._plane.right, self._plane.bottom
        width = max(style.width_of(line, _SMALL) for line in lines) + 12
        self._plane.box("result", ((left + right) / 2, bottom + 28), (width, 2 * _LINE + 6), lines,
                        fill=style.HIGHLIGHT, frame=style.HIGHLIGHT_FRAME, fontsize=f"{_SMALL:g}",
                        tooltip=style.tooltip("; ".join(lines)))  # fmt: skip


def _factors(path: Path, cost: str) -> list[tuple[list[str], float]]:
    """What stands on each edge of the path: its name and its value, and log10 of its magnitude."""
    factors = []
    for layer, (symbol, slope) in enumerate(zip(path.symbols, path.slopes, strict=True), 1):
        bent = f"{symbol}′({subscripted('z', layer)})" if symbol else ""
        weight = subscripted("w", layer) if layer > 1 else ""
        words = " ".join(filter(None, (weight, bent))) or "∂z₁/∂b₁"
        value = slope * (path.weights[layer - 2] if layer > 1 else 1.0)
        size = math.log10(abs(value)) if value else -math.inf
        factors.append(([words, f"= {style.three_digits(value)}"], size))
    top = subscripted("a" if path.symbols[-1] else "z", len(path.neurons))
    return [*factors, ([f"∂{cost}/∂{top}", f"= {style.power(*path.end)}"], path.end[1])]
