"""A program: one trace of a step as a function that runs again, with all that must hold for it to be right."""

import weakref
from typing import Any

import numpy as np

from tinygrad_vg.compiler.arguments import Leaf, is_alike, put_together
from tinygrad_vg.compiler.backends import Lowered, lowered
from tinygrad_vg.compiler.guards import Guards
from tinygrad_vg.compiler.places import Argument, Gradient, Held, Numbers, Option, Returned, State
from tinygrad_vg.compiler.plan import Plan, Value
from tinygrad_vg.compiler.returned import Outcome, Place
from tinygrad_vg.compiler.trace import Trace
from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.written import writes

# The arrays that compiled steps write into, by the tensor whose `data` they are: nobody else holds them.
OWNED: dict[int, tuple[weakref.ref[Tensor], Any]] = {}  # by the tensor's id: a WeakKeyDictionary would compare tensors


class Program:
    """A compiled step for arguments of one form.

    Attributes:
        plan: what it computes.
        places: where each output of the plan goes.
        lowered: the function that runs; None before the first run.
    """

    def __init__(self, plan: Plan, outcome: Outcome, arguments: Any, guards: Guards, trace: Trace) -> None:
        self.plan = plan
        self.places = [place for place, _ in outcome.outputs]
        self.arguments = arguments
        self.result = outcome.structure
        self.guards = guards
        self.lowered: Lowered | None = None
        self.options = {value: np.zeros((), value.dtype) for value in plan.inputs if isinstance(value.source, Option)}
        used: Any = [(value.source, array) for value, array in self.options.items()]
        self.numbers = Numbers([*trace.groups.values()], used)
        self.inside = [v for v in plan.inputs if isinstance(v.source, Held | Gradient | State)]
        self.no_grads = outcome.no_grads
        self.dropped = outcome.dropped
        self.dynamic: list[Value] = []
        self.owned: list[tuple[Held | State, Any]] = []
        self.carried: list[tuple[int, Place, Any]] = []

    def why_not(self, args: Any, kwargs: Any, found: list[Any]) -> str | None:
        """Why these arguments need another program; None if this one is right. The arrays in them go into `found`."""
        if not is_alike(self.arguments, (args, kwargs), found):
            return "the arguments"
        for tensor in self.no_grads:
            if tensor.grad is not None:
                return f"the .grad of {tensor.label}"
        return self.guards.changed() or self.numbers.changed() or self.inputs_changed()

    def inputs_changed(self) -> str | None:
        """The name of an input that is gone or has another shape; None if all are as they were."""
        for value in self.inside:
            array = value.source.get()  # type: ignore[union-attr]
            if type(array) is not np.ndarray or array.shape != value.shape or array.dtype != value.dtype:
                return value.source.name  # type: ignore[union-attr]
        return None

    def lower(self, backend: str) -> None:
        """Make the function that runs."""
        held = {v.source.key: v for v in self.inside}  # type: ignore[union-attr]
        changed = {
            value: held[place.key]
            for place, value in zip(self.places, self.plan.outputs, strict=True)
            if isinstance(place, Held | State) and place.key in held and isinstance(value, Value)
        }
        arrays = {old: owned(old.source) for old in changed.values()}
        self.owned = [(old.source, array) for old, array in arrays.items()]  # type: ignore[misc]
        bound = arrays | self.options
        self.dynamic = [value for value in self.plan.inputs if value not in bound]
        self.lowered = lowered(backend, self.plan, bound, changed)
        for number, (place, value) in enumerate(zip(self.places, self.plan.outputs, strict=True)):
            if value not in self.lowered.into:
                self.carried.append((number, place, arrays.get(changed.get(value))))  # type: ignore[arg-type]

    def run(self, found: list[Any]) -> Any:
        """Run once, with these arrays as arguments."""
        assert self.lowered is not None
        for place, buffer in self.owned:
            if (array := place.get()) is not buffer:
                np.copyto(buffer, array)
                place.set(buffer)
        outputs = self.lowered.function(*[self.array(value, found) for value in self.dynamic])
        returned = []
        for number, place, buffer in self.carried:
            if isinstance(place, Returned):
                returned.append(np.array(outputs[number]))
            elif buffer is not None:
                np.copyto(buffer, outputs[number])
            else:
                place.set(np.array(outputs[number]))
        for tensor in self.dropped:
            tensor.grad = None
        self.numbers.count()
        return self.filled(returned)

    def array(self, value: Value, found: list[Any]) -> Any:
        """The array of an input."""
        source = value.source
        if not isinstance(source, Argument):
            return source.get()  # type: ignore[union-attr]
        given = found[source.number]
        return given._data if isinstance(given, Tensor) else given

    def filled(self, arrays: list[Any]) -> Any:
        """The result with these arrays in it."""
        left = iter(arrays)

        def fill(leaf: Leaf) -> Any:
            return Tensor(next(left)) if leaf.kind is Tensor else next(left)

        return put_together(self.result, fill)


def owned(place: Held | State) -> Any:
    """An array of its own for a place that a program writes into."""
    array = place.get()
    if isinstance(place, State):
        buffer = np.array(array, order="C")
        place.set(buffer)
        return buffer
    key = id(place.tensor)
    tensor, buffer = OWNED.get(key, (lambda: None, None))
    if tensor() is not place.tensor or buffer is not array:
        buffer = np.array(array, order="C")
        OWNED[key] = weakref.ref(place.tensor, lambda _: OWNED.pop(key, None)), buffer
        place.set(buffer)
    return buffer


assert writes
