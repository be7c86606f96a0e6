"""What may change between calls, and what needs a new trace: a compiled step never gives a stale result."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import training
from tinygrad_vg import nn, optim

X = np.random.default_rng(0).normal(size=(12, 6, 4))
T = np.random.default_rng(1).normal(size=(12, 6, 3))


class Twins:
    """A step and a compiled step, on networks that begin alike."""

    def __init__(self, backend, make=None, optimizer=None):
        self.nets = [(make or (lambda: nn.mlp([4, 5, 3], rng=0)))() for _ in range(2)]
        optimizer = optimizer or (lambda p: optim.SGD(p, lr=0.1))
        self.steps = [
            training(net, of, optimizer, nn.MSELoss()) for net, of in zip(self.nets, (None, backend), strict=True)
        ]
        self.optimizers = [step.optimizer for step in self.steps]

    @property
    def compiled(self):
        return self.steps[1]

    def run(self, steps=3, x=X, t=T):
        """Some steps of both; they must stay alike."""
        for a, b in zip(x[:steps], t[:steps], strict=True):
            eager, compiled = (step(a, b) for step in self.steps)
            assert type(eager) is type(compiled)
            assert np.allclose(eager.data, compiled.data, rtol=1e-12, atol=1e-12)
        for p, q in zip(*(net.parameters() for net in self.nets), strict=True):
            assert np.allclose(p.data, q.data, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=BACKENDS)
def twins(request):
    twins = Twins(request.param)
    twins.run()
    assert len(twins.compiled.programs) == 1
    return twins


def test_calls_run_the_program(twins):
    before = list(twins.compiled.programs)
    twins.run()
    assert [id(p) for p in twins.compiled.programs] == [id(p) for p in before]


def change_both(twins, change):
    for net, sgd in zip(twins.nets, twins.optimizers, strict=True):
        change(net, sgd)


WITHOUT_A_TRACE = {
    "load_state_dict": lambda net, sgd: net.load_state_dict(nn.mlp([4, 5, 3], rng=7).state_dict()),
    "data rebound": lambda net, sgd: setattr(net[0].weight, "data", 2 * net[0].weight.data),
    "data written": lambda net, sgd: net[0].weight.data.fill(0.5),
    "lr": lambda net, sgd: sgd.param_groups[0].update(lr=0.01),
}


@pytest.mark.parametrize("what", WITHOUT_A_TRACE)
def test_what_may_change(twins, what):
    change_both(twins, WITHOUT_A_TRACE[what])
    twins.run()
    assert len(twins.compiled.programs) == 1


def new_layer(net, sgd):
    setattr(net, "1", nn.Tanh())


WITH_A_TRACE = {
    "an activation": new_layer,
    "eval": lambda net, sgd: net.eval(),
    "momentum": lambda net, sgd: sgd.param_groups[0].update(momentum=0.9),
    "weight decay": lambda net, sgd: sgd.param_groups[0].update(weight_decay=0.1),
    "a frozen parameter": lambda net, sgd: setattr(net[0].weight, "requires_grad", False),
    "fewer parameters": lambda net, sgd: sgd.param_groups[0]["params"].pop(),
    "a tied weight": lambda net, sgd: setattr(net[0], "bias", nn.Parameter(net[0].bias.data.copy())),
}


@pytest.mark.parametrize("what", WITH_A_TRACE)
def test_what_needs_a_new_trace(twins, what):
    change_both(twins, WITH_A_TRACE[what])
    twins.run()
    assert len(twins.compiled.programs) > 1


def test_another_batch_size(twins):
    twins.run(x=X[:, :3], t=T[:, :3])
    twins.run()
    twins.run(x=X[:, :3], t=T[:, :3])
    assert len(twins.compiled.programs) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_dtype(backend):
    compiled = tg.compile(lambda x: np.exp(x) * 2, backend=backend)
    for dtype in (np.float64, np.float32, np.float64):
        for value in (1.0, 2.0, 3.0):
            result = compiled(np.full(3, value, dtype))
            assert isinstance(result, np.ndarray)
            assert result.dtype == dtype
            assert np.allclose(result, np.exp(value) * 2, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_from_outside(backend):
    factor = 2.0

    @tg.compile(backend=backend)
    def scaled(x, shift=0.0):
        return factor * x + shift

    x = np.arange(3.0)
    assert [scaled(x).tolist() for _ in range(3)] == [[0, 2, 4]] * 3
    factor = 3.0
    assert [scaled(x).tolist() for _ in range(3)] == [[0, 3, 6]] * 3
    assert [scaled(x, shift=1.0).tolist() for _ in range(3)] == [[1, 4, 7]] * 3
    assert scaled(x, shift=2.0).tolist() == [2, 5, 8]


@pytest.mark.parametrize("backend", BACKENDS)
def test_elements_of_a_list_of_a_module(backend):
    class Chain(nn.Module):
        def __init__(self):
            self.parts = [nn.Linear(4, 4, rng=0), nn.Tanh()]

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    net = Chain()
    compiled = tg.compile(lambda x: net(x), backend=backend)
    for _ in range(3):
        assert np.allclose(compiled(X[0]).data, net(X[0]).data, rtol=1e-12)
    net.parts[1] = nn.Sigmoid()
    for _ in range(3):
        assert np.allclose(compiled(X[0]).data, net(X[0]).data, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_returned_belongs_to_the_caller(backend):
    net = nn.mlp([4, 5, 3], rng=0)
    compiled = tg.compile(lambda x: net(x), backend=backend)
    first, second, third, fourth = (compiled(x).data for x in X[:4])
    for x, y in zip(X, (first, second, third, fourth), strict=False):
        assert np.allclose(y, net(x).data, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_of_the_user_are_not_written_into(backend):
    array = np.ones(4)
    w = nn.Parameter(array)
    sgd = optim.SGD([w], lr=0.1)

    @tg.compile(backend=backend)
    def step(x):
        sgd.zero_grad()
        np.sum(np.square(w * x)).backward()
        sgd.step()

    for x in X[:5, 0]:
        assert step(x) is None
    assert array.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_accumulate_as_in_the_step_itself(backend):
    twins = []
    for around in (lambda step: step, tg.compile(backend=backend)):
        w = nn.Parameter(np.ones(4))

        def backward(x, w=w):
            np.sum(np.square(w * x)).backward()

        step = around(backward)
        for x in X[:6, 0]:
            step(x)
        first = w.grad.copy()
        w.grad = None
        for x in X[:6, 0]:
            step(x)
        twins.append((first, w.grad))
    for (a, b), (c, d) in [twins]:
        assert np.allclose(a, c, rtol=1e-12)
        assert np.allclose(b, d, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_parameters_that_begin_with_one_array(backend):
    results = []
    for around in (lambda step: step, tg.compile(backend=backend)):
        array = np.ones(4)
        v, w = nn.Parameter(array), nn.Parameter(array)
        sgd = optim.SGD([v, w], lr=0.1)

        def train(x, v=v, w=w, sgd=sgd):
            sgd.zero_grad()
            np.sum(np.square(v * x) + w * x).backward()
            sgd.step()

        step = around(train)
        for x in X[:5, 0]:
            step(x)
        results.append((v.data, w.data))
    assert np.allclose(results[0], results[1], rtol=1e-12)


def test_an_optimizer_that_was_loaded_goes_on():
    twins = Twins("numpy", optimizer=lambda p: optim.Adam(p, lr=0.01))
    twins.run(5)
    states = [sgd.state_dict() for sgd in twins.optimizers]
    twins.run(5)
    for sgd, state in zip(twins.optimizers, states, strict=True):
        sgd.load_state_dict(state)
    twins.run(5)
    assert twins.optimizers[0].state_dict()["state"][0]["t"] == twins.optimizers[1].state_dict()["state"][0]["t"] == 10


def test_eager_and_compiled_steps_may_alternate():
    twins = Twins("numpy", optimizer=lambda p: optim.SGD(p, lr=0.1, momentum=0.9))
    eager = training(twins.nets[1], None, lambda _: twins.optimizers[1], nn.MSELoss())
    compiled = twins.compiled
    for i, (x, t) in enumerate(zip(X, T, strict=True)):
        a, b = twins.steps[0](x, t), (eager if i % 3 == 2 else compiled)(x, t)
        assert np.allclose(a.data, b.data, rtol=1e-12)
    for p, q in zip(*(net.parameters() for net in twins.nets), strict=True):
        assert np.allclose(p.data, q.data, rtol=1e-12)


def test_at_most_eight_programs():
    compiled = tg.compile(lambda x: x * 2, backend="numpy")
    with pytest.warns(RuntimeWarning, match="8 programs") as warned:
        results = [compiled(np.ones(n)).tolist() for n in range(1, 30)]
    assert results == [[2.0] * n for n in range(1, 30)]
    assert len(warned) == 1
    assert len(compiled.programs) == 8


def test_evaluation_after_training():
    """An evaluation sees the parameters that a compiled step has moved in place."""
    twins = Twins("numpy")
    evaluate = tg.compile(lambda x: twins.nets[1](x), backend="numpy")
    for _ in range(4):
        twins.run()
        assert np.allclose(evaluate(X[0]).data, twins.nets[0](X[0]).data, rtol=1e-12)
