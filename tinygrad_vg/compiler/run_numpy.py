"""The backend "numpy": a plan as a flat list of NumPy calls, each of which writes into its buffer.

It defines the meaning of a plan, and needs only NumPy. A function that cannot write into a given array makes a new one.
"""

from collections.abc import Callable
from functools import lru_cache
from keyword import iskeyword
from typing import Any

import numpy as np

from tinygrad_vg.compiler.buffers import Life, allocated, laid_out
from tinygrad_vg.compiler.passes import is_elementwise, made_late
from tinygrad_vg.compiler.plan import VIEWS, Instruction, Plan, Value


def writes_into_buffer(i: Instruction) -> bool:
    """Whether an instruction can write into a given array."""
    function = i.operation.function
    if i.kwargs:
        return (
            function is np.sum
            and len(i.args) == 1
            and i.kwargs.keys() == {"axis"}
            and (i.out.ndim < 2 or i.kwargs["axis"] == -2)
        )
    if function in FORMS:
        return function is not np.sum or len(i.args) == 1
    return isinstance(function, np.ufunc) and i.operation.kernel is function and function.nout == 1


def is_made(value: Any, first: list[Instruction], plan: Plan) -> bool:
    """Whether a value is computed before an input changes."""
    return not isinstance(value, Value) or value.source is not None or any(i.out is value for i in first)


class Writer:
    """Writes the source of a plan: lines, and the arrays and functions that its names stand for."""

    def __init__(
        self,
        plan: Plan,
        inputs: list[Value],
        bound: dict[Value, Any],
        into: dict[Value, Value],
        is_looked_at: bool,
    ) -> None:
        self.plan = plan
        self.lines: list[str] = []
        self.globals: dict[str, Any] = {}
        self.names = {value: f"i{number}" for number, value in enumerate(inputs)}
        self.arrays: dict[Value, Any] = {}  # of the values whose array is the same in every run
        self.size = 0
        for value, array in bound.items():
            self.keep(value, array)
        late = made_late(plan, into) if is_looked_at else ()
        first = [i for i in plan.instructions if i.out not in late]
        second = [i for i in plan.instructions if i.out in late]
        for value, array in self.buffers([*first, *second], into).items():
            self.keep(value, array)
        for new, old in into.items():
            self.keep(new, bound[old])
        for instruction in first:
            self.write(instruction)
        if is_looked_at:
            known = ", ".join(self.name(v) if is_made(v, first, plan) else "None" for v in plan.outputs)
            self.lines += ["if look is not None:", f"    look([{known}])"]
        for instruction in second:
            self.write(instruction)

    def buffers(self, instructions: list[Instruction], into: dict[Value, Value]) -> dict[Value, Any]:
        """An array for each value that an instruction writes into one."""
        first, last, early = {}, {}, {}
        bases: dict[Value, list[Value]] = {}  # of what may be a view, or a part, of other values
        for number, i in enumerate(instructions):
            for value in i.reads:
                for base in (value, *bases.get(value, ())):
                    last[base] = number
                    is_alike = (value.shape, value.dtype) == (i.out.shape, i.out.dtype)
                    early[base] = base is value and is_alike and is_elementwise(i) and writes_into_buffer(i)
            if writes_into_buffer(i):
                first[i.out] = last[i.out] = number
            else:
                bases[i.out] = [base for value in i.reads for base in (value, *bases.get(value, ()))]
        for value in self.plan.outputs:
            for base in (value, *bases.get(value, ())) if isinstance(value, Value) else ():
                last[base], early[base] = len(instructions), False
        lives = [Life(v, first[v], last[v], early.get(v, False)) for v in first if v not in into]
        arena = laid_out(lives)
        self.size = arena.size
        buffers = {value: f"{place:,}" for value, place in arena.places.items()}
        buffers |= {new: f"in {old.name}" for new, old in into.items()}
        buffers |= {i.out: "its own" for i in instructions if not writes_into_buffer(i)}
        self.shown_plan = Plan(tuple(instructions), self.plan.outputs, buffers)
        return allocated(arena)

    def write(self, i: Instruction) -> None:
        """Write the call of one instruction."""
        function = i.operation.function
        if function in VIEWS and all(a in self.arrays for a in i.reads):
            view = i.operation.kernel(*(self.arrays[a] if isinstance(a, Value) else a for a in i.args), **i.kwargs)
            if any(np.may_share_memory(view, self.arrays[a]) for a in i.reads):
                self.keep(i.out, view)
                self.shown_plan.buffers[i.out] = "view"
                return
        if not writes_into_buffer(i):
            self.names[i.out] = f"v{len(self.names)}"
            options = "".join(f", {name}={self.name(value)}" for name, value in i.kwargs.items())
            call = f"{self.names[i.out]} = {self.function(i.operation.kernel)}({self.listed(i.args)}{options})"
        elif function in FORMS:
            called, args = FORMS[function](i)
            call = f"{self.function(called)}({self.listed(args)})"
        else:
            out = "out=" if function in (np.maximum, np.minimum) else ""  # by position it is deprecated there
            call = f"{self.function(function)}({self.listed(i.args)}, {out}{self.name(i.out)})"
        self.lines.append(f"{call}  # {i.line}")

    def keep(self, value: Value, array: Any) -> None:
        """Name an array that is the same in every run."""
        self.arrays[value] = array
        self.globals[self.names.setdefault(value, f"v{len(self.names)}")] = array

    def function(self, function: Any) -> str:
        """The name of a function in the source."""
        name = str(getattr(function, "__name__", "function")).strip("<>")
        name += "_" * iskeyword(name)  # of a lambda
        while self.globals.setdefault(name, function) is not function:
            name += "_"
        return name

    def listed(self, arguments: Any) -> str:
        return ", ".join(map(self.name, arguments))

    def name(self, argument: Any) -> str:
        """An argument in the source."""
        if isinstance(argument, Value):
            return self.names[argument]
        if argument is None or isinstance(argument, bool | int | str):
            return repr(argument)
        name = f"c{len(self.globals)}"
        self.globals[name] = argument
        return name


