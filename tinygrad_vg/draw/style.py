"""Functions that all pictures share: numbers, colours, labels and the legend.

Every picture has a white background, so that it is legible on light and dark pages. The colour of a factor shows its
magnitude: blue below 1, white at 1, red above 1, with full colour at one decade from 1. Boxes are wide enough for their
text in DejaVu Sans, the widest of the usual fonts: the reader's font need not be that of the layout program.

This module is internal to `draw`.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from tinygrad_vg.engine import Tensor
from tinygrad_vg.notation import BROKEN as BROKEN
from tinygrad_vg.notation import NOT_COMPUTED as NOT_COMPUTED
from tinygrad_vg.notation import decades as decades
from tinygrad_vg.notation import magnitude as magnitude
from tinygrad_vg.notation import with_minus as with_minus

if TYPE_CHECKING:
    from graphviz import Digraph

FONT = "Helvetica"  # all layout programs know the widths of its letters, and every machine has a similar font
INK, PAPER, FRAME, WHITE = "#1f2328", "#f6f8fa", "#8c959f", "#ffffff"
FAINT = "#d1d9e0"  # lines that carry no number, as those between neurons
DATA = "#eaeef2"  # the background of data that require no gradient
HIGHLIGHT, HIGHLIGHT_FRAME = "#fff8e1", "#bf8700"  # leaves, and the strongest path
BAR = "#2f7fc4"
VERDICTS = {
    "shrinking": "#d3e8fa", "saturated": "#ddd6fb", "growing": "#fddcd3", "stable": "#dcf2e0", "dead": "#c9d1d9",
    "no gradient": "#e6e9ec", "underflow": "#b9cfe0", "not finite": "#ffc4ff",
}  # fmt: skip

_SHRINKS, _KEEPS, _GROWS = "#5aa9e6", WHITE, "#f4795b"  # fills, under dark text
_LINE_SHRINKS, _LINE_KEEPS, _LINE_GROWS = "#2f7fc4", FRAME, "#d8492c"  # lines, on any page

# The widths of letters in DejaVu Sans, as parts of the font's size. Others have at most 0.69 in ASCII, and 1.1 beyond.
_WIDTHS = {
    **dict.fromkeys("'′ijlIJ ,.·:;/|\\", 0.37), **dict.fromkeys("ftr()[]!-₀₁₂₃₄₅₆₇₈₉⁰¹²³⁴⁵⁶⁷⁸⁹⁻‖–*", 0.53),
    **dict.fromkeys("ABCDGHKNOQRUVXYZwΔ&", 0.82), **dict.fromkeys("#+<=>^~−×→≤±∞M", 0.87),
    **dict.fromkeys("0123456789", 0.64), **dict.fromkeys("%mW@…", 1.0),
    **dict.fromkeys("σ∂δₓ", 0.69),
}  # fmt: skip
_BOLD = 1.14  # how much wider bold letters are

_DIRECTIONS = ("TB", "BT", "LR", "RL")


def canvas(rankdir: str, **attributes: str) -> "Digraph":
    """An empty picture with the fonts and colours of this module.

    Raises:
        ValueError: if `rankdir` is none of Graphviz's four directions.
        ModuleNotFoundError: if the package graphviz is not installed.
    """
    if rankdir not in _DIRECTIONS:
        raise ValueError(f"rankdir is one of {', '.join(_DIRECTIONS)}, not {rankdir!r}")
    try:
        from tinygrad_vg.draw.picture import Picture
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pictures of graphs need the package graphviz: pip install graphviz") from error
    return Picture(
        graph_attr={"rankdir": rankdir, "bgcolor": WHITE, "fontname": FONT, "ranksep": "0.25", "nodesep": "0.2",
                    "pad": "0.1", "tooltip": " ", **attributes},
        node_attr={"shape": "plain", "fontname": FONT, "fontsize": "12", "fontcolor": INK},
        edge_attr={"fontname": FONT, "fontsize": "12", "fontcolor": INK, "arrowsize": "0.7", "color": _LINE_KEEPS},
    )  # fmt: skip


def node(picture: "Digraph", key: str, label: str, **attributes: str) -> None:
    """Add a node whose key and attributes are quoted already.

    Appends the DOT line itself: graphviz re-quotes every attribute, which would dominate the run time.
    """
    picture.body.append(f"\t{key} [{_attributes(label=label, **attributes)}]\n")


def edge(picture: "Digraph", tail: str, head: str, label: str = "", **attributes: str) -> None:
    """Add an edge whose ends and attributes are quoted already; appends the DOT line itself, as `node` does."""
    picture.body.append(f"\t{tail} -> {head} [{_attributes(label=label, **attributes)}]\n")


def _attributes(**attributes: str) -> str:
    return " ".join(f"{name}={x}" if x[:1] == "<" else f'{name}="{x}"' for name, x in attributes.items() if x)


def three_digits(x: float) -> str:
    """A number with three digits: "0.242", "−25", "3.05e−07", "NaN", "−∞"."""
    return "NaN" if math.isnan(x) else with_minus(f"{x + 0.0:.3g}").replace("inf", "∞")  # + 0.0: there is no −0


def power(sign: float, log10: float) -> str:
    """The number sign · 10**log10 with three digits, also beyond the range of the floats: "−3.21e−690"."""
    if -300 < log10 < 300:
        return three_digits(sign * 10.0**log10)
    if not math.isfinite(log10):
        return three_digits(math.nan if math.isnan(log10) else 0.0 if log10 < 0 else sign * math.inf)
    exponent = math.floor(log10)
    return with_minus(f"{sign * 10 ** (log10 - exponent):.2f}e{exponent:+d}")


def text(string: str) -> str:
    """A string for a label, escaped for Graphviz and for browsers."""
    if not string.isprintable():
        string = "".join(character if character.isprintable() else " " for character in string)
    # Graphviz reads escapes such as \N after entities, and makes one backslash of two.
    return escape(string).replace("\\", "&#92;&#92;")


def fill(gain_in_decades: float) -> str:
    """The background colour for a factor of 10**gain."""
    return _diverging(gain_in_decades, _SHRINKS, _KEEPS, _GROWS)


def line(gain_in_decades: float) -> dict[str, str]:
    """Colour and width of an edge with a factor of 10**gain. The width grows with |gain|, up to two decades."""
    if math.isnan(gain_in_decades):
        return {"color": BROKEN, "penwidth": "1.5"}
    width = 1 + 1.5 * min(abs(gain_in_decades), 2.0)
    return {
        "color": _diverging(gain_in_decades, _LINE_SHRINKS, _LINE_KEEPS, _LINE_GROWS),
        "penwidth": f"{width:.2f}",
        "arrowsize": f"{0.7 / math.sqrt(width):.2f}",  # Graphviz scales the arrowhead with the line's width
    }


@functools.lru_cache(4096)
def _diverging(gain: float, low: str, middle: str, high: str) -> str:
    if math.isnan(gain):
        return BROKEN
    end, share = (low if gain < 0 else high), min(abs(gain), 1.0)
    parts = [round(int(middle[i : i + 2], 16) * (1 - share) + int(end[i : i + 2], 16) * share) for i in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in parts)


def width_of(string: str, size: float = 12.0, bold: bool = False) -> float:
    """The largest width that a line of text may have, in points: that in DejaVu Sans, of letters of this size."""
    parts = (_WIDTHS.get(letter, 0.69 if letter.isascii() else 1.1) for letter in string)
    return sum(parts) * size * (_BOLD if bold else 1.0)


def cell(string: str, size: float = 12.0, bold: bool = False, colour: str = "", width: float = 0.0) -> str:
    """A cell of a label with one line of text in its middle, wide enough for the line in every font.

    The cell has a background that shows nothing. By this background `svg.finished` finds the middle of the cell.
    """
    words = f"<b>{text(string)}</b>" if bold else text(string)
    width = max(width, width_of(string, size, bold) + 6)
    inner = f'<td width="{round(width)}" bgcolor="transparent">{words}</td>'
    if not colour:
        return inner
    table = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
    return f'<td bgcolor="{colour}">{table}<tr>{inner}</tr></table></td>'


def box(
    lines: Sequence[str], background: str = PAPER, frame: str = FRAME, bold: int | None = None, under_bold: str = ""
) -> str:
    """A label of several lines in a rounded box, for a node or an edge.

    The line number `bold` is set bold, on the background `under_bold` if that is given.
    """
    rows = [f"<tr>{cell(x, bold=i == bold, colour=under_bold if i == bold else '')}</tr>" for i, x in enumerate(lines)]
    return table(rows, background, frame, spacing=2 if under_bold else 0)  # room between a cell and the round corners


def table(rows: Sequence[str], background: str = PAPER, frame: str = FRAME, spacing: int = 0) -> str:
    """A label: a rounded box with these rows of HTML in it, `spacing` points apart."""
    return (
        f'<<table border="1" cellborder="0" cellspacing="{spacing}" cellpadding="2" style="rounded" '
        f'bgcolor="{background}" color="{frame}">{"".join(rows)}</table>>'
    )


def unknown(why: str, before: str = "") -> dict[str, str]:
    """The attributes of an edge whose number was not computed: the label "–" after `before`, and `why` as tooltip."""
    return {"label": box([f"{before}{NOT_COMPUTED}"], WHITE), "tooltip": why, "labeltooltip": why}


def has_gradient(leaves: Iterable[Tensor]) -> bool:
    """Whether a leaf has a `.grad` now. As long as none has, pictures show "–" in place of gradients."""
    return any(leaf.grad is not None for leaf in leaves)


def legend(picture: "Digraph", *notes: str) -> None:
    """Add a legend below the picture: the scale of colours, and the notes."""
    widths = [round(width_of(note, 11.0)) for note in notes]
    part = max(94.0, *(width / 5 + 4 for width in widths))  # five parts of one width, also above wide notes
    scale = "".join(
        cell(label, 11.0, colour=fill(gain), width=part)
        for gain, label in ((-1.0, "×0.1 shrinks"), (-0.5, "×0.3"), (0.0, "×1 keeps"), (0.5, "×3"), (1.0, "×10 grows"))
    )
    rows = [
        f"<tr>{scale}</tr>",
        *(
            f'<tr><td colspan="5" align="left" width="{width}">{text(note)}</td></tr>'
            for note, width in zip(notes, widths, strict=True)
        ),
    ]
    picture.attr(label=table(rows, spacing=2), labelloc="b", fontsize="11", fontcolor=INK)


def tooltip(string: str) -> str:
    """A string for a tooltip, escaped once more than `text`: Graphviz reads escapes in tooltips twice."""
    return text(string).replace("&#x27;", "'").replace("&#92;", "&#92;&#92;")
