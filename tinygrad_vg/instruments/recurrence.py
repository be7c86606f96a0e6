"""Over time: the way of the gradient through the time steps of a recurrent network, as a chain.

From time step t+1 to t the gradient at the state, ∂C/∂h, makes one step. Of h_{t+1} = φ(z), z = W_ih x + W_hh h_t + b,

    log‖∂C/∂h_t‖ − log‖∂C/∂h_{t+1}‖ = [log‖δ‖ − log‖∂C/∂h_{t+1}‖]    slopes,   δ = φ′(z) ⊙ ∂C/∂h_{t+1}
                                    + [log‖u‖ − log‖δ‖]              weights,  u = W_hhᵀ δ
                                    + [log‖∂C/∂h_t‖ − log‖u‖]        joined

which is exact. "Joined" is what comes to h_t on other ways than by W_hh: from a cost at time t, from a layer above, or
from what lies between two steps. It is left out where nothing comes. The gates of an LSTM and of a gated recurrent unit
are parts too, and so is what comes to an LSTM's c_t from later steps, or through a unit's update gate.
"""

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
from tinygrad_vg.nn import Activation, Module, Recurrence, TimeStep, members_of, time_steps

_ROUNDING = 100  # units in the last place by which a norm may differ where nothing has joined


class TimeChain(Chain):
    """The chain of the time steps of one sequence: its layers are the states h_1 ... h_T."""

    unit = "time step"


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
            f"the model has {len(found)} recurrent modules, {', '.join(map(repr, names))}, and a ledger goes through "
            f"the time steps of one: give it that module, as in Ledger(model.{names[0]}) or "
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
    """The tensors of steps at which the gradient is asked for."""
    return [t for step in steps for t in (step.h, step.product, step.c) if t is not None]


def chain_of(module: Any, name: str, steps: Sequence[TimeStep], gradients: Mapping[Any, Any]) -> Chain:
    """The chain of steps whose graph still stands, from the gradients at `tensors_of(steps)`."""
    chain = TimeChain({module: name}, members_of(module))
    between = [_between(step, gradients) for step in steps[1:]]
    states = [_state(step, gradients.get(step.h), f"{name} t={t}".strip()) for t, step in enumerate(steps, 1)]
    if not any(_joins(units[0], state, chain.members) for units, state in zip(between, states, strict=False)):
        between = [units[1:] for units in between]
    for units, state in zip([[], *between], states, strict=True):
        chain.units += [*units, state]
    return chain


def _state(step: TimeStep, gradient: Any, name: str) -> Unit:
    """The unit of h_t; what it does to the gradient is the first thing on the way to its product with W_hh."""
    operation: Any = Activation.of(step.h)
    if step.c is not None or step.kept is not None:
        operation = "gates" if step.c is None else "output gate"
    state = _unit(gradient, operation, name)
    state.z, state.is_weights = step.h.data, False
    assert step.product.node is not None
    state.weight, state.order = step.product.node.values[1], step.product.node.order
    return state


def _between(step: TimeStep, gradients: Mapping[Any, Any]) -> list[Unit]:
    """What lies between h_t and h_{t+1}, that of `step`, from h_t upwards; first "joined", with what comes by W_hh."""
    product = _unit(gradients.get(step.product), "W_hh")
    product.is_weights = True
    arrives = _through(step.product, step.before, product.gradient)
    units = [_unit(arrives, "joined"), product]
    g = gradients.get(step.h)
    if step.kept is not None:  # the sum of which it is a term passes g on to it as it is
        kept = _through(step.kept, step.before, g)
        both = None if arrives is None or kept is None else arrives + kept
        units[:1] = [_unit(both, "joined"), _unit(arrives, "update gate")]
    if step.c is not None:
        assert step.h.node is not None
        squashed = next(source for _, source, _ in step.h.node.edges if _feeds(step.c, source))
        by_h = _through(squashed, step.c, _through(step.h, squashed, g))
        units += [_unit(gradients.get(step.c), "gates"), _unit(by_h, "cell state")]
    return units


def _feeds(source: Tensor, tensor: Tensor) -> bool:
    return tensor.node is not None and any(given is source for given in tensor.node.inputs)


def _through(tensor: Tensor, source: Any, g: Any) -> Any:
    """The part of the gradient g at a tensor that its operation passes on to one of its inputs."""
    if g is None:
        return None
    extended = g if isinstance(g, ExtendedArray) else ExtendedArray(array_of(g))
    assert tensor.node is not None
    for edge in tensor.node.edges:
        if edge[1] is source:
            return share(tensor.node, edge, extended)
    return None


def _unit(gradient: Any, operation: Any, name: str | None = None) -> Unit:
    unit = Unit(None, None, name, operation)
    # A copy: what is given may be a view, or be held by others.
    unit.gradient = (
        gradient if gradient is None or isinstance(gradient, ExtendedArray) else np.array(array_of(gradient))
    )
    return unit


def _joins(joined: Unit, state: Unit, members: tuple[int, ...]) -> bool:
    """Whether anything comes to a state on other ways than by W_hh and the update gate."""
    if joined.gradient is None or state.gradient is None:
        return False
    apart = np.abs(taken(norm_of(joined.gradient, members), norm_of(state.gradient, members)))
    return not np.all(apart < _ROUNDING * float(np.finfo(state.gradient.dtype).eps))


class TimeListener(Listener):
    """Hears what passes the time steps of a recurrent module while it is used, inside a `with` block.

    When a backward begins it finds the steps in the graph of the cost, those of the last sequence, and asks for the
    gradients of what they have put out.
    """

    def __init__(self, model: Module, layers: dict[Module, str]) -> None:
        super().__init__(model, layers)
        recurrence: Any
        ((recurrence, self._name),) = layers.items()
        self._recurrence: Recurrence = recurrence

    def __enter__(self) -> Self:
        # A compiled step shows the tensors of modules with hooks alone, so this one has a hook that does nothing.
        self._handles = [self._recurrence.register_forward_hook(lambda *call: None), listen(self._on_backward)]
        return self

    def chain(self) -> Chain:
        """A chain without units: of steps it is known when the backward begins."""
        return TimeChain(self.layers, members_of(self._recurrence))

    def _on_backward(self, walk: Walk) -> None:
        if steps := time_steps(self._recurrence, walk.starts):
            walk.want(tensors_of(steps))
            walk.at_end(partial(self._on_end_of_steps, steps))

    def _on_end_of_steps(self, steps: list[TimeStep], walk: Walk) -> None:
        if all(tensor not in walk.gradients for tensor in tensors_of(steps)):
            return  # the backward ended by an exception
        chain = chain_of(self._recurrence, self._name, steps, walk.gradients)
        before = self.heard.layers[-1].weight if self.heard is not None else None
        for state in chain.layers:
            state.weight = weakref.ref(state.weight)  # weak, as in `Listener`
        if before is not None and before() is not chain.layers[-1].weight():
            self.is_trained = True
        self.take(chain)
        self.backwards += 1
        if self.on_heard is not None:
            self.on_heard(self.backwards - 1, chain, [], self.is_trained)

    def is_moved(self, chain: Chain) -> bool:
        """Whether a parameter of the recurrent module is no longer as its initializer left it."""
        return any(parameter.is_trained for parameter in self._recurrence.parameters())
