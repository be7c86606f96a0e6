"""Laws of every backward, whatever the function: broadcasting is undone by a sum, and gradients are linear."""

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import tinygrad_vg as tg
from tinygrad_vg import ops

OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.mod,
    np.maximum, np.minimum, np.hypot, np.arctan2, np.logaddexp,
]  # fmt: skip


def gradients(function, arrays, g):
    leaves = [tg.Tensor(a, requires_grad=True) for a in arrays]
    return tg.grad(function(*leaves), leaves, g)


def summed(copies, shape):
    """Give each element of an array of `shape` the sum of what the copies received that broadcasting made of it."""
    origin = np.broadcast_to(np.arange(np.prod(shape, dtype=int)).reshape(shape), copies.shape)
    return np.bincount(origin.ravel(), copies.ravel(), np.prod(shape, dtype=int)).reshape(shape)


@pytest.mark.parametrize("function", OPERATORS, ids=lambda function: function.__name__)
@given(
    shapes=st_numpy.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3),
    dtypes=st.tuples(*[st.sampled_from([np.float32, np.float64])] * 2),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_gradient_of_a_broadcast_argument_is_the_sum_over_its_copies(function, shapes, dtypes, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(0.5, 2, s).astype(t) for s, t in zip(shapes.input_shapes, dtypes, strict=True)]
    copies = [np.array(np.broadcast_to(a, shapes.result_shape)) for a in arrays]
    g = rng.uniform(0.5, 2, shapes.result_shape)
    parts = gradients(function, copies, g)
    for a, gradient, part in zip(arrays, gradients(function, arrays, g), parts, strict=True):
        assert (gradient.shape, gradient.dtype) == (a.shape, a.dtype)
        np.testing.assert_allclose(gradient, summed(part, a.shape), rtol=1e-4 if np.float32 in dtypes else 1e-12)


def network(x, weight, bias):
    """A function in which gradients are summed, broadcast, cut, joined, chosen and multiplied."""
    h = np.tanh(ops.linear(x, weight, bias))
    h = np.concatenate([h[::-1], np.where(h > 0.1, h, x * h), h[[0, 0, 2]]])
    return ops.log_softmax(h - np.mean(h, axis=0)) * np.std(h) + np.max(h, axis=1, keepdims=True) @ weight[:1]


COTANGENTS = st_numpy.arrays(np.float64, (11, 3), elements=st.floats(-1e3, 1e3, allow_subnormal=False))
FACTORS = st.floats(-10, 10, allow_subnormal=False)


@given(a=FACTORS, b=FACTORS, g=COTANGENTS, h=COTANGENTS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_gradients_are_linear_in_the_cotangent(a, b, g, h):
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    of_sum, of_g, of_h = (gradients(network, arrays, direction) for direction in (a * g + b * h, g, h))
    for together, one, other in zip(of_sum, of_g, of_h, strict=True):
        # The terms may cancel, so rounding is measured against their size.
        size = abs(a) * np.max(np.abs(g)) + abs(b) * np.max(np.abs(h))
        np.testing.assert_allclose(together, a * one + b * other, rtol=0, atol=1e-12 * size)
