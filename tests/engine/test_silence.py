"""Nothing gives a wrong gradient without a word: arrays empty, infinite, far out, or no plain ones."""

import math

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, ops
from tinygrad_vg.engine.operations import OPERATIONS


def leaf(array, dtype=float):
    return tg.Tensor(np.array(array, dtype), requires_grad=True)


# Slopes far out.


@pytest.mark.parametrize(("function", "base"), [(np.logaddexp, math.e), (np.logaddexp2, 2)], ids=["e", "2"])
@pytest.mark.parametrize("size", [0.0, 1e7, -1e7])
def test_logaddexp_keeps_its_slopes_with_size(function, base, size):
    """y is rounded to the digits of its size; the difference of the arguments is not."""
    a, b = leaf(size, np.float32), leaf(size + 1, np.float32)
    slopes = tg.grad(function(a, b), [a, b])
    np.testing.assert_allclose(slopes, [1 / (1 + base), base / (1 + base)], rtol=1e-6)


@pytest.mark.parametrize(("function", "scale"), [(np.logaddexp, 1), (np.logaddexp2, math.log(2))], ids=["e", "2"])
def test_logaddexp_keeps_its_second_slope_far_from_a_tie(function, scale):
    a = leaf(0.0)
    (slope,) = tg.grad(function(a, 50.0), a, create_graph=True)
    (second,) = tg.grad(slope, a)
    np.testing.assert_allclose(second, scale * math.exp(-50 * scale), rtol=1e-10)


@pytest.mark.parametrize(
    ("function", "at", "slope"),
    [
        (np.arctan, 300.0, 1 / 90001),
        (np.log10, 65504.0, 1 / (65504 * math.log(10))),
        (np.hypot, 60000.0, 1.0),
        (np.cbrt, 6e-7, 1 / (3 * 6e-7 ** (2 / 3))),
    ],
)
def test_float16_does_not_overflow_inside_a_rule(function, at, slope):
    x = leaf(at, np.float16)
    y = function(x, 1.0) if function is np.hypot else function(x)
    (gradient,) = tg.grad(y, x, 3.0)
    np.testing.assert_allclose(gradient, 3 * slope, rtol=1e-2)


def test_a_power_of_zero_falls_without_end_in_its_negative_exponent():
    with np.errstate(divide="ignore"):
        b = leaf([-1.0, 0.0, 2.0])
        np.sum(0.0**b).backward()
    assert b.grad.tolist() == [-np.inf, 0, 0]


def test_an_exponent_may_be_a_list():
    t = leaf([2.0, 3.0])
    np.sum(t ** [2, 3]).backward(create_graph=True)
    assert t.grad.data.tolist() == [4, 27]
    np.testing.assert_allclose(tg.grad([2.0, 3.0] ** t, t, np.ones(2))[0], np.log([2, 3]) * [4, 27])


# NaN. The slopes are those of PyTorch, but of np.fmax at a tie, which is ours, and at two NaN.

NAN = math.nan
SLOPES_AT_NAN = {
    "relu": (ops.relu, [[NAN, 1, -1, 0]], [[1, 1, 0, 0]]),
    "max": (lambda t: np.max(t, axis=-1), [[[NAN, 1, 2], [1, 2, 2]]], [[[1, 0, 0], [0, 0.5, 0.5]]]),
    "min": (np.min, [[NAN, 1, 2]], [[1, 0, 0]]),
    "maximum": (np.maximum, [[NAN, 1, NAN, 2, 3], [1, NAN, NAN, 2, 4]], [[1, 1, 1, 0.5, 0], [1, 1, 1, 0.5, 1]]),
    "minimum": (np.minimum, [[NAN, 1, NAN, 2, 3], [1, NAN, NAN, 2, 4]], [[1, 1, 1, 0.5, 1], [1, 1, 1, 0.5, 0]]),
    "fmax": (np.fmax, [[NAN, 1, 3], [1, NAN, 4]], [[0, 1, 0], [1, 0, 1]]),
    "fmin": (np.fmin, [[NAN, 1, 3], [1, NAN, 4]], [[0, 1, 1], [1, 0, 0]]),
    "clip": (lambda t: np.clip(t, -1, 1), [[NAN, 0.5, 3]], [[0, 1, 0]]),
}  # fmt: skip


