"""Losses with weights, ignored classes and smoothed labels; L1, Huber and NLL: formulas, members, PyTorch, compiled."""

import functools
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)
B, C = 6, 4
W = np.array([0.5, 2.0, 1.0, 3.0])
REDUCTIONS = ["none", "sum", "mean", "batchmean"]
rng = np.random.default_rng(0)
Z = rng.normal(scale=3, size=(B, C))
LABELS, IGNORED = np.array([0, 3, 1, 2, 3, 3]), np.array([0, 3, -100, 1, 2, -100])
SHARES, UNIT, REAL = rng.dirichlet(np.ones(C), size=B), rng.random((B, C)), rng.normal(size=(B, C))
COLUMN, RARE = rng.random((B, 1)), np.array([1.0, 5.0, 0.1, 2.0])

# By name: the class, its options, a target.
CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "classes": ("CrossEntropyLoss", {}, LABELS),
    "weights": ("CrossEntropyLoss", {"weight": W}, LABELS),
    "ignored": ("CrossEntropyLoss", {"ignore_index": -100}, IGNORED),
    "ignored class": ("CrossEntropyLoss", {"ignore_index": 3, "weight": W}, LABELS),
    "smoothed": ("CrossEntropyLoss", {"label_smoothing": 0.1}, LABELS),
    "all": ("CrossEntropyLoss", {"weight": W, "ignore_index": -100, "label_smoothing": 0.2}, IGNORED),
    "shares": ("CrossEntropyLoss", {"weight": W}, SHARES),
    "smoothed shares": ("CrossEntropyLoss", {"weight": W, "label_smoothing": 0.3}, SHARES),
    "nll": ("NLLLoss", {}, LABELS),
    "nll weights": ("NLLLoss", {"weight": W}, LABELS),
    "nll ignored": ("NLLLoss", {"weight": W, "ignore_index": -100}, IGNORED),
    "l1": ("L1Loss", {}, REAL),
    "huber": ("HuberLoss", {}, REAL),
    "huber 0.3": ("HuberLoss", {"delta": 0.3}, REAL),
    "bce weights": ("BCEWithLogitsLoss", {"weight": COLUMN}, UNIT),
    "bce positive": ("BCEWithLogitsLoss", {"pos_weight": RARE}, UNIT),
    "bce both": ("BCEWithLogitsLoss", {"weight": W, "pos_weight": RARE}, UNIT),
}
every_case = pytest.mark.parametrize("name", CASES)


def loss_of(name: str, reduction: str) -> tuple[Any, Any]:
    kind, options, target = CASES[name]
    return getattr(nn, kind)(reduction, **options), target


def values(name: str, z: Any) -> tuple[Any, float]:
    """The value of each sample or element by a formula, and what "mean" divides their sum by."""
    kind, options, t = CASES[name]
    w, logs = options.get("weight", np.ones(C)), z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    if kind == "L1Loss":
        return np.abs(z - t), t.size
    if kind == "HuberLoss":
        d, delta = np.abs(z - t), options.get("delta", 1.0)
        return np.where(d <= delta, d * d / 2, delta * (d - delta / 2)), t.size
    if kind == "BCEWithLogitsLoss":
        a, p = 1 / (1 + np.exp(-z)), options.get("pos_weight", 1.0)
        return w * -(p * t * np.log(a) + (1 - t) * np.log(1 - a)), t.size
    if t.dtype.kind == "f":
        smooth = options.get("label_smoothing", 0.0)
        return -np.sum(w * ((1 - smooth) * t + smooth / C) * logs, axis=-1), len(t)
    kept = t != options.get("ignore_index")
    rows = np.eye(C)[np.where(kept, t, 0)] * kept[:, None]
    smooth = options.get("label_smoothing", 0.0)
    q = w * ((1 - smooth) * rows + smooth / C * kept[:, None])
    return -np.sum(q * (z if kind == "NLLLoss" else logs), axis=-1), np.sum(rows * w)


@every_case
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_are_the_formulas_and_slopes_those_of_finite_differences(name: str, reduction: str) -> None:
    loss, target = loss_of(name, reduction)
    expected, count = values(name, Z)
    if reduction != "none":
        expected = expected.sum() / {"sum": 1, "mean": count, "batchmean": B}[reduction]
    z = tg.Tensor(Z, requires_grad=True)
    close(loss(z, target).data, expected)
    if reduction in ("none", "mean"):
        assert tg.gradcheck(lambda z: loss(z, target), z, order=1 + (reduction == "mean"))


@every_case
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_members_have_their_own_losses(name: str, reduction: str) -> None:
    loss, target = loss_of(name, reduction)
    z = tg.Tensor(np.stack([Z, 2 * Z, Z[::-1]]), requires_grad=True)
    cost = loss(z, target)
    cost.backward(np.ones(cost.shape))
    total = 0
    for i in range(3):
        own = tg.Tensor(z.data[i], requires_grad=True)
        alone = loss(own, target)
        alone.backward(np.ones(alone.shape))
        close(z.grad[i], own.grad)
        total = total + alone.data
        if reduction == "none":
            close(cost.data[i], alone.data)
    if reduction != "none":
        close(cost.data, total)


