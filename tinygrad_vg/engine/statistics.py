"""NumPy's statistics: medians and quantiles, averages and covariances, and the functions that leave NaN out."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_vg.engine.operations import composite, fixed
from tinygrad_vg.engine.selecting import sort, take, take_along_axis


def _rows(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """The array with the given axes as one, the last; and these axes."""
    ndim = np.ndim(a)
    axes = tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)
    moved = np.moveaxis(a, axes, range(ndim - len(axes), ndim))
    kept, given = np.shape(moved)[: ndim - len(axes)], np.shape(moved)[ndim - len(axes) :]
    return np.reshape(moved, (*kept, math.prod(given))), axes


def _floats(a: Any) -> Any:
    """The array, in floating-point numbers."""
    return a if a.dtype.kind == "f" else a.astype(np.float64)


# Quantiles. They lie between two neighbours of the sorted numbers; a NaN makes its row NaN.


def _between(ordered: Any, lower: Any, upper: Any, weight: Any) -> Any:
    """The numbers at these places along the last axis, weighted; NaN where the last number is one."""
    low, high, last = take(ordered, lower, -1), take(ordered, upper, -1), ordered[..., -1:]
    last = np.reshape(last, (*np.shape(last)[:-1], *[1] * np.ndim(lower)))
    return np.where(np.isnan(last), last, low + (high - low) * weight)


def _quantiles(function: Any, a: Any, q: Any, axis: Any, method: str, keepdims: bool) -> Any:
    """np.quantile or np.percentile: the same function, called on 0, 1, 2 ..., gives the places in the order."""
    fixed(function, q=q)
    a = _floats(a)
    rows, axes = _rows(a, axis)
    n = np.shape(rows)[-1]
    places = function(np.arange(float(n)), q, method=method)
    lower = np.floor(places).astype(np.intp)
    upper = np.ceil(places).astype(np.intp)
    weight = (places - lower).astype(a.dtype)
    found = _between(sort(rows), lower, upper, weight)
    found = found.astype(function(np.zeros(1, a.dtype), q, method=method).dtype)
    found = np.moveaxis(found, range(-np.ndim(q), 0), range(np.ndim(q)))
    return np.expand_dims(found, tuple(np.ndim(q) + i for i in axes)) if keepdims else found


@composite(np.quantile)
def quantile(a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    """np.quantile, by `sort`, for every method."""
    return _quantiles(np.quantile, a, q, axis, method, keepdims)


@composite(np.percentile)
def percentile(a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    """np.percentile, by `sort`, for every method."""
    return _quantiles(np.percentile, a, q, axis, method, keepdims)


@composite(np.median)
def median(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.median, by `sort`. For an even count it is the mean of the two in the middle; each gets half the gradient."""
    rows, axes = _rows(_floats(a), axis)
    n = np.shape(rows)[-1]
    found = _between(sort(rows), (n - 1) // 2, n // 2, 0.5)
    return np.expand_dims(found, axes) if keepdims else found


@composite(np.ptp)
def ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.ptp, by np.max and np.min."""
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


# Averages.


@composite(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """np.average, by np.sum."""
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        total = np.full_like(mean, np.size(a) / np.size(mean))
        return (mean, total) if returned else mean
    if np.shape(weights) != np.shape(a):
        if axis is None:
            raise TypeError("np.average needs axis=, because the weights have another shape than the array")
        axes = normalize_axis_tuple(axis, np.ndim(a))
        if np.shape(weights) != tuple(np.shape(a)[i] for i in axes):
            raise ValueError(f"weights of shape {np.shape(weights)} do not match the axes {axes} of {np.shape(a)}")
        order = np.argsort(axes)
        weights = np.transpose(weights, order)
        weights = np.expand_dims(weights, tuple(i for i in range(np.ndim(a)) if i not in axes))
    total = np.sum(np.broadcast_to(weights, np.shape(a)), axis=axis, keepdims=keepdims)
    mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


@composite(np.cov)
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Any:
    """np.cov, by np.matmul of the deviations."""
    m = np.atleast_2d(m)
    rows = m if rowvar or np.shape(m)[0] == 1 else np.swapaxes(m, 0, 1)
    if y is not None:
        y = np.atleast_2d(y)
        rows = np.concatenate([rows, y if rowvar or np.shape(y)[0] == 1 else np.swapaxes(y, 0, 1)])
    n = np.shape(rows)[1] - (ddof if ddof is not None else 0 if bias else 1)
    off = rows - np.mean(rows, axis=1, keepdims=True)
    return np.squeeze(np.matmul(off, np.swapaxes(off, 0, 1)) * (1 / n if n > 0 else math.nan))


@composite(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """np.corrcoef, by `cov`; clipped to the range from −1 to 1."""
    c = cov(x, y, rowvar)
    if np.ndim(c) == 0:
        return c / c
    deviation = np.sqrt(np.diagonal(c))
    return np.clip(c / np.expand_dims(deviation, 1) / deviation, -1, 1)


# Without NaN.


def _in_place_of_nan(a: Any, value: float) -> Any:
    return np.where(np.isnan(a), value, a)


@composite(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """np.nan_to_num, by np.where; the replaced elements have gradient 0."""
    ends = np.finfo(x.dtype)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.isposinf(x), ends.max if posinf is None else posinf, x)
    return np.where(np.isneginf(x), ends.min if neginf is None else neginf, x)


@composite(np.nansum)
def nansum(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nansum, by np.sum with 0 for NaN."""
    return np.sum(_in_place_of_nan(a, 0), axis=axis, keepdims=keepdims)


@composite(np.nanprod)
def nanprod(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanprod, by np.prod with 1 for NaN."""
    return np.prod(_in_place_of_nan(a, 1), axis=axis, keepdims=keepdims)


@composite(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None) -> Any:
    """np.nancumsum, by np.cumsum with 0 for NaN."""
    return np.cumsum(_in_place_of_nan(a, 0), axis=axis)


@composite(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None) -> Any:
    """np.nancumprod, by np.cumprod with 1 for NaN."""
    return np.cumprod(_in_place_of_nan(a, 1), axis=axis)


def _counts(a: Any, axis: Any, keepdims: bool) -> Any:
    """The count of numbers that are not NaN, in the dtype of the array; NaN for none, so that their mean is NaN."""
    n = np.sum(np.logical_not(np.isnan(a)).astype(a.dtype), axis=axis, keepdims=keepdims)
    return np.where(n == 0, math.nan, n)


@composite(np.nanmean)
def nanmean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanmean, by `nansum`; NaN, without NumPy's warning, where there is no number."""
    return nansum(a, axis, keepdims=keepdims) / _counts(a, axis, keepdims)


@composite(np.nanvar)
def nanvar(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """np.nanvar, by `nanmean` of the squared deviations."""
    n = _counts(a, axis, keepdims)
    off = np.where(np.isnan(a), 0, a - nanmean(a, axis, keepdims=True))  # the slope of a square of NaN is NaN
    return np.sum(np.square(off), axis=axis, keepdims=keepdims) / np.where(n - ddof > 0, n - ddof, math.nan)


@composite(np.nanstd)
def nanstd(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """np.nanstd, by np.sqrt of `nanvar`; 0 with slope 0 where all numbers are equal."""
    variance = nanvar(a, axis, ddof=ddof, keepdims=keepdims)
    zero = variance == 0
    return np.where(zero, 0, np.sqrt(np.where(zero, 1, variance)))


def _extreme(function: Callable[..., Any], a: Any, axis: Any, keepdims: bool, least: float) -> Any:
    """np.max or np.min, with `least` for NaN; NaN where there is no number."""
    found = function(_in_place_of_nan(a, least), axis=axis, keepdims=keepdims)
    return np.where(np.all(np.isnan(a), axis=axis, keepdims=keepdims), math.nan, found)


@composite(np.nanmax)
def nanmax(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanmax, by np.max; NaN, without NumPy's warning, where there is no number."""
    return _extreme(np.max, a, axis, keepdims, -math.inf)


@composite(np.nanmin)
def nanmin(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanmin, by np.min; NaN, without NumPy's warning, where there is no number."""
    return _extreme(np.min, a, axis, keepdims, math.inf)


def _nanquantiles(a: Any, q: Any, axis: Any, keepdims: bool) -> Any:
    """np.nanquantile: the places in the order are those among the numbers of each row, which come before its NaN."""
    a = _floats(a)
    rows, axes = _rows(a, axis)
    ordered = sort(rows)
    counts = np.sum(np.logical_not(np.isnan(rows)).astype(np.intp), axis=-1, keepdims=True)
    places = np.ravel(np.asarray(q, float)) * (counts - 1)
    lower = np.maximum(np.floor(places), 0).astype(np.intp)
    upper = np.maximum(np.ceil(places), 0).astype(np.intp)
    low, high = take_along_axis(ordered, lower), take_along_axis(ordered, upper)
    found = np.moveaxis(low + (high - low) * (places - lower).astype(a.dtype), -1, 0)
    found = np.reshape(found, np.shape(q) + np.shape(found)[1:])
    found = found.astype(np.result_type(a.dtype, q))
    return np.expand_dims(found, tuple(np.ndim(q) + i for i in axes)) if keepdims else found


@composite(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanquantile by the method "linear"; the other methods are not supported."""
    fixed(np.nanquantile, q=q)
    return _nanquantiles(a, q if isinstance(q, float | int) else np.asarray(q), axis, keepdims)


@composite(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanpercentile by the method "linear"."""
    fixed(np.nanpercentile, q=q)
    return _nanquantiles(a, q / 100 if isinstance(q, float | int) else np.asarray(q) / 100, axis, keepdims)


@composite(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """np.nanmedian; for an even count the mean of the two in the middle."""
    return _nanquantiles(a, 0.5, axis, keepdims)
