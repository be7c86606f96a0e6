"""Whether a cost is the mean of its samples' own costs, C = (1/B) Σ Cₓ, and what they are.

This module is internal to `draw`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_vg.engine import Node, Tensor, calls, cotangents


def is_mean(cost: Tensor, samples: int) -> bool:
    """Whether a recorded cost divides by the number of its samples, or by a multiple of it.

    Such are the losses with the reduction "mean" or "batchmean", `np.mean(...)`, and `np.sum(...) / samples`, also
    with another constant before them. Of anything else, such as a mean with a penalty added to it, nothing is said.

    >>> import tinygrad_vg as tg
    >>> z = tg.Tensor(np.ones((4, 3)), requires_grad=True)
    >>> [is_mean(cost, 4) for cost in (np.mean(z), np.sum(z) / 4 / 2, np.sum(z), 0.5 * np.sum(z))]
    [True, True, False, False]
    >>> is_mean(tg.nn.MSELoss()(z, np.zeros((4, 3))), 4)
    True
    """
    *_, (divisor, bottom) = way = list(_without_constants(cost))
    if any(_is_mean_loss(call.module) for _, tensor in way for call in calls(tensor)):
        return True
    if bottom.node is not None and bottom.node.function is np.mean:
        divisor *= bottom.node.inputs[0].size
    share = divisor / samples
    return share >= 1.0 and abs(share - round(share)) < 1e-6


def own_part(cost: Tensor, top: Tensor, sample: int, samples: int) -> float | None:
    """What one sample adds to a recorded cost; None if that is not known.

    It is known if the cost is a sum or mean of values, or such a loss, times a constant, and the row of the values that
    belongs to the sample depends on no other sample.

    Args:
        cost: a recorded cost, of one element.
        top: the output of the last layer, (B, out).
        sample: the number of the sample, counted from 0.
        samples: B.

    >>> import tinygrad_vg as tg
    >>> z = tg.Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    >>> [own_part(cost, z, 1, 2) for cost in (np.sum(z), np.mean(z * z), np.max(z))]
    [7.0, 6.25, None]
    """
    *_, (divisor, bottom) = _without_constants(cost)
    node = bottom.node
    if node is None or set(node.kwargs) - {"axis", "keepdims"} or bottom.size != 1:
        return None
    source = node.edges[0][1]
    if source.shape[:1] != (samples,) or not _is_own_row(source, top, sample):
        return None
    is_own = np.arange(samples) == sample
    with np.errstate(all="ignore"):  # the cost of an exploded network may be infinite
        own, others = (
            float(np.sum(node.function(*[_rows(value, kept) for value in node.values], **node.kwargs)))
            for kept in (is_own, ~is_own)
        )
        if node.function is np.mean:
            own, others = own / samples, others * (samples - 1) / samples
        is_sum = np.isclose(own + others, bottom.item(), rtol=1e-4, equal_nan=True)
    return own / divisor if is_sum else None


def _without_constants(cost: Tensor) -> Iterator[tuple[float, Tensor]]:
    """The cost, and what it is a constant times of, and so on down: each with the number that it is divided by."""
    divisor, tensor = 1.0, cost
    while True:
        yield divisor, tensor
        if tensor.size != 1 or tensor.node is None:
            return
        constants = [value for value in _constants(tensor.node) if value]
        index, source, _ = tensor.node.edges[0]
        if tensor.node.function is np.divide and index == 0 and constants:
            divisor *= constants[0]
        elif tensor.node.function is np.multiply and constants:
            divisor /= constants[0]
        else:
            return
        tensor = source


def _is_own_row(values: Tensor, top: Tensor, sample: int) -> bool:
    """Whether the row of the values with the sample's number depends on no other sample's row of `top`."""
    if values is top:
        return True
    start = np.zeros_like(values.data)
    start[sample] = 1
    found = cotangents(values, start, of=[top])
    return top in found and not np.any(np.delete(found[top].mantissa, sample, axis=0))


def _rows(value: Any, kept: Any) -> Any:
    """The rows of an operation's argument that belong to some samples; another argument as it is."""
    return value[kept] if np.shape(value)[:1] == kept.shape else value


def _is_mean_loss(module: Any) -> bool:
    """Whether it is a loss whose reduction divides by the number of samples, and not by their weights."""
    weighs = any(getattr(module, name, None) is not None for name in ("weight", "ignore_index"))
    return getattr(module, "reduction", "") in ("mean", "batchmean") and not weighs


def _constants(node: Node) -> Iterator[float]:
    """The arguments of an operation that are single numbers and require no gradient."""
    asking = {index for index, _, _ in node.edges}
    for i, value in enumerate(node.values):
        if i not in asking and np.size(value) == 1:
            yield float(np.asarray(value).item())
