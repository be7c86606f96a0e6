"""Containers: modules made of other modules, and `mlp`, which makes the most frequent one."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, overload

import numpy as np

from tinygrad_vg.nn.activations import Sigmoid
from tinygrad_vg.nn.init import Rng
from tinygrad_vg.nn.linear import Linear
from tinygrad_vg.nn.module import Module


class Sequential(Module):
    """Modules one after the other; `net[i]` is the i-th, `net[:i]` the Sequential of those before it.

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
        for module in vars(self).values():  # as __iter__ does, whose generator would take longer than the modules
            if isinstance(module, Module):
                x = module(x)
        return x


class Residual(Module):
    """x + module(x): a path along which the gradient arrives as it is (He et al. 2015).

    Args:
        module: keeps the shape of x; of an ensemble it may put a member axis in front.

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
        y = self.module(x)
        if y.shape[-x.ndim :] != x.shape:  # (B, 1) would be stretched without a word
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
    """Linear, activation, Linear, ..., Linear: a multilayer perceptron. After the last Linear there is no activation.

    The network takes x of shape (..., B, sizes[0]) and gives (..., B, sizes[-1]). All layers draw from one generator,
    the first layer first.

    Args:
        sizes: numbers of neurons of the layers, the inputs' first: [784, 30, 10] has two Linears.
        activation: a class of modules, or a function without arguments that makes one: each place gets a fresh module.
        init: an initializer, called as `init(weight, rng=rng)` when its layer has been made; None leaves Linear's own.
        dtype: of the parameters.
        rng: a `np.random.Generator` to draw from, or a seed.

    Raises:
        ValueError: if there are less than two sizes, or one is no whole number above 0.
        TypeError: if `activation` is a module and not its class.

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
    sizes = list(sizes)
    if len(sizes) < 2 or not all(isinstance(size, Integral) and size > 0 for size in sizes):
        raise ValueError(f"mlp takes two or more whole numbers above 0, inputs first and outputs last, not {sizes}")
    if isinstance(activation, Module):
        raise TypeError(f"mlp makes a fresh activation for each place: give the class, not the module {activation!r}")
    rng = np.random.default_rng(rng)
    modules: list[Module] = []
    for n_in, n_out in pairwise(sizes):
        layer = Linear(n_in, n_out, dtype=dtype, rng=rng)
        if init is not None:
            init(layer.weight, rng=rng)
        modules += [layer, activation()]
    return Sequential(*modules[:-1])
