"""Reads pictures back: what a graphviz.Digraph says, and what stands in the SVG that was made of it."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
_NAME = r'("(?:[^"\\]|\\.)*"|\w+)((?::\w+)*)'
_STATEMENT = re.compile(rf"\t{_NAME}(?: -> {_NAME})?(?: \[(.*)\])?\n")
_ATTRIBUTE = re.compile(r'(\w+)=(<<table.*?</table>>|"(?:[^"\\]|\\.)*"|[^\s"]+)')


@dataclass(frozen=True)
class Node:
    """A box: the lines of its label, its background, and all attributes as they stand in DOT."""

    lines: list[str]
    colour: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Edge:
    """An edge, with the ports that it leaves from and arrives at; `lines` is empty for one without label."""

    tail: str
    head: str
    ports: tuple[str, str]
    lines: list[str]
    colour: str
    attributes: dict[str, str]

    @property
    def is_data(self) -> bool:
        return self.attributes.get("style") == "dashed"

    @property
    def factor(self) -> Fraction:
        """What the first line says that the gradient is multiplied by, as it is printed."""
        return printed(self.lines[0])


@dataclass(frozen=True)
class Picture:
    """What stands in a Digraph; nodes in the order in which Graphviz counts them."""

    nodes: dict[str, Node]
    edges: list[Edge]

    def key(self, title: str) -> str:
        """The name in DOT of the one node with this line on it."""
        (key,) = [key for key, node in self.nodes.items() if title in node.lines]
        return key

    def up(self, key: str) -> Iterator[Edge]:
        """The edges along the only way on from a node."""
        while above := [edge for edge in self.edges if edge.tail == key]:
            (edge,) = above
            yield edge
            key = edge.head


def printed(words: str) -> Fraction:
    """The number at the end of some words, exactly as it is printed."""
    return Fraction(re.search(r"-?[\d.]+(?:e[+-]\d+)?$", words.replace("−", "-")).group())


def lines_of(label: str) -> tuple[list[str], str]:
    """The lines of a label, and the background of one that is HTML-like; Graphviz leaves one of two backslashes."""
    if not label.startswith("<"):
        lines = (html.unescape(line) for line in re.split(r"\\n|\\l", label))
        return [line for line in lines if line.strip()], ""
    table = ElementTree.fromstring(label[1:-1])
    cells = ("".join(cell.itertext()) for cell in table.iter("td") if cell.find(".//td") is None)
    return [cell.replace("\\\\", "\\") for cell in cells if cell], table.get("bgcolor", "")


def read(digraph: Any) -> Picture:
    """Take a Digraph's DOT apart."""
    nodes: dict[str, Node | None] = {}
    edges = []
    for line in digraph.body:
        found = _STATEMENT.fullmatch(line)
        if found is None:
            assert line.startswith("\tfontcolor="), line  # the legend, the only thing that is no node and no edge
            continue
        tail, out, head, into, rest = found.groups()
        attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(rest or "")}
        lines, colour = lines_of(attributes["label"]) if "label" in attributes else ([], "")
        tail, head = tail.strip('"'), head and head.strip('"')
        nodes.setdefault(tail, None)
        if head is None:
            nodes[tail] = Node(lines, colour or attributes.get("fillcolor", ""), attributes)
        else:
            nodes.setdefault(head, None)
            edges.append(Edge(tail, head, (out, into), lines, colour, attributes))
    assert None not in nodes.values(), "an edge to a node that is not drawn"
    return Picture(nodes, edges)  # type: ignore[arg-type]


def read_svg(path: Path) -> tuple[dict[int, list[str]], dict[int, list[str]], list[str]]:
    """The texts of an SVG's nodes and of its edges by their numbers, and all its tooltips."""
    nodes: dict[int, list[str]] = {}
    edges: dict[int, list[str]] = {}
    root = ElementTree.parse(path).getroot()
    for group in root.iter(f"{SVG}g"):
        if found := re.fullmatch(r"(node|edge)(\d+)", group.get("id", "")):
            texts = [text.text for text in group.iter(f"{SVG}text") if text.text and text.text.strip()]
            (nodes if found[1] == "node" else edges)[int(found[2])] = texts
    return nodes, edges, [title.text or "" for title in root.iter(f"{SVG}title")]


def assert_svg_says_the_same(path: Path, picture: Picture) -> None:
    """An SVG shows each node's and each edge's lines, all of them and nothing else."""
    nodes, edges, _ = read_svg(path)
    shown = {i: node for i, node in enumerate(picture.nodes.values(), 1) if node.attributes.get("style") != "invis"}
    assert nodes == {i: node.lines for i, node in shown.items()}
    assert edges == {i: edge.lines for i, edge in enumerate(picture.edges, 1)}
