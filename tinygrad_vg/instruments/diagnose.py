"""Diagnose: the verdict on a recorder, a ledger, or a history of either."""

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.judging import judge_history, judge_ledger, judge_ledger_history
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.reading import Reading
from tinygrad_vg.instruments.telling import Recording
from tinygrad_vg.instruments.verdict import Diagnosis


def diagnose(source: History | LedgerHistory | Reading | Recording) -> Diagnosis:
    """Judge the gradients of a network or an ensemble: those of a ledger's last backward, or of a history.

    There is a forecast only for a network at its initialization: for a ledger whose network is untrained
    (`Ledger.at_start`), and for a history of one step, number 0. For a longer history the verdict describes the last 30
    recorded steps, without a forecast. `diagnose(recorder.history[0, :-1])` judges the start of training without the
    output layer. `diagnose(ledger.history)` also names the cause, which a recorder does not keep. If the gradient is 0
    or not finite, a ledger names the lowest layer that is to blame. A ledger's history keeps no z, and names the
    highest layer in which the gradient is 0 or not finite; with `neurons=True` it names the lowest layer whose neurons
    are all off.

    The verdicts on a recorder and on a ledger may differ: a ledger has the δ of all samples of the batch, a recorder
    has their mean, ∂C/∂b. If the δ of samples point in different directions, they cancel in the mean, most of all in
    the lowest layers.

    For a narrow, deep network whose activations have slope 0 below 0, a ledger also says how many random draws of this
    architecture are born dead (`Dying`, `born_dead`), even if this draw is alive.

    Whether an exploding gradient can be trained depends on the learning rate: the borders of `Diagnosis.severity` hold
    for the best rate.

    Raises:
        TypeError: if `source` has another type.
        ValueError: if there are fewer than two layers, the history has no steps, or the layers are not in a row.
        RuntimeError: if the ledger has heard no backward inside its `with` block.

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
    if isinstance(source, Reading):
        return judge_ledger(source)
    if isinstance(source, LedgerHistory):
        return judge_ledger_history(source)
    if isinstance(source, Recording):
        return judge_history(source.history, source.at_start)
    if isinstance(source, History):
        return judge_history(source, at_start=[*source.steps] == [0])
    raise TypeError(
        f"diagnose takes a History, a LedgerHistory, a GradientRecorder or a Ledger, not {type(source).__name__}"
    )
