"""Parameter and Buffer: the tensors of a module, trained and not trained."""

from typing import Any, ClassVar

from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.recording import recording


class Parameter(Tensor):
    """A Tensor that belongs to a module and is trained: it requires gradients.

    Two parameters that share an array at first do not stay equal: a step gives each of them a new array. To tie
    weights, use one Parameter at both places.

    Attributes:
        is_trained: whether an optimizer has updated it, or it was loaded from a state. If so, the theory of networks at
            their initialization does not apply.
        input_axes: the number of last axes of a weight that count the inputs of an output: 1 for (..., out, in).
        members: R for a parameter that `nn.stack` has made of R parameters; 0 for a single network.

    >>> from tinygrad_vg import nn
    >>> nn.Parameter([0.0, 1.0])
    Parameter([0., 1.], requires_grad=True)
    """

    __slots__ = ("is_trained", "members")
    is_trained: bool
    input_axes: ClassVar[int] = 1
    members: int

    def __init__(self, array: Any, requires_grad: bool = True, name: str | None = None) -> None:
        super().__init__(array, requires_grad, name)
        self.is_trained = False
        self.members = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), (None, {"is_trained": self.is_trained, "members": self.members}))


class Filters(Parameter):
    """The weights of a convolution, (..., out, in, height, width): initializers count in · height · width inputs.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.fans(nn.Filters(np.zeros((8, 3, 5, 5))))
    (75, 200)
    """

    __slots__ = ()
    input_axes = 3


class Buffer(Tensor):
    """A Tensor that is saved, loaded and stacked with its module but not trained, such as a running mean.

    Its array may have any dtype. A module updates it by `assign`; `buffer.data = ...` does the same, but a compiled
    step refuses it.

    >>> from tinygrad_vg import nn
    >>> nn.Buffer([0.0, 1.0])
    Buffer([0., 1.])
    """

    __slots__ = ()

    def __init__(self, array: Any, name: str | None = None) -> None:
        super().__init__(array, False, name)

    def assign(self, value: Tensor) -> None:
        """Set `data` to the array of a Tensor, which may have been computed from this buffer, in the buffer's dtype.

        A compiled step may contain it.

        Raises:
            ValueError: if the value has another shape.

        >>> import numpy as np
        >>> from tinygrad_vg import nn
        >>> mean = nn.Buffer(np.zeros(2))
        >>> mean.assign(0.5 * mean + 1.0)
        >>> mean
        Buffer([1., 1.])
        """
        if value.shape != self.shape:
            raise ValueError(f"a buffer of shape {self.shape} cannot be set to a value of shape {value.shape}")
        value = value if value.dtype == self.dtype else value.astype(self.dtype)
        if recording.trace is not None:
            recording.trace.assigned(self, value)
        else:
            self.data = value.data

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.name)
