"""`p -= lr * p.grad`: a Parameter is changed under no_grad, and nowhere is it replaced without a word."""

import copy
import operator

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tinygrad_vg import nn, optim
from tinygrad_vg.compiler import TraceError

X, Y = np.random.default_rng(0).normal(size=(6, 4)), np.zeros((6, 2))
OPERATORS = [
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow,
    operator.imatmul,
]  # fmt: skip
NETS = {
    "network": lambda dtype=np.float64: nn.mlp([4, 3, 2], rng=0, dtype=dtype),
    "ensemble": lambda dtype=np.float64: nn.stack([nn.mlp([4, 3, 2], rng=seed, dtype=dtype) for seed in range(3)]),
}


def by_hand(net, lr=0.1):
    def step(x):
        net.zero_grad()
        cost = nn.MSELoss()(net(x), Y.astype(x.dtype))
        cost.backward()
        with tg.no_grad():
            for p in net.parameters():
                p -= lr * p.grad
        return cost

    return step


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_loop_by_hand_is_sgd(make, dtype):
    ours, theirs = make(dtype), make(dtype)
    sgd = optim.SGD(theirs.parameters(), lr=0.1)
    step, x = by_hand(ours), X.astype(dtype)
    for _ in range(3):
        step(x)
        sgd.zero_grad()
        nn.MSELoss()(theirs(x), Y.astype(dtype)).backward()
        sgd.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.dtype == dtype
        assert np.array_equal(p.data, q.data)
        assert p.is_trained
        assert p.members == q.members


@pytest.mark.parametrize("change", OPERATORS)
def test_each_operator_computes_what_numpy_does_and_keeps_the_object(change):
    array, other = np.array([[1.5, 2.0], [3.0, -4.0]]), np.array([[2.0, 0.5], [1.0, 2.0]])
    p = q = nn.Parameter(array)
    before = p.data.copy()
    with tg.no_grad():
        q = change(q, other)
    assert q is p
    assert np.array_equal(p.data, getattr(operator, change.__name__[1:])(before, other))
    assert np.array_equal(array, before)  # the caller's


@pytest.mark.parametrize("change", OPERATORS)
def test_elsewhere_it_is_refused_with_what_to_write(change):
    p = nn.Parameter(np.ones((2, 2)), name="w")
    with pytest.raises(RuntimeError, match=r"Parameter 'w' .*with tg\.no_grad\(\): p .* or q = p "):
        change(p, np.ones((2, 2)))
    assert p.data.tolist() == [[1, 1], [1, 1]]


def test_a_weight_of_a_layer_stays_a_parameter():
    net = nn.mlp([4, 3, 2], rng=0)
    weight, before = net[0].weight, net[0].weight.data
    with tg.no_grad():
        net[0].weight -= np.ones((3, 4))
    assert net[0].weight is weight
    assert np.array_equal(weight.data, before - 1)
    assert len([*net.parameters()]) == 4


def test_a_shape_is_kept_or_the_change_refused():
    p = nn.Parameter(np.ones((1, 3)))
    with tg.no_grad():
        p += np.ones(3)
        p *= 0.5
        with pytest.raises(ValueError, match=r"\+= would change the shape of a tensor from \(1, 3\) to \(2, 3\)"):
            p += np.ones((2, 1))
    assert p.data.tolist() == [[1, 1, 1]]


def test_a_dtype_is_kept_or_the_change_refused():
    p, counts = nn.Parameter(np.ones(2, np.float32)), nn.Buffer(np.zeros(2, int))
    with tg.no_grad():
        p -= np.full(2, 0.5)
        with pytest.raises(TypeError, match="complex64 numbers"):
            p -= 1j
    assert p.dtype == np.float32
    counts += 1
    with pytest.raises(TypeError, match=r"float64 numbers, which a tensor of int64 cannot hold"):
        counts += 0.5
    assert counts.data.tolist() == [1, 1]


def test_a_buffer_changes_also_where_recording_is_on_but_takes_no_gradient_along():
    class Norm(nn.Module):
        def __init__(self):
            self.mean = nn.Buffer(np.zeros(2))

        def forward(self, x):
            self.mean *= 0.5
            self.mean += x.detach()
            return x - self.mean

    norm = Norm()
    norm(tg.Tensor([2.0, 4.0], requires_grad=True))
    assert [name for name, _ in norm.named_buffers()] == ["mean"]
    assert norm.mean.data.tolist() == [2, 4]
    with pytest.raises(RuntimeError, match="Buffer"):
        norm.mean += tg.Tensor([2.0, 4.0], requires_grad=True)


