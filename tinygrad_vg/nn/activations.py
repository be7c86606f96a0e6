"""Activations: elementwise functions, each with the facts that instruments use.

To write an activation of your own, derive a class that defines `function`, or `forward` if it has options or consists
of several operations:

>>> import numpy as np
>>> from tinygrad_vg import nn, ops
>>> class Sine(nn.Activation):
...     function = staticmethod(np.sin)
...     symbol = "sin"
...     largest_slope = 1.0
>>> class Bent(nn.Activation):
...     largest_slope = 1.0
...     def __init__(self, below=0.01):
...         self.below = below
...     def forward(self, z):
...         return ops.relu(z) - self.below * ops.relu(-z)
>>> Bent(0.1)(np.array([-1.0, 2.0]))
array([-0.1,  2. ])
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Union

import numpy as np

from tinygrad_vg.engine import ModuleCall, Tensor, calls, ops
from tinygrad_vg.nn.module import Module

SATURATED = 0.06  # a slope below this share of the largest


class Activation(Module):
    """Base of the activations: y = φ(z), elementwise, for z of any shape.

    The facts of an activation are `symbol`, `largest_slope` and `saturated`. A subclass inherits them. A subclass that
    computes another function than its base must define its own facts, or derive from Activation.

    Attributes:
        function: φ, a staticmethod that takes arrays and Tensors; it becomes `forward`.
        symbol: how pictures and factors write φ.
        largest_slope: max |φ′|; nan where it is not known.

    >>> from tinygrad_vg import nn
    >>> nn.Sigmoid.symbol, nn.Sigmoid.largest_slope
    ('σ', 0.25)
    """

    function: ClassVar[Any]
    symbol: str = "φ"
    largest_slope: float = math.nan

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        function = vars(cls).get("function")
        if isinstance(function, staticmethod):
            _BY_FUNCTION.setdefault(function.__func__, cls)
            if "forward" not in vars(cls):
                cls.forward = function  # type: ignore[method-assign]  # a method that calls it would take more time

    @staticmethod
    def saturated(y: Any) -> Any:
        """Which elements of an output y, an array, have a slope below 6 % of the largest slope; None if not known.

        >>> import numpy as np
        >>> from tinygrad_vg import nn
        >>> nn.Tanh.saturated(np.array([0.0, -0.99]))
        array([False,  True])
        """
        return None

    @staticmethod
    def of(tensor: Tensor) -> Union["Activation", type["Activation"], None]:
        """The activation that made a Tensor: the module that was called, or the class whose `function` was called.

        It is None if no activation made the Tensor, or the call was not recorded.

        >>> from tinygrad_vg import nn, ops, Tensor
        >>> nn.Activation.of(ops.sigmoid(Tensor(0.0, requires_grad=True)))
        <class 'tinygrad_vg.nn.activations.Sigmoid'>
        """
        call = Activation.call_of(tensor)
        if call is not None:
            return call.module  # type: ignore[no-any-return]
        return _BY_FUNCTION.get(tensor.node.function) if tensor.node else None

    @staticmethod
    def call_of(tensor: Tensor) -> ModuleCall | None:
        """The call of the activation that returned a Tensor, also inside other modules; None if there was none.

        >>> from tinygrad_vg import nn
        >>> y = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Tanh()))([[0.0]])
        >>> nn.Activation.call_of(y).module
        Tanh()
        """
        of_activations = [call for call in calls(tensor) if isinstance(call.module, Activation)]
        # Identity returns its input unchanged, and its call has no inputs: there may be another call.
        return next((call for call in of_activations if call.inputs), next(iter(of_activations), None))


_BY_FUNCTION: dict[Callable[..., Any], type[Activation]] = {}


class Sigmoid(Activation):
    """σ(z) = 1/(1 + exp(−z)), elementwise. Its slope is at most 1/4, so each layer of sigmoids can shrink a gradient.

    >>> from tinygrad_vg import nn
    >>> float(nn.Sigmoid()(0.0))
    0.5
    """

    function = staticmethod(ops.sigmoid)
    symbol = "σ"
    largest_slope = 1 / 4

    @staticmethod
    def saturated(y: Any) -> Any:
        return np.abs(y - 0.5) > 0.485


class Tanh(Activation):
    """tanh z, elementwise. Its slope is at most 1.

    >>> from tinygrad_vg import nn
    >>> float(nn.Tanh()(0.0))
    0.0
    """

    function = staticmethod(np.tanh)
    symbol = "tanh"
    largest_slope = 1.0

    @staticmethod
    def saturated(y: Any) -> Any:
        return np.abs(y) > 0.97


class ReLU(Activation):
    """max(z, 0), elementwise. The slope at 0 is taken as 0.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    function = staticmethod(ops.relu)
    symbol = "relu"
    largest_slope = 1.0

    @staticmethod
    def saturated(y: Any) -> Any:
        return y == 0


class Softplus(Activation):
    """log(1 + exp(z)), elementwise: a smooth ReLU, with the slope σ(z).

    >>> from tinygrad_vg import nn
    >>> round(float(nn.Softplus()(0.0)), 4)
    0.6931
    """

    function = staticmethod(ops.softplus)
    symbol = "softplus"
    largest_slope = 1.0

    @staticmethod
    def saturated(y: Any) -> Any:
        return -np.expm1(-y) < 0.06  # σ(z) = 1 − exp(−y)


class Identity(Activation):
    """x itself. A network of Linears with Identity between them is a product of matrices.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Identity()(np.array([-1.0, 2.0]))
    array([-1.,  2.])
    """

    symbol = ""
    largest_slope = 1.0

    @staticmethod
    def function(x: Any) -> Any:
        """x itself, not a copy.

        >>> from tinygrad_vg import nn
        >>> nn.Identity.function("anything")
        'anything'
        """
        return x

    @staticmethod
    def saturated(y: Any) -> Any:
        return np.zeros(np.shape(y), bool)
