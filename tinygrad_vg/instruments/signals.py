"""Signals: which layers a network has in a row, and what passes each of them in a backward.

A layer is what makes z: a Linear, with a bias or without. The order of the layers is that of their calls, whatever
class holds them. There are two sources, and both make a `Chain`: a `Listener` hears a model while it is used,
`recorded` reads the graph of a cost.
"""

import copy
import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import (
    HookHandle,
    Tensor,
    Walk,
    ancestors,
    cotangents,
    current_walk,
    enable_grad,
    is_grad_enabled,
)
from tinygrad_vg.instruments.tracing import Way, calls, depends_on_layers, source_of, trace
from tinygrad_vg.nn import Activation, Linear, Module, members_of


class Unit:
    """A layer in one of its uses, or what lies between two layers.

    Attributes:
        module: the module that was called; None for an operation outside of modules.
        name: of a layer, its name in the model; None for what lies between.
        activation: the activation that it is, or None.
        label: the class of module or activation, or the operation's name.
        z: of a layer, the array that it put out.
        weight: of a layer, its weights in this call: an array, or a weak reference to one.
        gradient: ∂C/∂output, an array or an ExtendedArray; None if none was heard.
        output: in a recorded graph, the tensor that was put out.
    """

    __slots__ = ("activation", "gradient", "label", "module", "name", "output", "weight", "z")

    def __init__(self, module: Module | None, output: Tensor, name: str | None = None) -> None:
        self.module = module
        self.name = name
        self.activation = module if isinstance(module, Activation) else None if module else Activation.of(output)
        self.z: Any = None
        self.weight: Any = None
        self.gradient: Any = None
        self.output: Tensor | None = None
        if module is not None:
            self.label = type(module).__name__
        elif isinstance(self.activation, type):
            self.label = self.activation.__name__
        else:
            self.label = output.node.operation.name if output.node else ""


Found = list[tuple[Unit, Tensor]]  # units with their outputs, from the input side up


