"""Diagnose: the verdict on whatever has looked at a network."""

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.judging import judge_history, judge_ledger, judge_ledger_history
from tinygrad_vg.instruments.ledger import Ledger
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.recorder import GradientRecorder
from tinygrad_vg.instruments.verdict import Diagnosis


def diagnose(source: History | LedgerHistory | Ledger | GradientRecorder) -> Diagnosis:
    """Judge the last backward in a ledger, or what a ledger or a recorder has kept, of one network or of an ensemble.

    A forecast is made of a network at its initialization only: of a ledger whose network was not trained yet
    (`Ledger.at_start`), and of a history of one step, number 0. Of a longer history the last 30 recorded steps are
    judged, and the verdict says what is. `diagnose(recorder.history[0, :-1])` is the start of training without the
    output layer, `diagnose(ledger.history)` the last 30 steps with their cause; a recorder keeps no causes. Where no
    gradient arrives, or one that is not finite, a ledger names the lowest layer that is to blame. Its history keeps no
    z: it names the highest layer, where the gradient comes to nothing or breaks; with `neurons=True` the lowest one
    whose neurons are all off.

    Recorder and ledger may differ: a ledger has the δ of all samples of the batch, a recorder their mean, ∂C/∂b. Where
    the samples' δ point in different directions they cancel in the mean, most in the lowest layers.

    Of a narrow, deep network whose activations have the slope 0 below 0, a ledger also tells how many fresh draws are
    born dead (`Dying`, `born_dead`): a draw that is alive says nothing of the others.

    Where gradients explode, how much is too much depends on the learning rate: the borders of `Diagnosis.severity` are
    those of the best one.

    Raises:
        TypeError: for anything else.
        ValueError: with less than two layers, a history without steps, or layers that do not stand in a row.
        RuntimeError: for a ledger that has heard no backward.

    >>> import numpy as np, tinygrad_vg as tg
    >>> from tinygrad_vg.instruments import Ledger, diagnose
    >>> rng = np.random.default_rng(0)
    >>> net = tg.nn.mlp([30] * 9, rng=rng)
    >>> with Ledger(net) as ledger:
    ...     np.sum(net(rng.normal(size=(50, 30)))).backward()
    >>> diagnosis = diagnose(ledger)
    >>> diagnosis.state, diagnosis.severity, diagnosis.cause
    ('vanishing', 'severe', 'activation')
    """
    if isinstance(source, Ledger):
        return judge_ledger(source)
    if isinstance(source, LedgerHistory):
        return judge_ledger_history(source)
    if isinstance(source, GradientRecorder):
        return judge_history(source.history, source.at_start)
    if isinstance(source, History):
        return judge_history(source, at_start=[*source.steps] == [0])
    raise TypeError(
        f"diagnose takes a History, a LedgerHistory, a GradientRecorder or a Ledger, not {type(source).__name__}"
    )
