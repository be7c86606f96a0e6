"""Whether a twin computes what its network of PyTorch computes: outputs and gradients of both with the same numbers."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.bridges.torch.calls import run
from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.layers import tensors_of
from tinygrad_vg.engine import Tensor, enable_grad

NEAR = 1e-9  # the largest difference of two arrays that are equal to rounding, as a share of their largest number


def compare(theirs: Any, ours: nn.Module, shape: tuple[int, ...], rng: "np.random.Generator") -> None:
    """Raise TypeError if a network and its twin, both with the numbers of the network, differ.

    Args:
        theirs: a network of PyTorch in float64 without dropout; its mode and its running means are changed.
        ours: its twin, not changed.
        shape: the shape of the inputs.
        rng: a generator for the inputs and the cotangents.
    """
    mine, tensors = copy.deepcopy(ours), tensors_of(theirs)
    for tensor in [*mine.parameters(), *mine.buffers()]:
        tensor.data = tensors[str(tensor.name)].detach().numpy().copy()
    for parameter in mine.parameters():
        parameter.requires_grad = True
    for _, module in mine.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for mode in ("training", "evaluation"):
        mine.train(mode == "training")
        theirs.train(mode == "training")
        for what, a, b, size in results_of(theirs, mine, rng.normal(size=shape), rng):
            if a.shape != b.shape or not np.all(np.abs(a - b) <= NEAR * size):
                raise TypeError(
                    f"{type(theirs).__name__} is not the sequence of the modules that it calls: in {mode} {what} of "
                    "such a sequence are others. A forward may change its input in place, detach it, or do something "
                    "else in another mode. Write each step as a module, or write the class in tinygrad_vg and copy the "
                    "weights by load_state_dict"
                )


def results_of(theirs: Any, mine: nn.Module, x: Any, rng: "np.random.Generator") -> Iterator[tuple[str, Any, Any, Any]]:
    """(what, ours, PyTorch's, size) of each output for x, and of each gradient for random cotangents of the outputs.

    The size is the largest number. For a gradient it is that of all parameters of its layer: the gradient of a bias
    before a batch normalization is 0, which both compute as rounding errors.
    """
    torch = pytorch()
    with enable_grad(), torch.enable_grad():
        outputs = list(zip(flat(mine(x)), flat(run(theirs, x)), strict=True))
    for here, there in outputs:
        array = there.detach().numpy()
        yield "the outputs", getattr(here, "data", here), array, np.abs(array).max(initial=0.0)
    for here, there in outputs:
        cotangent = rng.normal(size=tuple(there.shape))
        if isinstance(here, Tensor) and here.requires_grad:
            here.backward(cotangent)
        if there.requires_grad:
            there.backward(torch.from_numpy(cotangent), retain_graph=True)
    tensors, pairs = tensors_of(theirs), dict[str, tuple[Any, Any]]()
    for parameter in mine.parameters():
        other = tensors[str(parameter.name)]
        pairs[str(parameter.name)] = (
            np.zeros(parameter.shape) if parameter.grad is None else parameter.grad,
            np.zeros(parameter.shape) if other.grad is None else other.grad.numpy(),
        )
    mine.zero_grad()
    theirs.zero_grad()
    sizes: dict[str, float] = {}
    for name, (_, g) in pairs.items():
        layer = name.rpartition(".")[0]
        sizes[layer] = max(sizes.get(layer, 0.0), np.abs(g).max(initial=0.0))
    for name, (a, b) in pairs.items():
        yield f"the gradients of {name}", a, b, sizes[name.rpartition(".")[0]]


def flat(output: Any) -> list[Any]:
    """The tensors of an output: of a recurrent layer it is a tuple, in which there may be another tuple."""
    return [each for part in output for each in flat(part)] if isinstance(output, tuple) else [output]
