"""Clipping: make large gradients smaller before the optimizer's step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray, Tensor, no_grad
from tinygrad_vg.engine.operations import NO_RULES, enter, operation
from tinygrad_vg.engine.recording import recording
from tinygrad_vg.nn.module import Module

_ADDED = 1e-6  # to the norm, as PyTorch does


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Any:
    """Scale the `.grad` of all parameters by one number, so that their norm is at most `max_norm`.

    The norm is that of all gradients as one vector, and the number is max_norm/(norm + 1e-6), at most 1, as in PyTorch
    (Pascanu, Mikolov & Bengio 2013). A `.grad` is bound to a new array; the old one is not written into.

    In an ensemble (`nn.stack`) each member is clipped by its own norm, as it would be alone.

    The elements are scaled by a power of two, which brings the largest to about 1, before they are squared. So the
    result is right even if the norm or its square is beyond the range of the dtype. A norm above 1.8e308 is returned
    as infinity.

    A compiled step may contain this function. A clipped `.grad` is an array, even if it was a Tensor
    (`create_graph=True`) or an ExtendedArray.

    Args:
        parameters: the parameters, or one parameter; those without a `.grad` are left out.
        max_norm: the largest norm, 0 or more.
        norm_type: p of the p-norm, above 0; `math.inf` for the largest magnitude.
        error_if_nonfinite: whether to raise RuntimeError if the norm is not finite. No gradient is changed then.

    Returns:
        The norm before clipping, a float64; (R,) for an ensemble. It is 0 if no parameter has a `.grad`.

    Raises:
        TypeError: if `parameters` is a module.
        ValueError: if a number is out of its range, or some of the parameters are of an ensemble and others not.
        RuntimeError: if the norm is NaN or infinite and `error_if_nonfinite` is set.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> p = nn.Parameter([0.0, 0.0])
    >>> p.grad = np.array([3e200, 4e200])
    >>> norm = nn.utils.clip_grad_norm_([p], max_norm=1.0)
    >>> print(f"{norm:.3g}", p.grad.round(6))
    5e+200 [0.6 0.8]
    """
    given = parameters_of(parameters)
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(f"max_norm is 0 or more and norm_type above 0, not {max_norm!r} and {norm_type!r}")
    kinds = {getattr(parameter, "members", 0) for parameter in given}
    if len(kinds) > 1:
        raise ValueError("parameters of an ensemble and others have no norm in common: clip them by two calls")
    members = next(iter(kinds), 0)
    if not given:
        return np.float64(0)
    exponents = tuple(p.grad.exponent if isinstance(p.grad, ExtendedArray) else 0 for p in given)
    arrays = [array_of(p.grad) for p in given]
    with no_grad():
        measured = norm_and_exponent(float(norm_type), exponents, members, *arrays)
        total = norm_of(measured)
        if error_if_nonfinite:
            if recording.trace is not None:
                recording.trace.refuse("error_if_nonfinite=True", "return the norm and look at it outside")
            if not np.isfinite(total).all():
                raise RuntimeError(f"the norm of the gradients is {total}, and error_if_nonfinite=True was asked for")
        if recording.trace is None and np.all(total + _ADDED <= max_norm):
            return total
        for parameter, array, exponent in zip(given, arrays, exponents, strict=True):
            parameter.grad = clipped(array, measured, float(max_norm), exponent)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clip each element of the `.grad` of all parameters to the range from −clip_value to clip_value.

    This may change the direction of the gradient. A `.grad` is bound to a new array.

    Args:
        parameters: the parameters, or one parameter; those without a `.grad` are left out.
        clip_value: the largest magnitude, 0 or more.

    Raises:
        TypeError: if `parameters` is a module.
        ValueError: if `clip_value` is below 0.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> p = nn.Parameter([0.0, 0.0])
    >>> p.grad = np.array([0.5, -3.0])
    >>> nn.utils.clip_grad_value_([p], 1.0)
    >>> p.grad
    array([ 0.5, -1. ])
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_value is 0 or more, not {clip_value!r}")
    bound = float(clip_value)
    with no_grad():
        for parameter in parameters_of(parameters):
            g = parameter.grad
            g = np.asarray(g) if isinstance(g, ExtendedArray) else array_of(g)
            parameter.grad = np.clip(g, -bound, bound)[...]  # NumPy returns a scalar for 0-d arrays


def parameters_of(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The parameters that have a `.grad`, as a list.

    Raises:
        TypeError: if a module is given.
    """
    if isinstance(parameters, Module):
        raise TypeError("clipping takes Parameters, not a module: write net.parameters()")
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [parameter for parameter in given if parameter.grad is not None]


