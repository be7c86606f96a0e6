"""Accounts: the norms of the gradients of one backward, as plain data for the ledger, verdicts, tables and pictures.

From layer l+1 to layer l the gradient makes one step, δ^l = σ′(z^l) ⊙ u with u = (W^{l+1})ᵀ δ^{l+1}, and its norm
changes by

    log‖δ^l‖ − log‖δ^{l+1}‖ = [log‖u‖ − log‖δ^{l+1}‖] + [log‖σ′(z^l) ⊙ u‖ − log‖u‖]
            total           =          weights        +          activation

This equation is exact, and the totals of all steps add up to log‖δ^1‖ − log‖δ^L‖. δ^l is the gradient at the output of
layer l, and u the gradient at the input of layer l+1; the backward computes both anyway. All modules and operations
between two layers (activations, normalization, residual blocks) are accounted for in this way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray
from tinygrad_vg.instruments.biases import summed
from tinygrad_vg.instruments.factors import slopes_at
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.instruments.signals import Chain, Unit
from tinygrad_vg.nn import by_member, feature_axis, member_axis

# What the norms of the accounts are, for a picture's caption.
MEASURE = "‖δ‖: the length of ∂Cₓ/∂z of one sample (root mean square over the batch)."


@dataclass(frozen=True, eq=False)
class Part:
    """The change of the gradient's norm by one module or operation between two layers.

    Attributes:
        label: the name of the module's class, or of the operation.
        decades: the change of the norm in decades; negative if the norm shrinks.
        is_activation: whether it is an activation, whose slopes multiply the gradient elementwise.
        symbol: an activation's symbol in formulas, "σ"; else "".
        cap: log10 of an activation's largest slope; NaN if it is not known, and for other parts.
        holds_layers: whether the part contains layers, as a residual block does.
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

    All instruments call it "the step to layer l".

    Attributes:
        layer: l, the layer at which the gradient arrives; 1 is the layer at the input.
        name: that layer's name in the model.
        log10_norm: log10 of the root mean square over the samples of ‖B·δ^l‖: the norm of a sample's own gradient where
            the cost is a mean over the B samples of the batch. It does not depend on the size of the batch.
        weights: log10‖u‖ − log10‖δ^{l+1}‖, the change by (W^{l+1})ᵀ; negative if the norm shrinks.
        activation: log10‖δ^l‖ − log10‖u‖, the change by everything between layers l and l+1.
        total: log10‖δ^l‖ − log10‖δ^{l+1}‖.
        parts: the parts of `activation`, in the order in which the gradient passes them.
        cause: None for an ordinary step, else the reason why the step has no meaningful value; a tuple of R of them for
            an ensemble.
            "no gradient": δ^l is 0. The part that made it 0 has −inf. In the steps below, the change from 0 to 0 counts
                as 0. A verdict says "dead" only after several such backwards.
            "underflow": δ^l is 0, and the last norm above 0 was below the smallest normal number of its dtype.
            "not finite": a gradient holds NaN or infinity.
            "not computed": the backward did not reach both layers of the step; the values are NaN.
        unit: "layer"; "time step" where l counts time steps of a recurrent layer (`recurrence.py`); or "block" where
            it counts modules of any kind, and `weights` is the change by all that is inside the block above.
    """

    layer: int
    name: str
    log10_norm: Any
    weights: Any
    activation: Any
    total: Any
    parts: tuple[Part, ...]
    cause: str | tuple[str | None, ...] | None
    unit: str = "layer"

    @property
    def causes(self) -> tuple[str | None, ...]:
        """The cause of each member, as a tuple; for a single network it has one element."""
        return self.cause if isinstance(self.cause, tuple) else (self.cause,)

    @property
    def cap(self) -> float:
        """The largest possible value of `activation`, in decades: the sum of the parts' caps."""
        return sum((part.cap for part in self.parts), 0.0)


