"""The collector: keeps the accounts of every n-th backward for a `LedgerHistory`, in bounded memory."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import norm_accounts, rows_of, samples_of
from tinygrad_vg.instruments.ledger_history import LedgerHistory, steps_of
from tinygrad_vg.instruments.magnitude import array_of, decades_beside, log10_norms
from tinygrad_vg.instruments.neurons import flags_of
from tinygrad_vg.instruments.signals import Chain
from tinygrad_vg.instruments.spectra import alignment_of, top_of
from tinygrad_vg.nn import by_member

_CAUSES = ("", "no gradient", "underflow", "not finite", "not computed")  # kept as their numbers


class Collector:
    """Keeps a row of numbers for each backward number 0, every, 2·every ...

    All rows belong to one chain of units, that of the first row. A backward through another chain, or through layers
    that are not in a row, is left out. When there are more rows than `max_steps`, every second one is dropped and
    `every` doubles.

    Attributes:
        every: the present number of backwards from one row to the next.
        problem: while there is no row, the reason why a backward was left out; else None.
    """

    def __init__(self, every: int, neurons: bool, spectra: bool, max_steps: int | None) -> None:
        self.every = every
        self.problem: str | None = None
        self._neurons, self._spectra, self._max_steps = neurons, spectra, max_steps
        self._units: tuple[Any, ...] = ()  # of the chain: (name, label, whether it is weights)
        self._unit = "layer"
        self._parts: Any = ()
        self._columns: dict[str, Any] = {}  # arrays with more rows than there are numbers yet
        self._count = 0
        self._began_untrained = False

    def wants(self, step: int) -> bool:
        """Whether the backward number `step` is to be kept."""
        return step % self.every == 0

    def hear(self, step: int, chain: Chain, outputs: list[Any], is_trained: bool) -> None:
        """Keep the backward number `step`, if `wants(step)`; `outputs` are as in `flags_of`."""
        if not self.wants(step):
            return
        if not self._count:
            self.problem = chain.problem
        units = tuple((unit.name, unit.label, unit.is_weights) for unit in chain.units)
        if chain.problem or (self._count and units != self._units):
            return
        row = {"steps": step, "samples": samples_of(chain)} | self._measured(chain, outputs)
        if not self._count:
            self._units, self._began_untrained = units, step == 0 and not is_trained
            self._unit = chain.unit
            self._parts = tuple(
                tuple(replace(part, decades=np.nan) for part in each.parts) for each in rows_of(norm_accounts(chain))
            )
            self._columns = {name: np.empty((16, *np.shape(value)), np.asarray(value).dtype)
                             for name, value in row.items()}  # fmt: skip
        elif row.keys() != self._columns.keys():
            return  # another activation at the end of the model
        self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        if self._count == len(self._columns["steps"]):
            self._columns = {name: np.concatenate([array, np.empty_like(array)])
                             for name, array in self._columns.items()}  # fmt: skip
        for name, value in row.items():
            self._columns[name][self._count] = value
        self._count += 1
        if self._max_steps is not None and self._count > self._max_steps:
            steps = self._columns["steps"][: self._count]
            while np.count_nonzero(steps % self.every == 0) > self._max_steps:
                self.every *= 2
            kept = np.flatnonzero(steps % self.every == 0)
            for array in self._columns.values():
                array[: len(kept)] = array[kept]
            self._count = len(kept)

    def _measured(self, chain: Chain, outputs: list[Any]) -> dict[str, Any]:
        norms = np.array([_norm(unit.gradient, chain.members, unit.channels_first) for unit in chain.units])
        row: dict[str, Any] = {"norms": norms, "causes": self._causes(chain, norms)}
        if self._spectra:
            row |= _spectra(chain)
        if self._neurons:
            row |= flags_of(chain, outputs)
        return row

    def _causes(self, chain: Chain, norms: Any) -> Any:
        if np.isfinite(norms).all():
            return np.zeros((len(chain.layers) - 1, *chain.members), np.uint8)
        causes = [[_CAUSES.index(cause or "") for cause in row.causes] for row in rows_of(norm_accounts(chain))]
        return np.array(causes, np.uint8).reshape(-1, *chain.members)

    def history(self) -> LedgerHistory:
        """The rows so far, as copies.

        Raises:
            ValueError: if there are none because the layers are not in a row.
        """
        if self.problem:
            raise ValueError(self.problem)
        kept = {name: array[: self._count].copy() for name, array in self._columns.items()}
        names = tuple(name for name, _, _ in self._units if name is not None)
        layers = tuple(range(1, len(names) + 1))
        ends = [i for i, (name, _, _) in enumerate(self._units) if name is not None]
        weights = [is_weights for _, _, is_weights in self._units]
        columns: dict[str, Any] = dict.fromkeys(_EMPTY, np.empty((0, 0)))
        if kept:
            columns = steps_of(kept["norms"], kept["samples"], ends, weights)
        if self._neurons:
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


_EMPTY = ("log10_norm", "weights", "activation", "total")


def _norm(gradient: Any, members: tuple[int, ...], channels_first: bool) -> Any:
    if gradient is None:
        return np.full(members, np.nan)
    return log10_norms(by_member(array_of(gradient), members, channels_first)) + decades_beside(gradient)


def _spectra(chain: Chain) -> dict[str, Any]:
    """Stable ranks (L,) and alignments (L−1,), NaN for a layer that computes its weights, and for convolutions."""
    nothing = np.full((*chain.members, 1, 1), np.nan)
    weights = [nothing if (weight := layer.matrix) is None else weight for layer in chain.layers]
    tops = [top_of(weight) for weight in weights]
    pairs = [alignment_of(lower, upper) for lower, upper in pairwise(tops)]
    return {
        "stable_rank": np.array([rank for rank, _, _ in tops]),
        "alignment": np.array(pairs).reshape(-1, *chain.members),
    }
