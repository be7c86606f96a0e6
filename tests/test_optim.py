"""The optimizers: their formulas, written out over the whole history; PyTorch's steps; what they leave alone."""

import functools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_vg as tg
from tinygrad_vg import nn, optim

Array = NDArray[np.floating[Any]]

STEPS = 20
SGD: dict[str, dict[str, Any]] = {
    "plain": dict(lr=0.1),
    "momentum": dict(lr=0.1, momentum=0.9),
    "nesterov": dict(lr=0.1, momentum=0.8, nesterov=True),
    "decay": dict(lr=0.1, weight_decay=0.3),
    "momentum and decay": dict(lr=0.1, momentum=0.9, weight_decay=0.3),
    "nesterov and decay": dict(lr=0.1, momentum=0.9, weight_decay=0.3, nesterov=True),
    "no step": dict(lr=0.0, momentum=0.9),
}
ADAM: dict[str, dict[str, Any]] = {
    "default": dict(),
    "lr": dict(lr=0.1),
    "betas": dict(lr=0.1, betas=(0.5, 0.7)),
    "no memory": dict(lr=0.1, betas=(0.0, 0.0)),
    "eps": dict(lr=0.1, eps=0.5),
    "decay": dict(lr=0.1, weight_decay=0.3),
}
RMSPROP: dict[str, dict[str, Any]] = {
    "default": dict(),
    "alpha": dict(lr=0.1, alpha=0.5),
    "no memory": dict(lr=0.1, alpha=0.0, eps=0.1),
    "momentum": dict(lr=0.1, momentum=0.9),
    "centered": dict(lr=0.1, alpha=0.9, centered=True, eps=1e-4),
    "all": dict(lr=0.1, alpha=0.9, eps=1e-3, weight_decay=0.3, momentum=0.5, centered=True),
}
CASES = {f"{kind}-{name}": (kind, options)
         for kind, of_kind in [("SGD", SGD), ("Adam", ADAM), ("AdamW", ADAM), ("RMSprop", RMSPROP)]
         for name, options in of_kind.items()}  # fmt: skip
MAKERS = {
    "SGD": functools.partial(optim.SGD, lr=0.1),
    "momentum": functools.partial(optim.SGD, lr=0.1, momentum=0.9),
    "decay": functools.partial(optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": functools.partial(optim.Adam, lr=0.1, weight_decay=0.1),
    "AdamW": functools.partial(optim.AdamW, lr=0.1, weight_decay=0.1),
    "RMSprop": functools.partial(optim.RMSprop, lr=0.1, weight_decay=0.1, momentum=0.5, centered=True, eps=1e-3),
}
every_case = pytest.mark.parametrize(("kind", "options"), CASES.values(), ids=CASES)
every_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)


def start() -> Array:
    return np.random.default_rng(0).normal(size=(3, 2))


def gradients() -> Array:
    """Gradients of very different sizes, as a deep network's are; all those of one step are 0."""
    rng = np.random.default_rng(1)
    sizes = 10.0 ** rng.integers(-6, 2, size=(STEPS, 3, 2))
    sizes[5] = 0
    return rng.normal(size=(STEPS, 3, 2)) * sizes


def run(optimizer: optim.Optimizer, p: nn.Parameter) -> Array:
    for g in gradients():
        p.grad = g
        optimizer.step()
    return p.data


# Formulas.


@pytest.mark.parametrize("options", SGD.values(), ids=SGD)
def test_sgd_is_its_formula(options: dict[str, Any]) -> None:
    """The velocity is the sum of all gradients so far, each μ^age times itself."""
    lr, momentum, decay = (options.get(name, 0.0) for name in ("lr", "momentum", "weight_decay"))
    p, expected, history = nn.Parameter(start()), start(), []
    for g in gradients():
        history.append(g + decay * expected)
        velocity = sum(momentum**age * old for age, old in enumerate(reversed(history)))
        ahead = history[-1] + momentum * velocity
        expected = expected - lr * (ahead if options.get("nesterov") else velocity)
    close(run(optim.SGD([p], **options), p), expected)


@pytest.mark.parametrize("options", ADAM.values(), ids=ADAM)
def test_adam_is_its_formula(options: dict[str, Any]) -> None:
    """Weighted means of all gradients so far, and of their squares; the weights sum to one."""
    lr, eps, decay = options.get("lr", 1e-3), options.get("eps", 1e-8), options.get("weight_decay", 0.0)
    p, expected, history = nn.Parameter(start()), start(), []
    for g in gradients():
        history.append(g + decay * expected)
        mean, square = (
            sum(beta**age * old**power for age, old in enumerate(reversed(history)))
            / sum(beta**age for age in range(len(history)))
            for power, beta in enumerate(options.get("betas", (0.9, 0.999)), 1)
        )
        expected = expected - lr * mean / (np.sqrt(square) + eps)
    close(run(optim.Adam([p], **options), p), expected)


