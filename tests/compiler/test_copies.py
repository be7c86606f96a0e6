"""Copies in machine code: indexing's rule and concatenation, at any place and in any order of the elements."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS

RNG = np.random.default_rng(0)
INDICES = {
    "number": 1, "last": -1, "slice": np.s_[1:3], "step": np.s_[::2], "back": np.s_[::-1],
    "back in steps": np.s_[3:0:-2], "column": np.s_[:, 2], "columns": np.s_[..., 1:3], "new axis": np.s_[:, None, 1],
    "one": (1, 2), "all": np.s_[...],
    "both": np.s_[::-1, ::-2], "nothing": np.s_[2:2], "twice": np.array([1, 1, 3]), "mask": np.array([True, False] * 2),
}  # fmt: skip


def compiled_equals(function, *arrays, backend, has_calls=False):
    step, expected = tg.compile(function, backend=backend), function(*map(tg.Tensor, arrays))
    for _ in range(2):  # traced, and compiled
        for number, (found, one) in enumerate(zip(step(*map(tg.Tensor, arrays)), expected, strict=True)):
            found, one = (np.asarray(getattr(x, "data", x)) for x in (found, one))
            assert found.dtype == one.dtype, number
            np.testing.assert_allclose(found, one, 4 * np.finfo(np.float32).eps, err_msg=str(number))
    if backend == "numba":
        assert ("NumPy call" in str(step.plan)) == has_calls, step.plan


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_rule_of_an_index(backend, name, dtype):
    index = INDICES[name]

    def gradient(x):
        y = x[index]
        return tg.grad(np.sum(y * y) + np.sum(x[1] * 3), x)

    x = RNG.normal(size=(4, 5)).astype(dtype)
    step, given = tg.compile(gradient, backend=backend), tg.Tensor(x, requires_grad=True)
    (expected,) = gradient(given)
    for _ in range(2):
        (found,) = step(given)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, 4 * np.finfo(dtype).eps)
    if backend == "numba" and dtype != np.float16 and name not in ("one", "nothing", "twice", "mask"):
        assert "NumPy call" not in str(step.plan)


@pytest.mark.parametrize("axis", [0, 1, -1, None], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_concatenate(backend, axis):
    """Also of views, and of arrays that no element comes from."""
    a, b = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 3)).astype(np.float32)
    is_flat = axis is None  # then the last of them is no view
    compiled_equals(lambda x: [np.concatenate([x, x * 2, x[::-1].T], axis)], a, backend=backend, has_calls=is_flat)
    compiled_equals(
        lambda x: [np.concatenate([x, x[:, ::-1].T], axis), np.stack([x, x + 1])], b, backend=backend, has_calls=is_flat
    )
    compiled_equals(lambda x, y: [np.concatenate([x, y], axis)], a, b, backend=backend, has_calls=True)
    compiled_equals(lambda x: [np.concatenate([x[:0].T, x], 1)], a, backend=backend, has_calls=True)