def test_a_frozen_parameter_needs_no_no_grad():
    p = nn.Parameter([1.0], requires_grad=False)
    p += 1
    assert p.data.tolist() == [2]


def test_a_graph_from_before_keeps_its_arrays():
    p = nn.Parameter(3.0)
    with tg.checked():
        square = p * p
    with tg.no_grad():
        p *= 2
    square.backward()
    assert (p.item(), p.grad) == (6, 6)


def test_a_plain_tensor_is_replaced_as_before():
    t = u = tg.Tensor([1.0], requires_grad=True)
    u = u + 1
    t += 1
    assert t.requires_grad
    assert t.node is not None
    assert t.data.tolist() == u.data.tolist() == [2]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_compiled_it_trains_as_it_does_eagerly(make, backend):
    eager, compiled = make(), make()
    one, other = by_hand(eager), tg.compile(by_hand(compiled), backend=backend)
    for i in range(4):
        if i == 2:  # by hand outside of the step, between its runs
            with tg.no_grad():
                for p in [*eager.parameters(), *compiled.parameters()]:
                    p *= 0.5
        np.testing.assert_allclose(one(X).data, other(X).data, rtol=1e-13)
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-13)
        assert q.is_trained
    assert len(other.programs) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_beside_an_optimizer_and_a_second_forward(backend):
    def make(compiled):
        p, count = nn.Parameter(np.ones(2)), nn.Buffer(0)
        sgd = optim.SGD([p], lr=0.25)

        def step(x):
            sgd.zero_grad()
            np.sum(p * p * x).backward()
            sgd.step()
            with tg.no_grad():
                update = p.__isub__(0.5 * x)
                assert update is p
            count.__iadd__(1)
            return np.sum(p * x)

        return p, count, tg.compile(step, backend=backend) if compiled else step

    (p, n, eager), (q, m, compiled) = make(False), make(True)
    for x in np.random.default_rng(0).normal(size=(4, 2)):
        np.testing.assert_allclose(eager(x).data, compiled(x).data, rtol=1e-13)
    np.testing.assert_allclose(p.data, q.data, rtol=1e-13)
    assert n.item() == m.item() == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_an_attribute_of_a_module(backend):
    layer = nn.Linear(2, 1, rng=0)
    before = layer.weight.data.copy()

    @tg.compile(backend=backend)
    def step(x):
        with tg.no_grad():
            layer.weight += x

    for _ in range(3):
        step(np.ones(2))
    assert len([*layer.parameters()]) == 2
    np.testing.assert_allclose(layer.weight.data, before + 3)
    assert len(step.programs) == 1


def test_compiled_it_is_refused_where_it_is_refused_eagerly():
    p = nn.Parameter(np.ones(2))

    @tg.compile(backend="numpy")
    def step(x):
        nonlocal p
        p -= x

    before = p.data
    with pytest.raises((RuntimeError, TraceError), match="no_grad"):
        step(np.ones(2))
    assert p.data is before
    assert not p.is_trained


def test_a_step_that_fails_after_a_change_undoes_it():
    p = nn.Parameter(np.ones(2))

    @tg.compile(backend="numpy")
    def step(x):
        with tg.no_grad():
            p.__iadd__(x)
        return p.item()

    before = p.data
    with pytest.raises(TraceError):
        step(np.ones(2))
    assert p.data is before
    assert not p.is_trained


def test_a_copy_moves_alone():
    net = nn.mlp([4, 3, 2], rng=0)
    twin = copy.deepcopy(net)
    with tg.no_grad():
        net[0].bias += 1
    assert np.array_equal(net[0].bias.data, twin[0].bias.data + 1)


@pytest.mark.torch
@pytest.mark.parametrize("change", OPERATORS[:-1])  # PyTorch replaces the tensor in @=
def test_as_pytorch_does(change):
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).uniform(0.5, 2.0, size=(2, 3)).astype(np.float32)
    ours, theirs = nn.Parameter(array.copy()), torch.nn.Parameter(torch.from_numpy(array.copy()))
    with pytest.raises(RuntimeError):
        change(theirs, 0.5)
    with tg.no_grad(), torch.no_grad():
        change(ours, 0.5)
        change(theirs, 0.5)
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-6)
