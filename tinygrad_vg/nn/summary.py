"""`summary`: what a network makes of an input, module by module."""

import inspect
from contextlib import ExitStack
from typing import Any

import numpy as np

from tinygrad_vg.engine import no_grad
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.outline import outline
from tinygrad_vg.tables import TextTable


def summary(network: Module, *inputs: Any) -> TextTable:
    """The modules of a network with the shapes of their outputs and the numbers of their parameters, as a table.

    The network is called once, in evaluation mode and without recording. So running means do not move, and Dropout
    draws nothing.

    Args:
        network: a module.
        inputs: what the network is called with: a batch of data, and not its shape.

    Returns:
        A table: `print` shows plain text, Rich and a notebook show a table. A module that is called several times has
        "×" with the number of calls, and the shape of the first; one that is not called has no shape.

    Raises:
        TypeError: if there is no input, or a shape in place of one.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> print(nn.summary(nn.mlp([784, 30, 10], rng=0), np.zeros((5, 784))))
    Sequential of 23,860 parameters in float64, called with (5, 784)
    name  module           output   parameters
    0     Linear(784, 30)  (5, 30)      23,550
    1     Sigmoid()        (5, 30)
    2     Linear(30, 10)   (5, 10)         310
    """
    check_inputs(network, inputs)
    shapes: dict[Module, list[str]] = {}

    def note(module: Module, _: tuple[Any, ...], output: Any) -> None:
        shapes.setdefault(module, []).append(shape_of(output))

    modules = [module for _, module in network.named_modules()]
    modes = [module.training for module in modules]
    with ExitStack() as hooks, no_grad():
        for module in modules:
            hooks.enter_context(module.register_forward_hook(note))
        try:
            network.eval()
            network(*inputs)
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
    words = {module: found[0] + f" ×{len(found)}" * (len(found) > 1) for module, found in shapes.items()}
    table = outline(network, words, most=None)
    table.title += f", called with {', '.join(map(shape_of, inputs))}"
    return table


def check_inputs(network: Module, inputs: tuple[Any, ...]) -> None:
    """Raise TypeError if the network needs an input and gets none, or gets a shape, a tuple of ints."""
    for value in inputs:
        if isinstance(value, tuple) and value and all(isinstance(n, int | np.integer) for n in value):
            raise TypeError(f"summary takes an input, not a shape: write np.zeros({value}) in place of {value}")
    if inputs:
        return
    try:
        inspect.signature(network.forward).bind()
    except TypeError as error:
        words = "summary calls the network once, and there is no input: write summary(net, x) with a batch x, such as "
        raise TypeError(words + "images[:10], or np.zeros of its shape") from error


def shape_of(value: Any) -> str:
    """The shape of an array, or of each in a tuple.

    >>> import numpy as np
    >>> shape_of((np.zeros((2, 3)), (np.zeros(4), None)))
    '(2, 3), (4,)'
    """
    if isinstance(value, tuple | list) and any(hasattr(part, "shape") or isinstance(part, tuple) for part in value):
        return ", ".join(filter(None, map(shape_of, value)))
    return str(value.shape) if hasattr(value, "shape") else ""