def array_of(g: Any) -> Any:
    """The array of a gradient: the mantissa of an ExtendedArray; inside a trace the Tensor."""
    if isinstance(g, ExtendedArray):
        return g.mantissa
    return g.data if isinstance(g, Tensor) and recording.trace is None else g


def constant(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Make a kernel an operation without a derivative, which a compiled step records."""
    function = operation(kernel, NO_RULES)
    enter(function, kind="constant", kernel=kernel)
    return function


@constant
def norm_and_exponent(norm_type: float, exponents: tuple[int, ...], members: int, *gradients: Any) -> Any:
    """(2, ...) the norm of all gradients divided by 2^E, and E, so that the largest element divided by 2^E is about 1.

    The gradients are arrays times 2^exponent. For an ensemble of R members both are (R,).
    """
    rows = [np.abs(g.reshape(members or 1, -1)).astype(np.float64) for g in gradients]
    tops = []
    for row, exponent in zip(rows, exponents, strict=True):
        largest = row.max(axis=1, initial=0.0)
        has_exponent = (largest > 0) & np.isfinite(largest)
        tops.append(np.where(has_exponent, np.frexp(largest)[1] + float(exponent), -math.inf))
    top = np.max(tops, axis=0)
    top = np.where(np.isfinite(top), top, 0.0)  # all elements are 0 or not finite
    norm = np.zeros(len(top))
    for row, exponent in zip(rows, exponents, strict=True):
        scaled = shifted(row, exponent - top[:, None])
        if norm_type == math.inf:
            norm = np.maximum(norm, scaled.max(axis=1, initial=0.0))
        else:
            norm += np.sum(scaled * scaled if norm_type == 2 else scaled**norm_type, axis=1)
    if norm_type < math.inf:
        norm = np.sqrt(norm) if norm_type == 2 else norm ** (1 / norm_type)
    measured = np.stack([norm, top])
    return measured if members else measured[:, 0]


@constant
def norm_of(measured: Any) -> Any:
    """The norm; infinity beyond the range of float64."""
    return np.float64(1) * shifted(measured[0], measured[1])


@constant
def clipped(g: Any, measured: Any, max_norm: float, exponent: int) -> Any:
    """A gradient g · 2^exponent as it is, or times max_norm/(norm + 1e-6) where that is below 1."""
    by_row = (*measured.shape[1:], *[1] * (g.ndim - (measured.ndim - 1)))  # one number for each member, or for all
    norm, top = (part.reshape(by_row) for part in measured)
    is_small = shifted(norm, top) + _ADDED <= max_norm
    wide = g.astype(np.float64)
    factor = max_norm / (norm + shifted(_ADDED, -top))
    with np.errstate(invalid="ignore"):  # infinity times 0 is NaN, as in PyTorch
        smaller = shifted(wide, exponent - top) * factor
    return np.where(is_small, shifted(wide, exponent), smaller).astype(g.dtype)


def shifted(array: Any, exponent: Any) -> Any:
    """array · 2^exponent, where an exponent beyond the range of the floats gives 0 or infinity."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(array, np.clip(exponent, -40_000, 40_000).astype(int))


class utils:  # noqa: N801 - PyTorch's name for the place of these functions
    """The place of clipping in PyTorch: `nn.utils.clip_grad_norm_` and `nn.utils.clip_grad_value_`.

    >>> from tinygrad_vg import nn
    >>> p = nn.Parameter(1.0)
    >>> (3.0 * p).backward()
    >>> nn.utils.clip_grad_value_(p, 1.0)
    >>> p.grad
    array(1.)
    """

    clip_grad_norm_ = staticmethod(clip_grad_norm_)
    clip_grad_value_ = staticmethod(clip_grad_value_)
