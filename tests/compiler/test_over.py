"""`over`: many steps in one call are the calls one by one, and Ctrl-C leaves the parameters between two of them."""

import signal
import sys
import threading

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import SGDS
from tinygrad_vg import nn


@pytest.fixture(autouse=True)
def python_hears_ctrl_c():
    """A shell that starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


N = 40
X = np.random.default_rng(0).normal(size=(N, 4))
LABELS = np.random.default_rng(1).integers(0, 3, N)
ROWS = np.random.default_rng(2).integers(0, N, size=(9, 5))
COSTS = {
    "classes": (nn.CrossEntropyLoss, LABELS),
    "bce": (lambda: nn.BCEWithLogitsLoss("batchmean"), np.eye(3)[LABELS]),
}


class Trained:
    """A network and its compiled step, which returns the loss, a dict and a comparison."""

    def __init__(self, backend, sgd="plain", cost="classes", dtype=np.float64, widths=(4, 6, 3)):
        net = self.net = nn.mlp(list(widths), rng=0, dtype=dtype)
        optimizer = self.optimizer = SGDS[sgd](net.parameters())
        make, self.targets = COSTS[cost]
        loss_of, self.data = make(), X.astype(dtype)

        def step(x, t):
            optimizer.zero_grad()
            y = net(x)
            loss = loss_of(y, t)
            loss.backward()
            optimizer.step()
            return loss, {"y": y, "right": np.argmax(y, axis=-1)}

        self.step = tg.compile(step, backend=backend)

    def over(self, rows, *data):
        return self.step.over(rows, *(data or (self.data, self.targets)))

    def one_by_one(self, rows):
        found = [self.step(self.data[row], self.targets[row]) for row in np.asarray(rows)]
        losses, others = zip(*found, strict=True)
        return [np.stack([loss.data for loss in losses]), np.stack([o["y"].data for o in others]),
                np.stack([o["right"] for o in others])]  # fmt: skip

    @property
    def weights(self):
        return [p.data.copy() for p in self.net.parameters()]


def check(result, expected):
    loss, others = result
    assert isinstance(loss, tg.Tensor)
    assert isinstance(others["y"], tg.Tensor)
    assert isinstance(others["right"], np.ndarray)
    for found, other in zip([loss.data, others["y"].data, others["right"]], expected, strict=True):
        assert (found.shape, found.dtype) == (other.shape, other.dtype)
        assert found.tobytes() == other.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("sgd", "cost"), [("plain", "classes"), ("momentum", "bce"), ("adam", "bce")])
def test_the_same_as_the_calls(sgd, cost, dtype, backend):
    one, two = (Trained(backend, sgd, cost, dtype) for _ in range(2))
    for rows in (ROWS, ROWS[::-1], ROWS[:1], ROWS - N, ROWS.astype(np.uint8)):
        expected = one.one_by_one(rows.astype(int))
        check(two.over(rows), expected)
        assert [w.tobytes() for w in one.weights] == [w.tobytes() for w in two.weights]
    one_state, two_state = one.optimizer.state_dict()["state"], two.optimizer.state_dict()["state"]
    assert repr(one_state) == repr(two_state)
    assert all(p.grad is None for p in two.net.parameters())
    assert len(two.step.programs) == (1 if sgd == "plain" else 2)  # the first step finds no state


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_and_over_may_alternate(backend):
    one, two = Trained(backend), Trained(backend)
    for i in range(0, 9, 3):
        expected = one.one_by_one(ROWS[i : i + 3])
        if i == 3:
            one_step = two.step(X[ROWS[3]], LABELS[ROWS[3]])
            assert one_step[0].item() == expected[0][0]
            check(two.over(ROWS[4:6]), [column[1:] for column in expected])
        else:
            check(two.over(ROWS[i : i + 3]), expected)
    for net in (one.net, two.net):
        net[0].weight.data = np.full((6, 4), 0.5)
    one.optimizer.param_groups[0]["lr"] = two.optimizer.param_groups[0]["lr"] = 0.01
    check(two.over(ROWS), one.one_by_one(ROWS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_data_of_any_kind(backend):
    """Tensors, lists, data that are not contiguous, of another byte order of axes, or read-only."""
    frozen = X.copy()
    frozen.setflags(write=False)
    wide = np.repeat(X, 2, axis=1)
    for x in (tg.Tensor(X), np.asfortranarray(X), wide[:, ::2], frozen, X[::-1][::-1]):
        one, two = Trained(backend), Trained(backend)
        check(two.over(ROWS, x, LABELS), one.one_by_one(ROWS))
    rows = ROWS.tolist()
    check(Trained(backend).over(rows), Trained(backend).one_by_one(rows))


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_of_one_sample(backend):
    one, two = Trained(backend), Trained(backend)
    check(two.over(ROWS[:, 0]), one.one_by_one(ROWS[:, 0]))
    check(two.over(ROWS[:, 0]), one.one_by_one(ROWS[:, 0]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_steps(backend):
    one = Trained(backend)
    before = [w.tobytes() for w in one.weights]
    for rows in (np.zeros((0, 5), int), ROWS[:0]):
        one.over(rows)
        assert [w.tobytes() for w in one.weights] == before
    one.over(ROWS)  # and with a program
    before = [w.tobytes() for w in one.weights]
    one.over(ROWS[:0])
    assert [w.tobytes() for w in one.weights] == before


@pytest.mark.parametrize(
    ("rows", "data", "error"),
    [
        (ROWS + 0.5, (X, LABELS), TypeError), (ROWS > 3, (X, LABELS), TypeError), (np.int64(3), (X, LABELS), TypeError),
        (ROWS, (), TypeError), (ROWS, (X, 3.0), TypeError), (ROWS, (X, LABELS[:-1]), ValueError),
        ([[0, N]], (X, LABELS), IndexError), ([[-N - 1, 0]], (X, LABELS), IndexError),
        (np.array([[2**63]], np.uint64), (X, LABELS), IndexError), ([[0]], (X[:0], LABELS[:0]), IndexError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_go_together(rows, data, error, backend):
    one = Trained("numpy")
    one.over(ROWS[:2])
    before = [w.tobytes() for w in one.weights]
    with pytest.raises(error):
        one.step.over(rows, *data)
    assert [w.tobytes() for w in one.weights] == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_hooks_fire_at_each_step(backend):
    one, two = Trained(backend), Trained(backend)
    expected, seen, weights = one.one_by_one(ROWS), [], []
    two.over(ROWS[:2])
    two.net.load_state_dict(Trained(backend).net.state_dict())
    with two.net[0].register_forward_hook(lambda module, args, output: weights.append(two.weights[0])):
        with tg.engine.listen(
            lambda walk: walk.at_end(lambda walk: seen.append(walk.gradients[two.net[2].bias].copy()))
        ):
            check(two.over(ROWS), expected)
        assert len(seen) == len(ROWS)
        assert len({g.tobytes() for g in seen}) == len(ROWS)
        two.over(ROWS[:3])
    two.over(ROWS[:3])
    assert len(weights) == len(ROWS) + 3
    assert len({w.tobytes() for w in weights}) == len(ROWS) + 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_in_a_hook(backend):
    one, two = Trained(backend, "momentum"), Trained(backend, "momentum")
    calls = []

    def hook(walk):
        calls.append(walk)
        if len(calls) == 5:
            raise KeyboardInterrupt

    one.one_by_one(ROWS[:4])
    with tg.engine.listen(hook), pytest.raises(KeyboardInterrupt):
        two.over(ROWS)
    assert [w.tobytes() for w in one.weights] == [w.tobytes() for w in two.weights]
    loss, _ = two.over(ROWS[4:])  # its first step is a trace, and NumPy's
    assert np.allclose(loss.data, one.one_by_one(ROWS[4:])[0], rtol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sgd", ["plain", "adam"])
def test_ctrl_c_in_a_long_run(sgd, backend):
    """After it the parameters are those of a whole number of steps; which, a run of single steps finds. The optimizer
    has counted so many."""
    one, two = (Trained(backend, sgd, widths=(4, 40, 3)) for _ in range(2))
    two.over(ROWS[:3])
    one.one_by_one(ROWS[:3])
    steps = 400_000 if backend == "numba" else 4_000
    rows = np.random.default_rng(3).integers(0, N, size=(steps, 5))
    timer = threading.Timer(0.12, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        two.over(rows)
    timer.join()
    wanted = [w.tobytes() for w in two.weights]
    for row in rows:
        if [w.tobytes() for w in one.weights] == wanted:
            break
        one.step(X[row], LABELS[row])
    else:
        pytest.fail("the parameters are of no step")
    one_state, two_state = one.optimizer.state_dict()["state"], two.optimizer.state_dict()["state"]
    assert repr(one_state) == repr(two_state)
    check(two.over(ROWS), one.one_by_one(ROWS))


def signal_at(number):
    """A trace function that sends Ctrl-C at a line of a running plan, counted over all runs."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename != "<plan>":
            return None
        count += event == "line"
        if event == "line" and count == number:
            signal.raise_signal(signal.SIGINT)
        return trace

    return trace


