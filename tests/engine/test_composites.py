"""Laws of the functions that are compositions of others: NumPy's values, right gradients, all kinds of walks."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.engine.calls import CALLS
from tests.engine.test_ops import JOINS, PRODUCTS
from tinygrad_vg.engine.operations import OPERATIONS

KEEP_FLOAT32 = {np.bincount, np.corrcoef, np.cov, np.interp, np.vander}  # of which NumPy's own makes float64
ACCUMULATE = {u.accumulate for u in (np.add, np.multiply, np.maximum, np.minimum)}


def tensors(arrays):
    return [tg.Tensor(a, requires_grad=True) for a in arrays]


def kept(result):
    """The parts that have a gradient, as one vector."""
    return np.concatenate([part for part in result if isinstance(part, tg.Tensor) and part.requires_grad], axis=None)


def array_of(part):
    return part.data if isinstance(part, tg.Tensor) else np.asarray(part)


def test_every_composite_has_a_call():
    composites = {f for f, operation in OPERATIONS.items() if operation.kind == "composite"}
    called = {call.function for call in CALLS} - ACCUMULATE
    assert composites - {np.histogram, np.full_like} == called | JOINS.keys() | {np.outer}
    assert PRODUCTS.keys() <= composites


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_values_are_numpys(call):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-4)):
        arrays = call.arrays(lambda a, dtype=dtype: a.astype(dtype))
        found, expected = call.on(*tensors(arrays)), call.on(*arrays)
        assert len(found) == len(expected)
        for a, b in zip(map(array_of, found), map(np.asarray, expected), strict=True):
            assert a.shape == b.shape
            assert a.dtype == (dtype if call.function in KEEP_FLOAT32 else b.dtype)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e3 * np.finfo(dtype).eps)


def of_finite(call):
    """A function of the finite numbers among the call's arrays, and these numbers: what is NaN has no difference."""
    arrays = call.arrays()
    places = [np.isfinite(a) for a in arrays]

    def function(*rows):
        full = [
            row.reshape(a.shape) if place.all() else tg.ops.scatter(row, place, place.shape) + np.where(place, 0, a)
            for row, place, a in zip(rows, places, arrays, strict=True)
        ]
        return kept(call.on(*full))

    return function, [a[place] for a, place in zip(arrays, places, strict=True)]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_gradients_are_right_to_second_order(call):
    """The second derivatives along one direction: what is composed of right rules has no other places to be wrong."""
    function, rows = of_finite(call)
    assert tg.gradcheck(function, tensors(rows))
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 2, function(*tensors(rows)).shape)
    directions = [rng.normal(size=row.shape) for row in rows]

    def gradients(step=0.0, create_graph=False):
        inputs = tensors([row + step * d for row, d in zip(rows, directions, strict=True)])
        return inputs, tg.grad(np.sum(weights * function(*inputs)), inputs, create_graph=create_graph)

    inputs, first = gradients(create_graph=True)
    slope = sum(np.sum(g * d) for g, d in zip(first, directions, strict=True)) + sum(0 * np.sum(t * t) for t in inputs)
    (_, after), (_, before) = gradients(1e-6), gradients(-1e-6)
    for found, a, b in zip(tg.grad(slope, inputs), after, before, strict=True):
        np.testing.assert_allclose(found, (a - b) / 2e-6, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_in_extended_range_and_in_float32(call):
    arrays = call.arrays(lambda a: a.astype(np.float32))
    plain, extended = tensors(arrays), tensors(arrays)
    np.sum(kept(call.on(*plain))).backward()
    np.sum(kept(call.on(*extended))).backward(extended_range=True)
    for a, b in zip(plain, extended, strict=True):
        if a.grad is None:
            assert b.grad is None
            continue
        assert a.grad.dtype == b.grad.dtype == np.float32
        np.testing.assert_array_equal(a.grad, np.asarray(b.grad))
