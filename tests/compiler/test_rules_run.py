"""Every function of the rules' table runs compiled, with both derivatives, on data that it was not traced with."""

import operator
import os
from functools import partial

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.engine.cases import ANY as SOME
from tests.engine.cases import CUBE, MASK, OTHER, POINT, POSITIVE, ROW, SMALL_INTEGERS, is_real
from tests.engine.test_rules import CASES, cotangent
from tinygrad_vg import ops
from tinygrad_vg.compiler.templates import ARITHMETIC, COMPARISONS, LOGIC
from tinygrad_vg.engine import calculus, constants, linalg
from tinygrad_vg.engine.operations import OPERATIONS
from tinygrad_vg.nn import clipping
from tinygrad_vg.nn.classification import rows_of_classes

INDEXED = {operator.getitem, ops.scatter, ops.put, ops.at}  # their integers say where, and with that the shape
FALLING_BACK = [
    np.power, np.prod, np.max, np.cumsum, np.vecdot, np.roll, np.clip, np.var, np.arctan2, ops.at, ops.scatter, ops.put,
    ops.cross_entropy, operator.getitem,
]  # fmt: skip


def changes(case, number, argument):
    """Whether an argument of a case may hold other numbers in the next run."""
    is_index = case.function in INDEXED and number > 0
    return number in case.checked or (isinstance(argument, np.ndarray) and argument.ndim > 0 and not is_index)


def others(argument):
    """Other numbers of the same kind: in reverse order, and reals a little smaller."""
    turned = np.flip(argument)
    return 0.95 * turned if is_real(argument) else turned.copy()


def values_of(cases, *columns):
    """For each case its value, its gradients and the gradients of their sum."""
    found = []
    for case, column in zip(cases, columns, strict=True):
        left = iter(column)
        args = [next(left) if changes(case, i, a) else a for i, a in enumerate(case.args)]
        y = case.on_tensors(*args)
        wanted = [args[i] for i in case.checked]
        first = tg.grad(y, wanted, cotangent(y), create_graph=True)
        curved = [*(g for g in first if g.requires_grad), *(2 * w for w in wanted)]
        found.append((y, *first, *tg.grad(curved, wanted, list(map(cotangent, curved)))))
    return found


def given(cases, change=lambda a: a):
    """The arguments for `values_of`."""
    return [
        [tg.Tensor(change(np.asarray(a)), requires_grad=i in case.checked)
         for i, a in enumerate(case.args) if changes(case, i, a)]
        for case in cases
    ]  # fmt: skip


def is_same(a, b, rtol=1e-12):
    """Whether two results agree in kind, shape, dtype and numbers."""
    x, y = (r.data if isinstance(r, tg.Tensor) else r for r in (a, b))
    return type(a) is type(b) and x.dtype == y.dtype and x.shape == y.shape and np.allclose(x, y, rtol=rtol, atol=1e-13)


def check(cases, backend):
    """Three runs of a compiled function of these cases: the trace, other numbers, and the first numbers again."""
    step = partial(values_of, cases)
    compiled = tg.compile(step, backend=backend)
    for change in (lambda a: a, others, lambda a: a):
        expected, found = step(*given(cases, change)), compiled(*given(cases, change))
        for case, one, two in zip(cases, expected, found, strict=True):
            assert len(one) == len(two), case
            for a, b in zip(one, two, strict=True):
                assert is_same(a, b), f"{case}: {a} is {b}"
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numpy(case):
    check([case], "numpy")


@pytest.mark.parametrize("case", [case for case in CASES if case.function is not np.ndarray.astype], ids=str)
def test_numpy_in_float32(case):
    """As float32 the values only, to 5e-6: a call that computes in float64 meanwhile would have another dtype."""
    case = case.with_arrays(lambda a: a.astype(np.float32))

    def step(column):
        left = iter(column)
        return case.on_tensors(*(next(left) if changes(case, i, a) else a for i, a in enumerate(case.args)))

    compiled = tg.compile(step, backend="numpy")
    for change in (lambda a: a, others):
        (column,) = given([case], lambda a, change=change: change(a).astype(a.dtype))
        assert is_same(step(column), compiled(column), rtol=5e-6)


needs_numba = pytest.mark.skipif("numba" not in BACKENDS, reason="MACHINE_CODE=1 tests it")


def sample(functions, most):
    """The first few cases of each function."""
    return [case for f in functions for case in [c for c in CASES if c.function is f][:most]]


@pytest.fixture
def no_cache(monkeypatch):
    monkeypatch.setitem(os.environ, "TINYGRAD_VG_CACHE", "")


@needs_numba
@pytest.mark.parametrize("part", range(3))
def test_numba_templates(part, no_cache):
    functions = [f for f in (*ARITHMETIC, np.where, np.matmul, ops.linear, np.sum, np.mean) if f in OPERATIONS]
    check(sample(functions, 2)[part::3], "numba")


@needs_numba
def test_numba_falls_back(no_cache):
    check(sample(FALLING_BACK, 1), "numba")


