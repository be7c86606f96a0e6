"""Hooks: what they get and keep is theirs, what they return becomes a gradient of the tensor's own."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine import ExtendedArray

MODES = {"plain": {}, "recorded": {"create_graph": True}, "extended": {"extended_range": True}}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def leaf(array, dtype=float):
    return tg.Tensor(np.array(array, dtype), requires_grad=True)


def array_of(g):
    return g.data if isinstance(g, tg.Tensor) else np.asarray(g)


REPLACEMENTS = {
    "list": [2, 3],
    "int8": np.array([2, 3], np.int8),
    "float64": np.array([2.0, 3.0]),
    "Tensor": tg.Tensor([2.0, 3.0]),
    "ExtendedArray": ExtendedArray(np.array([1.0, 1.5]), 1),
}


@every_mode
@pytest.mark.parametrize("replacement", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_a_replacement_takes_the_dtype_and_becomes_a_gradient_of_its_own(mode, replacement):
    x = leaf([1, 1], np.float32)
    kinds = []
    x.register_hook(lambda g: replacement)
    x.register_hook(lambda g: kinds.append(type(g)))
    for times in (1, 2):
        np.sum(x * 5).backward(**mode)
        assert array_of(x.grad).tolist() == [2 * times, 3 * times]
        assert array_of(x.grad).dtype == np.float32
    assert kinds == [type(x.grad)] * 2


def test_a_hook_may_fill_one_buffer_again_and_again():
    x, buffer = leaf([0.0]), np.zeros(1)

    def fill(g):
        np.copyto(buffer, g)
        return buffer

    x.register_hook(fill)
    for factor in (2.0, 3.0):
        np.sum(x * factor).backward()
    assert x.grad == 5
    buffer[:] = 7
    assert x.grad == 5


@every_mode
def test_a_replacement_at_an_intermediate_value_is_the_hooks_own_no_more(mode):
    x, buffer = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    y = x * 1
    y.register_hook(lambda g: buffer)
    x.register_hook(lambda g: buffer.fill(0))  # called later
    np.sum(y).backward(**mode)
    assert array_of(x.grad).tolist() == [3, 4]


def test_the_identity_loses_nothing_in_extended_range():
    x = leaf(1.0)
    y = x * 1e-300
    y.register_hook(lambda g: g)
    (y * 1e-300).backward(extended_range=True)
    assert tg.instruments.log10_norm(x.grad) == pytest.approx(-600)


@every_mode
def test_what_a_hook_gets_cannot_be_written_to(mode):
    """Both branches get the same array: one hook could spoil the other's."""
    a, b = leaf([1.0]), leaf([2.0])
    a.register_hook(lambda g: (g.mantissa if isinstance(g, ExtendedArray) else array_of(g)).fill(0))
    with pytest.raises(ValueError, match="read-only"):
        np.sum(a + b).backward(**mode)
    assert a.grad is b.grad is None


@every_mode
def test_what_a_hook_has_kept_is_not_the_gradient(mode):
    a, kept = leaf([1.0, 2.0]), []
    a.register_hook(kept.append)
    np.sum(3 * a).backward(**mode)
    if "extended_range" in mode:
        assert not a.grad.mantissa.flags.writeable
    else:
        array_of(a.grad)[:] = 0
    assert array_of(kept[0]).tolist() == [3, 3]


def test_what_a_hook_gets_in_a_recorded_walk_is_part_of_the_graph():
    """∂/∂x of what it computes, and ∂/∂(what it got) of the gradients further down."""
    x, kept = leaf(2.0), []
    y = x**3
    with y.register_hook(lambda g: kept.append(g) or 5 * g * x), x.register_hook(kept.append):
        (y * y).backward(create_graph=True)  # g = 2 y = 2 x³; x.grad = 5 g x · 3 x² = 30 x⁶
    assert (kept[0].item(), x.grad.item()) == (16, 30 * 64)
    assert tg.grad(x.grad, x)[0] == 180 * 32
    assert tg.grad(x.grad, kept[0])[0] == 15 * 8
    assert tg.grad(kept[1], x)[0] == 180 * 32


def test_gradients_of_extended_range_are_read_only_and_not_the_caller_s():
    a, b, start = leaf([1.0, 2.0]), leaf([3.0, 4.0]), np.ones(2)
    (a + b).backward(start, extended_range=True)
    start[:] = 0
    assert np.asarray(a.grad).tolist() == np.asarray(b.grad).tolist() == [1, 1]
    for g in (a.grad, b.grad, ExtendedArray(start)):
        with pytest.raises(ValueError, match="read-only"):
            g.mantissa[:] = 0
    assert start.flags.writeable


@pytest.mark.parametrize("take", ["backward", "grad"])
def test_recorded_gradients_share_no_array(take):
    """The rule of a sum hands one gradient to both sides."""
    a, b, start = leaf([1.0, 2.0]), leaf([3.0, 4.0]), tg.Tensor([1.0, 1.0])
    if take == "grad":
        ours = tg.grad(a + b, [a, b], start, create_graph=True)
    else:
        (a + b).backward(start, create_graph=True)
        ours = a.grad, b.grad
    ours[0].data[:] = 7
    assert ours[1].data.tolist() == start.data.tolist() == [1, 1]


@every_mode
def test_a_hook_that_a_sibling_has_taken_off_is_not_called(mode):
    x, called = leaf(1.0), []
    x.register_hook(lambda g: second.remove())
    second = x.register_hook(called.append)
    x.register_hook(lambda g: called.append("third"))
    (2 * x).backward(**mode)
    assert called == ["third"]


def test_a_forward_hook_or_listener_that_a_sibling_has_taken_off_is_not_called():
    net, called = nn.Linear(1, 1, rng=0), []
    net.register_forward_hook(lambda module, args, output: second.remove())
    second = net.register_forward_hook(lambda module, args, output: called.append(1))
    y = net(np.ones((1, 1)))
    with tg.engine.listen(lambda walk: later.remove()), tg.engine.listen(called.append) as later:
        np.sum(y).backward()
    assert called == []


def test_a_complex_or_masked_replacement_is_refused():
    for wrong in (np.array([1j]), np.ma.array([1.0], mask=[True])):
        x = leaf([1.0])
        x.register_hook(lambda g, wrong=wrong: wrong)
        with pytest.raises(TypeError, match=r"imaginary|masked array"):
            np.sum(x).backward()
