"""The collector: keeps the accounts of every n-th backward for a `LedgerHistory`, in bounded memory."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import norm_accounts, samples_of
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.ledger_rows import LedgerRows, causes_of
from tinygrad_vg.instruments.magnitude import array_of, decades_beside, log10_norm
from tinygrad_vg.instruments.neurons import flags_of
from tinygrad_vg.instruments.signals import Chain
from tinygrad_vg.instruments.spectra import alignment_of, top_of
from tinygrad_vg.nn import by_member


class Collector:
    """Keeps the rows of a ledger's backwards (`LedgerRows`). A backward whose layers are not in a row is left out.

    Attributes:
        problem: while there is no row, the reason why a backward was left out; else None.
    """

    def __init__(self, every: int, neurons: bool, spectra: bool, max_steps: int | None) -> None:
        self.problem: str | None = None
        self._rows = LedgerRows(every, max_steps)
        self._neurons, self._spectra = neurons, spectra

    @property
    def every(self) -> int:
        """The present number of backwards from one row to the next."""
        return self._rows.every

    def wants(self, step: int) -> bool:
        """Whether the backward number `step` is to be kept."""
        return self._rows.wants(step)

    def hear(self, step: int, chain: Chain, outputs: list[Any], is_trained: bool) -> None:
        """Keep the backward number `step`, if `wants(step)`; `outputs` are as in `flags_of`."""
        if not self.wants(step):
            return
        if not self._rows.count:
            self.problem = chain.problem
        units = tuple((unit.name, unit.label, unit.is_weights) for unit in chain.units)
        if chain.problem or not self._rows.is_like(units):
            return
        row = {"steps": step, "samples": samples_of(chain)} | self._measured(chain, outputs)
        self._rows.keep(row, units, partial(norm_accounts, chain), not is_trained)

    def history(self) -> LedgerHistory:
        """The rows so far, as copies.

        Raises:
            ValueError: if there are none because the layers are not in a row.
        """
        if self.problem:
            raise ValueError(self.problem)
        return self._rows.history(self._neurons)

    def _measured(self, chain: Chain, outputs: list[Any]) -> dict[str, Any]:
        norms = np.array([_norm(unit.gradient, chain.members, unit.channels_first) for unit in chain.units])
        row: dict[str, Any] = {"norms": norms, "causes": _causes(chain, norms)}
        if self._spectra:
            row |= _spectra(chain)
        if self._neurons:
            row |= flags_of(chain, outputs)
        return row


def _causes(chain: Chain, norms: Any) -> Any:
    if np.isfinite(norms).all():
        return np.zeros((len(chain.layers) - 1, *chain.members), np.uint8)
    return causes_of(norm_accounts(chain))


def _norm(gradient: Any, members: tuple[int, ...], channels_first: bool) -> Any:
    if gradient is None:
        return np.full(members, np.nan)
    return log10_norm(by_member(array_of(gradient), members, channels_first), axis=-1) + decades_beside(gradient)


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
