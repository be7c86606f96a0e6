"""Templates: elementwise operations as expressions of single numbers, which the generated loops compute."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_vg.compiler.layout import FLOATS, Access, contiguous, is_real
from tinygrad_vg.compiler.places import Argument
from tinygrad_vg.compiler.plan import Instruction, Value
from tinygrad_vg.engine import ops

BOOL = np.dtype(bool)
# By function: an expression of the arguments {0}, {1} ..., or {all}, of functions in `elementary.py`.
ARITHMETIC = {
    np.add: "{0} + {1}", np.subtract: "{0} - {1}", np.multiply: "{0} * {1}", np.divide: "{0} / {1}",
    np.negative: "-{0}", np.positive: "{0}", np.square: "{0} * {0}", np.absolute: "abs({0})",
    np.sqrt: "sqrt({0})", np.log: "log({0})", np.log1p: "log1p({0})", np.expm1: "expm1({0})",
    np.sin: "sin({0})", np.cos: "cos({0})", np.hypot: "hypot({0}, {1})",
    np.exp: "exp({0})", np.tanh: "tanh({0})",
    np.maximum: "maximum({0}, {1})", np.minimum: "minimum({0}, {1})", np.clip: "clip({0}, {1}, {2})",
    np.sign: "sign({0})", ops.leaky_relu: "leaky_relu({all})", ops.elu: "elu({all})",
    ops.selu: "selu({0})", ops.silu: "silu({0})",
    ops.sigmoid: "sigmoid({0})", ops.sigmoid_slope: "sigmoid_slope({0})", ops.relu: "relu({0})",
    ops.softplus: "softplus({0})", ops.sigmoid_error: "sigmoid_error({0}, {1})",
    ops.binary_cross_entropy_with_logits: "binary_cross_entropy_with_logits({0}, {1})",
}  # fmt: skip
COMPARISONS = {
    np.equal: "{0} == {1}", np.not_equal: "{0} != {1}", np.less: "{0} < {1}", np.less_equal: "{0} <= {1}",
    np.greater: "{0} > {1}", np.greater_equal: "{0} >= {1}",
}  # fmt: skip
ROWS = {
    ops.log_softmax: "log_softmax", ops.softmax: "softmax", ops.softmax_error: "softmax_error",
    ops.cross_entropy: "cross_entropy", np.argmax: "argmax",
}  # fmt: skip
LOGIC = {np.logical_and: "{0} & {1}", np.logical_or: "{0} | {1}", np.logical_not: "~{0}"}


def is_written(i: Instruction) -> bool:
    """Whether an instruction can be part of a generated loop."""
    function = i.operation.function
    if function is np.ndarray.astype:
        return not i.kwargs and i.out.dtype.name in FLOATS and is_real([value.dtype for value in i.reads])
    kinds = [dtype_of(a, i) for a in i.args]
    if i.kwargs or any(kind is None for kind in kinds):  # `None in kinds` is True: None stands for float64
        return False
    if function in LOGIC:
        return all(kind == BOOL for kind in kinds)
    if function is np.where:
        return kinds[0] == BOOL and i.out.dtype.name in FLOATS and is_real(kinds[1:])
    if function in COMPARISONS:
        return is_real(kinds)
    return function in ARITHMETIC and i.out.dtype.name in FLOATS and is_real(kinds)


def dtype_of(argument: Any, i: Instruction) -> Any:
    """The dtype in which an argument is computed; None if it is not a number."""
    if isinstance(argument, Value | np.ndarray | np.generic):
        return argument.dtype
    if isinstance(argument, bool):
        return BOOL
    if isinstance(argument, int | float):
        others = [a.dtype for a in i.args if isinstance(a, Value | np.ndarray | np.generic)]
        return np.result_type(*others, argument)
    return None


def expression(i: Instruction, read: Callable[[Value], str]) -> str:
    """The expression of an instruction; `read` gives the name of a value's element."""
    function = i.operation.function
    if function is np.ndarray.astype:
        return operand(i.args[0], i.out.dtype, read)
    kinds = [dtype_of(a, i) for a in i.args]
    if function in LOGIC:
        return LOGIC[function].format(*(operand(a, BOOL, read) for a in i.args))
    if function is np.where:
        condition, *branches = i.args
        first, second = (operand(a, i.out.dtype, read) for a in branches)
        return f"where({operand(condition, BOOL, read)}, {first}, {second})"
    common = np.result_type(*kinds) if function in COMPARISONS else i.out.dtype
    given = [operand(a, common, read) for a in i.args]
    if function in COMPARISONS:
        return COMPARISONS[function].format(*given)
    return ARITHMETIC[function].format(*given, all=", ".join(given))


def operand(argument: Any, dtype: Any, read: Callable[[Value], str]) -> str:
    """An argument in an expression, in the dtype in which it is computed."""
    kind = dtype.name if dtype.name in FLOATS else None
    if isinstance(argument, Value):
        name = read(argument)
        return name if argument.dtype == dtype or kind is None else f"{kind}({name})"
    number = argument.item() if isinstance(argument, np.ndarray | np.generic) else argument
    text = repr(number) if np.isfinite(number) else f"float('{number}')"
    return f"{kind}({text})" if kind is not None else text


def is_by_row(i: Instruction, found: dict[Value, Access]) -> bool:
    """Whether an instruction is a function in `rows.py` of the last axis, of arrays whose elements lie in order."""
    if i.operation.function not in ROWS or not i.reads or not is_real([v.dtype for v in i.reads]):
        return False
    z, *targets = i.reads
    others = [*i.args[len(i.reads) :], *i.kwargs.values()]
    is_last = i.kwargs.keys() <= {"axis"} and all(type(axis) is int and axis in (-1, z.ndim - 1) for axis in others)
    has_axis = bool(others) or i.operation.function is not np.argmax
    if not (is_last and has_axis and z.dtype.name in FLOATS and z.ndim and z.shape[-1]):
        return False
    if not all(found[v].strides == contiguous(v.shape) for v in i.reads):
        return False
    return all(t.dtype == z.dtype or (is_classes(i, t) and isinstance(t.source, Argument)) for t in targets)


def is_classes(i: Instruction, target: Value) -> bool:
    """Whether the target of a cross-entropy holds indices of classes."""
    return i.operation.function is ops.cross_entropy and target.dtype.name in ("int32", "int64")
