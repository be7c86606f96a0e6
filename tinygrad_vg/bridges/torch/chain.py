"""The chain: the layers of one pass through a PyTorch network in the order of their calls, and what lies between."""

from collections.abc import Sequence
from typing import Any

from tinygrad_vg.bridges.torch.activations import of_node, ours
from tinygrad_vg.bridges.torch.norms import log10_norm, log10_norms
from tinygrad_vg.nn import Activation

SMALL = 2**13  # elements of a gradient that is kept, to be measured if it is asked for


class Unit:
    """One call of a layer or block, or a module or operations between two of them.

    Attributes:
        name: a layer's name in the network; None between layers.
        label: the class of the module, or the operations.
        module: the module; None for operations.
        activation: ours with the same function; None if the unit is no activation.
        node: the node of the graph that made the output, until the pass is over.
        z: a layer's output, until the backward is over; None for others, or on an accelerator.
        gradient: the gradient at the output, if it is small; it is kept until `measure`. None if it did not come.
        norm: else log10 of its norm, a tensor on its device.
        form: the shape and dtype of this gradient, once `norm` is set.
        flags: which neurons are off, and saturated, for all samples, if they are asked for.
    """

    __slots__ = ("activation", "flags", "form", "gradient", "label", "module", "name", "node", "norm", "z")

    def __init__(self, name: str | None, label: str, module: Any, activation: Activation | None, node: Any) -> None:
        self.name, self.label, self.module, self.activation, self.node = name, label, module, activation, node
        self.z: Any = None
        self.gradient: Any = None
        self.norm: Any = None
        self.form: Any = None
        self.flags: Any = None

    def hear(self, gradient: Any) -> None:
        """Take the gradient at the output, and measure it, so that it need not be kept."""
        self.form, self.norm, self.gradient = (gradient.shape, gradient.dtype), log10_norm(gradient.detach()), None

    @property
    def heard(self) -> Any:
        """The gradient or its norm; None if it did not come."""
        return self.gradient if self.gradient is not None else self.norm

    @property
    def bytes(self) -> int:
        """The size of the gradient that is kept."""
        return 0 if self.gradient is None else self.gradient.numel() * self.gradient.itemsize


class Chain:
    """The units of one pass. A call is taken in if its input comes from the last unit, as the graph of autograd says.

    Args:
        activations: remembers which of our activations modules are, for later passes.

    Attributes:
        units: the units so far, the first layer first.
        last: the position of the last layer in `units`.
        goes_around: whether an input was found that also comes from before the last layer.
    """

    def __init__(self, activations: dict[Any, Any]) -> None:
        self._activations = activations
        self.units: list[Unit] = []
        self.last = -1
        self.goes_around = False

    def reach(self, x: Any, is_layer: bool) -> bool | None:
        """Follow the graph from x, the input of a module, to the last unit.

        Operations on the way become a unit at x. If a layer's input also comes from before the last unit, the units
        since the last layer become one; if it also comes from before the last layer, the layers are not in a row.

        Returns:
            Whether a unit at x was added; None if x does not come from the last unit, or not from it alone.
        """
        if x.grad_fn is self.units[-1].node:
            return False
        top = len(self.units) - 1
        hits, names = _way(x.grad_fn, {unit.node: i for i, unit in enumerate(self.units)})
        if hits != {top}:
            if not is_layer or not hits:
                return None
            if min(hits) < self.last:
                self.goes_around = True
                return None
            names = [*names, *(unit.label for unit in self.units[: self.last : -1])]
            del self.units[self.last + 1 :]
        self.units.append(_of_operations(names, x.grad_fn))
        return True

    def comes_from_here(self, x: Any) -> bool:
        """Whether a tensor was computed from the output of a unit."""
        return x is not None and bool(_way(x.grad_fn, {unit.node: i for i, unit in enumerate(self.units)})[0])

    def add_operations(self, label: str, x: Any) -> Unit:
        """Append a unit for what leads to x."""
        self.units.append(Unit(None, label, None, None, x.grad_fn))
        return self.units[-1]

    def add_layer(self, name: str, module: Any, z: Any) -> Unit:
        """Append the call of a layer or block that returned z."""
        unit = Unit(name, type(module).__name__, module, None, z.grad_fn)
        self.last = len(self.units)
        self.units.append(unit)
        return unit

    def add_module(self, module: Any, y: Any) -> Unit:
        """Append the call of a module between layers that returned y."""
        if module not in self._activations:
            self._activations[module] = ours(module)
        unit = Unit(None, type(module).__name__, module, self._activations[module], y.grad_fn)
        self.units.append(unit)
        return unit

    def close(self) -> None:
        """Let go of the graph, at the end of the pass."""
        for unit in self.units:
            unit.node = None


def measure(units: Sequence[Unit]) -> None:
    """Set the norms of units whose gradients are kept, and let go of these. Equal shapes are measured at once."""
    groups: dict[Any, list[Unit]] = {}
    for unit in units:
        if unit.gradient is not None:
            unit.form = unit.gradient.shape, unit.gradient.dtype
            groups.setdefault((unit.form, unit.gradient.device), []).append(unit)
    for group in groups.values():
        for unit, norm in zip(group, log10_norms([unit.gradient for unit in group]).unbind(), strict=True):
            unit.norm, unit.gradient = norm, None


def _of_operations(names: Sequence[str], node: Any) -> Unit:
    names = [*dict.fromkeys(reversed(names))]  # as the forward pass meets them
    activation = of_node(names[0]) if len(names) == 1 else None
    return Unit(None, ", ".join(names) or "operations", None, activation, node)


def _way(node: Any, ends: dict[Any, int]) -> tuple[set[int], list[str]]:
    """Which ends the graph below a node leads to, and the names of the operations on the way, the last one first."""
    hits, names, seen, stack = set(), [], {node}, [node]
    while stack:
        node = stack.pop()
        if node in ends:
            hits.add(ends[node])
            continue
        if node is None or not node.next_functions:
            continue
        names.append(_operation(node))
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                stack.append(below)
    return hits, names


def _operation(node: Any) -> str:
    """The name of a node's operation: "relu" of ReluBackward0."""
    name: str = node.name().rpartition("::")[2]
    return name.rstrip("0123456789").removesuffix("Backward").lower()
