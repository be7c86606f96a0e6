"""Schedules of the learning rate: their formulas, PyTorch's rates, states, and compiled steps."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.compiler import TraceError
from tinygrad_vg.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

MAKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "step": ("StepLR", dict(step_size=3)),
    "step with gamma": ("StepLR", dict(step_size=4, gamma=0.7)),
    "cosine": ("CosineAnnealingLR", dict(T_max=7)),
    "cosine to a rate above 0": ("CosineAnnealingLR", dict(T_max=5, eta_min=0.02)),
    "cosine of one epoch": ("CosineAnnealingLR", dict(T_max=1)),
}
every_schedule = pytest.mark.parametrize(("name", "options"), MAKERS.values(), ids=MAKERS)


def sgd() -> optim.SGD:
    p, q = nn.Parameter(1.0), nn.Parameter(2.0)
    return optim.SGD([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=0.1)


def rates(scheduler: LRScheduler, epochs: int) -> list[list[float]]:
    found = []
    for _ in range(epochs):
        found.append(scheduler.get_last_lr())
        scheduler.step()
    return found


def test_step_lr_is_its_formula() -> None:
    expected = [[base * 0.7 ** (epoch // 4) for base in (0.1, 0.3)] for epoch in range(13)]
    np.testing.assert_allclose(rates(StepLR(sgd(), 4, gamma=0.7), 13), expected, rtol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_cosine_annealing_is_its_formula_and_rises_again(n: int) -> None:
    expected = [
        [0.02 + (base - 0.02) * (1 + math.cos(math.pi * epoch / n)) / 2 for base in (0.1, 0.3)]
        for epoch in range(5 * n)
    ]
    np.testing.assert_allclose(
        rates(CosineAnnealingLR(sgd(), n, eta_min=0.02), 5 * n), expected, rtol=1e-12
    )  # fmt: skip


@pytest.mark.torch
@every_schedule
def test_rates_are_those_of_pytorch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = sgd(), torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.tensor(1.0))]},
         {"params": [torch.nn.Parameter(torch.tensor(2.0))], "lr": 0.3}], lr=0.1)  # fmt: skip
    scheduler = getattr(optim.lr_scheduler, name)(ours, **options)
    twin = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    for epoch in range(25):
        np.testing.assert_allclose(scheduler.get_last_lr(), twin.get_last_lr(), rtol=1e-12, atol=1e-17)
        if epoch == 11:  # what the user sets stays a factor
            for group in (*ours.param_groups, *theirs.param_groups):
                group["lr"] = group["lr"] * 2
        theirs.step()
        scheduler.step()
        twin.step()


@every_schedule
def test_a_schedule_goes_on_from_its_state(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    optimizer = sgd()
    scheduler = getattr(optim.lr_scheduler, name)(optimizer, **options)
    rates(scheduler, 4)
    tg.save(scheduler.state_dict(), tmp_path / "schedule.npz")
    state, of_optimizer = tg.load(tmp_path / "schedule.npz"), optimizer.state_dict()
    expected = rates(scheduler, 10)

    again = sgd()
    resumed = getattr(optim.lr_scheduler, name)(again, **{key: 3 * value for key, value in options.items()})
    again.load_state_dict(of_optimizer)
    resumed.load_state_dict(state)
    assert rates(resumed, 10) == expected


def test_two_schedules_multiply() -> None:
    optimizer = sgd()
    both = [StepLR(optimizer, 2, gamma=0.5), StepLR(optimizer, 3, gamma=0.1)]
    for _ in range(6):
        for scheduler in both:
            scheduler.step()
    np.testing.assert_allclose(optimizer.param_groups[0]["lr"], 0.1 * 0.5**3 * 0.1**2)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    ],
    ids=["SGD", "AdamW", "RMSprop"],
)
def test_a_compiled_step_takes_the_rate_of_the_epoch(make: Callable[[Any], optim.Optimizer]) -> None:
    ends = []
    for is_compiled in (False, True):
        p = nn.Parameter(np.arange(1.0, 4.0))
        optimizer = make([p])
        scheduler = CosineAnnealingLR(optimizer, 4)

        def step() -> Any:
            optimizer.zero_grad()  # noqa: B023 - each step is used up in its own turn
            loss = np.sum(p * p)  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return loss

        run = tg.compile(step, backend="numpy") if is_compiled else step
        for _ in range(6):
            run()
            run()
            scheduler.step()
        ends.append(p.data)
        if is_compiled:
            assert len(run.programs) <= 2  # one for the first step, which makes the state, and one for the others
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-13)


def test_what_a_schedule_refuses() -> None:
    optimizer = sgd()
    with pytest.raises(TypeError, match="takes an Optimizer"):
        StepLR(nn.Linear(1, 1), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"not 0 and 0\.1"):
        StepLR(optimizer, 0)
    with pytest.raises(ValueError, match=r"not 2\.5 and"):
        CosineAnnealingLR(optimizer, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a schedule of this class"):
        StepLR(optimizer, 3).load_state_dict(CosineAnnealingLR(optimizer, 3).state_dict())
    with pytest.raises(TypeError, match="no next_lr"):
        LRScheduler(optimizer).step()
    scheduler = StepLR(optimizer, 1)

    @tg.compile
    def step(x: Any) -> Any:
        scheduler.step()
        return x * 2

    with pytest.raises(TraceError, match=r"scheduler.step\(\) outside"):
        step(np.ones(2))
    assert scheduler.last_epoch == 0
