"""Ledger rows: the accounts of many backwards, kept in bounded memory and made into a `LedgerHistory`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Account, rows_of
from tinygrad_vg.instruments.ledger_history import LedgerHistory, steps_of

_CAUSES = ("", "no gradient", "underflow", "not finite", "not computed")  # kept as their numbers
_EMPTY = ("log10_norm", "weights", "activation", "total")


class LedgerRows:
    """Keeps a row of numbers for each backward number 0, every, 2·every ...

    All rows belong to one chain of units, that of the first row; others are left out. When there are more rows than
    `max_steps`, every second one is dropped and `every` doubles.

    Attributes:
        every: the present number of backwards from one row to the next.
        count: the number of rows.

    >>> norms = (-2.0, -1.0)
    >>> one, two = (Account("Linear", name, False, "", np.nan, True, x, -38.0) for name, x in zip("02", norms))
    >>> rows = LedgerRows(every=1, max_steps=None)
    >>> row = {"steps": 0, "samples": 5.0, "norms": np.array(norms), "causes": causes_of([one, two])}
    >>> rows.keep(row, (("0", "Linear", True), ("2", "Linear", True)), lambda: [one, two], is_untrained=True)
    >>> rows.wants(1), rows.count, rows.history(neurons=False).total
    (True, 1, array([[-1.]]))
    """

    def __init__(self, every: int, max_steps: int | None) -> None:
        self.every = every
        self.count = 0
        self._max_steps = max_steps
        self._units: tuple[Any, ...] = ()  # of the chain: (name, label, whether it is weights)
        self._unit = "layer"
        self._parts: Any = ()
        self._columns: dict[str, Any] = {}  # arrays with more rows than there are numbers yet
        self._began_untrained = False

    def wants(self, step: int) -> bool:
        """Whether the backward number `step` is to be kept; `LedgerRows` has an example."""
        return step % self.every == 0

    def is_like(self, units: tuple[Any, ...]) -> bool:
        """Whether a row of these units, (name, label, is_weights) each, can be kept.

        >>> LedgerRows(every=1, max_steps=None).is_like((("0", "Linear", True),))
        True
        """
        return not self.count or units == self._units

    def keep(
        self, row: dict[str, Any], units: tuple[Any, ...], accounts: Callable[[], Sequence[Account]], is_untrained: bool
    ) -> None:
        """Keep a row.

        Args:
            row: "steps", "samples", "norms" and "causes", and what else a LedgerHistory has of a backward.
            units: of this backward, as in `is_like`.
            accounts: makes the accounts of this backward, which are needed in the first row, for labels and parts.
            is_untrained: whether the network was untrained in this backward.

        `LedgerRows` has an example.
        """
        if not self.is_like(units):
            return
        if not self.count:
            self._units, self._began_untrained = units, row["steps"] == 0 and is_untrained
            first = accounts()
            self._unit = first[0].unit
            self._parts = tuple(tuple(replace(part, decades=np.nan) for part in each.parts) for each in rows_of(first))
            self._columns = {name: np.empty((16, *np.shape(value)), np.asarray(value).dtype)
                             for name, value in row.items()}  # fmt: skip
        elif row.keys() != self._columns.keys():
            return  # another activation at the end of the model
        self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        if self.count == len(self._columns["steps"]):
            self._columns = {name: np.concatenate([array, np.empty_like(array)])
                             for name, array in self._columns.items()}  # fmt: skip
        for name, value in row.items():
            self._columns[name][self.count] = value
        self.count += 1
        if self._max_steps is not None and self.count > self._max_steps:
            steps = self._columns["steps"][: self.count]
            while np.count_nonzero(steps % self.every == 0) > self._max_steps:
                self.every *= 2
            kept = np.flatnonzero(steps % self.every == 0)
            for array in self._columns.values():
                array[: len(kept)] = array[kept]
            self.count = len(kept)

    def history(self, neurons: bool) -> LedgerHistory:
        """The rows so far, as copies; `neurons` is whether the flags of neurons were recorded.

        `LedgerRows` has an example.
        """
        kept = {name: array[: self.count].copy() for name, array in self._columns.items()}
        names = tuple(name for name, _, _ in self._units if name is not None)
        layers = tuple(range(1, len(names) + 1))
        ends = [i for i, (name, _, _) in enumerate(self._units) if name is not None]
        weights = [is_weights for _, _, is_weights in self._units]
        columns: dict[str, Any] = dict.fromkeys(_EMPTY, np.empty((0, 0)))
        if kept:
            columns = steps_of(kept["norms"], kept["samples"], ends, weights)
        if neurons:
            for kind in ("off", "saturated"):
                columns[kind] = tuple(kept.get(f"{kind}_{layer}") for layer in layers)
        return LedgerHistory(
            steps=kept.get("steps", np.empty(0, int)),
            layers=layers,
            names=names,
            cause=np.array(_CAUSES)[kept.get("causes", np.empty((0, 0), np.uint8))],
            parts=self._parts,
            stable_rank=kept.get("stable_rank"),
            alignment=kept.get("alignment"),
            began_untrained=self._began_untrained,
            unit=self._unit,
            **columns,
        )


def causes_of(accounts: Sequence[Account]) -> Any:
    """The cause of each step, as its number: (L−1,), or (L−1, R) for an ensemble.

    >>> causes_of([Account("Linear", "0", False, "", np.nan, True, -2.0, -38.0)])
    array([], dtype=uint8)
    """
    causes = [[_CAUSES.index(cause or "") for cause in row.causes] for row in rows_of(accounts)]
    return np.array(causes, np.uint8).reshape(-1, *np.shape(accounts[0].log10_over_batch))


def check_rows(every: Any, asks_for_more: bool, max_steps: Any) -> None:
    """Check the arguments of a ledger that say how many rows are kept, and whether they hold more than norms.

    Raises:
        ValueError: if one is out of its range.

    >>> check_rows(None, True, None)
    Traceback (most recent call last):
    ValueError: neurons and spectra are kept in the history: give every=1, or a larger number
    """
    if every is None and asks_for_more:
        raise ValueError("neurons and spectra are kept in the history: give every=1, or a larger number")
    if every is not None and (not isinstance(every, int) or every < 1):
        raise ValueError(f"every counts backwards, 1 or more, or is None, not {every!r}")
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
        raise ValueError(f"max_steps counts backwards, 1 or more, or is None, not {max_steps!r}")
