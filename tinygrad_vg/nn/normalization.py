"""Normalization: layers that give what passes between layers a fixed mean and spread."""

from typing import Any

import numpy as np

from tinygrad_vg.nn.ensemble import beside_batch
from tinygrad_vg.nn.module import Module, Parameter


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

    takes_members = True

    def __init__(self, features: int, eps: float = 1e-5, *, dtype: Any = np.float64) -> None:
        if not isinstance(features, int | np.integer):
            raise TypeError(f"LayerNorm takes the length of the last axis as a whole number, not {features!r}")
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
        weight, bias = beside_batch(self.weight, x), beside_batch(self.bias, x)
        return centred / np.sqrt(variance + self.eps) * weight + bias

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"
