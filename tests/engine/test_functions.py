"""Every function of NumPy is accounted for, the page says so too, and what no table of cases can hold."""

import re

import mpmath
import numpy as np
import pytest

import tinygrad_vg as tg
from tests.engine import functions_page
from tests.engine.cases_of_arrays import SINGULAR, SYMMETRIC
from tinygrad_vg.engine import name_of
from tinygrad_vg.engine.operations import OPERATIONS
from tinygrad_vg.engine.refused import PREFIXES, REASONS, why_refused


def leaf(array):
    return tg.Tensor(np.array(array, float), requires_grad=True)


# Accounts.


def test_every_function_of_numpy_has_an_operation_or_a_reason():
    """An Operation has one kind; so each function is in one of differentiable, composite, constant, plain, refused."""
    functions = functions_page.functions()
    assert len(functions) > 400
    without = {f for f in functions if f not in OPERATIONS and why_refused(f, name_of(f)) is None}
    twice = {f for f in functions if f in OPERATIONS and why_refused(f, name_of(f)) is not None}
    assert (without, twice) == (set(), set())


def test_a_call_tells_the_reason():
    t = leaf([1.0, 2.0])
    for function in functions_page.functions() - OPERATIONS.keys():
        name = name_of(function)
        with pytest.raises(TypeError, match=re.escape(f"{name} takes no Tensor: {why_refused(function, name)}")):
            t.record(function, (t,), {})


def test_no_reason_is_left_over():
    """Each is of a function that this NumPy has, or an older one had."""
    names = {name_of(f) for f in functions_page.functions()}
    assert {name for name in REASONS if name not in names} <= {"np.in1d", "np.row_stack", "np.trapz"}
    unused = {prefix for prefix in PREFIXES if not any(name.startswith(prefix) for name in names)}
    assert unused <= {"np.polynomial."}  # two functions of it, which only some versions let override


def test_the_page_lists_what_the_registry_has():
    """If not: `python -m tests.engine.functions_page`, with the newest NumPy."""
    accounts, page = functions_page.accounts(), functions_page.read()
    assert {name: page.get(name) for name in accounts} == accounts
    assert [name for name in page.keys() - accounts.keys() if functions_page.is_there(name)] == []


def test_the_reasons_name_functions_that_there_are():
    reasons = [*REASONS.values(), *PREFIXES.values()]
    names = {name.rstrip(".") for reason in reasons for name in re.findall(r"\bnp\.[\w.]+", reason)}
    assert all(map(functions_page.is_there, names))
    for name in {name.rstrip(".") for reason in reasons for name in re.findall(r"tinygrad_vg\.([\w.]+)", reason)}:
        owner = tg
        for part in name.split("."):
            owner = getattr(owner, part)


# Kinks.


@pytest.mark.parametrize(
    ("function", "at", "slopes"),
    [
        (lambda t: np.sort(t)[0], [1.0, 1.0, 2.0], [1, 0, 0]),
        (lambda t: np.sort(t)[1], [1.0, 1.0, 2.0], [0, 1, 0]),
        (np.median, [3.0, 1.0, 2.0, 5.0], [0.5, 0, 0.5, 0]),
        (np.median, [3.0, 1.0, 2.0], [0, 0, 1]),
        (np.ptp, [1.0, 1.0, 3.0], [-0.5, -0.5, 1]),
        (np.linalg.norm, [0.0, 0.0], [0, 0]),
        (lambda t: np.linalg.norm(t, 3), [0.0, 0.0], [0, 0]),
        (lambda t: np.linalg.norm(t, np.inf), [2.0, -2.0], [0.5, -0.5]),
        (lambda t: np.maximum.accumulate(t)[-1], [2.0, 2.0, 1.0], [0, 1, 0]),
        (lambda t: np.minimum.accumulate(t)[-1], [2.0, 2.0, 3.0], [0, 1, 0]),
        (lambda t: np.interp(t, [0.0, 1.0, 2.0], [0.0, 1.0, 5.0])[0], [1.0], [4]),
        (np.nanstd, [2.0, np.nan, 2.0], [0, 0, 0]),
        (np.nansum, [2.0, np.nan], [1, 0]),
        (np.nanmax, [2.0, np.nan, 2.0], [0.5, 0, 0.5]),
        (np.sinc, [0.0], [0]),
    ],
)
def test_slopes_at_kinks(function, at, slopes):
    t = leaf(at)
    (gradient,) = tg.grad(np.sum(function(t)), t)
    assert gradient.tolist() == slopes


def test_a_nan_stays_one_and_has_the_gradient():
    for function in (np.median, lambda t: np.quantile(t, 0.3)):
        t = leaf([1.0, np.nan, 2.0])
        y = function(t)
        assert np.isnan(y.data)
        assert tg.grad(y, t)[0].tolist() == [0, 1, 0]


def test_the_determinant_of_a_singular_matrix_has_a_slope():
    assert tg.gradcheck(np.linalg.det, leaf(SINGULAR))
    assert tg.gradcheck(np.linalg.det, leaf(np.zeros((1, 1))))


