"""Losses: modules that are called as `loss(input, target)`, with PyTorch's `reduction=`.

* "none" returns one value per element, or per sample for a loss of classes.
* "sum" returns the sum of these values.
* "mean" returns the sum divided by the number of values of the target.
* "batchmean" returns the sum divided by the number of samples of the target. This is Nielsen's cost: a sum over the
  output neurons and a mean over the mini-batch.

Because the numbers are counted in the *target*, an input with a member axis that the target does not have is summed
over the members, and the gradient of each member is that of the member's own cost. If each member has its own targets,
(R, B, out), use "none" or "sum" and divide the result: the loss cannot tell R from B by the shape. The losses of
classes, in `classification.py`, refuse such targets: they cannot tell R from the number of classes either.
"""

from functools import partial
from math import prod
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, differentiable, ops
from tinygrad_vg.engine.arrays import as_array
from tinygrad_vg.engine.operations import operation
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Buffer

_REDUCTIONS = ("none", "sum", "mean", "batchmean")


class Loss(Module):
    """Base of the losses. A subclass defines `forward` and ends it with `reduce`.

    Args:
        reduction: "none", "sum", "mean" or "batchmean"; see the module's docstring.

    Raises:
        ValueError: for another reduction.

    >>> import numpy as np, tinygrad_vg as tg
    >>> from tinygrad_vg.nn.losses import Loss, like
    >>> class FourthPower(Loss):
    ...     def forward(self, input, target):
    ...         target = like(target, input)
    ...         return self.reduce((input - target) ** 4, target.shape)
    >>> FourthPower("sum")(tg.Tensor([1.0, 2.0]), np.array([1.0, 4.0])).item()
    16.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction is one of {', '.join(_REDUCTIONS)}, not {reduction!r}")
        self.reduction = reduction

    def divisor(self, counted: tuple[int, ...]) -> int:
        """The number by which the sum of all values is divided; `counted` is the target's shape.

        >>> from tinygrad_vg import nn
        >>> [nn.MSELoss(reduction).divisor((5, 2)) for reduction in ("mean", "batchmean", "sum")]
        [10, 5, 1]
        """
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
            f"a target of shape {target.shape} does not match an input of shape {input.shape}; {hint(target, input)}"
        )
    return target


def hint(target: Any, input: Any) -> str:
    """What to write for a target of another shape than the input."""
    if input.shape == (*target.shape, 1):
        return "write target[:, None] for a column"
    if target.dtype.kind in "biu" or (target.ndim == 1 and target.shape == input.shape[-2:-1]):
        return "np.eye(classes)[indices] makes rows of class indices"
    if isinstance(target, Tensor) and target.node is not None and not getattr(input, "requires_grad", False):
        return "the input, with its gradient, comes first: cost(net(x), target)"
    return "both have a row for each sample, and the same last axis, also for an ensemble"


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


class L1Loss(Loss):
    """|input − target|, elementwise, then reduced; the slope where the two are equal is 0.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> nn.L1Loss()(Tensor([1.0, 2.0]), np.array([1.0, 4.0])).item()
    1.0
    """

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input (..., B, out) for a target of the same shape, or of that shape without leading axes.

        Raises:
            ValueError: if the shapes do not match.
        """
        target = like(target, input)
        return self.reduce(np.abs(input - target), target.shape)


class HuberLoss(Loss):
    """d²/2 for |d| ≤ delta, else delta (|d| − delta/2), with d = input − target; then reduced (Huber 1964).

    Args:
        reduction: as for all losses.
        delta: where the parabola becomes a line, above 0.

    Raises:
        ValueError: for another reduction, or a delta that is not above 0.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> nn.HuberLoss("none")(Tensor([1.0, 2.0]), np.array([1.5, 4.0])).data
    array([0.125, 1.5  ])
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"delta is above 0, not {delta!r}")
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of an input (..., B, out) for a target of the same shape, or of that shape without leading axes.

        Raises:
            ValueError: if the shapes do not match.
        """
        target = like(target, input)
        return self.reduce(huber(input - target, self.delta), target.shape)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, delta={self.delta}"


