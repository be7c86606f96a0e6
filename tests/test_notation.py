"""What is written the same everywhere: one sign, one zero, one median."""

import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_vg import notation
from tinygrad_vg.notation import decades, magnitude, median, quantiles, subscripted, with_minus

PACKAGE = Path(notation.__file__).parent
NUMBERS = st.lists(st.floats(-700, 700) | st.just(-math.inf) | st.just(math.nan), min_size=1, max_size=12)


@given(st.floats(-1e4, 1e4), st.integers(1, 4))
def test_decades_are_the_number_with_its_sign(x, digits):
    words = decades(x, digits)
    assert float(words.replace("−", "-")) == pytest.approx(x, abs=0.5001 * 10.0**-digits)
    assert "-" not in words
    shows_zero = not re.search("[1-9]", words)
    assert words[0] == ("0" if shows_zero else "+" if x > 0 else "−")
    assert len(words.partition(".")[2]) == digits


def test_decades_that_are_no_numbers():
    assert [decades(x) for x in (math.inf, -math.inf, math.nan, -0.0)] == ["+∞", "−∞", "NaN", "0.00"]
    assert [decades(np.float32(x)) for x in (0.25, -0.001)] == ["+0.25", "0.00"]


@given(st.floats(-1e4, 1e4))
def test_a_magnitude_has_a_sign_only_below_0(x):
    assert magnitude(x) == decades(x).replace("+", "")
    assert magnitude(math.inf) == "∞"


def test_signs_and_subscripts():
    assert with_minus("-0.5 ± 1e-3") == "−0.5 ± 1e−3"
    assert subscripted("σ", 1234567890) == "σ₁₂₃₄₅₆₇₈₉₀"


def test_nobody_else_writes_the_minus_of_print_or_signs_decades():
    """A second place would write them in a second way."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "notation.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"""replace\("-", "−"\)|:\+z?\.\d*f\}|maketrans|"magenta"|e879e8""", text), path.name


# The median.


@given(NUMBERS)
def test_the_median_leaves_out_nan_and_minus_infinity_is_the_smallest(values):
    known = sorted(x for x in values if not math.isnan(x))
    if not known:
        assert math.isnan(median(values))
        return
    low, high = known[(len(known) - 1) // 2], known[len(known) // 2]
    assert median(values) == pytest.approx((low + high) / 2, rel=1e-13, abs=1e-300)
    assert median(values[::-1]) == median(values)


def test_the_median_takes_every_shape_and_nothing():
    assert median(np.array([[1.0, 5.0], [2.0, math.nan]])) == 2.0
    assert median(3.5) == 3.5
    assert math.isnan(median([]))
    assert median([-math.inf, 1.0]) == -math.inf
    assert median([1.0, math.inf]) == math.inf
    assert math.isnan(median([-math.inf, math.inf]))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_quantiles_are_those_of_numpy_and_infinities_have_their_place(share):
    values = np.random.default_rng(0).standard_normal((6, 37))
    assert np.allclose(quantiles(values, share), np.quantile(values, share, axis=1), rtol=1e-13)
    values[:, ::5] = np.nan
    assert np.allclose(quantiles(values, share), np.nanquantile(values, share, axis=1), rtol=1e-13)
    values[:3], values[3, 0] = np.array([[np.nan], [np.inf], [-np.inf]]), np.inf
    assert np.array_equal(quantiles(values[:3], share), [np.nan, np.inf, -np.inf], equal_nan=True)
    assert np.isfinite(quantiles(values[3], share))


def test_beside_an_infinity_the_nearer_number_is_taken():
    values = np.array([-math.inf, 1.0])
    assert [quantiles(values, share) for share in (0.0, 0.4, 0.5, 0.6, 1.0)] == [*[-math.inf] * 3, 1.0, 1.0]


@given(NUMBERS)
def test_quantiles_rise_with_their_share(values):
    drawn = [float(quantiles(np.array(values), share)) for share in np.linspace(0, 1, 9)]
    assert all(math.isnan(a) or a <= b + 1e-9 for a, b in pairwise(drawn))