@pytest.mark.parametrize("options", ADAM.values(), ids=ADAM)
def test_adamw_is_adam_beside_a_decay(options: dict[str, Any]) -> None:
    """Its parameter is Adam's, which is told each decay as a change of the parameter from outside."""
    options = {"weight_decay": 0.01} | options
    p, twin = nn.Parameter(start()), nn.Parameter(start())
    ours = optim.AdamW([p], **options)
    decay = options.pop("weight_decay")
    adam = optim.Adam([twin], **options)
    for g in gradients():
        p.grad = twin.grad = g
        twin.data = twin.data * (1 - options.get("lr", 1e-3) * decay)
        ours.step()
        adam.step()
        close(p.data, twin.data)
    assert optim.AdamW([p]).param_groups[0]["weight_decay"] == 0.01  # as in PyTorch


@pytest.mark.parametrize("options", RMSPROP.values(), ids=RMSPROP)
def test_rmsprop_is_its_formula(options: dict[str, Any]) -> None:
    """The running mean of g² begins at 0: it is the sum over all gradients so far, each (1 − α) α^age times itself."""
    lr, alpha, eps = options.get("lr", 0.01), options.get("alpha", 0.99), options.get("eps", 1e-8)
    p, expected, history, steps = nn.Parameter(start()), start(), [], []
    for g in gradients():
        history.append(g + options.get("weight_decay", 0.0) * expected)
        square, mean = (
            sum((1 - alpha) * alpha**age * old**power for age, old in enumerate(reversed(history))) for power in (2, 1)
        )
        size = np.sqrt(np.maximum(square - mean**2, 0) if options.get("centered") else square)
        steps.append(history[-1] / (size + eps))
        expected = expected - lr * sum(
            options.get("momentum", 0.0) ** age * step for age, step in enumerate(reversed(steps))
        )
    np.testing.assert_allclose(run(optim.RMSprop([p], **options), p), expected, rtol=1e-9)


