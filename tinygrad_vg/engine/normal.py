"""The normal distribution: Φ, its density φ, and GELU, z Φ(z), exact to a few units in the last place at every z.

NumPy has no error function. Φ(−a) = φ(a) m(a) for a ≥ 0, where m is Mills' ratio, which falls from √(π/2) as 1/a: it is
the density that becomes small, and m is a smooth function. With t = (a − 5)/(a + 5) from −1 to 1, (1 + a) m(a) is a
polynomial in t to 10⁻¹⁷: its Chebyshev series in t, cut off behind degree 24. A test computes the coefficients anew.
"""

import math
from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import differentiable
from tinygrad_vg.engine.units import sigmoid, sigmoid_slope

# fmt: off
MILLS = (  # the coefficients of 1, t, t² ...
    1.1568486282918946, -0.22948753825211315, 0.07778159886873554, 0.0250721793016388, -0.0661776007789934,
    0.0615050458401865, -0.038026592187762366, 0.01634823128102938, -0.004201290310663574, 1.9530638370790786e-05,
    0.00045704381820007954, -0.0001343742785571135, -2.48054584472145e-05, 2.270961270923768e-05,
    -1.7723438185601556e-07, -3.277287633208865e-06, 3.2197131609042185e-07, 4.91996233147834e-07,
    -6.738323465177047e-08, -7.758520236786343e-08, 1.0082895646260188e-08, 1.1032071151574336e-08,
    -1.0846925288860795e-09, -9.564832934712551e-10, 6.288377855498677e-11,
)
# fmt: on
FAR = 200.0  # beyond it Φ and φ are 0 in every float type


def _wide(z: Any) -> Any:
    """z in float64 or wider, not beyond `FAR`; a polynomial of 25 terms in float32 would lose digits."""
    z = np.asarray(z)
    return np.clip(z.astype(np.result_type(z, np.float64), copy=False), -FAR, FAR)


def _float(y: Any, z: Any) -> Any:
    """y in the dtype of z, or as it is if z has whole numbers."""
    dtype = np.asarray(z).dtype
    return np.asarray(y.astype(dtype, copy=False) if dtype.kind == "f" else y)


def _times_density(factor: Any, a: Any) -> Any:
    """factor · φ(a), φ(a) = exp(−a²/2)/√(2π). Of a², the part of the first digits is exact, and the rest small."""
    h = np.trunc(a * 16) / 16
    half = np.exp(-0.25 * h * h)  # twice, so that nothing on the way is smaller than the result
    return factor * np.exp(-0.5 * (a - h) * (a + h)) * (1 / math.sqrt(2 * math.pi)) * half * half


@differentiable(lambda g, y, z: -g * np.clip(z, -FAR, FAR) * y)
def normal_pdf(z: Any) -> Any:
    """φ(z) = exp(−z²/2)/√(2π), the density of N(0, 1), elementwise.

    >>> from tinygrad_vg import ops
    >>> float(ops.normal_pdf(0.0).round(4))
    0.3989
    """
    return _float(_times_density(1.0, _wide(z)), z)


@differentiable(lambda g, y, z: g * normal_pdf(z))
def normal_cdf(z: Any) -> Any:
    """Φ(z), the probability that a number of N(0, 1) is below z, elementwise.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.normal_cdf(np.array([-30.0, 0.0]))
    array([4.90671393e-198, 5.00000000e-001])
    """
    wide = _wide(z)
    a = np.abs(wide)
    t = (a - 5) / (a + 5)
    mills = np.full_like(t, MILLS[-1])
    for coefficient in MILLS[-2::-1]:
        mills *= t
        mills += coefficient
    tail = _times_density(mills / (1 + a), a)
    return _float(np.where(wide > 0, 1 - tail, tail), z)


@differentiable(lambda g, y, z: g * (normal_cdf(z) + np.clip(z, -FAR, FAR) * normal_pdf(z)))
def gelu(z: Any) -> Any:
    """z Φ(z), elementwise (Hendrycks & Gimpel 2016). Its slope is Φ(z) + z φ(z).

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    return np.maximum(z, -FAR) * normal_cdf(z)


# Where 2u is beyond −750, and its cube within float16.
_END = 30.0
_SCALE, _CUBE = 2 * math.sqrt(2 / math.pi), 0.044715


def _doubled(z: Any) -> Any:
    """2u = 2 √(2/π) (z + 0.044715 z³), for (1 + tanh u)/2 = σ(2u)."""
    return _SCALE * (z + _CUBE * z * z * z)


def _gelu_tanh_vjp(g: Any, y: Any, z: Any) -> Any:
    near = np.clip(z, -_END, _END)
    inner = _doubled(near)
    return g * (sigmoid(inner) + near * sigmoid_slope(inner) * (_SCALE * (1 + 3 * _CUBE * near * near)))


@differentiable(_gelu_tanh_vjp)
def gelu_tanh(z: Any) -> Any:
    """z (1 + tanh(√(2/π) (z + 0.044715 z³)))/2, an approximation of `gelu` from the same paper.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.gelu_tanh(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1588,  0.    ,  0.8412])
    """
    near = np.clip(z, -_END, _END)
    return np.maximum(z, -_END) * sigmoid(_doubled(near))
