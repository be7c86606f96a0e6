"""Parameter and Buffer: the tensors of a module, trained and not trained."""

from typing import Any

from tinygrad_vg.engine import Tensor


class Parameter(Tensor):
    """A Tensor that belongs to a module and is trained: it requires gradients.

    Two parameters that share an array at first do not stay equal: a step gives each of them a new array. To tie
    weights, use one Parameter at both places.

    Attributes:
        is_trained: whether an optimizer has moved it, or it was loaded from a state. If so, the theory of networks at
            their initialization does not apply.

    >>> from tinygrad_vg import nn
    >>> nn.Parameter([0.0, 1.0])
    Parameter([0., 1.], requires_grad=True)
    """

    __slots__ = ("is_trained",)
    is_trained: bool

    def __init__(self, array: Any, requires_grad: bool = True, name: str | None = None) -> None:
        super().__init__(array, requires_grad, name)
        self.is_trained = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), (None, {"is_trained": self.is_trained}))


class Buffer(Tensor):
    """A Tensor that belongs to a module and is saved, loaded and stacked with it, but not trained: a running mean.

    Its array may have any dtype. A module updates it by `buffer.data = ...`.

    >>> from tinygrad_vg import nn
    >>> nn.Buffer([0.0, 1.0])
    Buffer([0., 1.])
    """

    __slots__ = ()

    def __init__(self, array: Any, name: str | None = None) -> None:
        super().__init__(array, False, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.name)
