"""AdamW: Adam whose weight decay does not pass through its running means."""

from typing import Any

from tinygrad_vg.optim.adam import Adam
from tinygrad_vg.optim.optimizer import Params


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): p ← (1 − lr·weight_decay)·p before Adam's step.

    In `Adam` the decay is a part of the gradient and is divided by √v too, so parameters with large gradients decay
    less. Here all parameters decay by the same factor.

    Args:
        params: parameters, or groups of them as dicts; see `Optimizer`.
        lr, betas, eps: as in `Adam`.
        weight_decay: the factor in the formula above.

    Raises:
        ValueError: for an option out of its range.

    >>> import numpy as np
    >>> from tinygrad_vg import nn, optim
    >>> p = nn.Parameter(1.0)
    >>> p.grad = np.asarray(0.0)
    >>> optim.AdamW([p], lr=0.1, weight_decay=0.5).step()
    >>> p.item()
    0.95
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def numbers(self, options: dict[str, Any], dtype: Any) -> dict[str, Any]:
        """Adam's numbers, with the factor of p in place of the decay."""
        numbers = super().numbers(options, dtype)
        decay = numbers.pop("weight_decay", None)
        return numbers if decay is None else numbers | {"kept": 1 - numbers["lr"] * decay}

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One step; see `Optimizer.update`. The state is Adam's."""
        return super().update(options["kept"] * p if "kept" in options else p, g, state, options)
