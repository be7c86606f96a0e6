"""Learning rates that change while a network trains, by a schedule."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from tinygrad_vg.engine.recording import recording
from tinygrad_vg.optim.optimizer import Optimizer, plain

__all__ = ["CosineAnnealingLR", "LRScheduler", "StepLR"]


class LRScheduler:
    """Base of the schedules. A subclass defines `next_lr`.

    Call `step()` after the optimizer's steps of an epoch, or after each of them; it sets the `lr` of each group. As in
    PyTorch the new rate is computed from the present one, so other changes of the rate are kept, and two schedules of
    one optimizer multiply. Call `step()` outside of a compiled step.

    Attributes:
        optimizer: the optimizer whose rates are set.
        base_lrs: the rate of each group when the schedule was made.
        last_epoch: the number of calls of `step`.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        TraceError: if `step` is called in a compiled step.

    >>> from tinygrad_vg import nn, optim
    >>> class Halved(optim.lr_scheduler.LRScheduler):
    ...     def next_lr(self, lr, base):
    ...         return lr / 2
    >>> scheduler = Halved(optim.SGD([nn.Parameter(1.0)], lr=0.5))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule takes an Optimizer, not {optimizer!r}")
        self.optimizer = optimizer
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.last_epoch = 0

    def next_lr(self, lr: float, base: float) -> float:
        """The rate for epoch `last_epoch`.

        Args:
            lr: the rate in the epoch before.
            base: the rate when the schedule was made.
        """
        raise TypeError(f"{type(self).__name__} has no next_lr(): define the rate of an epoch")

    def step(self) -> None:
        """Go on to the next epoch, and set the rates."""
        if recording.trace is not None:
            recording.trace.refuse("the step of a schedule", "call scheduler.step() outside, after the compiled step")
        self.last_epoch += 1
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.next_lr(float(group["lr"]), base)

    def get_last_lr(self) -> list[float]:
        """The present rate of each group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer. The optimizer's own state has the present rates.

        >>> from tinygrad_vg import nn, optim
        >>> optim.lr_scheduler.StepLR(optim.SGD([nn.Parameter(1.0)], lr=0.1), step_size=30).state_dict()
        {'base_lrs': [0.1], 'last_epoch': 0, 'step_size': 30, 'gamma': 0.1}
        """
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set the attributes to those of a `state_dict()` of a schedule of the same class.

        The rates themselves come with the optimizer's state. Numbers may be arrays, as `tg.load` returns them.

        Raises:
            ValueError: if names, or the number of groups, differ from those here.

        >>> from tinygrad_vg import nn, optim
        >>> scheduler = optim.lr_scheduler.StepLR(optim.SGD([nn.Parameter(1.0)], lr=0.1), step_size=30)
        >>> scheduler.load_state_dict(scheduler.state_dict() | {"last_epoch": 7})
        >>> scheduler.last_epoch
        7
        """
        own, given = self.state_dict(), {name: plain(value) for name, value in state_dict.items()}
        if given.keys() != own.keys() or len(given["base_lrs"]) != len(self.base_lrs):
            raise ValueError(f"the state has {given}, a schedule of this class and optimizer {own}")
        vars(self).update(given, base_lrs=[*given["base_lrs"]])


class StepLR(LRScheduler):
    """Multiply the rate by gamma every `step_size` epochs.

    Args:
        optimizer: the optimizer whose rates are set.
        step_size: a number of epochs, 1 or more.
        gamma: the factor.

    Raises:
        ValueError: if `step_size` is not a whole number of 1 or more, or gamma is negative.

    >>> from tinygrad_vg import nn, optim
    >>> scheduler = optim.lr_scheduler.StepLR(optim.SGD([nn.Parameter(1.0)], lr=0.5), step_size=2, gamma=0.5)
    >>> for epoch in range(4):
    ...     print(*scheduler.get_last_lr())  # the steps of this epoch, then:
    ...     scheduler.step()
    0.5
    0.5
    0.25
    0.25
    """

    step_size: int
    gamma: float

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        if not isinstance(step_size, Integral) or step_size < 1 or not (isinstance(gamma, Real) and gamma >= 0):
            raise ValueError(f"step_size counts epochs, 1 or more, and gamma is ≥ 0, not {step_size!r} and {gamma!r}")
        self.step_size = int(step_size)
        self.gamma = float(gamma)

    def next_lr(self, lr: float, base: float) -> float:
        """The rate for epoch `last_epoch`."""
        return lr * self.gamma if self.last_epoch % self.step_size == 0 else lr


class CosineAnnealingLR(LRScheduler):
    """Lower the rate to eta_min along half a cosine, in T_max epochs (Loshchilov & Hutter 2017).

    The rate in epoch e is eta_min + (lr − eta_min)(1 + cos(π e/T_max))/2, where lr is the rate at the beginning. After
    T_max epochs it rises again.

    Args:
        optimizer: the optimizer whose rates are set.
        T_max: a number of epochs, 1 or more.
        eta_min: the smallest rate.

    Raises:
        ValueError: if `T_max` is not a whole number of 1 or more, or eta_min is negative.

    >>> from tinygrad_vg import nn, optim
    >>> scheduler = optim.lr_scheduler.CosineAnnealingLR(optim.SGD([nn.Parameter(1.0)], lr=0.5), T_max=4)
    >>> for epoch in range(5):
    ...     print(round(*scheduler.get_last_lr(), 3))
    ...     scheduler.step()
    0.5
    0.427
    0.25
    0.073
    0.0
    """

    T_max: int
    eta_min: float

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:  # noqa: N803 - PyTorch's name
        super().__init__(optimizer)
        if not isinstance(T_max, Integral) or T_max < 1 or not (isinstance(eta_min, Real) and eta_min >= 0):
            raise ValueError(f"T_max counts epochs, 1 or more, and eta_min is ≥ 0, not {T_max!r} and {eta_min!r}")
        self.T_max = int(T_max)
        self.eta_min = float(eta_min)

    def next_lr(self, lr: float, base: float) -> float:
        """The rate for epoch `last_epoch`."""
        e, n = self.last_epoch, self.T_max
        if (e - 1 - n) % (2 * n) == 0:  # the rate was eta_min, and a factor of it would keep it there
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / n)) / 2
        factor = (1 + math.cos(math.pi * e / n)) / (1 + math.cos(math.pi * (e - 1) / n))
        return factor * (lr - self.eta_min) + self.eta_min
