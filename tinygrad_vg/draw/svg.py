"""What is mended in an SVG of a layout program: tooltips that browsers show, and text in the middle of its cell."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import pairwise

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NOTHING = (None, "none", "transparent")
_SHAPES = [f"{{{_SVG}}}{tag}" for tag in ("polygon", "path", "ellipse")]
# The height of a line above its base, as a part of the font's size: between capitals (0.72) and small letters (0.55).
_HEIGHT = 0.64


def finished(svg: bytes) -> bytes:
    """An SVG as `draw` hands it on.

    * Tooltips are `<title>` elements, which browsers show. Graphviz writes them as titles of links that lead nowhere.
    * A text in a cell of a label is anchored at the middle of the cell, so that it is centred in every font. Graphviz
      anchors it at the left end that it would have in Graphviz's own font, which the reader may not have.
    * A text in a cell, and the lines in a node, stand in the middle between above and below. The layout programs leave
      room for letters that reach below the line, each another amount, and so lines stand too high.
    * There is no colour `transparent`, which SVG 1.1 does not know.

    Raises:
        xml.etree.ElementTree.ParseError: if it is no XML.

    >>> text = '<text text-anchor="start" x="3" font-size="10">a</text>'
    >>> cell = f'<g><polygon fill="transparent" stroke="transparent" points="0,0 0,9 40,9 40,0 0,0"/>{text}</g>'
    >>> svg = finished(f'<svg xmlns="http://www.w3.org/2000/svg">{cell}</svg>'.encode()).decode()
    >>> svg.split("<g>")[1]
    '<text text-anchor="middle" x="20.00" font-size="10" y="7.70">a</text></g></svg>'
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for group in list(root.iter(f"{{{_SVG}}}g")):
        _move_titles(group)
        _centre(group)
        if group.get("class") == "node":
            _centre_lines(group)
    for element in root.iter():
        for name in ("fill", "stroke"):
            if element.get(name) == "transparent":
                element.set(name, "none")
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _move_titles(group: ElementTree.Element) -> None:
    title = group.find(f"{{{_SVG}}}title")
    for i, child in reversed(list(enumerate(group))):
        link = child.find(f"{{{_SVG}}}a")
        if link is not None and f"{{{_XLINK}}}href" not in link.attrib:
            group[i : i + 1] = list(link)
            if title is not None:
                title.text = link.get(f"{{{_XLINK}}}title", title.text)


def _centre(group: ElementTree.Element) -> None:
    """Centre each text that follows the polygon of its cell (`style.cell`), and remove the polygon, which shows
    nothing.
    """
    for cell, text in list(pairwise(group)):
        is_cell = cell.tag == f"{{{_SVG}}}polygon" and all(cell.get(name) in _NOTHING for name in ("fill", "stroke"))
        if is_cell and text.tag == f"{{{_SVG}}}text":
            (left, right), (top, bottom) = _bounds(cell)
            text.set("text-anchor", "middle")
            text.set("x", f"{(left + right) / 2:.2f}")
            _set_middle([text], (top + bottom) / 2)
            group.remove(cell)


def _centre_lines(node: ElementTree.Element) -> None:
    """Centre the lines of a node that is one shape with one column of lines in it; `_centre` has no cells there."""
    shapes = [child for child in node if child.tag in _SHAPES]
    texts = [child for child in node if child.tag == f"{{{_SVG}}}text"]
    if len(shapes) == 1 and texts and len({text.get("x") for text in texts}) == 1:
        _, (top, bottom) = _bounds(shapes[0])
        if all(top < float(text.get("y", "nan")) < bottom for text in texts):
            _set_middle(texts, (top + bottom) / 2)


def _set_middle(texts: Sequence[ElementTree.Element], middle: float) -> None:
    """Move lines up or down so that they reach as far above a place as below it."""
    first, last = texts[0], texts[-1]
    base = [float(text.get("y", 0.0)) for text in texts]
    shift = middle - (base[0] - _HEIGHT * float(first.get("font-size", 0.0)) + float(last.get("y", 0.0))) / 2
    for text, y in zip(texts, base, strict=True):
        text.set("y", f"{y + shift:.2f}")


def _bounds(shape: ElementTree.Element) -> tuple[tuple[float, float], tuple[float, float]]:
    """The left and right, and the upper and lower end of a shape."""
    if shape.tag == f"{{{_SVG}}}ellipse":
        x, y, rx, ry = (float(shape.get(name, 0.0)) for name in ("cx", "cy", "rx", "ry"))
        return (x - rx, x + rx), (y - ry, y + ry)
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", shape.get("points") or shape.get("d") or "")]
    return (min(numbers[::2]), max(numbers[::2])), (min(numbers[1::2]), max(numbers[1::2]))
