"""RMSprop: steps divided by the running size of the gradient."""

import math
from typing import Any

import numpy as np

from tinygrad_vg.optim.optimizer import Optimizer, Params


class RMSprop(Optimizer):
    """RMSprop (Hinton, Coursera lecture 6e, 2012): p ← p − lr·g/(√v + eps), v the running mean of g².

    With momentum the step is lr·b with b ← momentum·b + g/(√v + eps). If `centered`, v is the running variance of g,
    the mean of g² without the square of the mean (Graves 2013).

    As in `Adam` the state holds the root of the running mean of g², and not the mean itself: g² underflows if |g| is
    near the smallest number of its dtype.

    Args:
        params: parameters, or groups of them as dicts; see `Optimizer`.
        lr: the length of a step.
        alpha: the decay rate of the running means, from 0 to below 1.
        eps: a number added to √v, against division by 0.
        weight_decay: weight_decay·p is added to the gradient.
        momentum: the factor of the last b.
        centered: whether to divide by the standard deviation of the gradient.

    Raises:
        ValueError: for an option out of its range.

    >>> from tinygrad_vg import nn, optim
    >>> p = nn.Parameter(1.0)
    >>> (p * 1e-20).backward()
    >>> optim.RMSprop([p], lr=0.1, alpha=0.75, eps=0.0).step()
    >>> round(p.item(), 6)  # √v is half of g
    0.8
    """

    not_negative = ("lr", "weight_decay", "eps", "momentum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)
        super().__init__(params, options)

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for options out of their range."""
        super().check(options)
        if not 0 <= options["alpha"] < 1:
            raise ValueError(f"alpha must be a number from 0 to below 1, not {options['alpha']!r}")

    def numbers(self, options: dict[str, Any], dtype: Any) -> dict[str, Any]:
        """The options as Python floats, which do not change the dtype float32. Options of 0 are left out."""
        alpha = float(options["alpha"])
        numbers = {"lr": float(options["lr"]), "eps": float(options["eps"]), "alpha": alpha, "rest": 1 - alpha}
        numbers |= {"decay": math.sqrt(alpha), "root_of_rest": math.sqrt(1 - alpha)}
        numbers |= {name: float(options[name]) for name in ("weight_decay", "momentum") if options[name]}
        return numbers | {"centered": bool(options["centered"])}

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One step; see `Optimizer.update`.

        The state is {"root": the root of the mean of g²}, with "mean" if `centered`, and "velocity" with momentum.
        """
        if "weight_decay" in options:
            g = g + options["weight_decay"] * p
        root = np.absolute(options["root_of_rest"] * g)
        if "root" in state:
            root = np.hypot(options["decay"] * state["root"], root)
        after, size = {"root": root}, root
        if options["centered"]:
            mean = options["rest"] * g
            if "mean" in state:
                mean = options["alpha"] * state["mean"] + mean
            after["mean"] = mean
            # root² − mean² as a product, which underflows later; rounding may make it negative.
            size = np.sqrt(np.maximum(root - np.absolute(mean), 0)) * np.sqrt(root + np.absolute(mean))
        step = g / (size + options["eps"])
        if "momentum" in options:
            step = options["momentum"] * state["velocity"] + step if "velocity" in state else step
            after["velocity"] = step
        return p - options["lr"] * step, after
