"""The checker itself: what it accepts, what it catches, and what its message says."""

import contextlib
import re

import numpy as np
import pytest

import tinygrad_vg as tg


def leaf(*numbers):
    return tg.Tensor(np.array(numbers), requires_grad=True)


def cube_with(rule):
    @tg.differentiable(rule)
    def cube(a):
        return a * a * a

    return cube


def plain(a):
    """What a rule must not do: read the numbers of a Tensor, and so leave the graph."""
    return a.data if isinstance(a, tg.Tensor) else a


@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_rules_pass(order):
    assert tg.gradcheck(lambda a, b: np.sin(a) * b**2, [leaf(0.3, -1.1), leaf(0.8, 2.0)], order=order) is True
    assert tg.gradcheck(cube_with(lambda g, y, a: 3 * g * a * a), leaf(0.3, -1.1), order=order) is True


def test_what_requires_no_gradient_is_passed_on():
    assert tg.gradcheck(lambda a, b, c: a * b * c, [tg.Tensor([2.0, 3.0]), leaf(1.0, 2.0), 3])


def test_a_point_is_an_input_too():
    assert tg.gradcheck(np.exp, tg.Tensor(0.5, requires_grad=True), order=2)


def test_the_message_names_input_element_and_both_numbers():
    @tg.differentiable(lambda g, y, a, b: g * b, lambda g, y, a, b: g * np.where(a > 2, 4, a))
    def times(a, b):
        return a * b

    with pytest.raises(tg.GradcheckError, match=r"times: the gradient of input 1 at \(1,\) is ") as caught:
        tg.gradcheck(times, [leaf(1.0, 3.0), leaf(5.0, 7.0)])
    gradient, difference = re.search(r"is (\S+), the finite difference (\S+)$", str(caught.value)).groups()
    assert float(gradient) / float(difference) == pytest.approx(4 / 3)


def test_the_message_of_order_2_says_whose_derivative_is_wrong():
    wrong = cube_with(lambda g, y, a: 3 * g * plain(a) * plain(a))
    assert tg.gradcheck(wrong, leaf(0.5, 2.0))
    with pytest.raises(tg.GradcheckError, match=r"gradient 0 of cube: the gradient of input 0 at \(0,\) is 0,"):
        tg.gradcheck(wrong, leaf(0.5, 2.0), order=2)


def test_order_2_notices_that_the_graph_was_left_through_g():
    wrong = cube_with(lambda g, y, a: 3 * plain(g) * a * a)
    assert tg.gradcheck(wrong, leaf(0.5, 2.0))
    with pytest.raises(tg.GradcheckError, match=r"gradient 0 of cube: the gradient of input 1 "):
        tg.gradcheck(wrong, leaf(0.5, 2.0), order=2)


def test_order_2_is_checked_for_every_input():
    @tg.differentiable(lambda g, y, a, b: g * b * b, lambda g, y, a, b: 2 * g * a * plain(b))
    def wrong(a, b):
        return a * b * b

    assert tg.gradcheck(wrong, [leaf(0.5), leaf(2.0)])
    with pytest.raises(tg.GradcheckError, match=r"gradient 1 of wrong: the gradient of input 1 "):
        tg.gradcheck(wrong, [leaf(0.5), leaf(2.0)], order=2)


def test_order_3_notices_what_order_2_cannot():
    wrong = cube_with(lambda g, y, a: slope(g, a))

    @tg.differentiable(lambda s, y, g, a: s * 3 * a * a, lambda s, y, g, a: s * 6 * g * plain(a))
    def slope(g, a):
        return 3 * g * a * a

    assert tg.gradcheck(wrong, leaf(0.5, 2.0), order=2)
    with pytest.raises(tg.GradcheckError, match="gradient 0 of gradient 0 of cube"):
        tg.gradcheck(wrong, leaf(0.5, 2.0), order=3)


def test_nan_is_no_gradient():
    with pytest.raises(tg.GradcheckError, match="is nan"):
        tg.gradcheck(cube_with(lambda g, y, a: g * np.nan), leaf(1.0))


def test_an_input_that_no_gradient_reaches_is_an_error():
    with pytest.raises(tg.GradcheckError, match=r"no gradient arrived: input 1 .* is not used by the outputs"):
        tg.gradcheck(lambda a, b: a * b.data, [leaf(1.0), leaf(2.0)])


def test_tolerances_are_per_element():
    nearly = cube_with(lambda g, y, a: 3.001 * g * a * a)
    assert tg.gradcheck(nearly, leaf(0.1, 10.0), rtol=1e-3)
    with pytest.raises(tg.GradcheckError, match=r"at \(1,\)"):
        tg.gradcheck(nearly, leaf(0.1, 10.0), atol=1e-4, rtol=1e-4)


def test_a_large_output_does_not_drown_a_small_one():
    """A right rule passes: of two outputs, only the one that the step changes may enter the difference."""
    assert tg.gradcheck(cube_with(lambda g, y, a: 3 * g * a * a), leaf(1.0, 1e4))


@pytest.mark.parametrize("rule", [lambda g, y, a: 3 * g * a * a, lambda g, y, a: g], ids=["right", "wrong"])
def test_inputs_come_back_as_they_were(rule):
    a = leaf(0.5, 2.0)
    array, before = a.data, a.data.copy()
    with contextlib.suppress(tg.GradcheckError):
        tg.gradcheck(cube_with(rule), a, order=2)
    assert a.data is array
    assert np.array_equal(array, before)
    assert a.grad is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=lambda dtype: dtype.__name__)
def test_inputs_other_than_float64_are_refused(dtype):
    with pytest.raises(TypeError, match=f"float64 inputs, not {np.dtype(dtype)}"):
        tg.gradcheck(np.exp, tg.Tensor(np.ones(2, dtype), requires_grad=True))


@pytest.mark.parametrize("inputs", [[tg.Tensor([1.0])], tg.Tensor([1.0]), [1.0], []], ids=str)
def test_without_a_differentiable_input_there_is_nothing_to_check(inputs):
    with pytest.raises(ValueError, match="requires_grad=True"):
        tg.gradcheck(np.exp, inputs)
