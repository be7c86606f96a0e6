"""What all pictures share: numbers, colours that every Graphviz knows, and a legend."""

import html
import math
import re
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.draw.nets import fate, network, residual, trained_once
from tinygrad_vg import draw, nn
from tinygrad_vg.draw import style

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def sources():
    """All three pictures of networks of all fates, before and after a backward."""
    for state in style.VERDICTS:
        net = fate(state)
        cost, ledger = trained_once(net)
        yield from (draw.layers(net, cost), draw.layers(net, ledger, expand=True), draw.graph(cost))
        yield draw.neurons(net, cost, first=3)
        net.zero_grad()
        yield from (draw.layers(net, cost), draw.graph(cost), draw.neurons(net, cost))
    net = residual(4, 2)
    yield draw.layers(net, trained_once(net)[0])


def test_colours_are_six_digits_or_eight_with_alpha():
    """Old programs know no `#abc` and no `rgb()`, and have lists of names of their own."""
    for digraph in sources():
        colours = re.findall(r'\w*color="?([^\s"\]]*)', digraph.source)
        assert colours
        assert {c for c in colours if not re.fullmatch("#[0-9a-f]{6}([0-9a-f]{2})?", c)} <= {"transparent"}
        assert re.findall(r'[^&](#[^"\s]*)', digraph.source)
        assert set(re.findall(r'"(#[^"]*)"', digraph.source)) <= set(colours)


def test_the_program_takes_every_colour_and_says_nothing(engine):
    net = network([4, 3, 3], nn.Sigmoid)
    cost, _ = trained_once(net)
    source = draw.neurons(net, cost, first=3).source
    assert style.FAINT in source
    result = subprocess.run([engine, "-Tsvg"], input=source.encode(), capture_output=True, check=True)
    assert b"olor" not in result.stderr
    assert f'stroke="{style.FAINT}"'.encode() in result.stdout


def contrast(colour: str, other: str) -> float:
    def luminance(c):
        parts = np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return LUMINANCE @ np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)

    low, high = sorted([luminance(colour), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@given(st.floats(allow_nan=True))
def test_text_can_be_read_on_every_fill_and_lines_have_a_width(gain):
    assert contrast(style.INK, style.fill(gain)) >= 4.5  # what WCAG asks of text
    line = style.line(gain)
    assert 1 <= float(line["penwidth"]) <= 4
    assert re.fullmatch("#[0-9a-f]{6}", line["color"])
    assert 0 < float(line.get("arrowsize", 0.7)) <= 0.7


@pytest.mark.parametrize("colour", [style.fill, lambda gain: style.line(gain)["color"]], ids=["fill", "line"])
def test_what_shrinks_is_blue_and_what_grows_is_red(colour):
    for gain in (0.3, 1.0, 5.0):
        (red, _, blue), (red_too, _, blue_too) = (
            [int(colour(x)[i : i + 2], 16) for i in (1, 3, 5)] for x in (-gain, gain)
        )
        assert red < blue
        assert red_too > blue_too


def test_lines_grow_wider_over_two_decades():
    for sign in (1, -1):
        widths = [style.line(sign * gain)["penwidth"] for gain in (0, 0.5, 1, 1.5, 2, 3, 300)]
        assert widths == ["1.00", "1.75", "2.50", "3.25", "4.00", "4.00", "4.00"]


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_colours_diverge_about_a_gain_of_1(gain, other):
    def channels(x):
        return [int(style.fill(x)[i : i + 2], 16) for i in (1, 3, 5)]

    assert style.fill(0.0) == "#ffffff"
    red, _, blue = channels(gain)
    assert red <= blue if gain < 0 else red >= blue
    if 0 <= abs(gain) <= abs(other) and gain * other >= 0:
        assert all(a >= b for a, b in zip(channels(gain), channels(other), strict=True))  # never paler further out


@pytest.mark.parametrize(
    ("x", "words"),
    [(0.2419, "0.242"), (-25.0, "−25"), (3.05e-7, "3.05e−07"), (0.0, "0"), (math.nan, "NaN"), (math.inf, "∞"),
     (-math.inf, "−∞"), (5e-324, "4.94e−324")],
)  # fmt: skip
def test_numbers(x, words):
    assert style.three_digits(x) == words


@given(st.sampled_from([-1.0, 1.0]), st.floats(-1e4, 1e4))
def test_powers_have_three_digits_at_any_size(sign, log10):
    mantissa, exponent = re.fullmatch(r"(-?[\d.]+)(?:e([+-]\d+))?", style.power(sign, log10).replace("−", "-")).groups()
    assert math.copysign(1, float(mantissa)) == sign
    assert math.log10(abs(float(mantissa))) + int(exponent or 0) == pytest.approx(log10, abs=0.0022)


def test_powers_that_are_no_numbers():
    assert [style.power(-1.0, x) for x in (-math.inf, math.inf, math.nan)] == ["0", "−∞", "NaN"]
    assert [style.decades(x) for x in (-0.674, 2.0, -math.inf, math.nan)] == ["−0.67", "+2.00", "−∞", "NaN"]
    assert [style.magnitude(x) for x in (-2.314, 0.5, -math.inf, math.nan)] == ["−2.31", "0.50", "−∞", "NaN"]


def test_all_pictures_have_one_minus():
    """Also before exponents and in tooltips: the hyphen stands in names and in code alone."""
    net = network([1] * 7, nn.Sigmoid)
    net[2].weight.data = np.array([[-1e-3]])
    cost = -np.sum(np.square(net(np.ones((2, 1)))))
    cost.backward()
    single = np.sum(net(np.ones((1, 1))))
    pictures = [draw.layers(net, cost), draw.graph(cost), draw.neurons(net, cost), draw.chain(single, net[0].bias)]
    for digraph in pictures:
        shown = re.findall(r'(?:tooltip|label)="([^"]*)"|>([^<>]*)<', html.unescape(digraph.source))
        texts = [first or second for first, second in shown]
        assert any("−" in words for words in texts)
        assert not [words for words in texts if re.search(r"(^|[ (])-[\d∞]|e-\d", words)]
