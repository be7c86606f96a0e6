"""The functions of activations: sigmoid, softplus and relu with its relatives. `normal.py` has GELU.

Slopes are exact at every z, so that no gradient vanishes by rounding: a small slope is computed directly, and not as a
difference of large numbers.
"""

import math
from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import differentiable


@differentiable(lambda g, y, z: -g * y * np.tanh(0.5 * z))
def sigmoid_slope(z: Any) -> Any:
    """σ′(z) = e/(1+e)² with e = exp(−|z|), elementwise: exact to rounding down to the smallest float.

    `y * (1 - y)` would be 0 beyond z ≈ 17 in float32, 37 in float64. The rule is σ″(z) = −σ′(z) tanh(z/2).

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.sigmoid_slope(np.array([0.0, 700.0]))
    array([2.50000000e-001, 9.85967654e-305])
    """
    e = np.exp(-np.abs(z))
    h = np.asarray(e + 1)
    h *= h
    return np.divide(e, h, out=h)


@differentiable(lambda g, y, z: g * sigmoid_slope(z))
def sigmoid(z: Any) -> Any:
    """σ(z) = 1/(1 + exp(−z)), elementwise, without overflow at any z.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.sigmoid(np.array([-800.0, 0.0, 800.0]))
    array([0. , 0.5, 1. ])
    """
    z = np.asarray(z)
    # e/(1 + e) with e = exp(z): small values stay exact, and from the bound on the quotient rounds to 1.
    e = np.asarray(np.minimum(z, 11.0 if z.dtype == np.float16 else 60.0))
    np.exp(e, out=e)
    e /= e + 1
    return e


@differentiable(lambda g, y, z: g * sigmoid(z))
def softplus(z: Any) -> Any:
    """log(1 + exp(z)), elementwise, without overflow at any z.

    >>> from tinygrad_vg import ops
    >>> float(ops.softplus(1000.0))
    1000.0
    """
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


@differentiable(lambda g, y, z: np.where(z <= 0, 0, g))
def relu(z: Any) -> Any:
    """max(z, 0), elementwise; the slope at 0 is taken as 0.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(z, 0)


FAR = 2e4  # beyond it exp(−z) is 0 in every float type


@differentiable(lambda g, y, z: g * (sigmoid(z) + np.clip(z, -FAR, FAR) * sigmoid_slope(z)))
def silu(z: Any) -> Any:
    """z σ(z), elementwise (Elfwing, Uchibe & Doya 2017). Its slope is σ(z) + z σ′(z).

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.silu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """
    return np.maximum(z, -FAR) * sigmoid(z)


@differentiable(lambda g, y, z, negative_slope=0.01: np.where(z <= 0, g * negative_slope, g))
def leaky_relu(z: Any, negative_slope: float = 0.01) -> Any:
    """z above 0, negative_slope · z below, elementwise; the slope at 0 is taken as negative_slope, as in PyTorch.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    return np.where(z <= 0, np.multiply(z, negative_slope), z)


@differentiable(lambda g, y, z, alpha=1.0: np.where(z <= 0, g * alpha * np.exp(np.minimum(z, 0)), g))
def elu(z: Any, alpha: float = 1.0) -> Any:
    """z above 0, alpha · (exp(z) − 1) below, elementwise (Clevert, Unterthiner & Hochreiter 2016).

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.elu(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """
    return np.where(z <= 0, alpha * np.expm1(np.minimum(z, 0)), z)


def _selu_constants() -> tuple[float, float]:
    """(α, λ) for which a layer with inputs of mean 0 and variance 1 has outputs of mean 0 and variance 1.

    With E the mean over N(0, 1), e₁ = E[eᶻ; z < 0] = √e Φ(−1) and e₂ = E[e²ᶻ; z < 0] = e² Φ(−2), the mean is 0 for
    α (½ − e₁) = E[z; z > 0] = 1/√(2π), and the variance is 1 for λ² (½ + α² (e₂ − 2 e₁ + ½)) = 1.
    """
    first = math.exp(0.5) * 0.5 * math.erfc(1 / math.sqrt(2))
    second = math.exp(2) * 0.5 * math.erfc(2 / math.sqrt(2))
    alpha = 1 / math.sqrt(2 * math.pi) / (0.5 - first)
    return alpha, 1 / math.sqrt(0.5 + alpha**2 * (second - 2 * first + 0.5))


SELU_ALPHA, SELU_SCALE = _selu_constants()


@differentiable(
    lambda g, y, z: SELU_SCALE * np.where(z <= 0, g * SELU_ALPHA * np.exp(np.minimum(z, 0)), g),
)
def selu(z: Any) -> Any:
    """λ · elu(z, α), elementwise, with the α and λ that keep mean 0 and variance 1 (Klambauer et al. 2017).

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.selu(np.array([-1.0, 1.0])).round(4)
    array([-1.1113,  1.0507])
    """
    return SELU_SCALE * elu(z, SELU_ALPHA)
