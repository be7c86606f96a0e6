"""Signals: the layers of a network in the order of their calls, and the gradients at their outputs.

A layer is a module that computes z: a Linear, with a bias or without. The class of the model does not matter. A `Chain`
holds the layers of one pass and what lies between them. There are two sources of chains: a `Listener` observes a model
while it is used, and `recorded` reads the graph of a cost.
"""

import copy
import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import HookHandle, Tensor, Walk, ancestors, cotangents, enable_grad, is_grad_enabled, listen
from tinygrad_vg.instruments.tracing import Way, calls, depends_on_layers, source_of, trace
from tinygrad_vg.nn import Activation, Linear, Module, members_of


class Unit:
    """One call of a layer, or a module or operation between two layers.

    Attributes:
        module: the module that was called; None for an operation outside of modules.
        name: a layer's name in the model; None for a unit between layers.
        output: the tensor that was returned. A Listener sets it to None after the backward, so that the graph is freed.
        z: the array that a layer returned; None for other units.
        weight: the weights of a layer in this call, an array or a weak reference to one; None for other units.
        gradient: ∂C/∂output, an array or an ExtendedArray; None if it was not computed.
    """

    __slots__ = ("_operation", "gradient", "module", "name", "output", "weight", "z")

    def __init__(self, module: Module | None, output: Tensor | None, name: str | None = None) -> None:
        self.module = module
        self.output = output
        self.name = name
        self.z: Any = None
        self.weight: Any = None
        self.gradient: Any = None
        self._operation: Any = None  # for an operation: its activation class, or its name
        if module is None and output is not None and output.node is not None:
            self._operation = Activation.of(output) or output.node.operation.name

    @property
    def activation(self) -> Any:
        """The unit as an activation: an `nn.Activation` or its class; None if the unit is no activation."""
        own = self._operation if self.module is None else self.module
        return own if isinstance(own, Activation | type) else None

    @property
    def label(self) -> str:
        """The name of the module's or activation's class, or of the operation."""
        if self.module is not None:
            return type(self.module).__name__
        return self._operation.__name__ if isinstance(self._operation, type) else str(self._operation)


