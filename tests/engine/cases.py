"""The calls that the laws of the table are tested with: each function, and the arrays that it is differentiated in."""

import inspect
import operator
from typing import NamedTuple

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import ops
from tinygrad_vg.engine import composites, kernels, name_of
from tinygrad_vg.engine.operations import OPERATIONS
from tinygrad_vg.nn import losses


def is_real(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def describe(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype.kind}{[*value.shape]}".replace(" ", "")
    if isinstance(value, tuple | list):
        return f"({','.join(map(describe, value))})"
    return getattr(value, "__name__", str(value))


class Case(NamedTuple):
    """A call of a function of the table; `checked` are the positions of the arguments that have a derivative."""

    function: object
    args: tuple
    kwargs: dict
    checked: tuple

    def __str__(self):
        options = [f"{name}={describe(value)}" for name, value in self.kwargs.items()]
        return f"{name_of(self.function)}({', '.join([*map(describe, self.args), *options])})"

    def with_arrays(self, change):
        return self._replace(args=tuple(change(a) if is_real(a) else a for a in self.args))

    def leaves(self):
        return [tg.Tensor(a, requires_grad=True) if i in self.checked else a for i, a in enumerate(self.args)]

    def on_tensors(self, *args):
        function = tg.Tensor.astype if self.function is np.ndarray.astype else self.function
        return function(*args, **self.kwargs)

    def on_arrays(self):
        return np.asarray(OPERATIONS[self.function].kernel(*self.args, **self.kwargs))

    def shares(self, g, y):
        """What the rule of each checked argument answers, before the engine fits it to the argument."""
        return [OPERATIONS[self.function].rules[i](g, y, *self.args, **self.kwargs) for i in self.checked]

    def gradcheck(self, order):
        tg.gradcheck(self.on_tensors, self.leaves(), order=order)


def case(function, *args, **kwargs):
    rules = OPERATIONS[function].rules
    checked = tuple(i for i, (a, rule) in enumerate(zip(args, rules, strict=False)) if rule and is_real(a))
    assert checked, "a case has an array to differentiate in"
    return Case(function, args, kwargs, checked)


def numbers(*shape):
    """Distinct numbers of both signs, none near 0."""
    size = int(np.prod(shape))
    return (np.linspace(0.3, 1.9, size) * np.where(np.arange(size) % 3 == 1, -1, 1)).reshape(shape)


# The arguments lie inside the domain, away from kinks and ties: there a finite difference means nothing.
# fmt: off
ANY = np.array([[-1.3, 0.4, 2.1], [0.7, -0.6, 1.2]])
OTHER = np.array([[0.9, -1.7, 0.5], [-0.8, 1.4, 0.35]])
POSITIVE = np.array([[0.3, 1.7, 0.8], [2.2, 0.6, 1.1]])
UNIT = np.array([[-0.8, 0.3, 0.6], [0.1, -0.4, 0.7]])
ROW, COLUMN, POINT, CUBE = np.array([1.1, -0.5, 0.8]), np.array([[0.6], [-1.9]]), np.array(0.7), numbers(2, 3, 2)
MASK = np.array([[True, False, True], [False, False, True]])
LABELS = np.array([2, 0])
SMALL_INTEGERS = np.array([[0, 1, 2], [3, 2, 1]], np.int8)  # int8, because float16 with int64 is float64

ONE_ARGUMENT = {
    ops.sigmoid: ANY, ops.sigmoid_slope: ANY, ops.softplus: ANY, ops.relu: ANY,
    np.positive: ANY, np.negative: ANY, np.reciprocal: ANY, np.square: ANY, np.cbrt: ANY, np.sqrt: POSITIVE,
    np.exp: ANY, np.exp2: ANY, np.expm1: ANY,
    np.log: POSITIVE, np.log2: POSITIVE, np.log10: POSITIVE, np.log1p: POSITIVE,
    np.sin: ANY, np.cos: ANY, np.tan: ANY, np.arcsin: UNIT, np.arccos: UNIT, np.arctan: ANY,
    np.sinh: ANY, np.cosh: ANY, np.tanh: ANY, np.arcsinh: ANY, np.arccosh: 1 + POSITIVE, np.arctanh: UNIT,
    np.degrees: ANY, np.rad2deg: ANY, np.radians: ANY, np.deg2rad: ANY,
    np.absolute: ANY, np.fabs: ANY, np.conjugate: ANY,
}
TWO_ARGUMENTS = (
    np.add, np.subtract, np.multiply, np.divide, np.remainder, np.fmod, np.logaddexp, np.logaddexp2, np.arctan2,
    np.hypot, np.maximum, np.minimum, np.fmax, np.fmin,
)
REDUCTIONS = (np.sum, np.mean, np.prod, np.max, np.min, np.amax, np.amin, np.var, np.std)
AXES = (
    {}, {"keepdims": True}, {"axis": 1}, {"axis": -1}, {"axis": (0, 2)}, {"axis": 1, "keepdims": True},
    {"axis": (-1, 0), "keepdims": True},
)
MATRICES = (  # shapes of the two arguments of a product
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((2, 2, 3), (2, 3, 1)), ((2, 3), (2, 3, 2)),
    ((2, 1, 1, 3), (2, 3, 2)), ((2, 2, 3), (3,)), ((3,), (2, 3, 2)),
)
OUTER = (((4, 2), (4, 3)), ((2, 4, 1), (4, 3)), ((2, 4, 2), (2, 4, 1)), ((4, 2), (2, 4, 3)), ((2, 1, 3, 2), (2, 3, 1)))
LAYERS = (  # shapes of input, weight and bias: a batch, a sample, and ensembles whose members share some of the three
    ((4, 3), (2, 3), (2,)), ((4, 3), (2, 3)), ((3,), (2, 3), (2,)), ((3,), (2, 3)), ((3,), (2, 2, 3), (2, 2)),
    ((4, 3), (2, 1, 3), (2, 1)), ((4, 3), (2, 1, 3), (1,)), ((4, 3), (2, 1, 3)), ((2, 4, 3), (2, 1, 3), (2, 1)),
    ((2, 4, 3), (1, 3), (1,)), ((2, 3), (1, 3), (2, 1)),
)
INDICES = (
    0, -1, (1, 2), slice(1, None), slice(None, None, -1), (slice(None), slice(None, None, -2)), slice(0, 0),
    None, ..., (..., 0), (None, 1, ..., None), MASK, np.array([False, True]), (slice(None), ROW > 0), (1, ROW > 0),
    [1, 0, 1, 1], np.array([[0, 1], [1, 1]]), (slice(None), np.array([2, -1, 2])), (np.array([1, 1]), slice(0, 2)),
    (np.array([0, 1, 0]), np.array([2, 0, 2])), (0, np.array([1, 1, 2])), (np.array([0, 1, 1]), None, 1),
)

CASES = [
    *(case(f, a) for f, a in ONE_ARGUMENT.items()),
    *(case(f, *args) for f in TWO_ARGUMENTS
      for args in ((ANY, OTHER), (ROW, COLUMN), (POINT, COLUMN), (COLUMN, 0.5), (0.5, COLUMN))),
    *(case(f, *args) for f in (np.power, np.float_power) for args in (
        (POSITIVE, OTHER), (POSITIVE, COLUMN), (POSITIVE, POINT), (0.5, ROW), (ANY, 3), (ANY, 2.0), (ANY, -1), (ANY, 0),
        (POSITIVE, np.array([0.0, 1.0, 2.0])), (ANY, SMALL_INTEGERS), (np.array([0.0, 0.0, 0.4]), SMALL_INTEGERS))),
    case(np.ldexp, ANY, SMALL_INTEGERS), case(np.copysign, ANY, OTHER), case(np.copysign, ANY, -0.5),

    case(np.clip, ANY, -0.5, 1.0), case(np.clip, ANY, None, 1.0), case(np.clip, ANY, -0.5, None),
    case(np.clip, ANY, np.array([-0.9, -0.2, 0.1]), np.array(1.1)), case(np.clip, ANY, np.array(1.0), np.array(0.5)),
    case(np.clip, ANY, None, COLUMN), case(np.clip, ANY, a_min=-0.5, a_max=1.0),
    *([case(np.clip, ANY, min=-0.5, max=1.0), case(np.clip, ANY, max=1.0)]
      if "min" in inspect.signature(np.clip).parameters else []),  # new in NumPy 2.1
    case(np.where, MASK, ANY, OTHER), case(np.where, MASK, ROW, COLUMN), case(np.where, MASK, ANY, 0.5),
    case(np.where, MASK, 0, ROW), case(np.where, ROW, POINT, ANY),

    *(case(np.matmul, numbers(*a), numbers(*b)) for a, b in MATRICES),
    case(np.vecdot, ROW, ROW[::-1]), case(np.vecdot, ANY, OTHER), case(np.vecdot, CUBE, COLUMN[:, 0]),

    *(case(f, CUBE, **options) for f in REDUCTIONS for options in AXES),
    *(case(f, CUBE, 1) for f in REDUCTIONS), *(case(f, POINT) for f in REDUCTIONS[:7]),
    *(case(f, CUBE, ddof=1, **options) for f in (np.var, np.std) for options in AXES),
    *(case(np.prod, np.where(zeros, 0.0, ANY), **options)
      for zeros in (MASK & (ANY > 2), MASK, np.full(ANY.shape, True))
      for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (1, 0)})),
    case(np.cumsum, ROW), case(np.cumsum, CUBE), case(np.cumsum, CUBE, axis=0), case(np.cumsum, CUBE, -1),

    case(np.reshape, ANY, (3, 2)), case(np.reshape, ANY, -1), case(np.reshape, POINT, (1, 1)), case(np.ravel, ANY),
    case(np.squeeze, COLUMN), case(np.squeeze, COLUMN, axis=-1), case(np.squeeze, CUBE[:1, :, :1], (0, 2)),
    case(np.expand_dims, ANY, 1), case(np.expand_dims, ANY, (0, -1)), case(np.expand_dims, POINT, axis=0),
    case(np.broadcast_to, ROW, (2, 3)), case(np.broadcast_to, COLUMN, (2, 2, 3)), case(np.broadcast_to, POINT, (2,)),
    case(np.transpose, CUBE), case(np.transpose, CUBE, (1, 2, 0)), case(np.transpose, CUBE, axes=(-1, 0, 1)),
    case(np.swapaxes, CUBE, 0, -1), case(np.moveaxis, CUBE, 0, -1), case(np.moveaxis, CUBE, (0, 1), (-1, 0)),
    case(np.flip, CUBE), case(np.flip, CUBE, 1), case(np.flip, CUBE, axis=(0, -1)),
    case(np.roll, CUBE, 2), case(np.roll, CUBE, -1, axis=1), case(np.roll, CUBE, (1, 2), (0, -2)),
    case(np.ndarray.astype, ANY, np.float64), case(np.ndarray.astype, ANY, np.longdouble),

    *(case(operator.getitem, ANY, index) for index in INDICES),
    case(ops.scatter, ANY, slice(1, 3), (4, 3)), case(ops.scatter, ANY, np.array([2, 0]), (3, 3)),
    case(ops.scatter, ROW, np.array([1, 0, 1]), (2,)), case(ops.scatter, POINT, (0, 1), (1, 2)),
    case(ops.put, ROW, (3,), np.array([1, 0, 1])), case(ops.put, ROW, (3, 2), np.array([2, 0, 2]), np.array([1, 0, 1])),
    case(ops.at, ANY, np.array([1, 0, 1])), case(ops.at, ANY, np.array([1, 0, 1]), np.array([2, 1, 2])),
    case(composites.join, ROW, axis=0, ends=(0, 3)), case(composites.join, ANY, OTHER[:1], axis=0, ends=(0, 2, 3)),
    case(composites.join, ANY, COLUMN, OTHER, axis=1, ends=(0, 3, 4, 7)),
    case(composites.join, COLUMN, ANY, OTHER, axis=-1, ends=(0, 1, 4, 7)),

    *(case(ops.linear, *(numbers(*shape) for shape in shapes)) for shapes in LAYERS),
    *(case(kernels.sum_of_outer, numbers(*a), numbers(*b)) for a, b in OUTER),
    *(case(losses.divided_sum, a, n) for a, n in ((ANY, 1), (CUBE, 4), (POINT, 3))),
    *(case(losses.divided_binary_cross_entropy, z, target, n)
      for z, target, n in ((ANY, UNIT, 1), (numbers(2, 2, 3), UNIT, 2), (ANY, SMALL_INTEGERS > 1, 5))),
    *(case(ops.log_softmax, a) for a in (ROW, ANY, CUBE)),
    *(case(f, z, target) for f in (ops.binary_cross_entropy_with_logits, ops.sigmoid_error)
      for z, target in ((ANY, UNIT), (numbers(2, 2, 3), UNIT), (ANY, 1.0), (ANY, SMALL_INTEGERS > 1))),
    *(case(ops.cross_entropy, z, target) for z, target in (
        (ANY, LABELS), (ROW, LABELS[0]), (numbers(2, 2, 3), LABELS), (ANY, POSITIVE), (numbers(2, 2, 3), POSITIVE))),
    *(case(ops.softmax_error, z, target) for z, target in ((ANY, POSITIVE), (ROW, ROW), (numbers(2, 2, 3), 4 * UNIT))),
]
# fmt: on