class BCEWithLogitsLoss(Loss):
    """Nielsen's cross-entropy of sigmoid outputs, −Σ t ln a + (1−t) ln(1−a) with a = σ(input), from the logits.

    Args:
        reduction: as for all losses; "mean" divides by the number of values, also with weights.
        weight: factors of the values, in a shape that broadcasts to the target's.
        pos_weight: p in −Σ p t ln a + (1−t) ln(1−a), in a shape that broadcasts to the target's: above 1 for outputs
            that are rarely on.

    Raises:
        ValueError: for another reduction; in a call, if shapes do not match.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> round(nn.BCEWithLogitsLoss("batchmean")(Tensor(np.zeros((5, 2))), np.ones((5, 2))).item(), 4)
    1.3863
    """

    def __init__(self, reduction: str = "mean", *, weight: Any = None, pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = weights_of(weight)
        self.pos_weight = weights_of(pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logits (..., B, out) for a target of the same shape, or of that shape without leading axes.

        Raises:
            ValueError: if the shapes do not match.
        """
        target = like(target, input)
        weight, positive = self._fitted(self.weight, target, input), self._fitted(self.pos_weight, target, input)
        if positive is not None:
            values = positive * target * ops.softplus(-input) + (1 - target) * ops.softplus(input)
        elif weight is None and self.reduction != "none":
            return divided_binary_cross_entropy(input, target, self.divisor(target.shape))
        else:
            values = ops.binary_cross_entropy_with_logits(input, target)
        return self.reduce(values if weight is None else weight * values, target.shape)

    def _fitted(self, weights: Any, target: Any, input: Any) -> Any:
        """The weights in the dtype of the input, after a check of their shape."""
        shape = () if weights is None else weights.shape
        ends = zip(shape[::-1], target.shape[::-1], strict=False)
        if len(shape) > target.ndim or any(own not in (1, n) for own, n in ends):
            raise ValueError(f"weights of shape {shape} do not broadcast to a target of shape {target.shape}")
        return in_dtype_of(input, weights)


def weights_of(weights: Any) -> Buffer | None:
    """The weights of a loss as a buffer, which is saved with it; None if there are none."""
    return None if weights is None else Buffer(as_array(weights))


def in_dtype_of(input: Any, weights: Any) -> Any:
    """Weights in the dtype of the input, so that float32 stays float32; None if there are none."""
    return weights if weights is None or weights.dtype == input.dtype else weights.astype(input.dtype)


def by_count(g: Any, n: int) -> Any:
    """g / n, computed as a product: n above 65,504 is beyond float16, and 1/n is not."""
    return g / n if n < 65_504 else g * (1 / n)


@partial(operation, rules=(lambda g, y, a, n: np.zeros(np.shape(a), g.dtype) + by_count(g, n), None), name="sum / n")
def divided_sum(a: Any, n: int) -> Any:
    """Σa / n over all elements of a; n need not be the number of elements."""
    if a.dtype.char == "e":  # float16 ends at 65,504
        return np.asarray(np.add.reduce(a, axis=None, dtype=np.float32) / n, a.dtype)
    return np.add.reduce(a, axis=None) / n


@differentiable(lambda g, y, d, delta: g * np.clip(d, -delta, delta), None)
def huber(d: Any, delta: float) -> Any:
    """d²/2 for |d| ≤ delta, else delta (|d| − delta/2), elementwise; its slope is d, not beyond ±delta."""
    size = np.abs(d)
    near = np.minimum(size, delta)
    return near * (size - 0.5 * near)


@partial(
    operation,
    rules=(
        lambda g, y, z, target, n: by_count(g, n) * ops.sigmoid_error(z, target),
        lambda g, y, z, target, n: -by_count(g, n) * z,
        None,
    ),
    name="binary_cross_entropy_with_logits / n",
)
def divided_binary_cross_entropy(z: Any, target: Any, n: int) -> Any:
    """`divided_sum` of the binary cross-entropy, as one operation, which takes less time than two on a small layer."""
    return divided_sum(ops.binary_cross_entropy(z, target), n)
