"""Compiled functions are as exact as the engine's own, over the whole range of their floats; and memory stays small."""

import gc
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mpmath import MPContext

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import SGDS, training
from tinygrad_vg import nn, ops

MOST = 4  # units in the last place
precise = MPContext()  # of its own: other tests compute in mpmath's
precise.prec = 1400  # σ(746) − 1 is 2⁻¹⁰⁷⁶


def sigmoid(z):
    return 1 / (1 + precise.exp(-z))


def bce(z, t):
    return precise.log1p(precise.exp(z)) - z * t if z < 0 else z - z * t + precise.log1p(precise.exp(-z))


# By name: the function, the same in any precision, and its slope.
FUNCTIONS = {
    "sigmoid": (ops.sigmoid, sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "sigmoid_slope": (ops.sigmoid_slope, lambda z: sigmoid(z) * sigmoid(-z), None),
    "softplus": (ops.softplus, lambda z: bce(z, 0), sigmoid),
    "tanh": (np.tanh, precise.tanh, lambda z: precise.sech(z) ** 2),
    "exp": (np.exp, precise.exp, precise.exp),
    "relu": (ops.relu, lambda z: max(z, 0), lambda z: precise.mpf(z > 0)),
    **{f"bce {t}": (lambda z, t=t: ops.binary_cross_entropy_with_logits(z, t), lambda z, t=t: bce(z, t),
                    lambda z, t=t: sigmoid(z) - t) for t in (0.0, 0.25, 1.0)},
    **{f"error {t}": (lambda z, t=t: ops.sigmoid_error(z, t), lambda z, t=t: sigmoid(z) - t,
                      lambda z: sigmoid(z) * sigmoid(-z)) for t in (0.0, 0.25, 1.0)},
}  # fmt: skip


def all_of(z):
    """Values and slopes of all functions, as one step."""
    found = []
    for name, (function, _, slope) in FUNCTIONS.items():
        y = function(z)
        found.append((name, y))
        if slope is not None:
            found.append((f"slope of {name}", tg.grad(y, z, np.ones(z.shape, z.dtype))[0]))
    return found


def exact(z):
    """The same in 1,400 bits."""
    numbers, found = [precise.mpf(float(x)) for x in z], []
    for _, value, slope in FUNCTIONS.values():
        found += [[f(x) for x in numbers] for f in (value, slope) if f is not None]
    return found


def errors(found, expected, least=0.0):
    """Errors in units in the last place of the right number, or of `least` if that is larger; 0 where both are beyond
    the largest float."""
    most, result = float(np.finfo(found.dtype).max), []
    for x, right in zip(found, expected, strict=True):
        if abs(right) > most:
            result.append(0.0 if (np.isinf(x) and (x > 0) == (right > 0)) or abs(float(x)) == most else np.inf)
        else:
            unit = np.spacing(max(found.dtype.type(least), np.abs(found.dtype.type(float(right)))))
            result.append(float(abs(precise.mpf(float(x)) - right) / precise.mpf(float(unit))))
    return np.array(result)


def twice(z, backend):
    """What the second call of a compiled step gives, and the engine's own; the first call had other numbers."""
    compiled = tg.compile(all_of, backend=backend)
    with np.errstate(all="ignore"):
        compiled(tg.Tensor(z[::-1].copy(), requires_grad=True))
        found = compiled(tg.Tensor(z, requires_grad=True))
        own = all_of(tg.Tensor(z, requires_grad=True))
    return [[(name, y.data if isinstance(y, tg.Tensor) else y) for name, y in each] for each in (found, own)]


def grid(dtype):
    """From the smallest to the largest numbers, dense where the functions turn."""
    far = {np.float32: 104.0, np.float64: 746.0}[dtype]
    size = np.geomspace(float(np.finfo(dtype).tiny), far, 150)
    return np.concatenate([-size[::-1], np.linspace(-3, 3, 101), np.linspace(-25, 25, 75), size]).astype(dtype)


EDGES = {
    np.float32: [80, -80, 88.5, -88.5, 100, -100, 103, -103, 16.6, -17.4],
    np.float64: [80, -80, 700, -700, 709, -709, 740, -740, 744, -744, 36.7, -37.5],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", EDGES, ids=lambda dtype: dtype.__name__)
def test_errors_over_the_whole_range(dtype, backend):
    """At most 4 units in the last place, of values and slopes.

    Where a target of ¼ cancels against σ, the units are those of ¼: there half a unit of σ is many of the difference.
    """
    z = grid(dtype)
    for (name, y), right in zip(twice(z, backend)[0], exact(z), strict=True):
        error = errors(y, right, 0.25 if "0.25" in name else 0.0)
        worst = error.argmax()
        assert error[worst] <= MOST, f"{name} at {z[worst]!r}: {error[worst]} units"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", EDGES, ids=lambda dtype: dtype.__name__)
def test_slopes_far_out_are_exact(dtype, backend):
    """Subnormal ones too: a saturated neuron has a small gradient, not none."""
    z = np.array(EDGES[dtype], dtype)
    found, _ = twice(z, backend)
    for (name, y), right in zip(found, exact(z), strict=True):
        if name in ("slope of sigmoid", "sigmoid_slope", "sigmoid", "slope of softplus", "softplus", "exp", "bce 0.0"):
            assert np.all(errors(y, right) <= MOST), (name, y)
            assert np.all(y > 0) or name in ("softplus", "bce 0.0"), name  # they may round the smallest number to 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", EDGES, ids=lambda dtype: dtype.__name__)
def test_nan_infinity_and_zero_pass_as_in_the_engine(dtype, backend):
    most, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    z = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, most, -most, least, -least, -np.nan], dtype)

    def more(z):
        w = z[::-1]
        return [
            np.sqrt(z), np.log(z), np.log1p(z), np.expm1(z), 1 / z, z / w, z * w, z - w, np.maximum(z, w), abs(z),
            np.minimum(z, w), np.maximum(z, 0), np.where(z > w, z, w), np.square(z), z > w, z == z, z != w, z <= w,
            np.hypot(z, w), np.sin(z), np.sum(z), -z,
        ]  # fmt: skip

    found, own = twice(z, backend)
    for (name, a), (_, b) in zip(found, own, strict=True):
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps, atol=0, err_msg=name)
    compiled = tg.compile(more, backend=backend)
    with np.errstate(all="ignore"):
        compiled(z[::-1].copy())
        for n, (a, b) in enumerate(zip(compiled(z), more(z), strict=True)):
            np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps, atol=0, err_msg=str(n))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_that_explodes_is_the_engines(backend):
    """NaN and infinity in the losses and weights appear at the same steps."""
    runs = []
    for with_backend in (None, backend):
        net = nn.mlp([4, 5, 3], nn.ReLU, rng=0, dtype=np.float32)
        step = training(net, with_backend, lambda p: tg.optim.SGD(p, lr=1e12), nn.MSELoss())
        rng = np.random.default_rng(0)
        with np.errstate(all="ignore"):
            data = [(rng.normal(size=(6, 4)), rng.normal(size=(6, 3))) for _ in range(8)]
            losses = [step(x.astype(np.float32), t.astype(np.float32)) for x, t in data]
        runs.append([loss.data for loss in losses] + [p.data for p in net.parameters()])
    assert not np.isfinite(runs[0][-1]).all()
    for a, b in zip(*runs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)


