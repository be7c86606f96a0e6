"""Telling: what a recorder tells during a training: numbers for a tracker, and a verdict when it changes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.judging import judge_history
from tinygrad_vg.instruments.verdict import Diagnosis
from tinygrad_vg.notation import median


class Recording:
    """What a recorder has recorded, whoever heard it. A subclass listens, and gives `history`, `every` and `at_start`.

    >>> import tinygrad_vg as tg
    >>> recording: Recording = tg.instruments.GradientRecorder(tg.nn.Linear(3, 2, rng=0))
    >>> recording.history.steps, recording.at_start, recording.scalars()
    (array([], dtype=int64), False, {})
    >>> recording
    <GradientRecorder of 1 layer, every=1: 0 rows recorded>
    """

    def __repr__(self) -> str:
        rows, layers, *members = self.history.log10_norm.shape
        networks = "".join(f" of {n} networks" for n in members)
        parts = f"{layers} layer{'s' * (layers > 1)}{networks}, every={self.every}"
        return f"<{type(self).__name__} of {parts}: {rows:,} row{'s' * (rows != 1)} recorded>"

    @property
    def every(self) -> int:
        """The present number of backwards from one row to the next."""
        raise NotImplementedError

    @property
    def history(self) -> History:
        """The history of all that has been recorded."""
        raise NotImplementedError

    @property
    def at_start(self) -> bool:
        """Whether the first backward of an untrained network has been recorded, and no other."""
        raise NotImplementedError

    def scalars(self) -> dict[str, float]:
        """The last recorded step as named numbers, for a tracker of experiments; medians for an ensemble.

        Returns:
            "grad/1", "grad/2", ...: log10‖∂C/∂b‖ of each layer; with two layers or more also "total", "rate" and
            "span", as in a `Diagnosis`; with `statistics=True` "update/1", "saturation/1" and "coherence/1" ..., the
            last that are known: the update of a backward is known when the next one begins. Empty before the first
            step.

        >>> import tinygrad_vg as tg
        >>> net = tg.nn.mlp([3, 4, 1], rng=0)
        >>> with tg.instruments.GradientRecorder(net) as recorder:
        ...     np.sum(net(np.ones((5, 3)))).backward()
        >>> sorted(recorder.scalars())
        ['grad/1', 'grad/2', 'rate', 'span', 'total']
        """
        return scalars_of(self.history)


def scalars_of(history: History) -> dict[str, float]:
    """The last step of a history as named numbers, as `GradientRecorder.scalars` returns them.

    >>> scalars_of(History(np.arange(1), (1, 2), ("0", "2"), np.array([[-2.0, -1.0]])))
    {'grad/1': -2.0, 'grad/2': -1.0, 'rate': -1.0, 'span': 1.0, 'total': -1.0}
    """
    last = history[-1:]
    if not len(last.steps):
        return {}
    numbers = {f"grad/{layer}": median(last.log10_norm[0, i]) for i, layer in enumerate(last.layers)}
    if len(last.layers) > 1:
        diagnosis = judge_history(last, at_start=False)
        numbers |= {name: getattr(diagnosis, name) for name in ("rate", "span", "total")}
    columns = {"update": history.log10_update, "saturation": history.saturation, "coherence": history.coherence}
    for name, column in columns.items():
        if column is not None:
            numbers |= {f"{name}/{layer}": _last_known(column[:, i]) for i, layer in enumerate(history.layers)}
    return numbers


def _last_known(column: Any) -> float:
    """The last number of a column (S,) or (S, R) that is known; NaN if none is."""
    known = np.flatnonzero(~np.isnan(column.reshape(len(column), -1)).all(axis=1))
    return median(column[known[-1]]) if len(known) else np.nan


class Teller:
    """Calls a function with the verdict on a history at first, and whenever its state or severity changes.

    >>> teller = Teller(lambda diagnosis: print(diagnosis.state))
    >>> for step in range(3):
    ...     teller.tell(History(np.arange(1), (1, 2), ("0", "2"), np.array([[-step - 0.5, 0.0]])), at_start=True)
    stable
    vanishing
    vanishing
    """

    def __init__(self, on_verdict: Callable[[Diagnosis], object]) -> None:
        self._on_verdict = on_verdict
        self._told: tuple[str, str | None] | None = None  # state and severity that were told last

    def tell(self, history: History, at_start: bool) -> None:
        """Judge a history, and tell the verdict if it has changed; `Teller` has an example."""
        diagnosis = judge_history(history, at_start)
        if self._told != (verdict := (diagnosis.state, diagnosis.severity)):
            self._told = verdict
            self._on_verdict(diagnosis)
