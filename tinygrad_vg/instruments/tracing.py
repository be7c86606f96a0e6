"""Tracing: the modules and operations between two layers, found in the recorded graph.

The search starts at the input of the upper layer and goes back to the output of the lower one.
"""

from collections.abc import Container, Iterator
from typing import Any

from tinygrad_vg.engine import ModuleCall, Tensor, ancestors, calls
from tinygrad_vg.nn import Module, Sequential

Passed = Module | None  # a module, or None for an operation outside of modules
Way = list[tuple[Passed, Tensor]]  # modules and operations with their outputs, the one nearest to the cost first


def trace(x: Tensor, z: Tensor, layers: Container[Module]) -> tuple[Way, Tensor]:
    """Go back from x to z: over calls of modules, and over single operations outside of modules.

    Args:
        x: a recorded tensor.
        z: the output of a layer, computed before x.
        layers: the modules that are layers.

    Returns:
        The modules and operations on the way, and the tensor where the search ended: z, or a tensor from which no
        single way leads to z.

    >>> from tinygrad_vg import nn
    >>> import numpy as np
    >>> layer = nn.Linear(2, 2, rng=0)
    >>> z = layer(np.ones((1, 2)))
    >>> way, end = trace(np.tanh(nn.Sigmoid()(z)), z, {layer})
    >>> [module for module, _ in way], end is z
    ([None, Sigmoid()], True)
    """
    way: Way = []
    tensor = x
    while True:
        for call in reversed(calls(tensor)):  # modules that returned their input unchanged
            if not call.inputs and not isinstance(call.module, Sequential):
                way.append((call.module, tensor))
        if tensor is z:
            return way, tensor
        passed = _by_call(tensor, z) or _by_operation(tensor, z, layers)
        if passed is None:
            return way, tensor
        way.append((passed[0], tensor))
        tensor = passed[1]


def source_of(call: ModuleCall) -> Tensor | None:
    """The input that gets the gradient from a module: the first input that was recorded."""
    return next((given for given in call.inputs if isinstance(given, Tensor) and given.node is not None), None)


def depends_on_layers(tensor: Tensor, layers: Container[Module]) -> bool:
    """Whether a tensor was computed from the output of a layer."""
    return any(call.module in layers for vertex in ancestors([tensor]) for call in calls(vertex))


def _order(tensor: Tensor) -> int:
    return tensor.node.order if tensor.node is not None else -1


def _by_call(tensor: Tensor, z: Tensor) -> tuple[Passed, Tensor] | None:
    """The module and the input of the innermost call whose input is not older than z; None if there is none."""
    oldest = _order(z)
    for call in calls(tensor):
        for given in call.inputs:
            if isinstance(given, Tensor) and _order(given) >= oldest:
                return call.module, given
    return None


def _by_operation(tensor: Tensor, z: Tensor, layers: Container[Module]) -> tuple[Passed, Tensor] | None:
    """(None, input) of one operation, or (None, z) if the ways from z fork and join again; None if there is a way
    around z."""
    if tensor.node is None:
        return None
    oldest = _order(z)
    sources = dict.fromkeys(source for _, source, _ in tensor.node.edges)
    later = [source for source in sources if _order(source) >= oldest]
    if any(given is operand for call in calls(tensor) for given in call.inputs for operand in _data(tensor, sources)):
        return None  # the module that returned the tensor adds its own input: a way around the modules inside it
    if any(0 <= _order(source) < oldest and depends_on_layers(source, layers) for source in sources):
        return None  # a way around z
    if len(later) == 1:
        return None, later[0]
    return (None, z) if later and _all_from(later, z, layers) else None


def _data(tensor: Tensor, sources: Container[Tensor]) -> Iterator[Any]:
    """The arguments of a tensor's operation that do not require gradients."""
    assert tensor.node is not None
    return (operand for operand in tensor.node.inputs if not (isinstance(operand, Tensor) and operand in sources))


def _all_from(tensors: list[Tensor], z: Tensor, layers: Container[Module]) -> bool:
    """Whether all ways back from these tensors to a layer lead to z, and at least one does."""
    oldest, unseen, seen = _order(z), [*tensors], set()
    while unseen:
        tensor = unseen.pop()
        if tensor in seen or tensor.node is None:
            continue
        seen.add(tensor)
        if _order(tensor) > oldest:
            unseen += [source for _, source, _ in tensor.node.edges]
        elif tensor is not z and depends_on_layers(tensor, layers):
            return False
    return z in seen
