"""Layers: Linear, the activations, and what lies between layers: normalisation and residual blocks."""

from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, ops
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
        if not isinstance(x, Tensor):
            x = np.asarray(x)
        if self.weight.data.ndim == 3 and x.ndim == 1:
            raise ValueError("an ensemble takes batches: x[None] is a batch of this one sample")
        try:
            return ops.linear(x, self.weight, self.bias)
        except ValueError as error:
            if x.shape[-1:] == (self.in_features,):
                raise
            raise ValueError(f"{self!r} takes arrays of shape (..., {self.in_features}), not {x.shape}") from error

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Sigmoid(Module):
    """σ(z) = 1/(1 + exp(−z)), elementwise. |σ′| ≤ 1/4 is where the vanishing begins."""

    forward = staticmethod(ops.sigmoid)


class Tanh(Module):
    """tanh z, elementwise; |tanh′| ≤ 1."""

    def forward(self, x: Any) -> Any:
        return np.tanh(x)


class ReLU(Module):
    """max(z, 0), elementwise; the slope at 0 is taken as 0."""

    forward = staticmethod(ops.relu)


class Identity(Module):
    """x itself: a network without activations is a product of matrices."""

    def forward(self, x: Any) -> Any:
        return x


class LayerNorm(Module):
    """(x − mean) / √(variance + eps) · weight + bias, over the last axis of x (Ba, Kiros & Hinton 2016).

    The variance is that of the sample, divided by the number of features, as in PyTorch. Weights start as 1, biases
    as 0. In an ensemble both are (R, features), and (B, features) or (R, B, features) becomes (R, B, features).

    Args:
        features: length of the last axis.
        eps: added to the variance, so that a row of equal values gives 0.
        dtype: of the parameters.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.LayerNorm(2)(np.array([[1.0, 3.0]])).data.round(3)
    array([[-1.,  1.]])
    """

    def __init__(self, features: int, eps: float = 1e-5, *, dtype: Any = np.float64) -> None:
        if features < 1:
            raise ValueError(f"a layer has at least one feature, not {features}")
        self.features = features
        self.eps = eps
        self.weight = Parameter(np.ones(features, dtype))
        self.bias = Parameter(np.zeros(features, dtype))

    def forward(self, x: Any) -> Any:
        if x.shape[-1] != self.features:
            raise ValueError(f"{self!r} takes arrays of shape (..., {self.features}), not {x.shape}")
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        weight: Any = self.weight
        bias: Any = self.bias
        if weight.ndim > 1 and x.ndim > 1:  # an ensemble's: each member's row goes with its whole batch
            weight, bias = np.expand_dims(weight, -2), np.expand_dims(bias, -2)
        return centred / np.sqrt(variance + self.eps) * weight + bias

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"


class Residual(Module):
    """x + module(x): a path along which the gradient arrives as it is (He et al. 2015).

    Args:
        module: keeps the shape of x; of an ensemble it may put a member axis in front.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Residual(nn.ReLU())(np.array([-1.0, 2.0]))
    array([-1.,  4.])
    """

    def __init__(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"Residual takes a module, not {module!r}")
        self.module = module

    def forward(self, x: Any) -> Any:
        y = self.module(x)
        if y.shape[-x.ndim :] != x.shape:  # (B, 1) would be stretched without a word
            raise ValueError(f"{type(self.module).__name__} made {y.shape} of {x.shape}; x + module(x) needs its shape")
        return x + y