def layers_of(model: Module) -> dict[Module, str]:
    """The layers of a model, the modules that compute z, with their names.

    Raises:
        ValueError: if there is none.
    """
    layers: dict[Module, str] = {m: name for name, m in model.named_modules() if isinstance(m, Linear)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear, so it has no layers to account for")
    return layers


class Chain:
    """The chain of layers: the layers of one pass through a model and the units between them, in the order of calls.

    Attributes:
        units: the layers and what lies between them, from the first layer to the last.
        tail: the units after the last layer.
        members: (R,) for an ensemble of R networks, else ().
        problem: a message that says why the layers are not in a row; None if they are.
    """

    def __init__(self, layers: Mapping[Module, str]) -> None:
        self._layers = layers
        self.units: list[Unit] = []
        self.tail: list[Unit] = []
        self.members: tuple[int, ...] = members_of(next(iter(layers)))
        self.problem: str | None = None

    @property
    def layers(self) -> list[Unit]:
        """The units that are layers."""
        return [unit for unit in self.units if unit.name is not None]

    def steps(self) -> Iterator[tuple[Unit, list[Unit], Unit]]:
        """(layer, the units between, next layer) for each layer but the last, the first layer first."""
        ends = [i for i, unit in enumerate(self.units) if unit.name is not None]
        for low, high in pairwise(ends):
            yield self.units[low], self.units[low + 1 : high], self.units[high]

    def add(self, module: Any, z: Tensor) -> bool:
        """Append the call of a layer that returned z; return False if the call does not continue this pass."""
        call: Any = z.call
        while call.module is not module:
            call = call.inner
        way = self._way(call.inputs[0], module) if self.units else []
        if way is None:
            return False
        unit = Unit(module, z, self._layers[module])
        assert z.node is not None
        unit.z = z.data
        for given, value in zip(z.node.inputs, z.node.values, strict=True):
            if given is module.weight:
                unit.weight = value
        self.units += [*way, unit]
        return True

    def add_unheard(self, module: Module, z: Any) -> None:
        """Append the call of a layer that has no graph any more: only the array z that it returned is known."""
        unit = Unit(module, None, self._layers[module])
        unit.z = z
        self.units.append(unit)

    def end(self, output: Any) -> None:
        """Set `tail` from the output of the model."""
        self.tail = (self._way(output, None) or []) if self.units else []

    def _way(self, x: Any, module: Module | None) -> list[Unit] | None:
        """The units between the last layer and x, the input of `module`; None if the call begins another pass."""
        below = self.units[-1].output
        if not isinstance(x, Tensor) or x.node is None or below is None:
            # x is data, or the last layer requires no gradients: there is no graph between the two.
            return None if self._has(module) else []
        call, lower = x.call, below.call
        if call and lower and call.inner is None is lower.inner and call.inputs and call.inputs[0] is below:
            return [Unit(call.module, x)]  # a single module, the most frequent case; `trace` would find the same
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
                f"the layers are not in a row: a way to the input of {self._layers[module]!r} goes around {last!r}; "
                "a module that contains both ways, such as nn.Residual, counts as one unit"
            )
        return []

    def _around(self, way: Way, end: Tensor) -> list[Unit] | None:
        """The units since the last layer that is not a part of the module which returned `end`.

        If the last layers are parts of that module, as of a Residual, the module replaces them as one unit. None if
        they are not.
        """
        for call in calls(end):
            inside = {id(part) for _, part in call.module.named_modules()}
            kept = len(self.units)
            while kept and (self.units[kept - 1].name is None or id(self.units[kept - 1].module) in inside):
                kept -= 1
            if kept == len(self.units):
                continue
            del self.units[kept:]
            self.problem = None
            if not kept:
                return []  # the module is before the first layer, where no gradient is accounted for
            return [*(self._way(source_of(call), None) or []), Unit(call.module, end), *_units(way)]
        return None

    def _has(self, module: Module | None) -> bool:
        return any(unit.module is module for unit in self.units if unit.name is not None)


def _units(way: Way) -> list[Unit]:
    return [Unit(module, output) for module, output in reversed(way)]


# The graph of a cost.


def recorded(model: Module, cost: Tensor, gradients: bool = True) -> Chain:
    """The chain of a recorded cost. Each unit has its output and, with `gradients`, ∂cost/∂output in extended range.

    No `.grad` is changed, and no hook is called.

    Raises:
        ValueError: if the cost was not computed by one call of this model, or the layers are not in a row.
    """
    layers = layers_of(model)
    chain, used, outputs = Chain(layers), set(), []
    for tensor in sorted(ancestors([cost]), key=lambda tensor: tensor.node.order if tensor.node else -1):
        for call in calls(tensor):
            if call.module in layers:
                used.add(call.module)
                if not chain.add(call.module, tensor):
                    raise ValueError("this cost comes from several calls of the model, which have a chain each")
            if call.module is model:
                outputs.append(tensor)
    if len(used) < len(layers):
        raise ValueError(
            f"the recorded graph of this cost has {len(used)} of the model's {len(layers)} layers: it was computed by "
            "another model, under no_grad, or with layers that require no gradients (requires_grad=False)"
        )
    for output in outputs:
        chain.end(output)
    if chain.problem:
        raise ValueError(chain.problem)
    if gradients:
        totals = cotangents(cost, of=[unit.output for unit in chain.units if unit.output is not None])
        for unit in chain.units:
            unit.gradient = totals.get(unit.output)  # type: ignore[arg-type]
    return chain


