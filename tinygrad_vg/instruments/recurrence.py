"""Over time: the way of the gradient through the time steps of a recurrent network, as a chain.

From time step t+1 to t the gradient at the state, ∂C/∂h, makes one step. For h_{t+1} = φ(z), z = W_ih x + W_hh h_t + b,

    log‖∂C/∂h_t‖ − log‖∂C/∂h_{t+1}‖ = [log‖δ‖ − log‖∂C/∂h_{t+1}‖]    slopes,   δ = φ′(z) ⊙ ∂C/∂h_{t+1}
                                    + [log‖u‖ − log‖δ‖]              weights,  u = W_hhᵀ δ
                                    + [log‖∂C/∂h_t‖ − log‖u‖]        joined

which is exact. "Joined" is the gradient that comes to h_t on other ways than by W_hh: from a cost at time t, from a
layer above, or from operations between two steps. This part is left out if there is no such gradient. The gates of an
LSTM and of a gated recurrent unit are parts too, and so are the gradient that comes to an LSTM's c_t from later steps,
and the gradient that comes through a unit's update gate.
"""

import copy
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import ExtendedArray, Tensor, Walk, cotangents, listen, share
from tinygrad_vg.instruments.accounts import norm_of, taken
from tinygrad_vg.instruments.listener import Listener
from tinygrad_vg.instruments.magnitude import array_of
from tinygrad_vg.instruments.signals import Chain, Unit
from tinygrad_vg.nn import Activation, Module, Recurrence, TimeStep, by_member, members_of, time_steps

_ROUNDING = 100  # the rounding error of a norm, in units in the last place, up to which nothing has joined


class TimeChain(Chain):
    """The chain of the time steps of one sequence: its layers are the states h_1 ... h_T.

    The units between the states are computed when they are read: most backwards of a training are never read.

    Attributes:
        states: the units of the states.
    """

    unit = "time step"

    def __init__(
        self,
        layers: dict[Module, str],
        members: tuple[int, ...],
        states: Sequence[Unit] = (),
        between: "Sequence[Between]" = (),
    ) -> None:
        super().__init__(layers, members)
        self.states, self._between = [*states], [*between]
        self._is_read = False

    @property
    def units(self) -> list[Unit]:
        """The states and the units between them, from h_1 to h_T."""
        if not self._is_read:
            self._is_read = True
            between = [each.units() for each in self._between]
            self._between.clear()
            if not any(_joins(units[0], h, self.members) for units, h in zip(between, self.states, strict=False)):
                between = [units[1:] for units in between]
            for units, state in zip([[], *between], self.states, strict=False):
                self._units += [*units, state]
        return self._units

    @units.setter
    def units(self, units: list[Unit]) -> None:
        self._units = units


def recurrence_of(model: Module) -> dict[Module, str]:
    """The cell or recurrent layer of a model, with its name; {} if the model has none.

    Raises:
        ValueError: if it has several.
    """
    found: dict[Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, Recurrence)
    }
    if len(found) > 1:
        names = [*found.values()]
        raise ValueError(
            f"the model has {len(found)} recurrent modules, {', '.join(map(repr, names))}, and a ledger accounts for "
            f"the time steps of one: give it one of them, as in Ledger(model.{names[0]}) or "
            f"Ledger.of(model.{names[0]}, cost)"
        )
    return found


def recorded_steps(module: Any, name: str, cost: Tensor) -> Chain:
    """The chain of the time steps from which a recorded cost was computed, with gradients in extended range.

    Raises:
        ValueError: if the cost was not computed from a step of this module.
    """
    steps = time_steps(module, [cost])
    if not steps:
        raise ValueError(
            f"the recorded graph of this cost has no time step of {module!r}: it was not called, or requires no "
            "gradients (requires_grad=False), or the cost was computed by another model or under no_grad"
        )
    return chain_of(module, name, steps, cotangents(cost, of=tensors_of(steps)))


def tensors_of(steps: Sequence[TimeStep]) -> list[Tensor]:
    """The tensors of the steps whose gradients are needed."""
    return [t for step in steps for t in (step.h, step.product, step.c) if t is not None]


def chain_of(module: Any, name: str, steps: Sequence[TimeStep], gradients: Mapping[Any, Any]) -> TimeChain:
    """The chain of steps whose graph still exists, from the gradients at `tensors_of(steps)`. It holds no graph."""
    states = [_state(step, gradients.get(step.h), f"{name} t={t}".strip()) for t, step in enumerate(steps, 1)]
    copies: dict[int, Any] = {}
    between = [Between(step, h, gradients, copies) for step, h in zip(steps[1:], states[1:], strict=True)]
    return TimeChain({module: name}, members_of(module), states, between)


def _state(step: TimeStep, gradient: Any, name: str) -> Unit:
    """The unit of h_t. It stands for the first part on the gradient's way to the product with W_hh."""
    operation: Any = Activation.of(step.h)
    if step.c is not None or step.kept is not None:
        operation = "gates" if step.c is None else "output gate"
    state = _unit(gradient, operation, name)
    state.z, state.is_weights = step.h.data, False
    assert step.product.node is not None
    state.weight, state.order = step.product.node.values[1], step.product.node.order
    return state


