"""The strongest path through a network for one sample: the path with the largest product of the factors of Eq. 122."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray, Tensor
from tinygrad_vg.instruments.factors import slope
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.instruments.signals import Chain
from tinygrad_vg.nn import Activation


@dataclass(frozen=True)
class Path:
    """A path: one neuron of each layer, from the first layer to the last, with the factors of Eq. 122.

    Attributes:
        neurons: the number of the neuron in each layer, counted from 0.
        symbols: the symbol of each layer's activation, "σ"; "" where there is none.
        slopes: σ′(z) of each neuron.
        weights: the weight into each neuron, except the first, from the neuron before it.
        end: ∂C/∂a of the last activation, as (sign, log10 of the magnitude).
        whole: ∂C/∂b of the first neuron for this sample, which is the sum over all paths, in the same form.
    """

    neurons: list[int]
    symbols: list[str]
    slopes: list[float]
    weights: list[float]
    end: tuple[float, float]
    whole: tuple[float, float]

    @property
    def product(self) -> tuple[float, float]:
        """The product of all factors, in the same form; log10 is −inf if a factor is 0.

        >>> Path([0, 0], ["σ", ""], [0.1, 1.0], [-10.0], (1.0, -3.0), (-1.0, -3.0)).product
        (-1.0, -3.0)
        """
        factors = [*self.slopes, *self.weights]
        size = sum(math.log10(abs(factor)) if factor else -math.inf for factor in factors) + self.end[1]
        return math.prod(math.copysign(1.0, factor) for factor in factors) * self.end[0], size

    def scaled(self, factor: float) -> "Path":
        """The same path for a cost that is `factor` times as large.

        >>> Path([0], [""], [1.0], [], (1.0, -3.0), (-1.0, -3.0)).scaled(1000).whole
        (-1.0, 0.0)
        """
        (end, size), (whole, large), decades = self.end, self.whole, math.log10(factor)
        return replace(self, end=(end, size + decades), whole=(whole, large + decades))


def strongest_path(chain: Chain, totals: Mapping[Tensor, ExtendedArray], sample: int = 0) -> Path:
    """Find the strongest path by dynamic programming from the cost to layer 1, in logarithms.

    Args:
        chain: the chain of a recorded cost, with at most one activation between two layers.
        totals: the gradients of the tensors of that graph.
        sample: the number of the sample in the batch.

    Raises:
        ValueError: if something other than one activation is between two layers, or a layer computes its weights.

    >>> import tinygrad_vg as tg
    >>> from tinygrad_vg.instruments.signals import recorded
    >>> net = tg.nn.mlp([2, 3, 1], rng=0)
    >>> cost = np.sum(net(np.ones((1, 2))))
    >>> path = strongest_path(recorded(net, cost), tg.engine.cotangents(cost))
    >>> len(path.neurons), path.symbols
    (2, ['σ', ''])
    """
    z: list[Any] = [layer.output for layer in chain.layers]
    ends: list[Any] = [
        *(units[-1].output if units else low.output for low, units, _ in chain.steps()),
        _top(z[-1], totals),
    ]
    if any(len(units) > 1 for _, units, _ in chain.steps()):
        raise ValueError("a path needs one activation between two layers, such as Sigmoid, or none")
    pairs = [_slope(tensor, end) for tensor, end in zip(z, ends, strict=True)]
    slopes = [_row(slopes, sample) for _, slopes in pairs]
    if any(layer.weight is None for layer in chain.layers):
        raise ValueError("a path needs layers that multiply by a stored weight; one layer here computes its weight")
    weights = [layer.weight.astype(np.float64) for layer in chain.layers]
    top = totals[ends[-1]]
    at_end, exponent = _row(top.mantissa, sample), top.exponent
    route = _route(at_end, slopes, weights)
    end, bottom = at_end[route[-1]], totals[z[0]]
    whole = _row(bottom.mantissa, sample)[route[0]]
    return Path(
        route,
        [symbol for symbol, _ in pairs],
        [float(of_layer[i]) for of_layer, i in zip(slopes, route, strict=True)],
        [float(weight[k, i]) for weight, (i, k) in zip(weights[1:], pairwise(route), strict=True)],
        (float(np.sign(end)), log10_norm(end) + exponent * math.log10(2)),
        (float(np.sign(whole)), log10_norm(whole) + bottom.exponent * math.log10(2)),
    )


def _route(at_end: Any, slopes: list[Any], weights: list[Any]) -> list[int]:
    """The neurons of the path, found from ∂C/∂a of the last layer."""
    choices = []
    with np.errstate(divide="ignore", invalid="ignore"):  # log10(0) = −∞; 0 · ∞ = NaN, which pictures show
        best = np.log10(np.abs(at_end))
        for of_layer, weight in zip(slopes[:0:-1], weights[:0:-1], strict=True):
            ways = np.log10(np.abs(weight)) + (np.log10(np.abs(of_layer)) + best)[:, None]  # (neurons above, below)
            choices.append(np.argmax(ways, axis=0))
            best = np.max(ways, axis=0)  # for each neuron, log10 of the largest product above it
        best = best + np.log10(np.abs(slopes[0]))
    route = [int(np.argmax(best))]
    for choice in reversed(choices):
        route.append(int(choice[route[-1]]))
    return route


def _top(z: Tensor, totals: Mapping[Tensor, ExtendedArray]) -> Tensor:
    """The output of the activation after the last layer; the last z if there is no such activation, or several."""
    found = [tensor for tensor in totals if Activation.of(tensor) is not None and _argument(tensor) is z]
    return found[0] if len(found) == 1 else z


def _argument(tensor: Tensor) -> Any:
    """The argument of an activation, from its output."""
    call = Activation.call_of(tensor)
    if call is not None and call.inputs:
        return call.inputs[0]
    return tensor.node.inputs[0] if tensor.node is not None else None


def _slope(z: Tensor, end: Tensor) -> tuple[str, Any]:
    """The symbol of the activation between two layers, and its slopes at z."""
    if end is z:
        return "", np.ones(z.shape)
    activation = Activation.of(end)
    if activation is None or _argument(end) is not z:
        raise ValueError("a path needs one activation between two layers, such as Sigmoid, or none")
    return activation.symbol, np.where(np.isnan(z.data), z.data, slope(end, z))


def _row(batch: Any, sample: int) -> Any:
    return np.asarray(batch, np.float64)[sample] if np.ndim(batch) == 2 else np.asarray(batch, np.float64)
