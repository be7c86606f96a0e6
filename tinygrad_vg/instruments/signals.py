"""Signals: the layers of a network in the order of their calls, and the gradients at their outputs.

A layer is an `nn.Layer`, a module that computes z: a Linear or a Conv2d. The class of the model does not matter. A
`Chain` holds the layers of one pass and the modules and operations between them. Chains come from two sources: a
`Listener` observes a model while it is used, and `recorded`, in this module, reads the graph of a cost.
"""

import copy
import weakref
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, ancestors, calls, cotangents, enable_grad, was_written
from tinygrad_vg.instruments.tracing import Way, depends_on_layers, source_of, trace
from tinygrad_vg.nn import Activation, Layer, Module, members_of


class Unit:
    """One call of a layer, or a module or operation between two layers.

    Attributes:
        module: the module that was called; None for an operation outside of modules.
        name: a layer's name in the model; None for a unit between layers.
        output: the tensor that was returned. A Listener sets it to None after the backward, so that the graph is freed.
        z: the array that a layer returned; None for other units.
        weight: the weights of a layer in this call, an array or a weak reference to one; None for other units.
        order: the order of the node that computed a layer's z. Later writes into the weights do not belong to the call.
        weight_facts: whether the weights of a layer are all 0, and whether all are finite, each a bool or (R,). A
            Listener notes them if the gradient is 0 or not finite, before the weights are replaced; otherwise None.
        gradient: ∂C/∂output, an array or an ExtendedArray; None if it was not computed.
        channels_first: whether the output is (B, channels, ...), as that of Conv2d and of units after it.
        is_weights: whether the unit multiplies the gradient by weights, as a layer does.
    """

    __slots__ = (
        "_operation", "channels_first", "gradient", "is_weights", "module", "name", "order", "output", "weight",
        "weight_facts", "z",
    )  # fmt: skip

    def __init__(
        self, module: Module | None, output: Tensor | None, name: str | None = None, operation: Any = None
    ) -> None:
        self.module = module
        self.output = output
        self.name = name
        self.z: Any = None
        self.weight: Any = None
        self.order = -1
        self.weight_facts: tuple[Any, Any] | None = None
        self.gradient: Any = None
        self.channels_first = False
        self.is_weights = name is not None
        self._operation: Any = operation  # its activation class, or its name
        if module is None and output is not None and output.node is not None:
            self._operation = Activation.of(output) or output.node.operation.name

    @property
    def activation(self) -> Any:
        """The unit's `nn.Activation`, or the class of one; None if the unit is not an activation."""
        own = self._operation if self.module is None else self.module
        return own if isinstance(own, Activation | type) else None

    @property
    def holds_layers(self) -> bool:
        """Whether the unit is a module with layers inside, as a Residual; they have no units of their own."""
        if self.name is not None or self.module is None:
            return False
        return any(isinstance(module, Layer) for _, module in self.module.named_modules())

    @property
    def weights(self) -> Any:
        """The array of the layer's weights in this call; None if it was freed, has changed, or was not used itself."""
        weight = self.weight() if isinstance(self.weight, weakref.ref) else self.weight
        return None if weight is None or was_written(weight, self.order) else weight

    @property
    def matrix(self) -> Any:
        """`weights` if they are a matrix; None for filters, because a convolution stretches by other amounts."""
        return self.weights if self.input_axes == 1 else None

    @property
    def input_axes(self) -> int:
        """The number of axes of a layer's weights that count inputs: 1 for a matrix, 3 for filters."""
        return getattr(getattr(self.module, "weight", None), "input_axes", 1)

    def note_weights(self) -> None:
        """Set `weight_facts`, which an account needs if the gradient is 0 or not finite."""
        if (weight := self.weights) is not None:
            axes = tuple(range(-1 - self.input_axes, 0))
            self.weight_facts = ~weight.any(axis=axes), np.isfinite(weight).all(axis=axes)

    @property
    def label(self) -> str:
        """The name of the module's or activation's class, or of the operation."""
        if self.module is not None:
            return type(self.module).__name__
        return self._operation.__name__ if isinstance(self._operation, type) else str(self._operation)


