"""NumPy's functions without a derivative: called on a Tensor they return plain arrays, numbers, shapes or text."""

from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import NO_RULES, composite, enter, fixed, operation
from tinygrad_vg.engine.ops import scatter

# fmt: off
# Functions whose value has no derivative: comparisons, indices, roundings.
CONSTANT = (
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isfinite, np.isinf, np.isnan, np.isposinf, np.isneginf, np.isreal, np.iscomplex, np.isclose, np.allclose,
    np.array_equal, np.array_equiv, np.all, np.any, np.count_nonzero, np.isin,
    np.sign, np.signbit, np.heaviside, np.floor, np.ceil, np.trunc, np.fix, np.rint, np.round, np.around,
    np.floor_divide, np.spacing, np.imag, np.angle,
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.argwhere, np.flatnonzero,
    np.searchsorted, np.digitize, np.linalg.matrix_rank,
)
# Functions whose value depends on shapes and types alone.
OF_SHAPES = (
    np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.iscomplexobj, np.isrealobj, np.zeros_like, np.ones_like, np.empty_like, np.einsum_path,
    np.diag_indices_from, np.tril_indices_from, np.triu_indices_from,
)
# Functions whose results have shapes that depend on the values. Those in CONSTANT are two of them.
OF_VALUES = (
    np.nonzero, np.unique, np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values,
    np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d, np.ix_,
)
# Text, and whether memory is shared.
TEXTS = (np.array_repr, np.array_str, np.array2string, np.shares_memory, np.may_share_memory)
# fmt: on
for _constant in CONSTANT:
    enter(_constant, kind="constant")
for _plain in (*OF_SHAPES, *OF_VALUES, *TEXTS):
    enter(_plain, kind="plain")

counts_of = operation(np.bincount, NO_RULES, "plain")
histogram_of = operation(np.histogram, NO_RULES, "plain")
# Functions that a trace cannot record: their results change their shape from run to run, or are several arrays.
SHAPES_OF_DATA = {*OF_VALUES, np.argwhere, np.flatnonzero, counts_of, histogram_of}


@composite(np.bincount)
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """np.bincount: counts, which have no derivative, or sums of weights, by `scatter`."""
    if weights is None:
        return counts_of(x, minlength=minlength)
    fixed(np.bincount, x=x)
    return scatter(weights, np.asarray(x), (max(int(np.max(x, initial=-1)) + 1, minlength),))


@composite(np.histogram)
def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None) -> Any:
    """np.histogram without weights: counts and edges, which have no derivative."""
    return histogram_of(a, bins=bins, range=range, density=density)


# Of two outputs, one with a derivative.


@composite(np.divmod)
def divmod_(x1: Any, x2: Any, /) -> Any:
    """np.divmod: np.floor_divide, which has no derivative, and np.remainder."""
    return np.floor_divide(x1, x2), np.remainder(x1, x2)


@composite(np.modf)
def modf(x: Any, /) -> Any:
    """np.modf: the fractional part, and np.trunc, which has no derivative."""
    whole = np.trunc(x)
    return np.where(np.isinf(x), np.copysign(np.zeros_like(x), x), x - whole), whole


@partial(operation, rules=NO_RULES, kind="constant", name="np.frexp")
def exponent_of(x: Any) -> Any:
    """The exponent of np.frexp."""
    return np.frexp(x)[1]


@composite(np.frexp)
def frexp(x: Any, /) -> Any:
    """np.frexp: np.ldexp by the exponent's negative, and the exponent, which has no derivative."""
    exponent = exponent_of(x)
    return np.ldexp(x, -exponent), exponent
