"""log10_norm over the whole range of the floats."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tinygrad_vg as tg
from tinygrad_vg.instruments import log10_norm

FLOATS = [np.float16, np.float32, np.float64, np.longdouble]


def true_log10_norm(x):
    with mpmath.workdps(40):
        exact = [mpmath.mpf(f"{value:.40e}") if np.isfinite(value) else None for value in np.ravel(x)]
        return float(mpmath.log10(mpmath.sqrt(mpmath.fsum(value**2 for value in exact))))


EXPONENTS = [-300, -200, -100, -45, -38, -20, -8, -3, 0, 3, 30, 37, 150, 300]


def holds(dtype, exponent):
    finfo = np.finfo(dtype)
    return np.log10(finfo.smallest_subnormal) < exponent < np.log10(finfo.max) - 1


@pytest.mark.parametrize(("dtype", "exponent"), [(d, e) for d in FLOATS for e in EXPONENTS if holds(d, e)])
def test_every_magnitude_a_type_can_hold(dtype, exponent):
    x = (np.array([3.0, -4.0, 1.0], np.longdouble) * np.longdouble(10) ** exponent).astype(dtype)
    assert log10_norm(x) == pytest.approx(true_log10_norm(x), rel=1e-14, abs=1e-14)


@given(arrays(np.float64, st.integers(1, 6), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_any_finite_array(x):
    if not x.any():
        assert log10_norm(x) == -math.inf
    else:
        assert log10_norm(x) == pytest.approx(true_log10_norm(x), rel=1e-13, abs=1e-13)


def test_axes_and_tensors():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert log10_norm(x, axis=1) == pytest.approx([math.log10(5), -math.inf], rel=1e-15)
    assert log10_norm(x, axis=(0, 1)) == log10_norm(tg.Tensor(x)) == pytest.approx(math.log10(5), rel=1e-15)


def test_what_is_not_finite_shows():
    assert math.isnan(log10_norm([1.0, math.nan]))
    assert math.isnan(log10_norm([math.inf, math.nan]))
    assert log10_norm([1.0, -math.inf]) == math.inf
    assert log10_norm([]) == -math.inf
