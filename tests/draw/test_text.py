"""Text in an SVG stands in its box, in its middle, also in a font that is wider than that of the layout program."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest

import tinygrad_vg as tg
from tests.draw.nets import network, residual, trained_once
from tests.draw.reading import SVG
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style

ft2font = pytest.importorskip("matplotlib.ft2font")
SHAPES = [f"{SVG}{tag}" for tag in ("polygon", "path", "ellipse")]


def width(words: str, size: float, is_bold: bool) -> float:
    """The width of a line in DejaVu Sans, of the usual fonts the widest, which matplotlib brings along."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    font = ft2font.FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{name}")
    font.set_size(size, 72)
    flags = ft2font.LoadFlags.NO_HINTING
    return sum(font.load_char(ord(letter), flags=flags).linearHoriAdvance / 65536 for letter in words)


@dataclass(frozen=True)
class Text:
    """A line of text as it stands in an SVG, and the boxes around it: from, to, in points."""

    words: str
    anchor: str
    ends: tuple[float, float]
    heights: tuple[float, float]  # of its digits: from, to, downwards
    boxes: list[tuple[float, float, float, float]]  # left, right, upper and lower end
    is_legend: bool


def bounds(shape: ElementTree.Element) -> tuple[float, float, float, float]:
    """The left, right, upper and lower end of a shape."""
    if shape.tag == f"{SVG}ellipse":
        x, y, rx, ry = (float(shape.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return x - rx, x + rx, y - ry, y + ry
    numbers = [float(x) for x in re.findall(r"-?[\d.]+", shape.get("points") or shape.get("d"))]
    return min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])


def texts(path: Path) -> Iterator[Text]:
    """The texts of an SVG, each with the closed shapes of its group that lie around the point it is anchored at."""
    for group in ElementTree.parse(path).getroot().iter(f"{SVG}g"):
        shapes = [bounds(shape) for shape in group if shape.tag in SHAPES and shape.get("fill") != "none"]
        for text in group.iterfind(f"{SVG}text"):
            words = (text.text or "").strip()
            x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
            wide = width(words, size, text.get("font-weight") == "bold")
            left = x - wide / 2 if text.get("text-anchor") == "middle" else x
            boxes = [(a, b, low, high) for a, b, low, high in shapes
                     if a <= x <= b and low <= y <= high and (a, low) != (x, y)]  # fmt: skip
            if words:
                ends, heights = (left, left + wide), (y - 0.72 * size, y)
                yield Text(words, text.get("text-anchor"), ends, heights, boxes, group.get("id") == "graph0")


def pictures() -> dict[str, Any]:
    """A picture of each kind."""
    b1, w2 = (tg.Tensor(value, requires_grad=True, name=name) for value, name in ((0.5, "b1"), (-2.0, "w2")))
    thin = tg.ops.sigmoid(w2 * tg.ops.sigmoid(0.3 + b1) + 0.1)
    thin.backward()
    net = network([20, 30, 30, 10], nn.Sigmoid)
    cost, _ = trained_once(net)
    around = residual(7, 2)
    return {
        "chain": draw.chain([thin, thin], [b1, b1]),
        "graph": draw.graph(thin),
        "graph of arrays": draw.graph(cost, dict(net.named_parameters())),
        "layers": draw.layers(net, cost, expand=True),
        "residual": draw.layers(around, trained_once(around)[0]),
        "path": draw.neurons(net, cost),
        "neurons": draw.neurons(net, cost, first=6, rankdir="LR"),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return pictures()


KINDS = ["chain", "graph", "graph of arrays", "layers", "residual", "path", "neurons"]


@pytest.mark.parametrize("kind", KINDS)
def test_text_stands_in_the_middle_of_its_box(kind, drawn, engine, tmp_path):
    """In every font, for it is anchored at its middle and has room; but for the notes, which begin at the left."""
    draw.save(drawn[kind], tmp_path / "picture.svg")
    found = list(texts(tmp_path / "picture.svg"))
    assert len(found) > 10
    for text in found:
        assert text.boxes, text.words
        for left, right, _, _ in text.boxes:
            assert left - 0.5 <= text.ends[0], text
            assert text.ends[1] <= right + 0.5, text
        left, right, _, _ = min(text.boxes, key=lambda box: box[1] - box[0])
        if text.anchor == "middle":
            assert sum(text.ends) / 2 == pytest.approx((left + right) / 2, abs=2.0), text
        else:
            assert text.is_legend
    assert "transparent" not in (tmp_path / "picture.svg").read_text("utf-8")
    assert_page_is_white(tmp_path / "picture.svg")


@pytest.mark.parametrize("kind", KINDS)
def test_lines_reach_as_far_up_as_down_in_their_box(kind, drawn, engine, tmp_path):
    """Within a point, for not all letters are high; and in the box of a neuron a line is left for its bar."""
    draw.save(drawn[kind], tmp_path / "picture.svg")
    lines: dict[tuple[float, ...], list[Text]] = {}
    for text in texts(tmp_path / "picture.svg"):
        if not text.is_legend:
            lines.setdefault(max(text.boxes, key=lambda box: box[3] - box[2]), []).append(text)
    assert len(lines) > 5
    for (_, _, top, bottom), some in lines.items():
        above, below = min(text.heights[0] for text in some) - top, bottom - max(text.heights[1] for text in some)
        room = 14.0 if some[0].words.startswith("neuron ") else 0.0
        assert above > 0, some
        assert above == pytest.approx(below - room, abs=2.0), some


def assert_page_is_white(path: Path) -> None:
    """Behind all of the picture, so that it can be read on a dark page."""
    root = ElementTree.parse(path).getroot()
    page = next(root.iter(f"{SVG}polygon"))
    left, right, _, _ = bounds(page)
    assert page.get("fill") == style.WHITE
    assert right - left >= 0.99 * float(root.get("viewBox").split()[2])


@pytest.mark.parametrize("is_bold", [False, True])
def test_the_estimate_is_not_below_the_width_of_any_letter(is_bold):
    letters = [chr(code) for code in [*range(32, 127), *range(0xA1, 0x180), *range(0x391, 0x3CA)]]
    for letter in [*filter(str.isprintable, letters), *"∂′‖−→≤×·–…±∞₀₁₂₃₄₅₆₇₈₉ₓ⁰¹²³⁴⁵⁶⁷⁸⁹⁻"]:
        assert style.width_of(letter, 12.0, is_bold) >= width(letter, 12.0, is_bold) - 0.13, letter


def test_jupyter_shows_the_same(drawn, tmp_path):
    draw.save(drawn["graph"], tmp_path / "picture.svg")
    shown = drawn["graph"]._repr_mimebundle_()["image/svg+xml"]
    assert shown.encode() == (tmp_path / "picture.svg").read_bytes()


def test_the_text_of_ones_own_tables_stays_where_it_is(engine, tmp_path):
    own = graphviz.Digraph()
    own.node("a", '<<table width="200"><tr><td align="left" bgcolor="#ffffff" width="150">left</td></tr></table>>')
    draw.save(own, tmp_path / "own.svg")
    (text,) = ElementTree.parse(tmp_path / "own.svg").getroot().iter(f"{SVG}text")
    assert text.get("text-anchor") == "start"
    assert np.isfinite(float(text.get("x")))