class Between:
    """The units between h_t and h_{t+1}, from the gradients of one step and its operations.

    Args:
        step: the step to h_{t+1}.
        state: the unit of h_{t+1}.
        gradients: the gradients at the tensors of the steps.
        copies: copies of weights by the weights' id; missing ones are added.
    """

    def __init__(self, step: TimeStep, state: Unit, gradients: Mapping[Any, Any], copies: dict[int, Any]) -> None:
        self.state = state
        self.product = _unit(gradients.get(step.product), "W_hh")
        self.product.is_weights = True
        self.by_weights = Passage(step.product, step.before, copies)
        self.by_gate = None if step.kept is None else Passage(step.kept, step.before)
        self.cell: Unit | None = None
        if step.c is not None and step.h.node is not None:
            squashed = next(source for _, source, _ in step.h.node.edges if _feeds(step.c, source))
            self.cell, self.by_h = _unit(gradients.get(step.c), "gates"), (
                Passage(step.h, squashed), Passage(squashed, step.c)
            )  # fmt: skip

    def units(self) -> list[Unit]:
        """The units from h_t upwards. The first, "joined", has the gradient that comes by W_hh and an update gate."""
        arrives = self.by_weights(self.product.gradient)
        units = [_unit(arrives, "joined"), self.product]
        if self.by_gate is not None:  # the sum of which z ⊙ h_t is a term passes the gradient on to it as it is
            kept = self.by_gate(self.state.gradient)
            both = None if arrives is None or kept is None else arrives + kept
            units[:1] = [_unit(both, "joined"), _unit(arrives, "update gate")]
        if self.cell is not None:
            by_output, by_tanh = self.by_h
            units += [self.cell, _unit(by_tanh(by_output(self.state.gradient)), "cell state")]
        return units


class Passage:
    """The way of a gradient from a tensor to an input of its operation, without the graph.

    Args:
        tensor: the output of the operation.
        source: the input.
        copies: copies of the operation's weights by their id, because a compiled step's optimizer writes into weights.
    """

    def __init__(self, tensor: Tensor, source: Any, copies: dict[int, Any] | None = None) -> None:
        assert tensor.node is not None
        self.edge = next(((i, None, rule) for i, given, rule in tensor.node.edges if given is source), None)
        self.node = copy.copy(tensor.node)
        self.node.inputs, self.node.edges = (), []
        if copies is not None:
            weight = tensor.node.values[1]
            self.node.values = [copies.setdefault(id(v), v.copy()) if v is weight else v for v in tensor.node.values]

    def __call__(self, g: Any) -> Any:
        """The part of the gradient g that the operation passes to the input; None if g is None."""
        if g is None or self.edge is None:
            return None
        return share(self.node, self.edge, g if isinstance(g, ExtendedArray) else ExtendedArray(array_of(g)))


def _feeds(source: Tensor, tensor: Tensor) -> bool:
    return tensor.node is not None and any(given is source for given in tensor.node.inputs)


def _unit(gradient: Any, operation: Any, name: str | None = None) -> Unit:
    unit = Unit(None, None, name, operation)
    # A copy: what is given may be a view, or be held by others.
    unit.gradient = (
        gradient if gradient is None or isinstance(gradient, ExtendedArray) else np.array(array_of(gradient))
    )
    return unit


def _joins(joined: Unit, state: Unit, members: tuple[int, ...]) -> bool:
    """Whether a gradient comes to a state on other ways than by W_hh and the update gate."""
    if joined.gradient is None or state.gradient is None:
        return False
    apart = np.abs(taken(norm_of(joined.gradient, members), norm_of(state.gradient, members)))
    return not np.all(apart < _ROUNDING * float(np.finfo(state.gradient.dtype).eps))


class TimeListener(Listener):
    """Observes the time steps of a recurrent module inside a `with` block.

    When a backward begins, it finds the steps of the last sequence in the graph of the cost, and asks for the gradients
    at their outputs.
    """

    def __init__(self, model: Module, layers: dict[Module, str]) -> None:
        super().__init__(model, layers)
        recurrence: Any
        ((recurrence, self._name),) = layers.items()
        self._recurrence: Recurrence = recurrence
        self._weight: Any = None  # a weak reference to the weights of the last backward

    def __enter__(self) -> Self:
        # A compiled step shows only tensors of modules that have hooks, so this module gets a hook that does nothing.
        self._handles = [self._recurrence.register_forward_hook(lambda *call: None), listen(self._on_backward)]
        return self

    def chain(self) -> Chain:
        """A chain without units: the steps are known only when a backward begins."""
        return TimeChain(self.layers, members_of(self._recurrence))

    def _on_backward(self, walk: Walk) -> None:
        if steps := time_steps(self._recurrence, walk.starts):
            walk.want(tensors_of(steps))
            walk.at_end(partial(self._on_end_of_steps, steps))

    def _on_end_of_steps(self, steps: list[TimeStep], walk: Walk) -> None:
        if all(tensor not in walk.gradients for tensor in tensors_of(steps)):
            return  # the backward ended by an exception
        chain = chain_of(self._recurrence, self._name, steps, walk.gradients)
        weight = weakref.ref(chain.states[-1].weight)  # weak, as in `Listener`
        for state in chain.states:
            state.weight = weight
        if self._weight is not None and self._weight() is not weight():
            self.is_trained = True  # the weights were set by hand, and not by an optimizer
        self._weight = weight
        self.hear(chain)
        self.backwards += 1
        if self.on_heard is not None:
            self.on_heard(self.backwards - 1, chain, [], self.is_trained)

    def hear(self, chain: Chain) -> None:
        """Keep the chain of a backward."""
        self._heard = chain
        self.is_trained = self.is_trained or self.is_moved(chain)
        first = chain.states[0].gradient if isinstance(chain, TimeChain) else None
        if first is not None:
            self.note_what_arrived(chain, by_member(array_of(first), chain.members))

    def is_moved(self, chain: Chain) -> bool:
        """Whether an optimizer has updated a parameter of the recurrent module."""
        return any(parameter.is_trained for parameter in self._recurrence.parameters())
