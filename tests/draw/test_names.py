"""Names are inert: whatever a tensor is called, the picture shows just that, and no program reads anything into it."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tests.draw.reading import SVG, read, read_svg
from tinygrad_vg import draw

NAMES = [
    "<script>alert(1)</script>", 'a"b', "a\\N\\G", "x<b>", "&lt;", "new\nline", "{a|b}", "\\", "\\\\E\\", "a'b",
    "&#92;", "]]>", "<!--", "%3", "tab\tbell\x07", "n0 -> n1; }", "∂C/∂w₁ 🙂", '"', "</table>>", "\u202eright to left",
]  # fmt: skip


def shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in name)


def without_blanks(words: str) -> str:
    """Of several blanks in a row, and of those at an end, programs keep as many as they like."""
    return "".join(words.split())


def assert_inert(folder: Any, name: str) -> None:
    x, data = tg.Tensor(0.5, requires_grad=True, name=name), tg.Tensor(np.array(2.0), name=name)
    z = x * data
    cost = np.tanh(z)
    z.name = cost.name = name
    cost.backward()
    digraph = draw.graph(cost)
    draw.save(digraph, folder / "name.svg")
    nodes, _, titles = read_svg(folder / "name.svg")
    wanted = without_blanks(shown(name))
    assert [without_blanks(lines[0]) for lines in nodes.values()] == [wanted] * 4
    assert sum(without_blanks(title).startswith(f"{wanted}:float64") for title in titles) >= 2  # of x and the data
    tags = {element.tag for element in ElementTree.parse(folder / "name.svg").iter()}
    assert tags <= {f"{SVG}{tag}" for tag in ("svg", "g", "title", "path", "polygon", "polyline", "text")}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_inert(name, engine, tmp_path):
    assert_inert(tmp_path, name)


@given(name=st.text(min_size=1, max_size=12).filter(lambda name: shown(name).strip()))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_inert(name, engine, tmp_path):
    """The engine stays the same for all examples."""
    assert_inert(tmp_path, name)


@given(st.text(min_size=1))
def test_any_name_can_be_read_back_from_dot(name):
    cost = np.tanh(tg.Tensor(0.5, requires_grad=True, name=name))
    assert read(draw.graph(cost)).nodes["n1"].lines[0] == shown(name)
