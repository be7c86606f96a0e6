"""How a part of a trial is trained: epoch by epoch, so that one that goes on from a checkpoint gives the same bits.

The first call of a compiled step runs the function itself, whose results differ from those of the compiled one by
rounding. So a training that goes on has to run the same steps compiled as one that was never interrupted: it repeats
the first steps before it takes the state of the checkpoint.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import datasets, nn, optim
from tinygrad_vg.compiler.compiled import Compiled
from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.recorder import GradientRecorder
from tinygrad_vg.study.state import State, after, shifted, versions
from tinygrad_vg.study.trial import COSTS, Trial

Report = Callable[[float, float | None, Callable[[], float | None]], None]
"""Called with the share of the training that is done, the last mean accuracy, and a function that returns how many
decades the gradient has gained on its way to the first layer at the last recorded step. It raises `StopError` to end
the training."""

COMPILED_FROM = 100  # steps of a training; of fewer a trace costs more than it saves
AT_ONCE = 1000  # validation images in one forward pass
IN_ONE_CALL = 0.1  # seconds of steps, after which the progress is reported


class StopError(Exception):
    """The study has been asked to end."""


def trained(trial: Trial, seeds: tuple[int, ...], state: State | None, report: Report) -> Iterator[State]:
    """Train a part of a trial, from the beginning or from a state; yield the state after each further epoch.

    Raises:
        ValueError: if the data do not fit the sizes of the trial.
        StopError: from `report`. What was trained since the last state is lost.
    """
    training = Training(trial, seeds)
    done, accuracy, cost, histories = 0, np.empty((0, len(seeds))), np.empty((0, len(seeds))), []
    used: tuple[dict[str, str | None], ...] = (versions(),)
    if state is not None:
        training.restore(state)
        done, accuracy, cost, histories = state.epochs, state.accuracy, state.cost, [state.history]
        used = state.versions if used[0] in state.versions else (*state.versions, *used)
    last: float | None = accuracy[-1].mean() if done else None
    for epoch in range(done, trial.epochs):
        histories = [after([*histories, training.epoch(epoch, last, report)])]
        scores = training.judged()
        accuracy, cost = np.concatenate([accuracy, scores[:1]]), np.concatenate([cost, scores[1:]])
        last = float(accuracy[-1].mean())
        weights, optimizer = training.net.state_dict(), training.optimizer.state_dict()
        yield State(accuracy, cost, histories[0], weights, optimizer, used)


class Training:
    """The networks of some seeds of a trial, their optimizer and their data; untrained at first."""

    def __init__(self, trial: Trial, seeds: tuple[int, ...]) -> None:
        self.trial, self.seeds = trial, seeds
        self.images, self.targets, _ = data_of(trial, "train")
        self.validation = data_of(trial, "validation")
        activation, dtype = getattr(nn, trial.activation), np.dtype(trial.dtype)
        init = None if trial.init is None else getattr(nn.init, f"{trial.init}_")
        self.net = nn.stack([nn.mlp(trial.sizes, activation, init=init, dtype=dtype, rng=seed) for seed in seeds])
        self.optimizer = self._optimizer()
        self.cost = getattr(nn, trial.cost)(COSTS[trial.cost])
        self.steps = -(-len(self.images) // trial.batch)
        self.plain_step = self._step()
        is_long = self.steps * trial.epochs >= COMPILED_FROM
        self.step = tg.compile(self.plain_step) if is_long else self.plain_step
        self._orders = np.random.default_rng(trial.order_seed)

    def _optimizer(self) -> Any:
        named = dict(self.net.named_parameters())
        decay = self.trial.weight_decay / len(self.images)
        weights = [p for name, p in named.items() if name.endswith("weight")]
        biases = [p for name, p in named.items() if name.endswith("bias")]
        groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
        options = {"momentum": self.trial.momentum} if self.trial.momentum else {}
        return getattr(optim, self.trial.optimizer)(groups, lr=self.trial.lr, **options)

    def _step(self) -> Callable[[Any, Any], None]:
        """A step of the optimizer, as a function of images and targets."""
        net, optimizer, cost = self.net, self.optimizer, self.cost

        def step(images: Any, targets: Any) -> None:
            optimizer.zero_grad()
            cost(net(images), targets).backward()
            optimizer.step()

        return step

    def restore(self, state: State) -> None:
        """Go on from a state; this training must be at its beginning.

        The steps that a training runs uncompiled, to compile them, are its first of each kind: with the optimizer's
        state and without it, with a whole batch and with a smaller last one. Those before the state are run here.
        """
        batches = self.batches()
        first = [batches[i] for i in sorted({0, 1, self.steps - 1}) if i < self.steps]
        for epoch in range(1, state.epochs):
            batches = self.batches()
            first += batches[:1] if epoch == 1 else []
        if self.step is not self.plain_step:
            with self._recorder(), np.errstate(all="ignore"):
                for rows in first:
                    self.step(self.images.take(rows, axis=0), self.targets.take(rows, axis=0))
        self.net.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)

    def batches(self) -> list[Any]:
        """The rows of each batch of the next epoch."""
        order, batch = self._orders.permutation(len(self.images)), self.trial.batch
        return [order[i * batch : (i + 1) * batch] for i in range(self.steps)]

    def _recorder(self) -> GradientRecorder:
        return GradientRecorder(self.net, self.trial.every, max_steps=None)

    def epoch(self, number: int, accuracy: float | None, report: Report) -> History:
        """Train for one epoch, and return the recorded gradients, whose steps count through all epochs."""
        whole = self.steps * self.trial.epochs
        # A gradient that explodes overflows: it is recorded, and no reason for warnings.
        with self._recorder() as recorder, np.errstate(all="ignore"):
            batches, done, length = self.batches(), 0, 1
            while done < self.steps:
                part, begin = same_size(batches[done : done + length]), perf_counter()
                self.run(part)
                done += len(part)
                report((number * self.steps + done) / whole, accuracy, lambda: recorder.scalars().get("total"))
                length = max(1, int(length * min(8.0, IN_ONE_CALL / max(1e-6, perf_counter() - begin))))
        return shifted(recorder.history, number * self.steps)

    def run(self, batches: list[Any]) -> None:
        """Run the step for some batches of the same size."""
        if isinstance(self.step, Compiled):
            self.step.over(np.stack(batches), self.images, self.targets)
            return
        for rows in batches:
            self.step(self.images.take(rows, axis=0), self.targets.take(rows, axis=0))

    def judged(self) -> Any:
        """(2, R): accuracy and mean cost of each member on the validation images."""
        images, targets, labels = self.validation
        cost = getattr(nn, self.trial.cost)("none")
        totals = np.zeros((2, len(self.seeds)))
        with tg.no_grad(), np.errstate(all="ignore"):
            for begin in range(0, len(images), AT_ONCE):
                part = slice(begin, begin + AT_ONCE)
                output = self.net(images[part])
                totals[0] += (np.argmax(output, axis=-1) == labels[part]).sum(axis=-1)
                values = np.asarray(cost(output, targets[part]).data, np.float64)
                totals[1] += values.reshape(len(self.seeds), -1).sum(axis=1)
        return totals / len(images)


def same_size(batches: list[Any]) -> list[Any]:
    """The first batches, as many as have the size of the first one: the last one of an epoch may be smaller.

    >>> [len(batch) for batch in same_size([np.arange(3), np.arange(3), np.arange(2)])]
    [3, 3]
    """
    return [batch for batch in batches if len(batch) == len(batches[0])]


def data_of(trial: Trial, split: str) -> tuple[Any, Any, Any]:
    """Images, targets and labels of a split. The targets are rows of 0 and 1, or the labels for CrossEntropyLoss.

    Raises:
        ValueError: if the data do not fit the sizes of the trial.
    """
    images, labels = _read(trial.data, split, trial.dtype)
    classes = int(labels.max()) + 1
    if trial.sizes[0] != images.shape[1] or trial.sizes[-1] < classes:
        raise ValueError(
            f"{trial.data} has {images.shape[1]} pixels and {classes} classes, and sizes is {trial.sizes}: write "
            f"({images.shape[1]}, ..., {classes})"
        )
    used = trial.images if split == "train" or trial.validation_images is None else trial.validation_images
    images, labels = images[:used], labels[:used]
    if trial.cost == "CrossEntropyLoss":
        return images, labels, labels
    return images, np.eye(trial.sizes[-1], dtype=trial.dtype)[labels], labels


@lru_cache(maxsize=4)
def _read(data: str, split: str, dtype: str) -> tuple[Any, Any]:
    return datasets.mnist(split, None if data == "mnist" else data, np.dtype(dtype))
