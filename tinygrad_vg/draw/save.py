"""`save`: write a picture to a file."""

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_vg.draw.dot import REMEDIES, SECONDS, find_engine, run
from tinygrad_vg.draw.svg import finished
from tinygrad_vg.storage import replacing

if TYPE_CHECKING:
    from graphviz import Digraph

_FORMATS = (".svg", ".png", ".pdf", ".dot")
_FRAMES = {
    "png": (b"\x89PNG\r\n\x1a\n", b"IEND"),
    "pdf": (b"%PDF-", b"%%EOF"),
}  # the start and the end of a complete one
_NODE = re.compile(r'\s*(?!(?:graph|node|edge)\b)("(?:[^"\\]|\\.)*"|[^\s"=\[{}]+)\s*(?:\[|$)')  # in a line of DOT


def save(digraph: "Digraph", path: str | os.PathLike[str], max_nodes: int = 1000, timeout: float = SECONDS) -> None:
    """Write a picture to `path`, in the format of its suffix: .svg, .png, .pdf or .dot.

    The system's `dot` lays the graph out, or `graphviz-pure` if there is no `dot`; graphviz-pure writes no PDF. In an
    SVG the tooltips are `<title>` elements, which every browser shows, and text is in the middle of its cell in every
    font. The file is complete or does not appear.

    Args:
        digraph: a picture of one of the functions of `draw`, or any `graphviz.Digraph`.
        path: the path of the file; its folder must exist.
        max_nodes: the largest number of nodes, except for .dot. With some thousand nodes the layout takes minutes, and
            the picture is unreadable.
        timeout: the seconds that the layout may take.

    Raises:
        TypeError: if `digraph` is not a Digraph.
        ValueError: for another suffix, or a graph with more than `max_nodes` nodes.
        FileNotFoundError: if the folder does not exist.
        RuntimeError: if there is no program to lay the graph out, or it fails, takes too long or writes no picture; the
            message has the program's own words and says what to do.

    >>> import tempfile, tinygrad_vg as tg
    >>> b = tg.Tensor(0.5, requires_grad=True, name="b")
    >>> cost = tg.ops.sigmoid(b)
    >>> cost.backward()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.draw.save(tg.draw.graph(cost), f"{folder}/graph.dot")
    """
    if not hasattr(digraph, "source"):
        raise TypeError(f"save writes a graphviz.Digraph, such as draw.graph returns, not {type(digraph).__name__}")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"a picture is saved as {', '.join(_FORMATS)}; {os.fspath(path)!r} ends in none of them")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {os.fspath(path.parent)!r} to save {path.name} in")
    content = digraph.source.encode() if suffix == ".dot" else _rendered(digraph, suffix[1:], max_nodes, timeout)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _rendered(digraph: "Digraph", kind: str, max_nodes: int, timeout: float) -> bytes:
    nodes = sum(1 for line in digraph.body if _NODE.match(line))
    if nodes > max_nodes:
        raise ValueError(
            f"this graph has {nodes} nodes, more than max_nodes={max_nodes}: its layout would take long and be "
            "unreadable; draw.layers folds a network into a few nodes, .dot takes any graph, max_nodes= sets the limit"
        )
    engine = find_engine()
    if engine is None:
        raise RuntimeError(f"there is no program that lays graphs out: {REMEDIES}; .dot files need none")
    if kind == "pdf" and Path(engine).stem != "dot":
        raise RuntimeError(f"graphviz-pure writes no PDF: save as .svg or .png, or {REMEDIES.split(', or')[0]}")
    command = [engine, f"-K{digraph.engine}", f"-T{kind}"]
    picture, _ = run(command, digraph.source.encode(), timeout)
    start, end = _FRAMES.get(kind, (b"", b""))
    if not (picture.startswith(start) and end in picture[-1024:]):
        raise RuntimeError(f"{engine} could not draw this graph: what it wrote is not a complete {kind.upper()}")
    try:
        return finished(picture) if kind == "svg" else picture
    except ElementTree.ParseError as error:
        raise RuntimeError(f"{engine} could not draw this graph: its SVG is broken, {error}") from error
