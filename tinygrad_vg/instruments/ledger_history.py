"""The history of a ledger: the accounts of many backwards."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Part, Row, beside_weights, taken, weights_at
from tinygrad_vg.instruments.neurons import lasting
from tinygrad_vg.notation import median

WINDOW = 30  # recorded steps
_BY_LAYER = ("off", "saturated")
_UNCHANGED = ("layers", "names", "parts", "began_untrained", "unit")


@dataclass(frozen=True, eq=False)
class LedgerHistory:
    """The accounts that a ledger has kept while a network trained: of S backwards, L layers and R members.

    Arrays are (S, L), or (S, L−1) for the steps of the gradient, with a last axis of R for an ensemble. Position i of
    the second axis is layer i+1, or the step to it. Decades are log10; in each backward the totals add up to
    log10‖δ^1‖ − log10‖δ^L‖.

    Attributes:
        steps: (S,) the number of each recorded backward, counted from 0.
        layers: the numbers of the layers, 1 ... L.
        names: their names in the model.
        log10_norm: (S, L) log10‖δ^l‖ per sample, as in a `Row`.
        weights, activation, total: (S, L−1) as in a `Row`: the change of the gradient's norm in the step to layer l, by
            the weights of layer l+1, by all that lies between the two layers, and by both; negative if it shrinks.
        cause: (S, L−1) as in a `Row`, with "" for an ordinary step.
        parts: for each step the modules between the layers, as in a `Row`, without numbers.
        stable_rank: with `spectra=True`: (S, L), see `stable_rank`.
        alignment: with `spectra=True`: (S, L−1) the alignment of W^l with W^{l+1}, see `singular_alignment`.
        off, saturated: with `neurons=True`: for each layer an array (S, n), or (S, R, n), of bools: which neurons had
            the slope 0, or a slope below 6 % of the largest, at all samples of the batch. The neurons of layer l are
            the outputs of the first activation after it; None for a layer without one.
        began_untrained: whether the first backward was of an untrained network.
        unit: "layer", or "time step", as in a `Row`.

    `history[-30:]` is the history of the last 30 rows; an integer keeps its axis. All numbers are NumPy arrays:
    `history.weights[:, 0]` is the part of the weights in the step to layer 1, over time.

    >>> import numpy as np, tinygrad_vg as tg
    >>> from tinygrad_vg.instruments import Ledger
    >>> net = tg.nn.mlp([3, 4, 4, 1], rng=0)
    >>> with Ledger(net, every=2) as ledger:
    ...     for _ in range(5):
    ...         np.sum(net(np.ones((5, 3)))).backward()
    >>> history = ledger.history
    >>> history.steps, history.total.shape, history.at_start
    (array([0, 2, 4]), (3, 2), False)
    >>> [(row.layer, row.total.shape) for row in history.rows()]
    [(1, (3,)), (2, (3,))]
    >>> [*history.scalars()][:4]
    ['delta/1', 'delta/2', 'delta/3', 'weights/1']
    """

    steps: Any
    layers: tuple[int, ...]
    names: tuple[str, ...]
    log10_norm: Any
    weights: Any
    activation: Any
    total: Any
    cause: Any
    parts: tuple[tuple[Part, ...], ...]
    stable_rank: Any = None
    alignment: Any = None
    off: tuple[Any, ...] | None = None
    saturated: tuple[Any, ...] | None = None
    began_untrained: bool = False
    unit: str = "layer"

    def __repr__(self) -> str:
        steps, layers, *members = np.shape(self.log10_norm)
        networks = "".join(f", {n} networks" for n in members)
        return f"<LedgerHistory of {steps:,} backwards, {layers} {self.unit}s{networks}>"

    def __getitem__(self, index: int | slice) -> "LedgerHistory":
        if not isinstance(index, slice | int | np.integer):
            raise TypeError(f"a ledger's history is indexed by an integer or a slice of its steps, not {index!r}")
        if not isinstance(index, slice):
            if not -len(self.steps) <= index < len(self.steps):
                raise IndexError(f"there is no step at position {index}: the history has {len(self.steps)}")
            index = slice(int(index) % len(self.steps), int(index) % len(self.steps) + 1)
        cut: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _BY_LAYER and value is not None:
                cut[field.name] = tuple(flags if flags is None else flags[index] for flags in value)
            elif field.name not in _UNCHANGED and value is not None:
                cut[field.name] = value[index]
        return replace(self, **cut)

    @property
    def at_start(self) -> bool:
        """Whether the history is that of the first backward of an untrained network, and of no other."""
        return [*self.steps] == [0] and self.began_untrained

    def rows(self) -> tuple[Row, ...]:
        """A `Row` for each step of the gradient, with numbers and causes of all backwards and members, (S·R,).

        Verdicts are made from these rows, and `plots.blame(history.rows())` draws their means.
        """
        count = len(self.layers) - 1

        def samples(array: Any) -> Any:
            return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)

        norms, weights, activation, total, causes = map(
            samples, (self.log10_norm, self.weights, self.activation, self.total, self.cause)
        )
        return tuple(
            Row(
                layer=self.layers[i],
                name=self.names[i],
                log10_norm=norms[i],
                weights=weights[i],
                activation=activation[i],
                total=total[i],
                parts=self.parts[i],
                cause=tuple(cause or None for cause in causes[i].tolist()),
                unit=self.unit,
            )
            for i in range(count)
        )

    def dead_fraction(self, window: int = WINDOW, share: float = 1.0) -> Any:
        """The fraction of dead neurons in each layer, at each recorded step.

        A neuron is dead at a step if it was off (see `off`) in at least `share` of the last `window` recorded steps.

        Args:
            window: a number of recorded steps, 2 or more.
            share: a share of these steps, above 0 and up to 1.

        Returns:
            (S, L), or (S, L, R) for an ensemble: fractions from 0 to 1. NaN in the first window − 1 rows, and for
            layers without an activation.

        Raises:
            RuntimeError: if the ledger was not asked for `neurons`.
            ValueError: if window or share are out of range.

        >>> import numpy as np, tinygrad_vg as tg
        >>> from tinygrad_vg.instruments import Ledger
        >>> net = tg.nn.mlp([3, 4, 1], tg.nn.ReLU, rng=0)
        >>> net[0].bias.data = np.array([-100.0, 100.0, 100.0, 100.0])
        >>> with Ledger(net, every=1, neurons=True) as ledger:
        ...     for _ in range(3):
        ...         np.sum(net(np.ones((5, 3)))).backward()
        >>> ledger.history.dead_fraction(window=2)[:, 0], ledger.history.dead_neurons(1, window=2)
        (array([ nan, 0.25, 0.25]), array([ True, False, False, False]))
        >>> ledger.history.saturated_fraction(window=2)[:, 0], ledger.history.saturated_neurons(1, window=2)
        (array([ nan, 0.25, 0.25]), array([ True, False, False, False]))
        """
        return self._fraction("off", window, share)

    def saturated_fraction(self, window: int = WINDOW, share: float = 1.0) -> Any:
        """As `dead_fraction`, but of neurons that were `saturated`: they learn slowly or are dead."""
        return self._fraction("saturated", window, share)

    def dead_neurons(self, layer: int, window: int = WINDOW, share: float = 1.0) -> Any:
        """Which neurons of a layer are dead at the last recorded step; `dead_fraction` has an example.

        `history[:100].dead_neurons(1)` returns those of an earlier step.

        Args:
            layer: the number of the layer, 1 at the input.
            window, share: as in `dead_fraction`.

        Returns:
            (n,) bools, or (R, n) for an ensemble.

        Raises:
            RuntimeError: if the ledger was not asked for `neurons`.
            ValueError: if there is no such layer, it has no activation, there are fewer steps than `window`, or window
                or share are out of range.
        """
        return self._neurons("off", layer, window, share)

    def saturated_neurons(self, layer: int, window: int = WINDOW, share: float = 1.0) -> Any:
        """As `dead_neurons`, but of neurons that were `saturated`."""
        return self._neurons("saturated", layer, window, share)

    def _fraction(self, kind: str, window: int, share: float) -> Any:
        fractions = np.full(self.log10_norm.shape, np.nan)
        for i, flags in enumerate(self._flags(kind)):
            if flags is not None:
                found = lasting(flags, window, share).mean(axis=-1)
                fractions[len(fractions) - len(found) :, i] = found
        return fractions

    def _neurons(self, kind: str, layer: int, window: int, share: float) -> Any:
        if layer not in self.layers:
            raise ValueError(f"there is no layer {layer!r}; the layers are {self.layers[0]} to {self.layers[-1]}")
        flags = self._flags(kind)[self.layers.index(layer)]
        if flags is None:
            raise ValueError(f"there is no activation after layer {layer}")
        found = lasting(flags, window, share)
        if not len(found):
            raise ValueError(f"the history has {len(flags)} steps, fewer than the window of {window}")
        return found[-1]

    def _flags(self, kind: str) -> tuple[Any, ...]:
        flags: tuple[Any, ...] | None = getattr(self, kind)
        if flags is None:
            raise RuntimeError("no neurons were recorded; Ledger(model, every=..., neurons=True) records them")
        return flags

    def scalars(self) -> dict[str, float]:
        """The last recorded step as named numbers, for a tracker of experiments; medians for an ensemble.

        Returns:
            "delta/1", ...: log10‖δ^l‖ per sample; "weights/1", "activation/1", "total/1", ...: of the step to the
            layer; and, if they are recorded, "stable_rank/1", "alignment/1", "dead/1" and "saturated/1". The last two
            are fractions over the last 30 recorded steps, and NaN before there are 30. The dict is empty before the
            first step.
        """
        if not len(self.steps):
            return {}
        last = self[-WINDOW:]
        columns = {"delta": last.log10_norm, "weights": last.weights, "activation": last.activation,
                   "total": last.total, "stable_rank": last.stable_rank, "alignment": last.alignment}  # fmt: skip
        if self.off is not None:
            columns |= {"dead": last.dead_fraction(), "saturated": last.saturated_fraction()}
        return {
            f"{name}/{self.layers[i]}": median(array[-1, i])
            for name, array in columns.items()
            if array is not None
            for i in range(array.shape[1])
        }


def steps_of(norms: Any, samples: Any, ends: Sequence[int], passes_weights: Sequence[bool]) -> dict[str, Any]:
    """The columns log10_norm, weights, activation and total, from the norms (S, U) of the units at each step.

    Args:
        norms: log10 norms of the gradients at the outputs of all units, (S, U) or (S, U, R).
        samples: (S,) how many samples the batch of each step had.
        ends: the positions of the layers among the units.
        passes_weights: for each unit, as in an `Account`.
    """
    by_unit, empty = np.moveaxis(norms, 1, 0), norms[:, :0]
    steps = [(low, weights_at(passes_weights, low, high), high) for low, high in pairwise(ends)]
    columns = {
        "weights": [taken(by_unit[at], by_unit[at - 1]) for _, at, _ in steps],
        "activation": [beside_weights(by_unit, low, at, high) for low, at, high in steps],
        "total": [taken(by_unit[high], by_unit[low]) for low, _, high in steps],
    }
    stacked = {name: np.stack(column, axis=1) if column else empty for name, column in columns.items()}
    per_sample = 0.5 * np.log10(samples).reshape(-1, *[1] * (norms.ndim - 1))
    return {"log10_norm": norms[:, [*ends]] + per_sample} | stacked