# Functions without a derivative: with their arguments.
CONSTANTS = {
    **{f: (SOME, np.where(MASK, SOME, OTHER)) for f in COMPARISONS},
    **{f: (MASK, ~MASK[::-1]) for f in LOGIC if f is not np.logical_not},
    np.logical_not: (MASK,), np.logical_xor: (SOME > 0, MASK),
    **{f: (np.where(MASK, SOME, np.inf),) for f in (np.isfinite, np.isinf, np.isnan)},
    np.isclose: (SOME, np.where(MASK, SOME, OTHER)), np.allclose: (SOME, OTHER), np.array_equal: (SOME, SOME),
    np.array_equiv: (ROW, SOME), np.all: (SOME > 0,), np.any: (SOME > 2,), np.count_nonzero: (SOME > 0,),
    **dict.fromkeys((np.sign, np.signbit, np.floor, np.ceil, np.trunc, np.rint, np.round, np.around), (3 * SOME,)),
    np.spacing: (SOME,), np.heaviside: (SOME, OTHER), np.floor_divide: (3 * SOME, OTHER),
    np.argmax: (SOME, 1), np.argmin: (SOME,), np.argsort: (CUBE, 1), np.searchsorted: (np.sort(ROW), SOME),
    np.zeros_like: (SOME,), np.ones_like: (SOME,),
    rows_of_classes: (np.array([2, 0, -100]), 3, -100, np.dtype(np.float64)),
    clipping.norm_and_exponent: (2.0, (0, 0), 0, SOME, OTHER), clipping.norm_of: (np.array([0.5, 3.0]),),
    clipping.clipped: (SOME, np.array([0.5, 3.0]), 1.0, 0),
    **{f: (np.where(MASK, SOME, np.inf),) for f in (np.isposinf, np.isneginf)},
    **dict.fromkeys((np.isreal, np.iscomplex, np.imag, np.angle, np.nanargmax, np.nanargmin), (SOME,)),
    np.isin: (SOME, ROW), np.fix: (3 * SOME,), np.argpartition: (CUBE, 1), np.digitize: (SOME, np.array([-1.0, 0, 1])),
    np.linalg.matrix_rank: (SOME,), linalg.sign_of_det: (SOME[:, :2],), calculus.last_of_largest: (SOME, 1),
    constants.exponent_of: (SOME,),
}  # fmt: skip


IN_ORDER = {np.searchsorted, np.digitize}  # of an argument that has to stay sorted


def test_constants_are_all():
    """What gives a shape that depends on values is refused (test_refusals.py); all others are here."""
    kinds = {f for f, operation in OPERATIONS.items() if operation.kind == "constant"}
    assert kinds - CONSTANTS.keys() == {np.argwhere, np.flatnonzero}


def all_constants(*columns):
    return [f(*column) for f, column in zip(CONSTANTS, columns, strict=True)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_functions_without_a_derivative(backend, no_cache):
    compiled = tg.compile(all_constants, backend=backend)
    for change in (lambda a: a, others, lambda a: a):
        columns = [
            [change(a) if isinstance(a, np.ndarray) and f not in IN_ORDER else a for a in args]
            for f, args in CONSTANTS.items()
        ]
        expected = [f(*column) for f, column in zip(CONSTANTS, columns, strict=True)]
        for f, a, b in zip(CONSTANTS, expected, compiled(*columns), strict=True):
            a = np.asarray(a)
            assert (a.dtype, a.tolist()) == (np.asarray(b).dtype, np.asarray(b).tolist()), f


@pytest.mark.parametrize("backend", BACKENDS)
def test_composites(backend, no_cache):
    """The functions that the table has as compositions of others."""

    def step(a, b, c):
        parts = [np.concatenate([a, b], axis=1), np.stack([a, b]), np.vstack([a, c]), np.hstack([a, b])]
        parts += [
            np.dot(a, c),
            np.outer(c, c),
            np.sqrt(np.sum(a * a)),
            a.T,
            a.mean(axis=1, keepdims=True),
            -a,
            1 / b,
            a**2,
        ]
        total = sum(np.sum(np.square(part)) for part in parts)
        return parts, tg.grad(total, [a, b, c])

    compiled = tg.compile(step, backend=backend)
    for change in (lambda a: a, others, lambda a: a):
        args = [tg.Tensor(change(a), requires_grad=True) for a in (SOME, POSITIVE, ROW)]
        for one, two in zip(step(*args), compiled(*args), strict=True):
            assert all(is_same(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("kernel", [lambda a: 2 * a, partial(np.multiply, 2.0)], ids=["lambda", "partial"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operation_without_a_name_of_its_own(kernel, backend, no_cache):
    twice = tg.differentiable(lambda g, y, a: 2 * g)(kernel)
    compiled = tg.compile(lambda a: (twice(a), twice(-a)), backend=backend)
    for change in (lambda a: a, others):
        assert [y.tolist() for y in compiled(change(SOME))] == [
            (2 * change(SOME)).tolist(),
            (-2 * change(SOME)).tolist(),
        ]
    del OPERATIONS[twice]


@pytest.mark.parametrize("backend", BACKENDS)
def test_kinds_that_mix(backend, no_cache):
    """Integers, booleans and scalars beside float32: the dtypes are those of eager."""
    small = SOME.astype(np.float32)

    def step(x, n, flag, y):
        return [
            x * n, x + flag, np.where(flag, x, 0), np.where(flag, n, x), x * 2, x * np.float64(2), x / 3, n * 0.5 * y,
            x + y, np.maximum(x, n), (x > 0) * y, np.sum(n * x, axis=0), np.exp(x) * (n > 1), x - POINT, y * POINT,
        ]  # fmt: skip

    compiled = tg.compile(step, backend=backend)
    for change in (lambda a: a, np.negative, lambda a: a):
        args = [tg.Tensor(change(small)), change(SMALL_INTEGERS), ~MASK, tg.Tensor(change(OTHER))]
        for a, b in zip(step(*args), compiled(*args), strict=True):
            assert is_same(a, b, rtol=1e-6)
