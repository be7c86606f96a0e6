"""Recorders whose rows machine code writes itself: they have what the same steps bring without it, in any order."""

import weakref
from contextlib import ExitStack

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import NETS, SGDS, T, X, training
from tinygrad_vg import nn
from tinygrad_vg.engine import Watch, listen
from tinygrad_vg.instruments import GradientRecorder, Ledger
from tinygrad_vg.instruments.listener import Listener

both = pytest.mark.parametrize("backend", BACKENDS)
IMAGES, TARGETS = X.reshape(60, 4), T.reshape(60, 3)
ROWS = np.random.default_rng(2).integers(0, 60, (600, 5))


def as_arrays(history):
    """All that a history with values has, as arrays."""
    first = -1 if history.first_nonfinite is None else history.first_nonfinite
    return [history.steps, history.log10_norm, [first], *history.values]


def compare(a, b):
    for one, two in zip(as_arrays(a), as_arrays(b), strict=True):
        assert np.shape(one) == np.shape(two)
        assert np.allclose(one, two, rtol=1e-9, atol=1e-12, equal_nan=True)


class Recorded:
    """A training with recorders, by single steps or in one call."""

    def __init__(self, name, backend, optimizer="plain"):
        self.net = NETS[name]()
        self.step = training(self.net, backend, SGDS[optimizer])
        self.eager = training(self.net, None, SGDS[optimizer])

    def calls(self, rows):
        for row in rows:
            self.step(IMAGES[row], TARGETS[row])

    def over(self, rows):
        if len(rows):
            self.step.over(rows, IMAGES, TARGETS)


@both
@pytest.mark.parametrize("name", ["plain", "ensemble"])
def test_many_steps(name, backend):
    """More than a block has rows; the same bits in one call as by calls."""
    seen = []
    for way in (Recorded.calls, Recorded.over):
        one = Recorded(name, backend, "momentum")
        with GradientRecorder(one.net, values=True, max_steps=None) as recorder:
            way(one, ROWS)
        seen.append(recorder.history)
    assert len(seen[0].steps) == len(ROWS)
    for a, b in zip(as_arrays(seen[0]), as_arrays(seen[1]), strict=True):
        assert np.array_equal(a, b)
    one = Recorded(name, None, "momentum")
    with GradientRecorder(one.net, values=True, max_steps=None) as recorder:
        one.calls(ROWS)
    compare(recorder.history, seen[0])


@both
@pytest.mark.parametrize("seed", range(4))
def test_in_any_order(seed, backend):
    """Calls, `over`, batches of two sizes, eager steps, readings, other instruments, the block left and entered."""
    histories = []
    for with_backend in (None, backend):
        rng = np.random.default_rng(seed)
        one = Recorded("plain", with_backend)
        recorder = GradientRecorder(one.net, values=True, every=int(rng.integers(1, 4)), max_steps=40)
        second = GradientRecorder(one.net, layers=[1, 3], values=True, max_steps=None)
        for _ in range(8):
            with recorder, second:
                for part in rng.integers(0, 600, (6, 2)):
                    act_as(one, recorder, rng, ROWS[part[0] : part[0] + part[1] % 40], with_backend)
            one.calls(ROWS[:2])  # nobody records
        histories.append((recorder.history, second.history, [p.data for p in one.net.parameters()]))
    for i in (0, 1):
        compare(histories[0][i], histories[1][i])
    assert all(np.allclose(a, b, rtol=1e-9) for a, b in zip(histories[0][2], histories[1][2], strict=True))


def act_as(one, recorder, rng, rows, backend):
    """Something that a session may do with these rows."""
    kind = rng.integers(0, 6)
    rows = rows[:, : 5 if kind % 2 else 3]
    if kind == 0:
        for row in rows[:3]:
            one.eager(IMAGES[row], TARGETS[row])
    elif kind == 1:
        with Ledger(one.net) as ledger:
            one.calls(rows[:5])
            assert ledger.heard == bool(len(rows[:5]))
    elif kind == 2:
        for row in rows[:4]:
            one.calls([row])
            assert recorder.history.steps[-1] <= recorder._backward
    elif kind == 3 and backend:
        one.over(rows)
    else:
        one.calls(rows)


@both
@pytest.mark.parametrize("way", [Recorded.calls, Recorded.over])
@pytest.mark.parametrize("at", [1, 511, 512])
def test_the_first_nan_and_the_ten_before(at, way, backend):
    histories = []
    for with_backend in (None, backend):
        images = IMAGES.copy()
        one = Recorded("plain", with_backend)
        rows = ROWS % 59
        rows[at, 2], images[59] = 59, np.nan
        recorder = GradientRecorder(one.net, values=True, every=50)
        with recorder, np.errstate(all="ignore"):
            if with_backend and way is Recorded.over:
                one.step.over(rows, images, TARGETS)
            else:
                for row in rows:
                    one.step(images[row], TARGETS[row])
        histories.append(recorder.history)
    compare(*histories)
    assert histories[1].first_nonfinite == at
    assert set(range(max(0, at - 10), at + 1)) <= set(histories[1].steps.tolist())


def calls_of_take(monkeypatch, kind):
    """A list that gets an element for each call of `take` of a follower of this kind."""
    calls, take = [], kind.take
    monkeypatch.setattr(kind, "take", lambda self, *args: (calls.append(1), take(self, *args))[1])
    return calls


@both
def test_nothing_is_called_while_there_is_room(monkeypatch, backend):
    calls = calls_of_take(monkeypatch, GradientRecorder)
    one = Recorded("plain", backend)
    with GradientRecorder(one.net) as recorder:
        one.calls(ROWS[:3])
        before = len(calls)
        one.calls(ROWS[:100])
        one.over(ROWS[100:200])
        assert len(calls) - before == (0 if backend == "numba" else 200)
        assert len(recorder.history.steps) == 203


