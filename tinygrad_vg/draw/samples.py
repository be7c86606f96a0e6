"""Whether a cost is the mean of its samples' own costs, C = (1/B) Σ Cₓ.

This module is internal to `draw`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_vg.engine import Node, Tensor, calls


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
    divisor, tensor = 1.0, cost
    while tensor.size == 1 and tensor.node is not None:
        if any(_is_mean_loss(call.module) for call in calls(tensor)):
            return True
        if tensor.node.function is np.mean:
            divisor *= tensor.node.inputs[0].size
            break
        constants = [value for value in _constants(tensor.node) if value]
        index, source, _ = tensor.node.edges[0]
        if tensor.node.function is np.divide and index == 0 and constants:
            divisor *= constants[0]
        elif tensor.node.function is np.multiply and constants:
            divisor /= constants[0]
        else:
            break
        tensor = source
    share = divisor / samples
    return share >= 1.0 and abs(share - round(share)) < 1e-6


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
