"""into: the weights of a network of tinygrad_vg written into a network of PyTorch."""

from typing import Any

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.layers import tensors_of


def into(net: Any, ours: nn.Module) -> None:
    """Write the parameters and buffers of a network of tinygrad_vg into those of a network of PyTorch, in place.

    Each is written into the tensor of its name in `net`. The parameters of a `twin` know that name themselves, and keep
    it when they are trained, copied or pickled; of other networks it is the name in `named_parameters`. The tensors of
    `net` keep dtype, device and `requires_grad`, and an optimizer of PyTorch goes on with them.

    Args:
        net: a `torch.nn.Module`.
        ours: a twin of it, or another network with the same names and shapes.

    Raises:
        KeyError: if a name is missing in `net`, or `net` has a tensor that `ours` has not.
        ValueError: if a shape differs. In both cases `net` is unchanged.
        TypeError: if `net` is not a network of PyTorch, or `ours` none of tinygrad_vg.
        ModuleNotFoundError: if PyTorch is missing.

    >>> import torch
    >>> from tinygrad_vg.bridges.torch import into, twin
    >>> net = torch.nn.Linear(3, 2)
    >>> ours = twin(net)
    >>> ours.weight.data = np.ones((2, 3), np.float32)
    >>> into(net, ours)
    >>> net.weight.detach()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    torch = pytorch()
    if not isinstance(net, torch.nn.Module) or not isinstance(ours, nn.Module):
        raise TypeError(f"into takes a torch.nn.Module, then a tg.nn.Module: into(net, ours); not {type(net).__name__} "
                        f"and {type(ours).__name__}")  # fmt: skip
    theirs = tensors_of(net)
    arrays = {}
    for name, tensor in [*ours.named_parameters(), *ours.named_buffers()]:
        arrays[tensor.name if tensor.name in theirs else name] = tensor.data
    written = {id(theirs[name]) for name in arrays if name in theirs}
    missing = [name for name, tensor in theirs.items() if id(tensor) not in written]
    unknown = [name for name in arrays if name not in theirs]
    if missing or unknown:
        raise KeyError(f"the networks do not fit: {missing} of {type(net).__name__} are missing in "
                       f"{type(ours).__name__}, which has {unknown} besides")  # fmt: skip
    for name, array in arrays.items():
        if array.shape != (shape := tuple(theirs[name].shape)):
            raise ValueError(
                f"{name} is {array.shape} here and {shape} in {type(net).__name__}; of an ensemble, write "
                "into(net, nn.unstack(ours, i)) for member i"
            )
    with torch.no_grad():
        for name, array in arrays.items():
            theirs[name].copy_(torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)))
