"""A pass: the units of one call of a network, and their accounts as plain data."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_vg.bridges.torch.chain import Chain, Unit, measure
from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.norms import array_of, on_host
from tinygrad_vg.bridges.torch.places import features_axis
from tinygrad_vg.instruments.accounts import Account, Forward
from tinygrad_vg.instruments.factors import slopes_at

_NUMBERS = itertools.count()


class Pass:
    """One call of a network.

    Attributes:
        number: a later pass has a larger one.
        chain: its units.
        modules: the layers that were called.
        output: a weak reference to the output of the last layer.
        scale: the scale of the loss, a tensor; None without a GradScaler.
    """

    def __init__(self, activations: dict[Any, Any]) -> None:
        self.number = next(_NUMBERS)
        self.chain = Chain(activations)
        self.modules: set[Any] = set()
        self.output: Any = lambda: None
        self.scale: Any = None
        self._facts: dict[Unit, Forward] = {}

    def note_facts(self) -> None:
        """Look at the weights and z of the layers, before the optimizer changes the weights."""
        units = self.chain.units
        for unit, behind in zip(units, [*units[1:], None], strict=True):
            if unit.name is not None and unit.z is not None:
                self._facts[unit] = _facts(unit, behind)

    def flags(self) -> dict[str, Any]:
        """The flags of the neurons behind each layer, by the names that `neurons.flags_of` gives them."""
        flags: dict[str, Any] = {}
        layers = [unit for unit in self.chain.units if unit.name is not None]
        for number, unit in enumerate(layers, 1):
            if unit.flags is not None:
                flags[f"off_{number}"], flags[f"saturated_{number}"] = map(array_of, unit.flags)
        return flags

    def accounts(self, norms: Sequence[float], kind: str) -> tuple[Account, ...]:
        """The accounts, from the norms of the units; `kind` is "layer" or "block"."""
        scale = 0.0 if self.scale is None else math.log10(self.scale.item())
        samples = _samples(self.chain.units[-1])
        return tuple(
            Account(
                label=unit.label,
                name=unit.name,
                is_activation=unit.activation is not None,
                symbol=unit.activation.symbol if unit.activation else "",
                cap=math.log10(unit.activation.largest_slope) if unit.activation else math.nan,
                computed=unit.form is not None,
                log10_over_batch=float(norm) - scale,
                smallest=_smallest(unit) - scale,
                forward=self._facts.get(unit),
                unit=kind,
                samples=samples,
            )
            for unit, norm in zip(self.chain.units, norms, strict=True)
        )


def accounts_of(passes: Sequence[Pass], kind: str) -> list[tuple[Account, ...]]:
    """The accounts of several passes, whose numbers are read from the device in one transfer."""
    came = [unit for each in passes for unit in each.chain.units if unit.heard is not None]
    measure(came)
    numbers = iter(on_host([unit.norm for unit in came]).tolist())
    return [
        each.accounts([math.nan if unit.heard is None else next(numbers) for unit in each.chain.units], kind)
        for each in passes
    ]


def _smallest(unit: Unit) -> float:
    """log10 of the smallest normal number of the gradient's dtype."""
    return -math.inf if unit.form is None else math.log10(pytorch().finfo(unit.form[1]).tiny)


def _samples(last: Unit) -> float:
    """B, how many samples the gradient of the last layer has; at least 1."""
    if last.form is None or not last.form[0]:
        return 1.0
    shape = last.form[0]
    features = shape[features_axis(last.module, pytorch().empty(shape, device="meta"))]
    return float(max(1.0, math.prod(shape) / max(1, features)))


def _facts(unit: Unit, behind: Unit | None) -> Forward:
    z, weight = array_of(unit.z), array_of(unit.module.weight)
    closed = False
    if behind is not None and behind.activation is not None:
        with np.errstate(all="ignore"):  # z may be anything
            closed = not slopes_at(behind.activation, z).any()
    return Forward(np.array(np.isfinite(z).all()), np.array(closed), np.array(not weight.any()),
                   np.array(np.isfinite(weight).all()))  # fmt: skip
