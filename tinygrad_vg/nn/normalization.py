"""Normalization: layers whose output has a fixed mean and variance."""

from typing import Any

import numpy as np

from tinygrad_vg.nn.ensemble import beside_batch
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Parameter


class LayerNorm(Module):
    """(x − mean) / √(variance + eps) · weight + bias, over the last axis of x (Ba, Kiros & Hinton 2016).

    Mean and variance are taken over the features of each sample; the sum of squares is divided by the number of
    features, as in PyTorch. The initial weights are 1, the biases 0. In an ensemble both are (R, features), and x of
    shape (B, features) or (R, B, features) gives (R, B, features).

    Args:
        features: the length of the last axis of x.
        eps: a number added to the variance, so that a row of equal values gives 0.
        dtype: the dtype of the parameters.

    Raises:
        ValueError: if there is no feature; in a call, if the last axis of x has another length.

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
        """The normalized x, of the shape of x; in an ensemble with a member axis, (R, B, features)."""
        if x.shape[-1] != self.features:
            raise ValueError(f"{self!r} takes arrays of shape (..., {self.features}), not {x.shape}")
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        weight, bias = beside_batch(self.weight, x), beside_batch(self.bias, x)
        return centred / np.sqrt(variance + self.eps) * weight + bias

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"
