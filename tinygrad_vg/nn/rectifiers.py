"""Rectifiers: activations that are about z above 0 and small below, ReLU's relatives.

Their slopes below 0 differ: constant (LeakyReLU), falling (ELU, SELU), or of either sign (GELU, SiLU).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_vg.engine import ops
from tinygrad_vg.engine.units import SELU_ALPHA, SELU_SCALE
from tinygrad_vg.nn.activations import SATURATED, Activation


class LeakyReLU(Activation):
    """z above 0, negative_slope · z below; the slope at 0 is taken as negative_slope.

    The largest slope is the larger of 1 and |negative_slope|. What lies below 0 is saturated if its slope is small.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.LeakyReLU(0.1)(np.array([-1.0, 2.0]))
    array([-0.1,  2. ])
    """

    symbol = "lrelu"

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope
        self.largest_slope = max(1.0, abs(negative_slope))

    def forward(self, z: Any) -> Any:
        return ops.leaky_relu(z, self.negative_slope)

    def saturated(self, y: Any) -> Any:  # type: ignore[override]  # not static, for it depends on an option
        if self.negative_slope < 0:
            return None  # y is above 0 on either side
        low, high = (slope < SATURATED * self.largest_slope for slope in (self.negative_slope, 1.0))
        return np.where(y <= 0, low, high)

    def extra_repr(self) -> str:
        return f"{self.negative_slope}"


class ELU(Activation):
    """z above 0, alpha · (exp(z) − 1) below: the slope is alpha · exp(z) = y + alpha there.

    The largest slope is the larger of 1 and |alpha|.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.ELU()(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """

    symbol = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha
        self.largest_slope = max(1.0, abs(alpha))

    def forward(self, z: Any) -> Any:
        return ops.elu(z, self.alpha)

    def saturated(self, y: Any) -> Any:  # type: ignore[override]  # not static, for it depends on an option
        if self.alpha < 0:
            return None  # y is above 0 on either side
        return np.where(y <= 0, y + self.alpha, 1.0) < SATURATED * self.largest_slope

    def extra_repr(self) -> str:
        return f"{self.alpha}"


class SELU(Activation):
    """λ z above 0, λ α (exp(z) − 1) below: in a wide network with weights N(0, 1/in), mean 0 and variance 1 stay.

    α and λ are the numbers for which they do (Klambauer et al. 2017). The largest slope, just below 0, is λ α.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.SELU()(np.array([-1.0, 1.0])).round(4)
    array([-1.1113,  1.0507])
    """

    function = staticmethod(ops.selu)
    symbol = "selu"
    largest_slope = SELU_SCALE * SELU_ALPHA

    @staticmethod
    def saturated(y: Any) -> Any:
        slope = np.where(y <= 0, y + SELU_SCALE * SELU_ALPHA, SELU_SCALE)
        return slope < SATURATED * SELU.largest_slope


def _fixed_point(function: Callable[[float], float], x: float) -> float:
    """x = function(x), to rounding, of a function that brings any two numbers nearer to each other."""
    for _ in range(60):
        x = function(x)
    return x


class SiLU(Activation):
    """z σ(z), also called swish; the slope is σ(z) + z σ′(z).

    The slope is largest where z tanh(z/2) = 2. With u = z/2, so that tanh u = 1/u, it is (1 + u)/2 there. Two z have
    the same y below 0, so that y does not tell which elements are saturated.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.SiLU()(np.array([-1.0, 1.0])).round(4)
    array([-0.2689,  0.7311])
    """

    function = staticmethod(ops.silu)
    symbol = "silu"
    largest_slope = (1 + _fixed_point(lambda u: 1 / math.tanh(u), 1.2)) / 2


class GELU(Activation):
    """z Φ(z), where Φ is the distribution function of N(0, 1) (Hendrycks & Gimpel 2016).

    The slope Φ(z) + z φ(z) is largest at z = √2: (1 + erf 1)/2 + 1/(e √π). Two z have the same y below 0, so that y
    does not tell which elements are saturated.

    Args:
        approximate: "none", or "tanh" for z (1 + tanh(√(2/π) (z + 0.044715 z³)))/2.

    Raises:
        ValueError: for another name.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.GELU()(np.array([-1.0, 1.0])).round(4)
    array([-0.1587,  0.8413])
    """

    symbol = "gelu"
    largest_slope = (1 + math.erf(1)) / 2 + math.exp(-1) / math.sqrt(math.pi)

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f'approximate is "none" or "tanh", not {approximate!r}')
        self.approximate = approximate
        if approximate == "tanh":
            self.largest_slope = _largest(_slope_of_gelu_tanh, 1.0, 2.0)

    def forward(self, z: Any) -> Any:
        return ops.gelu(z) if self.approximate == "none" else ops.gelu_tanh(z)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


def _slope_of_gelu_tanh(z: float) -> float:
    scale, cube = math.sqrt(2 / math.pi), 0.044715
    y = math.tanh(scale * (z + cube * z**3))
    return (1 + y) / 2 + z * (1 - y * y) / 2 * scale * (1 + 3 * cube * z * z)


def _largest(function: Callable[[float], float], low: float, high: float) -> float:
    """The maximum of a function that rises and then falls between two numbers, by thirds of what is left."""
    for _ in range(60):
        third = (high - low) / 3
        if function(low + third) < function(high - third):
            low += third
        else:
            high -= third
    return function(low)
