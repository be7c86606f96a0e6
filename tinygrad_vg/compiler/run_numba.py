"""The backend "numba": a plan as generated functions of loops and BLAS calls (`generated.py`), with their memory."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_vg.compiler.buffers import Arena, Life, address_of, allocated, laid_out
from tinygrad_vg.compiler.copies import copies_of
from tinygrad_vg.compiler.functions import functions_of
from tinygrad_vg.compiler.generated import FUNCTIONS, Text
from tinygrad_vg.compiler.jobs import Job, moves_for
from tinygrad_vg.compiler.layout import Access, Group, Kind, accesses, grouped, is_product, is_sum, replaced
from tinygrad_vg.compiler.numbers import Ahead
from tinygrad_vg.compiler.passes import DESCENT, folded_updates, made_late
from tinygrad_vg.compiler.places import COUNT, GIVEN, NUMBER, RESULT, Constant
from tinygrad_vg.compiler.plan import Plan, Value, is_number
from tinygrad_vg.compiler.templates import is_by_row, is_classes, is_written
from tinygrad_vg.engine.following import Watch

KINDS: dict[Kind, Any] = {"rows": is_by_row, "copies": lambda i, found: copies_of(i), "product": is_product}


class Machine:
    """Generated functions with their memory.

    Args:
        plan: the operations.
        inputs: the inputs whose arrays are given in each run.
        bound: the arrays of the other inputs.
        changed: outputs that are the new value of a bound input, and may be written into its array.
        is_looked_at: whether there is a pause before the inputs change.

    Attributes:
        source: the text of the functions.
        size: the size of the memory for all intermediate arrays, in bytes.
        into: the outputs that are written into the array of the input that they replace.
        labels: the cross-entropies of indices of classes, which have to be in range.
    """

    def __init__(
        self,
        plan: Plan,
        inputs: list[Value],
        bound: dict[Value, Any],
        changed: dict[Value, Value],
        is_looked_at: bool,
    ) -> None:
        plan, constants = with_constants(plan)
        self.copied: list[tuple[Any, Any]] = []  # arrays from outside that do not lie in C order, with their copies
        for value, array in constants.items():
            constants[value] = np.ascontiguousarray(array)
            if constants[value] is not array:
                self.copied.append((constants[value], array))
        self.plan, groups, self.into = arranged(plan, changed, is_looked_at)
        first = [group for group in groups if not group.is_late]
        groups = first + [group for group in groups if group.is_late]
        rows = [i for group in groups if group.kind == "rows" for i in group.instructions]
        self.labels = [i for i in rows if is_classes(i, i.reads[-1])]
        self.found = accesses(self.plan, self.into)
        self.inputs = inputs
        outputs = {value for value in plan.outputs if isinstance(value, Value)}
        text = Text(groups, self.found, outputs, len(first) if is_looked_at else -1)
        self.pause = text.pause
        bound = bound | constants
        arena = laid_out([life for life in lives_of(groups, self.found, text, outputs) if life.value not in bound])
        self.size = arena.size
        self.arrays: dict[Value, Any] = {**bound, **allocated(arena)}
        self.shown_plan = with_places(self.plan, groups, self.found, arena, self.into)
        self.source = text.text()
        self.places = [text.place(value) for value in inputs]  # also of one that is not used after all
        self.table = self.addresses(text)
        self.address = ctypes.addressof(self.table)
        self.parts = with_functions(self.source, text.parts)
        self.before, self.after = self.parts[: self.pause], self.parts[self.pause :]
        self.is_native = not any(isinstance(part, Group) for part in self.parts)  # then there are one or two
        self.runs_alone = len(self.parts) == 1 and self.is_native and not is_looked_at
        self.followed: list[tuple[int, int, int, int]] = []  # moves of gradients into rooms of followers
        self.rooms: Any = ()  # which own that memory
        self.jobs: tuple[Job, ...] = ()  # the whole run, and what is before the inputs change; none without followers
        self.views, self.outputs = self.split(plan.outputs)

    def split(self, outputs: tuple[Any, ...]) -> tuple[list[tuple[int, Value, int]], list[Any]]:
        """Those outputs that are views of what is given in each run, and the arrays of the others.

        Of each view its number, its value, and which of the inputs it is; −1 for a part of one.
        """
        inputs = self.inputs
        views = [
            (number, value, inputs.index(value) if value in inputs else -1)
            for number, value in enumerate(outputs)
            if isinstance(value, Value) and self.found[value].root not in self.arrays
        ]
        later = {number for number, _, _ in views}
        return views, [
            self.view(value, {}) if isinstance(value, Value) and number not in later else value
            for number, value in enumerate(outputs)
        ]

    def addresses(self, text: Text) -> Any:
        """The table of the addresses of all arrays."""
        from tinygrad_vg.compiler import blas, products

        called = {value: function for function, value in FUNCTIONS.items()}
        table = (ctypes.c_int64 * (len(text.places) + 1))()
        for value, place in text.places.items():
            if value in called:
                function = called[value]
                is_blas = function.name == "gemm"
                table[place] = blas.address_of(function.kind) if is_blas else products.address_of(*function)
            elif value in self.arrays:
                table[place] = self.arrays[value].ctypes.data
        return table

    def __call__(self, look: Any, *arrays: Any) -> list[Any] | None:
        """Run once with the arrays of the inputs. The outputs are the same arrays in each run.

        None if a gradient that a follower watches is not sound; then nothing has changed.
        """
        table, kept = self.table, []
        for place, array in zip(self.places, arrays, strict=True):
            if type(array) is not np.ndarray or not array.flags.c_contiguous:  # a NumPy scalar is no array
                array = np.ascontiguousarray(array)
                kept.append(array)
            table[place] = address_of(array)
        for copy, array in self.copied:
            np.copyto(copy, array)
        for number, value, place in self.views:
            self.outputs[number] = self.given(value, arrays) if place < 0 else arrays[place]
        if self.runs_alone:
            self.parts[0](self.address)
        elif look is None and self.jobs:
            if not self.jobs[0].once():
                return None
        elif look is None:
            self.run(self.parts, arrays)
        else:
            if not self.jobs:
                self.run(self.before, arrays)
            elif not self.jobs[1].once():
                return None
            look(self.outputs)
            self.run(self.after, arrays)
        return self.outputs

    def run(self, parts: list[Any], arrays: Any) -> None:
        """Run some parts."""
        for part in parts:
            if isinstance(part, Group):
                self.called(part, dict(zip(self.inputs, arrays, strict=True)))
            else:
                part(self.address)

    def given(self, value: Value, arrays: Any) -> Any:
        """The array of an output that is a view of one of the inputs."""
        return self.view(value, dict(zip(self.inputs, arrays, strict=True)))

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

    def follow(self, rooms: Sequence[tuple[Any, list[int]]]) -> None:
        """From now on write outputs into rooms of followers, and watch some: (room, the numbers of the outputs)."""
        self.rooms, self.jobs, self.followed = rooms, (), []
        for room, numbers in rooms:
            self.followed += moves_for(room, [self.outputs[number] for number in numbers])
        if rooms:
            before = self.functions[: self.pause]
            self.jobs = self.job(self.functions, self.followed), self.job(before, self.followed)

    def can_follow(self, room: Any, numbers: list[int]) -> bool:
        """Whether machine code can write these outputs into a room, or watch them: they are the same arrays in each
        run, and alike."""
        later = {number for number, _, _ in self.views}
        if not (self.is_native and self.pause > 0) or later.intersection(numbers):
            return False
        outputs = [self.outputs[number] for number in numbers]
        if not all(output.flags.c_contiguous for output in outputs):
            return False
        if isinstance(room, Watch):
            return outputs[0].dtype.name in ("float32", "float64") and outputs[0].size > 0
        forms = [(array.shape[1:], array.dtype) for array in room.arrays]
        return forms == [(output.shape, output.dtype) for output in outputs]

    @property
    def functions(self) -> list[int]:
        """The addresses of the parts, which are native."""
        return [ctypes.cast(part, ctypes.c_void_p).value or 0 for part in self.parts]

    def job(self, functions: list[int], moves: list[Any], batches: Any = None) -> Job:
        return Job(functions, self.address, moves, batches)

    def runs_at_once(self, wanted: list[int]) -> bool:
        """Whether `over` can give these outputs: the plan has no NumPy calls, and they are not views of an argument."""
        return self.is_native and not self.copied and not any(number in wanted for number, _, _ in self.views)

    def over(
        self, batches: Any, given: list[tuple[Any, bool]], wanted: list[int], ahead: Ahead
    ) -> Iterator[tuple[int, list[Any]]]:
        """Run once for each row of indices; from time to time yield the number of finished runs, and the results.

        Args:
            batches: int64 indices (steps, ...).
            given: for each input (its array, False), or (the data from which it takes rows, True).
            wanted: the numbers of the outputs whose values are the results.
            ahead: what changes in the optimizers from step to step.
        """
        moves, kept = [*self.followed], []
        moves += [(NUMBER, v.ctypes.data, a.ctypes.data, a.itemsize) for v, a in ahead.numbers]
        moves += [(COUNT, v.ctypes.data, a.ctypes.data, a.itemsize) for v, a, _ in ahead.counts]
        for value, place, (array, has_rows) in zip(self.inputs, self.places, given, strict=True):
            array = np.ascontiguousarray(array)
            if has_rows:
                buffer = np.empty(value.shape, value.dtype)
                moves.append((GIVEN, array.ctypes.data, buffer.ctypes.data, array.nbytes // len(array)))
                kept += [array, buffer]
                array = buffer
            kept.append(array)
            self.table[place] = array.ctypes.data
        results = []
        for number in wanted:
            source = self.outputs[number]
            results.append(np.empty((len(batches), *source.shape), source.dtype))
            moves.append((RESULT, source.ctypes.data, results[-1].ctypes.data, source.nbytes))
        for done in self.job(self.functions, moves, batches).stretches(len(batches)):
            yield done, results


def arranged(
    plan: Plan, changed: dict[Value, Value], is_looked_at: bool
) -> tuple[Plan, list[Group], dict[Value, Value]]:
    """The plan with its products folded into the descents, its groups, and the outputs that are written in place."""
    while True:
        short = folded_updates(plan, changed)
        found = accesses(short, {})
        groups = grouped(short, found, is_written, KINDS, made_late(short, changed) if is_looked_at else ())
        into = replaced(groups, changed, found, short.outputs)
        read = {i.out for i in short.instructions if i.operation is DESCENT} - into.keys()
        if not read:  # a product can be folded into the descent of a weight that nobody reads later
            return short, as_early(groups, into, found), into
        changed = {new: old for new, old in changed.items() if new not in read}


def as_early(groups: list[Group], into: dict[Value, Value], found: dict[Value, Access]) -> list[Group]:
    """The groups, those that change an input as early as possible, so that their arguments need no memory later."""
    order: list[Group] = []
    for group in groups:
        changed = {into[i.out] for i in group.instructions if i.out in into}
        if not changed:
            order.append(group)
            continue
        needed = changed | {found[value].root for i in group.instructions for value in i.reads}
        last = -1
        for number, earlier in enumerate(order):
            roots = {found[value].root for i in earlier.instructions for value in (i.out, *i.reads)}
            roots |= {into[i.out] for i in earlier.instructions if i.out in into}
            if any(found[i.out].root in needed for i in earlier.instructions) or roots & changed:
                last = number
        order.insert(last + 1, group)
    return order


def lives_of(groups: list[Group], found: dict[Value, Access], text: Text, outputs: set[Value]) -> list[Life]:
    """The groups between which each intermediate array needs its memory."""
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


def with_places(
    plan: Plan, groups: list[Group], found: dict[Value, Access], arena: Arena, into: dict[Value, Value]
) -> Plan:
    """The plan as it runs, with the place of each array."""
    calls = {i.out for group in groups if group.kind == "call" for i in group.instructions}
    buffers = {}
    for i in plan.instructions:
        root = found[i.out].root
        place = f"{arena.places[root]:,}" if root in arena.places else ""
        if i.out in into:
            buffers[i.out] = f"in {into[i.out].name}"
        elif i.out in calls:
            buffers[i.out] = f"{place} NumPy call"
        elif root is not i.out:
            buffers[i.out] = "view"
        else:
            buffers[i.out] = place or "register"
    return Plan(plan.instructions, plan.outputs, buffers)


def with_constants(plan: Plan) -> tuple[Plan, dict[Value, Any]]:
    """The plan with a Value for each array that never changes, and these arrays."""
    values: dict[int, Value] = {}
    arrays: dict[Value, Any] = {}

    def of(argument: Any) -> Any:
        if not isinstance(argument, np.ndarray) or is_number(argument):
            return argument
        if id(argument) not in values:
            value = values[id(argument)] = Value(argument.shape, argument.dtype, Constant("constant"), "constant")
            arrays[value] = argument
        return values[id(argument)]

    new = tuple(replace(i, args=tuple(map(of, i.args))) for i in plan.instructions)
    return Plan(new, plan.outputs), arrays


def with_functions(source: str, parts: list[Any]) -> list[Any]:
    """The parts of a source as functions of the table's address; NumPy calls stay as they are."""
    functions = functions_of(source)
    return [part if isinstance(part, Group) else functions[f"run_{number}"] for number, part in enumerate(parts)]
