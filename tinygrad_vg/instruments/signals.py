"""Signals: which layers a network has in a row, and what passes each of them in a backward.

A layer is what makes z: a Linear, with a bias or without. The order of the layers is that of their calls, whatever
class holds them. There are two sources, and both make a `Chain`: `recorded`, here, reads the graph of a cost, and a
`Listener` hears a model while it is used.
"""

import copy
import weakref
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, ancestors, calls, cotangents, enable_grad
from tinygrad_vg.instruments.tracing import Way, depends_on_layers, source_of, trace
from tinygrad_vg.nn import Activation, Linear, Module, members_of


class Unit:
    """A layer in one of its uses, or what lies between two layers.

    Attributes:
        module: the module that was called; None for an operation outside of modules.
        name: of a layer, its name in the model; None for what lies between.
        output: the tensor that was put out, as long as its graph is looked at.
        z: of a layer, the array that it put out.
        weight: of a layer, its weights in this call: an array, or a weak reference to one.
        weight_facts: of a layer, whether its weights are all 0 and whether all are finite, each for each member: what
            a listener has noted before the next step of training takes the weights away; else None.
        gradient: ∂C/∂output, an array or an ExtendedArray; None if none was heard.
    """

    __slots__ = ("_operation", "gradient", "module", "name", "output", "weight", "weight_facts", "z")

    def __init__(self, module: Module | None, output: Tensor | None, name: str | None = None) -> None:
        self.module = module
        self.output = output
        self.name = name
        self.z: Any = None
        self.weight: Any = None
        self.weight_facts: tuple[Any, Any] | None = None
        self.gradient: Any = None
        self._operation: Any = None  # outside of modules: the class of the activation, or the name of the operation
        if module is None and output is not None and output.node is not None:
            self._operation = Activation.of(output) or output.node.operation.name

    @property
    def activation(self) -> Any:
        """The activation that it is, an `nn.Activation` or its class; None if it is none."""
        own = self._operation if self.module is None else self.module
        return own if isinstance(own, Activation | type) else None

    @property
    def holds_layers(self) -> bool:
        """Whether layers are inside of it, which it does not account for one by one."""
        if self.name is not None or self.module is None:
            return False
        return any(isinstance(module, Linear) for _, module in self.module.named_modules())

    @property
    def weights(self) -> Any:
        """The array of the layer's weights in this call; None if it is gone, or was not used as it is."""
        return self.weight() if isinstance(self.weight, weakref.ref) else self.weight

    def note_weights(self) -> None:
        """Keep what an account asks of the weights where a gradient has come to nothing."""
        if (weight := self.weights) is not None:
            self.weight_facts = ~weight.any(axis=(-2, -1)), np.isfinite(weight).all(axis=(-2, -1))

    @property
    def label(self) -> str:
        """The class of module or activation, or the operation's name."""
        if self.module is not None:
            return type(self.module).__name__
        return self._operation.__name__ if isinstance(self._operation, type) else str(self._operation)


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

    def __init__(self, layers: Mapping[Module, str], members: tuple[int, ...]) -> None:
        self._layers = layers
        self.members = members
        self.units: list[Unit] = []
        self.tail: list[Unit] = []
        self.problem: str | None = None

    @property
    def layers(self) -> list[Unit]:
        """The units that are layers."""
        return [unit for unit in self.units if unit.name is not None]

    def steps(self) -> Iterator[tuple[Unit, list[Unit], Unit]]:
        """From the input side up: a layer, what lies behind it, and the next layer."""
        ends = [i for i, unit in enumerate(self.units) if unit.name is not None]
        for low, high in pairwise(ends):
            yield self.units[low], self.units[low + 1 : high], self.units[high]

    def add(self, module: Any, z: Tensor) -> bool:
        """Take up a layer's call; False if it does not go on from here, and so begins another pass."""
        assert z.node is not None
        sole = _sole_call(z)
        x = sole[1][0] if sole else next(call.inputs[0] for call in calls(z) if call.module is module)
        way = self._way(x, module) if self.units else []
        if way is None:
            return False
        if not self.units:
            self.problem = None
        unit = Unit(module, z, self._layers[module])
        unit.z, unit.weight = z.data, weight_in(z, module)
        self.units += [*way, unit]
        return True

    def add_unheard(self, module: Module, z: Any) -> None:
        """Take up the call of a layer that no gradient will come to: it put out the array z."""
        unit = Unit(module, None, self._layers[module])
        unit.z = z
        self.units.append(unit)

    def end(self, output: Any) -> None:
        """Take up what the model has put out in the end."""
        self.tail = (self._way(output, None) or []) if self.units else []

    def _way(self, x: Any, module: Module | None) -> list[Unit] | None:
        """What lies between the last layer and x, the input of `module`; None if that begins another pass."""
        below = self.units[-1].output
        if not isinstance(x, Tensor) or x.node is None or below is None:
            # Data, or a layer that asks for no gradients: there is no way to see.
            return None if self._has(module) else []
        sole = _sole_call(x)
        if sole and _sole_call(below) and sole[1] and sole[1][0] is below:
            return [Unit(sole[0], x)]  # one module, as nearly always: what `trace` would find
        way, end = trace(x, below, self._layers)
        if end is below:
            return _units(way)
        if (around := self._around(way, end)) is not None:
            return around
        if self._has(module):
            return None
        if depends_on_layers(end, self._layers):
            last = self.layers[-1].name
            what = "the model puts out" if module is None else f"{self._layers[module]!r} takes"
            self.problem = (
                f"the layers do not stand in a row: what {what} goes around {last!r}; "
                "a module that holds both ways, such as nn.Residual, is one unit of the chain"
            )
        return []

    def _around(self, way: Way, end: Tensor) -> list[Unit] | None:
        """The way past the last layers if they are parts of the module that has put out `end`: it is one unit then."""
        for call in calls(end):
            inside = {id(part) for _, part in call.module.named_modules()}
            if all(id(layer) in inside for layer in self._layers):
                return None  # the model is no unit of itself
            kept = len(self.units)
            while kept and (self.units[kept - 1].name is None or id(self.units[kept - 1].module) in inside):
                kept -= 1
            if kept == len(self.units):
                continue
            del self.units[kept:]
            self.problem = None if kept else "the layers do not stand in a row: each is in a module with a way around"
            if not kept:
                return []  # what stands before the first layer has no step
            return [*(self._way(source_of(call), None) or []), Unit(call.module, end), *_units(way)]
        return None

    def _has(self, module: Module | None) -> bool:
        return any(unit.module is module for unit in self.units if unit.name is not None)