@every_case
def test_float32_stays_float32_with_weights_in_float64(name: str) -> None:
    for reduction in REDUCTIONS:
        loss, target = loss_of(name, reduction)
        z = tg.Tensor(Z.astype(np.float32), requires_grad=True)
        cost = loss(z, target)
        assert cost.dtype == np.float32
        assert tg.grad(cost, z, np.ones(cost.shape))[0].dtype == np.float32


@every_case
def test_a_compiled_loss_is_the_loss_for_other_numbers_too(name: str) -> None:
    loss, target = loss_of(name, "mean")
    compiled = tg.compile(lambda z, t: (loss(z, t), tg.grad(loss(z, t), z)[0]), backend="numpy")
    for z, t in ((Z, target), (2 * Z, target[::-1].copy()), (-Z, target)):
        z = tg.Tensor(z, requires_grad=True)
        cost, gradient = compiled(z, t)
        close(cost.data, loss(z, t).data)
        close(gradient, tg.grad(loss(z, t), z)[0])
    assert len(compiled.programs) == 1
    if "ignored" in name or name == "weights":
        with pytest.raises(ValueError, match="class indices run from 0 to 3; found 0 to 9"):
            compiled(tg.Tensor(Z, requires_grad=True), np.array([0, 9, 1, 1, 1, 1]))


def test_weights_are_saved_with_a_loss() -> None:
    loss = nn.CrossEntropyLoss(weight=W)
    assert list(loss.state_dict()) == ["weight"]
    assert list(nn.CrossEntropyLoss().state_dict()) == []


def test_small_errors_keep_their_digits() -> None:
    """Of a sure and right output the slope is −p e⁻ᶻ, and not 0."""
    z = tg.Tensor([[40.0]], requires_grad=True)
    (slope,) = tg.grad(nn.BCEWithLogitsLoss("sum", pos_weight=[3.0])(z, np.ones((1, 1))), z)
    assert slope.item() == pytest.approx(-3 * np.exp(-40.0), rel=1e-14)
    rows = tg.Tensor([[40.0, 0.0]], requires_grad=True)
    (slope,) = tg.grad(nn.CrossEntropyLoss("sum", weight=[3.0, 1.0])(rows, np.array([0])), rows)
    assert slope[0] == pytest.approx([-3 * np.exp(-40.0), 3 * np.exp(-40.0)], rel=1e-14)


def test_impossible_classes_cost_nothing_where_they_are_not_the_target() -> None:
    z = tg.Tensor([[0.0, -np.inf]], requires_grad=True)
    cost = nn.NLLLoss()(z, np.array([0]))
    cost.backward()
    assert cost.item() == 0
    assert z.grad.tolist() == [[-1, 0]]


def test_huber_does_not_overflow() -> None:
    z = tg.Tensor([1e300, -1e300, 0.5], requires_grad=True)
    nn.HuberLoss("sum")(z, np.zeros(3)).backward()
    assert z.grad.tolist() == [1, -1, 0.5]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.HuberLoss(delta=0), ValueError, "delta is above 0"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.5), ValueError, "from 0 to 1"),
        (lambda: nn.CrossEntropyLoss(weight=np.ones((2, 2))), ValueError, "one for each class"),
        (lambda: nn.CrossEntropyLoss(weight=np.ones(3))(Z, LABELS), ValueError, "3 weights of classes do not match"),
        (lambda: nn.CrossEntropyLoss(ignore_index=0)(Z, SHARES), ValueError, "this target has probabilities"),
        (lambda: nn.CrossEntropyLoss()(Z, IGNORED), ValueError, "found -100 to 3"),
        (lambda: nn.CrossEntropyLoss(weight=W)(Z, IGNORED), ValueError, "found -100 to 3"),
        (lambda: nn.NLLLoss()(Z, SHARES), TypeError, "which are integers"),
        (lambda: nn.NLLLoss()(Z, LABELS[:3]), ValueError, "do not match an input"),
        (lambda: nn.BCEWithLogitsLoss(weight=np.ones(B))(Z, UNIT), ValueError, "do not broadcast"),
        (lambda: nn.BCEWithLogitsLoss(pos_weight=np.ones((2, B, C)))(Z, UNIT), ValueError, "do not broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.torch
@every_case
@pytest.mark.parametrize("reduction", REDUCTIONS[:3])
def test_losses_are_those_of_pytorch(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    loss, target = loss_of(name, reduction)
    kind, options, _ = CASES[name]
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    twin = getattr(torch.nn, kind)(reduction=reduction, **tensors)
    ours, theirs = tg.Tensor(Z, requires_grad=True), torch.tensor(Z, requires_grad=True)
    cost, twin_cost = loss(ours, target), twin(theirs, torch.tensor(target))
    close(cost.data, twin_cost.detach().numpy())
    g = np.random.default_rng(1).normal(size=cost.shape)
    cost.backward(g)
    twin_cost.backward(torch.tensor(g))
    close(ours.grad, theirs.grad.numpy())