# Functions that write into an array in their own way: (what to call, its arguments).
FORMS: dict[Any, Callable[[Instruction], tuple[Any, tuple[Any, ...]]]] = {}


def _matmul(i: Instruction) -> tuple[Any, tuple[Any, ...]]:
    flat = all(a.ndim == 2 for a in i.args)
    return (np.dot if flat else np.matmul), (*i.args, i.out)  # np.dot has half the overhead


def _sum(i: Instruction) -> tuple[Any, tuple[Any, ...]]:
    a, axis = i.args[0], i.kwargs.get("axis")
    if axis == -2:  # as a product with ones: np.sum over a batch takes up to four times as long
        return (np.dot if a.ndim == 2 else np.matmul), (_ones(a.shape[-2], a.dtype), a, i.out)
    return np.add.reduce, (a, axis, None, i.out)


@lru_cache(16)
def _ones(n: int, dtype: Any) -> Any:
    return np.ones(n, dtype)


FORMS |= {np.matmul: _matmul, np.sum: _sum}


def program(
    plan: Plan, inputs: list[Value], bound: dict[Value, Any], into: dict[Value, Value], is_looked_at: bool
) -> tuple[Callable[..., Any], str, Writer]:
    """A function of the inputs, its source, and its writer.

    Args:
        plan: the operations.
        inputs: the inputs that are its arguments.
        bound: the inputs whose arrays are the same in every run.
        into: outputs that are written into the array of a bound input.
        is_looked_at: whether `look` is called before an input changes.
    """
    writer = Writer(plan, inputs, bound, into, is_looked_at)
    arguments = ", ".join(writer.names[value] for value in inputs)
    results = "".join(f"{writer.name(value)}, " for value in plan.outputs)
    source = "\n    ".join([f"def run(look, {arguments}):", *writer.lines, f"return ({results})"]) + "\n"
    exec(compile(source, "<plan>", "exec"), writer.globals)
    return writer.globals["run"], source, writer
