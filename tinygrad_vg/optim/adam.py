"""Adam: an optimizer whose steps do not depend on the gradient's magnitude."""

import math
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_vg.optim.optimizer import Optimizer, Params


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): a step is about lr long for every gradient whose magnitude is far above eps.

    The state holds the root of the running mean v of g², not v itself: for |g| near the smallest number of its type, g²
    would underflow.

    Args:
        params: parameters, or groups of them as dicts; see `Optimizer`.
        lr: the length of a step.
        betas: the decay rates β₁ and β₂ of the running means of g and g².
        eps: a number added to √v, against division by 0.
        weight_decay: weight_decay·p is added to the gradient.

    Raises:
        ValueError: for an option out of its range.

    >>> from tinygrad_vg import nn, optim
    >>> p = nn.Parameter(1.0)
    >>> (p * 1e-20).backward()
    >>> optim.Adam([p], lr=0.1, eps=0.0).step()
    >>> round(p.item(), 6)
    0.9
    """

    not_negative = ("lr", "weight_decay", "eps")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for options out of their range."""
        super().check(options)
        betas = options["betas"]
        if len(betas) != 2 or not all(isinstance(beta, Real) and 0 <= float(beta) < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, not {betas}")

    def numbers(self, options: dict[str, Any], dtype: Any) -> dict[str, Any]:
        """The options as Python floats: they do not change the dtype float32, and 1 − β₂ᵗ needs float64."""
        betas = tuple(float(beta) for beta in options["betas"])
        return {"betas": betas, **{name: float(options[name]) for name in self.not_negative}}

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One step; see `Optimizer.update`. The state is {"t": step count, "mean": of g, "root": √v}."""
        (beta1, beta2), decay = options["betas"], options["weight_decay"]
        if decay:
            g = g + decay * p
        t = state.get("t", 0) + 1
        mean = beta1 * state.get("mean", 0.0) + (1 - beta1) * g
        root = np.hypot(math.sqrt(beta2) * state.get("root", 0.0), math.sqrt(1 - beta2) * g)
        step = options["lr"] / (1 - beta1**t) * mean / (root / math.sqrt(1 - beta2**t) + options["eps"])
        return p - step, {"t": t, "mean": mean, "root": root}