def test_ctrl_c_at_each_line_of_a_step_in_numpy():
    """Also where some of the parameters are moved already, and others not yet."""
    stages = []
    one = Trained("numpy", "momentum")
    for row in ROWS[:6]:
        one.one_by_one([row])
        stages.append([w.tobytes() for w in one.weights])
    for number in range(1, 200):
        two, before = Trained("numpy", "momentum"), sys.gettrace()
        two.over(ROWS[:3])
        sys.settrace(signal_at(number))
        try:
            two.over(ROWS[3:5])
        except KeyboardInterrupt:
            assert [w.tobytes() for w in two.weights] in stages, f"at line {number} of two steps"
        else:
            assert number > 20, "no line of a plan was seen"
            break
        finally:
            sys.settrace(before)
    assert number < 199


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_that_returns_nothing_runs_once_for_each_row(backend):
    nets = [nn.mlp([4, 6, 3], rng=0) for _ in range(2)]
    targets, cost, steps = np.eye(3)[LABELS], nn.BCEWithLogitsLoss("batchmean"), []
    for net in nets:
        optimizer = tg.optim.SGD(net.parameters(), lr=0.5)

        @tg.compile(backend=backend)
        def step(x, t, net=net, sgd=optimizer):
            sgd.zero_grad()
            cost(net(x), t).backward()
            sgd.step()

        steps.append(step)
    for row in ROWS:
        steps[0](X[row], targets[row])
    assert steps[1].over(ROWS, X, targets) is None
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert one.data.tobytes() == two.data.tobytes()
