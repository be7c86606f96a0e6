"""Functions of rows in machine code (softmax and its kin) are those of `engine/ops.py`, also for numbers at the ends of
the range, and classes that do not exist are refused."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import SGDS, training
from tinygrad_vg import nn, ops

RNG = np.random.default_rng(0)
ROWS = {
    "random": RNG.normal(size=(6, 5)) * 3,
    "far": RNG.choice([-1000.0, -80.0, 0.0, 80.0, 1000.0], (6, 5)),
    "equal": np.zeros((2, 5)),
    "one class": RNG.normal(size=(3, 1)),
    "two axes": RNG.normal(size=(3, 4, 5)),
    "no axis": RNG.normal(size=5),
    "-inf": np.array([[-np.inf, 0.0, 1.0], [-np.inf, -np.inf, 2.0], [-np.inf] * 3]),
    "inf": np.array([[np.inf, 0.0, -np.inf], [np.inf, np.inf, 0.0]]),
    "NaN": np.array([[np.nan, 0.0, 1.0], [0.0, 1.0, np.nan], [np.inf, np.nan, np.nan]]),
    "no rows": np.zeros((0, 4)),
}


def of_rows(z, p, q, t):
    one_hot = np.equal(t[..., None], np.arange(z.shape[-1])).astype(z.dtype)
    exact = [ops.log_softmax(z), ops.softmax(z), ops.softmax(z, axis=-1), np.argmax(z, axis=-1),
             ops.softmax_error(z, one_hot), ops.cross_entropy(z, t)]  # fmt: skip
    return {"exact": exact, "differences": [ops.softmax_error(z, p), ops.softmax_error(z, q), ops.cross_entropy(z, p)]}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_as_the_functions(backend, name, dtype):
    """p has zeros, and rows that do not add up to 1; q and t may lack the first axis, as the targets of an ensemble."""
    z = ROWS[name].astype(dtype)
    p, q = (RNG.random(shape).round(1).astype(dtype) for shape in (z.shape, z.shape[max(0, z.ndim - 2) :]))
    t = RNG.integers(0, z.shape[-1], q.shape[:-1])
    step = tg.compile(of_rows, backend=backend)
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    with np.errstate(invalid="ignore"):
        for given in (t, t.astype(np.int32)):
            expected = of_rows(tg.Tensor(z), p, q, given)
            for _ in range(2):  # traced, and compiled
                found = step(tg.Tensor(z), p, q, given)
                for kind, atol in ("exact", tiny), ("differences", 4 * eps):
                    for number, pair in enumerate(zip(found[kind], expected[kind], strict=True)):
                        b, a = (np.asarray(getattr(x, "data", x)) for x in pair)
                        assert a.dtype == b.dtype, (kind, number)
                        np.testing.assert_allclose(b, a, 16 * eps, atol, err_msg=f"{kind} {number}")
    if backend == "numba" and z.size:
        assert "NumPy call" not in str(step.plan)


@pytest.mark.parametrize("axis", [0, -2, 1], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_other_axes(backend, axis):
    z = np.swapaxes(ROWS["two axes"], 0, 2)
    step = tg.compile(lambda z: [ops.log_softmax(z, axis=axis), np.argmax(z, axis=axis), np.argmax(z)], backend=backend)
    for _ in range(2):
        found = step(tg.Tensor(z))
        np.testing.assert_allclose(found[0].data, ops.log_softmax(z, axis=axis), 1e-13)
        assert np.array_equal(found[1], np.argmax(z, axis=axis))
        assert found[2] == np.argmax(z)


def trained(backend, make=lambda p: tg.optim.SGD(p, lr=0.1)):
    """A network, and its compiled step on classes."""
    net = nn.mlp([4, 6, 3], rng=0)
    return net, training(net, backend, make, nn.CrossEntropyLoss())


X, LABELS = RNG.normal(size=(12, 4)), RNG.integers(0, 3, 12)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", ">i8"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_of_any_dtype(backend, dtype):
    losses = []
    for kind in ("int64", dtype):
        _, step = trained(backend)
        losses.append([step(X, LABELS.astype(kind)).item() for _ in range(4)])
    np.testing.assert_allclose(losses[0], losses[1], 1e-12)


@pytest.mark.parametrize("wrong", [-1, 3, 2**40, -(2**63)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_class_that_does_not_exist(backend, wrong):
    """It is refused before anything changes; the next step goes on as if it had not been asked for."""
    (net, step), (other, step_of_other) = trained(backend), trained(backend)
    for _ in range(3):
        step(X, LABELS)
        step_of_other(X, LABELS)
    bad = LABELS.copy()
    bad[7] = wrong
    before = [p.data.copy() for p in net.parameters()]
    with pytest.raises(ValueError, match=r"class indices run from 0 to 2; found"):
        step(X, bad)
    assert all(np.array_equal(a, p.data) for a, p in zip(before, net.parameters(), strict=True))
    rows = np.array([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    with pytest.raises(ValueError, match=r"class indices run from 0 to 2; found"):
        step.over(rows, X, bad)  # three steps, and one that is refused
    step_of_other.over(rows[:3], X, LABELS)
    step.over(rows[4:], X, bad)  # the wrong one is not among these
    step_of_other.over(rows[4:], X, LABELS)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, 1e-13)


def test_a_whole_training_runs_in_one_call():
    """With cross-entropy of classes and Adam nothing is left for Python to do in a step."""
    pytest.importorskip("numba")
    _, step = trained("numba", SGDS["adam"])
    step.over(np.zeros((3, 2), int), X, LABELS)
    assert "NumPy call" not in str(step.plan)
    calls = []
    program = step.programs[0]
    run, program.run = program.run, lambda found: calls.append(found) or run(found)
    step.over(np.zeros((50, 2), int), X, LABELS)
    assert not calls
