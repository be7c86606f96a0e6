"""Arrays that a function takes from outside are the user's: what is written into them counts in the next call."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1,), ()], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_into_an_array_counts(dtype, shape, backend):
    """Also where another array held the same numbers in the trace. (What NumPy makes of arrays alone no trace sees.)"""
    a, b = np.ones(shape, dtype), np.ones(shape, dtype)

    def step(x):
        return x * a, x * b, x - a, np.sum(tg.Tensor(b)) * x

    compiled = tg.compile(step, backend=backend)
    x = tg.Tensor(np.arange(6, dtype=dtype).reshape(2, 3))
    for n in range(4):
        b[...] = n
        a[...] = 1 if n < 2 else n / 2
        for number, (one, two) in enumerate(zip(step(x), compiled(x), strict=True)):
            np.testing.assert_allclose(two.data, one.data, rtol=1e-6, err_msg=f"result {number} of call {n}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_array_that_does_not_lie_in_c_order(backend):
    a = np.arange(12.0).reshape(3, 4).T
    compiled = tg.compile(lambda x: x * a, backend=backend)
    for n in range(4):
        a[n] = 100 + n
        assert np.array_equal(compiled(tg.Tensor(np.ones((4, 3)))).data, a)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_from_outside(backend):
    """A Tensor may be given new data, or be written into; a buffer of a module too."""
    a = tg.Tensor(np.ones(3))
    norm = tg.nn.LayerNorm(3)

    def step(x):
        return norm(x * a)

    compiled = tg.compile(step, backend=backend)
    for n, x in enumerate(np.random.default_rng(0).normal(size=(6, 2, 3))):
        if n == 2:
            a.data = np.array([1.0, 2.0, 3.0])
        elif n == 3:
            a.data[0] = 7.0
        elif n == 4:
            next(norm.parameters()).data[:] = 2.0
        np.testing.assert_allclose(compiled(x).data, step(x).data, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_array_that_is_an_argument_and_from_outside(backend):
    """The same array in two roles: in the next call the argument is another one."""
    a = np.arange(3.0)
    compiled = tg.compile(lambda x: x * a, backend=backend)
    for n in range(4):
        x = a if n != 2 else np.ones(3)
        assert compiled(x).tolist() == (x * a).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_array_for_two_arguments(backend):
    """Two arguments that are the same array, or parts of one, in the trace, and are not later."""
    compiled = tg.compile(lambda x, y: x - 2 * y, backend=backend)
    a, b = np.random.default_rng(0).normal(size=(2, 4))
    for x, y in ((a, a), (a, b), (b, b), (b, a), (np.broadcast_to(a[:1], 4), a[::-1])):
        assert np.allclose(compiled(x, y), x - 2 * y, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_address_of_a_batch_changes_nothing(backend):
    """All members of an ensemble read the batch, so machine code copies one that does not begin at 64 bytes."""
    net = tg.nn.stack([tg.nn.mlp([20, 9, 2], rng=seed, dtype=np.float32) for seed in range(3)])
    given = np.random.default_rng(0).normal(size=(5, 20)).astype(np.float32)
    compiled = tg.compile(lambda x: net(x), backend=backend)
    compiled(given)  # the trace
    memory, found = np.zeros(5 * 20 + 32, np.float32), []
    for begin in range(17):
        x = memory[begin : begin + 100].reshape(5, 20)
        x[...] = given
        found.append(compiled(x).data.tobytes())
        assert np.array_equal(x, given)
    assert len(set(found)) == 1
    assert np.allclose(np.frombuffer(found[0], np.float32).reshape(3, 5, 2), net(given).data, atol=1e-5)