def dry_run(model: Module, x: Any) -> tuple[Chain, Any]:
    """The chain of a call of a model on x, each unit with its output; and the input of the first layer.

    A copy of the model is called, so that hooks on the model are not.

    Raises:
        ValueError: as `recorded` does; also if the output is not a Tensor, or does not depend on the parameters.
    """
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.requires_grad = True
    with enable_grad():
        output = copied(x)
    if not isinstance(output, Tensor) or output.node is None:
        raise ValueError("the output of the model is not a Tensor, or does not depend on the model's parameters")
    chain = recorded(copied, output, gradients=False)
    first = chain.units[0]
    assert first.output is not None
    return chain, next(call.inputs[0] for call in calls(first.output) if call.module is first.module)


def outline(model: Module) -> Chain:
    """The chain of a model that has not been called, from a dry run on zeros; its layers have no z."""
    first: Any = next(iter(layers_of(model)))
    chain, _ = dry_run(model, np.zeros((1, first.in_features)))
    for unit in chain.units:
        unit.z = None
    return chain


# A model in use.


class Listener:
    """Observes a model inside a `with` block: the calls of its layers, and the gradients at their outputs.

    It notes the calls of the layers. When a backward begins, it asks for the gradients at the outputs of all units. A
    new pass through the model replaces the noted one. Calls under `no_grad` are not noted.

    A backward is heard if it has reached at least one unit of the noted pass.

    Attributes:
        layers: the modules that compute z, with their names.
        heard: the chain of the last backward that was heard; None before the first.
        backwards: how many backwards were heard.
    """

    def __init__(self, model: Module) -> None:
        self._model = model
        self.layers = layers_of(model)
        self.heard: Chain | None = None
        self.backwards = 0
        # The calls of the last pass: (layer, weak reference to z, array of z). A reference to z would keep its graph.
        self._calls: list[tuple[Module, Any, Any]] = []
        self._output: Any = None  # a weak reference to the output of the model
        self._handles: list[HookHandle] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_hook(self._on_layer) for layer in self.layers]
        self._handles.append(self._model.register_forward_hook(self._on_model))
        self._handles.append(listen(self._on_backward))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _on_layer(self, module: Module, inputs: tuple[Any, ...], z: Tensor) -> None:
        if is_grad_enabled():
            x = inputs[0]
            if (not isinstance(x, Tensor) or x.node is None) and any(called is module for called, _, _ in self._calls):
                self._calls = []  # a layer that was called before is called on data: this begins another pass
            self._calls.append((module, weakref.ref(z), z.data))

    def _on_model(self, model: Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            self._output = weakref.ref(output)

    def chain(self) -> Chain:
        """The chain of the last pass. A layer without a graph, or without gradients, has only its z."""
        chain = Chain(self.layers)
        for module, reference, array in self._calls:
            z = reference()
            if z is None or z.node is None:
                chain.add_unheard(module, array)
            elif not chain.add(module, z):
                chain = Chain(self.layers)
                chain.add(module, z)
        chain.end(self._output and self._output())
        return chain

    def _on_backward(self, walk: Walk) -> None:
        chain = self.chain()
        walk.want(unit.output for unit in chain.units if unit.output is not None)
        walk.at_end(partial(self._on_end, chain))

    def _on_end(self, chain: Chain, walk: Walk) -> None:
        found = [(unit, walk.gradients.get(unit.output)) for unit in chain.units]
        if all(g is None for _, g in found):
            return  # the backward of another graph
        shared = walk.shared()
        for unit, g in found:
            array = g.data if isinstance(g, Tensor) else g
            if isinstance(array, np.ndarray) and (id(g) in shared or array.base is not None):
                array = array.copy()
            unit.gradient = array
            unit.output = None  # so that the graph is freed
            # A weak reference: keeping the old weights alive after the optimizer's step costs 1 to 2 % of a training.
            if unit.weight is not None:
                unit.weight = weakref.ref(unit.weight)
        for unit in chain.tail:
            unit.output = None
        self.heard = chain
        self.backwards += 1
