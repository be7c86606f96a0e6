"""Again: what a report shows and the store does not keep, because it can be computed again from a trial's settings.

The networks at their start follow from the seeds. So does a training, of which one seed is repeated here to record the
gradient of each neuron.
"""

from dataclasses import dataclass, replace
from itertools import chain, groupby, islice

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import Diagnosis, GradientRecorder, History, Ledger, LedgerHistory, MeanField
from tinygrad_vg.instruments.diagnose import diagnose
from tinygrad_vg.instruments.theory import mean_field_of
from tinygrad_vg.study.training import Training
from tinygrad_vg.study.trial import Trial

IMAGES = 500  # of the backward at the start
STEPS = 200_000  # that are trained again, at most: the chapter's trainings have 150,000, which take 20 seconds
FRAMES = 400  # that the microscope shows, at most


@dataclass(frozen=True, eq=False)
class Start:
    """The networks of a trial before their training, and one backward of training images.

    Attributes:
        net: the ensemble of all seeds.
        history: of this backward, (1, L, R).
        ledger: that has heard it.
        theory: what mean-field theory predicts; None where it does not cover the network.
        diagnosis: None for a network of one layer.
        steps: the number of steps in an epoch of the training.
    """

    net: nn.Module
    history: History
    ledger: Ledger
    theory: MeanField | None
    diagnosis: Diagnosis | None
    steps: int


def start_of(trial: Trial) -> Start:
    """The networks of a trial before their training. It needs the trial's data, and trains nothing."""
    training = Training(trial, trial.seeds)
    images, targets = training.images[:IMAGES], training.targets[:IMAGES]
    with GradientRecorder(training.net) as recorder, Ledger(training.net) as ledger, np.errstate(all="ignore"):
        training.cost(training.net(images), targets).backward()
    try:
        theory = mean_field_of(training.net, images)
    except (TypeError, ValueError):  # of an activation without a prediction
        theory = None
    diagnosis = diagnose(ledger) if len(trial.sizes) > 2 else None
    return Start(training.net, recorder.history, ledger, theory, diagnosis, training.steps)


def frames(trial: Trial) -> tuple[History, LedgerHistory]:
    """Train the first seed of a trial again, and record the gradient of each neuron about `FRAMES` times.

    The records are evenly spaced over the whole training, or over its first `STEPS` steps if it is longer. Results
    differ from those of the study by rounding: there, several seeds were trained at once, and every step was compiled.
    """
    training = Training(trial, trial.seeds[:1])
    steps = min(STEPS, training.steps * trial.epochs)
    every = -(-steps // FRAMES)
    batches = islice(chain.from_iterable(training.batches() for _ in range(trial.epochs)), steps)
    step, compiled = training.plain_step, tg.compile(training.plain_step)
    recorder, ledger = GradientRecorder(training.net, values=True), Ledger(training.net, every=1)
    with np.errstate(all="ignore"):
        while (rows := next(batches, None)) is not None:
            with recorder, ledger:
                step(training.images.take(rows, axis=0), training.targets.take(rows, axis=0))
            for _, alike in groupby(islice(batches, every - 1), len):  # the last batch of an epoch may be smaller
                compiled.over(np.stack([*alike]), training.images, training.targets)
    history, accounts = recorder.history, ledger.history
    return replace(history, steps=history.steps * every), replace(accounts, steps=accounts.steps * every)


def book_accuracies(trial: Trial) -> dict[int, float]:
    """The accuracies of the book's networks by their number of hidden layers, if the trial is trained as they were.

    They are those of Nielsen's chapter 5, "Why are deep neural networks hard to train?", one network each.
    """
    hidden = len(trial.sizes) - 2
    chapter = Trial((784, *[30] * hidden, 10), weight_decay=5.0, seeds=trial.seeds, order_seed=trial.order_seed,
                    every=trial.every, dtype=trial.dtype, members_at_once=trial.members_at_once)  # fmt: skip
    known = {1: 0.9648, 2: 0.9690, 3: 0.9657, 4: 0.9653}
    return {hidden: known[hidden]} if trial == chapter and hidden in known else {}
