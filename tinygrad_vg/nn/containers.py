"""Containers: modules made of other modules, and `mlp`, which makes a multilayer perceptron."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, Self, overload

import numpy as np

from tinygrad_vg.nn.activations import Sigmoid
from tinygrad_vg.nn.init import Rng
from tinygrad_vg.nn.linear import Linear
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Parameter
from tinygrad_vg.nn.twins import warn_of_twins


class Sequential(Module):
    """Modules applied one after the other; `net[i]` is module i, `net[:i]` the Sequential of those before it.

    Raises:
        TypeError: if an argument is not a module.

    >>> from tinygrad_vg import nn
    >>> nn.Sequential(nn.Linear(784, 30), nn.Sigmoid(), nn.Linear(30, 10))
    Sequential(
      (0): Linear(784, 30)
      (1): Sigmoid()
      (2): Linear(30, 10)
    )
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential takes modules; argument {i} is {module!r}")
            setattr(self, str(i), module)
        warn_of_twins(p for module in dict.fromkeys(modules) for p in vars(module).values() if isinstance(p, Parameter))

    def __iter__(self) -> Iterator[Module]:
        return (module for module in vars(self).values() if isinstance(module, Module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> Module:
        modules = list(self)
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]

    def forward(self, x: Any) -> Any:
        """The output of the last module; each module is applied to the output of the one before."""
        for module in vars(self).values():  # not __iter__: its generator would take longer than the modules
            if isinstance(module, Module):
                x = module(x)
        return x


class ModuleList(Module):
    """A list of modules that a module of your own calls in its `forward`; their names are "0", "1" and so on.

    A plain list as an attribute works as well, and names its modules in the same way; a ModuleList refuses anything
    that is not a module.

    Args:
        modules: the modules of the list.

    Raises:
        TypeError: if an element is not a module.
        IndexError: if there is no such element.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> class Blocks(nn.Module):
    ...     def __init__(self):
    ...         self.blocks = nn.ModuleList(nn.Linear(3, 3, rng=seed) for seed in range(2))
    ...     def forward(self, x):
    ...         for block in self.blocks:
    ...             x = x + block(x)
    ...         return x
    >>> [name for name, _ in Blocks().named_parameters()]
    ['blocks.0.weight', 'blocks.0.bias', 'blocks.1.weight', 'blocks.1.bias']
    >>> nn.ModuleList([nn.Tanh()]).append(nn.ReLU())[1]
    ReLU()
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "ModuleList": ...
    def __getitem__(self, index: int | slice) -> "Module | ModuleList":
        modules = list(self)
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, str(range(len(self))[index]), checked(module))

    def append(self, module: Module) -> Self:
        """Add a module at the end, and return the list."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end, and return the list.

        >>> from tinygrad_vg import nn
        >>> [*nn.ModuleList([nn.Tanh()]).extend([nn.ReLU(), nn.Sigmoid()])]
        [Tanh(), ReLU(), Sigmoid()]
        """
        for i, module in enumerate([checked(module) for module in modules], len(self)):
            setattr(self, str(i), module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Insert a module before the one at this index, as `list.insert` does.

        >>> from tinygrad_vg import nn
        >>> modules = nn.ModuleList([nn.Tanh(), nn.ReLU()])
        >>> modules.insert(1, nn.Sigmoid())
        >>> [*modules]
        [Tanh(), Sigmoid(), ReLU()]
        """
        modules = list(self)
        modules.insert(index, checked(module))
        for i, each in enumerate(modules):
            setattr(self, str(i), each)


def checked(module: Any) -> Module:
    """The module; TypeError if it is not one."""
    if not isinstance(module, Module):
        raise TypeError(f"ModuleList takes modules, not {module!r}")
    return module


class Residual(Module):
    """x + module(x): the gradient also passes around the module, unchanged (He et al. 2015).

    Args:
        module: a module that returns the shape of x; in an ensemble, that shape with a member axis in front.

    Raises:
        TypeError: if `module` is not a module.
        ValueError: in a call, if the module returns another shape.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Residual(nn.ReLU())(np.array([-1.0, 2.0]))
    array([-1.,  4.])
    """

    def __init__(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"Residual takes a module, not {module!r}")
        self.module = module

    def forward(self, x: Any) -> Any:
        """x + module(x), of the shape of module(x)."""
        y = self.module(x)
        if y.shape[-x.ndim :] != x.shape:  # NumPy would broadcast (B, 1) silently
            raise ValueError(f"{type(self.module).__name__} made {y.shape} of {x.shape}; x + module(x) needs its shape")
        return x + y


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], Module] = Sigmoid,
    *,
    init: Callable[..., Any] | None = None,
    dtype: Any = np.float64,
    rng: Rng = None,
) -> Sequential:
    """A multilayer perceptron: Linear, activation, Linear, ..., Linear. No activation follows the last Linear.

    The network takes x of shape (..., B, sizes[0]) and returns (..., B, sizes[-1]). All layers sample their parameters
    from one generator, the first layer first.

    Args:
        sizes: the number of inputs, then the number of neurons of each layer: [784, 30, 10] has two Linears.
        activation: a class of modules, or a function without arguments that makes a module; it is called once for each
            activation.
        init: an initializer, called as `init(weight, rng=rng)` for each layer; by default the weights are Linear's own.
        dtype: the dtype of the parameters.
        rng: a `np.random.Generator` to sample from, or a random seed.

    Raises:
        ValueError: if there are fewer than two sizes, or one is not a whole number above 0.
        TypeError: if `sizes` is no list, or `activation` is a module or a name and not a class.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> net = nn.mlp([784, 30, 10], nn.Tanh, init=nn.init.xavier_normal_, rng=0)
    >>> net
    Sequential(
      (0): Linear(784, 30)
      (1): Tanh()
      (2): Linear(30, 10)
    )
    >>> net(np.zeros((5, 784))).shape
    (5, 10)
    """
    if isinstance(sizes, Integral):
        raise TypeError(f"mlp takes all sizes in one list: write mlp([{sizes}, 30, 10]) for a hidden layer of 30")
    sizes = list(sizes)
    if len(sizes) < 2 or not all(isinstance(size, Integral) and size > 0 for size in sizes):
        raise ValueError(f"mlp takes two or more whole numbers above 0, inputs first and outputs last, not {sizes}")
    if isinstance(activation, Module):
        raise TypeError(f"mlp makes a new activation for each place: give the class, not the module {activation!r}")
    if not callable(activation):
        raise TypeError(f"mlp takes the class of an activation, such as nn.ReLU, and not {activation!r}")
    rng = np.random.default_rng(rng)
    modules: list[Module] = []
    for n_in, n_out in pairwise(sizes):
        layer = Linear(n_in, n_out, dtype=dtype, rng=rng)
        if init is not None:
            init(layer.weight, rng=rng)
        modules += [layer, activation()]
    return Sequential(*modules[:-1])
