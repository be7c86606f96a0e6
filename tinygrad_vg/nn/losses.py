"""Losses: modules that are called as `loss(input, target)`, with PyTorch's `reduction=`.

* "none" returns one value per element, or per sample for CrossEntropyLoss.
* "sum" returns the sum of these values.
* "mean" returns the sum divided by the number of values of the target.
* "batchmean" returns the sum divided by the number of samples of the target. This is Nielsen's cost: a sum over the
  output neurons and a mean over the mini-batch.

Because the numbers are counted in the *target*, an input with a member axis that the target does not have is summed
over the members, and the gradient of each member is that of the member's own cost. If each member has its own targets,
(R, B, out), use "none" or "sum" and divide the result: the loss cannot tell R from B by the shape. CrossEntropyLoss
refuses such targets, for there it cannot tell R from the classes either.
"""

from math import prod
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, differentiable, ops
from tinygrad_vg.engine.arrays import as_array
from tinygrad_vg.engine.kernels import scalar
from tinygrad_vg.nn.module import Module

_REDUCTIONS = ("none", "sum", "mean", "batchmean")


class Loss(Module):
    """Base of the losses. A subclass defines `forward` and ends it with `reduce`.

    Args:
        reduction: "none", "sum", "mean" or "batchmean"; see the module's docstring.

    Raises:
        ValueError: for another reduction.

    >>> import numpy as np, tinygrad_vg as tg
    >>> from tinygrad_vg.nn.losses import Loss, like
    >>> class L1Loss(Loss):
    ...     def forward(self, input, target):
    ...         target = like(target, input)
    ...         return self.reduce(np.abs(input - target), target.shape)
    >>> L1Loss("sum")(tg.Tensor([1.0, 2.0]), np.array([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction is one of {', '.join(_REDUCTIONS)}, not {reduction!r}")
        self.reduction = reduction

    def divisor(self, counted: tuple[int, ...]) -> int:
        """The number by which the sum of all values is divided; `counted` is the target's shape."""
        if self.reduction == "sum":
            return 1
        return prod(counted) if self.reduction == "mean" else counted[0] if counted else 1

    def reduce(self, values: Any, counted: tuple[int, ...]) -> Any:
        """Reduce values of shape (..., *counted), where `counted` is the target's shape."""
        return values if self.reduction == "none" else divided_sum(values, self.divisor(counted))

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


def like(target: Any, input: Any) -> Any:
    """The target in the input's dtype, after a check of its shape.

    The target must have the input's shape, or the input's shape without leading axes such as the member axis.

    Raises:
        ValueError: if the shapes do not match. Labels (10,) are refused for an input (10, 10), though they would
            broadcast.
        TypeError: if the target holds complex numbers.
    """
    dtype = input.dtype if input.dtype.kind == "f" else None
    if not isinstance(target, Tensor):
        target = as_array(target, dtype)
    elif not target.requires_grad and target.dtype.kind != "c" and dtype not in (None, target.dtype):
        target = target.astype(dtype)
    if target.dtype.kind == "c":
        raise TypeError(f"a target holds real numbers, not {target.dtype}; write .real or abs()")
    if target.shape != input.shape and not ops.goes_with(target.shape, input.shape):
        raise ValueError(
            f"a target of shape {target.shape} does not match an input of shape {input.shape}; "
            "np.eye(classes)[indices] makes rows of class indices; an ensemble's output keeps its last axis"
        )
    return target


