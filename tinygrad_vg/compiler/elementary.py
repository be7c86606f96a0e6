"""Elementary functions of registers, which LLVM computes for 8 or 16 elements at a time.

The functions are exact to a few units in the last place over the whole range of their floats, subnormal numbers too,
and pass NaN on. They are sums and products; the C library's own would be called once for each element. Their
polynomials and rational functions are those of Cephes (S. Moshier, 1989).
"""

from functools import partial

from tinygrad_vg.compiler.registers import Register, bits, called, float32, int32, int64, where
from tinygrad_vg.engine.units import FAR, SELU_ALPHA, SELU_SCALE

sqrt, floor = partial(called, "llvm.sqrt"), partial(called, "llvm.floor")
log, log1p, expm1 = partial(called, "log"), partial(called, "log1p"), partial(called, "expm1")
sin, cos, hypot = partial(called, "sin"), partial(called, "cos"), partial(called, "hypot")


def polynomial(x: Register, first: float, *others: float) -> Register:
    """The polynomial with these factors, that of the highest power first."""
    total = x.kind(first)
    for factor in others:
        total = total * x + factor
    return total


def exp(x: Register) -> Register:
    """eˣ = 2ⁿ eʳ with |r| ≤ ½ ln 2. The power of two comes in two factors, for it may be subnormal."""
    return _exp32(x) if x.kind is float32 else _exp64(x)


def _exp32(x: Register) -> Register:
    x = where(x < -104.0, -104.0, x)
    x = where(x > 88.8, 88.8, x)
    n = floor(x * 1.44269504088896341 + 0.5)
    r = (x - n * 0.693359375) - n * -2.12194440e-4
    p = polynomial(
        r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
    )
    y = p * (r * r) + r + 1.0
    k = int32(n)
    half = k >> 1
    return y * bits((half + 127) << 23) * bits((k - half + 127) << 23)


def _exp64(x: Register) -> Register:
    """The same in float64, with eʳ as a rational function."""
    x = where(x < -746.0, -746.0, x)
    x = where(x > 709.79, 709.79, x)
    n = floor(x * 1.4426950408889634073599 + 0.5)
    r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6
    z = r * r
    p = r * polynomial(z, 1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1)
    q = polynomial(
        z, 3.00198505138664455042e-6, 2.52448340349684104192e-3, 2.27265548208155028766e-1, 2.00000000000000000009e0
    )
    y = 1.0 + 2.0 * (p / (q - p))
    k = int64(int32(n))
    half = k >> 1
    return y * bits((half + 1023) << 52) * bits((k - half + 1023) << 52)


def log1p_of_unit(x: Register) -> Register:
    """log(1 + x) for 0 ≤ x ≤ 1, as 2 artanh(s) with s = x/(2 + x) ≤ 1/3."""
    s = x / (2.0 + x)
    z = s * s
    p = polynomial(z, *(1 / n for n in range(15 if x.kind is float32 else 33, 1, -2)))
    return 2.0 * (s + s * (z * p))


def tanh(x: Register) -> Register:
    """tanh x: a polynomial, or a rational function, near 0, where the quotient of exponentials would lose digits."""
    z = x * x
    if x.kind is float32:
        p = polynomial(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
    else:
        p = polynomial(z, -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
        p = p / (((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3)
    near = x + x * (z * p)
    far = 1.0 - 2.0 / (exp(2.0 * abs(x)) + 1.0)
    return where(abs(x) < 0.625, near, where(x > 0.0, far, -far))


def maximum(a: Register, b: Register) -> Register:
    return where((a >= b) | (a != a), a, b)


def minimum(a: Register, b: Register) -> Register:
    return where((a <= b) | (a != a), a, b)


def sigmoid(z: Register) -> Register:
    e = exp(-abs(z))
    return where(z >= 0.0, 1.0, e) / (1.0 + e)


def sigmoid_slope(z: Register) -> Register:
    e = exp(-abs(z))
    h = 1.0 + e
    return e / (h * h)


def relu(z: Register) -> Register:
    return where(z < 0.0, 0.0, z)


def clip(x: Register, low: Register, high: Register) -> Register:
    return minimum(maximum(x, low), high)


def sign(x: Register) -> Register:
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, where(x == 0.0, 0.0, x)))


def leaky_relu(z: Register, slope: Register | float = 0.01) -> Register:
    return where(z <= 0.0, z * slope, z)


def elu(z: Register, alpha: Register | float = 1.0) -> Register:
    return where(z <= 0.0, alpha * expm1(minimum(z, z.kind(0.0))), z)


def selu(z: Register) -> Register:
    return elu(z, z.kind(SELU_ALPHA)) * SELU_SCALE


def silu(z: Register) -> Register:
    return maximum(z, z.kind(-FAR)) * sigmoid(z)


def softplus(z: Register) -> Register:
    return relu(z) + log1p_of_unit(exp(-abs(z)))


def sigmoid_error(z: Register, t: Register) -> Register:
    e = exp(-abs(z))
    p, q = where(z >= 0.0, 1.0, e), where(z >= 0.0, e, 1.0)
    return (p - t * p - t * q) / (p + q)


def binary_cross_entropy_with_logits(z: Register, t: Register) -> Register:
    return relu(z) - z * t + log1p_of_unit(exp(-abs(z)))