def resident():
    """The memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells the memory of a process")
@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_stays_flat(backend):
    step = training(nn.mlp([4, 5, 3], rng=0), backend, SGDS["plain"])
    x, t = np.random.default_rng(0).normal(size=(2, 6, 4))
    t = t[:, :3]
    for _ in range(1000):
        step(x, t)
    gc.collect()
    before = resident()
    for _ in range(20_000):
        step(x, t)
    assert resident() - before < 5e6


NETS = {
    "wide batch": (lambda: nn.mlp([50, 30, 30, 10], rng=0, dtype=np.float32), 500),
    "deep": (lambda: nn.mlp([50, *[40] * 8, 10], rng=0, dtype=np.float32), 32),
    "ensemble": (lambda: nn.stack([nn.mlp([50, 30, 10], rng=n, dtype=np.float32) for n in range(4)]), 10),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sgd", ["plain", "adam"])
@pytest.mark.parametrize("name", NETS)
def test_the_arena_is_at_most_the_peak_of_the_engine(name, sgd, backend):
    make, batch = NETS[name]
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(batch, 50)).astype(np.float32), rng.uniform(size=(batch, 10)).astype(np.float32)
    eager = training(make(), None, SGDS[sgd])
    eager(x, t)
    tracemalloc.start()
    eager(x, t)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    eager(x, t)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    compiled = training(make(), backend, SGDS[sgd])
    for _ in range(3):
        compiled(x, t)
    assert 0 < compiled.programs[0].lowered.bytes <= peak - before
