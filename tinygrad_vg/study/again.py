"""Again: what a report shows and the store does not keep, because it can be computed again from a trial's settings.

The networks at their start follow from the seeds. So do the first steps of a training, whose gradients are recorded
here with those of each neuron, which would take more room in the store than everything else together.
"""

from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.instruments import Diagnosis, GradientRecorder, History, Ledger, LedgerHistory, MeanField
from tinygrad_vg.instruments.diagnose import diagnose
from tinygrad_vg.instruments.theory import mean_field_of
from tinygrad_vg.study.training import Training
from tinygrad_vg.study.trial import Trial

IMAGES = 500  # of the backward at the start
STEPS = 2000  # that are trained again, at most
ROWS = 400  # that the microscope shows, about


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


def first_steps(trial: Trial) -> tuple[History, LedgerHistory]:
    """Train the first seed of a trial again, for up to `STEPS` steps, and record the gradient of each neuron.

    Results differ from those of the study by rounding: there, several seeds were trained at once.
    """
    training = Training(trial, trial.seeds[:1])
    steps = min(STEPS, training.steps * trial.epochs)
    net, optimizer, cost = training.net, training.optimizer, training.cost
    every = max(1, -(-steps // ROWS))
    with (
        GradientRecorder(net, every, values=True) as recorder,
        Ledger(net, every=every) as ledger,
        np.errstate(all="ignore"),
    ):
        for rows in islice(chain.from_iterable(map(training.batches, range(trial.epochs))), steps):
            optimizer.zero_grad()
            cost(net(training.images[rows]), training.targets[rows]).backward()
            optimizer.step()
    return recorder.history, ledger.history


def book_accuracies(trial: Trial) -> dict[int, float]:
    """The accuracies of the book's networks by their number of hidden layers, if the trial is trained as they were.

    They are those of Nielsen's chapter 5, "Why are deep neural networks hard to train?", one network each.
    """
    hidden = len(trial.sizes) - 2
    chapter = Trial((784, *[30] * hidden, 10), weight_decay=5.0, seeds=trial.seeds, order_seed=trial.order_seed,
                    every=trial.every, dtype=trial.dtype, members_at_once=trial.members_at_once)  # fmt: skip
    known = {1: 0.9648, 2: 0.9690, 3: 0.9657, 4: 0.9653}
    return {hidden: known[hidden]} if trial == chapter and hidden in known else {}