def weight_in(z: Any, layer: Any) -> Any:
    """The array of a layer's weight in the call that put out z; None if the layer does not use it as it is."""
    weight = layer.weight
    for given, value in zip(z.node.inputs, z.node.values, strict=True):
        if given is weight:
            return value
    return None


def _sole_call(tensor: Tensor) -> Any:
    """(module, inputs, None) of the call that put a tensor out, if there was one and not several."""
    return tensor.call if tensor.call is not None and tensor.call[2] is None else None


def _units(way: Way) -> list[Unit]:
    return [Unit(module, output) for module, output in reversed(way)]


# The graph of a cost, and of a call that is made for the sake of its graph.


def recorded(model: Module, cost: Tensor, gradients: bool = True) -> Chain:
    """The chain of a cost that was recorded, each unit with its output, and with ∂cost/∂output if asked for.

    No `.grad` is touched and no hook is called; gradients have extended range, so that none is lost below the floats.

    Raises:
        ValueError: if the cost was not computed by one call of this model, or its layers do not stand in a row.
    """
    layers = layers_of(model)
    chain, used, outputs = Chain(layers, members_of(next(iter(layers)))), set(), []
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
            "another model, under no_grad, or with layers that ask for no gradients (requires_grad=False)"
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
    first = chain.units[0]
    assert first.output is not None
    return chain, next(call.inputs[0] for call in calls(first.output) if call.module is first.module)


def outline(model: Module) -> Chain:
    """The chain of a model that was not called yet, from a call on zeros: its layers have no z."""
    widths = list(dict.fromkeys(vars(layer)["in_features"] for layer in layers_of(model)))
    while len(widths) > 1:  # which layer is called first?
        try:
            copy.deepcopy(model)(np.zeros((1, widths[0])))
            break
        except ValueError:  # another one
            del widths[0]
    chain, _ = dry_run(model, np.zeros((1, widths[0])))
    for unit in chain.units:
        unit.z = None
    return chain
