"""The table: the vector-Jacobian products of each NumPy function.

Most functions take one line; a rule that is longer than a line is a function above the table. NumPy's functions of
lists of arrays are in `composites.py`, and the operations that NumPy lacks are in `ops.py` with their rules.

A rule takes the gradient `g` = ∂C/∂y at the output, the output `y` and the function's own arguments, and returns
∂C/∂argument. It states the calculus only: where broadcasting has stretched an argument, the engine sums the rule's
result to the argument's shape. With `create_graph=True` a rule is called on Tensors and is recorded itself. Therefore

* it uses only functions of the registry, and does not branch on the values of arrays;
* its scalars are Python's (`math.log(2)`, never `np.log(2)`, which would turn float32 into float64);
* it changes no array in place.

A call with an option that a rule does not name (`where=`, `dtype=` ...) raises TypeError.
"""

import math
import operator
from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import defvjp, enter
from tinygrad_vg.engine.ops import scatter, sigmoid, sigmoid_slope

# Rules longer than a line.


def spread(g: Any, a: Any, axis: Any, keepdims: bool) -> Any:
    """The gradient of each sum, for every element that the reduction has summed: g in the shape of `a`."""
    # Not np.broadcast_to: a number may be reduced along axis 0, and (1,) is not broadcast to ().
    return np.zeros(np.shape(a), g.dtype) + (g if keepdims else unreduce(g, axis))


def unreduce(g: Any, axis: Any) -> Any:
    """Insert, with length 1, the axes that a reduction has removed. For `axis=None` g is 0-d and needs none."""
    return g if axis is None else np.expand_dims(g, axis)


def ratio(numerator: float, denominator: float) -> float:
    """The ratio of two counts; nan if the denominator is 0, as in the mean of no elements."""
    return numerator / denominator if denominator else math.nan


def larger_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """∂max(a, b)/∂a · g: g where a is the larger, g/2 where the two are equal, so that neither is preferred.

    Where one of them is NaN both get g, as in PyTorch, and not a 0 that would look right. (NaN ≠ NaN.)
    """
    return np.where(a == b, 0.5 * g, np.where(y != b, g, 0))


