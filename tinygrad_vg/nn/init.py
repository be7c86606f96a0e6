"""Initializers: each gives a tensor new random data in place, keeps shape and dtype, and returns the tensor.

`rng` is a `np.random.Generator` to draw from, or a seed; None draws a fresh one. A weight has shape
(..., out, in): in = fan_in is the number of inputs of a neuron, out = fan_out the number of neurons it feeds.

>>> from tinygrad_vg import nn
>>> layer = nn.Linear(100, 50)
>>> weight = nn.init.orthogonal_(layer.weight, rng=0)
"""

import math
from typing import TypeAlias, TypeVar, Union

import numpy as np

from tinygrad_vg.engine import Tensor

Rng: TypeAlias = Union["np.random.Generator", int, None]  # a string: np.random is loaded on first use, and large
T = TypeVar("T", bound=Tensor)


def constant_(tensor: T, value: float) -> T:
    """Every element is `value`."""
    tensor.data = np.full(tensor.shape, value, tensor.dtype)
    return tensor


def zeros_(tensor: T) -> T:
    """Every element is 0."""
    return constant_(tensor, 0.0)


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> T:
    """N(mean, std²)."""
    tensor.data = np.random.default_rng(rng).normal(mean, std, tensor.shape).astype(tensor.dtype)
    return tensor


def uniform_(tensor: T, low: float = 0.0, high: float = 1.0, rng: Rng = None) -> T:
    """Uniform between `low` and `high`."""
    tensor.data = np.random.default_rng(rng).uniform(low, high, tensor.shape).astype(tensor.dtype)
    return tensor


def standard_normal_(tensor: T, rng: Rng = None) -> T:
    """N(0, 1): Nielsen's biases, and in his "large" initializer the weights too (chapter 3)."""
    return normal_(tensor, rng=rng)


def scaled_normal_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """N(0, gain²/fan_in): Nielsen's default weights (chapter 3); LeCun's initializer."""
    return normal_(tensor, std=gain / math.sqrt(fans(tensor)[0]), rng=rng)


def xavier_normal_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """N(0, 2 gain²/(fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return normal_(tensor, std=gain * math.sqrt(2 / sum(fans(tensor))), rng=rng)


def xavier_uniform_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """Uniform with the variance of `xavier_normal_` (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, rng)


def kaiming_normal_(tensor: T, gain: float = math.sqrt(2), rng: Rng = None) -> T:
    """N(0, gain²/fan_in); √2 makes up for the half that ReLU cuts off (He et al. 2015)."""
    return scaled_normal_(tensor, gain, rng)


def kaiming_uniform_(tensor: T, gain: float = math.sqrt(2), rng: Rng = None) -> T:
    """Uniform with the variance of `kaiming_normal_` (He et al. 2015)."""
    bound = gain * math.sqrt(3 / fans(tensor)[0])
    return uniform_(tensor, -bound, bound, rng)


def orthogonal_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """gain times a matrix with orthonormal rows or columns, uniformly distributed (Saxe et al. 2014)."""
    fan_in, fan_out = fans(tensor)
    tall = np.random.default_rng(rng).normal(size=(*tensor.shape[:-2], max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(tall)
    # QR leaves the columns' signs to the algorithm; the signs of R's diagonal make the distribution uniform.
    q = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    tensor.data = (gain * (q if fan_out >= fan_in else q.swapaxes(-1, -2))).astype(tensor.dtype)
    return tensor


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (..., out, in).

    Raises:
        ValueError: if the tensor has less than two axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"a weight (..., out, in) is needed to count a neuron's inputs, not shape {tensor.shape}")
    fan_out, fan_in = tensor.shape[-2:]
    return fan_in, fan_out
