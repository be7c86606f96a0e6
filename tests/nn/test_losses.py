"""Losses against their formulas: values, gradients, reductions, and one loss per member of an ensemble."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_vg as tg
from tinygrad_vg import nn

Array = NDArray[np.floating[Any]]

BATCH, CLASSES = 5, 3
REDUCTIONS = ["none", "sum", "mean", "batchmean"]
close = functools.partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-14)


def softmax(z: Array) -> Array:
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def bce(z: Array, t: Array) -> Array:
    a = 1 / (1 + np.exp(-z))
    return -t * np.log(a) - (1 - t) * np.log(1 - a)


# (the loss, its values, its slope in the input); all three take real targets of the input's shape, and the
# formulas hold also where those of a sample do not add up to 1.
LOSSES: dict[str, tuple[type[nn.Module], Callable[[Array, Array], Array], Callable[[Array, Array], Array]]] = {
    "mse": (nn.MSELoss, lambda z, t: (z - t) ** 2, lambda z, t: 2 * (z - t)),
    "bce": (nn.BCEWithLogitsLoss, bce, lambda z, t: 1 / (1 + np.exp(-z)) - t),
    "cross-entropy": (
        nn.CrossEntropyLoss,
        lambda z, t: -(t * np.log(softmax(z))).sum(-1),
        lambda z, t: softmax(z) * t.sum(-1, keepdims=True) - t,
    ),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def problem(rng: np.random.Generator, *lead: int) -> tuple[tg.Tensor, Array]:
    """An input with leading axes, and targets between 0 and 1, as every loss takes them."""
    z = tg.Tensor(rng.normal(size=(*lead, BATCH, CLASSES)), requires_grad=True)
    return z, rng.random(size=(BATCH, CLASSES))


def divisor(reduction: str, values: int) -> int:
    """What a reduction divides the sum of the values of one batch by."""
    return {"sum": 1, "mean": values, "batchmean": BATCH}[reduction]


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_and_gradients_are_the_formulas(rng: np.random.Generator, name: str, reduction: str) -> None:
    kind, formula, slope = LOSSES[name]
    z, t = problem(rng)
    cost, values = kind(reduction)(z, t), formula(z.data, t)
    if reduction == "none":
        close(cost.data, values)
        assert cost.shape == values.shape
        weights = rng.normal(size=values.shape)
        cost.backward(weights)
        close(z.grad, slope(z.data, t) * weights.reshape(BATCH, -1))
    else:
        close(cost.data, values.sum() / divisor(reduction, values.size))
        assert cost.shape == ()
        cost.backward()
        close(z.grad, slope(z.data, t) / divisor(reduction, values.size))


@every_loss
def test_the_mean_is_what_is_meant_by_default(rng: np.random.Generator, name: str) -> None:
    kind, (z, t) = LOSSES[name][0], problem(rng)
    assert kind()(z, t).item() == kind("mean")(z, t).item() == kind(reduction="mean")(z, t).item()


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("members", [1, 4, BATCH])
def test_an_ensemble_has_a_loss_for_each_member(
    rng: np.random.Generator, name: str, reduction: str, members: int
) -> None:
    """Summed over the members, so that each one's gradient is that of a network alone."""
    loss = LOSSES[name][0](reduction)
    z, t = problem(rng, members)
    cost = loss(z, t)
    cost.backward(np.ones(cost.shape))
    total = 0
    for i in range(members):
        single = tg.Tensor(z.data[i], requires_grad=True)
        alone = loss(single, t)
        alone.backward(np.ones(alone.shape))
        close(z.grad[i], single.grad)
        total += alone.data
        if reduction == "none":
            close(cost.data[i], alone.data)
    if reduction != "none":
        close(cost.data, total)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("members", [(), (4,)], ids=["single", "ensemble"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_class_indices_are_rows_of_the_identity(
    rng: np.random.Generator, reduction: str, members: tuple[int, ...], dtype: type
) -> None:
    loss, (z, _) = nn.CrossEntropyLoss(reduction), problem(rng, *members)
    indices = np.array([2, 0, 1, 1, 2], dtype)
    weights = rng.normal(size=loss(z, indices).shape)
    loss(z, indices).backward(weights)
    by_index, z.grad = z.grad, None
    loss(z, np.eye(CLASSES)[indices]).backward(weights)
    close(by_index, z.grad)
    close(loss(z, indices).data, loss(z, np.eye(CLASSES)[indices]).data)
    for same in [indices.tolist(), tg.Tensor(indices)]:
        assert np.array_equal(loss(z, same).data, loss(z, indices).data)


def test_one_sample_is_a_batch_without_its_axis(rng: np.random.Generator) -> None:
    z, t = rng.normal(size=CLASSES), softmax(rng.normal(size=CLASSES))
    close(nn.CrossEntropyLoss()(tg.Tensor(z), 1).data, -np.log(softmax(z)[1]))
    close(nn.CrossEntropyLoss()(tg.Tensor(z), t).data, -np.sum(t * np.log(softmax(z))))
    close(nn.MSELoss("sum")(tg.Tensor(z), t).data, np.sum((z - t) ** 2))
    close(nn.MSELoss("batchmean")(tg.Tensor(2.0), 0.5).data, 2.25)


def test_targets_may_ask_for_gradients_too(rng: np.random.Generator) -> None:
    z, t = problem(rng)
    target = tg.Tensor(t, requires_grad=True)
    for kind, slope in [
        (nn.MSELoss, 2 * (t - z.data)),
        (nn.BCEWithLogitsLoss, -z.data),
        (nn.CrossEntropyLoss, -np.log(softmax(z.data))),
    ]:
        target.grad = None
        kind("sum")(z, target).backward()
        close(target.grad, slope)


def test_nothing_overflows_far_from_the_target() -> None:
    z = tg.Tensor([[-800.0, 800.0]], requires_grad=True)
    for loss, expected in [
        (nn.BCEWithLogitsLoss("none"), [[800.0, 800.0]]),
        (nn.CrossEntropyLoss("none"), [1600.0]),
    ]:
        z.grad = None
        cost = loss(z, np.array([[1.0, 0.0]]))
        assert cost.data.tolist() == expected
        np.sum(cost).backward()
        assert z.grad.tolist() == [[-1.0, 1.0]]


# Types.


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_float64_targets_leave_float32_alone(rng: np.random.Generator, name: str, reduction: str) -> None:
    z, t = problem(rng)
    single = tg.Tensor(z.data.astype(np.float32), requires_grad=True)
    cost = LOSSES[name][0](reduction)(single, t)
    cost.backward(np.ones(cost.shape))
    assert cost.dtype == np.float32
    assert single.grad.dtype == np.float32


@every_loss
def test_a_target_that_is_a_tensor_is_a_target(rng: np.random.Generator, name: str) -> None:
    """An array in a Tensor that asks for nothing is treated as the array is."""
    z, t = problem(rng)
    loss, single = LOSSES[name][0](), tg.Tensor(z.data.astype(np.float32))
    assert loss(single, tg.Tensor(t)).item() == loss(single, t).item()
    assert loss(single, tg.Tensor(t)).dtype == np.float32


@every_loss
def test_integer_targets_are_numbers(rng: np.random.Generator, name: str) -> None:
    kind, (z, _) = LOSSES[name][0], problem(rng)
    t = np.eye(CLASSES, dtype=np.uint8)[[2, 0, 1, 1, 2]]
    if kind is not nn.CrossEntropyLoss:  # there integers are class indices
        assert kind()(z, t).item() == kind()(z, t.astype(float)).item()


def test_an_integer_input_does_not_round_the_targets() -> None:
    assert nn.MSELoss()(tg.Tensor([1, 2]), np.array([1.5, 2.5])).item() == 0.25


# Errors.


@every_loss
@pytest.mark.parametrize("reduction", ["average", None, 3], ids=str)
def test_an_unknown_reduction_is_refused(name: str, reduction: Any) -> None:
    with pytest.raises(ValueError, match=f"one of none, sum, mean, batchmean, not {reduction!r}"):
        LOSSES[name][0](reduction)


@every_loss
@pytest.mark.parametrize(
    "shape", [(CLASSES, BATCH), (BATCH,), (BATCH, 1), (1, CLASSES), (2, BATCH, CLASSES), (BATCH, CLASSES + 1)], ids=str
)
def test_targets_of_another_shape_are_refused(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> None:
    """Broadcasting them would give a number, and not the loss."""
    z, _ = problem(rng)
    with pytest.raises(ValueError, match="shape") as caught:
        LOSSES[name][0]()(z, np.full(shape, 0.5))
    assert str(shape) in str(caught.value)
    assert str(z.shape) in str(caught.value)


@pytest.mark.parametrize("shape", [(4,), (BATCH, 1), (BATCH, CLASSES), (CLASSES,)], ids=str)
def test_class_indices_of_another_shape_are_refused(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="class indices of shape") as caught:
        nn.CrossEntropyLoss()(problem(rng)[0], np.zeros(shape, int))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("wrong", [-1, CLASSES, 255])
def test_class_indices_out_of_range_are_refused(rng: np.random.Generator, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"run from 0 to 2; found {min(wrong, 0)} to {max(wrong, 2)}"):
        nn.CrossEntropyLoss()(problem(rng)[0], np.array([0, 1, 2, wrong, 0]))


@pytest.mark.parametrize("kind", [nn.MSELoss, nn.BCEWithLogitsLoss], ids=["mse", "bce"])
def test_labels_are_not_rows_even_if_there_are_as_many_samples_as_classes(kind: type[nn.Module]) -> None:
    """As in a mini-batch of 10 digits: (10,) would go with every row of (10, 10), without a word."""
    labels = np.arange(10)
    with pytest.raises(ValueError, match=r"shape \(10,\)"):
        kind()(tg.Tensor(np.zeros((10, 10))), labels)


def test_class_numbers_as_floats_are_not_probabilities_even_if_there_are_as_many_samples_as_classes() -> None:
    with pytest.raises(ValueError, match=r"integer|shape"):
        nn.CrossEntropyLoss()(tg.Tensor(np.zeros((10, 10))), np.arange(10.0))


@every_loss
def test_repr_names_the_reduction(name: str) -> None:
    kind = LOSSES[name][0]
    assert repr(kind("sum")) == f"{kind.__name__}(reduction='sum')"