@both
def test_a_recorder_that_is_gone_gets_nothing(backend):
    one = Recorded("plain", backend)
    recorder = GradientRecorder(one.net)
    with recorder:
        one.calls(ROWS[:20])
    one.over(ROWS[:20])
    with GradientRecorder(one.net) as other:
        one.over(ROWS[:20])
    assert (len(recorder.history.steps), len(other.history.steps)) == (20, 20)


@both
def test_layers_without_neurons_or_with_another_dtype(backend):
    """Their rows cannot be written by copying bytes; they are taken one by one."""
    net = nn.mlp([4, 5, 3], rng=0, dtype=np.float32)
    net[0].bias.data = net[0].bias.data.astype(np.float64)
    sgd = tg.optim.SGD([net[2].weight], lr=0.1)

    @tg.compile(backend=backend)
    def step(x):
        sgd.zero_grad()
        np.sum(net(x)).backward()
        sgd.step()

    with GradientRecorder(net, values=True) as recorder:
        for row in ROWS[:6]:
            step(IMAGES[row])
    assert len(recorder.history.steps) == 6
    assert all(np.isfinite(block).all() for block in recorder.history.values)


def ledgers_seen(way, name, images, rows, reads):
    """What a ledger shows after each part of a training; `rows` are split at `reads`."""
    one = Recorded(name, "numba" if "numba" in BACKENDS else "numpy")
    seen = []
    with Ledger(one.net) as ledger, GradientRecorder(one.net, values=True, max_steps=None) as recorder:
        for part in np.split(rows, reads):
            if way is Recorded.over:
                one.step.over(part, images, TARGETS)
            else:
                for row in part:
                    (one.eager if way is None else one.step)(images[row], TARGETS[row])
            seen += [ledger.log10_norm, ledger.log10_bias_norm, ledger.silent, ledger._listener.backwards]
    return [*seen, *as_arrays(recorder.history)]


@pytest.mark.parametrize("way", [Recorded.calls, Recorded.over])
@pytest.mark.parametrize("name", ["plain", "ensemble"])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_ledger_whose_gradient_machine_code_watches(way, name, is_damaged):
    """It tells the same as beside eager steps, also of batches without a gradient and with NaN."""
    images, rows = IMAGES.copy(), ROWS[:150] % 58
    if is_damaged:
        rows[[20, 21, 70]], rows[149, 1] = 58, 59
        images[58], images[59] = 1e200, np.nan  # saturated: no gradient arrives at layer 1
    with np.errstate(all="ignore"):
        expected = ledgers_seen(None, name, images, rows, [22, 60, 71, 100])
        found = ledgers_seen(way, name, images, rows, [22, 60, 71, 100])
    for a, b in zip(expected, found, strict=True):
        assert np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)
    assert np.any(expected[2] > 0) == is_damaged


@both
def test_no_call_for_a_ledger_while_its_gradient_is_sound(monkeypatch, backend):
    calls = calls_of_take(monkeypatch, Listener)
    one = Recorded("plain", backend)
    with Ledger(one.net) as ledger:
        one.calls(ROWS[:5])
        before = len(calls)
        one.calls(ROWS[:50])
        one.over(ROWS[50:100])
        assert len(calls) - before == (0 if backend == "numba" else 100)
        assert ledger.accounts
        assert ledger._listener.backwards == 105
        one.calls(ROWS[:2])  # the ledger was read: it takes one, and watches again
        assert len(calls) - before == (1 if backend == "numba" else 102)


class Reader:
    """A follower that watches, and reads the gradient of the first weight, which the step computes only for hooks."""

    def __init__(self, net):
        self.net, self.watch, self.seen = net, None, None

    def on_backward(self, walk):
        walk.at_end(self.on_end)

    def on_end(self, walk):
        if (weight := self.net[0].weight) in walk.gradients:
            self.seen = np.array(walk.gradients[weight])

    def needs(self):
        return (self.net[0].bias,)

    def take(self, gradients, show):
        show(lambda owner: owner is self)
        return True

    def room(self):
        self.watch = Watch(parts=1)
        return self.watch

    def read(self):
        """The gradient in the last backward."""
        self.watch.show(lambda owner: owner is self)
        return self.seen


@pytest.mark.parametrize("way", [Recorded.calls, Recorded.over])
def test_what_is_read_later_is_of_the_last_batch(way):
    one, other = (Recorded("plain", "numba" if "numba" in BACKENDS else "numpy") for _ in range(2))
    reader, expected = Reader(one.net), Reader(other.net)
    with listen(reader.on_backward), listen(expected.on_backward):
        one.calls(ROWS[:3])
        way(one, ROWS[3:9])
        for row in ROWS[:9]:
            other.eager(IMAGES[row], TARGETS[row])
        found = reader.read() if reader.watch is not None and reader.watch.runs else reader.seen
    assert np.allclose(found, expected.seen, rtol=1e-9, atol=1e-12)


@both
@pytest.mark.parametrize("instruments", [(), (GradientRecorder,)], ids=["bare", "recorder"])
def test_a_batch_is_freed_after_its_step(instruments, backend):
    """While it lives, the next one lies elsewhere in memory, where no cache has it: 2 % of a step with a recorder."""
    one = Recorded("plain", backend)
    with ExitStack() as on:
        for instrument in instruments:
            on.enter_context(instrument(one.net))
        one.calls(ROWS[:4])
        for _ in range(3):
            x, t = IMAGES[ROWS[0]], TARGETS[ROWS[0]]
            freed = [weakref.ref(array) for array in (x, t)]
            one.step(x, t)
            del x, t
            assert [ref() for ref in freed] == [None, None]
