"""Calls of NumPy's functions that the engine has as compositions of others."""

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.engine.cases import ANY, COLUMN, CUBE, MASK, OTHER, POINT, POSITIVE, ROW, describe, is_real, numbers
from tests.engine.cases_of_arrays import RIGHT_SIDES, SQUARE, SQUARES, SYMMETRIC, SYMMETRICS, TALL, WIDE
from tinygrad_vg.engine import name_of

NAN = np.where(MASK, ANY, np.nan)
VECTOR, LONG = numbers(5), numbers(7)


class Call(NamedTuple):
    """A call; lists and tuples among the arguments may hold arrays."""

    function: Any
    args: tuple
    kwargs: dict

    def __str__(self):
        options = [f"{name}={describe(value)}" for name, value in self.kwargs.items()]
        return f"{name_of(self.function)}({', '.join([*map(describe, self.args), *options])})"

    def arrays(self, change=lambda a: a):
        """The arrays of real numbers among the arguments, also of lists."""
        return [change(a) for a in leaves(self.args)]

    def on(self, *arrays):
        """The parts of the result, of other arrays in the places of the call's own."""
        left = iter(arrays)
        return parts(self.function(*filled(self.args, left), **self.kwargs))


def leaves(given):
    for a in given:
        if isinstance(a, list | tuple):
            yield from leaves(a)
        elif is_real(a):
            yield a


def filled(given, left):
    made = [filled(a, left) if isinstance(a, list | tuple) else next(left) if is_real(a) else a for a in given]
    return type(given)(made) if isinstance(given, list) else tuple(made)


def parts(result):
    """The arrays of a result, one or several."""
    return [p for part in result for p in parts(part)] if isinstance(result, list | tuple) else [result]


def call(function, *args, **kwargs):
    return Call(function, args, kwargs)


def where_there_is(module, name, *args, **kwargs):
    """A call of a function that an older NumPy lacks."""
    return [call(getattr(module, name), *args, **kwargs)] if hasattr(module, name) else []


