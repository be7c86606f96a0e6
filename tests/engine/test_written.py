"""What is written into arrays between forward and backward: noticed, or the right gradient."""

import functools
import gc
import pickle

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.engine import graph
from tinygrad_vg.engine.written import writes


@pytest.fixture(autouse=True)
def _no_writes_of_others():
    gc.collect()
    writes.arrays.clear()


def leaf(*numbers):
    return tg.Tensor(np.array(numbers, float), requires_grad=True, name="w")


AUGMENTED = {
    "*=": "w.data *= 2",
    "-=": "w.data -= 0.1",
    "**=": "w.data **= 2",
    "of a view": "w.data = u = w.data[:]; y = w * w; w.data *= 2",
    "of what a view looks at": "v = w.T; y = v * v; w.data *= 2",
    "of an intermediate value": "h = np.exp(w); y = h * 1; h.data += 1",
    "of a value that nothing else has used": "y = np.exp(w); y.data += 1",
}


@pytest.mark.parametrize("code", AUGMENTED.values(), ids=AUGMENTED)
@pytest.mark.parametrize("mode", [{}, {"create_graph": True}, {"extended_range": True}], ids=lambda mode: [*mode])
def test_an_augmented_assignment_is_noticed(code, mode):
    names = dict(w=leaf(1.0, 2.0), np=np)
    names["y"] = names["w"] * names["w"]
    exec(code, names)
    message = r"^the data of .* was written into after the forward, .*; write t.data = 2 \* t.data"
    with pytest.raises(RuntimeError, match=message):
        names["y"].backward(np.ones(2), **mode)
    assert names["w"].grad is None


def test_the_message_names_the_tensor_and_the_operation():
    w = leaf(1.0)
    y = np.sum(w * w)
    w.data *= 2
    with pytest.raises(RuntimeError, match=r"the data of tensor 'w', an argument of np\.multiply, was written"):
        y.backward()


def test_descent_by_hand_is_not_disturbed():
    """The graph of the last step may still be alive when the weights are written into."""
    w = leaf(1.0)
    for _ in range(3):
        w.grad = None
        y = np.sum(w * w)
        y.backward()
        w.data -= 0.25 * w.grad
    assert w.data == 0.125
    with pytest.raises(RuntimeError, match="written"):
        y.backward()


NOT_NEEDED = {
    "a summand": lambda w, x: w + x,
    "a factor whose partner is a number": lambda w, x: w * x,
    "a bias": lambda w, x: tg.ops.linear(x, tg.Tensor(np.eye(2), requires_grad=True), w),
    "a weight of the first layer": lambda w, x: tg.ops.linear(x, w),
}


@pytest.mark.parametrize("function", NOT_NEEDED.values(), ids=NOT_NEEDED)
def test_what_no_rule_reads_may_be_written_into(function):
    w, x = leaf(1.0, 2.0), np.array([3.0, 4.0])
    if function is NOT_NEEDED["a weight of the first layer"]:
        w = leaf([1.0, 2.0])
    with tg.checked():
        y = function(w, x)
    y.backward(np.ones(y.shape))
    right = w.grad
    w.data *= 2
    y.backward(np.ones(y.shape))
    assert np.array_equal(w.grad, 2 * right)


class Rules:
    def of_method(self, g, y, a, b):
        return g * b


RULES = {
    "a function": lambda g, y, a, b: g * b,
    "a method": Rules().of_method,
    "a partial function": functools.partial(lambda factor, g, y, a, b: factor * g * b, 1),
    "any arguments": lambda g, y, *args: g * args[1],
    "a function inside": lambda g, y, a, b: (lambda: g * b)(),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_a_rule_of_any_kind_reads_may_not_be_written_into(rule):
    product = tg.differentiable(rule, None)(lambda a, b: a * b)
    w, u = leaf(1.0), leaf(3.0)
    y = product(w, u)
    u.data *= 2
    with pytest.raises(RuntimeError, match="argument of <lambda>, was written into"):
        y.backward([1.0])


def test_rows_of_one_array_are_written_into_alone():
    rows = np.ones((2, 3))
    w, u = tg.Tensor(rows[0], requires_grad=True), tg.Tensor(rows[1], requires_grad=True)
    y, z = w * w, u * u
    w.data *= 2
    z.backward(np.ones(3))
    assert u.grad.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="written"):
        y.backward(np.ones(3))


