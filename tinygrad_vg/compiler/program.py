"""A program: one trace of a step as a function that runs again, with the conditions under which it is right."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.compiler.arguments import Form, Leaf, put_together
from tinygrad_vg.compiler.backends import Lowered, lowered
from tinygrad_vg.compiler.buffers import empty
from tinygrad_vg.compiler.followers import Followers
from tinygrad_vg.compiler.guards import Guards
from tinygrad_vg.compiler.numbers import Numbers
from tinygrad_vg.compiler.passes import followed, recipe_of, without_unused
from tinygrad_vg.compiler.places import Argument, Gradient, Held, Inside, Option, Returned, State
from tinygrad_vg.compiler.plan import Instruction, Plan, Value
from tinygrad_vg.compiler.returned import Outcome
from tinygrad_vg.compiler.shown import Shown
from tinygrad_vg.compiler.trace import Trace
from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.written import orders, writes

# The arrays that compiled steps write into, by the tensor whose `data` they are; all programs share them.
OWNED: dict[int, tuple[weakref.ref[Tensor], Any]] = {}  # by the tensor's id: a WeakKeyDictionary would compare tensors


class Program:
    """A compiled step for arguments of one form.

    Attributes:
        plan: the operations.
        places: the place of each output of the plan.
        lowered: the function that runs; None before the first run.
    """

    def __init__(
        self, plan: Plan, outcome: Outcome, form: Form, guards: Guards, trace: Trace, shown: Shown | None
    ) -> None:
        self.shown = shown
        self.plan, self.recipes = put_off(plan, len(shown.asked) if shown is not None else 0)
        self.places = [place for place, _ in outcome.outputs]
        self.form = form
        self.result = outcome.structure
        self.guards = guards
        self.lowered: Lowered | None = None
        self.followers: Followers | None = None
        self.is_settled = True  # whether the arrays that it writes into are those of their places
        self.ran = -1  # when the last run ended, as the `order` of a Node
        self.options = {value: np.zeros((), value.dtype) for value in plan.inputs if isinstance(value.source, Option)}
        used: Any = [(value.source, array) for value, array in self.options.items()]
        self.numbers = Numbers([*trace.groups.values()], used)
        self.no_grads = outcome.no_grads
        self.dropped = outcome.dropped
        # Inputs that are there before and after: those that are read only, and those that the program writes into.
        self.read: list[tuple[Inside, Value]] = [
            (v.source, v) for v in plan.inputs if isinstance(v.source, Held | Gradient | State)
        ]
        held = {place.key for place, _ in self.read}
        self.absent = [place for place in self.places if isinstance(place, State) and place.key not in held]
        # What the program writes into: tensors, and states of optimizers, with their arrays.
        self.moving: list[tuple[Any, Any]] = []
        self.stateful: list[tuple[State, Any]] = []
        self.written: list[Any] = []  # views of them, its own: another program may watch the same arrays
        self.when: list[int] = []  # when it has written into them
        self.returned: list[tuple[int, bool]] = []  # (output, whether it is a Tensor)
        self.fetched: list[Any] = []  # where the arrays of a run come from
        self.is_given_all = False  # whether they are the arguments, in their order
        self.carried: list[tuple[int, Any, Any]] = []  # (output, its place, the array to write it into)
        self.labels: list[tuple[int, Instruction]] = []  # (argument, the cross-entropy for which it has to be in range)

    def why_not(self, args: Any, kwargs: Any, found: list[Any]) -> str | None:
        """The reason why these arguments need another program, or None. The arrays in them go into `found`."""
        if not self.form.is_of(args, kwargs, found):
            return "the arguments"
        for tensor in self.no_grads:
            if tensor.grad is not None:
                return f"the .grad of {tensor.label}"
        if (why := self.guards.changed() or self.numbers.changed()) is not None:
            return why
        for tensor, buffer in self.moving:
            if tensor._data is not buffer:
                if not is_like(tensor._data, buffer):
                    return str(tensor.label)
                self.is_settled = False
        for place, buffer in self.stateful:
            if (array := place.get()) is not buffer:
                if not is_like(array, buffer):
                    return place.name
                self.is_settled = False
        for place in self.absent:
            if place.get() is not None:
                return f"the {place.name} of an optimizer"
        for read, value in self.read:
            if not is_like(read.get(), value):
                return read.name
        return None

    def lower(self, backend: str) -> None:
        """Make the function that runs."""
        held = {place.key: value for place, value in self.read}
        changed = {
            value: held[place.key]
            for place, value in zip(self.places, self.plan.outputs, strict=False)
            if isinstance(place, Held | State) and place.key in held and isinstance(value, Value)
        }
        arrays: dict[Value, Any] = {old: owned(old.source) for old in changed.values()}  # type: ignore[arg-type]
        places: list[Any] = [(old.source, array) for old, array in arrays.items()]
        put_into(places)
        self.moving = [(place.tensor, array) for place, array in places if isinstance(place, Held)]
        self.stateful = [(place, array) for place, array in places if isinstance(place, State)]
        self.written = [array.view() for array in arrays.values()]
        self.when = writes.watch(self.written)
        writes.now(self.when)
        weakref.finalize(self, writes.keep, self.when, [*arrays.values()]).atexit = False
        self.read = [(place, value) for place, value in self.read if value not in arrays]
        bound = arrays | self.options
        inputs = [value for value in self.plan.inputs if value not in bound]
        self.fetched = [value.source for value in inputs]
        arguments = [place.number for place in self.fetched if isinstance(place, Argument)]
        self.is_given_all = len(arguments) == len(self.fetched) and arguments == [*range(len(self.form.found))]
        self.lowered = lowered(backend, self.plan, inputs, bound, changed, self.shown is not None, len(self.places))
        self.labels = [(i.args[1].source.number, i) for i in getattr(self.lowered.function, "labels", ())]
        if self.shown is not None:
            self.followers = Followers(self.shown, len(self.places), [*arrays.values()], self.lowered.function)
        for number, (place, value) in enumerate(zip(self.places, self.plan.outputs, strict=False)):
            if isinstance(place, Returned):
                self.returned.append((number, place.is_tensor))
            elif value not in self.lowered.into:
                self.carried.append((number, place, arrays.get(changed.get(value))))  # type: ignore[arg-type]

    def run(self, found: list[Any]) -> Any:
        """Run once, with these arrays as arguments."""
        assert self.lowered is not None
        for number, cross_entropy in self.labels:
            if not are_classes(found[number], cross_entropy):
                refuse(found[number], cross_entropy)
        if not self.is_settled:
            self.settle()
        followers, given = self.followers, found
        look = partial(self.look, found) if followers is not None and not followers.are_served() else None
        watching = followers if followers is not None and followers.watches else None
        self.ran = next(orders) if watching is not None else -1
        writes.now(self.when)
        if not self.is_given_all:
            given = self.given(found)
        outputs = self.lowered.function(look, *given)
        if watching is not None and outputs is None:  # a gradient that is watched is not sound
            watching.leave()
            outputs = self.lowered.function(partial(self.look, found), *given)
        elif watching is not None:
            watching.note_runs(1, given, partial(self.show, found, outputs, self.ran))
        returned = [made(np.array(outputs[number]), is_tensor) for number, is_tensor in self.returned]
        for number, place, buffer in self.carried:
            if buffer is not None:
                np.copyto(buffer, outputs[number])
            else:
                place.set(np.array(outputs[number]))
        for tensor in self.dropped:
            tensor.grad = None
        self.numbers.count()
        return self.filled(returned)

    def given(self, found: list[Any]) -> list[Any]:
        """The arrays of a run, with these arrays as arguments."""
        return [found[place.number] if type(place) is Argument else place.get() for place in self.fetched]

    def settle(self) -> None:
        """Make the arrays that the program writes into those of their places."""
        put_into([*((Held(tensor), buffer) for tensor, buffer in self.moving), *self.stateful])
        self.is_settled = True

    def look(self, found: list[Any], outputs: Any) -> None:
        """Call the hooks with the arrays of a run, before it changes anything."""
        assert self.followers is not None
        self.ran = next(orders)
        self.followers.told(outputs, partial(self.show, found, outputs, self.ran))
        writes.now(self.when)

    def show(self, found: list[Any], outputs: Any, order: int, among: Callable[[Any], bool]) -> None:
        """Call the hooks of some owners, if there was no later run."""
        shown = self.shown
        if shown is None or order != self.ran:
            return
        begin = len(self.places)
        end = begin + len(shown.ready)
        values = dict(zip(self.plan.outputs[end:], outputs[end:], strict=True))
        later = [partial(followed, recipe, value, values) for recipe, value in self.recipes]
        shown.show(found, outputs[begin:end], later, order, among)

    def filled(self, returned: list[Any]) -> Any:
        """The result with these arrays and Tensors in it."""
        if type(self.result) is Leaf:
            return returned[0]
        left = iter(returned)
        return put_together(self.result, lambda leaf: next(left))

    def over(self, batches: Any, data: list[Any]) -> tuple[int, Any] | None:
        """Run in machine code for the first rows of indices, as many as its followers have room for.

        Returns:
            The number of rows, and the results; None if the program cannot do that.
        """
        machine: Any = self.lowered.function if self.lowered is not None else None
        wanted = [number for number, _ in self.returned]
        is_able = hasattr(machine, "over") and machine.runs_at_once(wanted)
        if not is_able or self.carried or not all(are_classes(data[number], i) for number, i in self.labels):
            return None
        if self.followers is not None:
            batches = batches[: self.followers.runs_at_once()]
        ahead = self.numbers.ahead(len(batches))
        if ahead is None or not len(batches):
            return None
        if self.followers is not None:
            self.followers.left -= len(batches)
        self.ran = next(orders)
        self.settle()
        writes.now(self.when)
        given = [(data[p.number], True) if isinstance(p, Argument) else (p.get(), False) for p in self.fetched]
        done, results = 0, []
        try:
            for end, arrays in machine.over(batches, given, wanted, ahead):
                if self.followers is not None and self.followers.watches and end > done:
                    found = [array.take(batches[end - 1], axis=0) for array in data]
                    show = partial(self.show, found, machine.outputs, self.ran)
                    self.followers.note_runs(end - done, self.given(found), show)
                done, results = end, arrays
        finally:
            ahead.settle()
        if done < len(batches) and self.followers is not None:  # the next gradient that is watched is not sound
            self.followers.leave()
            if not done:
                return None
        for tensor in self.dropped:
            tensor.grad = None
        kinds = [is_tensor for _, is_tensor in self.returned]
        return done, self.filled([made(array[:done], kind) for array, kind in zip(results, kinds, strict=True)])


def put_off(plan: Plan, n: int) -> tuple[Plan, list[tuple[Any, Any]]]:
    """The plan with its last n outputs replaced by the values that they are made of, and their recipes."""
    if not n:
        return plan, []
    recipes, values = [], list(plan.outputs[:-n])
    for value in plan.outputs[-n:]:
        recipe, rest = recipe_of(plan, value)
        recipes.append((recipe, value))
        values += rest
    return without_unused(Plan(plan.instructions, tuple(values))), recipes


def are_classes(target: Any, cross_entropy: Instruction) -> bool:
    """Whether all indices are of classes of a cross-entropy; a negative one is a large number without its sign."""
    return bool(target.view(f"u{target.itemsize}").max(initial=0) < cross_entropy.args[0].shape[-1])


def refuse(target: Any, cross_entropy: Instruction) -> None:
    """Raise the ValueError of a cross-entropy for these indices."""
    z = cross_entropy.args[0]
    cross_entropy.operation.kernel(np.zeros(z.shape, z.dtype), target)


def made(array: Any, is_tensor: bool) -> Any:
    """An array, or a Tensor of it."""
    return Tensor(array) if is_tensor else array


def is_like(array: Any, value: Any) -> bool:
    """Whether an array has the shape and dtype of a value."""
    return type(array) is np.ndarray and array.shape == value.shape and array.dtype == value.dtype


def owned(place: Held | State) -> Any:
    """The array of this place that programs write into: of a tensor it is the same one for all of them."""
    array: Any = place.get()
    if isinstance(place, State):
        return empty(array.shape, array.dtype)
    key = id(place.tensor)
    known, buffer = OWNED.get(key, (None, None))
    if known is None or known() is not place.tensor or not is_like(array, buffer):
        buffer = empty(array.shape, array.dtype)
        writes.watch([buffer])  # for `keep`, when a program ends
        OWNED[key] = weakref.ref(place.tensor, lambda _: OWNED.pop(key, None)), buffer
    return buffer


def put_into(places: list[tuple[Any, Any]]) -> None:
    """Make arrays those of their places, with the numbers that are there. The array of one place may be in another."""
    moved = [(place, buffer, np.array(place.get())) for place, buffer in places if place.get() is not buffer]
    for place, buffer, array in moved:
        np.copyto(buffer, array)
        place.set(buffer)
