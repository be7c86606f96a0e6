"""Softmax and LogSoftmax: rows of numbers as probabilities, and their logarithms."""

from typing import Any

from tinygrad_vg.engine import ops
from tinygrad_vg.nn.module import Module


class Softmax(Module):
    """exp(z)/Σ exp(z) over an axis: probabilities that add up to 1.

    For training take the logits themselves and CrossEntropyLoss, which is more exact.

    Args:
        axis: the axis of the classes, counted from the end because an ensemble has one more axis in front; PyTorch's
            dim.

    Raises:
        ValueError: if the axis counts from the front.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Softmax()(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    def __init__(self, axis: int = -1) -> None:
        if axis >= 0:
            raise ValueError(
                f"the axis of the classes counts from the end, because an ensemble has one more axis in front: "
                f"-1 is the last axis; got {axis}"
            )
        self.axis = axis

    def forward(self, z: Any) -> Any:
        """The probabilities, of the shape of z."""
        return ops.softmax(z, axis=self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """z − log Σ exp(z) over an axis: the logarithms of the probabilities, for NLLLoss.

    The arguments are those of Softmax.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.LogSoftmax()(np.array([[1000.0, 0.0]]))
    array([[    0., -1000.]])
    """

    def forward(self, z: Any) -> Any:
        """The logarithms, of the shape of z."""
        return ops.log_softmax(z, axis=self.axis)
