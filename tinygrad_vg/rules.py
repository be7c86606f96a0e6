"""The table: one line per NumPy function, its vector-Jacobian products.

A rule takes the incoming gradient `g` = ∂C/∂y, the output `y` and the function's own arguments, and returns
∂C/∂argument. It is the calculus and nothing else: where broadcasting had stretched an argument, the engine
sums the rule's answer back to the argument's shape. A rule must hold three promises, because with
`create_graph=True` it is called on Tensors and recorded in its turn:

* it uses only functions of this table, or of `CONSTANT`, whose results have no derivative to follow;
* its scalars are Python's (`math.log(2)`, never `np.log(2)`, which would turn float32 into float64);
* it changes nothing in place.

Options that a rule does not name (`where=`, `dtype=` ...) are refused when the function is called.
"""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

Rule = Callable[..., Any]

_REASONS = {
    "out": "the graph keeps the arrays of the forward pass, so nothing may be written into them; "
    "write `t = f(u)` instead",
    "where": "the entries left out would have no defined value; write `np.where(condition, f(t), other)` instead",
}


def refuse_options(name: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for the first option that is not among the known ones."""
    for option in given:
        if option not in known:
            covered = ", ".join(sorted(known)) or "none"
            reason = _REASONS.get(option, f"its rule covers these options: {covered}")
            raise TypeError(f"{name} of a Tensor does not take {option}=: {reason}")


class Entry:
    """What the engine knows of one function: how to run it on arrays, and a rule per argument.

    Attributes:
        function: takes arrays.
        rules: for each array argument in order a rule, or None where there is no derivative to follow.
        limit: how many positional arguments the rules understand.
        options: the names they understand.
    """

    __slots__ = ("function", "rules", "limit", "options")

    def __init__(self, function: Callable[..., Any], rules: tuple[Rule | None, ...]) -> None:
        for rule in rules:
            if rule is not None and not callable(rule):
                raise TypeError(f"a rule is a function (g, y, *args) -> gradient, or None, not {rule!r}")
        self.function = function
        self.rules = rules
        codes = [code for rule in rules if (code := getattr(rule, "__code__", None)) is not None]
        # A code object's argument count includes g and y; its CO_VARARGS flag (4) means any number of arguments.
        self.limit = min((math.inf if c.co_flags & 4 else c.co_argcount - 2 for c in codes), default=math.inf)
        # Names follow in the same order, behind g, y and the first array those of the options.
        names = [set(c.co_varnames[min(3, c.co_argcount) : c.co_argcount + c.co_kwonlyargcount]) for c in codes]
        self.options = set.intersection(*names) if names else set()

    def check(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if the call uses what the rules do not cover."""
        refuse_options(name, kwargs, self.options)
        if len(args) > self.limit:
            raise TypeError(
                f"{name} of a Tensor takes {self.limit} positional arguments, not {len(args)}; "
                "pass options that follow the arrays by keyword"
            )


TABLE: dict[Callable[..., Any], Entry] = {}

# A function that is spelled out in others of the table: called in its place on the same arguments.
SPELLED: dict[Callable[..., Any], Callable[..., Any]] = {}


def defvjp(function: Callable[..., Any], *rules: Rule | None) -> None:
    """Enter the derivative of `function` in the table: one rule per array argument, in order.

    `rule(g, y, *args, **kwargs)` returns ∂C/∂argument for g = ∂C/∂y; None marks an argument without
    derivative. `function` must be one that hands Tensors to NumPy's protocols: a NumPy function or any ufunc,
    SciPy's too. For a plain Python function use `@differentiable`.

    >>> import numpy as np, tinygrad_vg as tg
    >>> tg.defvjp(np.sinc, lambda g, y, a: g * (np.cos(np.pi * a) - y) / a)
    >>> tg.gradcheck(np.sinc, tg.Tensor([0.3, -1.2], requires_grad=True), order=2)
    True

    Raises:
        TypeError: if a rule is not callable.
    """
    TABLE[function] = Entry(function, rules)


# Rules longer than a line.


def spread(g: Any, a: Any, axis: Any, keepdims: bool) -> Any:
    """Give every element that a reduction summed over the gradient of its sum."""
    # Adding zeros stretches like np.broadcast_to and is several times faster on small arrays.
    return np.zeros(np.shape(a), g.dtype) + (g if keepdims else unreduce(g, axis))


def unreduce(g: Any, axis: Any) -> Any:
    """Put back, with length 1, the axes that a reduction took away; a number needs none to broadcast."""
    return g if axis is None else np.expand_dims(g, axis)


def chosen(g: Any, y: Any, a: Any, b: Any) -> Any:
    """max(a, b) passes g to the argument it chose; a tie splits it evenly, so that no order is preferred."""
    return np.where(a == b, 0.5 * g, np.where(y == a, g, 0))


def extremum(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    if not keepdims:
        g, y = unreduce(g, axis), unreduce(y, axis)
    hit = a == y
    ties = np.sum(hit, axis=axis, keepdims=True, dtype=g.dtype)
    return np.where(hit, g / ties, 0)


def product(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The product of the others is y / a, except at zeros, where it has to be multiplied out."""
    if not keepdims:
        g, y = unreduce(g, axis), unreduce(y, axis)
    if np.all(a != 0):
        return g * y / a
    axes = tuple(range(np.ndim(a))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(a, axes, last)
    row = np.reshape(moved, (*np.shape(moved)[: np.ndim(a) - len(axes)], 1, -1))
    others = np.prod(np.where(np.eye(np.shape(row)[-1], dtype=bool), 1, row), axis=-1)
    return g * np.moveaxis(np.reshape(others, np.shape(moved)), last, axes)


def variance(g: Any, y: Any, a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    n = np.size(a) / np.size(y)
    return 2 / (n - ddof) * spread(g, a, axis, keepdims) * (a - np.mean(a, axis=axis, keepdims=True))


def deviation(g: Any, y: Any, a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    # Where all values are equal the slope is undefined; 0 keeps a constant row from spoiling the others.
    return variance(0.5 * g / np.where(y == 0, math.inf, y), y, a, axis, ddof=ddof, keepdims=keepdims)


def power_base(g: Any, y: Any, a: Any, b: Any) -> Any:
    origin = np.logical_and(a == 0, b == 0)
    return g * b * (a + origin) ** (b - 1)  # at the origin 0 · 1⁻¹, not 0 · 0⁻¹


def clip_inner(
    g: Any, y: Any, a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Any:
    return np.where(y == a, g, 0)  # a bound that is met lets the gradient through, as in PyTorch


def clip_low(g: Any, y: Any, a: Any, a_min: Any, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return np.where((a < a_min) & (y == a_min), g, 0)


def clip_high(g: Any, y: Any, a: Any, a_min: Any, a_max: Any, *, min: Any = None, max: Any = None) -> Any:
    taken = False if a_min is None else (a < a_min) & (y == a_min)  # a_min has it already
    return np.where((y != a) & (y == a_max) & np.logical_not(taken), g, 0)


def power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    # Times ones, a Python number takes the dtype of y; NumPy's log of it would be float64.
    return g * y * np.log(a * np.ones_like(y) + (a == 0))


def pick(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise TypeError("np.where of a Tensor takes a condition and two branches; for indices write np.nonzero")
    return np.where(condition, *branches)


def matmul_left(g: Any, y: Any, a: Any, b: Any) -> Any:
    if np.ndim(b) == 1:
        return np.expand_dims(g, -1) * b
    if np.ndim(a) == 1:
        return np.squeeze(np.matmul(b, np.expand_dims(g, -1)), -1)
    return np.matmul(g, np.swapaxes(b, -1, -2))


def matmul_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    if np.ndim(a) == 1:
        return g * a if np.ndim(b) == 1 else np.expand_dims(a, -1) * np.expand_dims(g, -2)
    if np.ndim(b) == 1:
        return np.squeeze(np.matmul(np.swapaxes(a, -1, -2), np.expand_dims(g, -1)), -1)
    return np.matmul(np.swapaxes(a, -1, -2), g)


def cumulate_back(g: Any, y: Any, a: Any, axis: Any = None) -> Any:
    return np.reshape(np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis), np.shape(a))


def permute_back(g: Any, y: Any, a: Any, axes: Any = None) -> Any:
    return np.transpose(g, None if axes is None else tuple(np.argsort([i % np.ndim(a) for i in axes])))


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
defvjp(np.power,      power_base, power_exponent)
defvjp(np.float_power, power_base, power_exponent)
defvjp(np.reciprocal, lambda g, y, a: -g * y * y)
defvjp(np.square,     lambda g, y, a: 2 * g * a)
defvjp(np.sqrt,       lambda g, y, a: 0.5 * g / y)
defvjp(np.cbrt,       lambda g, y, a: g / (3 * y * y))
defvjp(np.ldexp,      lambda g, y, a, n: np.ldexp(g, n), None)

# Exponentials and logarithms.
defvjp(np.exp,        lambda g, y, a: g * y)
defvjp(np.exp2,       lambda g, y, a: g * y * _LN2)
defvjp(np.expm1,      lambda g, y, a: g * np.exp(a))
defvjp(np.log,        lambda g, y, a: g / a)
defvjp(np.log2,       lambda g, y, a: g / (a * _LN2))
defvjp(np.log10,      lambda g, y, a: g / (a * _LN10))
defvjp(np.log1p,      lambda g, y, a: g / (1 + a))
defvjp(np.logaddexp,  lambda g, y, a, b: g * np.exp(a - y),  lambda g, y, a, b: g * np.exp(b - y))
defvjp(np.logaddexp2, lambda g, y, a, b: g * np.exp2(a - y), lambda g, y, a, b: g * np.exp2(b - y))

# Trigonometric and hyperbolic functions; tanh stands in ops.py, beside the slope of the sigmoid it is made of.
defvjp(np.sin,        lambda g, y, a: g * np.cos(a))
defvjp(np.cos,        lambda g, y, a: -g * np.sin(a))
defvjp(np.tan,        lambda g, y, a: g * (1 + y * y))
defvjp(np.arcsin,     lambda g, y, a: g / np.sqrt((1 - a) * (1 + a)))
defvjp(np.arccos,     lambda g, y, a: -g / np.sqrt((1 - a) * (1 + a)))
defvjp(np.arctan,     lambda g, y, a: g / (1 + a * a))
defvjp(np.arctan2,    lambda g, y, a, b: g * (b / np.hypot(a, b)) / np.hypot(a, b),
                      lambda g, y, a, b: -g * (a / np.hypot(a, b)) / np.hypot(a, b))
defvjp(np.hypot,      lambda g, y, a, b: g * a / (y + (y == 0)),  lambda g, y, a, b: g * b / (y + (y == 0)))
defvjp(np.sinh,       lambda g, y, a: g * np.cosh(a))
defvjp(np.cosh,       lambda g, y, a: g * np.sinh(a))
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
defvjp(np.maximum,    chosen,    lambda g, y, a, b: chosen(g, y, b, a))
defvjp(np.minimum,    chosen,    lambda g, y, a, b: chosen(g, y, b, a))
defvjp(np.fmax,       chosen,    lambda g, y, a, b: chosen(g, y, b, a))
defvjp(np.fmin,       chosen,    lambda g, y, a, b: chosen(g, y, b, a))
defvjp(np.clip,       clip_inner, clip_low, clip_high)
defvjp(np.where,      None, lambda g, y, c, a, b: np.where(c, g, 0), lambda g, y, c, a, b: np.where(c, 0, g))
defvjp(np.conjugate,  lambda g, y, a: g)  # real numbers only: the engine refuses complex ones

# Products of matrices.
defvjp(np.matmul,     matmul_left, matmul_right)
defvjp(np.vecdot,     lambda g, y, a, b: np.expand_dims(g, -1) * b, lambda g, y, a, b: np.expand_dims(g, -1) * a)

# Reductions.
defvjp(np.sum,        lambda g, y, a, axis=None, *, keepdims=False: spread(g, a, axis, keepdims))
defvjp(np.mean,       lambda g, y, a, axis=None, *, keepdims=False:
                          spread(g * (np.size(y) / np.size(a)), a, axis, keepdims))
defvjp(np.prod,       product)
defvjp(np.var,        variance)
defvjp(np.std,        deviation)
defvjp(np.max,        extremum)
defvjp(np.min,        extremum)
defvjp(np.amax,       extremum)
defvjp(np.amin,       extremum)
defvjp(np.cumsum,     cumulate_back)

# Shapes. What broadcasting repeated, the engine sums; so the rule of broadcast_to is the identity.
defvjp(np.reshape,      lambda g, y, a, shape: np.reshape(g, np.shape(a)))
defvjp(np.ravel,        lambda g, y, a: np.reshape(g, np.shape(a)))
defvjp(np.squeeze,      lambda g, y, a, axis=None: np.reshape(g, np.shape(a)))
defvjp(np.expand_dims,  lambda g, y, a, axis: np.reshape(g, np.shape(a)))
defvjp(np.broadcast_to, lambda g, y, a, shape: g)
defvjp(np.transpose,    permute_back)
defvjp(np.swapaxes,     lambda g, y, a, axis1, axis2: np.swapaxes(g, axis1, axis2))
defvjp(np.moveaxis,     lambda g, y, a, source, destination: np.moveaxis(g, destination, source))
defvjp(np.flip,         lambda g, y, a, axis=None: np.flip(g, axis))
defvjp(np.roll,         lambda g, y, a, shift, axis=None: np.roll(g, np.negative(shift), axis))
# fmt: on
TABLE[np.where].function = pick

# Functions whose value has no derivative to follow: truth values, indices, shapes and steps. Called on a
# Tensor they return plain arrays.
CONSTANT: set[Callable[..., Any]] = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isfinite, np.isinf, np.isnan, np.isclose, np.allclose,
    np.array_equal, np.array_equiv, np.all, np.any, np.count_nonzero,
    np.sign, np.signbit, np.heaviside, np.floor, np.ceil, np.trunc, np.rint, np.round, np.around,
    np.floor_divide, np.spacing,
    np.argmax, np.argmin, np.argsort, np.argwhere, np.nonzero, np.flatnonzero, np.searchsorted,
    np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.iscomplexobj, np.isrealobj, np.shares_memory, np.may_share_memory,
    np.zeros_like, np.ones_like, np.empty_like,
    np.array_repr, np.array_str, np.array2string,
}  # fmt: skip
