"""Activations of PyTorch: which of ours has the same function, and so their slopes and where they are saturated."""

from typing import Any

from tinygrad_vg import nn
from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.norms import array_of
from tinygrad_vg.nn import Activation

_OPTIONS = {"LeakyReLU": ("negative_slope",), "ELU": ("alpha",), "GELU": ("approximate",)}
_PLAIN = ("Sigmoid", "Tanh", "ReLU", "SELU", "SiLU", "Softplus")
# Functions of torch, by the names of their nodes in the graph.
_BY_NODE = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "elu": "ELU"}


def ours(module: Any) -> Activation | None:
    """Our activation with the function of a module of PyTorch; None if there is none.

    >>> import torch
    >>> ours(torch.nn.Sigmoid()).largest_slope, ours(torch.nn.LeakyReLU(2.0)).largest_slope, ours(torch.nn.Flatten())
    (0.25, 2.0, None)
    """
    name = type(module).__name__
    if not isinstance(module, getattr(pytorch().nn, name, ())):
        return None
    if name in _OPTIONS:
        options = [getattr(module, option) for option in _OPTIONS[name]]
        made: Activation = getattr(nn, name)(*options)
        return made
    is_plain = name in _PLAIN and getattr(module, "beta", 1) == 1  # a Softplus has a beta
    return getattr(nn, name)() if is_plain else None


def of_node(operation: str) -> Activation | None:
    """Our activation with the function of an operation, such as "relu"; None if there is none.

    >>> of_node("relu").symbol, of_node("view")
    ('relu', None)
    """
    name = _BY_NODE.get(operation.rstrip("_"))
    return None if name is None else getattr(nn, name)()


def saturated_share(module: Any, y: Any) -> Any:
    """The share of saturated elements in an activation's output, on its device; None if that is not known.

    >>> import torch
    >>> saturated_share(torch.nn.ReLU(), torch.tensor([0.0, 1.0]))
    tensor(0.5000)
    """
    flags = is_saturated(module, y)
    return None if flags is None else flags.sum() / flags.numel()


def is_saturated(module: Any, y: Any) -> Any:
    """Which elements of an activation's output are saturated (`nn.Activation.saturated`), on its device; None if that
    is not known.

    >>> import torch
    >>> is_saturated(torch.nn.Tanh(), torch.tensor([0.0, 1.0]))
    tensor([False,  True])
    """
    torch, own, y = pytorch(), ours(module), y.detach()
    if own is None:
        return None
    flags = own.saturated(array_of(y)) if y.device.type == "cpu" else _on_device(type(own).__name__, y)
    return torch.from_numpy(flags) if flags is not None and y.device.type == "cpu" else flags


def _on_device(name: str, y: Any) -> Any:
    """The same for the commonest activations, without reading y."""
    if name == "Sigmoid":
        return (y - 0.5).abs() > 0.485
    return {"Tanh": y.abs() > 0.97, "ReLU": y == 0}.get(name)


def flags_of(module: Any, y: Any, features: int) -> tuple[Any, Any] | None:
    """Which neurons are off, and which are saturated, for all samples, as tensors (n,): as `instruments.neurons` does.

    Args:
        module: a Sigmoid, Tanh or ReLU; for others the result is None.
        y: its output.
        features: the axis of the neurons.

    >>> import torch
    >>> flags_of(torch.nn.ReLU(), torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 1)
    (tensor([ True, False]), tensor([ True, False]))
    """
    name = type(module).__name__
    if name not in ("Sigmoid", "Tanh", "ReLU"):
        return None
    y = y.detach().movedim(features, -1).reshape(-1, y.shape[features])
    off = {"Sigmoid": (y == 0) | (y == 1), "Tanh": y.abs() == 1, "ReLU": y == 0}[name]
    return off.all(dim=0), _on_device(name, y).all(dim=0)
