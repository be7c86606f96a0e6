"""Layers: Linear and the activations."""

from typing import Any

import numpy as np

from tinygrad_vg import ops
from tinygrad_vg.nn.init import Rng, scaled_normal_, standard_normal_
from tinygrad_vg.nn.module import Module, Parameter


class Linear(Module):
    """x Wᵀ + b for x of shape (..., B, in): (..., B, out).

    It starts as in Nielsen's chapter 3: weights N(0, 1/in), biases N(0, 1); `nn.init` has other starts. As part of
    an ensemble (`nn.stack`) its weight is (R, out, in), its bias (R, out), and its output (R, B, out).

    Args:
        in_features, out_features: numbers of inputs and of neurons.
        bias: whether there is a b.
        dtype: of the parameters.
        rng: a `np.random.Generator` to draw from, or a seed.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Linear(784, 30, rng=0)(np.zeros((5, 784))).shape
    (5, 30)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = np.float64, rng: Rng = None
    ) -> None:
        if min(in_features, out_features) < 1:
            raise ValueError(f"a layer has at least one input and one neuron, not {in_features} and {out_features}")
        self.in_features = in_features
        self.out_features = out_features
        rng = np.random.default_rng(rng)  # one generator, or weight and bias would be drawn from the same seed
        self.weight = scaled_normal_(Parameter(np.empty((out_features, in_features), dtype)), rng=rng)
        self.bias = standard_normal_(Parameter(np.empty(out_features, dtype)), rng=rng) if bias else None

    def forward(self, x: Any) -> Any:
        if x.shape[-1] != self.in_features:
            raise ValueError(f"{self!r} takes arrays of shape (..., {self.in_features}), not {x.shape}")
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Sigmoid(Module):
    """σ(z) = 1/(1 + exp(−z)), elementwise. |σ′| ≤ 1/4 is where the vanishing begins."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)


class Tanh(Module):
    """tanh z, elementwise; |tanh′| ≤ 1."""

    def forward(self, x: Any) -> Any:
        return np.tanh(x)


class ReLU(Module):
    """max(z, 0), elementwise; the slope at 0 is taken as 0."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class Identity(Module):
    """x itself: a network without activations is a product of matrices."""

    def forward(self, x: Any) -> Any:
        return x
