"""Linear: x Wᵀ + b."""

import math
from typing import Any

import numpy as np

from tinygrad_vg.engine import ops
from tinygrad_vg.nn.ensemble import members_of
from tinygrad_vg.nn.flags import checked_flag
from tinygrad_vg.nn.init import Rng, scaled_normal_, standard_normal_
from tinygrad_vg.nn.layer import Layer, taken
from tinygrad_vg.nn.parameter import Parameter
from tinygrad_vg.nn.twins import seed_of


class Linear(Layer):
    """x Wᵀ + b for x of shape (..., B, in); the output has shape (..., B, out).

    The initial weights are N(0, 1/in) and the biases N(0, 1), as in Nielsen's chapter 3; `nn.init` has other
    initializers. In an ensemble (`nn.stack`) the weight is (R, out, in), the bias (R, out), and the output (R, B, out).

    Args:
        in_features, out_features: the numbers of inputs and of neurons.
        bias: whether there is a b.
        dtype: the dtype of the parameters.
        rng: a `np.random.Generator` to sample from, or a random seed.

    Raises:
        TypeError: if `bias` is neither True nor False.
        ValueError: if there is no input or no neuron; in a call, if the last axis of x has another length.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Linear(784, 30, rng=0)(np.zeros((5, 784))).shape
    (5, 30)
    """

    takes_members = True

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = np.float64, rng: Rng = None
    ) -> None:
        if min(in_features, out_features) < 1:
            raise ValueError(f"in_features and out_features are 1 or more, not {in_features} and {out_features}")
        bias = checked_flag(self, "bias", bias)
        self.in_features = in_features
        self.out_features = out_features
        one = np.random.default_rng(rng)  # one generator: weight and bias must not be sampled from the same seed
        self.weight = scaled_normal_(Parameter(np.empty((out_features, in_features), dtype)), rng=one)
        self.weight.seed = seed_of(rng)
        self.bias = standard_normal_(Parameter(np.empty(out_features, dtype)), rng=one) if bias else None

    def forward(self, x: Any) -> Any:
        """x Wᵀ + b: (..., B, in) → (..., B, out); in an ensemble (B, in) or (R, B, in) → (R, B, out)."""
        x = taken(x, self.weight._data.dtype)
        if x.ndim == 1 and members_of(self):
            raise ValueError("an ensemble takes a batch, not a single sample: x[None] is a batch of one sample")
        try:
            return ops.linear(x, self.weight, self.bias)
        except ValueError as error:
            if x.shape[-1:] == (self.in_features,):
                raise
            words = f"{self!r} takes arrays of shape (..., {self.in_features}), not {x.shape}"
            raise ValueError(words + flattening(x.shape, self.in_features)) from error

    @property
    def width(self) -> tuple[int, int]:
        return self.in_features, self.out_features

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


def flattening(shape: tuple[int, ...], features: int) -> str:
    """What to write if the last axes of an input have as many elements as a layer has inputs; else an empty text.

    >>> flattening((5, 28, 28), 784), flattening((5, 28), 784)
    (': write x.reshape(-1, 784), or nn.Flatten() before the layer', '')
    """
    axes = next((k for k in range(len(shape) - 1) if math.prod(shape[k:]) == features), None)
    if axes is None:
        return ""
    before = "-1" if axes < 2 else ", ".join(map(str, shape[:axes]))
    return f": write x.reshape({before}, {features})" + ", or nn.Flatten() before the layer" * (axes == 1)