def layers_of(model: Module) -> dict[Module, str]:
    """The modules of a model that make z, with their names.

    Raises:
        ValueError: if there is none.
    """
    layers: dict[Module, str] = {m: name for name, m in model.named_modules() if isinstance(m, Linear)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear, so there is no step to account for")
    return layers


class Chain:
    """The layers of one pass through a model and what lies between them, from the input side up.

    Attributes:
        units: from the first layer to the last.
        tail: what the model applies behind the last layer.
        members: (R,) for an ensemble of R networks, else ().
        problem: why the layers do not stand in a row; None if they do.
    """

    def __init__(self, layers: Mapping[Module, str]) -> None:
        self._layers = layers
        self._outputs: list[Any] = []  # of each layer a weak reference to z: to hold z would keep its graph alive
        self.units: list[Unit] = []
        self.tail: list[Unit] = []
        self.members: tuple[int, ...] = members_of(next(iter(layers)))
        self.problem: str | None = None

    @property
    def ends(self) -> list[int]:
        """Where the layers stand among the units."""
        return [i for i, unit in enumerate(self.units) if unit.name is not None]

    def steps(self) -> Iterator[tuple[Unit, list[Unit], Unit]]:
        """From the input side up: a layer, what lies behind it, and the next layer."""
        ends = self.ends
        for low, high in pairwise(ends):
            yield self.units[low], self.units[low + 1 : high], self.units[high]

    def add(self, module: Module, x: Any, z: Tensor) -> Found | None:
        """Take up the call of a layer on x; None if it does not go on from here, and so begins another pass."""
        found = self._way(x, module) if self._outputs else []
        if found is None:
            return None
        unit = Unit(module, z, self._layers[module])
        unit.z = z.data
        found.append((unit, z))
        self.units += [unit for unit, _ in found]
        self._outputs.append(weakref.ref(z))
        return found

    def end(self, output: Any) -> None:
        """Take up what the model has put out in the end."""
        if self._outputs:
            self.tail = [unit for unit, _ in self._way(output, None) or []]

    def _way(self, x: Any, module: Module | None) -> Found | None:
        """What lies between the last layer and x, the input of `module`; None if that begins another pass."""
        below = self._outputs[-1]()
        if not isinstance(x, Tensor) or x.node is None or below is None or below.node is None:
            # Data, or a layer that asks for no gradients: there is no way to see.
            return None if self._has(module) else []
        way, end = trace(x, below, self._layers)
        if end is below:
            return _units(way)
        if (around := self._around(way, end)) is not None:
            return around
        if self._has(module):
            return None
        if module is not None and depends_on_layers(end, self._layers):
            last = self.units[-1].name
            self.problem = (
                f"the layers do not stand in a row: what {self._layers[module]!r} takes goes around {last!r}; "
                "a module that holds both ways, such as nn.Residual, is one unit of the chain"
            )
        return []

    def _around(self, way: Way, end: Tensor) -> Found | None:
        """The way past the last layers if they are parts of the module that has put out `end`: it is one unit then."""
        for call in calls(end):
            inside = {id(part) for _, part in call.module.named_modules()}
            ends = kept = self.ends
            while kept and id(self.units[kept[-1]].module) in inside:
                kept = kept[:-1]
            if len(kept) == len(ends):
                continue
            del self.units[kept[-1] + 1 if kept else 0 :]
            del self._outputs[len(kept) :]
            self.problem = None
            if not kept:
                return []  # what stands before the first layer has no step
            return [*(self._way(source_of(call), None) or []), (Unit(call.module, end), end), *_units(way)]
        return None

    def _has(self, module: Module | None) -> bool:
        return any(unit.module is module for unit in self.units if unit.name is not None)


def _units(way: Way) -> Found:
    return [(Unit(module, output), output) for module, output in reversed(way)]


def recorded(model: Module, cost: Tensor, gradients: bool = True) -> Chain:
    """The chain of a cost that was recorded, each unit with its output, and with ∂cost/∂output if asked for.

    No `.grad` is touched and no hook is called; gradients have extended range, so that none is lost below the floats.

    Raises:
        ValueError: if the cost was not computed by one call of this model, or its layers do not stand in a row.
    """
    layers = layers_of(model)
    chain, used = Chain(layers), set()
    for _, call, z in sorted(_layer_calls(cost, layers), key=lambda found: found[0]):
        found = chain.add(call.module, call.inputs[0], z)
        if found is None:
            raise ValueError("this cost comes from several calls of the model, which have a chain each")
        for unit, output in found:
            unit.output = output
        weight = call.module.weight
        assert z.node is not None
        pairs = zip(z.node.inputs, z.node.values, strict=True)
        chain.units[-1].weight = next((value for given, value in pairs if given is weight), None)
        used.add(call.module)
    if len(used) < len(layers):
        raise ValueError(
            f"the recorded graph of this cost has {len(used)} of the model's {len(layers)} layers: it was computed by "
            "another model, under no_grad, or with layers that ask for no gradients (requires_grad=False)"
        )
    if chain.problem:
        raise ValueError(chain.problem)
    for tensor in ancestors([cost]):
        if any(call.module is model for call in calls(tensor)):
            chain.end(tensor)
    if gradients:
        totals = cotangents(cost, of=[unit.output for unit in chain.units if unit.output is not None])
        for unit in chain.units:
            unit.gradient = totals.get(unit.output)  # type: ignore[arg-type]
    return chain


def outline(model: Module) -> Chain:
    """The chain of a model that was not called yet, from a call on zeros: its layers have no z."""
    first: Any = next(iter(layers_of(model)))
    chain, _ = dry_run(model, np.zeros((1, first.in_features)))
    for unit in chain.units:
        unit.z = None
    return chain


def dry_run(model: Module, x: Any) -> tuple[Chain, Any]:
    """The chain of a model's call on x, each unit with its output, and what the first layer was given.

    The call is that of a copy, so nobody who listens to the model hears of it.

    Raises:
        ValueError: as `recorded` does.
    """
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.requires_grad = True
    with enable_grad():
        output = copied(x)
    if not isinstance(output, Tensor) or output.node is None:
        raise ValueError("the model answers with what is no Tensor, or does not depend on its parameters")
    chain = recorded(copied, output, gradients=False)
    first = chain.units[0].output
    assert first is not None
    return chain, next(call.inputs[0] for call in calls(first) if call.module is chain.units[0].module)


def _layer_calls(cost: Tensor, layers: Mapping[Module, str]) -> Iterator[tuple[int, Any, Tensor]]:
    """The calls of layers in a graph, with their age and output."""
    for tensor in ancestors([cost]):
        for call in calls(tensor):
            if call.module in layers and tensor.node is not None:
                yield tensor.node.order, call, tensor


class Listener:
    """Hears what passes the layers of a model while it is used, inside a `with` block.

    A new pass through the model takes the hooks off the one before. What is called under `no_grad` is not heard.

    Attributes:
        chain: of the last pass.
        heard: the chain that the last backward has come through; None before the first.
        backwards: how many backwards were heard.
    """

    def __init__(self, model: Module) -> None:
        self._model = model
        self.layers = layers_of(model)
        self.chain = Chain(self.layers)
        self.heard: Chain | None = None
        self.backwards = 0
        self._walk: Walk | None = None
        self._batched = 2 + len(self.chain.members)  # axes of a gradient that is no single sample's
        self._on_modules: list[HookHandle] = []
        self._on_outputs: list[HookHandle] = []

    def __enter__(self) -> Self:
        self._on_modules = [layer.register_forward_hook(self._on_call) for layer in self.layers]
        self._on_modules.append(self._model.register_forward_hook(lambda model, inputs, output: self.chain.end(output)))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._on_modules:
            handle.remove()
        self._forget_pass()

    def _forget_pass(self) -> None:
        for handle in self._on_outputs:
            handle.remove()
        self._on_outputs.clear()

    def _on_call(self, module: Any, inputs: tuple[Any, ...], z: Any) -> None:
        if not is_grad_enabled():
            return
        found = self.chain.add(module, inputs[0], z)
        if found is None:
            self._forget_pass()
            self.chain = Chain(self.layers)
            found = self.chain.add(module, inputs[0], z)
            assert found is not None
        for unit, output in found:
            if output.requires_grad:
                self._on_outputs.append(output.register_hook(partial(self._hear, unit)))
        # Weak: to keep a step's weights alive through the next would cost 1 to 2 % of the training.
        found[-1][0].weight = weakref.ref(module.weight.data)

    def _hear(self, unit: Unit, gradient: Any) -> None:
        first = self._walk is not current_walk()
        if first:  # another backward has begun
            self._walk, self.heard = current_walk(), self.chain
            self.backwards += 1
            for other in self.chain.units:
                other.gradient = None
        if isinstance(gradient, Tensor):
            gradient = gradient.data
        # An array that the user handed in, or that a leaf may get as its .grad, can change before it is looked at.
        exposed = first or len(gradient.shape) < self._batched or (unit.name is None and unit.activation is None)
        unit.gradient = gradient.copy() if exposed and isinstance(gradient, np.ndarray) else gradient
