"""What a trace cannot carry is refused, with what to write instead; and nothing has changed then."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tinygrad_vg import nn, optim
from tinygrad_vg.compiler import TraceError

X = np.random.default_rng(0).normal(size=(5, 4))
RNG = np.random.default_rng(0)
ROWS = np.eye(4)


def value(x, t):
    return t * t.item()


def branch(x, t):
    return t if np.sum(t) > 0 else -t


def both(x, t):
    return np.sum(t) > 0 and t


def data(x, t):
    return t * np.max(t.data)


def rebound(x, t):
    t.data = np.ones(4)
    return t


def legacy(x, t):
    return t + np.random.normal(size=4)  # noqa: NPY002 - that is what must be refused


def generator(x, t):
    return t + RNG.normal(size=4)


def mask(x, t):
    return np.sum(t[t > 0])


def places(x, t):
    return np.nonzero(t)[0]


def text(x, t):
    return np.array2string(t)


def whole(x, t):
    return t * float(np.sum(t))


def formatted(x, t):
    return {f"{t}": t}


def noise():
    return RNG.normal(size=4)


def helped(x, t):
    return t + noise()


def by_index(x, t):
    return ROWS[x] * t


def extended(x, t):
    np.sum(t).backward(extended_range=True)


@pytest.mark.parametrize(("what", "says"), [
    (branch, "np.where"), (both, "np.where"), (data, r"\.data"), (rebound, r"\.data"), (legacy, "random"),
    (generator, "random"), (mask, "np.where"), (places, "shape"), (text, "outside"),
    (extended, "extended_range"), (whole, "float"), (formatted, "text"), (helped, "random"),
    (by_index, r"step\.over"),
])  # fmt: skip
def test_refused(what, says):
    w = nn.Parameter(np.ones(4))
    compiled = tg.compile(lambda x: what(x, w * x), backend="numpy")
    with pytest.raises((TraceError, ValueError), match=says):
        compiled(X[0])


def test_item_is_refused():
    w = nn.Parameter(1.0)
    compiled = tg.compile(lambda x: w * w.item(), backend="numpy")
    with pytest.raises(TraceError, match=r"test_refusals.py:\d+: .*\.item\(\)"):
        compiled(X[0])


def test_an_option_that_no_run_would_read_again():
    with pytest.raises(TypeError, match=r"np\.searchsorted got a Tensor as v=; pass it by position"):
        tg.compile(lambda a, v: np.searchsorted(a, v=v), backend="numpy")(X[0], X[1])


def test_after_a_refusal_all_is_as_before():
    w = nn.Parameter(np.ones(4))
    w.grad = np.full(4, 5.0)
    sgd = optim.SGD([w], lr=0.1)

    @tg.compile(backend="numpy")
    def step(x):
        sgd.zero_grad()
        cost = np.sum(w * x)
        cost.backward()
        sgd.step()
        return cost.item()

    before = w.data
    with pytest.raises(TraceError):
        step(X[0])
    assert w.data is before
    assert w.grad.tolist() == [5, 5, 5, 5]
    assert not w.is_trained
    with pytest.raises(ZeroDivisionError):
        tg.compile(lambda x: 1 / 0, backend="numpy")(X[0])
    assert np.sum(w * X[0]).item() == X[0].sum()  # nothing is left switched on


def test_an_argument_with_a_graph():
    t = nn.Parameter(np.ones(4)) * 2
    with pytest.raises(ValueError, match="detach"):
        tg.compile(lambda x: x * 2, backend="numpy")(t)


def test_a_gradient_of_an_argument_is_returned_not_left():
    t = tg.Tensor(np.ones(4), requires_grad=True)
    with pytest.raises(TraceError, match=r"tg\.grad"):
        tg.compile(lambda x: np.sum(x * x).backward(), backend="numpy")(t)
    gradient = tg.compile(lambda x: tg.grad(np.sum(x * x), x)[0], backend="numpy")
    for _ in range(3):
        assert gradient(t).tolist() == [2, 2, 2, 2]
        assert isinstance(gradient(t), np.ndarray)


@pytest.mark.parametrize("where", ["parameter", "module"])
def test_a_hook_that_replaces(where):
    net = nn.Linear(4, 2, rng=0)
    compiled = tg.compile(lambda x: np.sum(net(x)).backward(), backend="numpy")
    handle = net.weight.register_hook(lambda g: 2 * g) if where == "parameter" else (
        net.register_forward_hook(lambda module, args, output: output * 2))  # fmt: skip
    with handle, pytest.raises(TraceError, match="replacement"):
        compiled(X)
    assert net.weight.grad is None
    compiled(X)
    assert net.weight.grad is not None


def test_backends():
    with pytest.raises(ValueError, match="auto, numpy, numba"):
        tg.compile(lambda x: x, backend="cuda")


def test_what_cannot_be_called():
    for make in (tg.compile, tg.compile(backend="numpy")):
        with pytest.raises(TypeError, match="takes a function, not int"):
            make(3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_draws_anew_in_each_run(backend):
    results = []
    for around in (lambda step: step, tg.compile(backend=backend)):
        net = nn.Sequential(nn.Linear(4, 6, rng=0), nn.Dropout(0.5, rng=1), nn.Tanh(), nn.Dropout(0.2, rng=2))
        sgd = optim.SGD(net.parameters(), lr=0.1)

        def train(x, net=net, sgd=sgd):
            sgd.zero_grad()
            y = net(x)
            np.sum(np.square(y)).backward()
            sgd.step()
            return y

        step = around(train)
        results.append([step(X).data for _ in range(6)])
        net.eval()
        results[-1].append(step(X).data)
    for eager, compiled in zip(*results, strict=True):
        assert np.allclose(eager, compiled, rtol=1e-12)
    assert not np.array_equal(results[1][2] == 0, results[1][3] == 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_steps_of_an_optimizer_that_counts(backend):
    """SGD may make two steps in a compiled step; Adam's numbers of the second one would be those of the first."""

    def trained(make, wrap):
        p = nn.Parameter(np.ones(3))
        optimizer = make([p], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            np.sum(np.square(p - x)).backward()
            optimizer.step()
            optimizer.step()

        for _ in range(3):
            wrap(step)(np.zeros(3))
        return p.data

    def compiled(step):
        return tg.compile(step, backend=backend)

    np.testing.assert_allclose(trained(optim.SGD, compiled), trained(optim.SGD, lambda step: step), 1e-13)
    with pytest.raises(TraceError, match=r"Adam counts its steps: call its step\(\) once in a compiled step"):
        trained(optim.Adam, compiled)
