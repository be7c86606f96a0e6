"""The walk back: order, sums, depth, memory, hooks, and derivatives of the derivative."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_vg as tg


def leaf(*shape, seed=0, name=None):
    return tg.Tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True, name=name)


# Order and sums.


def test_a_tensor_is_visited_after_all_its_consumers():
    a = tg.Tensor(3.0, requires_grad=True)
    b = a + a
    c = b + b
    visits = []
    for name, tensor in {"a": a, "b": b, "c": c}.items():
        tensor.register_hook(lambda g, name=name: visits.append((name, float(g))))
    c.backward()
    assert visits == [("c", 1.0), ("b", 2.0), ("a", 4.0)]


def test_perturbation_confusion():
    """d/dx x · d/dy (x + y) = 1: the inner derivative must not mistake x for y."""
    x = tg.Tensor(2.0, requires_grad=True)
    y = tg.Tensor(5.0, requires_grad=True)
    (inner,) = tg.grad(x + y, y, create_graph=True)
    (outer,) = tg.grad(x * inner, x)
    assert outer == 1.0


def test_200000_operations_deep():
    x = y = tg.Tensor(1.5, requires_grad=True)
    for _ in range(200_000):
        y = -y
    y.backward()
    assert x.grad == 1.0
    del y  # freeing the chain must not recurse either


def test_2_to_the_60_paths():
    x = y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60
    assert tg.grad(y, x)[0] == 2.0**60  # which first looks for the part of the graph between the two


def test_two_backwards_add_exactly():
    x = leaf(4)
    y = np.sum(np.exp(x) * x)
    y.backward()
    once = x.grad.copy()
    y.backward()
    assert np.array_equal(x.grad, once + once)


def test_only_leaves_keep_a_gradient():
    x = leaf(3)
    y = x * x
    np.sum(y).backward()
    assert y.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_a_gradient_has_its_argument_s_shape_and_dtype(dtype):
    wide = tg.Tensor(np.ones((3, 1), dtype), requires_grad=True)
    other = tg.Tensor(np.ones((2, 1, 4)), requires_grad=True)
    np.sum(wide * other + wide).backward()
    assert (wide.grad.shape, wide.grad.dtype) == ((3, 1), dtype)
    assert (other.grad.shape, other.grad.dtype) == ((2, 1, 4), np.float64)
    assert isinstance(wide.grad, np.ndarray)


def test_gradients_do_not_share_memory():
    """The rule of + hands the same array to both arguments; their owners may change them in place."""
    a, b = leaf(3), leaf(3, seed=1)
    cotangent = np.ones(3)
    (a + b).backward(cotangent)
    a.grad *= 10
    assert np.array_equal(b.grad, np.ones(3))
    assert np.array_equal(cotangent, np.ones(3))
    np.sum(leaf(3)).backward()
    c = leaf(3)
    np.sum(c).backward()  # a broadcast view by its rule
    c.grad *= 2
    assert np.array_equal(c.grad, np.full(3, 2.0))


def test_an_update_between_forward_and_backward_does_not_disturb_the_gradient():
    w = leaf(3)
    before = w.data
    y = np.sum(w * w)
    w.data = w.data + 1.0
    y.backward()
    assert np.array_equal(w.grad, 2 * before)


def test_with_create_graph_such_an_update_is_refused():
    w = leaf(3, name="w")
    y = np.sum(w * w)
    w.data = w.data + 1.0
    with pytest.raises(RuntimeError, match=r"tensor 'w' was given new data after np\.multiply"):
        y.backward(create_graph=True)


# Memory.


def test_graphs_are_freed_without_the_cycle_collector():
    gc.disable()
    try:
        x = leaf(3)
        y = tg.ops.sigmoid(x * 2.0)
        z = np.sum(y)
        z.backward()
        tensors = [weakref.ref(y), weakref.ref(z)]
        del y, z
        assert [ref() for ref in tensors] == [None, None]
    finally:
        gc.enable()


def test_to_add_to_gradients_takes_the_memory_of_one_more():
    x, weights = np.ones((1, 200)), [leaf(100, 200) for _ in range(8)]

    def backward():
        np.sum(sum(tg.ops.linear(x, weight) for weight in weights)).backward()

    tracemalloc.start()
    try:
        backward()
        backward()
        peak = tracemalloc.get_traced_memory()[1] / weights[0].data.nbytes
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(weights) + 2  # the old gradients, the new ones, and a sum


# grad().


def test_hooks_are_freed_with_their_tensor():
    class Hook:
        def __call__(self, g):
            pass

    gc.disable()
    try:
        x = leaf(3)
        y, hook = x * x, Hook()
        y.register_hook(hook)
        np.sum(y).backward()
        seen = weakref.ref(hook)
        del y, hook
        assert seen() is None
    finally:
        gc.enable()


def test_grad_touches_no_grad_and_visits_no_more_than_it_must():
    x, w = leaf(3), leaf(3, seed=1)
    visited = []
    w.register_hook(visited.append)
    middle = x * w
    output = np.sum(middle * middle)
    along_the_way, at_the_leaf = tg.grad(output, [middle, x])
    assert np.allclose(along_the_way, 2 * middle.data)
    assert np.allclose(at_the_leaf, 2 * middle.data * w.data)
    assert x.grad is None
    assert w.grad is None
    assert visited == []


def test_grad_of_several_outputs_is_the_gradient_of_their_sum():
    x = leaf(3)
    a = np.sum(x)
    b = np.sum(a * x)  # an output that another depends on
    (g,) = tg.grad([a, b, a], x, [2.0, 3.0, None])
    assert np.allclose(g, 2.0 + 1.0 + 3.0 * (np.sum(x.data) + np.sum(x.data)))


def test_an_output_may_be_its_own_input():
    x = leaf(2)
    (g,) = tg.grad(x, x, np.array([2.0, 3.0]))
    assert np.array_equal(g, [2.0, 3.0])


def test_grad_of_what_was_not_used():
    with pytest.raises(ValueError, match=r"input 1 \(tensor 'unused'\) is not used by the outputs"):
        tg.grad(np.sum(x := leaf(2)), [x, leaf(2, name="unused")])


def test_one_cotangent_for_each_output():
    x = leaf(2)
    with pytest.raises(ValueError, match="1 outputs and 2 grad_outputs"):
        tg.grad(x, x, [np.ones(2), np.ones(2)])


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_derivatives_of_every_order(order):
    """The n-th derivative of x⁷ is 7!/(7−n)! x^(7−n), and of sin at 0.3 known too."""
    x = tg.Tensor(1.3, requires_grad=True)
    power, wave = x**7, np.sin(x)
    for _ in range(order):
        (power,) = tg.grad(power, x, create_graph=True)
        (wave,) = tg.grad(wave, x, create_graph=True)
    expected = np.prod(np.arange(8 - order, 8)) * 1.3 ** (7 - order)
    assert power.item() == pytest.approx(expected, rel=1e-14)
    assert wave.item() == pytest.approx(np.sin(1.3 + order * np.pi / 2), rel=1e-13)


def test_backward_with_create_graph_leaves_a_tensor_in_grad():
    x = tg.Tensor(2.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    gradient, x.grad = x.grad, None
    gradient.backward()
    assert gradient.item() == 12.0
    assert x.grad == 12.0


# What cannot be meant.


def test_backward_of_a_constant():
    with pytest.raises(ValueError, match="has no gradient"):
        tg.Tensor(1.0).backward()


def test_backward_of_many_elements_needs_a_cotangent():
    x = leaf(3)
    with pytest.raises(ValueError, match=r"the output of np\.multiply has shape \(3,\): only a tensor of one element"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"must have shape \(3,\), not \(2,\)"):
        (x * 2).backward(np.ones(2))


# no_grad.


def test_no_grad_as_context_and_as_decorator():
    x = leaf(3)
    with tg.no_grad():
        with tg.no_grad():
            pass
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @tg.no_grad()
    def constant():
        return x * 2

    assert not constant().requires_grad
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_no_grad_holds_for_its_own_thread():
    x, seen = leaf(3), []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


# Hooks.


def test_a_hook_sees_the_total_gradient_once():
    x = leaf(3)
    seen = []
    x.register_hook(lambda g: seen.append(g.copy()))
    np.sum(x * x + x).backward()
    assert len(seen) == 1
    assert np.array_equal(seen[0], x.grad)


def test_a_replacement_is_what_goes_on():
    x = leaf(3)
    y = x * 2.0
    y.register_hook(lambda g: 10 * g)
    y.register_hook(lambda g: g + 1)  # hooks follow one another
    np.sum(y).backward()
    assert np.array_equal(x.grad, np.full(3, 22.0))


def test_a_replacement_of_another_shape_is_refused():
    x = leaf(3, name="x")
    x.register_hook(lambda g: np.ones(2))
    with pytest.raises(ValueError, match=r"a hook on tensor 'x' returned a gradient of shape \(2,\)"):
        np.sum(x).backward()


def test_handles_take_hooks_off():
    x, seen = leaf(3), []
    handle = x.register_hook(seen.append)
    handle.remove()
    handle.remove()
    with x.register_hook(seen.append):
        np.sum(x).backward()
    np.sum(x).backward()
    assert len(seen) == 1


def test_a_hook_may_take_itself_off():
    x, seen = leaf(3), []

    def once(g):
        seen.append(g)
        handle.remove()

    handle = x.register_hook(once)
    np.sum(x).backward()
    np.sum(x).backward()
    assert len(seen) == 1


def test_hooks_that_could_never_be_called_are_refused():
    with pytest.raises(ValueError, match="does not require gradients"):
        tg.Tensor(1.0).register_hook(print)
    with pytest.raises(TypeError, match="a hook is a function, not 3"):
        leaf(1).register_hook(3)


def test_hooks_get_tensors_when_the_backward_is_recorded():
    x, kinds = leaf(3), []
    x.register_hook(lambda g: kinds.append(type(g)))
    np.sum(x * x).backward(create_graph=True)
    x.grad = None
    np.sum(x * x).backward()
    assert kinds == [tg.Tensor, np.ndarray]
