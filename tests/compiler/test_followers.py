"""Instruments that follow a compiled step without a call of their hooks hear what the step itself shows."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import NETS, T, X, run, training
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder, Ledger
from tinygrad_vg.instruments.listener import Listener

both = pytest.mark.parametrize("backend", BACKENDS)


def account(ledger):
    """All numbers that a ledger has of its last backward."""
    numbers = [each for row in ledger for each in (row.weights, row.activation, row.total, row.log10_norm)]
    return np.concatenate([np.ravel(each) for each in (*numbers, ledger.silent, *ledger.outputs)])


def read_while_training(backend, name, readings, order):
    """The accounts and the history, read after the steps in `readings`; batches of two sizes in this order."""
    net = NETS[name]()
    step = training(net, backend)
    accounts = []
    with GradientRecorder(net, values=True) as recorder, Ledger(net) as ledger:
        for number, size in enumerate(order):
            step(X[number % 8, :size], T[number % 8, :size])
            if number in readings:
                accounts += [account(ledger), recorder.history.log10_norm.ravel(), [ledger._listener.backwards]]
    return [*accounts, account(ledger), *(block.ravel() for block in recorder.history.values)]


ORDERS = {"one shape": [5] * 12, "two shapes": [5, 5, 5, 2, 2, 2, 5, 2, 5, 5, 2, 2]}


@both
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["plain", "ensemble"])
@pytest.mark.parametrize("readings", [(), (3, 4, 9), range(12)], ids=["never", "now and then", "always"])
def test_whenever_it_is_read(name, backend, order, readings):
    seen = read_while_training(backend, name, readings, ORDERS[order])
    expected = read_while_training(None, name, readings, ORDERS[order])
    for a, b in zip(seen, expected, strict=True):
        assert np.allclose(a, b, rtol=1e-10, atol=1e-10)


@both
def test_no_hook_is_called_while_nobody_reads(monkeypatch, backend):
    calls = []
    hear = Listener._on_layer
    monkeypatch.setattr(Listener, "_on_layer", lambda self, *args: (calls.append(1), hear(self, *args))[1])
    net = NETS["plain"]()
    step = training(net, backend)
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        run(step, [0] * 5)
        before = len(calls)
        run(step, [0] * 20)
        assert len(calls) == before
        assert len(ledger.rows) == 2
        assert len(calls) == before + 3  # the hooks of the last step, when somebody reads
    assert len(recorder.history.steps) == 25


@both
def test_another_hook_is_called_in_every_run(backend):
    net, calls = NETS["plain"](), []
    step = training(net, backend)
    with Ledger(net) as ledger, net[0].register_forward_hook(lambda module, args, output: calls.append(1) or None):
        run(step, [0] * 9)
        assert len(calls) == 9
        assert ledger.heard
    with GradientRecorder(net) as recorder, net[0].bias.register_hook(lambda g: calls.append(2) or None):
        run(step, [0] * 9)
    assert calls.count(2) == 9
    assert len(recorder.history.steps) == 9


@both
def test_steps_that_bring_layer_1_nothing_are_counted(backend):
    """The layers above move by weight decay alone."""
    counts = []
    for with_backend in (None, backend):
        net = nn.mlp([4, 5, 5, 3], nn.ReLU, rng=0)
        step = training(net, with_backend, lambda p: tg.optim.SGD(p, lr=0.1, weight_decay=0.1))
        with Ledger(net) as ledger:
            run(step, [0] * 4)
            net[2].bias.data = np.full(5, -1e3)  # nothing passes
            run(step, [0] * 6)
            counts.append(int(ledger.silent))
            net[2].bias.data = np.full(5, 1e3)
            run(step, [0] * 3)
            counts.append(int(ledger.silent))
    assert counts == [6, 0, 6, 0]


@both
def test_a_backward_of_another_network_has_no_row(backend):
    one, other = NETS["plain"](), nn.mlp([4, 7, 3], rng=1)
    steps = training(one, backend), training(other, backend)
    with GradientRecorder(one) as recorder, Ledger(one) as ledger:
        for _ in range(6):
            run(steps[0], [0])
            run(steps[1], [0, 0])
    assert len(recorder.history.steps) == ledger._listener.backwards == 6


@both
def test_weights_are_those_of_the_pass_or_refused(backend):
    net = NETS["plain"]()
    step = training(net, backend)
    with Ledger(net) as ledger:
        run(step, [0] * 6)
        with pytest.raises(RuntimeError, match="have changed since the pass"):
            ledger.split()


@both
def test_a_batch_as_large_as_a_layer(backend):
    """Then gradients and new parameters have one shape; loops over both would make the gradients too late."""
    values = []
    for with_backend in (None, backend):
        net = nn.mlp([4, 5, 5, 3], rng=0)
        step = training(net, with_backend)
        with GradientRecorder(net, values=True) as recorder:
            for i in range(6):
                step(X[i, :5], T[i, :5])
        values.append(recorder.history.values)
    assert all(np.allclose(a, b, rtol=1e-12) for a, b in zip(*values, strict=True))


def test_a_recorder_follows_an_ensemble():
    """Its biases have two axes, as weights have, and are none."""
    net = tg.nn.stack([tg.nn.mlp([4, 3, 2], rng=seed) for seed in range(2)])
    sgd = tg.optim.SGD(net.parameters(), lr=0.1)

    @tg.compile(backend="numpy")
    def step(x):
        sgd.zero_grad()
        np.sum(net(x)).backward()
        sgd.step()

    with GradientRecorder(net) as recorder:
        for _ in range(4):
            step(np.ones((5, 4)))
    assert len(recorder.history.steps) == 4
    assert not step.programs[0].followers.others