@pytest.mark.torch
@every_case
def test_steps_are_those_of_pytorch(kind: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    p, twin = nn.Parameter(start()), torch.nn.Parameter(torch.tensor(start()))
    ours, theirs = getattr(optim, kind)([p], **options), getattr(torch.optim, kind)([twin], **options)
    for g in gradients():
        p.grad, twin.grad = g, torch.tensor(g)
        ours.step()
        theirs.step()
        close(p.data, twin.detach().numpy())


@every_optimizer
def test_a_changed_lr_takes_effect(make: Any) -> None:
    p = nn.Parameter(start())
    optimizer = make([p])
    p.grad = np.ones((3, 2))
    optimizer.step()
    before = p.data
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert np.array_equal(p.data, before)
    optimizer.param_groups[0]["lr"] = np.float64(0.2)
    optimizer.step()
    assert not np.array_equal(p.data, before)


# What is left alone.


@every_optimizer
def test_parameters_are_rebound_and_nothing_is_written_into(make: Any) -> None:
    p = nn.Parameter(start())
    optimizer = make([p])
    for g in gradients():
        old, p.grad = p.data, g
        old_copy, g_copy = old.copy(), g.copy()
        optimizer.step()
        assert not np.shares_memory(p.data, old)
        assert np.array_equal(old, old_copy)
        assert np.array_equal(g, g_copy)
        assert p.grad is g


@every_optimizer
def test_what_becomes_of_a_gradient_later_does_not_matter(make: Any) -> None:
    p, undisturbed = nn.Parameter(start()), nn.Parameter(start())
    optimizers = make([p]), make([undisturbed])
    for g in gradients():
        p.grad, undisturbed.grad = g.copy(), g
        for optimizer in optimizers:
            optimizer.step()
        p.grad.fill(np.nan)
    assert np.array_equal(p.data, undisturbed.data)


@every_optimizer
def test_a_graph_recorded_before_a_step_stays_right(make: Any) -> None:
    x, p = np.arange(6.0).reshape(3, 2), nn.Parameter(start())
    cost = np.sum(np.exp(p) * x)
    p.grad = np.ones((3, 2))
    make([p]).step()
    assert not np.allclose(p.data, start())
    (after,) = tg.grad(cost, p)
    assert np.array_equal(after, np.exp(start()) * x)


@every_optimizer
def test_a_parameter_without_gradient_is_left_alone(make: Any) -> None:
    used, unused, data = nn.Parameter(start()), nn.Parameter(start()), start()
    unused.data = data
    optimizer = make([used, unused])
    used.grad = np.ones((3, 2))
    optimizer.step()
    optimizer.step()
    assert unused.data is data
    optimizer.zero_grad()
    assert used.grad is None
    moved = used.data
    optimizer.step()
    assert used.data is moved


# Types.


@every_case
def test_float32_stays_float32(kind: str, options: dict[str, Any]) -> None:
    """Also where a schedule has made the options NumPy's numbers, which would promote."""
    strong = {k: tuple(map(np.float64, v)) if k == "betas" else v if k == "nesterov" else np.float64(v)
              for k, v in options.items()}  # fmt: skip
    p = nn.Parameter(start().astype(np.float32))
    optimizer = getattr(optim, kind)([p], **strong)
    for g in gradients():
        p.grad = g.astype(np.float32)
        optimizer.step()
        assert p.dtype == np.float32
        assert all(a.dtype == np.float32 for a in optimizer.state.get(p, {}).values() if isinstance(a, np.ndarray))


@every_optimizer
def test_a_scalar_is_trained_like_any_array(make: Any) -> None:
    """NumPy makes numbers of arrays without axes; the sum of two gradients is one, and still a gradient."""
    p = nn.Parameter(np.float32(2.0))
    optimizer = make([p])
    for _ in range(3):
        optimizer.zero_grad()
        (p * p).backward()
        (p * p).backward()
        optimizer.step()
        assert isinstance(p.data, np.ndarray)
        assert p.dtype == np.float32
    assert p.item() < 2


@every_optimizer
def test_gradients_with_a_graph_of_their_own_are_gradients(make: Any) -> None:
    p, plain = nn.Parameter(start()), nn.Parameter(start())
    np.sum(np.exp(p)).backward(create_graph=True)
    np.sum(np.exp(plain)).backward()
    make([p]).step()
    make([plain]).step()
    assert isinstance(p.data, np.ndarray)
    assert np.array_equal(p.data, plain.data)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_sgd_of_a_large_array_is_that_of_its_parts(decay: float, order: Any) -> None:
    """It goes block by block; the last block is not a whole one."""
    rng = np.random.default_rng(2)
    array, g = (np.asarray(rng.normal(size=(3, 97, 1001)).astype(np.float32), order=order) for _ in range(2))
    large, small = nn.Parameter(array), [nn.Parameter(part) for part in array]
    large.grad = g
    for parameter, part in zip(small, g, strict=True):
        parameter.grad = part
    optim.SGD([large, *small], lr=0.1, weight_decay=decay).step()
    assert np.array_equal(large.data, np.stack([parameter.data for parameter in small]))
    assert not np.shares_memory(large.data, array)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_options_set_late_are_checked_in_the_next_step(kind: str) -> None:
    p = nn.Parameter(start())
    optimizer = getattr(optim, kind)([p], lr=0.1)
    p.grad = np.ones((3, 2))
    optimizer.step()
    for wrong in (-1, float("nan"), "0.1", None, float("inf")):
        before = p.data
        for _ in range(2):  # a second try is no better
            optimizer.param_groups[0]["lr"] = wrong
            with pytest.raises(ValueError, match="lr must be a number ≥ 0"):
                optimizer.step()
        assert p.data is before
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    assert p.data is not before


def test_betas_may_be_a_list_that_changes() -> None:
    p, twin = nn.Parameter(start()), nn.Parameter(start())
    optimizers = [optim.Adam([p], betas=[0.9, 0.999]), optim.Adam([twin], betas=(0.9, 0.999))]
    for step in range(3):
        if step:
            optimizers[0].param_groups[0]["betas"][0] = 0.5
            optimizers[1].param_groups[0]["betas"] = (0.5, 0.999)
        for parameter, optimizer in zip((p, twin), optimizers, strict=True):
            parameter.grad = gradients()[step]
            optimizer.step()
    assert np.array_equal(p.data, twin.data)


def test_parameters_of_several_dtypes_share_a_group() -> None:
    parameters = [nn.Parameter(start().astype(dtype)) for dtype in (np.float32, np.float64, np.float32, np.float16)]
    for parameter in parameters:
        parameter.grad = np.ones((3, 2), parameter.dtype)
    optim.SGD(parameters, lr=0.1, momentum=0.9).step()
    for parameter, dtype in zip(parameters, (np.float32, np.float64, np.float32, np.float16), strict=True):
        assert parameter.dtype == dtype
        np.testing.assert_allclose(parameter.data, start() - 0.1, rtol=1e-2 if dtype == np.float16 else 1e-5)