@pytest.mark.parametrize(("function", "at", "slopes"), SLOPES_AT_NAN.values(), ids=SLOPES_AT_NAN)
def test_the_gradient_of_a_nan_is_no_zero_that_looks_sound(function, at, slopes):
    tensors = [leaf(numbers) for numbers in at]
    np.sum(function(*tensors)).backward()
    assert [t.grad.tolist() for t in tensors] == slopes


# Matrices and masks.

NOT_PLAIN = {
    "np.matrix": np.ones((2, 2)).view(np.matrix),
    "masked": np.ma.array(np.ones((2, 2)), mask=[[0, 1], [0, 0]]),
}
TAKERS = {
    "operator": lambda t, odd: t * odd,
    "ufunc": lambda t, odd: np.multiply(odd, t),
    "where": lambda t, odd: np.where([[True, False]], t, odd),
    "stack": lambda t, odd: np.stack([t, odd]),
    "constructor": lambda t, odd: tg.Tensor(odd),
    "cotangent": lambda t, odd: (2 * t).backward(odd),
    "target": lambda t, odd: nn.MSELoss()(t, odd),
    "classes": lambda t, odd: nn.CrossEntropyLoss()(t, odd),
    "layer": lambda t, odd: nn.Linear(2, 2, rng=0)(odd),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize(("name", "odd"), NOT_PLAIN.items(), ids=NOT_PLAIN)
def test_a_matrix_or_masked_array_is_refused_by_name(take, name, odd):
    with pytest.raises(TypeError, match=rf"an? {name}.* is not supported.*write"):
        take(leaf(np.ones((2, 2))), odd)


def test_other_subclasses_of_arrays_are_taken(tmp_path):
    mapped = np.memmap(tmp_path / "numbers", float, "w+", shape=(2,))
    mapped[:] = [3, 4]
    t = leaf([1.0, 2.0])
    np.sum(t * mapped).backward()
    assert t.grad.tolist() == [3, 4]


# The cross-entropies.


def test_a_logit_of_minus_infinity_beside_the_right_class_adds_nothing():
    for target in [np.array([1]), np.array([[0.0, 1.0, 0.0]])]:
        z = leaf([[0.0, 1.0, -np.inf]])
        cost = nn.CrossEntropyLoss()(z, target)
        assert cost.item() == pytest.approx(math.log1p(math.exp(-1)))
        cost.backward()
        np.testing.assert_allclose(z.grad, [[1 / (1 + math.e), -1 / (1 + math.e), 0]])


@pytest.mark.parametrize("wrong", [[0, 3], [-1, 0]])
def test_a_class_that_there_is_not_is_refused_by_the_function_too(wrong):
    with pytest.raises(ValueError, match=f"class indices run from 0 to 2; found {min(wrong)} to {max(wrong)}"):
        ops.cross_entropy(leaf(np.zeros((2, 3))), np.array(wrong))


@pytest.mark.parametrize(("shape", "target"), [((8, 1), (8,)), ((10, 10), (10,)), ((8,), (8, 1)), ((4, 3), (4, 1))])
def test_targets_that_would_broadcast_are_refused_by_the_function_too(shape, target):
    with pytest.raises(ValueError, match="does not match logits of shape"):
        ops.binary_cross_entropy_with_logits(leaf(np.zeros(shape)), np.zeros(target))


@pytest.mark.parametrize(("shape", "target"), [((3, 1), (3, 3)), ((3, 3), (3, 1)), ((3, 3), (3,)), ((3,), (3, 3))])
@pytest.mark.parametrize("function", [ops.cross_entropy, ops.softmax_error])
def test_nothing_broadcasts_over_the_classes(function, shape, target):
    """One logit for three classes is a softmax of one class, whose slope is 0 and not that of three."""
    with pytest.raises(ValueError, match="do not match logits of shape"):
        function(leaf(np.zeros(shape)), np.full(target, 0.5))


def test_a_weight_is_a_matrix():
    with pytest.raises(ValueError, match=r"a weight of shape \(\.\.\., out, in\), not \(3,\)"):
        ops.linear(leaf(np.ones(3)), np.ones(3))


@pytest.mark.parametrize("target", [np.zeros((4, 3), int), np.full((4, 3, 3), 1 / 3)], ids=["indices", "rows"])
def test_targets_of_which_no_shape_tells_the_axis_of_the_classes_are_refused(target):
    """PyTorch's (N, C, L) has them on axis 1."""
    z = leaf(np.zeros((4, 3, 3)))
    with pytest.raises(ValueError, match=r"has more axes than .* write np\.mean\(ops\.cross_entropy.*np\.moveaxis"):
        nn.CrossEntropyLoss()(z, target)
    assert np.mean(ops.cross_entropy(np.moveaxis(z, 1, -1), target)).item() == pytest.approx(math.log(3))


# Nothing, and numbers without axes.


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value", "ignore:Degrees of freedom")
@pytest.mark.parametrize("function", [np.sum, np.mean, np.var, np.std, np.prod], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1, ()], ids=str)
def test_empty_arrays_have_empty_gradients(function, shape, axis):
    t = leaf(np.zeros(shape))
    y = function(t, axis=axis)
    y.backward(np.ones(y.shape), create_graph=True)
    assert t.grad.shape == shape


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:Degrees of freedom")
def test_the_variance_of_one_number_with_one_degree_taken_has_no_slope():
    t = leaf([2.0])
    np.var(t, ddof=1).backward()
    assert np.isnan(t.grad)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)], ids=str)
