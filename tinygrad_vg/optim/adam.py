"""Adam: an optimizer whose steps do not depend on the gradient's magnitude."""

import math
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_vg.optim.optimizer import Optimizer, Params


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): a step is about lr long for every gradient whose magnitude is far above eps.

    The state holds √v, where v is the running mean of g², and not v itself: g² underflows if |g| is near the smallest
    number of its dtype.

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
        beta1, beta2 = (float(beta) for beta in options["betas"])
        numbers = {"lr": float(options["lr"]), "eps": float(options["eps"]), "beta1": beta1, "beta2": beta2}
        numbers |= {"rest1": 1 - beta1, "decay2": math.sqrt(beta2), "rest2": math.sqrt(1 - beta2)}
        return numbers | ({"weight_decay": float(options["weight_decay"])} if options["weight_decay"] else {})

    def at_step(self, numbers: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """The numbers, and those that depend on the count t of the step: lr/(1 − β₁ᵗ) and √(1 − β₂ᵗ)."""
        t = state.get("t", 0) + 1
        length = numbers["lr"] / (1 - numbers["beta1"] ** t)
        return {**numbers, "t": t, "length": length, "bias": math.sqrt(1 - numbers["beta2"] ** t)}

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One step; see `Optimizer.update`. The state is {"t": step count, "mean": of g, "root": √v}."""
        if "weight_decay" in options:
            g = g + options["weight_decay"] * p
        mean, root = options["rest1"] * g, options["rest2"] * g
        if "mean" in state:
            mean = options["beta1"] * state["mean"] + mean
            root = np.hypot(options["decay2"] * state["root"], root)
        else:
            root = np.absolute(root)
        step = options["length"] * mean / (root / options["bias"] + options["eps"])
        return p - step, {"t": options["t"], "mean": mean, "root": root}
