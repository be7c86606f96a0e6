"""The calls inside a network of PyTorch: which modules it calls, in which order, and on what."""

import copy
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np

from tinygrad_vg.bridges.torch.installed import pytorch

ROWS = 3  # samples in a probe: more than one, for batch normalization; few, because only the structure is asked for
HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks",
)  # fmt: skip


class Call:
    """A call of a module, with the calls inside.

    Attributes:
        module: the module that was called.
        x: its argument; None if it was not called with one tensor alone.
        output: what it returned.
        inner: the calls that its `forward` made itself, in their order.
    """

    __slots__ = ("inner", "module", "output", "x")

    def __init__(self, module: Any, x: Any) -> None:
        self.module = module
        self.x = x
        self.output: Any = None
        self.inner: list[Call] = []


def copied(net: Any) -> Any:
    """A copy of a network on the CPU in float64, without its hooks, with dropout off.

    Raises:
        TypeError: if it cannot be copied.
    """
    torch = pytorch()
    memo: dict[int, Any] = {}
    for module in net.modules():  # a copied hook of a recorder would be called
        memo |= {id(vars(module)[hooks]): OrderedDict() for hooks in HOOKS if hooks in vars(module)}
    try:
        copy_of_net = copy.deepcopy(net, memo).to(device="cpu", dtype=torch.float64)
    except Exception as error:
        raise TypeError(
            f"twin needs a copy of the network, and copy.deepcopy(net) fails: {error}; a weight that a hook computes, "
            "as of weight_norm, spectral_norm or prune, becomes a parameter by remove_weight_norm and the like"
        ) from error
    for module in copy_of_net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return copy_of_net


def set_mild(net: Any, rng: "np.random.Generator") -> None:
    """Give a network random numbers with which no activation saturates and no branch is 0, in place.

    The structure of a network does not depend on its weights. A network that has exploded, or whose residual branches
    begin at 0, does not show it.
    """
    torch = pytorch()
    with torch.no_grad():
        for _, tensor in [*net.named_parameters(), *net.named_buffers()]:
            shape = tuple(tensor.shape)
            if len(shape) > 1:
                numbers = rng.normal(scale=float(np.prod(shape[1:])) ** -0.5, size=shape)
            else:
                numbers = rng.uniform(0.5, 1.5, shape)
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(np.asarray(numbers)))


def probe_of(net: Any, x: Any, rng: "np.random.Generator") -> Any:
    """Random numbers of the shape that a network takes: that of x, or else as its first module with weights says.

    Raises:
        ValueError: if x is missing, and the shape is not known.
    """
    if x is not None:
        shape = tuple(np.shape(x))
        return rng.normal(size=(ROWS, *shape[1:]) if len(shape) > 1 else shape)
    for module in net.modules():
        for name in ("in_features", "num_features", "input_size", "normalized_shape"):
            if name in vars(module) and type(module).__name__ not in ("BatchNorm2d", "BatchNorm3d"):
                size = vars(module)[name]
                width = size if isinstance(size, tuple) else (size,)
                has_time = "batch_first" in vars(module)
                return rng.normal(size=(*(ROWS,) * (1 + has_time), *width))
        if next(module.parameters(recurse=False), None) is not None:
            break
    raise ValueError(
        f"twin cannot tell the shape of the inputs of {type(net).__name__}: write twin(net, x) with a batch x; "
        "only its shape is used"
    )


def called(net: Any, x: Any) -> Call:
    """The call of a network on a batch x, with all calls inside.

    Raises:
        ValueError: if the network does not take x.
    """
    torch = pytorch()
    top = Call(None, None)
    stack, handles = [top], []

    def begin(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        is_one = len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor)
        stack.append(Call(module, args[0] if is_one else None))

    def end(module: Any, args: tuple[Any, ...], output: Any) -> None:
        call = stack.pop()
        call.output = output
        stack[-1].inner.append(call)

    for module in net.modules():
        handles += [module.register_forward_pre_hook(begin, with_kwargs=True), module.register_forward_hook(end)]
    try:
        run(net, torch.from_numpy(x))
    finally:
        for handle in handles:
            handle.remove()
    return top.inner[0]


def run(net: Any, x: Any) -> Any:
    """The output of a network for a tensor x, without the warnings that the network gives its user.

    Raises:
        ValueError: if the network does not take x.
    """
    torch = pytorch()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return net(x)
    except Exception as error:
        raise ValueError(
            f"{type(net).__name__} does not take float64 numbers of shape {tuple(x.shape)} on the CPU: {error}; write "
            "twin(net, x) with a batch x of the shape that it takes"
        ) from error
