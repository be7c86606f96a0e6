"""The plan: what a step computes, as a list of operations on numbered values."""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_vg.compiler.places import Argument, Constant, Held, Inside, Option, State
from tinygrad_vg.compiler.trace import Trace
from tinygrad_vg.engine import Operation, Tensor


@dataclass(frozen=True, eq=False)
class Value:
    """An array of a plan.

    Attributes:
        shape, dtype: the same in every run.
        source: where an input comes from; None for a value that an instruction makes.
        name: the name of an input, as a user writes it.
    """

    shape: tuple[int, ...]
    dtype: Any
    source: Argument | Constant | Inside | Option | None = None
    name: str = ""

    @property
    def ndim(self) -> int:
        return len(self.shape)


# Functions that return views where they can.
VIEWS = {
    np.reshape, np.ravel, np.squeeze, np.expand_dims, np.transpose, np.swapaxes, np.moveaxis, np.broadcast_to, np.flip,
    operator.getitem,
}  # fmt: skip


def is_number(argument: Any) -> bool:
    """Whether an argument is a number that cannot change: a number of Python, or a read-only array."""
    if isinstance(argument, np.ndarray):
        return argument.ndim == 0 and not argument.flags.writeable
    return not isinstance(argument, Value)


@dataclass(frozen=True, eq=False)
class Instruction:
    """One call of an operation.

    Attributes:
        operation: the operation that is called.
        args: its arguments: Values, arrays that never change, numbers, shapes ...
        kwargs: its options.
        out: the value that it computes.
        line: the user's line that called it.
    """

    operation: Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Value
    line: str

    @property
    def reads(self) -> list[Value]:
        """The values among the arguments."""
        return [argument for argument in self.args if isinstance(argument, Value)]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a step computes.

    Attributes:
        instructions: the calls in their order.
        outputs: for each output of the step a Value, or an array if it never changes.
        buffers: the place of each value, in a plan that runs.
    """

    instructions: tuple[Instruction, ...]
    outputs: tuple[Any, ...]
    buffers: dict[Value, str] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Value]:
        """The values that come from outside, in the order of their first use."""
        used = (value for values in (*(i.reads for i in self.instructions), self.outputs) for value in values)
        return [*dict.fromkeys(v for v in used if isinstance(v, Value) and v.source is not None)]

    def uses(self) -> dict[Value, int]:
        """The number of times that each value is read, by instructions and as an output."""
        count: dict[Value, int] = {}
        for value in (*(v for i in self.instructions for v in i.reads), *self.outputs):
            if isinstance(value, Value):
                count[value] = count.get(value, 0) + 1
        return count

    def replaced(self, new: dict[Value, Any], instructions: Iterable[Instruction] | None = None) -> "Plan":
        """The plan with some values replaced by others."""

        def of(argument: Any) -> Any:
            return new.get(argument, argument) if isinstance(argument, Value) else argument

        kept = self.instructions if instructions is None else instructions
        changed = (replace(i, args=tuple(map(of, i.args))) if any(v in new for v in i.reads) else i for i in kept)
        return Plan(tuple(changed), tuple(map(of, self.outputs)))

    def __str__(self) -> str:
        return "\n".join(table(self))


def plan_of(trace: Trace, outputs: Iterable[Any]) -> Plan:
    """The plan of a trace: its nodes, with a Value for each array that changes from run to run.

    Args:
        trace: the recording of one call.
        outputs: the Tensors that the step returns or assigns.
    """
    values: dict[int, Value] = {}
    names: dict[int, str] = {}  # of the parameters and buffers, in the outermost module that was called
    for module in reversed(trace.modules):
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            names.setdefault(id(tensor), name)

    def value_of(array: Any) -> Any:
        if not isinstance(array, np.ndarray):
            return array
        if id(array) not in values:
            source = trace.sources.get(id(array))
            if source is None:
                return array
            name = source.name
            if isinstance(source, Held):
                name = names.get(id(source.tensor), name)
            elif isinstance(source, State):
                name = f"{names.get(id(source.parameter), 'parameter')}.{name}"
            values[id(array)] = Value(array.shape, array.dtype, source, name)
        return values[id(array)]

    instructions = []
    for node, line in trace.nodes:
        args = tuple(map(value_of, node.values))
        array = node.output if isinstance(node.output, np.ndarray) else np.asarray(node.output)
        out = values[id(node.output)] = Value(array.shape, array.dtype)
        instructions.append(Instruction(node.operation, args, node.kwargs, out, line))
    arrays = (tensor._data if isinstance(tensor, Tensor) else tensor for tensor in outputs)
    return Plan(tuple(instructions), tuple(map(value_of, arrays)))


def table(plan: Plan) -> Iterator[str]:
    """The lines of a plan as a table: number, operation with its arguments, shape, dtype, buffer, line."""
    names: dict[Value, str] = {}
    for value in plan.inputs:
        names[value] = value.name
    rows = [("", "operation", "shape", "dtype", "buffer", "line")]
    for number, i in enumerate(plan.instructions, 1):
        names[i.out] = f"%{number}"
        args = ", ".join(names[a] if isinstance(a, Value) else brief(a) for a in i.args)
        options = "".join(f", {name}={brief(value)}" for name, value in i.kwargs.items())
        buffer = plan.buffers.get(i.out, "")
        rows.append(
            (f"%{number}", f"{i.operation.name}({args}{options})", str(i.out.shape), str(i.out.dtype), buffer, i.line)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield "gives " + ", ".join(names[v] if isinstance(v, Value) else brief(v) for v in plan.outputs)


def brief(value: Any) -> str:
    """A constant in a table."""
    if isinstance(value, np.ndarray):
        return f"{value.item():.6g}" if value.size == 1 else f"array{value.shape}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
