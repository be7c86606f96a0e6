"""The backend "numba": a plan as one generated function of loops and BLAS calls. Its text is made to be read.

Each loop is a function of its own, `loop_1(...)`; loops with the same text are one. `run(table)` calls them and gemm in
their order; the table holds the addresses of all arrays. What has no form here runs as a NumPy call in its place, and
`run` is then in several parts.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_vg.compiler.buffers import Life, allocated, laid_out
from tinygrad_vg.compiler.layout import Access, Group, accesses, contiguous, grouped, is_sum
from tinygrad_vg.compiler.passes import DESCENT, folded_updates
from tinygrad_vg.compiler.places import Constant
from tinygrad_vg.compiler.plan import Instruction, Plan, Value
from tinygrad_vg.compiler.templates import expression, is_written
from tinygrad_vg.engine.kernels import sum_of_rows

PAUSE = 0.05  # seconds in native code, after which Python looks whether Ctrl-C was pressed
KINDS = {"float32": "f32", "float64": "f64", "bool": "boolean", "int64": "i64", "int32": "i32"}


class Text:
    """Writes the source of a plan.

    Attributes:
        loops: the text of each loop function, by its body.
        parts: the lines of each part of `run`; a Group between them is a NumPy call.
        places: the place of each array in the table.
    """

    def __init__(self, groups: list[Group], found: dict[Value, Access], outputs: set[Value]) -> None:
        self.found = found
        self.loops: dict[str, str] = {}
        self.parts: list[list[str] | Group] = []
        self.places: dict[Value, int] = {}
        self.constants: dict[int, tuple[Any, Value]] = {}
        self.readers: dict[Value, set[int]] = {}
        for number, group in enumerate(groups):
            for i in group.instructions:
                for value in i.reads:
                    self.readers.setdefault(value, set()).add(number)
        for value in outputs:
            self.readers.setdefault(value, set()).add(-1)
        self.viewed = {access.root for value, access in found.items() if access.root is not value}
        for number, group in enumerate(groups):
            if group.kind == "call":
                self.parts.append(group)
                continue
            if not self.parts or isinstance(self.parts[-1], Group):
                self.parts.append([])
            part: Any = self.parts[-1]
            part += self.product(group) if group.kind == "product" else self.loop(group, number)

    def place(self, value: Value) -> int:
        """The place of a root in the table."""
        return self.places.setdefault(value, len(self.places))

    def is_stored(self, value: Value, number: int) -> bool:
        """Whether others than the loop number `number` need what it makes."""
        return bool(self.readers.get(value, set()) - {number}) or value in self.viewed or self.found[value].root is not value

    # Loops.

    def loop(self, group: Group, number: int) -> list[str]:
        """The call of a loop, whose text goes into `loops`."""
        names: dict[Value, str] = {}  # of arrays, by root
        scalars: dict[Value, str] = {}
        before: list[str] = []
        body: list[str] = []
        after: list[str] = []

        def array(value: Value) -> str:
            return names.setdefault(self.found[value].root, f"a{len(names)}")

        def read(value: Value) -> str:
            if value not in scalars:
                scalars[value] = f"x{len(scalars)}"
                body.append(f"{scalars[value]} = {array(value)}[{self.index(value, group)}]")
            return scalars[value]

        for i in group.instructions:
            if is_sum(i):
                lines = self.sum(i, array(i.out), read(i.reads[0]), group)
                before, body, after = before + lines[0], body + lines[1], after + lines[2]
                continue
            text = expression(i, read)
            scalars[i.out] = f"x{len(scalars)}"
            body.append(f"{scalars[i.out]} = {text}  # {i.operation.name}")
            if self.is_stored(i.out, number):
                body.append(f"{array(i.out)}[{self.index(i.out, group)}] = {scalars[i.out]}")
        heads = self.heads(group)
        lines = [*before, *heads, *("    " * len(heads) + line for line in body), *after]
        text = f"({', '.join(names.values())}):\n" + "".join(f"    {line}\n" for line in lines)
        name = self.loops.setdefault(text, f"loop_{len(self.loops) + 1}")
        listed = ", ".join(self.array(root) for root in names)
        return [f"{name}({listed})  # {', '.join(dict.fromkeys(i.line for i in group.instructions))}"]

    def heads(self, group: Group) -> list[str]:
        """The lines that begin the loops over a group's shape."""
        if group.is_flat:
            return [f"for i in range({int(np.prod(group.shape, dtype=np.int64))}):"]
        return ["    " * axis + f"for i{axis} in range({n}):" for axis, n in enumerate(group.shape)]

    def index(self, value: Value, group: Group) -> str:
        """The index of a value's element in a loop."""
        access = self.found[value]
        if group.is_flat:
            if value.shape == ():
                return str(access.offset)
            return f"i + {access.offset}" if access.offset else "i"
        lead = len(group.shape) - len(value.shape)
        terms = [
            f"i{lead + axis} * {stride}" if stride != 1 else f"i{lead + axis}"
            for axis, (n, stride) in enumerate(zip(value.shape, access.strides, strict=True))
            if n != 1 and stride
        ]
        return " + ".join([*terms, *([str(access.offset)] if access.offset or not terms else [])])

    def sum(self, i: Instruction, name: str, term: str, group: Group) -> tuple[list[str], list[str], list[str]]:
        """The lines of a sum before, in and after its loops."""
        (a,) = i.reads
        axes = -2 if i.operation.function is sum_of_rows else i.kwargs.get("axis")
        axes = tuple(range(a.ndim)) if axes is None else axes if isinstance(axes, tuple) else (axes,)
        summed = {axis % a.ndim for axis in axes}
        kind = KINDS[i.out.dtype.name]
        if len(summed) == a.ndim:  # one number, which is added up in float64
            return ["total = 0.0"], [f"total += {term}"], [f"{name}[0] = {kind}(total)"]
        strides = iter(contiguous(tuple(n for axis, n in enumerate(a.shape) if axis not in summed)))
        terms = [f"i{axis} * {next(strides)}" for axis in range(a.ndim) if axis not in summed]
        place = " + ".join(terms).replace(" * 1", "")
        size = int(np.prod(i.out.shape, dtype=np.int64))
        zero = [f"for j in range({size}):", f"    {name}[j] = {kind}(0.0)"]
        return zero, [f"{name}[{place}] += {term}"], []

    def array(self, root: Value) -> str:
        """An array in `run`."""
        size = int(np.prod(root.shape, dtype=np.int64))
        return f"carray(pointer(table[{self.place(root)}]), {max(1, size)}, {KINDS[root.dtype.name]})"

    # Products.

    def product(self, group: Group) -> list[str]:
        """The calls of gemm for a product of matrices, or of stacks of matrices.

        BLAS has its matrices column by column: what is C = A B row by row is Cᵀ = Bᵀ Aᵀ to it.
        """
        (i,) = group.instructions
        kind = KINDS[i.out.dtype.name]
        a, b = i.args[-2:]
        alpha, beta = f"{kind}(1.0)", f"{kind}(0.0)"
        if i.operation is DESCENT:
            alpha, beta = f"-{self.number(i.args[2], kind)}", self.number(i.args[1], kind)
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = Value((*lead, a.shape[-2], b.shape[-1]), i.out.dtype)
        self.found[out] = Access(self.found[i.out].root, self.found[i.out].offset, contiguous(out.shape))
        (m, n), k = out.shape[-2:], a.shape[-1]
        heads = ["    " * axis + f"for i{axis} in range({count}):" for axis, count in enumerate(lead)]
        parts = []
        for value in (b, a, out):
            access = self.found[value]
            missing = len(lead) - len(value.shape[:-2])
            terms = [
                f"i{missing + axis} * {stride * value.dtype.itemsize}"
                for axis, (count, stride) in enumerate(zip(value.shape[:-2], access.strides, strict=False))
                if count != 1
            ]
            offset = [str(access.offset * value.dtype.itemsize)] if access.offset else []
            place = " + ".join([f"table[{self.place(access.root)}]", *terms, *offset])
            parts.append((place, *transposed(value, access)))
        (pb, tb, ldb), (pa, ta, lda), (pc, _, ldc) = parts
        call = (
            f"gemm(table[{self.gemm(i.out.dtype)}], {tb}, {ta}, {n}, {m}, {k}, {alpha}, "
            f"{pb}, {ldb}, {pa}, {lda}, {beta}, {pc}, {ldc})"
        )
        return [*heads, "    " * len(heads) + call + f"  # {i.line}"]

    def number(self, factor: Any, kind: str) -> str:
        """A factor of a descent: a constant, or an array of one number."""
        if isinstance(factor, Value):
            access = self.found[factor]
            return f"carray(pointer(table[{self.place(access.root)}]), {access.offset + 1}, {kind})[{access.offset}]"
        return f"{kind}({float(factor)!r})"

    def gemm(self, dtype: Any) -> int:
        """The place of gemm's address in the table."""
        key = GEMMS.setdefault(dtype.name, Value((), np.dtype(dtype)))
        return self.place(key)

    def text(self) -> str:
        """The whole source."""
        lines = ["from tinygrad_vg.compiler.native import *", ""]
        for text, name in self.loops.items():
            lines += ["", "@loop", f"def {name}{text}"]
        for number, part in enumerate(self.parts):
            if not isinstance(part, Group):
                head = f"table = carray(pointer(address), {len(self.places)}, i64)"
                lines += ["", "", f"def run_{number}(address):", *(f"    {line}" for line in (head, *part))]
        return "\n".join(lines) + "\n"


