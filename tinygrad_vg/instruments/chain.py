"""The chain of modules that a Sequential is, nested ones taken apart: what ledger, theory and what-if look at."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tinygrad_vg.engine import Tensor, ancestors, ops
from tinygrad_vg.nn import Identity, LayerNorm, Linear, Module, ReLU, Residual, Sequential, Sigmoid, Tanh

# How many operations, each the first argument of the one before, lead from a module's output to its input.
_DEPTH = {Sigmoid: 1, Tanh: 1, ReLU: 1, Identity: 0, Residual: 1, LayerNorm: 4}


def units_of(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """What nested Sequentials apply one after the other, with their names in the outermost."""
    if isinstance(module, Sequential) and type(module).forward is Sequential.forward:
        for name, part in module.named_children():
            yield from units_of(part, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, module


def why_no_layers(model: Module, units: Sequence[tuple[str, Module]]) -> str:
    """Why a model has no layers in a row to look at, for an error."""
    for name, module in units:
        if any(isinstance(below, Linear) for _, below in module.named_modules()):
            where = f"{type(module).__name__}{f' ({name})' if name else ''}"
            return (
                f"the layers of this model stand inside {where}, whose own forward() decides how they are used; "
                "a ledger needs a Sequential of Linears and of modules between them: give it such a part of the model"
            )
    return f"{type(model).__name__} has no Linear, so there is no step to account for"


def outputs_in_graph(units: Sequence[Module], cost: Tensor) -> dict[int, Tensor]:
    """The tensors of a recorded graph that are the outputs of a chain's units, from its first Linear to its last.

    A layer is known by its weight, what lies between two layers by how its class computes.

    Returns:
        Places in the chain and their tensors.

    Raises:
        ValueError: if the cost was not computed by one call of these units, or a module between two layers is of a
            class whose operations are not known here.
    """
    layers = {module.weight: place for place, module in enumerate(units) if isinstance(module, Linear)}
    if not layers:
        whole = units[0] if len(units) == 1 else Sequential(*units)
        raise ValueError(why_no_layers(whole, [("", unit) for unit in units]))
    found: dict[int, Tensor] = {}
    for tensor in ancestors([cost]):
        if tensor.node is not None and tensor.node.function is ops.linear:
            place = layers.get(tensor.node.inputs[1])
            if place in found:
                raise ValueError(
                    "this cost uses a layer twice: it comes from several calls of the model, "
                    "or one module stands in two places"
                )
            if place is not None:
                found[place] = tensor
    if len(found) < len(layers):
        raise ValueError(
            f"the recorded graph of this cost has {len(found)} of the model's {len(layers)} layers: it was computed by "
            "another model, under no_grad, or with layers that ask for no gradients (requires_grad=False)"
        )
    for low, high in pairwise(sorted(found)):
        tensor = found[high].node.inputs[0]  # type: ignore[union-attr]
        for place in range(high - 1, low, -1):
            found[place] = tensor
            kind = type(units[place])
            if kind not in _DEPTH:
                raise ValueError(
                    f"{kind.__name__} leaves no mark in a graph by which its input could be found; "
                    "call the model and backward inside `with Ledger(model) as ledger:` and use the ledger"
                )
            for _ in range(_DEPTH[kind]):
                if not isinstance(tensor, Tensor) or tensor.node is None:
                    break
                tensor = tensor.node.inputs[0]
        if tensor is not found[low]:
            raise ValueError("this cost was not computed by this model as it is: its units do not follow each other")
    return found
