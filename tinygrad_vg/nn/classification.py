"""The losses of classes: CrossEntropyLoss of logits, and NLLLoss of logarithms of probabilities.

Both take weights of the classes, and a class index that is ignored. With class indices "mean" is then a weighted mean:
the sum is divided by the sum of the weights of the samples' classes, as in PyTorch.
"""

from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, ops
from tinygrad_vg.engine.arrays import as_array
from tinygrad_vg.engine.operations import NO_RULES, enter, operation
from tinygrad_vg.nn.losses import Loss, in_dtype_of, like, weights_of


@partial(operation, rules=NO_RULES)
def rows_of_classes(target: Any, classes: int, ignore_index: int | None, dtype: Any) -> Any:
    """Class indices (B,) as rows (B, C) of zeros with a 1 at the class; only zeros where the index is `ignore_index`.

    Raises:
        ValueError: if there is no such class.
    """
    kept = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    found = target[kept]
    if found.size and not 0 <= found.min() <= found.max() < classes:
        raise ValueError(f"class indices run from 0 to {classes - 1}; found {found.min()} to {found.max()}")
    return ((target[..., None] == np.arange(classes)) & kept[..., None]).astype(dtype)


enter(rows_of_classes, kind="constant", kernel=rows_of_classes.__wrapped__)  # type: ignore[attr-defined]


class ClassLoss(Loss):
    """Base of the losses of classes.

    Args:
        reduction: as for all losses. With class indices and weights "mean" divides by the sum of the samples' weights.
        weight: (C,) factors of the classes; 1 by default.
        ignore_index: samples with this class index count neither in the loss nor in the divisor of "mean". PyTorch's
            default is −100; here there is none, and an index that is not a class is refused.

    Raises:
        ValueError: for another reduction, or weights of another form.

    >>> from tinygrad_vg import nn
    >>> loss, logits, target = nn.CrossEntropyLoss(weight=[1.0, 2.0]), np.zeros((3, 2)), np.array([0, 1, 1])
    >>> loss.check(logits, target)  # it fits; so does the number of its axes:
    >>> loss.flat(target, axes=1)
    >>> rows, weights = loss.rows(logits, target), loss.weights(logits)
    >>> rows.tolist(), weights
    ([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], Buffer([1., 2.]))
    >>> loss.reduced(np.array([5.0, 10.0, 10.0]), rows, weights, target.shape).item()
    5.0
    """

    def __init__(self, reduction: str = "mean", *, weight: Any = None, ignore_index: int | None = None) -> None:
        super().__init__(reduction)
        self.weight = weights_of(weight)
        if self.weight is not None and self.weight.ndim != 1:
            raise ValueError(f"the weights of classes are (C,), one for each class, not {self.weight.shape}")
        self.ignore_index = ignore_index

    def check(self, input: Any, target: Any) -> None:
        """Raise ValueError for class indices that are not (B,) for an input (..., B, C)."""
        if target.shape != input.shape[input.ndim - 1 - target.ndim : -1]:
            if target.ndim == 1:
                instead = f"there are {len(target)} class indices, and {input.shape[-2] if input.ndim > 1 else 1} rows"
            else:
                instead = "an integer target holds class indices: pass probabilities, also rows of 0 and 1, as floats"
            raise ValueError(
                f"class indices of shape {target.shape} do not match an input of shape {input.shape}; {instead}"
            )
        self.flat(target, 1)

    def rows(self, input: Any, target: Any) -> Any:
        """Class indices as rows (B, C) for an input (..., B, C)."""
        return rows_of_classes(target, input.shape[-1], self.ignore_index, input.dtype)

    def weights(self, input: Any) -> Any:
        """The weights (C,) in the dtype of the input, or None."""
        if self.weight is not None and self.weight.shape != input.shape[-1:]:
            raise ValueError(f"{self.weight.size} weights of classes do not match an input of shape {input.shape}")
        return in_dtype_of(input, self.weight)

    def reduced(self, values: Any, rows: Any, weight: Any, counted: tuple[int, ...]) -> Any:
        """The reduced values for class indices whose rows (B, C) are `rows`."""
        if self.reduction != "mean" or (weight is None and self.ignore_index is None):
            return self.reduce(values, counted)
        return np.sum(values) / np.sum(rows if weight is None else rows * weight)

    def flat(self, target: Any, axes: int) -> None:
        """Raise ValueError for a target of more axes than one batch has."""
        if target.ndim > axes:
            raise ValueError(
                f"a target of shape {target.shape} has more axes than class indices (B,) or probabilities (B, C); "
                "write np.mean(ops.cross_entropy(input, target)), with the classes on the last axis: "
                "np.moveaxis(input, 1, -1) puts PyTorch's there"
            )