def layers_of(model: Module) -> dict[Module, str]:
    """The layers of a model, with their names.

    Raises:
        ValueError: if there is none.
    """
    layers: dict[Module, str] = {m: name for name, m in model.named_modules() if isinstance(m, Layer)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear or Conv2d, so it has no layers to account for")
    return layers


class Chain:
    """The chain of layers: the layers of one pass through a model and the units between them, in the order of calls.

    Attributes:
        units: the layers and what lies between them, from the first layer to the last.
        tail: the units after the last layer.
        members: (R,) for an ensemble of R networks, else ().
        problem: a message that says why the layers are not in a row; None if they are.
        unit: what its layers are: "layer", or "time step" (`recurrence.py`).
    """

    unit = "layer"

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
        """(layer, the units between, next layer) for each layer but the last, the first layer first."""
        ends = [i for i, unit in enumerate(self.units) if unit.name is not None]
        for low, high in pairwise(ends):
            yield self.units[low], self.units[low + 1 : high], self.units[high]

    def add(self, module: Any, z: Tensor) -> bool:
        """Append the call of a layer that returned z. Return False if the call belongs to another pass."""
        assert z.node is not None
        sole = _sole_call(z)
        x = sole[1][0] if sole else next(call.inputs[0] for call in calls(z) if call.module is module)
        way = self._way(x, module) if self.units else []
        if way is None:
            return False
        if not self.units:
            self.problem = None
        unit = Unit(module, z, self._layers[module])
        unit.channels_first = module.channels_first
        unit.z, unit.weight, unit.order = z.data, weight_in(z, module), z.node.order
        self.units += [*self._placed(way), unit]
        return True

    def _placed(self, way: list[Unit]) -> list[Unit]:
        """The units, with `channels_first` of the last layer: their outputs have the axes of its z, or fewer."""
        for unit in way:
            unit.channels_first = self.units[-1].channels_first
        return way

    def add_unheard(self, module: Module, z: Any) -> None:
        """Append the call of a layer whose graph was freed: only the array z that it returned is known."""
        unit = Unit(module, None, self._layers[module])
        unit.z, unit.channels_first = z, module.channels_first
        self.units.append(unit)

    def end(self, output: Any) -> None:
        """Set `tail` from the output of the model."""
        way = (self._way(output, None) or []) if self.units else []
        self.tail = self._placed(way)

    def _way(self, x: Any, module: Module | None) -> list[Unit] | None:
        """The units between the last layer and x, the input of `module`; None if the call begins another pass."""
        below = self.units[-1].output
        if not isinstance(x, Tensor) or x.node is None or below is None:
            # x is data, or the last layer requires no gradients: there is no graph between the two.
            return None if self._has(module) else []
        sole = _sole_call(x)
        if sole and _sole_call(below) and sole[1] and sole[1][0] is below:
            return [Unit(sole[0], x)]  # a single module, the most frequent case; `trace` would find it too, but slower
        way, end = trace(x, below, self._layers)
        if end is below:
            return _units(way)
        if (around := self._around(way, end)) is not None:
            return around
        if self._has(module):
            return None
        if depends_on_layers(end, self._layers):
            last = self.layers[-1].name
            what = "the output of the model" if module is None else f"the input of {self._layers[module]!r}"
            self.problem = (
                f"the layers are not in a row: a way to {what} goes around {last!r}; "
                "put both ways into one module and call that module: it counts as one unit, as nn.Residual does"
            )
        return []

    def _around(self, way: Way, end: Tensor) -> list[Unit] | None:
        """The units since the last layer outside of the module that returned `end`.

        If the last layers are parts of that module, as in a Residual, one unit of the module replaces them. If they are
        not, the result is None.
        """
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
            self.problem = None if kept else "the layers are not in a row: each is in a module with a way around it"
            if not kept:
                return []  # the module is before the first layer, where no gradient is accounted for
            return [*(self._way(source_of(call), None) or []), Unit(call.module, end), *_units(way)]
        return None

    def _has(self, module: Module | None) -> bool:
        return any(unit.module is module for unit in self.units if unit.name is not None)


def weight_in(z: Any, layer: Any) -> Any:
    """The array of a layer's weight in the call that returned z; None if the layer uses something computed from it."""
    weight = layer.weight
    for given, value in zip(z.node.inputs, z.node.values, strict=True):
        if given is weight:
            return value
    return None


def _sole_call(tensor: Tensor) -> Any:
    """(module, inputs, None) of the call that returned a tensor, if there was exactly one."""
    return tensor.call if tensor.call is not None and tensor.call[2] is None else None


def _units(way: Way) -> list[Unit]:
    return [Unit(module, output) for module, output in reversed(way)]


# Chains that are read from a graph: that of a cost, or of a call that is made for this purpose.


def recorded(model: Module, cost: Tensor, gradients: bool = True) -> Chain:
    """The chain of a recorded cost. Each unit has its output and, with `gradients`, ∂cost/∂output in extended range.

    No `.grad` is changed, and no hook is called.

    Raises:
        ValueError: if the cost was not computed by one pass through all layers of this model, or the layers are not in
            a row.
    """
    layers = layers_of(model)
    parts = {module for _, module in model.named_modules()}
    chain, used, output = Chain(layers, members_of(next(iter(layers)))), set(), None
    for tensor in sorted(ancestors([cost]), key=lambda tensor: tensor.node.order if tensor.node else -1):
        for call in calls(tensor):
            if call.module in layers:
                used.add(call.module)
                if not chain.add(call.module, tensor):
                    raise ValueError(
                        f"this cost comes from several calls of the model, or from a branch: {layers[call.module]!r} "
                        f"is called again, and its input does not come from {chain.layers[-1].name!r}"
                    )
            if call.module in parts:
                output = tensor  # the last one is the end of the model, also where its parts are called one by one
    if unused := [name for layer, name in layers.items() if layer not in used]:
        raise ValueError(
            f"the recorded graph of this cost has {len(used)} of the model's {len(layers)} layers, not "
            f"{', '.join(map(repr, unused))}: they were not called, or require no gradients (requires_grad=False), or "
            "the cost was computed by another model or under no_grad"
        )
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

    A copy of the model is called, so that no hook on the model is called.

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
    """The chain of a model that has not been called, from a dry run on zeros; its layers have no z.

    Raises:
        ValueError: for a model of images, because their size is not known.
    """
    if any(layer.channels_first for layer in layers_of(model)):
        raise ValueError(f"{type(model).__name__} takes images, whose size is not known before a call: call it first")
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
