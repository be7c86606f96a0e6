"""Accounts: what was heard of one backward, as plain data; ledger, verdict, tables and pictures read them.

From layer l+1 to layer l the gradient makes one step, δ^l = σ′(z^l) ⊙ u with u = (W^{l+1})ᵀ δ^{l+1}, and its norm
changes by

    log‖δ^l‖ − log‖δ^{l+1}‖ = [log‖u‖ − log‖δ^{l+1}‖] + [log‖σ′(z^l) ⊙ u‖ − log‖u‖]
            total           =          weights        +          activation

which is exact, and the steps telescope to the whole way. Here δ^l is the gradient at the output of layer l and u the
gradient at the input of layer l+1, as the walk back hands them to hooks, so nothing is computed a second time, and
whatever lies between two layers (activations, normalisation, residual blocks) has its part in the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray
from tinygrad_vg.instruments.factors import slopes_at
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.instruments.signals import Chain, Unit
from tinygrad_vg.nn import by_member, member_axis


@dataclass(frozen=True, eq=False)
class Part:
    """What one module or operation between two layers takes.

    Attributes:
        label: the name of its class, or of the operation.
        decades: what it takes, < 0, or gives.
        is_activation: whether it works element by element, so that what it takes are its slopes.
        symbol: of an activation, how formulas write it: "σ"; else "".
        cap: log10 of an activation's largest slope; NaN for what is no activation, or has no bound that is known.
        holds_layers: whether layers are inside of it, as in a residual block.
    """

    label: str
    decades: Any
    is_activation: bool
    symbol: str
    cap: float
    holds_layers: bool = False


@dataclass(frozen=True, eq=False)
class Row:
    """The step of the gradient from layer l+1 to layer l, in decades: floats, or (R,) for an ensemble of R members.

    Attributes:
        layer: l, the layer that the gradient arrives at; 1 is the input side.
        name: that layer's name in the model.
        log10_norm: log10‖δ^l‖.
        weights: log10‖u‖ − log10‖δ^{l+1}‖, what (W^{l+1})ᵀ takes (< 0) or gives.
        activation: log10‖δ^l‖ − log10‖u‖, what lies between layers l and l+1 takes or gives.
        total: log10‖δ^l‖ − log10‖δ^{l+1}‖.
        parts: `activation` in its parts, in the order in which the gradient meets them.
        cause: None for an ordinary step, else why it has no meaningful value; for an ensemble a tuple of R.
            "dead": δ^l is 0. Who made it 0 has −inf; further down nothing arrives, so nothing is taken: 0.
            "underflow": δ^l is 0, but what it was made of lay below the smallest normal number of its type.
            "not finite": a gradient holds NaN or infinity.
            "not computed": the backward did not reach both ends of the step: NaN.
    """

    layer: int
    name: str
    log10_norm: Any
    weights: Any
    activation: Any
    total: Any
    parts: tuple[Part, ...]
    cause: str | tuple[str | None, ...] | None

    @property
    def causes(self) -> tuple[str | None, ...]:
        """The cause of each member; of one network a tuple of one."""
        return self.cause if isinstance(self.cause, tuple) else (self.cause,)

    @property
    def cap(self) -> float:
        """The most that the activations between the layers can give, in decades: their caps added."""
        return sum((part.cap for part in self.parts), 0.0)


@dataclass(frozen=True, eq=False)
class Forward:
    """What a layer's forward was like: bools, or (R,) for an ensemble.

    Attributes:
        z_is_finite: whether all z are.
        is_closed: whether the activation behind it has the slope 0 at all z, as ReLU where all are below 0.
        weight_is_zero, weight_is_finite: whether all weights are 0, and whether all are finite; False and True where
            they are gone.
    """

    z_is_finite: Any
    is_closed: Any
    weight_is_zero: Any
    weight_is_finite: Any


@dataclass(frozen=True, eq=False)
class Account:
    """What passed one unit of a chain.

    Attributes:
        label, is_activation, symbol, cap, holds_layers: as in `Part`.
        name: of a layer, its name in the model; None for what lies between.
        computed: whether the backward came here.
        log10_norm: of the gradient at its output, a float or (R,); NaN if it was not computed, or holds NaN.
        smallest: log10 of the smallest normal number of the gradient's type; −inf in extended range.
        forward: of a layer, where any gradient of the chain is 0 or not finite; else None, for it takes time to see.
    """

    label: str
    name: str | None
    is_activation: bool
    symbol: str
    cap: float
    computed: bool
    log10_norm: Any
    smallest: float
    holds_layers: bool
    forward: Forward | None = None


def accounts_of(chain: Chain) -> tuple[Account, ...]:
    """The accounts of each unit of a chain, from the first layer up.

    Raises:
        ValueError: if its layers do not stand in a row.
    """
    if chain.problem:
        raise ValueError(chain.problem)
    accounts = tuple(_account(unit, chain.members) for unit in chain.units)
    if all(np.isfinite(account.log10_norm).all() for account in accounts if account.computed):
        return accounts
    above = [*chain.units[1:], None]
    return tuple(
        account if unit.name is None else replace(account, forward=_forward(unit, behind, chain.members))
        for account, unit, behind in zip(accounts, chain.units, above, strict=True)
    )


def _account(unit: Unit, members: tuple[int, ...]) -> Account:
    activation, gradient = unit.activation, unit.gradient
    extended = gradient is None or isinstance(gradient, ExtendedArray)
    return Account(
        label=unit.label,
        name=unit.name,
        is_activation=activation is not None,
        symbol=activation.symbol if activation else "",
        cap=math.log10(activation.largest_slope) if activation else math.nan,
        computed=gradient is not None,
        log10_norm=_norm(gradient, members),
        smallest=-math.inf if extended else math.log10(np.finfo(gradient.dtype).tiny),
        holds_layers=unit.holds_layers,
    )


def _forward(layer: Unit, behind: Unit | None, members: tuple[int, ...]) -> Forward:
    if layer.weight_facts is None:
        layer.note_weights()
    is_zero, is_finite = layer.weight_facts or (np.zeros(members, bool), np.ones(members, bool))
    finite, closed = np.isfinite(by_member(layer.z, members)).all(axis=-1), np.zeros(members, bool)
    if behind is not None and behind.activation is not None:
        with np.errstate(all="ignore"):  # z may be anything
            closed = ~by_member(slopes_at(behind.activation, layer.z), members).any(axis=-1)
    return Forward(finite, closed, is_zero, is_finite)


def _norm(gradient: Any, members: tuple[int, ...]) -> Any:
    """log10‖gradient‖ over samples and neurons."""
    if gradient is None:
        return np.full(members, np.nan) if members else math.nan
    if not members:
        return log10_norm(gradient)
    axes = len(gradient.shape)
    kept = member_axis(axes)
    return log10_norm(gradient, tuple(axis for axis in range(axes) if axis != kept))


def rows_of(accounts: Sequence[Account]) -> tuple[Row, ...]:
    """A row for each step, that to layer 1 first."""
    ends = [i for i, account in enumerate(accounts) if account.name is not None]
    return tuple(_row(accounts, layer, low, high) for layer, (low, high) in enumerate(pairwise(ends), 1))


def _row(accounts: Sequence[Account], layer: int, low: int, high: int) -> Row:
    norms = [np.asarray(account.log10_norm) for account in accounts]
    ways = np.stack(norms[low:]).reshape(len(norms) - low, -1).T.tolist()  # of each member, from where the step ends up
    computed = all(account.computed for account in accounts[low : high + 1])
    causes = tuple(cause_of(way, high - low, accounts[low].smallest) if computed else "not computed" for way in ways)
    return Row(
        layer=layer,
        name=accounts[low].name or "",
        log10_norm=accounts[low].log10_norm,
        weights=taken(norms[high], norms[high - 1]),
        activation=taken(norms[high - 1], norms[low]),
        total=taken(norms[high], norms[low]),
        parts=tuple(
            Part(
                unit.label, taken(norms[i], norms[i - 1]), unit.is_activation, unit.symbol, unit.cap, unit.holds_layers
            )
            for i, unit in reversed([*enumerate(accounts)][low + 1 : high])
        ),
        cause=causes if norms[low].ndim else causes[0],
    )


def cause_of(norms: Sequence[float], step: int, smallest: float) -> str | None:
    """Why a step has no meaningful value, from the log10 norms of the units from where it ends up to layer L."""
    if any(math.isnan(norm) or norm == math.inf for norm in norms[: step + 1]):
        return "not finite"
    if norms[0] != -math.inf:
        return None
    before = next((norm for norm in norms if norm != -math.inf), math.inf)
    return "underflow" if before < smallest else "dead"


def taken(before: Any, after: Any) -> Any:
    """after − before, in decades; where nothing arrived, nothing is taken."""
    with np.errstate(invalid="ignore"):  # inf − inf
        decades = np.where(np.isneginf(before) & np.isneginf(after), 0.0, np.subtract(after, before))
    return decades if decades.ndim else float(decades)