@dataclass(frozen=True, eq=False)
class Forward:
    """Facts of a layer's forward pass: bools, or (R,) for an ensemble.

    Attributes:
        z_is_finite: whether all z are finite.
        is_closed: whether the activation after the layer has slope 0 at all z, as a ReLU if all z are below 0.
        weight_is_zero, weight_is_finite: whether all weights are 0, and whether all are finite; False and True if the
            weights were freed.
    """

    z_is_finite: Any
    is_closed: Any
    weight_is_zero: Any
    weight_is_finite: Any


@dataclass(frozen=True, eq=False)
class Account:
    """The norm of the gradient at the output of one unit of a chain.

    Attributes:
        label, is_activation, symbol, cap, holds_layers: as in `Part`.
        name: a layer's name in the model; None for a unit between layers.
        computed: whether the backward reached the unit.
        log10_over_batch: log10 of the gradient's norm over all samples and neurons together, a float or (R,); NaN if it
            was not computed, or holds NaN.
        smallest: log10 of the smallest normal number of the gradient's dtype; −inf in extended range.
        forward: a layer's facts, if a gradient of the chain is 0 or not finite; else None, to save time.
        is_weights: whether the unit multiplies the gradient by weights; None means that layers do.
        unit: as in `Row`.
        samples: B, how many samples the batch has.
    """

    label: str
    name: str | None
    is_activation: bool
    symbol: str
    cap: float
    computed: bool
    log10_over_batch: Any
    smallest: float
    holds_layers: bool = False
    forward: Forward | None = None
    is_weights: bool | None = None
    unit: str = "layer"
    samples: float = 1.0

    @property
    def log10_norm(self) -> Any:
        """The same per sample, as in `Row`: log10‖√B·δ‖."""
        return self.log10_over_batch + 0.5 * math.log10(self.samples)

    @property
    def passes_weights(self) -> bool:
        """Whether the gradient is multiplied by weights on its way through the unit."""
        return self.name is not None if self.is_weights is None else self.is_weights


def accounts_of(chain: Chain) -> tuple[Account, ...]:
    """The account of each unit of a chain whose layers are in a row, from the first layer to the last."""
    accounts = norm_accounts(chain)
    if all(np.isfinite(account.log10_over_batch).all() for account in accounts if account.computed):
        return accounts
    above = [*chain.units[1:], None]
    return tuple(
        account if unit.name is None else replace(account, forward=_forward(unit, behind, chain.members))
        for account, unit, behind in zip(accounts, chain.units, above, strict=True)
    )


def norm_accounts(chain: Chain) -> tuple[Account, ...]:
    """The account of each unit of a chain, without `forward`."""
    return tuple(_account(unit, chain) for unit in chain.units)


def _account(unit: Unit, chain: Chain) -> Account:
    activation, gradient = unit.activation, unit.gradient
    extended = gradient is None or isinstance(gradient, ExtendedArray)
    return Account(
        label=unit.label,
        name=unit.name,
        is_activation=activation is not None,
        symbol=activation.symbol if activation else "",
        cap=math.log10(activation.largest_slope) if activation else math.nan,
        computed=gradient is not None,
        log10_over_batch=norm_of(gradient, chain.members, unit.channels_first),
        smallest=-math.inf if extended else math.log10(np.finfo(gradient.dtype).tiny),
        holds_layers=unit.holds_layers,
        is_weights=unit.is_weights,
        unit=chain.unit,
        samples=samples_of(chain),
    )


def _forward(layer: Unit, behind: Unit | None, members: tuple[int, ...]) -> Forward:
    if layer.weight_facts is None:
        layer.note_weights()
    is_zero, is_finite = layer.weight_facts or (np.zeros(members, bool), np.ones(members, bool))
    finite, closed = (
        np.isfinite(by_member(layer.z, members, layer.channels_first)).all(axis=-1),
        np.zeros(members, bool),
    )
    if behind is not None and behind.activation is not None:
        with np.errstate(all="ignore"):  # z may be anything
            slopes = slopes_at(behind.activation, layer.z)
            closed = ~by_member(slopes, members, layer.channels_first).any(axis=-1)
    return Forward(finite, closed, is_zero, is_finite)


