"""Expansion: compound operations written as simpler ones, so that passes and backends need to know only a few."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_vg.compiler.plan import Instruction, Plan, Value
from tinygrad_vg.engine import Operation, ops
from tinygrad_vg.engine.kernels import ONE_PRODUCT, sum_of_outer
from tinygrad_vg.engine.operations import OPERATIONS
from tinygrad_vg.nn.losses import divided_binary_cross_entropy, divided_sum

Expansion = Callable[..., Any]  # (build, *args) -> Value, or NotImplemented to leave the call as it is


class Builder:
    """Makes the instructions that replace another one; `build(function, *args)` adds a call and returns its value."""

    def __init__(self, line: str) -> None:
        self.instructions: list[Instruction] = []
        self.line = line

    def __call__(self, function: Any, *args: Any, **kwargs: Any) -> Value:
        operation: Operation = OPERATIONS[function]
        given = [np.zeros(a.shape, a.dtype) if isinstance(a, Value) else a for a in args]
        with np.errstate(all="ignore"):
            array = np.asarray(operation.kernel(*given, **kwargs))
        out = Value(array.shape, array.dtype)
        self.instructions.append(Instruction(operation, args, kwargs, out, self.line))
        return out


def expanded(plan: Plan, table: dict[Any, Expansion]) -> Plan:
    """The plan with each operation in the table written as simpler ones."""
    kept: list[Instruction] = []
    new: dict[Value, Any] = {}
    for i in plan.instructions:
        expansion = table.get(i.operation.function)
        args = [new.get(a, a) if isinstance(a, Value) else a for a in i.args]
        if expansion is not None and not i.kwargs:
            build = Builder(i.line)
            out = expansion(build, *args)
            if out is not NotImplemented and (out.shape, out.dtype) == (i.out.shape, i.out.dtype):
                inside = expanded(Plan(tuple(build.instructions), (out,)), table)
                kept += inside.instructions
                (new[i.out],) = inside.outputs
                continue
        kept.append(i)
    return plan.replaced(new, kept)


@functools.lru_cache(64)
def scalar(value: float, dtype: Any) -> Any:
    """A Python number as a cached 0-d array, in the dtype that promotion gives it next to `dtype`.

    NumPy converts a Python number to such an array in every call; for a small layer this takes as long as the sum
    itself.
    """
    array = np.asarray(value, np.result_type(dtype, value))
    array.flags.writeable = False
    return array


def _linear(build: Builder, x: Any, weight: Any, bias: Any = None) -> Any:
    if x.ndim == 1 or weight.ndim > 3 or x.ndim > 3:
        return NotImplemented
    if weight.ndim == 3 and x.ndim == 2 and x.shape[0] >= ONE_PRODUCT:
        members, out, features = weight.shape
        flat = build(np.matmul, x, build(np.swapaxes, build(np.reshape, weight, (members * out, features)), -1, -2))
        y = build(np.swapaxes, build(np.reshape, flat, (x.shape[0], members, out)), 0, 1)
    else:
        y = build(np.matmul, x, build(np.swapaxes, weight, -1, -2))
    if bias is None:
        return y
    return build(np.add, y, build(np.expand_dims, bias, -2) if bias.ndim > 1 else bias)


def _sum_of_outer(build: Builder, a: Any, b: Any) -> Any:
    return build(np.matmul, build(np.swapaxes, a, -1, -2), b)


def _divided_sum(build: Builder, a: Any, n: int) -> Any:
    return build(np.divide, build(np.sum, a), scalar(n, a.dtype)) if a.dtype.char != "e" else NotImplemented


def _divided_bce(build: Builder, z: Any, target: Any, n: int) -> Any:
    return build(divided_sum, build(ops.binary_cross_entropy_with_logits, z, target), n)


# Operations that are expanded for every backend.
COMMON: dict[Any, Expansion] = {
    ops.linear: _linear,
    divided_sum: _divided_sum,
    divided_binary_cross_entropy: _divided_bce,
}


def _sigmoid(build: Builder, z: Any) -> Any:
    e = build(np.exp, build(np.minimum, z, scalar(11.0 if z.dtype == np.float16 else 60.0, z.dtype)))
    return build(np.divide, e, build(np.add, e, scalar(1, z.dtype)))


def _exp_of_minus_size(build: Builder, z: Any) -> Any:
    return build(np.exp, build(np.negative, build(np.absolute, z)))


def _sigmoid_slope(build: Builder, z: Any) -> Any:
    e = _exp_of_minus_size(build, z)
    h = build(np.add, e, scalar(1, z.dtype))
    return build(np.divide, e, build(np.multiply, h, h))


def _softplus(build: Builder, z: Any) -> Any:
    rest = build(np.log1p, _exp_of_minus_size(build, z))
    return build(np.add, build(np.maximum, z, scalar(0, z.dtype)), rest)


def _bce(build: Builder, z: Any, target: Any) -> Any:
    above = build(np.subtract, build(np.maximum, z, scalar(0, z.dtype)), build(np.multiply, z, target))
    return build(np.add, above, build(np.log1p, _exp_of_minus_size(build, z)))


def _sigmoid_error(build: Builder, z: Any, target: Any) -> Any:
    zero = scalar(0, z.dtype)
    p = build(np.exp, build(np.minimum, z, zero))
    q = build(np.exp, build(np.minimum, build(np.negative, z), zero))
    error = build(np.subtract, p, build(np.multiply, target, p))
    error = build(np.subtract, error, build(np.multiply, target, q))
    return build(np.divide, error, build(np.add, p, q))


# Operations that BLAS computes without copying its matrices.
PRODUCTS: dict[Any, Expansion] = {sum_of_outer: _sum_of_outer}


# Operations that NumPy's own functions compute into given arrays.
ELEMENTARY: dict[Any, Expansion] = {
    ops.sigmoid: _sigmoid,
    ops.sigmoid_slope: _sigmoid_slope,
    ops.softplus: _softplus,
    ops.relu: lambda build, z: build(np.maximum, z, scalar(0, z.dtype)),
    ops.binary_cross_entropy_with_logits: _bce,
    ops.sigmoid_error: _sigmoid_error,
}