def test_equal_eigenvalues_and_singular_values_give_no_nan():
    for function in (np.linalg.eigvalsh, lambda t: np.linalg.svd(t, compute_uv=False)):
        t = leaf(np.eye(3))
        (gradient,) = tg.grad(np.sum(function(t) * [1.0, 1.0, 1.0]), t)
        np.testing.assert_allclose(gradient, np.eye(3))
    t = leaf(np.eye(2))
    assert np.isfinite(tg.grad(np.sum(np.linalg.eigh(t)[1]), t)[0]).all()
    t = leaf(np.zeros((2, 2)))
    assert np.isfinite(tg.grad(np.sum(np.linalg.svd(t)[1]), t)[0]).all()


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_a_norm_neither_underflows_nor_overflows(size):
    t = leaf(np.array([3.0, 4.0]) * size)
    y = np.linalg.norm(t)
    np.testing.assert_allclose(y.item(), 5 * size)
    np.testing.assert_allclose(tg.grad(y, t)[0], [0.6, 0.8])


@pytest.mark.parametrize("x", [1e-8, 1e-3, 0.3, 0.749, 0.751, 2.5])
def test_the_slope_of_sinc_is_exact(x):
    with mpmath.workdps(40):
        for order in (1, 2, 3):
            truth = float(mpmath.diff(mpmath.sincpi, mpmath.mpf(x), order))
            found = tg.engine.calculus.sinc_slope(np.array(x), order)
            np.testing.assert_allclose(found, truth, rtol=1e-13, atol=1e-14)


# What is neither a rule nor a composition of one result.


def test_triangles_that_numpy_does_not_read_have_no_gradient():
    t = leaf(SYMMETRIC)
    for y in (np.linalg.cholesky(t), np.linalg.eigh(t)[1], np.linalg.eigvalsh(t)):
        assert np.array_equal(np.triu(tg.grad(np.sum(y), t)[0], 1), np.zeros((3, 3)))


def test_counts_are_arrays():
    t = leaf([0.5, 1.5, 1.7])
    counts, edges = np.histogram(t, bins=[0, 1, 2])
    assert (counts.tolist(), edges.tolist()) == ([1, 2], [0, 1, 2])
    assert np.bincount(tg.Tensor([0, 2, 2])).tolist() == [1, 0, 2]
    assert np.linalg.norm(t, 0) == 3
    assert np.unique_counts(t).counts.tolist() == [1, 1, 1]


def test_full_like_is_filled_with_a_tensor():
    value = leaf(2.0)
    y = np.full_like(leaf([[1.0, 2.0]]), value)
    assert y.data.tolist() == [[2, 2]]
    assert tg.grad(np.sum(y), value)[0] == 2
    assert type(np.full_like(value, 3.0, shape=(2,))) is np.ndarray


BESIDE_A_LIST = {
    "np.trapezoid([1.0, 2.0], t)", "np.gradient([1.0, 3.0], t)", "np.polyval(t, [1.0, 2.0])",
    "np.polyval([1.0, 2.0], t)",
    "np.interp([0.5], [0, 1], t)", "np.kron([1.0, 2.0], t)", "np.linalg.solve([[1.0, 2.0], [3.0, 4.0]], t)",
    "np.linalg.solve(np.outer(t, t) + np.eye(2), [1.0, 2.0])", "np.average([1.0, 2.0], weights=t)",
    "np.einsum('i,i', [1.0, 2.0], t)", "np.diff([1.0, 2.0], append=t)", "np.select([[True, False]], [t])",
    "np.block([1.0, t])", "np.insert([1.0, 2.0], 0, t)", "np.cross([1.0, 2.0, 3.0], np.append(t, 1.0))",
    "np.vdot([1.0, 2.0], t)", "np.convolve([1.0, 2.0], t)", "np.linalg.multi_dot([[1.0, 2.0], t])",
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(BESIDE_A_LIST))
def test_a_list_beside_a_tensor_is_an_array(code):
    t = leaf([1.5, 2.5])
    y = eval(code, {"np": np, "t": t})
    np.testing.assert_allclose(y.data, eval(code, {"np": np, "t": t.data}), rtol=1e-12)
    assert tg.gradcheck(lambda t: eval(code, {"np": np, "t": t}), t)


def test_named_tuples_are_those_of_numpy():
    t = leaf(SYMMETRIC)
    assert np.linalg.eigh(t).eigenvalues.shape == (3,)
    assert np.linalg.svd(t).Vh.shape == np.linalg.qr(t).R.shape == (3, 3)
    assert type(np.linalg.slogdet(t).sign) is not tg.Tensor


METHODS = {
    "ravel": (), "flatten": (), "squeeze": (), "clip": (1.0, 3.0), "cumsum": (1,), "cumprod": (0,),
    "dot": (np.ones(3),),
    "argmax": (1,), "argmin": (), "argsort": (0,), "all": (0,), "any": (), "round": (), "take": ([0, 2], 1),
    "repeat": (2, 1), "diagonal": (1,), "trace": (), "swapaxes": (0, 1), "copy": (),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_those_of_an_array(name):
    t = leaf([[1.2, 0.4, 2.6], [4.5, 3.0, 0.1]])
    found, expected = getattr(t, name)(*METHODS[name]), getattr(t.data, name)(*METHODS[name])
    assert np.array_equal(getattr(found, "data", found), expected)
    assert isinstance(found, tg.Tensor) == (name not in ("argmax", "argmin", "argsort", "all", "any", "round"))


def test_an_index_may_be_an_argument_of_a_compiled_step():
    compiled = tg.compile(lambda t, i: (np.take(t, i, 1), np.take_along_axis(t, i, 1)), backend="numpy")
    array = np.arange(6.0).reshape(2, 3)
    for index in (np.array([[0, 2]]), np.array([[1, 1]])):
        one, two = compiled(array, index)
        assert np.array_equal(one, np.take(array, index, 1))
        assert np.array_equal(two, np.take_along_axis(array, index, 1))
    assert len(compiled.programs) == 1
