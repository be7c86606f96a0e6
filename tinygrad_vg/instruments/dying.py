"""Dying ReLUs: how often a random draw of a narrow, deep network passes no gradient at all for a given input."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.instruments.factors import slopes_at
from tinygrad_vg.instruments.signals import Chain

# The share of `born_dead` from which there is an alarm. It was fixed on 35 networks on blobs, 60 draws each, trained
# with Adam: above it 13 % of the draws or more stay stuck at one answer, below it 0 to 10 %. tests/benchmarks/dying.py
# measures this on other networks.
BORDER = 0.25
_DEVIATIONS = 4.0  # standard errors that the share of a sign may be off 1/2; chance exceeds them once in 16,000


@dataclass(frozen=True)
class Dying:
    """The forecast of how many random draws of an architecture are born dead, and the state of the present draw.

    Attributes:
        share: the share of random draws that pass no gradient to layer 1 for a given input (`born_dead`), from 0 to 1.
            Fewer draws pass none for a whole batch.
        widths: the number of units of each hidden layer whose activation has slope 0 below 0.
        here: the share of the samples of this backward that pass no gradient in this draw, from 0 to 1; for an ensemble
            over all members.

    >>> str(Dying(born_dead([5] * 16), (5,) * 16, 0.0)).split(",")[0]
    '16 layers of 5 units that are closed below 0: 40 % of fresh draws pass no gradient for a given input'
    """

    share: float
    widths: tuple[int, ...]
    here: float

    def __str__(self) -> str:
        low, high = min(self.widths), max(self.widths)
        units = f"{low}" if low == high else f"{low} to {high}"
        layers = f"{len(self.widths)} layer{'s' * (len(self.widths) != 1)} of {units} units that are closed below 0"
        return (
            f"{layers}: {100 * self.share:.0f} % of fresh draws pass no gradient for a given input, "
            f"this one none for {100 * self.here:.0f} % of its samples"
        )


def born_dead(widths: Iterable[int]) -> float:
    """The probability that a new ReLU network passes no gradient to layer 1 for a given input: 1 − ∏(1 − 2^−n).

    A layer of n units is closed if all its z are below 0, and then no gradient passes. If the weights into a unit are
    as likely as their negatives, and its bias is 0, then its z is as likely below 0 as above, whatever the layers below
    compute: all n are below 0 with the probability 2^−n. This is exact for one input. For several inputs together it is
    an upper bound (Lu, Shin, Su & Karniadakis 2020, "Dying ReLU and Initialization"; Rister & Rubin 2020).

    Args:
        widths: n, the number of units, of each hidden layer.

    Raises:
        ValueError: if a layer has less than one unit.

    >>> round(born_dead([5] * 16), 3)
    0.398
    >>> born_dead([30] * 16) < 1e-7
    True
    """
    sizes = list(widths)
    if min(sizes, default=1) < 1:
        raise ValueError(f"a layer has one unit or more, not {min(sizes)}")
    return -math.expm1(sum(math.log1p(-(0.5**n)) for n in sizes))


def is_drawn(chain: Chain) -> bool:
    """Whether a network at its initialization is narrow and deep, and meets the assumptions of the theory.

    The theory assumes biases of 0, and weights with either sign about equally often. The check runs right after the
    backward, because the optimizer moves the biases and replaces the weights.
    """
    layers = [] if chain.problem else chain.layers[:-1]
    if any(layer.channels_first for layer in layers):
        return False  # a convolution has one filter for all positions, and their z are not independent
    if born_dead(layer.z.shape[-1] for layer in layers) < BORDER:
        return False  # true for nearly all networks; the weights of wide ones need no check
    if len({id(layer.module) for layer in layers}) < len(layers) or any(_has_bias(layer.module) for layer in layers):
        return False
    weights = [layer.weights for layer in layers]
    return all(weight is not None for weight in weights) and _are_symmetric(weights)


def dying_of(chain: Chain) -> Dying | None:
    """The forecast for a network that `is_drawn`; None if `born_dead` is below 1/4, or the theory does not apply.

    The theory holds for layers in a row with one activation between neighbours. A connection around a layer, or a
    normalization, passes a gradient where the formula says that there is none.
    """
    widths, closed = [], np.zeros(chain.layers[0].z.shape[:-1], bool)
    for low, between, _ in chain.steps():
        if len(between) != 1 or between[0].activation is None:
            return None
        if _is_closed_below_0(between[0].activation, low.z):
            widths.append(low.z.shape[-1])
            closed = closed | ~slopes_at(between[0].activation, low.z).any(axis=-1)
    share = born_dead(widths)
    return Dying(share, tuple(widths), float(closed.mean())) if share >= BORDER else None


def _is_closed_below_0(activation: Any, z: Any) -> bool:
    """Whether an activation has slope 0 at all z < 0, and not at all z > 0. The slopes are computed, so that this holds
    for a user's own activation too.
    """
    size = np.where(z == 0, 1, np.abs(z))  # z is 0 behind a closed layer; either slope may be meant
    with np.errstate(all="ignore"):  # the activation may not be defined below 0
        return not slopes_at(activation, -size).any() and bool(slopes_at(activation, size).any())


def _are_symmetric(weights: Sequence[Any]) -> bool:
    """Whether both signs are about equally frequent, in each layer and in all layers together."""
    signs = [np.sign(weight).ravel() for weight in weights]
    return all(
        each.all() and abs(each.sum()) <= _DEVIATIONS * math.sqrt(each.size) for each in (*signs, np.concatenate(signs))
    )


def _has_bias(layer: Any) -> bool:
    return layer.bias is not None and bool(layer.bias.data.any())