def norm_of(gradient: Any, members: tuple[int, ...], channels_first: bool = False) -> Any:
    """log10‖gradient‖ over samples and neurons: a float, or (R,) for an ensemble."""
    if gradient is None:
        return np.full(members, np.nan) if members else math.nan
    if not members:
        return log10_norm(gradient)
    axes = len(gradient.shape)
    kept = member_axis(axes, channels_first)
    return log10_norm(gradient, tuple(axis for axis in range(axes) if axis != kept))


def bias_norm(unit: Unit, members: tuple[int, ...]) -> Any:
    """log10‖∂C/∂b‖ of a layer: of its gradient summed over the samples."""
    if unit.gradient is None:
        return norm_of(None, members)
    return log10_norm(summed(unit.gradient, members, unit.channels_first), axis=-1)


def samples_of(chain: Chain) -> float:
    """B, how many samples the gradient of the last layer has; at least 1, also where there is no gradient."""
    last = chain.units[-1]
    if last.gradient is None or not last.gradient.shape:
        return 1.0
    shape = last.gradient.shape
    features = shape[feature_axis(len(shape), chain.members, last.channels_first)]
    return float(max(1.0, math.prod(shape) / max(1, features * math.prod(chain.members))))


def rows_of(accounts: Sequence[Account]) -> tuple[Row, ...]:
    """A row for each step; the step to layer 1 comes first."""
    ends = [i for i, account in enumerate(accounts) if account.name is not None]
    return tuple(_row(accounts, layer, low, high) for layer, (low, high) in enumerate(pairwise(ends), 1))


def _row(accounts: Sequence[Account], layer: int, low: int, high: int) -> Row:
    norms = [np.asarray(account.log10_over_batch) for account in accounts]
    of_members = np.stack(norms[low:]).reshape(len(norms) - low, -1).T.tolist()  # each from layer l to layer L
    computed = all(account.computed for account in accounts[low : high + 1])
    causes = tuple(
        cause_of(own, high - low, accounts[low].smallest) if computed else "not computed" for own in of_members
    )
    at = low + weights_at([account.passes_weights for account in accounts[low : high + 1]], 0, high - low)
    units = [(i, accounts[i]) for i in range(high, low, -1) if i != at]  # as the gradient passes them
    return Row(
        layer=layer,
        name=accounts[low].name or "",
        log10_norm=accounts[low].log10_norm,
        weights=taken(norms[at], norms[at - 1]),
        activation=beside_weights(norms, low, at, high),
        total=taken(norms[high], norms[low]),
        parts=tuple(
            Part(u.label, taken(norms[i], norms[i - 1]), u.is_activation, u.symbol, u.cap, u.holds_layers)
            for i, u in units
        ),
        cause=causes if norms[low].ndim else causes[0],
        unit=accounts[low].unit,
    )


def weights_at(passes_weights: Sequence[bool], low: int, high: int) -> int:
    """The position of the unit that multiplies by weights: layer l+1, or the product inside a time step."""
    return next(i for i in range(high, low, -1) if passes_weights[i])


def beside_weights(norms: Any, low: int, at: int, high: int) -> Any:
    """The change of a step without that of the weights: after them, and in a time step also before them."""
    behind = taken(norms[at - 1], norms[low])
    return behind if at == high else taken(norms[high], norms[at]) + behind


def cause_of(norms: Sequence[float], step: int, smallest: float) -> str | None:
    """The cause of a row; see `Row`.

    Args:
        norms: log10 norms of the units from layer l to layer L.
        step: the number of units from layer l to layer l+1.
        smallest: as in `Account`.
    """
    if any(math.isnan(norm) or norm == math.inf for norm in norms[: step + 1]):
        return "not finite"
    if norms[0] != -math.inf:
        return None
    before = next((norm for norm in norms if norm != -math.inf), math.inf)
    return "underflow" if before < smallest else "no gradient"


def taken(before: Any, after: Any) -> Any:
    """after − before, in decades; 0 where both are −inf."""
    with np.errstate(invalid="ignore"):  # inf − inf
        decades = np.where(np.isneginf(before) & np.isneginf(after), 0.0, np.subtract(after, before))
    return decades if decades.ndim else float(decades)
