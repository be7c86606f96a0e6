"""twin: a network of PyTorch as a network of tinygrad_vg with the same weights."""

from typing import Any

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.bridges.torch.calls import Call, called, copied, probe_of, set_mild
from tinygrad_vg.bridges.torch.comparing import compare
from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.layers import MAKERS, Shared, check_numbers, is_layer, own, tensors_of
from tinygrad_vg.bridges.torch.steps import Around, Residual, Step, name_in, put, steps_of

WRAPPERS = {  # modules around a network, and the attribute that holds the network
    "OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
}  # fmt: skip


def twin(net: Any, x: Any = None, *, trained: bool = False) -> nn.Module:
    """A network of tinygrad_vg that computes what a network of PyTorch computes, with copies of its weights.

    The twin works with all instruments and drawings: its outputs and gradients are those of `net`, to rounding. Names
    of modules and parameters are those of `net`, and so are dtypes, `requires_grad`, and whether a module is in
    training or evaluation. A module or parameter that is at two places in `net` is at two places in the twin. Hooks
    are not copied. `into` copies the weights back.

    A `Sequential` becomes an `nn.Sequential`. So does a module of your own whose `forward` calls modules one after the
    other. Where it adds what came before, as in x + self.body(x), those calls become an `nn.Residual`. Whether a
    `forward` does this and no more is not guessed. The twin and a copy of `net`, both with the same random weights,
    compute outputs and gradients of random inputs in float64, in training and in evaluation, and `twin` raises
    TypeError if they differ.

    Args:
        net: a `torch.nn.Module`, not changed. Its layers are those of PyTorch that `tg.nn` has too, with parameters in
            float32 or float64.
        x: a batch, of which only the shape is used. It is needed where the shape is not known from the first layer,
            as for images.
        trained: whether the network has been trained. PyTorch does not tell; a trained network has no forecast in
            `diagnose`.

    Returns:
        A Sequential, or a layer if `net` is a single one.

    Raises:
        TypeError: if `net` computes something that a twin cannot, or is no network of PyTorch. The message says what
            to write.
        ValueError: if the shape of the inputs is not known, or not one that `net` takes.
        ModuleNotFoundError: if PyTorch is missing.

    >>> import torch
    >>> from tinygrad_vg.bridges.torch import twin
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    >>> ours = twin(net)
    >>> ours
    Sequential(
      (0): Linear(3, 4)
      (1): Tanh()
      (2): Linear(4, 1)
    )
    >>> x = torch.randn(5, 3)
    >>> bool(np.allclose(ours(x.numpy()).data, net(x).detach().numpy(), atol=1e-6))
    True
    """
    check(net)
    rng = np.random.default_rng(0)
    with pytorch().inference_mode(False):  # there, nothing would have gradients that could be compared
        theirs = copied(net)
        set_mild(theirs.train().requires_grad_(True), rng)
        probe = probe_of(theirs, x, rng)
        ours = Twin(net, theirs, trained).of(called(theirs, probe))
        check_whole(net, ours)
        compare(theirs, ours, probe.shape, rng)
    return ours


def check(net: Any) -> None:
    """Raise TypeError if something is no network of PyTorch, or a wrapper around one, or of what no twin can be."""
    torch = pytorch()
    if not isinstance(net, torch.nn.Module):
        raise TypeError(f"twin takes a torch.nn.Module, not {type(net).__name__}")
    for name, tensor in tensors_of(net).items():
        check_numbers(tensor, name)
    for name, module in net.named_modules():
        kind = type(module).__name__
        if kind in WRAPPERS:
            instead = f"net.{name} = net.{name}.{WRAPPERS[kind]}" if name else f"twin(net.{WRAPPERS[kind]})"
            raise TypeError(f"{title_of(module, name)} is a wrapper around a network: write {instead}")
        if hasattr(module, "parametrizations"):
            raise TypeError(f"{kind} computes its weights: torch.nn.utils.parametrize.remove_parametrizations makes "
                            "parameters of them")  # fmt: skip
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(f"{kind} is compiled, and its calls cannot be followed: write twin of the module itself")
        if next(iter(own(module)), None) is not None:
            check_known(module, title_of(module, name))


def check_known(module: Any, title: str) -> None:
    """Raise TypeError if a module is one of PyTorch's that tinygrad_vg has not."""
    is_theirs = type(module).__module__.startswith("torch.") and not isinstance(module, pytorch().nn.Sequential)
    if is_theirs and not is_layer(module):
        raise TypeError(f"twin of {title}: tinygrad_vg has no such module; of PyTorch's it has "
                        f"{', '.join(sorted(MAKERS))}")  # fmt: skip


def title_of(module: Any, name: str) -> str:
    """The class of a module and its name in the network; the network itself has none."""
    return f"{type(module).__name__} {name!r}" if name else type(module).__name__


def check_whole(net: Any, ours: nn.Module) -> None:
    """Raise TypeError if a parameter or buffer of a network is missing in its twin."""
    tensors = tensors_of(net)
    held = {id(tensors[tensor.name]) for tensor in [*ours.parameters(), *ours.buffers()] if tensor.name}
    if left := [name for name, tensor in tensors.items() if id(tensor) not in held]:
        raise TypeError(
            f"{', '.join(left)} of {type(net).__name__} belong to no layer that its forward calls, so the twin would "
            "not have them: write twin of the part of the network that needs no such parameters, or remove them"
        )


class Twin:
    """The modules of a twin, made from the calls of a network.

    Args:
        net: the network of PyTorch.
        copy_of_net: the copy that was called.
        is_trained: what its parameters say of themselves.
    """

    def __init__(self, net: Any, copy_of_net: Any, is_trained: bool) -> None:
        self._originals = dict(zip(copy_of_net.modules(), net.modules(), strict=True))
        self._names = {module: name for name, module in net.named_modules()}
        self._shared = Shared(net, is_trained)
        self._made: dict[Any, nn.Module] = {}

    def of(self, call: Call) -> nn.Module:
        """The module for a call; for another call of the same module the same one.

        Raises:
            TypeError: if there can be none.
        """
        module = self._originals[call.module]
        if module not in self._made:
            self._made[module] = self._layer(call) if is_layer(module) else self._block(call)
            self._made[module].training = module.training
        return self._made[module]

    def _layer(self, call: Call) -> nn.Module:
        module = self._originals[call.module]
        try:
            return self._shared.made(module, call.x.ndim if call.x is not None else 0)
        except (TypeError, ValueError) as error:
            raise TypeError(f"twin of {self._title(module)}: {error}") from error

    def _block(self, call: Call) -> nn.Module:
        module = self._originals[call.module]
        check_known(module, self._title(module))
        steps = steps_of(call, self._title(module))
        if len(steps) == 1 and isinstance(steps[0], Around):
            return self._filled(Residual(), steps[0].steps, call.module)
        return self._filled(nn.Sequential(), steps, call.module)

    def _filled(self, container: nn.Module, steps: list[Step], inside: Any) -> nn.Module:
        """A container with the modules of some steps, which are calls inside a module of PyTorch."""
        parts = [("residual", self._filled(Residual(), step.steps, inside)) if isinstance(step, Around)
                 else (name_in(inside, step.module), self.of(step)) for step in steps]  # fmt: skip
        container.training = self._originals[inside].training
        return put(container, parts)

    def _title(self, module: Any) -> str:
        return title_of(module, self._names[module])
