"""A picture in a notebook: an SVG, and no word of the layout program."""

import re

import graphviz
import numpy as np
import pytest

import tinygrad_vg as tg
from tests.draw.conftest import ENGINES, path_of
from tinygrad_vg.draw import picture as pictures


@pytest.fixture
def digraph():
    net = tg.nn.mlp([2, 3, 1], rng=0)
    loss = np.sum(net(np.ones((4, 2))))
    loss.backward()
    return tg.draw.neurons(net, loss)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_an_svg(digraph, engine, monkeypatch, capfd):
    path = path_of(engine)
    monkeypatch.setattr(pictures, "find_engine", lambda: path)
    shown = digraph._repr_mimebundle_()
    assert shown.keys() == {"image/svg+xml"}
    assert "<svg" in shown["image/svg+xml"]
    assert "∂" in shown["image/svg+xml"]
    assert capfd.readouterr() == ("", "")


def test_what_the_program_says_is_left_out_there_and_only_there(digraph, monkeypatch, capfd):
    warning = b"Warning: no value for width of non-ASCII character 206. Falling back to width of space character\n"
    monkeypatch.setattr(pictures, "_program", lambda: "dot")
    monkeypatch.setattr(pictures, "run", lambda *given: (b"<svg/>", warning))
    assert digraph._repr_mimebundle_()["image/svg+xml"].endswith("<svg />")
    assert capfd.readouterr().err == ""
    digraph.pipe("svg")
    assert "non-ASCII" in capfd.readouterr().err


def test_without_a_program_it_says_what_to_install(digraph, monkeypatch):
    monkeypatch.setattr(pictures, "_program", lambda: None)
    (text,) = digraph._repr_mimebundle_().values()
    assert "pip install graphviz-pure" in text
    monkeypatch.setenv("PATH", "")
    with pytest.raises(graphviz.ExecutableNotFound):
        digraph.pipe("svg")


def test_at_a_prompt_it_says_how_to_draw_it(digraph):
    assert re.fullmatch(r"<Picture of \d+ lines of DOT: draw.save\(picture, 'picture.svg'\) draws it>", repr(digraph))
