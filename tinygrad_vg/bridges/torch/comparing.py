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

# The largest difference of two arrays that are equal to rounding: as a share of their largest number, and, of
# gradients, of the largest number of all of them. Where a gradient is 0, as behind a norm of one feature, both sides
# have rounding errors.
NEAR, ZERO = 1e-9, 1e-12


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
        try:
            results = list(results_of(theirs, mine, rng.normal(size=shape), rng))
        except RuntimeError as reason:
            raise TypeError(f"PyTorch computes no gradients of {type(theirs).__name__}: {reason}") from reason
        for what, a, b, error in results:
            if a.shape != b.shape or not np.all(np.abs(a - b) <= error):
                raise TypeError(
                    f"{type(theirs).__name__} is not the sequence of the modules that it calls: in {mode} the {what} "
                    "are others. A forward may change its input in place, detach it, or do something "
                    "else in another mode. Write each step as a module, or write the class in tinygrad_vg and copy the "
                    "weights by load_state_dict"
                )


def results_of(theirs: Any, mine: nn.Module, x: Any, rng: "np.random.Generator") -> Iterator[tuple[str, Any, Any, Any]]:
    """(what, ours, PyTorch's, error) of each output for x, and of each gradient for random cotangents of the outputs.

    The error is how much the two may differ by rounding.
    """
    torch = pytorch()
    given, leaf = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    with enable_grad(), torch.enable_grad():
        outputs = list(zip(flat(mine(given)), flat(run(theirs, leaf.clone())), strict=True))
    for here, there in outputs:
        array = there.detach().numpy()
        yield "outputs", here.data, array, NEAR * largest(array)
    mine.zero_grad()
    theirs.zero_grad()
    for here, there in outputs:
        cotangent = rng.normal(size=tuple(there.shape))
        here.backward(cotangent)
        if there.requires_grad:
            there.backward(torch.from_numpy(cotangent), retain_graph=True)
    tensors = tensors_of(theirs)
    pairs = [("its input", given, leaf), *((p.name, p, tensors[str(p.name)]) for p in mine.parameters())]
    gradients = [(name, gradient_of(a), gradient_of(b)) for name, a, b in pairs]
    error = ZERO * max(largest(b) for _, _, b in gradients)
    for name, a, b in gradients:
        yield f"gradients of {name}", a, b, NEAR * largest(b) + error


def largest(array: Any) -> float:
    """The largest magnitude in an array; 0 for an empty one."""
    return float(np.abs(array).max(initial=0.0))


def gradient_of(tensor: Any) -> Any:
    """The gradient of a tensor of either side as an array; zeros if it has none."""
    return np.zeros(tuple(tensor.shape)) if tensor.grad is None else np.asarray(tensor.grad)


def flat(output: Any) -> list[Any]:
    """The tensors of an output: of a recurrent layer it is a tuple, in which there may be another tuple."""
    return [each for part in output for each in flat(part)] if isinstance(output, tuple) else [output]
