"""The table is open: functions of other packages, and operations of one's own, enter it by one line."""

import functools

import numpy as np
import pytest
import scipy.special

import tinygrad_vg as tg
from tinygrad_vg.engine.operations import OPERATIONS


@pytest.fixture
def expit():
    """SciPy's sigmoid, in the table for the time of a test."""
    tg.defvjp(scipy.special.expit, lambda g, y, a: g * y * (1 - y))
    yield scipy.special.expit
    del OPERATIONS[scipy.special.expit]


def leaf(*numbers, dtype=np.float64):
    return tg.Tensor(np.array(numbers, dtype), requires_grad=True)


def slope_of_cube(g, y, a, scale=1):
    return 3 * scale * g * a * a


@tg.differentiable(slope_of_cube)
def cube(a, scale=1):
    """a³, scaled."""
    assert not isinstance(a, tg.Tensor), "the function itself runs on arrays"
    return scale * a * a * a


def test_a_ufunc_of_scipy(expit):
    assert tg.gradcheck(expit, leaf(-1.3, 0.4, 2.1), order=2)
    np.testing.assert_allclose(expit(leaf(0.4)).data, tg.ops.sigmoid(np.array([0.4])))


def test_a_ufunc_of_scipy_keeps_float32(expit):
    t = leaf(-1.3, 0.4, dtype=np.float32)
    np.sum(expit(t)).backward()
    assert t.grad.dtype == np.float32


def test_without_a_rule_the_same_ufunc_is_refused():
    with pytest.raises(TypeError, match=r"gradient of expit is not defined; add it with .*defvjp\(expit"):
        scipy.special.expit(leaf(1.0))


def test_defvjp_replaces_a_rule(monkeypatch):
    monkeypatch.setitem(OPERATIONS, np.sin, OPERATIONS[np.sin])  # put back after the test
    tg.defvjp(np.sin, lambda g, y, a: 7 * g)
    t = leaf(0.3)
    assert tg.grad(np.sin(t), t)[0] == 7


def test_an_operation_is_recorded_on_tensors_and_just_runs_on_arrays():
    t = leaf(0.5, 2.0)
    assert isinstance(cube(t), tg.Tensor)
    assert tg.gradcheck(cube, t, order=3)
    assert type(cube(np.array([2.0]))) is np.ndarray
    assert type(cube(2.0)) is float


def test_an_operation_takes_the_options_that_its_rule_names():
    assert tg.gradcheck(lambda a: cube(a, scale=5), leaf(0.5, 2.0), order=2)
    assert cube(leaf(2.0), 5).item() == 40
    with pytest.raises(TypeError, match=r"cube .*does not take power=: its rule covers these options: .*scale"):
        cube(leaf(2.0), power=2)


def test_an_operation_keeps_its_name_and_docstring():
    assert (cube.__name__, cube.__doc__) == ("cube", "a³, scaled.")


def test_an_argument_without_a_rule_is_a_constant():
    @tg.differentiable(lambda g, y, a, b: g * b, None)
    def scaled(a, b):
        return a * b

    a, b = leaf(2.0), leaf(3.0)
    y = scaled(a, b)
    y.backward()
    assert (a.grad, b.grad) == (3, None)
    assert not scaled(tg.Tensor([2.0]), b).requires_grad


def test_a_rule_may_return_what_broadcasts_to_the_argument():
    @tg.differentiable(lambda g, y, a: g)
    def total(a):
        return np.sum(a)

    @tg.differentiable(lambda g, y, a: np.expand_dims(g, 0))
    def of_columns(a):
        return np.sum(a, axis=0)

    a = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    for function, size in ((total, 1), (of_columns, 3)):
        (gradient,) = tg.grad(function(a), a, np.arange(float(size)).reshape(() if size == 1 else 3) + 2)
        assert gradient.shape == (2, 3)
        assert (gradient == np.arange(size) + 2).all()
    fit = tg.engine.graph.fit
    for g, shape, value in (((5, 1, 3), (2, 3), 5), ((1, 3), (2, 3), 1), ((4, 2, 1), (1, 3), 8), ((2, 1), (1, 0), 2)):
        assert np.array_equal(fit(np.ones(g), np.zeros(shape)), np.full(shape, value))


def test_a_rule_is_any_callable():
    @tg.differentiable(functools.partial(lambda factor, g, y, a: factor * g, 2))
    def twice(a):
        return 2 * a

    assert tg.gradcheck(twice, leaf(1.0, 2.0), order=2)


@pytest.mark.parametrize("rule", [3, "cos", np.ones(2)], ids=str)
def test_a_rule_that_cannot_be_called_is_refused(rule):
    before = OPERATIONS[np.sin]
    with pytest.raises(TypeError, match="a rule is a function"):
        tg.defvjp(np.sin, rule)
    assert OPERATIONS[np.sin] is before


@pytest.mark.parametrize("rule", [3, "cos", np.ones(2)], ids=str)
def test_the_decorator_refuses_it_too(rule):
    with pytest.raises(TypeError, match="a rule is a function"):
        tg.differentiable(rule)(lambda a: a)
