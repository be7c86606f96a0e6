"""Elementwise functions of arrays of all kinds, with constants on either side: compiled they are the functions."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tinygrad_vg import ops

RNG = np.random.default_rng(0)
FLOATS = {name: RNG.normal(size=(3, 5)) for name in "xy"}
WHOLE = {"n": RNG.integers(-3, 4, (3, 5)), "k": RNG.integers(-3, 4, 5).astype(np.int32)}
TRUTHS = {"p": RNG.random((3, 5)) < 0.5, "q": RNG.random(5) < 0.5}


def of_each_kind(x, y, n, k, p, q):
    """Results of each operator and kind; each pair of kinds, in both orders."""
    return {
        "arithmetic": [x + y, x - 2.0, 2.0 - x, x * n, n * x, x / 3, 3 / x, -x, x + True, x * p, q * x],
        "functions": [np.sqrt(abs(x)), np.log(abs(x)), np.log1p(abs(x)), np.expm1(x), np.sin(x), np.cos(x)],
        "more": [np.exp(x), np.tanh(x), np.hypot(x, y), np.maximum(x, 0.5), np.minimum(n, x), np.square(x)],
        "units": [
            np.sign(x),
            np.clip(x, -0.5, n),
            np.clip(x, None, 0.5),
            ops.leaky_relu(x, 0.1),
            ops.elu(x, 2.0),
            ops.selu(x),
            ops.silu(x),
        ],
        "comparisons": [x < y, x <= 0, x > 0, x >= n, k == n, n != 2, p == q, p != True, x > -np.inf, x < np.nan],  # noqa: E712
        "logic": [np.logical_and(p, x > 0), np.logical_or(True, p), np.logical_and(q, False), np.logical_not(x > y)],
        "choices": [np.where(p, x, y), np.where(True, x, 0.0), np.where(q, x, 1.0), np.where(x > 0, np.inf, x)],
        "sums": [np.sum(x), np.sum(x, axis=0), np.sum(x * y, axis=(0, 1), keepdims=True), np.sum(x, axis=1)],
        "means": [
            np.mean(x),
            np.mean(x, axis=0),
            np.mean(x * y, axis=-1, keepdims=True),
            np.mean(n),
            np.mean(p, axis=1),
        ],
    }


KINDS = ["?", "i1", "i2", "i4", "i8", "u1", "u8", "f2", "f4", "f8", "c16", ">i4", ">f4", ">f8"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_of_each_kind(backend, kind):
    """Also of kinds, and in byte orders, that machine code does not read; whole numbers are added up as such."""
    a = np.arange(12).reshape(3, 4).astype(kind)
    a = a + np.int64(2**60) if kind == "i8" else a

    def sums(a):
        return [np.sum(a), np.sum(a, axis=0), np.sum(a, axis=1, keepdims=True), a + a, np.sqrt(a)]

    step, expected = (
        tg.compile(lambda a: sums(tg.Tensor(a) if not isinstance(a, tg.Tensor) else a), backend=backend),
        sums(a),
    )
    for _ in range(2):
        for number, (found, one) in enumerate(zip(step(a), expected, strict=True)):
            found = np.asarray(getattr(found, "data", found))
            assert found.dtype == one.dtype, number
            np.testing.assert_allclose(found, one, 1e-6 if number == 4 else 0, err_msg=f"{number}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_kind(backend, dtype):
    given = {name: array.astype(dtype) for name, array in FLOATS.items()}
    others = WHOLE | TRUTHS
    step, expected = tg.compile(of_each_kind, backend=backend), of_each_kind(**given, **others)
    for _ in range(2):  # traced, and compiled
        found = step(*given.values(), **others)
    for name, values in expected.items():
        for number, (a, b) in enumerate(zip(values, found[name], strict=True)):
            b = b.data if isinstance(b, tg.Tensor) else b
            assert a.dtype == b.dtype, (name, number)
            np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps, atol=0, err_msg=f"{name} {number}")
