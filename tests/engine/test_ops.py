"""What ops.py promises beyond its rules: precision where gradients vanish, no overflow, and NumPy's joins."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tinygrad_vg import ops
from tinygrad_vg.engine.kernels import ONE_PRODUCT


def leaf(array, dtype=np.float64):
    return tg.Tensor(np.array(array, dtype), requires_grad=True)


def slope(function, z, order=1):
    z = leaf(z, np.asarray(z).dtype)
    y = function(z)
    for _ in range(order):
        (y,) = tg.grad(np.sum(y), z, create_graph=True)
    return y.data


def relative_error(measured, truth, z):
    """The largest |measured − truth| / |truth|, in 40 digits and with exponents that no float could hold."""
    with mpmath.workdps(40):
        pairs = [(mpmath.mpf(float(m)), truth(mpmath.mpf(float(x)))) for m, x in zip(measured, z, strict=True)]
        return float(max(abs((m - t) / t) if t else abs(m) for m, t in pairs))


def logistic(z):
    return 1 / (1 + mpmath.exp(-z))


def logistic_slope(z):
    return mpmath.sech(z / 2) ** 2 / 4


# What is computed, its truth, and half the width of the range that the promise covers, in units of 700 and 80.
PROMISES = {
    "sigmoid": (ops.sigmoid, logistic, 1),
    "sigmoid's slope": (lambda z: slope(ops.sigmoid, z), logistic_slope, 1),
    "sigmoid's curvature": (
        lambda z: slope(ops.sigmoid, z, order=2),
        lambda z: -logistic_slope(z) * mpmath.tanh(z / 2),
        1,
    ),
    "tanh's slope": (lambda z: slope(np.tanh, z), lambda z: mpmath.sech(z) ** 2, 0.5),
    "softplus": (ops.softplus, lambda z: mpmath.log1p(mpmath.exp(z)), 1),
    "softplus's slope": (lambda z: slope(ops.softplus, z), logistic, 1),
}
ENDS = {np.float64: (700, 1e-14), np.float32: (80, 1e-6)}


@pytest.mark.parametrize("dtype", ENDS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("promise", PROMISES)
def test_relative_error_on_a_dense_grid(promise, dtype):
    function, truth, width = PROMISES[promise]
    end, tolerance = ENDS[dtype]
    z = np.concatenate([np.linspace(-1, 1, 1401) * end, np.linspace(-3, 3, 301)]).astype(dtype) * dtype(width)
    measured = function(z)
    assert measured.dtype == dtype
    assert relative_error(measured, truth, z) <= tolerance


@pytest.mark.parametrize("dtype", ENDS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("promise", PROMISES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_relative_error_at_any_float(promise, dtype, data):
    function, truth, width = PROMISES[promise]
    end, tolerance = ENDS[dtype]
    bits = np.finfo(dtype).bits
    x = data.draw(st.floats(-end * width, end * width, width=bits, allow_subnormal=False))
    z = np.array([x], dtype)
    assert relative_error(function(z), truth, z) <= tolerance


@pytest.mark.parametrize("dtype", ENDS, ids=lambda dtype: dtype.__name__)
def test_far_out_values_are_the_limits_and_slopes_are_0(dtype):
    z = np.array([-np.inf, -1e4, 1e4, np.inf], dtype)
    assert ops.sigmoid(z).tolist() == [0, 0, 1, 1]
    for function in (ops.sigmoid, np.tanh, ops.sigmoid_slope):
        assert slope(function, z).tolist() == [0, 0, 0, 0]
        assert slope(function, z, order=2).tolist() == [0, 0, 0, 0]
    assert ops.softplus(z).tolist() == [0, 0, 1e4, np.inf]
    assert slope(ops.softplus, z).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("z", "target", "value", "gradient"),
    [
        (1e4, 1, 0, 0),
        (-1e4, 0, 0, 0),
        (1e4, 0, 1e4, 1),
        (-1e4, 1, 1e4, -1),
        (1e4, 0.25, 7500, 0.75),
        (0, 0, np.log(2), 0.5),
    ],
)
def test_binary_cross_entropy_at_its_limits(z, target, value, gradient):
    z = leaf(z)
    loss = ops.binary_cross_entropy_with_logits(z, np.array(target))
    assert loss.item() == value
    assert tg.grad(loss, z)[0] == gradient


@pytest.mark.parametrize("z", [[0.0, 1e4, -1e4], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4], [3.0, -40.0, 2.5]], ids=str)
def test_log_softmax_and_cross_entropy_without_overflow(z):
    with mpmath.workdps(40):
        terms = [mpmath.exp(mpmath.mpf(x)) for x in z]
        logarithms = np.array([float(mpmath.log(t / sum(terms))) for t in terms])
        probabilities = np.array([float(t / sum(terms)) for t in terms])
    rows = leaf([z] * 3)
    np.testing.assert_allclose(ops.log_softmax(rows.data)[0], logarithms, rtol=1e-14, atol=1e-15)
    loss = ops.cross_entropy(rows, np.arange(3))
    np.testing.assert_allclose(loss.data, -logarithms, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(tg.grad(np.sum(loss), rows)[0], probabilities - np.eye(3), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("z", [10.0, 20.0, 40.0, 700.0])
def test_binary_cross_entropy_keeps_the_small_slope_of_a_right_and_sure_output(z):
    """σ(z) − 1 is −e⁻ᶻ/(1 + e⁻ᶻ), not 0: a gradient this small is what the instruments measure."""
    z = np.array([z, -z])
    measured = slope(lambda t: ops.binary_cross_entropy_with_logits(t, np.array([1, 0])), z)
    assert relative_error(measured * [-1, 1], lambda x: logistic(-abs(x)), z) <= 1e-14


@pytest.mark.parametrize("z", [10.0, 20.0, 40.0, 700.0])
def test_cross_entropy_keeps_the_small_slope_of_a_right_and_sure_output(z):
    """Between two classes the slopes are those of the binary cross-entropy."""
    (gradient,) = slope(lambda t: ops.cross_entropy(t, np.array([0])), [[z, 0.0]])
    assert relative_error(gradient * [-1, 1], lambda x: logistic(-x), [z, z]) <= 1e-14


@pytest.mark.parametrize("labels", [np.array([2, 0]), np.array([[0, 0, 1], [1, 0, 0]], float)], ids=["labels", "rows"])
def test_cross_entropy_takes_labels_or_probabilities(labels):
    z = np.array([[0.5, -1.0, 2.0], [0.0, 1.0, 3.0]])
    picked = -ops.log_softmax(z)[[0, 1], [2, 0]]
    np.testing.assert_allclose(ops.cross_entropy(leaf(z), labels).data, picked)


JOINS = {
    np.concatenate: [{}, {"axis": 1}, {"axis": -2}, {"axis": None}],
    np.stack: [{}, {"axis": 1}, {"axis": -1}],
    np.vstack: [{}],
    np.hstack: [{}],
}
PRODUCTS = {
    np.dot: [
        ((), (3,)),
        ((2, 3), ()),
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 2)),
        ((2, 2, 3), (3,)),
    ],
    np.outer: [((2,), (3,)), ((2, 2), (3,)), ((), (2,))],
}


@pytest.mark.parametrize(("join", "options"), [(f, options) for f, all_ in JOINS.items() for options in all_])
def test_joins_are_numpys_and_right_to_second_order(join, options):
    arrays = [np.array([[-1.3, 0.4]]), np.array([[2.1, 0.7]]), np.array([[0.2, -0.6]])]
    middle_is_plain = [leaf(arrays[0]), arrays[1], leaf(arrays[2])]
    y = join(middle_is_plain, **options)
    assert np.array_equal(y.data, join(arrays, **options))
    assert tg.gradcheck(lambda *parts: np.sin(join(parts, **options)), middle_is_plain, order=2)


@pytest.mark.parametrize("join", [np.vstack, np.hstack])
def test_joins_of_vectors_and_numbers(join):
    for parts in ([np.array([1.0, 2.0]), np.array([3.0, 4.0])], [np.array(1.0), np.array(2.0)]):
        assert np.array_equal(join([leaf(part) for part in parts]).data, join(parts))


@pytest.mark.parametrize(("product", "shapes"), [(f, shapes) for f, all_ in PRODUCTS.items() for shapes in all_])
def test_products_are_numpys_and_right_to_second_order(product, shapes):
    a, b = (np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(shapes))
    np.testing.assert_allclose(product(leaf(a), leaf(b)).data, product(a, b), rtol=1e-15)
    assert tg.gradcheck(product, [leaf(a), leaf(b)], order=2)


@pytest.mark.parametrize("batch", [1, 63, 64, 100])
def test_an_ensemble_s_shared_batch_small_or_large(batch):
    """Large batches take another way through BLAS; the numbers are the same."""
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(batch, 5)), rng.normal(size=(3, batch, 4))
    weight, bias = leaf(rng.normal(size=(3, 4, 5))), leaf(rng.normal(size=(3, 4)))
    y = ops.linear(x, weight, bias)
    y.backward(g)
    np.testing.assert_allclose(y.data, np.einsum("bi,roi->rbo", x, weight.data) + bias.data[:, None], rtol=1e-13)
    np.testing.assert_allclose(weight.grad, np.einsum("rbo,bi->roi", g, x), rtol=1e-12)
    np.testing.assert_allclose(bias.grad, g.sum(axis=1), rtol=1e-12)
    assert y.data.flags.c_contiguous


@pytest.mark.parametrize(("batch", "axes"), [(ONE_PRODUCT - 1, 3), (ONE_PRODUCT, 2)])
def test_members_that_share_a_large_batch_are_one_product_forward_and_back(batch, axes, monkeypatch):
    """Which is twice as fast."""
    x, weight = np.ones((batch, 3)), tg.Tensor(np.ones((5, 2, 3)), requires_grad=True)
    factors, matmul = [], np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b, **kw: factors.append(max(a.ndim, b.ndim)) or matmul(a, b, **kw))
    np.sum(ops.linear(x, weight)).backward()
    assert factors == [axes, axes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_of_a_sigmoid_is_right_at_infinity(dtype):
    z = np.array([-np.inf, -np.inf, np.inf, np.inf], dtype)
    error = ops.sigmoid_error(z, np.array([0, 1, 0, 1], dtype))
    assert error.tolist() == [0, -1, 1, 0]
    assert error.dtype == dtype


@pytest.mark.parametrize("z", [2, -0.5, np.int64(-3), np.arange(-2, 3), np.zeros((0, 2)), np.array(1.5)], ids=repr)
def test_what_is_no_array_of_floats_is_taken_as_numpy_takes_it(z):
    floats = np.asarray(z, float)
    for function in (ops.sigmoid, ops.sigmoid_slope, ops.softplus, ops.relu):
        np.testing.assert_array_equal(function(z), function(floats))
    for function in (ops.sigmoid_error, ops.binary_cross_entropy_with_logits):
        np.testing.assert_array_equal(function(z, np.ones_like(z)), function(floats, np.ones_like(floats)))


def test_biases_of_an_ensemble_may_go_with_one_weight():
    x, weight, bias = np.ones((1, 5, 3)), np.ones((2, 3)), np.arange(8.0).reshape(4, 2)
    y = ops.linear(x, weight, bias)
    assert np.array_equal(y, np.broadcast_to(3.0 + bias[:, None], (4, 5, 2)))
