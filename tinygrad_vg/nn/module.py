"""Module: a function with parameters, made of other modules."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

import numpy as np

from tinygrad_vg.engine import HookHandle, Tensor
from tinygrad_vg.engine.instead import MODULE, advising
from tinygrad_vg.engine.recording import changes, recording
from tinygrad_vg.nn.nesting import STRIDE, levels_below, made
from tinygrad_vg.nn.outline import outline
from tinygrad_vg.nn.parameter import Buffer, Parameter
from tinygrad_vg.nn.twins import warn_of_twins

TOO_DEEP = (
    "modules call one another too deep for Python's stack: put them beside each other, as in Sequential(*modules), "
    "or raise the limit by sys.setrecursionlimit"
)

T = TypeVar("T", bound=Tensor)
ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]


@advising(MODULE)
class Module:
    """Base of all layers and networks. A subclass defines `forward` and keeps Parameters, Buffers and Modules.

    A module finds its parts in its attributes, and in lists, tuples and dicts among them. The name of a part consists
    of the attributes' names, joined by dots. Parts need not be registered, and a subclass need not call
    `super().__init__()`.

    Modules may be nested to any depth, but a call recurses: it raises RecursionError at a depth of about 300.

    Attributes:
        training: whether the module is being trained; `train` and `eval` set it.
        takes_members: whether `forward` accepts the parameters of an ensemble, (R, ...); `nn.stack` reads it. It holds
            for the `forward` of the class that sets it: a subclass that defines `forward` again must set it again.
        channels_first: whether the output is (B, channels, ...), as of Conv2d, or else (..., B, features).

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter(2.0)
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> Scale()(np.ones(2))
    Tensor([2., 2.], requires_grad=True)
    >>> net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)).eval()
    >>> [name for name, child in net.named_children()], net[0].extra_repr()
    (['0', '1'], '2, 1')
    >>> [name for name, parameter in net.named_parameters()], len([*net.parameters()])
    (['0.weight', '0.bias', '1.weight', '1.bias'], 4)
    >>> [name for name, buffer in net.named_buffers()], len([*net.buffers()])
    (['1.running_mean', '1.running_var', '1.num_batches_tracked'], 3)
    >>> net.zero_grad()
    >>> net.train().training
    True
    """

    training = True
    takes_members = False
    channels_first = False
    _forward_hooks: dict[int, ForwardHook] | None = None

    def forward(self, *args: Any) -> Any:
        """What the module computes; `module(...)` calls it. Every subclass defines its own.

        Raises:
            TypeError: if the class does not define it.
        """
        raise TypeError(f"{type(self).__name__} has no forward(): define what the module computes")

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        try:
            output = self.forward(*args, **kwargs)
        except RecursionError as error:
            if TOO_DEEP in error.args:
                raise
            raise RecursionError(TOO_DEEP) from None
        if recording.trace is not None:
            recording.trace.called(self, (*args, *kwargs.values()), output)
        elif self._forward_hooks:
            arguments = (*args, *kwargs.values()) if kwargs else args
            for key, hook in tuple(self._forward_hooks.items()):
                if key not in self._forward_hooks:  # another hook has just taken it off
                    continue
                replacement = hook(self, arguments, output)
                output = output if replacement is None else replacement
        if isinstance(output, Tensor) and output.node is not None:
            # The output remembers this call. The call must not hold the output, as Identity's would: that is a cycle.
            if kwargs or len(args) != 1:
                args = tuple([given for given in (*args, *kwargs.values()) if given is not output])
            elif args[0] is output:
                args = ()
            output.call = (self, args, output.call)
        return output  # type: ignore[no-any-return]  # of most modules a Tensor; a checker takes it for one

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        if isinstance(held, Parameter | Buffer) and not isinstance(value, Parameter | Buffer | None):
            kind = "Parameter" if isinstance(held, Parameter) else "Buffer"
            raise TypeError(
                f"{name!r} of {type(self).__name__} is a {kind}, and a value of type {type(value).__name__!r} would be "
                f"neither trained nor saved; write .{name}.data = array, or .{name} = nn.{kind}(array)"
            )
        object.__setattr__(self, name, value)
        changes.count += 1

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changes.count += 1

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Call `hook(module, args, output)` after every forward. The hook returns None, or a new output.

        Arguments given by keyword come after the others, in the order of the call.

        A hook that needs the gradient of the output registers a hook on that tensor: `output.register_hook(...)`.

        Returns:
            A handle: `handle.remove()`, or use it as a context manager.

        Raises:
            TypeError: if `hook` is not callable.

        >>> import numpy as np
        >>> from tinygrad_vg import nn
        >>> layer = nn.Linear(3, 2, rng=0)
        >>> with layer.register_forward_hook(lambda module, args, output: print(module, output.shape)):
        ...     _ = layer(np.zeros((5, 3)))
        Linear(3, 2) (5, 2)
        """
        if self._forward_hooks is None:
            self._forward_hooks = {}
        return HookHandle(self._forward_hooks, hook)

    def register_buffer(self, name: str, array: Any) -> None:
        """Set the attribute `name` to a `Buffer` of this array; the same as `self.name = nn.Buffer(array)`.

        With None the attribute is None: there is no such buffer, and none is saved.

        >>> import numpy as np
        >>> from tinygrad_vg import nn
        >>> net = nn.Module()
        >>> net.register_buffer("running_mean", np.zeros(2))
        >>> net.state_dict()
        {'running_mean': array([0., 0.])}
        """
        setattr(self, name, array if array is None or isinstance(array, Buffer) else Buffer(array))

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules directly below this one, in the order in which they were set."""
        return ((name, value) for name, value in self._parts() if isinstance(value, Module))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """All attributes by name, and the elements of lists, tuples and dicts among them. Each container comes once."""
        unseen = [*vars(self).items()][::-1]
        seen: set[int] = set()
        while unseen:
            name, value = unseen.pop()
            if isinstance(value, list | tuple | dict):
                if id(value) in seen:
                    continue
                seen.add(id(value))
                items = value.items() if isinstance(value, dict) else enumerate(value)
                unseen += [(f"{name}.{key}", item) for key, item in items][::-1]
            else:
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module (named "") and all modules below it, each once and before its own parts.

        >>> from tinygrad_vg import nn
        >>> [name for name, module in nn.Sequential(nn.Linear(2, 1), nn.Residual(nn.Tanh())).named_modules()]
        ['', '0', '1', '1.module']
        """
        seen: set[int] = set()
        unseen = [(prefix, self)]
        while unseen:
            prefix, module = unseen.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield prefix, module
                below = [(f"{prefix}.{name}" if prefix else name, child) for name, child in module.named_children()]
                unseen += below[::-1]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters of this module and of those below it, with their dotted names. A shared one comes once."""
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers of this module and of those below it, with their dotted names. A shared one comes once."""
        return self._named(Buffer)

    def _named(self, *kinds: type[T]) -> Iterator[tuple[str, T]]:
        seen: set[Tensor] = set()
        for prefix, module in self.named_modules():
            for name, value in module._parts():
                if isinstance(value, kinds) and value not in seen:
                    seen.add(value)
                    yield f"{prefix}.{name}" if prefix else name, value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters of this module and of those below it, each once."""
        found = [parameter for _, parameter in self.named_parameters()]
        warn_of_twins(found)
        return iter(found)

    def buffers(self) -> Iterator[Buffer]:
        """All buffers of this module and of those below it, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def zero_grad(self) -> None:
        """Set the `.grad` of every parameter to None."""
        if recording.trace is not None:
            recording.trace.zeroing(self.parameters())
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Set `training` of this module and of all below it, and return this module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The same as `train(False)`."""
        return self.train(False)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the array of every parameter and buffer, by name.

        Raises:
            ValueError: if two of them have the same name.

        >>> from tinygrad_vg import nn
        >>> nn.LayerNorm(2).state_dict()
        {'weight': array([1., 1.]), 'bias': array([0., 0.])}
        """
        return {name: tensor.data.copy() for name, tensor in state_of(self).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set every parameter and buffer to a copy of the array of its name in `state`. Each keeps its own dtype.

        Raises:
            KeyError: if a name is missing in `state` or unknown here.
            ValueError: if a shape differs. In both cases the module is unchanged.

        >>> from tinygrad_vg import nn
        >>> layer, other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
        >>> layer.load_state_dict(other.state_dict())
        >>> bool((layer.weight.data == other.weight.data).all())
        True
        """
        tensors = state_of(self)
        missing, unknown = sorted(tensors.keys() - state.keys()), sorted(state.keys() - tensors.keys())
        if missing or unknown:
            raise KeyError(f"the state does not fit this module: missing {missing}, unknown {unknown}")
        arrays = {name: np.array(state[name], dtype=tensor.dtype) for name, tensor in tensors.items()}
        for name, array in arrays.items():
            if array.shape != tensors[name].shape:
                raise ValueError(f"{name} has shape {tensors[name].shape} here and {array.shape} in the state")
        for name, array in arrays.items():
            tensors[name].data = array
            if isinstance(parameter := tensors[name], Parameter):
                parameter.is_trained = True

    def __getstate__(self) -> dict[str, Any]:
        """Copy or pickle everything but the hooks."""
        return {name: value for name, value in vars(self).items() if name != "_forward_hooks"}

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle what lies `STRIDE` levels below before this module: pickle recurses, and has to go no deeper then."""
        reduced: Any = super().__reduce_ex__(protocol)
        if not (below := levels_below(self, STRIDE)):
            return reduced
        make, arguments, *rest = reduced
        return made, (make, arguments, below), *rest

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        """Copy from the inside out: a module finds copies of those inside it, however deep they are nested."""
        if Module not in memo:  # self is the outermost
            memo[Module] = self
            for _, module in [*self.named_modules()][:0:-1]:
                copy.deepcopy(module, memo)
            del memo[Module]
        twin = copy.copy(self)
        memo[id(self)] = twin
        for name, value in vars(twin).items():
            vars(twin)[name] = copy.deepcopy(value, memo)
        return twin

    def _repr_html_(self) -> str:
        return outline(self)._repr_html_()

    def extra_repr(self) -> str:
        """The text between the brackets of the module's repr."""
        return ""

    def __repr__(self) -> str:
        try:
            children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        except RecursionError:  # so deep inside nobody reads
            return f"{type(self).__name__}(...)"
        members = {part.members for _, part in self._parts() if isinstance(part, Parameter) and part.members}
        words = [self.extra_repr(), *(f"members={number}" for number in members)]
        inside = "\n  ".join(["", *children]) + "\n" if children else ", ".join(filter(None, words))
        return f"{type(self).__name__}({inside})"


def state_of(module: Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module and of those below it, by their dotted names: its state.

    Raises:
        ValueError: if two have the same name, as in an attribute {1: p, "1": q}.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in module._named(Parameter, Buffer):
        if name in state:
            raise ValueError(f"two parameters or buffers of {type(module).__name__} have the name {name!r}")
        state[name] = tensor
    return state