def test_a_softmax_of_nothing_is_nothing(shape):
    t = leaf(np.zeros(shape))
    ops.log_softmax(t).backward(np.zeros(shape))
    assert t.grad.shape == shape


def test_an_empty_batch_passes_a_normalization():
    norm, x = nn.LayerNorm(3), leaf(np.zeros((0, 3)))
    np.sum(norm(x)).backward()
    assert x.grad.shape == (0, 3)
    assert norm.weight.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("features", [[5], (5,), 5.0, "5"])
def test_a_normalization_says_what_it_takes(features):
    with pytest.raises(TypeError, match="LayerNorm takes the length of the last axis as a whole number, not"):
        nn.LayerNorm(features)


def test_one_axis_may_be_transposed_by_its_number():
    t = leaf([1.0, 2.0])
    np.transpose(t, 0).backward([3.0, 4.0])
    assert t.grad.tolist() == [3, 4]


@pytest.mark.parametrize("function", [np.sum, np.prod, np.max, np.min], ids=lambda f: f.__name__)
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_number_may_be_reduced_along_axis_0_as_numpy_has_it(function, value):
    t = leaf(value)
    function(t, axis=0).backward()
    assert t.grad == 1


# Many arrays put together.


@pytest.mark.parametrize("function", [np.stack, np.concatenate], ids=lambda f: f.__name__)
def test_no_length_that_was_put_together_is_kept(function):
    before = len(OPERATIONS)
    for n in range(1, 30):
        tensors = [leaf([float(i)]) for i in range(n)]
        y = function(tensors)
        y.backward(np.arange(float(n)).reshape(y.shape))
        assert [t.grad.item() for t in tensors] == [*range(n)]
    assert len(OPERATIONS) == before


# float16 over more elements than its largest number.


MEANS = {
    "np.mean": lambda x: np.mean(x),
    "mse": lambda x: nn.MSELoss()(x, np.zeros(x.shape)),
    "mse, batchmean": lambda x: nn.MSELoss("batchmean")(np.reshape(x, (-1, 10)), np.zeros((x.size // 10, 10))),
    "bce": lambda x: nn.BCEWithLogitsLoss()(x, np.zeros(x.shape)),
    "cross-entropy": lambda x: nn.CrossEntropyLoss()(np.reshape(x, (-1, 2)), np.zeros(x.size // 2, int)),
    "np.var": lambda x: np.var(x * np.tile([np.float16(1), np.float16(-1)], x.size // 2)),
    "np.std": lambda x: np.std(x * np.tile([np.float16(1), np.float16(-1)], x.size // 2)),
    "log-softmax": lambda x: ops.log_softmax(x)[0],
}


@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)
def test_float16_is_added_up_in_float32(mean):
    values = np.full(200_000, 3)
    exact, x = leaf(values), leaf(values, np.float16)
    for t in (exact, x):
        mean(t).backward()
    np.testing.assert_allclose(mean(x).item(), mean(exact).item(), rtol=1e-3)
    assert mean(x).dtype == np.float16
    np.testing.assert_allclose(x.grad, exact.grad, rtol=1e-2, atol=1e-7)


def test_means_of_integers_are_no_integers():
    t = tg.Tensor([[1, 2], [3, 5]])
    assert np.var(t).item() == 2.1875
    assert np.std(t[0]).item() == 0.5
    assert nn.MSELoss()(t, np.zeros((2, 2), int)).item() == 9.75
