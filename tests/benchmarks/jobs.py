"""What every side trains: the start, the data, and the batches in their order, the same for all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np

import tinygrad_vg as tg

CHECKED_STEPS = 20
# The sides add in different orders: after 20 steps of float32 they were found up to 4e-7 and 5e-6 apart, a side
# that forgets the weight decay 6e-4 and more.
LOSS_TOLERANCE = 1e-5  # relative
PARAMETER_TOLERANCE = 2e-5  # absolute


class DisagreementError(Exception):
    """Two sides that should train the same network do not."""


class UnavailableError(Exception):
    """A side is installed, but something that it needs is not there; the message says what."""


@dataclass(frozen=True)
class Job:
    """A network of Linear and Sigmoid layers to train by SGD on sigmoid outputs' cross-entropy.

    `start` has (weight, bias) of each layer: (out, in) and (out,), of an ensemble (R, out, in) and (R, out). An
    ensemble's loss is the sum over its members, which all see the same batch. Weights and biases both decay.
    """

    start: list[tuple[np.ndarray, np.ndarray]]
    images: np.ndarray
    targets: np.ndarray
    batches: np.ndarray
    lr: float
    weight_decay: float = 1e-4

    @property
    def batch(self) -> int:
        return self.batches.shape[1]

    @property
    def members(self) -> int | None:
        """How many networks an ensemble has; None for a network that is no ensemble."""
        weight = self.start[0][0]
        return len(weight) if weight.ndim == 3 else None

    def member(self, i: int) -> "Job":
        """The job of one member alone."""
        return replace(self, start=[(weight[i], bias[i]) for weight, bias in self.start])


def draw_job(
    data: tuple[np.ndarray, np.ndarray], sizes: list[int], batch: int, lr: float, members: int | None = None
) -> Job:
    """A job with Nielsen's start, weights N(0, 1/in) and biases N(0, 1), and random batches of (images, targets)."""
    rng = np.random.default_rng(0)
    lead = () if members is None else (members,)
    start = [
        (
            (rng.normal(size=(*lead, n_out, n_in)) / np.sqrt(n_in)).astype(np.float32),
            rng.normal(size=(*lead, n_out)).astype(np.float32),
        )
        for n_in, n_out in pairwise(sizes)
    ]
    images, targets = data
    return Job(start, images, targets, rng.integers(len(images), size=(1000, batch)), lr)


@cache
def mnist() -> tuple[np.ndarray, np.ndarray]:
    """MNIST's training images, and its labels as rows that mark the class."""
    images, labels = tg.datasets.mnist("train")
    return images, np.eye(10, dtype=np.float32)[labels]


class Training(NamedTuple):
    """A job as one side does it.

    `step(batch)` trains on one batch, given as the side likes its indices best, and returns the loss before the step,
    something with `.item()`. `batches` never ends. `parameters()` has the arrays in the job's order and layout.
    `around` is entered for a stretch of steps: a library's global switch stands so for this side and no other, and is
    turned once, not in every step.
    """

    step: Callable[[Any], Any]
    batches: Iterator[Any]
    parameters: Callable[[], list[np.ndarray]]
    around: AbstractContextManager = nullcontext()

    def run(self, steps: int) -> float:
        """Train; return the last loss. To fetch it waits for what a side has only begun, as JAX does."""
        with self.around:
            for batch in islice(self.batches, steps):
                loss = self.step(batch)
        return loss.item()

    def losses(self, steps: int) -> np.ndarray:
        """Train; return the loss of each step."""
        return np.array([self.run(1) for _ in range(steps)])


@dataclass
class ManyAtOnce:
    """A job as a side does it that trains many steps in one call.

    `many(rows)` trains on one batch for each row of indices and returns the losses of all steps. `batches` are the rows
    of the whole job, which begin anew at their end. `parameters()` as in a Training.
    """

    many: Callable[[np.ndarray], Any]
    batches: np.ndarray
    parameters: Callable[[], list[np.ndarray]]
    done: int = 0

    def run(self, steps: int) -> float:
        """Train by one call; return the last loss."""
        return self.losses(steps)[-1].item()

    def losses(self, steps: int) -> np.ndarray:
        """Train by one call; return the loss of each step."""
        rows = self.batches.take(range(self.done, self.done + steps), axis=0, mode="wrap")
        self.done += steps
        return np.asarray(self.many(rows))


Side = Training | ManyAtOnce


def check(trainings: dict[str, Side]) -> None:
    """Train all sides from their start and compare each with the first: losses and then parameters.

    Raises:
        DisagreementError: with the two sides and how far they are from each other.
    """
    losses = {name: side.losses(CHECKED_STEPS) for name, side in trainings.items()}
    parameters = {name: side.parameters() for name, side in trainings.items()}
    first, *others = trainings
    for name in others:
        agree = np.abs(losses[name] - losses[first]) <= LOSS_TOLERANCE * np.abs(losses[first])
        if not np.all(agree):
            step = np.argmin(agree)
            raise DisagreementError(
                f"{name} and {first} train differently: after {step} steps the losses are {losses[name][step]:.7g} and "
                f"{losses[first][step]:.7g}; they may differ by {LOSS_TOLERANCE:.0e} of it"
            )
        check_parameters(name, parameters[name], first, parameters[first])


def check_parameters(name: str, its: list[np.ndarray], first: str, expected: list[np.ndarray]) -> None:
    """Compare the parameters of two sides: values and dtype.

    Raises:
        DisagreementError: if they differ.
    """
    for i, (own, other) in enumerate(zip(its, expected, strict=True)):
        if own.dtype != other.dtype:
            raise DisagreementError(f"{name} computes in {own.dtype}, {first} in {other.dtype}")
        if not (own.shape == other.shape and np.allclose(own, other, rtol=0, atol=PARAMETER_TOLERANCE)):
            raise DisagreementError(f"{name} and {first} have different parameters {i} after {CHECKED_STEPS} steps")
