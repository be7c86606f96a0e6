"""Chains of neurons to draw, one neuron to a layer, and the products of what is printed of them."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_vg as tg

HALF_A_DIGIT = Fraction(5, 1000)  # three digits: 1.00 stands for 0.995 to 1.005
# Below 1e-3 nothing new happens, only numbers that floats themselves hold with few digits.
numbers = st.one_of(st.just(0.0), st.floats(-3, 3).filter(lambda x: abs(x) > 1e-3))


@dataclass(frozen=True)
class Chain:
    """A chain of neurons, one to a layer: as products and sums of numbers, or as linear layers of 1 × 1."""

    layers: list[tuple[float, float]]
    x: float
    activation: Any
    linear: bool

    def build(self) -> tuple[tg.Tensor, dict[str, tg.Tensor]]:
        """The cost, and the leaves by their names."""
        a, leaves = tg.Tensor(np.full((1, 1) if self.linear else (), self.x), name="x"), {}
        for j, (w, b) in enumerate(self.layers, 1):
            for name, value, shape in ((f"w{j}", w, (1, 1)), (f"b{j}", b, (1,))):
                leaves[name] = tg.Tensor(np.full(shape if self.linear else (), value), requires_grad=True, name=name)
            w, b = leaves[f"w{j}"], leaves[f"b{j}"]
            a = self.activation(tg.ops.linear(a, w, b) if self.linear else w * a + b)
        return np.sum((1.0 - a) ** 2), leaves


chains = st.builds(
    Chain,
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6),
    numbers,
    st.sampled_from([tg.ops.sigmoid, np.tanh]),
    st.booleans(),
)


def exact(gradient: Any) -> Fraction:
    """An ExtendedArray of one element."""
    return Fraction(float(gradient.mantissa.item())) * Fraction(2) ** gradient.exponent


def assert_printed(product: Fraction, factors: int, truth: Fraction) -> None:
    """A product of printed factors is what it should be, as far as their digits say."""
    assert abs(product - truth) <= ((1 + HALF_A_DIGIT) ** factors - 1) * abs(product)
