"""A picture whose parts stand where they are put: Graphviz draws them and lays nothing out.

This module is internal to `draw`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from tinygrad_vg.draw import style

Point = tuple[float, float]

_INCH = 72.0  # points; Graphviz takes sizes in inches, and positions here in points
_ARROW = 10.0  # the length of an arrowhead of size 1
_ORIGIN = "origin"  # a node that is not shown: lines that join no nodes hang on it


class Plane:
    """A picture with x to the right and y down, in points. Lines are drawn below boxes, and boxes in their order.

    Texts in boxes are in the middle of their box in every font.

    Attributes:
        picture: the `graphviz.Digraph`. `layout="nop2"` in its source makes every program keep the positions.
        left, right, bottom: how far the boxes reach.

    >>> plane = Plane()
    >>> plane.box("a", (0.0, 0.0), (40.0, 20.0), ["a"])
    >>> plane.picture.body[-1].split('"')[1]
    'a'
    """

    def __init__(self) -> None:
        self.picture = style.canvas("LR", layout="nop2", inputscale="72", outputorder="edgesfirst")
        self.left = self.right = self.bottom = 0.0
        style.node(self.picture, _ORIGIN, "", shape="point", style="invis", width="0", pos="0,0")

    def box(
        self,
        key: str,
        middle: Point,
        size: Point,
        lines: Sequence[str],
        *,
        fill: str = style.PAPER,
        frame: str = style.FRAME,
        tooltip: str = " ",
        **attributes: str,
    ) -> None:
        """A rounded box, or another `shape=`, with lines of text in its middle."""
        label = "\\n".join(style.text(line) for line in lines) or " "
        self.left = min(self.left, middle[0] - size[0] / 2)
        self.right = max(self.right, middle[0] + size[0] / 2)
        self.bottom = max(self.bottom, middle[1] + size[1] / 2)
        style.node(
            self.picture, f'"{key}"', label, shape=attributes.pop("shape", "box"),
            style=attributes.pop("style", "rounded,filled"), fillcolor=fill, color=frame, fixedsize="true",
            width=f"{size[0] / _INCH:.4f}", height=f"{size[1] / _INCH:.4f}", pos=_at(middle), tooltip=tooltip,
            **attributes,
        )  # fmt: skip

    def words(self, key: str, middle: Point, string: str, size: float = 12.0, fill: str = style.WHITE) -> None:
        """A line of text on a background of its own that hides the lines below."""
        across = style.width_of(string, size)
        self.box(key, middle, (across, size), [string], style="filled", fill=fill, penwidth="0",
                 fontsize=f"{size:g}")  # fmt: skip

    def bar(self, key: str, middle: Point, size: Point, fill: str, frame: str = "", tooltip: str = " ") -> None:
        """A rectangle of one colour, with a frame if that has a colour of its own."""
        self.box(key, middle, size, [], fill=fill, frame=frame or fill, tooltip=tooltip, style="filled",
                 penwidth="2" if frame else "0")  # fmt: skip

    def arrow(self, tail: str, head: str, start: Point, end: Point, **attributes: str) -> None:
        """A straight line between two nodes, from one point to another, with an arrowhead unless arrowhead="none"."""
        size = 0.0 if attributes.get("arrowhead") == "none" else _ARROW * float(attributes.get("arrowsize", 0.7))
        share = 1 - size / (math.dist(start, end) or 1.0)
        neck = tuple(a + share * (b - a) for a, b in zip(start, end, strict=True))
        position = f"{_curve([start, neck])}" if size == 0 else f"e,{_at(end)} {_curve([start, neck])}"
        style.edge(self.picture, f'"{tail}"', f'"{head}"', pos=position, **attributes)

    def line(self, points: Sequence[Point], **attributes: str) -> None:
        """A line through some points that joins no nodes."""
        style.edge(
            self.picture, _ORIGIN, _ORIGIN, pos=_curve(points), arrowhead="none", **{"tooltip": " ", **attributes}
        )


def _at(point: Sequence[float]) -> str:
    return f"{point[0]:.2f},{-point[1]:.2f}"  # y is up in Graphviz


def _curve(points: Sequence[Sequence[float]]) -> str:
    """Straight pieces through these points, as Bézier curves."""
    parts = [_at(points[0])]
    for (x, y), (u, v) in pairwise(points):
        parts += [_at((x + (u - x) / 3, y + (v - y) / 3)), _at((x + (u - x) * 2 / 3, y + (v - y) * 2 / 3)), _at((u, v))]
    return " ".join(parts)