GEMMS: dict[str, Value] = {}


def transposed(value: Value, access: Access) -> tuple[int, int]:
    """(whether BLAS must transpose a matrix, the distance of its rows)."""
    (rows, columns), (down, right) = value.shape[-2:], access.strides[-2:]
    if right == 1 or columns == 1:
        return 0, max(1, columns, down if rows > 1 else columns)
    return 1, max(1, rows, right)


def is_product(i: Instruction, found: dict[Value, Access]) -> bool:
    """Whether BLAS can compute a product of these matrices as they lie."""
    if i.operation.function not in (np.matmul, DESCENT.function) or i.kwargs:
        return False
    if i.out.dtype.name not in ("float32", "float64"):
        return False
    factors = i.args[-2:]
    if not all(isinstance(a, Value) and a.ndim > 1 and a.dtype == i.out.dtype and 0 not in a.shape for a in factors):
        return False
    return all(lies_well(a, found[a]) for a in factors)


def lies_well(value: Value, access: Access) -> bool:
    (rows, columns), (down, right) = value.shape[-2:], access.strides[-2:]
    if right == 1 or columns == 1:
        return rows == 1 or (down >= columns and (columns > 1 or down >= 1))
    return (down == 1 or rows == 1) and right >= rows


def replaced(groups: list[Group], changed: dict[Value, Value], found: dict[Value, Access]) -> dict[Value, Value]:
    """Which outputs may be written into the array of the input that they replace: nobody reads it later."""
    made = {i.out: number for number, group in enumerate(groups) for i in group.instructions}
    into = {}
    for new, old in changed.items():
        number = made.get(new)
        if number is None or new.shape != old.shape:
            continue
        here = groups[number]
        later = (v for group in groups[number + 1 :] for i in group.instructions for v in i.reads)
        same = (v for i in here.instructions for v in i.reads if v is not old)
        is_same_place = here.is_flat if here.kind == "loop" else here.instructions[0].operation is DESCENT
        if is_same_place and not any(found[v].root is old for v in (*later, *same)):
            into[new] = old
    return into


