"""The numbers of a strip: the factors of Eq. 122 along one path of single neurons, their products, and the gradient.

This module is internal to `draw`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.engine import ExtendedArray, Tensor, between, cotangents
from tinygrad_vg.instruments.factors import Factor, links_of
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.notation import subscripted

_DIGITS = 10  # digits to which two float64 are called equal: the last ones differ by rounding


@dataclass(frozen=True)
class Number:
    """A number beyond the range of the floats: sign · 10**log10."""

    sign: float
    log10: float

    @classmethod
    def of(cls, value: ExtendedArray | float) -> "Number":
        """The number that a float, or an ExtendedArray of one element, is."""
        mantissa = value.mantissa.item() if isinstance(value, ExtendedArray) else value
        return cls(float(np.sign(mantissa)), float(log10_norm(value)))

    def __mul__(self, other: "Number") -> "Number":
        return Number(self.sign * other.sign, self.log10 + other.log10)

    def __str__(self) -> str:
        return style.power(self.sign, self.log10)


@dataclass(frozen=True)
class Step:
    """The factors on one edge: w_j σ′(z_j) of a layer, or ∂C/∂a_L.

    Attributes:
        factors: them, in the order of Eq. 122.
        number: their product.
        layer: the number j of the layer; None for ∂C/∂a_L.
        z: z_j; None if no activation follows it.
        activation: the activation, or its class; None if there is none.
    """

    factors: Sequence[Factor]
    number: Number
    layer: int | None = None
    z: float | None = None
    activation: Any = None

    @property
    def lines(self) -> list[str]:
        """What stands under the edge: the factors, their values if they are several, and their product."""
        names = " ".join(factor.label for factor in self.factors)
        values = " × ".join(style.three_digits(factor.value) for factor in self.factors)
        return [names, *([values] if len(self.factors) > 1 else []), f"= {self.number}"]

    @property
    def title(self) -> str:
        """What stands above the neuron: "z₁ = 0.5"; "" if no activation follows z."""
        return "" if self.z is None else f"{subscripted('z', self.layer or 0)} = {style.three_digits(self.z)}"


@dataclass(frozen=True)
class Product:
    """Eq. 122 for one bias.

    Attributes:
        steps: the edges, from the bias to the cost.
        measured: ∂C/∂b₁, computed from the cost down through all of the recorded graph.
    """

    steps: Sequence[Step]
    measured: Number

    @cached_property
    def running(self) -> list[Number]:
        """The products of the first 1, 2, ... steps; the last one is that of Eq. 122."""
        return list(accumulate((step.number for step in self.steps), Number.__mul__))

    @property
    def agreement(self) -> str:
        """How the product of the factors compares with the measured gradient, in words."""
        product, measured = self.running[-1], self.measured
        if not math.isfinite(product.log10) or not math.isfinite(measured.log10):
            same = product.log10 == measured.log10 and product.sign == measured.sign
            return "equal" if same else "not equal"
        ratio = product.sign * measured.sign * 10.0 ** min(product.log10 - measured.log10, 9.0)
        difference = abs(1.0 - ratio)
        digits = min(_DIGITS, math.floor(-math.log10(difference))) if difference else _DIGITS
        return f"equal to {digits} digits" if digits > 0 else "not equal"


def product_of(cost: Tensor, bias: Tensor) -> Product:
    """The factors from a bias to a cost.

    Raises:
        TypeError, ValueError: as `draw.chain` does.
    """
    _check(cost, bias)
    try:
        links = links_of(cost, bias)
    except ValueError as error:
        raise ValueError(
            f"draw.chain draws one product, that of a network one neuron wide on one sample. {error}. "
            "Of a wide network draw.neurons(model, cost) draws the strongest path, and draw.layers the layers"
        ) from error
    top, name = (links[-1].output, links[-1].name) if links else (bias, "b₁")
    gradients = cotangents(cost, of=[bias, top])
    steps = []
    for layer, some in groupby(links, lambda link: link.layer):
        group = list(some)
        factors = [factor for link in group if (factor := link.factor)]
        bent = next((link for link in group if link.activation is not None), None)
        number = math.prod((Number.of(factor.value) for factor in factors), start=Number(1.0, 0.0))
        if factors:
            z = None if bent is None else float(bent.source.item())
            steps.append(Step(factors, number, layer, z, bent and bent.activation))
    end = Number.of(gradients[top])
    steps.append(Step([Factor(f"∂C/∂{name}", float(np.asarray(gradients[top]).item()))], end))
    return Product(steps, Number.of(gradients[bias]))


def _check(cost: Any, bias: Any) -> None:
    for name, given in (("cost", cost), ("bias", bias)):
        if not isinstance(given, Tensor):
            raise TypeError(
                f"draw.chain(cost, bias) takes the {name} as a Tensor, not {type(given).__name__}: "
                "write draw.chain(cost, net[0].bias) with the cost that the network was called for"
            )
    if cost.size != 1:
        raise ValueError(
            f"draw.chain draws the gradient of a single number, and this cost has shape {cost.shape}: "
            "write np.sum(cost) or np.mean(cost)"
        )
    if cost not in between([cost], [bias]):
        raise ValueError(
            f"draw.chain was asked for the gradient of {bias.label}, and the cost does not depend on it: "
            "give a tensor with requires_grad=True that this cost was computed from, outside of no_grad"
        )