class MSELoss(Loss):
    """(input − target)², elementwise, then reduced.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> nn.MSELoss()(Tensor([1.0, 2.0]), np.array([1.0, 4.0])).item()
    2.0
    """

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input (..., B, out) for a target of the same shape, or of that shape without leading axes.

        Raises:
            ValueError: if the shapes do not match.
        """
        target = like(target, input)
        return self.reduce(np.square(input - target), target.shape)


class BCEWithLogitsLoss(Loss):
    """Nielsen's cross-entropy of sigmoid outputs, −Σ t ln a + (1−t) ln(1−a) with a = σ(input), from the logits.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> round(nn.BCEWithLogitsLoss("batchmean")(Tensor(np.zeros((5, 2))), np.ones((5, 2))).item(), 4)
    1.3863
    """

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logits (..., B, out) for a target of the same shape, or of that shape without leading axes.

        Raises:
            ValueError: if the shapes do not match.
        """
        target = like(target, input)
        if self.reduction == "none":
            return ops.binary_cross_entropy_with_logits(input, target)
        return divided_binary_cross_entropy(input, target, self.divisor(target.shape))


class CrossEntropyLoss(Loss):
    """−ln softmax(input)[target], one value per sample, then reduced.

    `input` is (B, C), or (R, B, C) from an ensemble. `target` holds class indices (B,), as integers, or probabilities
    (B, C). The classes are on the last axis. PyTorch has them on axis 1; if all axes have one length, the shapes do
    not tell which was meant. Therefore a target with more axes is refused here, and `ops.cross_entropy` takes it.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> round(nn.CrossEntropyLoss()(Tensor(np.zeros((3, 4))), np.array([0, 1, 3])).item(), 4)
    1.3863
    """

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logits (..., B, C).

        Args:
            input: the logits.
            target: class indices (B,), which are integers, or probabilities (B, C).

        Raises:
            ValueError: if the shapes do not match, a target has more axes than one batch, there is only one class, or a
                class index is not between 0 and C − 1.
        """
        if not isinstance(target, Tensor):
            target = as_array(target)
        if input.shape[-1:] == (1,):
            raise ValueError(
                "the softmax of one class is 1 whatever the logit; BCEWithLogitsLoss takes a single output"
            )
        if target.dtype.kind not in "iu":
            target = like(target, input)
            self._flat(target, 2)
            return self.reduce(ops.cross_entropy(input, target), target.shape[:-1])
        if target.shape != input.shape[input.ndim - 1 - target.ndim : -1]:
            raise ValueError(
                f"class indices of shape {target.shape} do not match an input of shape {input.shape}; "
                "an integer target holds class indices: pass probabilities, also rows of zeros and ones, as floats"
            )
        self._flat(target, 1)
        return self.reduce(ops.cross_entropy(input, target), target.shape)

    def _flat(self, target: Any, axes: int) -> None:
        """Raise ValueError for a target of more axes than one batch has."""
        if target.ndim > axes:
            raise ValueError(
                f"a target of shape {target.shape} has more axes than class indices (B,) or probabilities (B, C); "
                "write np.mean(ops.cross_entropy(input, target)), with the classes on the last axis: "
                "np.moveaxis(input, 1, -1) puts PyTorch's there"
            )


def by_count(g: Any, n: int) -> Any:
    """g / n. Numbers above 65,504 are no float16; their inverses are."""
    return g / scalar(n, g.dtype) if n < 65_504 else g * (1 / n)


@differentiable(lambda g, y, a, n: np.zeros(np.shape(a), g.dtype) + by_count(g, n), None)
def divided_sum(a: Any, n: int) -> Any:
    """Σa / n over all elements of a, where n need not be their number."""
    if a.dtype.char == "e":  # float16 ends at 65,504
        return np.asarray(np.add.reduce(a, axis=None, dtype=np.float32) / n, a.dtype)
    return np.add.reduce(a, axis=None) / n


@differentiable(
    lambda g, y, z, target, n: by_count(g, n) * ops.sigmoid_error(z, target),
    lambda g, y, z, target, n: -by_count(g, n) * z,
    None,
)
def divided_binary_cross_entropy(z: Any, target: Any, n: int) -> Any:
    """`divided_sum` of the binary cross-entropy, as one operation: two would take longer on a small layer."""
    return divided_sum(ops.binary_cross_entropy(z, target), n)