def max_vjp(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """g at the element that is the maximum; where several are equal to it, each has an equal share of g."""
    if not keepdims:
        g, y = unreduce(g, axis), unreduce(y, axis)
    hit = np.logical_or(a == y, a != a).astype(g.dtype)  # or it is NaN, and y too
    return np.where(hit, g / np.sum(hit, axis=axis, keepdims=True), 0)


def prod_vjp(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """g times the product of the other factors: those before the element times those after it.

    A quotient y/a would be wrong where a is 0.
    """
    if not keepdims:
        g = unreduce(g, axis)
    if axis is None or np.ndim(a) == 0:  # NumPy lets a number have an axis 0
        axis = tuple(range(np.ndim(a)))
    axes = axis if isinstance(axis, tuple) else (axis,)
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(a, axes, last)
    shape, kept = np.shape(moved), np.ndim(a) - len(axes)
    row = np.reshape(moved, (*shape[:kept], math.prod(shape[kept:])))  # -1 cannot be told where another length is 0
    others = product_before(row) * np.flip(product_before(np.flip(row, -1)), -1)
    return g * np.moveaxis(np.reshape(others, np.shape(moved)), last, axes)


def product_before(row: Any) -> Any:
    """The product of all elements before each one along the last axis, by doubling: log₂ n products of arrays."""
    products = np.concatenate([np.ones_like(row[..., :1]), row[..., :-1]], axis=-1)
    distance = 1
    while distance < np.shape(row)[-1]:
        earlier = np.concatenate([np.ones_like(products[..., :distance]), products[..., :-distance]], axis=-1)
        products = products * earlier
        distance *= 2
    return products


def var_vjp(g: Any, y: Any, a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """g · 2 (a − mean a) / (n − ddof)."""
    n = ratio(np.size(a), np.size(y))
    return ratio(2, n - ddof) * spread(g, a, axis, keepdims) * (a - np.mean(a, axis=axis, keepdims=True))


def summing_wide(function: Any) -> Any:
    """np.var or np.std, with float16 added in float32: NumPy adds it in float16, which ends at 65,504."""

    def kernel(a: Any, *args: Any, **kwargs: Any) -> Any:
        if a.dtype.char == "e":
            return function(a, *args, dtype=np.float32, **kwargs).astype(a.dtype)
        return function(a, *args, **kwargs)

    return kernel


def std_vjp(g: Any, y: Any, a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The rule of the variance, divided by 2 y; 0 where y is 0."""
    # Where all values are equal the derivative is undefined; 0 keeps NaN out of the gradients of the other rows.
    return var_vjp(0.5 * g / np.where(y == 0, math.inf, y), y, a, axis, ddof=ddof, keepdims=keepdims)


def of_list(a: Any) -> Any:
    """A list as an array, because a list has no arithmetic; anything else unchanged."""
    return np.asarray(a) if isinstance(a, list) else a


def power_base_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """g · b aᵇ⁻¹, the derivative with respect to the base."""
    b = of_list(b)
    origin = np.logical_and(a == 0, b == 0)
    return g * b * (a + origin) ** (b - 1)  # at a = b = 0 it computes 0 · 1⁻¹ = 0 in place of 0 · 0⁻¹ = NaN


def clip_array_vjp(
    g: Any, y: Any, a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Any:
    """With respect to the array: g where the array is not clipped; also where it equals a bound, as in PyTorch."""
    return np.where(y == a, g, 0)


def clip_min_vjp(g: Any, y: Any, a: Any, a_min: Any, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """With respect to the lower bound: g where the array lies below it."""
    return np.where(np.logical_and(a < a_min, y == a_min), g, 0)


def clip_max_vjp(g: Any, y: Any, a: Any, a_min: Any, a_max: Any, *, min: Any = None, max: Any = None) -> Any:
    """With respect to the upper bound: g where the array lies above it and the lower bound has not taken g."""
    taken = False if a_min is None else np.logical_and(a < a_min, y == a_min)
    return np.where(np.logical_and(np.logical_and(y != a, y == a_max), np.logical_not(taken)), g, 0)


def power_exponent_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """g · aᵇ log a, the derivative with respect to the exponent."""
    a = of_list(a)
    origin = np.logical_and(a == 0, b >= 0)  # there y is 0 or 1 and b moves nothing; 0⁻¹ falls without end
    # The product with ones gives a Python number the dtype of y; np.log of a Python number would be float64.
    return g * y * np.log(a * np.ones_like(y) + origin)


def where(condition: Any, *branches: Any) -> Any:
    """np.where with both branches. With the condition alone np.where returns indices, which have no derivative.

    Raises:
        TypeError: without both branches.
    """
    if len(branches) != 2:
        raise TypeError("np.where of a Tensor takes a condition and two branches; for indices write np.nonzero")
    return np.where(condition, *branches)


def matmul_left_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """g bᵀ, the derivative with respect to the first factor; a vector counts as a row."""
    if np.ndim(b) == 1:
        return np.expand_dims(g, -1) * b
    if np.ndim(a) == 1:
        return np.squeeze(np.matmul(b, np.expand_dims(g, -1)), -1)
    return np.matmul(g, np.swapaxes(b, -1, -2))


def matmul_right_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    """aᵀ g, the derivative with respect to the second factor; a vector counts as a column."""
    if np.ndim(a) == 1:
        return g * a if np.ndim(b) == 1 else np.expand_dims(a, -1) * np.expand_dims(g, -2)
    if np.ndim(b) == 1:
        return np.squeeze(np.matmul(np.swapaxes(a, -1, -2), np.expand_dims(g, -1)), -1)
    return np.matmul(np.swapaxes(a, -1, -2), g)


def arctan2_vjp(g: Any, other: Any, own: Any) -> Any:
    """The other coordinate over the square of the distance to the origin; 0 there, as np.hypot has it."""
    r = np.hypot(own, other)
    r = r + (r == 0)
    return g * (other / r) / r


def cumsum_vjp(g: Any, y: Any, a: Any, axis: Any = None) -> Any:
    """The sum of g from the element's place to the end, for the element enters all these sums."""
    return np.reshape(np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis), np.shape(a))


def transpose_vjp(g: Any, y: Any, a: Any, axes: Any = None) -> Any:
    """g with its axes permuted back."""
    return np.transpose(g, None if axes is None else tuple(np.argsort(np.ravel(axes) % np.ndim(a))))


# fmt: off
_LN2, _LN10, _DEGREE = math.log(2), math.log(10), math.pi / 180

# Arithmetic.
defvjp(np.positive,   lambda g, y, a: g)
defvjp(np.negative,   lambda g, y, a: -g)
defvjp(np.add,        lambda g, y, a, b: g,        lambda g, y, a, b: g)
defvjp(np.subtract,   lambda g, y, a, b: g,        lambda g, y, a, b: -g)
defvjp(np.multiply,   lambda g, y, a, b: g * b,    lambda g, y, a, b: g * a)
defvjp(np.divide,     lambda g, y, a, b: g / b,    lambda g, y, a, b: -g * y / b)
defvjp(np.remainder,  lambda g, y, a, b: g,        lambda g, y, a, b: -g * np.rint((a - y) / b))
defvjp(np.fmod,       lambda g, y, a, b: g,        lambda g, y, a, b: -g * np.rint((a - y) / b))
defvjp(np.power,      power_base_vjp, power_exponent_vjp)
defvjp(np.float_power, power_base_vjp, power_exponent_vjp)
defvjp(np.reciprocal, lambda g, y, a: -g * y * y)
defvjp(np.square,     lambda g, y, a: 2 * g * a)
defvjp(np.sqrt,       lambda g, y, a: 0.5 * g / y)
defvjp(np.cbrt,       lambda g, y, a: g / (3 * y) / y)
defvjp(np.ldexp,      lambda g, y, a, n: np.ldexp(g, n), None)

# Exponentials and logarithms.
defvjp(np.exp,        lambda g, y, a: g * y)
defvjp(np.exp2,       lambda g, y, a: g * y * _LN2)
defvjp(np.expm1,      lambda g, y, a: g * np.exp(a))
defvjp(np.log,        lambda g, y, a: g / a)
defvjp(np.log2,       lambda g, y, a: g * (1 / _LN2) / a)
defvjp(np.log10,      lambda g, y, a: g * (1 / _LN10) / a)
defvjp(np.log1p,      lambda g, y, a: g / (1 + a))
defvjp(np.logaddexp,  lambda g, y, a, b: g * sigmoid(a - b), lambda g, y, a, b: g * sigmoid(b - a))
defvjp(np.logaddexp2, lambda g, y, a, b: g * sigmoid((a - b) * _LN2), lambda g, y, a, b: g * sigmoid((b - a) * _LN2))

# Trigonometric and hyperbolic functions. tanh z = 2σ(2z) − 1, and its slope 4σ′(2z) is exact where 1 − y² rounds to 0.
defvjp(np.sin,        lambda g, y, a: g * np.cos(a))
defvjp(np.cos,        lambda g, y, a: -g * np.sin(a))
defvjp(np.tan,        lambda g, y, a: g * (1 + y * y))
defvjp(np.arcsin,     lambda g, y, a: g / np.sqrt((1 - a) * (1 + a)))
defvjp(np.arccos,     lambda g, y, a: -g / np.sqrt((1 - a) * (1 + a)))
defvjp(np.arctan,     lambda g, y, a: g / np.hypot(1, a) / np.hypot(1, a))
defvjp(np.arctan2,    lambda g, y, a, b: arctan2_vjp(g, b, a),      lambda g, y, a, b: arctan2_vjp(-g, a, b))
defvjp(np.hypot,      lambda g, y, a, b: g * (a / (y + (y == 0))),  lambda g, y, a, b: g * (b / (y + (y == 0))))
defvjp(np.sinh,       lambda g, y, a: g * np.cosh(a))
defvjp(np.cosh,       lambda g, y, a: g * np.sinh(a))
defvjp(np.tanh,       lambda g, y, a: 4 * g * sigmoid_slope(2 * a))
defvjp(np.arcsinh,    lambda g, y, a: g / np.hypot(1, a))
defvjp(np.arccosh,    lambda g, y, a: g / (np.sqrt(a - 1) * np.sqrt(a + 1)))
defvjp(np.arctanh,    lambda g, y, a: g / ((1 - a) * (1 + a)))
defvjp(np.degrees,    lambda g, y, a: g * (1 / _DEGREE))
defvjp(np.rad2deg,    lambda g, y, a: g * (1 / _DEGREE))
defvjp(np.radians,    lambda g, y, a: g * _DEGREE)
defvjp(np.deg2rad,    lambda g, y, a: g * _DEGREE)

# Choices and signs.
defvjp(np.absolute,   lambda g, y, a: g * np.sign(a))
defvjp(np.fabs,       lambda g, y, a: g * np.sign(a))
defvjp(np.copysign,   lambda g, y, a, b: g * np.copysign(1, a) * np.copysign(np.ones_like(a), b), None)
defvjp(np.maximum,    larger_vjp,    lambda g, y, a, b: larger_vjp(g, y, b, a))
defvjp(np.minimum,    larger_vjp,    lambda g, y, a, b: larger_vjp(g, y, b, a))
defvjp(np.fmax,       larger_vjp,    lambda g, y, a, b: larger_vjp(g, y, b, a))
defvjp(np.fmin,       larger_vjp,    lambda g, y, a, b: larger_vjp(g, y, b, a))
defvjp(np.clip,       clip_array_vjp, clip_min_vjp, clip_max_vjp)
enter(np.where, (None, lambda g, y, c, a, b: np.where(c, g, 0), lambda g, y, c, a, b: np.where(c, 0, g)), kernel=where)
defvjp(np.conjugate,  lambda g, y, a: g)  # real numbers only: the engine refuses complex ones

# Products of matrices.
defvjp(np.matmul,     matmul_left_vjp, matmul_right_vjp)
defvjp(np.vecdot,     lambda g, y, a, b: np.expand_dims(g, -1) * b, lambda g, y, a, b: np.expand_dims(g, -1) * a)

# Reductions.
defvjp(np.sum,        lambda g, y, a, axis=None, *, keepdims=False: spread(g, a, axis, keepdims))
defvjp(np.mean,       lambda g, y, a, axis=None, *, keepdims=False:
                          spread(g * ratio(np.size(y), np.size(a)), a, axis, keepdims))
defvjp(np.prod,       prod_vjp)
enter(np.var, (var_vjp,), kernel=summing_wide(np.var))
enter(np.std, (std_vjp,), kernel=summing_wide(np.std))
defvjp(np.max,        max_vjp)
defvjp(np.min,        max_vjp)
defvjp(np.amax,       max_vjp)
defvjp(np.amin,       max_vjp)
defvjp(np.cumsum,     cumsum_vjp)

# Shapes. The engine sums the gradients of repeated elements, so the rule of broadcast_to is the identity.
defvjp(np.reshape,      lambda g, y, a, shape: np.reshape(g, np.shape(a)))
defvjp(np.ravel,        lambda g, y, a: np.reshape(g, np.shape(a)))
defvjp(np.squeeze,      lambda g, y, a, axis=None: np.reshape(g, np.shape(a)))
defvjp(np.expand_dims,  lambda g, y, a, axis: np.reshape(g, np.shape(a)))
defvjp(np.broadcast_to, lambda g, y, a, shape: g)
defvjp(np.transpose,    transpose_vjp)
defvjp(np.swapaxes,     lambda g, y, a, axis1, axis2: np.swapaxes(g, axis1, axis2))
defvjp(np.moveaxis,     lambda g, y, a, source, destination: np.moveaxis(g, destination, source))
defvjp(np.flip,         lambda g, y, a, axis=None: np.flip(g, axis))
defvjp(np.roll,         lambda g, y, a, shift, axis=None: np.roll(g, np.negative(shift), axis))
# Python's and the array's own functions; the engine casts the gradient back.
defvjp(operator.getitem,  lambda g, y, a, index: scatter(g, index, np.shape(a)))
defvjp(np.ndarray.astype, lambda g, y, a, dtype: g)
# fmt: on
