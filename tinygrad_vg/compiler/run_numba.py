"""The backend "numba": a plan as generated functions of loops and products (`generated.py`), with their memory."""

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_vg.compiler.arrangement import arranged, lives_of, with_constants, with_places
from tinygrad_vg.compiler.buffers import STEP, address_of, allocated, empty, laid_out
from tinygrad_vg.compiler.functions import functions_of
from tinygrad_vg.compiler.generated import FUNCTIONS, Text, shared_factors
from tinygrad_vg.compiler.jobs import Job, moves_for
from tinygrad_vg.compiler.layout import Group, accesses
from tinygrad_vg.compiler.numbers import Ahead
from tinygrad_vg.compiler.places import COUNT, GIVEN, NUMBER, RESULT
from tinygrad_vg.compiler.plan import Plan, Value
from tinygrad_vg.compiler.templates import is_classes
from tinygrad_vg.engine.following import Watch


class Machine:
    """Generated functions with their memory.

    Args:
        plan: the operations.
        inputs: the inputs whose arrays are given in each run.
        bound: the arrays of the other inputs.
        changed: outputs that are the new value of a bound input, and may be written into its array.
        is_looked_at: whether there is a pause before the inputs change.
        count: the number of outputs that every run gives; the others are for hooks.

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
        count: int,
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
        shared = shared_factors(groups, self.found)
        self.aligned = [empty(value.shape, value.dtype) if value in shared else None for value in inputs]
        self.table = self.addresses(text)
        self.address = ctypes.addressof(self.table)
        self.parts = with_functions(self.source, text.parts)
        self.before, self.after = self.parts[: self.pause], self.parts[self.pause :]
        self.is_native = not any(isinstance(part, Group) for part in self.parts)  # then there are one or two
        self.functions = [ctypes.cast(part, ctypes.c_void_p).value or 0 for part in self.parts if self.is_native]
        self.runs_alone = len(self.parts) == 1 and self.is_native and not is_looked_at
        self.followed: list[tuple[int, int, int, int]] = []  # moves of gradients into rooms of followers
        self.rooms: Any = ()  # which own that memory
        self.whole: Job | None = None  # a run with followers
        self.half: Job | None = None  # what of it is before the inputs change
        self.views, self.outputs = self.split(plan.outputs)
        self.always = [view for view in self.views if view[0] < count]  # those that are not for hooks

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
        for place, array, aligned in zip(self.places, arrays, self.aligned, strict=True):
            if type(array) is not np.ndarray or not array.flags.c_contiguous:  # a NumPy scalar is no array
                array = np.ascontiguousarray(array)
                kept.append(array)
            address = address_of(array)
            if aligned is not None and address % STEP:
                aligned[...] = array
                address = address_of(aligned)
            table[place] = address
        for copy, array in self.copied:
            np.copyto(copy, array)
        if self.always or look is not None:
            self.see(arrays, self.always if look is None else self.views)
        if self.runs_alone:
            self.parts[0](self.address)
        elif look is None and self.whole is not None:
            if not self.whole.once():
                return None
        elif look is None:
            self.run(self.parts, arrays)
        else:
            if self.whole is None:
                self.run(self.before, arrays)
            elif not self.first_half().once():
                return None
            look(self.outputs)
            self.run(self.after, arrays)
        return self.outputs

    def see(self, arrays: Any, views: list[tuple[int, Value, int]]) -> None:
        """Put these views of a run's arrays into the outputs.

        An array in the outputs lives on. The next batch then has to lie elsewhere in memory, where no cache has it; so
        a run puts into the outputs only what somebody reads.
        """
        for number, value, place in views:
            self.outputs[number] = self.given(value, arrays) if place < 0 else arrays[place]

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
        self.rooms, self.whole, self.half, self.followed = rooms, None, None, []
        for room, numbers in rooms:
            self.followed += moves_for(room, [self.outputs[number] for number in numbers])
        if rooms:
            self.whole = self.job(self.functions, self.followed)

    def first_half(self) -> Job:
        """The job of a run up to the pause, which is needed only if somebody looks beside the followers."""
        if self.half is None:
            self.half = self.job(self.functions[: self.pause], self.followed)
        return self.half

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
                buffer = empty(value.shape, value.dtype)
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


def with_functions(source: str, parts: list[Any]) -> list[Any]:
    """The parts of a source as functions of the table's address; NumPy calls stay as they are."""
    functions = functions_of(source)
    return [part if isinstance(part, Group) else functions[f"run_{number}"] for number, part in enumerate(parts)]
