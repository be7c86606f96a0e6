"""What is mended in an SVG of a layout program: tooltips that browsers show, and text in the middle of its cell."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NOTHING = (None, "none", "transparent")


def finished(svg: bytes) -> bytes:
    """An SVG as `draw` hands it on.

    * Tooltips are `<title>` elements, which browsers show. Graphviz writes them as titles of links that lead nowhere.
    * A text in a cell of a label is anchored at the middle of the cell, so that it is centred in every font. Graphviz
      anchors it at the left end that it would have in Graphviz's own font, which the reader may not have.
    * There is no colour `transparent`, which SVG 1.1 does not know.

    Raises:
        xml.etree.ElementTree.ParseError: if it is no XML.

    >>> text = '<text text-anchor="start" x="3">a</text>'
    >>> cell = f'<g><polygon fill="transparent" stroke="transparent" points="0,0 0,9 40,9 40,0 0,0"/>{text}</g>'
    >>> svg = finished(f'<svg xmlns="http://www.w3.org/2000/svg">{cell}</svg>'.encode()).decode()
    >>> svg.split("<g>")[1]
    '<text text-anchor="middle" x="20.00">a</text></g></svg>'
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for group in list(root.iter(f"{{{_SVG}}}g")):
        _move_titles(group)
        _centre(group)
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
            x = [float(point.split(",")[0]) for point in cell.get("points", "").split()]
            text.set("text-anchor", "middle")
            text.set("x", f"{(min(x) + max(x)) / 2:.2f}")
            group.remove(cell)