def lives_of(groups: list[Group], found: dict[Value, Access], text: Text, outputs: set[Value]) -> list[Life]:
    """When each array on the way needs its memory, counted in groups."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for number, group in enumerate(groups):
        for i in group.instructions:
            if group.kind != "loop" or text.is_stored(i.out, number) or is_sum(i):
                first.setdefault(found[i.out].root, number)
            for value in (i.out, *i.reads):
                last[found[value].root] = number
    last |= {found[value].root: len(groups) for value in outputs}
    return [Life(root, number, last[root]) for root, number in first.items()]


class Machine:
    """A generated function with its memory.

    Attributes:
        source: its text.
        size: the bytes of the memory for all arrays on the way.
        into: the outputs that are written into the array of the input that they replace.
    """

    def __init__(
        self, plan: Plan, inputs: list[Value], bound: dict[Value, Any], changed: dict[Value, Value]
    ) -> None:
        plan, constants = with_constants(plan)
        bound = bound | constants
        while True:
            short = folded_updates(plan, changed)
            found = accesses(short, {})
            groups = grouped(short, found, is_written, is_product)
            self.into = replaced(groups, changed, found)
            late = {i.out for i in short.instructions if i.operation is DESCENT} - self.into.keys()
            if not late:  # a product can be folded into the descent of a weight that nobody reads later
                break
            changed = {new: old for new, old in changed.items() if new not in late}
        plan = short
        self.found = accesses(plan, self.into)
        self.plan = plan
        outputs = {value for value in plan.outputs if isinstance(value, Value)}
        text = Text(groups, self.found, outputs)
        arena = laid_out([life for life in lives_of(groups, self.found, text, outputs) if life.value not in bound])
        self.size = arena.size
        self.arrays: dict[Value, Any] = {**bound, **allocated(arena)}
        self.dynamic = inputs
        self.source = text.text()
        self.parts, self.table = self.compiled(text)
        self.address = self.table.ctypes.data
        self.fixed = {
            value: self.view(value, {}) for value in outputs if self.found[value].root in self.arrays
        }  # of the outputs

    def compiled(self, text: Text) -> tuple[list[Any], Any]:
        """The parts as functions, and the table that they read."""
        from numba import cfunc, types

        from tinygrad_vg.compiler.native import address_of_gemm

        names: dict[str, Any] = {}
        exec(compile(self.source, "<plan>", "exec"), names)
        for value in self.dynamic:  # also one that is not used after all
            text.place(value)
        table = np.zeros(len(text.places) + 1, np.int64)
        for value, place in text.places.items():
            if value in GEMMS.values():
                table[place] = address_of_gemm(value.dtype)
            elif value in self.arrays:
                table[place] = self.arrays[value].ctypes.data
        self.places = [text.places[value] for value in self.dynamic]
        signature = types.void(types.int64)
        return [
            part if isinstance(part, Group) else cfunc(signature)(names[f"run_{number}"]).ctypes
            for number, part in enumerate(text.parts)
        ], table

    def __call__(self, *arrays: Any) -> list[Any]:
        """Run once with the arrays of the inputs that are not bound."""
        table = self.table
        kept = []
        for place, array in zip(self.places, arrays, strict=True):
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
                kept.append(array)
            table[place] = array.__array_interface__["data"][0]
        address = self.address
        for part in self.parts:
            if isinstance(part, Group):
                self.called(part, dict(zip(self.dynamic, arrays, strict=True)))
            else:
                part(address)
        given = dict(zip(self.dynamic, arrays, strict=True))
        return [self.output(value, given) for value in self.plan.outputs]

    def output(self, value: Any, given: dict[Value, Any]) -> Any:
        """The array of an output."""
        if not isinstance(value, Value):
            return value
        return self.fixed[value] if value in self.fixed else self.view(value, given)

    def over(self, batches: Any, given: list[tuple[Any, bool]], wanted: list[int]) -> Iterator[tuple[int, list[Any]]]:
        """Run once for each row of indices; yield from time to time how many are done, with the results of all.

        Args:
            batches: int64 indices (steps, ...).
            given: for each input that is not bound its array, or the data whose rows it is to hold and True.
            wanted: the numbers of the outputs whose values are the results.
        """
        steps, rows = len(batches), int(np.prod(batches.shape[1:], dtype=np.int64))
        moves, kept = [], [batches]
        for value, place, (array, has_rows) in zip(self.dynamic, self.places, given, strict=True):
            array = np.ascontiguousarray(array)
            if has_rows:
                buffer = np.empty(value.shape, value.dtype)
                moves.append((0, array.ctypes.data, buffer.ctypes.data, array.nbytes // len(array)))
                kept += [array, buffer]
                array = buffer
            kept.append(array)
            self.table[place] = array.ctypes.data
        results = []
        for number in wanted:
            source = self.fixed[self.plan.outputs[number]]
            results.append(np.empty((steps, *source.shape), source.dtype))
            moves.append((1, source.ctypes.data, results[-1].ctypes.data, source.nbytes))
        table = np.array(moves, np.int64).reshape(-1, 4)
        run, many = self.parts[0], many_steps()
        address = ctypes.cast(run, ctypes.c_void_p).value
        done, length = 0, 1
        while done < steps:
            begin = perf_counter()
            end = min(steps, done + length)
            many(address, self.address, table.ctypes.data, len(table), batches.ctypes.data, rows, done, end)
            done = end
            length = max(1, int(length * min(8.0, PAUSE / max(1e-6, perf_counter() - begin))))
            yield done, results

    @property
    def runs_at_once(self) -> bool:
        """Whether it is one native function, without calls of NumPy in between."""
        return len(self.parts) == 1 and not isinstance(self.parts[0], Group)

    def called(self, group: Group, given: dict[Value, Any]) -> None:
        """Run a group that is a NumPy call."""
        for i in group.instructions:
            args = [self.view(a, given) if isinstance(a, Value) else a for a in i.args]
            np.copyto(self.view(i.out, given), i.operation.kernel(*args, **i.kwargs))

    def view(self, value: Value, given: dict[Value, Any]) -> Any:
        """The array of a value."""
        root, offset, strides = self.found[value]
        array = self.arrays[root] if root in self.arrays else np.ascontiguousarray(given[root])
        steps = tuple(stride * value.dtype.itemsize for stride in strides)
        return np.lib.stride_tricks.as_strided(array.reshape(-1)[offset:], value.shape, steps)


def with_constants(plan: Plan) -> tuple[Plan, dict[Value, Any]]:
    """The plan with a Value for each array that never changes, and these arrays."""
    values: dict[int, Value] = {}
    arrays: dict[Value, Any] = {}

    def of(argument: Any) -> Any:
        if not isinstance(argument, np.ndarray) or argument.size < 2:
            return argument
        if id(argument) not in values:
            value = values[id(argument)] = Value(argument.shape, argument.dtype, Constant("constant"))
            arrays[value] = np.ascontiguousarray(argument)
        return values[id(argument)]

    new = tuple(replace(i, args=tuple(map(of, i.args))) for i in plan.instructions)
    return Plan(new, plan.outputs), arrays


@cache
def many_steps() -> Any:
    """`native.steps` as a function that is called with numbers."""
    from numba import cfunc, types

    from tinygrad_vg.compiler import native

    return cfunc(types.void(*[types.int64] * 8))(native.steps).ctypes
