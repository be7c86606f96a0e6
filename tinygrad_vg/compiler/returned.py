"""The results of a step and the arrays that it changes, as the outputs of a plan."""

from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg.compiler.arguments import Leaf, put_together, taken_apart
from tinygrad_vg.compiler.places import Gradient, Held, Returned, State
from tinygrad_vg.compiler.trace import Trace, TraceError
from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn import Buffer, Parameter

Place = Returned | Held | Gradient | State


class Outcome(NamedTuple):
    """The results of a traced step, and its changes.

    Attributes:
        structure: the result, with a Leaf for each array.
        outputs: (place, Tensor or array) for each array that the step returns or changes.
        counts: the numbers in the states of optimizers.
        no_grads: the tensors whose `.grad` was None before the step, and must be None before the next one.
        dropped: the tensors whose gradients an optimizer has used: their `.grad` is None after the step.
    """

    structure: Any
    outputs: list[tuple[Place, Any]]
    counts: list[tuple[State, Any]]
    no_grads: list[Tensor]
    dropped: list[Tensor]


def outcome_of(trace: Trace, result: Any, arguments: list[Tensor]) -> Outcome:
    """The outcome of a trace, with the result that its function returned."""
    found: list[Any] = []
    known: dict[int, bool] = {id(t): not is_tensor for t, is_tensor in trace.arguments.items()}

    def leaf(value: Any) -> Any:
        if isinstance(value, Parameter | Buffer):
            found.pop()
            return value
        is_tensor = isinstance(value, Tensor) and id(value) not in trace.plain and not is_array_outside(value, known)
        return Leaf(Tensor if is_tensor else np.ndarray)

    structure = taken_apart(result, leaf, found)
    leaves: list[Leaf] = []
    put_together(structure, leaves.append)
    outputs: list[tuple[Place, Any]] = [
        (Returned(leaf.kind is Tensor), value) for leaf, value in zip(leaves, found, strict=True)
    ]
    outputs += [(Held(parameter), new) for parameter, new in trace.moved.items()]
    counts = []
    for (optimizer, parameter), entries in trace.states.items():
        for name, value in entries.items():
            place = State(optimizer, parameter, name)
            if isinstance(value, Tensor):
                outputs.append((place, value))
            else:
                counts.append((place, value))
    no_grads, dropped = [], []
    for tensor in trace.leaves:
        was_none = trace.grads[tensor] is None
        is_zeroed = tensor in trace.zero or (was_none and trace.before.get(tensor) is not None)
        if isinstance(tensor.grad, Tensor):
            if tensor in trace.moved and is_zeroed:
                dropped.append(tensor)
            else:
                outputs.append((Gradient(tensor), tensor.grad))
        if was_none and not is_zeroed and trace.reached(tensor):
            no_grads.append(tensor)
    for number, argument in enumerate(arguments):
        if argument.grad is not None:
            raise TraceError(f"backward() reaches argument {number} of a compiled step, which requires gradients: "
                             "write tg.grad(cost, argument) in the step and return it")  # fmt: skip
    return Outcome(structure, outputs, counts, no_grads, dropped)


def is_array_outside(tensor: Tensor, known: dict[int, bool]) -> bool:
    """Whether a value that is a Tensor in a trace would be an array outside: a comparison, or computed from arrays
    alone.
    """
    unseen = [tensor]
    while unseen:
        now = unseen[-1]
        if id(now) not in known:
            node = now.node
            below = [given for given in node.inputs if isinstance(given, Tensor)] if node is not None else []
            is_constant = node is not None and node.operation.kind in ("constant", "random")
            if not is_constant and (waiting := [given for given in below if id(given) not in known]):
                unseen += waiting
                continue
            known[id(now)] = is_constant or bool(below and all(known[id(given)] for given in below))
        unseen.pop()
    return known[id(tensor)]
