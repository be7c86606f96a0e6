"""Naming: find the layer that changes the gradient more than others of its kind, or in which the gradient is lost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Account, Row
from tinygrad_vg.notation import decades, median

# A step stands out if it is this many decades off the median of its kind, and this many times the spread of its kind.
# With two steps neither stands out, because both are equally far from the median.
OFF, TIMES = 0.5, 5.0
_NORMAL = 1.48  # times the median distance is the standard deviation of a normal distribution


@dataclass(frozen=True)
class Named:
    """A part of one layer that the verdict names; `str` puts it into words.

    Attributes:
        layer: its number.
        part: "weights", "slopes" (of the modules behind the layer), "z", "gradient" or "cost".
        decades: by how much the part shrinks (< 0) or grows the gradient; −inf if the gradient behind it is 0, NaN if
            that gradient is not finite.
        usual: the median of parts of its kind, in decades.
        unit: "layer"; "time step" if `layer` is the number of a time step, whose weights are W_hh and whose z is h;
            "block" for a module with layers inside, whose "weights" are all that is inside.

    >>> print(Named(3, "weights", decades=-2.0, usual=-0.1).comparison)
    the weights of layer 3 take −2.0, others −0.1
    >>> print(Named(3, "weights", decades=-2.0, usual=-0.1, unit="block").comparison)
    block 3 takes −2.0, others −0.1
    """

    layer: int
    part: str
    decades: float = np.nan
    usual: float = np.nan
    unit: str = "layer"

    def __str__(self) -> str:
        if self.part == "cost":
            return "the cost"
        if self._is_block:
            return f"block {self.layer}"
        joint = "at" if self.part == "slopes" else "of"
        return f"{'' if self.part == 'z' else 'the '}{self.part} {joint} {self.unit} {self.layer}"

    @property
    def _is_block(self) -> bool:
        return self.unit == "block" and self.part == "weights"

    @property
    def comparison(self) -> str:
        """In words, how far the part is from others of its kind."""
        verb = ("take" if self.decades < 0 else "give") + "s" * self._is_block
        return f"{self} {verb} {decades(self.decades, 1)}, others {decades(self.usual, 1)}"


def outliers(rows: Sequence[Row]) -> tuple[Named, ...]:
    """The parts of steps that stand out from the median of their kind, the farthest first.

    The weights of all layers are one kind; slopes are of one kind if the same modules lie between the layers. In a step
    through time, gates and joining gradients are not slopes; the last step, which no gradient joins, is unlike others.
    """
    parts = [("weights", row.layer + 1, "", median(row.weights)) for row in rows]
    parts += [("slopes", _slopes_of(row), _label(row), median(row.activation)) for row in rows
              if row.unit == "layer" or all(part.is_activation for part in row.parts)]  # fmt: skip
    found = []
    for kind in dict.fromkeys((part, label) for part, _, label, _ in parts):
        some = [(layer, x) for part, layer, label, x in parts if (part, label) == kind and np.isfinite(x)]
        if not some:
            continue
        values = np.array([x for _, x in some])
        usual = float(np.median(values))
        spread = _NORMAL * float(np.median(np.abs(values - usual)))
        found += [
            Named(layer, kind[0], x, usual, rows[0].unit)
            for layer, x in some
            if abs(x - usual) > max(OFF, TIMES * spread)
        ]  # fmt: skip
    return tuple(sorted(found, key=lambda named: -abs(named.decades - named.usual)))


def _slopes_of(row: Row) -> int:
    """The number whose slopes are in a step: l in the step to layer l, t + 1 in the step to time step t."""
    return row.layer + (row.unit == "time step")


def _label(row: Row) -> str:
    return ", ".join(part.label for part in row.parts)


def source_of_nothing(accounts: Sequence[Account], member: int) -> Named | None:
    """The reason why no gradient arrives at layer 1 of a member: the lowest layer whose weights, or whose slopes, are
    all 0.

    It is the lowest because layers above a silent layer may become silent too: without biases all their z are 0.
    """
    layers = [account for account in accounts if account.name is not None]
    if np.isneginf(_of(layers[-1].log10_norm, member)):
        return Named(len(layers), "cost")
    unit = layers[-1].unit
    for part, fact in (("weights", "weight_is_zero"), ("slopes", "is_closed")):
        for number, account in enumerate(layers, 1):
            if account.forward is not None and _of(getattr(account.forward, fact), member):
                return Named(number, part, -np.inf, unit=unit)
    norms = [_of(account.log10_norm, member) for account in accounts]
    last = max(i for i, norm in enumerate(norms) if np.isneginf(norm))  # where the gradient is lost
    number = sum(account.name is not None for account in accounts[: last + 1])
    if accounts[last + 1].passes_weights:  # the weights are not 0, but at right angles to the gradient
        return Named(number + 1, "weights", -np.inf, unit=unit)
    return Named(number + (unit == "time step"), "slopes", -np.inf, unit=unit)


def source_of_nonfinite(accounts: Sequence[Account], member: int) -> Named | None:
    """The lowest layer whose weights or z are not finite; else the highest whose gradient is not; else None."""
    layers = [account for account in accounts if account.name is not None]
    for number, account in enumerate(layers, 1):
        if (forward := account.forward) is not None:
            if not _of(forward.weight_is_finite, member):
                return Named(number, "weights", unit=account.unit)
            if not _of(forward.z_is_finite, member):
                return Named(number, "z", unit=account.unit)
    for number, account in reversed([*enumerate(layers, 1)]):
        if account.computed and (np.isnan(norm := _of(account.log10_norm, member)) or norm == np.inf):
            return Named(number, "gradient", unit=account.unit)
    return None


def source_in_rows(rows: Sequence[Row], top: Any, closed: Any, sample: int) -> Named | None:
    """The same as the two functions above, for one sample. The rows show where the gradient is lost, or is no longer
    finite.

    Args:
        top: log10‖δ^L‖, (S,).
        closed: (L, S) whether all neurons of a layer are off, so that the lowest such layer can be named; else None.
    """
    causes = [row.causes[sample] for row in rows]
    if "not finite" in causes:
        layer = len(causes) - causes[::-1].index("not finite")  # the highest step whose result is not finite
        return Named(layer + 1 if not top[sample] < np.inf else layer, "gradient", unit=rows[0].unit)
    if "no gradient" not in causes:
        return None
    if np.isneginf(top[sample]):
        return Named(len(rows) + 1, "cost")
    if closed is not None and closed[:, sample].any():
        return Named(int(closed[:, sample].argmax()) + 1, "slopes", -np.inf)
    row = rows[len(causes) - 1 - causes[::-1].index("no gradient")]
    if np.isneginf(row.weights[sample]):
        return Named(row.layer + 1, "weights", -np.inf, unit=row.unit)
    return Named(_slopes_of(row), "slopes", -np.inf, unit=row.unit)


def commonest(names: Sequence[Named | None]) -> tuple[Named, ...]:
    """The part that most members name, as a tuple of one; () if there is none."""
    counts = Counter(name for name in names if name is not None)
    return (counts.most_common(1)[0][0],) if counts else ()


def _of(values: Any, member: int) -> Any:
    """The value of one member; for a single network its only value."""
    return np.atleast_1d(values)[member]
