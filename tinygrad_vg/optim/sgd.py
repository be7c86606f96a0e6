"""Stochastic gradient descent with momentum, Nesterov momentum, and weight decay."""

from typing import Any

from tinygrad_vg.optim.optimizer import Optimizer, Params


class SGD(Optimizer):
    """Stochastic gradient descent: v ← momentum·v + g + weight_decay·p, p ← p − lr·v.

    Nielsen's regularization parameter λ on n training samples is weight_decay = λ/n.

    Without momentum a step is p ← (1 − lr·weight_decay)·p − lr·g, and there is no state.

    Args:
        params: parameters, or groups of them as dicts; see `Optimizer`.
        lr: the learning rate η.
        momentum: the factor of the last v; the first v is g + weight_decay·p.
        weight_decay: the factor of p in the formula above.
        nesterov: whether to use Nesterov momentum: p ← p − lr·(g + weight_decay·p + momentum·v).

    Raises:
        ValueError: for an option out of its range, an unknown one, or Nesterov momentum without momentum.

    >>> from tinygrad_vg import nn, optim
    >>> p = nn.Parameter(1.0)
    >>> (p * p).backward()
    >>> optim.SGD([p], lr=0.1).step()
    >>> p.item()
    0.8
    """

    not_negative = ("lr", "weight_decay", "momentum")

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov))

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for options out of their range, and for Nesterov momentum without momentum."""
        super().check(options)
        if options["nesterov"] and not options["momentum"]:
            raise ValueError("nesterov=True needs momentum: pass momentum= too")

    def numbers(self, options: dict[str, Any], dtype: Any) -> dict[str, Any]:
        """The options as Python floats, which leave float32 as it is. Options of 0 are left out."""
        lr, decay, momentum = (float(options[name]) for name in ("lr", "weight_decay", "momentum"))
        used = {"lr": lr, "kept": 1 - lr * decay}
        if decay:
            used |= {"weight_decay": decay}
        if momentum:
            used |= {"momentum": momentum}
        return {"nesterov": options["nesterov"], **used}

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One step; see `Optimizer.update`. The state is {"velocity": v}, or {} without momentum."""
        lr = options["lr"]
        if "momentum" not in options:
            return (options["kept"] * p if "weight_decay" in options else p) - lr * g, state
        if "weight_decay" in options:
            g = g + options["weight_decay"] * p
        momentum = options["momentum"]
        v = momentum * state["velocity"] + g if "velocity" in state else +g  # +g is a copy: others hold g too
        return p - lr * (g + momentum * v if options["nesterov"] else v), {"velocity": v}
