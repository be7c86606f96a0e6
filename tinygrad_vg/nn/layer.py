"""Layer: base of the modules that compute z from inputs and weights, which the instruments take for layers."""

from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Parameter


class Layer(Module):
    """Base of Linear and Conv2d: z = weight applied to x, plus a bias. Instruments number these modules.

    Attributes:
        weight: the weights, (out, ...): a matrix, or filters.
        bias: one number for each output, (out,), or None.

    >>> from tinygrad_vg import nn
    >>> nn.Conv2d(3, 8, 5).width, nn.Linear(784, 30).width
    ((3, 8), (784, 30))
    """

    weight: Parameter
    bias: Parameter | None

    @property
    def width(self) -> tuple[int, int]:
        """The numbers of inputs and of outputs: features, or channels.

        Raises:
            NotImplementedError: if the class does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} is a Layer and defines no width (inputs, outputs)")
