"""`chain`: Eq. 122 as a strip, with a bar for each partial product, and the gradient that they arrive at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tinygrad_vg.draw import style
from tinygrad_vg.draw.plane import Plane, Point
from tinygrad_vg.draw.product import Number, Product, Step, product_of
from tinygrad_vg.draw.slopes import draw_slopes
from tinygrad_vg.engine import Tensor
from tinygrad_vg.notation import subscripted

if TYPE_CHECKING:
    from graphviz import Digraph

_SMALL = 11.0  # the size of all letters but those in the neurons
_LEFT, _NODE, _BAR, _GAP = 34.0, 26.0, 26.0, 8.0  # the axis' room, the width of a neuron and of a bar, between boxes
_Z, _NEURONS, _FACTORS, _AXIS = 7.0, 31.0, 50.0, 112.0  # y from the top of a row
_ROW, _RESULT, _HEIGHT = (
    264.0,
    274.0,
    300.0,
)  # the height of a row, y of the result, and the height of a strip of one row
_WIDEST = 730.0  # letters of 11 points are 9 px high where a picture so wide is 600 px wide on a page
_LINE, _LENGTH = 14.0, 118.0  # the height of a line, and the length of the axis


def chain(cost: Tensor | Sequence[Tensor], bias: Tensor | Sequence[Tensor]) -> "Digraph":
    """Eq. 122 of Nielsen's chapter 5 as one strip, for a network that is one neuron wide.

    From left to right stand the bias b₁, the neurons with their z_j, and the cost C. Under each edge stands once what
    multiplies the gradient there: σ′(z₁), the pairs w_j σ′(z_j), and ∂C/∂a_L. Below are bars on a log axis: the product
    of all factors from the left up to there. They begin at 1 and hang down in blue where it is smaller, and stand in
    red where it is larger. The last bar is the product of all factors; beside it stands ∂C/∂b₁ as a walk back through
    the whole recorded graph measures it, and the strip says to how many digits the two agree. The curve is σ′, with
    a dot at each z_j. No backward is needed, and drawing changes no `.grad`.

    A long chain is broken into rows, each of which begins with the last neuron of the row before. Several chains stand
    one below the other. All bars have one scale.

    Args:
        cost: a Tensor of one element that was computed from `bias` along one path of tensors of one element each, as
            for `instruments.chain_factors`; or several of them.
        bias: the tensor at which the path begins. Its layer is number 1. One for each cost.

    Returns:
        A `graphviz.Digraph`, about 600 × 320 points for four neurons: Jupyter shows it, `draw.save` writes it.

    Raises:
        TypeError: if a cost or a bias is not a Tensor.
        ValueError: if a cost has several elements, does not depend on its bias, or is computed from it along several
            paths or through wider layers; or if there are not as many biases as costs.

    >>> import tinygrad_vg as tg
    >>> b1, w2 = (tg.Tensor(value, requires_grad=True) for value in (0.5, -2.0))
    >>> cost = tg.ops.sigmoid(w2 * tg.ops.sigmoid(b1))
    >>> strip = tg.draw.chain(cost, b1)
    >>> "w₂ σ′(z₂)" in strip.source, "equal to 10 digits" in strip.source
    (True, True)
    """
    costs, biases = ([given] if isinstance(given, Tensor) else _several(given) for given in (cost, bias))
    if len(costs) != len(biases):
        raise ValueError(
            f"draw.chain takes one bias for each cost, and here are {len(costs)} costs, {len(biases)} bias(es)"
        )
    products = [product_of(*pair) for pair in zip(costs, biases, strict=True)]
    lines = [line for one in products for step in one.steps for line in (*step.lines, step.title)]
    lines += [str(number) for one in products for number in one.running]
    column = max(76.0, _GAP + max(style.width_of(line, _SMALL) for line in lines))
    longest = max(1, int((_WIDEST - _LEFT - _NODE) / column) - 1)  # a column is left for what stands behind the cost
    axis, plane, bottom = _Axis(products), Plane(), 0.0
    for i, product in enumerate(products):
        strip = _Strip(plane, i, bottom, column, longest, axis, product)
        strip.draw()
        bottom += strip.height
    notes = "Bars: the product of the factors so far, on a log axis. Blue: below 1. Red: above 1."
    if not all(math.isfinite(number.log10) for one in products for number in (*one.running, one.measured)):
        notes += " No bar: 0, ∞ or NaN."
    plane.words("notes", ((plane.left + plane.right) / 2, bottom), notes, _SMALL)
    return plane.picture


def _several(given: Any) -> list[Any]:
    """The elements of a list; anything else alone, so that its type is checked."""
    return list(given) if isinstance(given, list | tuple) and given else [given]


class _Axis:
    """The log axis of all bars, from whole decade to whole decade, with 1 on it."""

    def __init__(self, products: Sequence[Product]) -> None:
        sizes = [number.log10 for one in products for number in (*one.running, one.measured)]
        finite = [size for size in sizes if math.isfinite(size)]
        self.low = min(math.floor(min(finite, default=0.0)), 0)
        self.high = max(math.ceil(max(finite, default=0.0)), 0)
        if self.low == self.high:
            self.low = -1

    def y(self, log10: float) -> float:
        """Where 10**log10 is, from the top of the axis; what is off the axis is at its end."""
        return _LENGTH * (self.high - min(max(log10, self.low), self.high)) / (self.high - self.low)

    @property
    def ticks(self) -> list[int]:
        """Decades to name: those that 1, 2, 5, 10, ... go into, and seven at most."""
        steps = (digit * 10**power for power in range(10) for digit in (1, 2, 5))
        step = next(step for step in steps if (self.high - self.low) / step < 7)
        return [decade for decade in range(self.low, self.high + 1) if decade % step == 0]


@dataclass(frozen=True)
class _Strip:
    """One chain on the plane."""

    plane: Plane
    index: int  # how many strips are above it
    top: float  # y of its upper end
    column: float  # from one neuron to the next
    longest: int  # the largest number of edges in a row
    axis: _Axis
    product: Product

    @cached_property
    def rows(self) -> list[range]:
        """The edges of each row; the numbers of edges differ by one at most."""
        n = len(self.product.steps)
        count = math.ceil(n / self.longest)
        return [range(math.ceil(n * row / count), math.ceil(n * (row + 1) / count)) for row in range(count)]

    @property
    def height(self) -> float:
        return _HEIGHT + (len(self.rows) - 1) * _ROW

    def draw(self) -> None:
        """Draw all parts; what is drawn later lies above."""
        last = len(self.product.steps)
        for edges in self.rows:
            self._draw_axis(edges)
        self._draw_neurons()
        for i, step in enumerate(self.product.steps):
            self._draw_factors(i, step)
        self._draw_bars()
        x, y = self._at(last - 1, 1, 0)
        draw_slopes(self.plane, self._key("slopes"), (x + _NODE / 2 + _GAP, y), self.product.steps)
        self._draw_result()

    def _at(self, edge: int, share: float, y: float) -> Point:
        """A point of the row of an edge: under its begin, its end, or between them, by the share of the way."""
        row, edges = next((row, edges) for row, edges in enumerate(self.rows) if edge in edges)
        return _LEFT + _NODE / 2 + (edge - edges[0] + share) * self.column, self.top + row * _ROW + y

    def _begins_row(self, edge: int) -> bool:
        return any(edge == edges[0] for edges in self.rows[1:])

    def _key(self, name: str) -> str:
        return f"{self.index + 1} {name}"

    def _draw_neurons(self) -> None:
        """Draw the bias, the neurons with their z, and the cost; and the first neuron of each further row."""
        last = len(self.product.steps)
        size = (_NODE, _NODE)
        bias, cost = subscripted("b", 1), "C"
        self.plane.box(self._key("node 0"), self._at(0, 0, _NEURONS), size, [bias], fill=style.HIGHLIGHT,
                       frame=style.HIGHLIGHT_FRAME, tooltip="the bias at which the path begins")  # fmt: skip
        for i, step in enumerate(self.product.steps[:-1], 1):
            tip, words = f"the neuron of layer {step.layer}", [str(step.layer)]
            self.plane.box(self._key(f"node {i}"), self._at(i - 1, 1, _NEURONS), size, words, shape="circle",
                           tooltip=tip)  # fmt: skip
            if self._begins_row(i):
                self.plane.box(self._key(f"again {i}"), self._at(i, 0, _NEURONS), size, words, shape="circle",
                               style="filled,dashed", tooltip=f"{tip}, once more")  # fmt: skip
            if step.title:
                self.plane.words(self._key(f"z {i}"), self._at(i - 1, 1, _Z), step.title, _SMALL)
        self.plane.box(self._key(f"node {last}"), self._at(last - 1, 1, _NEURONS), size, [cost], frame=style.INK,
                       tooltip="the cost")  # fmt: skip

    def _draw_factors(self, i: int, step: Step) -> None:
        """Draw an edge, and under it what it multiplies the gradient by."""
        gain = step.number.log10
        tip = style.tooltip(f"{style.with_minus('; '.join(map(str, step.factors)))}; {style.decades(gain)} decades")
        (left, y), (right, _) = self._at(i, 0, _NEURONS), self._at(i, 1, _NEURONS)
        start, end = (left + _NODE / 2, y), (right - _NODE / 2, y)
        tail, head = self._key(f"{'again' if self._begins_row(i) else 'node'} {i}"), self._key(f"node {i + 1}")
        self.plane.arrow(tail, head, start, end, tooltip=tip, **style.line(gain))
        height = 3 * _LINE + 4
        self.plane.box(self._key(f"factors {i}"), self._at(i, 0.5, _FACTORS + height / 2),
                       (self.column - 3.0, height), step.lines, fill=style.fill(gain), tooltip=tip,
                       fontsize=f"{_SMALL:g}")  # fmt: skip

    def _draw_axis(self, edges: range) -> None:
        """Draw a line for each tick below a row of edges, and its decade at the left."""
        behind = 2 if edges is self.rows[-1] else 1  # the measured gradient is behind the last bar
        (left, _), (right, _) = self._at(edges[0], 0, 0), self._at(edges[-1], behind, 0)
        left -= _NODE / 2
        for decade in self.axis.ticks:
            y = self._at(edges[0], 0, _AXIS + _LINE + self.axis.y(decade))[1]
            self.plane.line([(left, y), (right, y)], color=style.FAINT if decade else style.INK)
            words = style.with_minus(f"{10.0**decade:g}" if abs(decade) <= 3 else f"1e{decade}")
            self.plane.words(self._key(f"tick {edges[0]}.{decade}"), (left - _LEFT / 2, y), words, _SMALL)

    def _draw_bars(self) -> None:
        """Draw the partial products and, beside the last of them, the measured gradient."""
        running = self.product.running
        for i, number in enumerate(running, 1):
            words = f"the product of the first {i}: {number}" if i > 1 else f"the first: {number}"
            self._draw_bar(i - 1, 0.5, number, "product" if i == len(running) else "", words)
        self._draw_bar(len(running) - 1, 1.5, self.product.measured, "measured",
                       f"∂C/∂b₁, measured: {self.product.measured}")  # fmt: skip

    def _draw_bar(self, edge: int, share: float, number: Number, title: str, words: str) -> None:
        """Draw a bar from 1 on, its number beyond its end, and its title on the other side of 1.

        0 and infinity have no place on a log axis, and NaN has none at all: they have a number and no bar.
        """
        one, end = (_AXIS + _LINE + self.axis.y(log10) for log10 in (0.0, number.log10))
        x, top = self._at(edge, share, 0)
        down = 1 if number.log10 < 0 else -1
        if math.isfinite(number.log10):
            frame = style.HIGHLIGHT_FRAME if title == "measured" else ""
            colour = style.line(-down)["color"]
            size = (_BAR, max(abs(end - one), 1.0))
            tip = style.tooltip(f"{words}, {style.decades(number.log10)} decades")
            self.plane.bar(self._key(f"bar {edge + share}"), (x, top + (one + end) / 2), size, colour, frame, tip)
        else:
            end = one
        self.plane.words(self._key(f"number {edge + share}"), (x, top + end + down * _LINE / 2), str(number), _SMALL)
        if title:
            self.plane.words(self._key(title), (x, top + one - down * _LINE / 2), title, _SMALL)

    def _draw_result(self) -> None:
        """Say that the product and the measured gradient are the same."""
        count = sum(len(step.factors) for step in self.product.steps)
        words = (
            f"product of the {count} factors: {self.product.running[-1]}, measured ∂C/∂b₁: {self.product.measured}, "
            f"{self.product.agreement}"
        )
        middle = (self.plane.left + self.plane.right) / 2, self._at(len(self.product.steps) - 1, 0, _RESULT)[1]
        width = style.width_of(words, _SMALL) + _GAP
        self.plane.box(self._key("result"), middle, (width, _LINE + 4), [words],
                       fill=style.HIGHLIGHT, frame=style.HIGHLIGHT_FRAME, fontsize=f"{_SMALL:g}",
                       tooltip="Eq. 122: the two are the same")  # fmt: skip