class CrossEntropyLoss(ClassLoss):
    """−ln softmax(input)[target], one value per sample, then reduced.

    `input` is (B, C), or (R, B, C) from an ensemble. `target` holds class indices (B,), as integers, or probabilities
    (B, C). The classes are on the last axis; in PyTorch they are on axis 1. If all axes have the same length, the
    shapes do not show which one is meant. Therefore a target with more axes is refused; `ops.cross_entropy` takes it.

    Args:
        reduction: as for all losses. With class indices and weights "mean" divides by the sum of the samples' weights.
        weight: (C,) factors of the classes; 1 by default.
        ignore_index: samples with this class index add nothing to the loss and to what "mean" divides by; every index
            that is no class is refused as long as none is named.
        label_smoothing: ε; the probabilities of the target become (1 − ε) t + ε/C.

    Raises:
        ValueError: for another reduction, weights of another form, or an ε that is not from 0 to 1.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> round(nn.CrossEntropyLoss()(Tensor(np.zeros((3, 4))), np.array([0, 1, 3])).item(), 4)
    1.3863
    """

    def __init__(
        self,
        reduction: str = "mean",
        *,
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, weight=weight, ignore_index=ignore_index)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing is from 0 to 1, not {label_smoothing!r}")
        self.label_smoothing = label_smoothing

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
            if target.ndim == 1 < input.ndim:
                raise ValueError(
                    f"a target of shape {target.shape} for an input of shape {input.shape} holds class indices, which "
                    f"are integers, not {target.dtype}; write target.astype(int)"
                )
            return self._of_probabilities(input, like(target, input))
        self.check(input, target)
        weight = self.weights(input)
        if weight is None and self.ignore_index is None and not self.label_smoothing:
            return self.reduce(ops.cross_entropy(input, target), target.shape)
        rows = self.rows(input, target)
        kept = np.sum(rows, axis=-1, keepdims=True)  # 0 of the samples that are ignored
        values = ops.cross_entropy(input, self._smoothed(rows, kept, weight))
        return self.reduced(values, rows, weight, target.shape)

    def _of_probabilities(self, input: Any, target: Any) -> Any:
        if self.ignore_index is not None:
            raise ValueError(f"ignore_index={self.ignore_index} is a class index, and this target has probabilities")
        self.flat(target, 2)
        values = ops.cross_entropy(input, self._smoothed(target, 1, self.weights(input)))
        return self.reduce(values, target.shape[:-1])

    def _smoothed(self, target: Any, kept: Any, weight: Any) -> Any:
        """The probabilities with which the logarithms are weighted."""
        if self.label_smoothing:
            share = self.label_smoothing
            target = (1 - share) * target + (share / target.shape[-1]) * kept
        return target if weight is None else target * weight


class NLLLoss(ClassLoss):
    """−input[target], one value per sample, then reduced; the input has logarithms of probabilities (..., B, C).

    With LogSoftmax in front it is CrossEntropyLoss, which keeps the digits of small errors. The arguments are those of
    CrossEntropyLoss, without label_smoothing.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, Tensor
    >>> round(nn.NLLLoss()(Tensor(np.log([[0.25, 0.75], [0.5, 0.5]])), np.array([0, 1])).item(), 4)
    1.0397
    """

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logarithms (..., B, C) for class indices (B,).

        Raises:
            TypeError: if the target holds no whole numbers.
            ValueError: if the shapes do not match, or a class index is not between 0 and C − 1.
        """
        if not isinstance(target, Tensor):
            target = as_array(target)
        if target.dtype.kind not in "iu":
            raise TypeError(f"NLLLoss takes class indices, which are integers, not {target.dtype}")
        self.check(input, target)
        rows, weight = self.rows(input, target), self.weights(input)
        factors = rows if weight is None else rows * weight
        picked = np.where(rows != 0, input, 0)  # the logarithm of another class may be −∞
        return self.reduced(-np.sum(factors * picked, axis=-1), rows, weight, target.shape)