def test_what_was_written_before_the_forward_does_no_harm():
    """Also where a later write makes the walk look at every node."""
    w, u = leaf(1.0), leaf(3.0)
    w.data *= 2
    y = w * w
    u.data *= 2
    y.backward([1.0])
    assert w.grad == 4


def test_descent_by_hand_costs_no_look_at_every_node(monkeypatch):
    """The graph of a step is younger than the writes of the last."""
    w = leaf(1.0)
    w.data *= 2
    monkeypatch.setattr(graph, "check", None)
    np.sum(w * w).backward()


def test_what_was_written_is_forgotten_with_its_array():
    w = leaf(1.0)
    w.data *= 2
    assert len(writes.arrays) == 1
    del w
    gc.collect()
    assert not writes.arrays


def test_other_tensors_and_rebound_data_are_right():
    w, u = leaf(1.0), leaf(3.0)
    w.data *= 2
    y = u * u
    y.backward([1.0])
    z = w * u
    w.data = 2 * w.data
    z.backward([1.0])
    assert u.grad == 8
    assert w.grad == 3


def test_an_optimizer_leaves_no_trace():
    net = nn.mlp([3, 2, 1], rng=0)
    descent = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        nn.MSELoss()(net(np.ones((4, 3))), np.ones((4, 1))).backward()
        descent.step()
    assert not writes.arrays


WRITES = {
    "w.data[0] = 9": "tensor 'w'",
    "w.data[...] *= 2": "tensor 'w'",
    "np.add(w.data, 1, out=w.data)": "tensor 'w'",
    "x[0] = 9": "argument 2 of np.multiply, an array of shape",
    "x.fill(3)": "argument 2 of np.multiply",
    "h.data[:] = 0": "the output of np.exp",
    "np.clip(h.data, 0, 1, out=h.data)": "the output of np.exp",
    "order.sort()": "argument 2 of getitem",
    "mask[:] = False": "argument 1 of np.where",
}


@pytest.mark.parametrize(("code", "what"), WRITES.items(), ids=WRITES)
def test_every_other_write_is_noticed_inside_checked(code, what):
    w, x, order, mask = leaf(1.0, 2.0), np.array([3.0, 4.0]), np.array([1, 0]), np.array([True, False])
    with tg.checked():
        h = np.exp(w * w * x)
        y = np.where(mask, h[order], 0)
    exec(code, dict(w=w, x=x, h=h, order=order, mask=mask, np=np))
    with pytest.raises(RuntimeError, match="was written into after the forward") as caught:
        y.backward(np.ones(2))
    assert what in str(caught.value)


def test_a_batch_buffer_that_is_filled_again_is_noticed_inside_checked():
    net, batch = nn.mlp([3, 2, 1], rng=0), np.ones((4, 3))
    with tg.checked():
        first = np.sum(net(batch))
        batch *= 2
        with pytest.raises(RuntimeError, match=r"argument 1 of linear, an array of shape \(4, 3\), .*give .* a copy"):
            (first + np.sum(net(batch))).backward()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_inside_checked_gradients_are_what_they_are(dtype):
    grads = []
    for context in (tg.enable_grad(), tg.checked()):
        w = tg.Tensor(np.arange(6, dtype=dtype).reshape(2, 3), requires_grad=True)
        with context:
            y = np.sum(w.T[1:, ::-1] * np.float64(2) + w[[0, 1], 1]) + np.sum(w[:0]) + w[0, 0]
            y.backward(create_graph=True)
        grads.append(w.grad.data)
    assert np.array_equal(*grads)


def test_data_is_an_attribute_like_any_other():
    p = nn.Parameter([1.0])
    p.data = np.array([2.0])
    assert pickle.loads(pickle.dumps(p)).data == 2
