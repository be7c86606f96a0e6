"""The functions that are compositions of others run compiled, with their gradients, on other numbers."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.test_rules_run import is_same, needs_numba, others
from tests.engine import calls
from tinygrad_vg.compiler import TraceError

FAMILIES = ("SELECTING", "SHAPING", "PRODUCTS", "STATISTICS", "CALCULUS", "LINALG")
WITH_ORDER = {np.interp}  # one of its arguments has to stay sorted


def results(family, columns):
    """For each call the parts of its result, and the gradients of their sum."""
    found = []
    for call, column in zip(family, columns, strict=True):
        values = call.on(*column)
        total = sum(np.sum(np.sin(part)) for part in values if isinstance(part, tg.Tensor) and part.requires_grad)
        found.append([*values, *tg.grad(total, list(column))])
    return found


def check(family, backend):
    """Three runs of a compiled function of these calls: the trace, other numbers, and the first numbers again."""
    compiled = tg.compile(lambda *columns: results(family, columns), backend=backend)
    for change in (lambda a: a, others, lambda a: a):
        columns = [
            [tg.Tensor(a if call.function in WITH_ORDER else change(a), requires_grad=True) for a in call.arrays()]
            for call in family
        ]
        for call, one, two in zip(family, results(family, columns), compiled(*columns), strict=True):
            for a, b in zip(one, two, strict=True):
                a = a if isinstance(a, tg.Tensor) else np.asarray(a)
                b = b if isinstance(b, tg.Tensor) else np.asarray(b)
                assert is_same(a, b, rtol=1e-9), f"{call}: {a} is {b}"
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    check(getattr(calls, name), "numpy")


@needs_numba
@pytest.mark.parametrize("name", FAMILIES)
def test_numba_runs_a_sample(name, monkeypatch):
    monkeypatch.setenv("TINYGRAD_VG_CACHE", "")
    check(getattr(calls, name)[3::20], "numba")


@pytest.mark.parametrize("function", [np.unique, np.histogram, np.bincount, np.unique_counts, np.nonzero, np.ix_])
def test_what_has_a_shape_of_the_values_is_refused(function):
    numbers = np.arange(3) if function is np.bincount else np.arange(3.0)
    with pytest.raises(TraceError, match="shape depends on the values"):
        tg.compile(lambda t: function(t) and t, backend="numpy")(numbers)