# fmt: off
SELECTING = [
    call(np.take, ANY, [1, 0, 5, 1]), call(np.take, CUBE, [[2, 0], [1, 1]], axis=1), call(np.take, ANY, -1, 0),
    call(np.take, ROW, [-4, 7], mode="wrap"), call(np.take, ROW, [-4, 7], mode="clip"),
    call(np.take_along_axis, ANY, np.array([[1, 0, 1]]), 0), call(np.take_along_axis, ANY, np.array([3, 3]), None),
    call(np.compress, [True, False, True], ANY, axis=1), call(np.extract, MASK, ANY),
    call(np.select, [MASK, ~MASK[::-1]], [ANY, OTHER], POINT), call(np.select, [MASK], [ROW]),
    call(np.diagonal, ANY), call(np.diagonal, CUBE, 1, 1, 2), call(np.trace, ANY), call(np.trace, CUBE, -1, 1, 2),
    call(sliding_window_view, ANY, 2, axis=1), call(sliding_window_view, ANY, (2, 2)),
    call(np.sort, ANY), call(np.sort, CUBE, axis=1), call(np.sort, ANY, axis=None), call(np.partition, LONG, 2),
    call(np.repeat, ANY, 2), call(np.repeat, ANY, [1, 0, 2], axis=1), call(np.tile, ANY, (2, 1, 2)),
    call(np.resize, ROW, (2, 2)), call(np.delete, ANY, 1, axis=1), call(np.delete, ANY, [0, 4]),
    call(np.insert, ROW, 1, POINT), call(np.insert, ROW, 0, 0.5),
    call(np.insert, ANY, [0, 2], COLUMN, axis=1), call(np.rot90, CUBE, 3, (1, 2)),
    *(call(np.pad, ANY, ((1, 2), (0, 1)), mode=mode) for mode in ("edge", "reflect", "symmetric", "wrap")),
    call(np.pad, ANY, 1), call(np.pad, ROW, (2, 1), constant_values=(3.0, -1.0)), call(np.pad, ROW[:0], 1),
    call(np.diag, ROW), call(np.diag, ROW, -1), call(np.diag, ANY, 1), call(np.diagflat, COLUMN, 1),
    call(np.tril, CUBE), call(np.triu, ANY, 1), call(np.tril, ROW), call(np.triu, ROW, -1),
    call(np.bincount, np.array([2, 0, 2]), ROW, minlength=5),
    *where_there_is(np.linalg, "diagonal", CUBE, offset=1), *where_there_is(np.linalg, "trace", CUBE),
]
SHAPING = [
    call(np.split, ANY, [1], 1), call(np.array_split, LONG, 3), call(np.hsplit, ANY, 3), call(np.hsplit, ROW, [1, 1]),
    call(np.vsplit, ANY, 2), call(np.dsplit, CUBE, [1]), *where_there_is(np, "unstack", CUBE, axis=1),
    call(np.append, ANY, ROW), call(np.append, ANY, COLUMN, axis=1), call(np.column_stack, [COLUMN[:, 0], ANY]),
    call(np.dstack, [ANY, OTHER]), call(np.dstack, [ROW, ROW]), call(np.block, [[ANY, COLUMN], [ROW, POINT]]),
    call(np.block, [ROW, POINT]), call(np.block, ROW),
    *(call(f, POINT, ROW, ANY, CUBE) for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d)),
    call(np.atleast_2d, ROW), call(np.rollaxis, CUBE, 2), call(np.rollaxis, CUBE, 0, 3), call(np.rollaxis, CUBE, -1, 1),
    call(np.matrix_transpose, CUBE), call(np.linalg.matrix_transpose, CUBE), call(np.flipud, ANY), call(np.fliplr, ANY),
    call(np.broadcast_arrays, ROW, COLUMN), call(np.meshgrid, ROW, COLUMN[:, 0]),
    call(np.meshgrid, ROW, COLUMN[:, 0], POINT, indexing="ij", sparse=True),
    call(np.apply_over_axes, np.sum, CUBE, [0, -1]), call(np.copy, ANY), call(np.real, ANY),
    call(np.real_if_close, ANY),

    call(np.linspace, POINT, COLUMN, 4), call(np.linspace, ROW, 1.0, 3, False, axis=1),
    *where_there_is(np, "astype", ANY, np.float64),
]
PRODUCTS = [
    call(np.einsum, "ij,jk", ANY, OTHER.T), call(np.einsum, "ii->i", SQUARE), call(np.einsum, "...ij, ...jk -> ...ik",
    CUBE, SQUARES[:, :2, :]), call(np.einsum, "iij->j", SQUARES.reshape(3, 3, 2)), call(np.einsum, "i...", ANY),
    call(np.einsum, "ij,ik,jk->i", ANY, OTHER, SQUARE, optimize=True), call(np.einsum, "ij->", ANY),
    call(np.tensordot, CUBE, ANY, axes=([1], [1])), call(np.tensordot, ANY, CUBE), call(np.tensordot, ROW, POINT, 0),
    call(np.inner, ANY, OTHER), call(np.inner, POINT, ROW), call(np.vdot, ANY, OTHER), call(np.kron, ANY, COLUMN),
    call(np.kron, ROW, SQUARES[0]), call(np.dot, ANY, SQUARES), call(np.cross, ANY, OTHER),
    call(np.cross, ANY.T, ROW, axisa=0, axisc=0), call(np.linalg.multi_dot, [ROW, SQUARE, TALL.T]),
    call(np.linalg.multi_dot, [ANY, SQUARE, ROW]), call(np.linalg.multi_dot, [ANY.T, ANY, RIGHT_SIDES, COLUMN]),
    *(call(f, VECTOR, ROW, mode) for f in (np.convolve, np.correlate) for mode in ("full", "same", "valid")),
    call(np.convolve, ROW[:2], VECTOR, "same"), call(np.correlate, ROW[:2], VECTOR, "same"),
    call(np.correlate, ROW, ROW),
    *where_there_is(np, "matvec", SQUARES, ROW), *where_there_is(np, "vecmat", ROW, SQUARES),
    *where_there_is(np.linalg, "outer", ROW, COLUMN[:, 0]), *where_there_is(np.linalg, "matmul", ANY, SQUARE),
    *where_there_is(np.linalg, "vecdot", ANY, OTHER, axis=0), *where_there_is(np.linalg, "tensordot", ANY, CUBE),
    *where_there_is(np.linalg, "cross", ANY, OTHER),
]
STATISTICS = [
    call(np.median, LONG), call(np.median, ANY, axis=0), call(np.median, CUBE, axis=(0, -1), keepdims=True),
    call(np.quantile, LONG, 0.3), call(np.quantile, ANY, [[0.2, 0.9]], axis=1),
    call(np.percentile, CUBE, 35, axis=(0, 2)),
    *(call(np.quantile, LONG, 0.37, method=method)
      for method in ("hazen", "weibull", "median_unbiased", "lower", "nearest", "midpoint", "inverted_cdf")),
    call(np.percentile, ANY, [5, 50], axis=0, keepdims=True), call(np.ptp, ANY, axis=1),
    call(np.average, ANY), call(np.average, ANY, axis=1, weights=POSITIVE), call(np.average, ANY, 1, ROW + 2),
    call(np.average, ANY, weights=POSITIVE, returned=True), call(np.average, CUBE, (0, 2), POSITIVE[:, :2]),
    call(np.cov, ANY), call(np.cov, ANY, OTHER, bias=True), call(np.cov, ANY, rowvar=False), call(np.cov, ROW, ddof=0),
    call(np.corrcoef, ANY[:, :3], OTHER[:1]), call(np.corrcoef, ROW),
    call(np.nan_to_num, NAN), call(np.nan_to_num, np.array([1.5, np.inf, -np.inf]), nan=2.0, neginf=-3.0),
    *(call(f, NAN, **options) for f in (np.nansum, np.nanprod, np.nanmean, np.nanmax, np.nanmin, np.nanmedian)
      for options in ({}, {"axis": 1, "keepdims": True})),
    call(np.nanvar, NAN), call(np.nanstd, CUBE, axis=(0, 1), ddof=1), call(np.nancumsum, NAN),
    call(np.nancumprod, NAN, axis=1), call(np.nanquantile, NAN, [0.2, 0.6]), call(np.nanpercentile, NAN, 30, axis=1),
    call(np.nanquantile, CUBE, 0.4, axis=(0, 1), keepdims=True),
]
CALCULUS = [
    call(np.diff, ANY), call(np.diff, CUBE, 2, axis=1), call(np.diff, ROW, prepend=0.5, append=ROW[:2]),
    call(np.diff, ANY, axis=0, append=OTHER), call(np.ediff1d, ANY, 0.5, ROW), call(np.gradient, VECTOR),
    call(np.gradient, VECTOR, np.cumsum(POSITIVE)[:5], edge_order=2),
    call(np.gradient, TALL, 0.5, axis=0, edge_order=2),
    call(np.gradient, SQUARE, 0.5, np.cumsum(POSITIVE)[:3]), call(np.trapezoid, ANY, dx=0.3),
    call(np.trapezoid, ANY, ROW),
    call(np.trapezoid, CUBE, numbers(3), axis=1), call(np.trapezoid, ANY, OTHER, axis=0),
    call(np.interp, np.array([-3.0, 0.45, 1.0, 4.0]), np.array([-1.0, 0.5, 2.0]), ROW),
    call(np.interp, POINT, np.array([0.0, 1.0]), COLUMN[:, 0], left=5.0, right=-5.0),
    *where_there_is(np, "cumulative_sum", ROW, include_initial=True),
    *where_there_is(np, "cumulative_sum", ANY, axis=1),
    *where_there_is(np, "cumulative_prod", ANY, axis=0, include_initial=True),
    *(call(f, CUBE, **options) for f in (np.add.accumulate, np.multiply.accumulate, np.maximum.accumulate,
      np.minimum.accumulate) for options in ({}, {"axis": 1})),
    call(np.polyval, ROW, ANY), call(np.vander, ROW), call(np.vander, ROW, 2, increasing=True),
    call(np.divmod, ANY, 0.9), call(np.modf, 3 * ANY), call(np.frexp, 3 * ANY),
]
LINALG = [
    call(np.linalg.pinv, TALL), call(np.linalg.pinv, SYMMETRIC, hermitian=True), call(np.linalg.pinv, WIDE, 1e-9),
    call(np.linalg.tensorinv, SQUARE[:2, :2].reshape(2, 1, 2), ind=2),
    call(np.linalg.tensorsolve, np.eye(4).reshape(2, 2, 4) + 0.3 * numbers(2, 2, 4), numbers(2, 2)),
    *(call(np.linalg.matrix_power, SQUARE, n) for n in (-2, 0, 1, 5)), call(np.linalg.slogdet, SQUARES),
    call(np.linalg.cholesky, SYMMETRICS), call(np.linalg.cholesky, SYMMETRIC, upper=True),
    call(np.linalg.eigh, SYMMETRICS), call(np.linalg.eigh, SYMMETRIC, "U"), call(np.linalg.eigvalsh, SYMMETRIC),
    *(call(np.linalg.svd, a, full_matrices=False) for a in (TALL, WIDE, SQUARES)), call(np.linalg.svd, SQUARE),
    call(np.linalg.svd, TALL, compute_uv=False), call(np.linalg.svd, SYMMETRIC, hermitian=True),
    *where_there_is(np.linalg, "svdvals", WIDE),
    *(call(np.linalg.qr, a) for a in (TALL, WIDE, SQUARES)), call(np.linalg.qr, TALL, mode="r"),
    call(np.linalg.qr, WIDE, mode="complete"),
    call(np.linalg.norm, CUBE),
    *(call(np.linalg.norm, ANY, order, axis=1) for order in (1, 2, 3, 0.5, np.inf, -np.inf)),
    *(call(np.linalg.norm, ANY, order) for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)),
    call(np.linalg.norm, CUBE, 1, axis=(2, 0), keepdims=True), call(np.linalg.norm, POINT),
    *where_there_is(np.linalg, "vector_norm", CUBE, axis=(0, 1), ord=3),
    *where_there_is(np.linalg, "matrix_norm", CUBE),
    *(call(np.linalg.cond, SQUARE, p) for p in (None, -2, 1, "fro")),
]
# fmt: on
CALLS = [*SELECTING, *SHAPING, *PRODUCTS, *STATISTICS, *CALCULUS, *LINALG]
