"""SGD and Adam: their formulas, written out over the whole history; PyTorch's steps; what they leave alone."""

import functools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_vg as tg
from tinygrad_vg import nn, optim

Array = NDArray[np.floating[Any]]

STEPS = 12
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
CASES = {f"{kind}-{name}": (kind, options) for kind, of_kind in [("SGD", SGD), ("Adam", ADAM)]
         for name, options in of_kind.items()}  # fmt: skip
MAKERS = {
    "SGD": functools.partial(optim.SGD, lr=0.1),
    "momentum": functools.partial(optim.SGD, lr=0.1, momentum=0.9),
    "decay": functools.partial(optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": functools.partial(optim.Adam, lr=0.1, weight_decay=0.1),
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


def test_sgd_changes_an_array_in_place_only_where_nobody_else_holds_it() -> None:
    p = nn.Parameter(np.ones(4))
    optimizer = optim.SGD([p], lr=0.1, weight_decay=0.5)
    (p * p).backward(np.ones(4))  # the graph is gone when the line ends
    before = id(p.data)
    optimizer.step()
    assert id(p.data) == before
    held = p.data
    optimizer.step()
    assert p.data is not held
    assert np.array_equal(held, np.full(4, 0.75))
    y = p * p
    optimizer.step()  # a graph holds the array that it saw
    seen = np.sqrt(y.data)
    p.grad = None
    y.backward(np.ones(4))
    assert np.allclose(p.grad, 2 * seen, rtol=1e-15)


def test_sgd_does_not_write_through_a_view() -> None:
    """Nobody holds the view but the parameter, yet its memory belongs to an array that somebody holds."""
    both = np.ones((2, 3))
    p = nn.Parameter(both[0])
    (p * p).backward(np.ones(3))
    optim.SGD([p], lr=0.1).step()
    assert np.array_equal(both, np.ones((2, 3)))
    assert np.allclose(p.data, 0.8)
