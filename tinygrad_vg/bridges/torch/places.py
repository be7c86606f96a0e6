"""Places: which modules of a PyTorch network an instrument takes for layers, and which networks it refuses."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.norms import dtype_of

_WRAPPERS = {"FullyShardedDataParallel": "FSDP", "FSDPModule": "FSDP2"}


@dataclass(frozen=True, eq=False)
class Place:
    """A layer of a recorder.

    Attributes:
        name: its name in the network.
        module: the module whose calls put the layer in order: the layer's own, or the attention that uses its weights.
        bias: the bias that the optimizer moves; None for a layer without one.
        weight: the layer's weight; None if it has none.
    """

    name: str
    module: Any
    bias: Any
    weight: Any

    @property
    def anchor(self) -> Any:
        """A parameter of the layer that requires gradients."""
        known = self.bias if self.bias is not None else self.weight
        return known if known is not None else next(p for p in self.module.parameters() if p.requires_grad)

    @property
    def form(self) -> tuple[tuple[int, ...], Any]:
        """The shape and the NumPy dtype of ∂C/∂b."""
        if self.bias is not None:
            return (self.bias.numel(),), dtype_of(self.bias)
        width = getattr(self.module, "out_features", None) or self.module.out_channels
        return (width,), dtype_of(next(p for p in self.module.parameters()))


def unwrapped(net: Any) -> tuple[Any, bool]:
    """The network itself, and whether its gradients are those of this process alone.

    Raises:
        TypeError: if it is no `torch.nn.Module`.
        ValueError: for a network whose gradients hooks do not see; the message says what to write instead.
    """
    torch = pytorch()
    if not isinstance(net, torch.nn.Module):
        raise TypeError(f"the network is a torch.nn.Module, not {type(net).__name__}")
    is_local = isinstance(net, torch.nn.parallel.DistributedDataParallel)
    if is_local:
        warnings.warn(
            "the gradients are local: those of this process, before DistributedDataParallel averages them over all "
            "processes; the averages are in .grad after the backward",
            stacklevel=3,
        )
        net = net.module
    for name, module in net.named_modules():
        if reason := _refusal(module, torch):
            where = f"{name!r} is" if name else "the network is"
            raise ValueError(f"{where} {reason}")
    return net, is_local


def _refusal(module: Any, torch: Any) -> str | None:
    classes = {base.__name__ for base in type(module).__mro__}
    if "OptimizedModule" in classes or getattr(module, "_compiled_call_impl", None) is not None:
        return (
            "compiled, and compiled code calls no hooks: make the instrument from the network before torch.compile, "
            "and train that one while it is on"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return "a ScriptModule, whose code calls no hooks: make the instrument from the network before torch.jit"
    if isinstance(module, torch.nn.DataParallel):
        return (
            "a DataParallel, which makes a replica of the network in each call: train net.module on one device while "
            "the instrument is on, or use DistributedDataParallel"
        )
    if sharded := classes & _WRAPPERS.keys():
        return (
            f"sharded by {_WRAPPERS[sharded.pop()]}, so that no process has a layer's whole gradient: look at a copy "
            "that is not sharded, on one batch"
        )
    if any(torch.nn.parameter.is_lazy(p) for p in module.parameters(recurse=False)):
        return "lazy, and has no weights yet: call the network once before"
    return None


def places_in(net: Any) -> Iterator[Place]:
    """The layers of a network for a recorder, in the order of `named_modules`: the modules with a `bias` that requires
    gradients, the Linears and convolutions without one, and the two projections of an attention with biases.

    Raises:
        ValueError: if the network has a recurrent module.
    """
    torch = pytorch()
    nn = torch.nn
    inside: set[int] = set()  # modules whose weights another module uses, so that they are never called
    for name, module in net.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            raise ValueError(_of_gates(name, module, "the layers around it"))
        own = dict(module.named_parameters(recurse=False))
        bias, weight = _trained(own.get("bias")), _trained(own.get("weight"))
        if isinstance(module, nn.MultiheadAttention):
            inside |= {id(part) for part in module.modules()}
            outer = module.out_proj
            for part, own_bias, own_weight in (
                ("in_proj", _trained(own.get("in_proj_bias")), _trained(own.get("in_proj_weight"))),
                ("out_proj", _trained(outer.bias), _trained(outer.weight)),
            ):
                if own_bias is not None:
                    yield Place(f"{name}.{part}".removeprefix("."), module, own_bias, own_weight)
        elif bias is not None:
            yield Place(name, module, bias, weight)
        elif is_layer(module) and "bias" not in own and any(p.requires_grad for p in module.parameters()):
            yield Place(name, module, None, weight)


def is_layer(module: Any) -> bool:
    """Whether a module multiplies its input by weights, and adds a bias or none: Linear, or a convolution."""
    nn = pytorch().nn
    return isinstance(module, nn.Linear | nn.Bilinear) or is_convolution(module)


def is_convolution(module: Any) -> bool:
    """Whether a module is a convolution, of 1 to 3 axes, transposed or not."""
    nn = pytorch().nn
    plain = nn.Conv1d | nn.Conv2d | nn.Conv3d
    return isinstance(module, plain | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)


def features_axis(module: Any, output: Any) -> int:
    """The axis of the features in a module's output: 1 for convolutions and normalizations of images.

    For other modules it is the last.

    >>> import torch
    >>> features_axis(torch.nn.Conv2d(3, 4, 1), torch.ones(5, 4, 2, 2)), features_axis(None, torch.ones(5, 3, 4))
    (1, 2)
    """
    nn = pytorch().nn
    if is_convolution(module):
        return int(output.ndim - len(module.kernel_size) - 1)  # without a batch it is the first
    of_batches = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm | nn.GroupNorm
    if isinstance(module, of_batches | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d):
        return 1
    return int(output.ndim - 1)


def blocks_in(net: Any, names: Iterable[str]) -> dict[Any, str]:
    """The modules with these names.

    Raises:
        ValueError: if there is no such module, or one of them is inside another.
    """
    known = dict(net.named_modules())
    names = [names] if isinstance(names, str) else [*names]
    for name in names:
        if name not in known or not name:
            some = ", ".join(map(repr, [name for name in known if name][:12]))
            raise ValueError(f"there is no module {name!r}; layers= takes names of named_modules(): {some} ...")
    for outer in names:
        for inner in names:
            if inner.startswith(f"{outer}."):
                raise ValueError(f"{inner!r} is inside {outer!r}: blocks lie side by side, so leave one of them out")
    return {known[name]: name for name in names}


def refuse_gates(net: Any) -> None:
    """Raise ValueError if a network has a recurrent module."""
    torch = pytorch()
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.RNNBase | torch.nn.RNNCellBase):
            raise ValueError(_of_gates(name, module, f"it as a block: layers=[{name!r}, ...]"))


def suggestion(net: Any) -> str:
    """What to write for `layers` for a network whose layers are not in a row: the blocks that hold its layers."""
    names = []
    for name, module in net.named_children():
        torch = pytorch()
        if isinstance(module, torch.nn.ModuleList | torch.nn.Sequential) and len(module) > 1:
            names += [f"{name}.{own}" for own, part in module.named_children() if any(map(is_layer, part.modules()))]
        elif any(map(is_layer, module.modules())):
            names.append(name)
    shown = [repr(name) for name in names]
    return f"layers=[{', '.join(shown if len(shown) <= 5 else [*shown[:4], '...', shown[-1]])}]"


def _trained(parameter: Any) -> Any:
    return parameter if parameter is not None and parameter.requires_grad else None


def _of_gates(name: str, module: Any, instead: str) -> str:
    kind = type(module).__name__
    return (
        f"{name or 'the network'!r} is a {kind}, which computes its gates and time steps in one call, so that their δ "
        f"is not seen: take {instead}; or `tg.nn.{kind.removesuffix('Cell')}`, whose time steps a tg Ledger shows"
    )
