"""Optimizers: SGD and Adam, with PyTorch's arguments and parameter groups.

A graph that still holds a parameter's old array stays right: an optimizer writes into an array only where nobody
else refers to it, and else gives the parameter a new one.
"""

import math
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn.module import Module, Parameter

Params = Iterable[Parameter] | Iterable[dict[str, Any]]


class Optimizer:
    """Base of the optimizers: parameter groups, each with its own options.

    Args:
        params: parameters, or dicts {"params": parameters, option: value, ...}; what a dict leaves out is
            taken from the defaults.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Module):
            raise TypeError("an optimizer takes Parameters, not a module: write net.parameters()")
        given = list(params)
        groups = [dict(group) for group in given if isinstance(group, dict)]
        if groups and len(groups) < len(given):
            raise TypeError("an optimizer takes parameters or groups of them, not a mixture; make each a group")
        groups = groups or [{"params": given}]
        self.param_groups: list[dict[str, Any]] = []
        seen: set[Parameter] = set()
        for group in groups:
            if unknown := group.keys() - defaults.keys() - {"params"}:
                raise ValueError(f"{type(self).__name__} has no option {sorted(unknown)}, only {sorted(defaults)}")
            if "params" not in group:
                raise ValueError(f'a group needs its "params", this one has {sorted(group)}')
            alone = isinstance(group["params"], Parameter)
            group["params"] = [group["params"]] if alone else list(group["params"])
            if not group["params"]:
                raise ValueError(f"{type(self).__name__} got no parameters, or a group without them")
            for parameter in group["params"]:
                if not isinstance(parameter, Parameter):
                    raise TypeError(f"an optimizer takes Parameters, not {parameter!r}")
                if parameter in seen:
                    raise ValueError(f"{parameter.label} appears twice among the parameters")
                seen.add(parameter)
            options = {name: group.get(name, default) for name, default in defaults.items()}
            self.check(options)
            self.param_groups.append({"params": group["params"], **options})
        self.state: dict[Parameter, dict[str, Any]] = {}

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for options that cannot be meant."""
        for name in ("lr", "weight_decay"):
            if not (isinstance(options[name], Real) and 0 <= options[name] < math.inf):
                raise ValueError(f"{name} must be a number ≥ 0, not {options[name]!r}")

    def zero_grad(self) -> None:
        """Forget all gradients: every parameter's `.grad` becomes None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def gradients(self, group: dict[str, Any]) -> Iterable[tuple[Parameter, Any]]:
        """The group's parameters that have a gradient, with its array."""
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield parameter, array_of(parameter.grad, parameter.dtype)


def array_of(g: Any, dtype: Any) -> Any:
    """The array of a gradient, which may be a Tensor or an ExtendedArray too, in the parameter's dtype."""
    return np.asarray(g.data if isinstance(g, Tensor) else g).astype(dtype, copy=False)


def references(parameter: Parameter) -> int:
    """How many references there are to a parameter's array where a function holds it as `descend` does."""
    data = parameter.data
    return sys.getrefcount(data)


_OWN_REFERENCES = references(Parameter(np.zeros(1)))  # of an array that nobody else holds
_BLOCK = 1 << 16  # elements that are updated at a time: they stay in the processor's cache between two operations


def descend(parameters: Iterable[Parameter], lr: float, decay: float) -> None:
    """p ← p − lr·(g + decay·p) for each parameter that has a gradient, computed as (1 − lr·decay)·p − lr·g.

    It goes into the parameter's own array if nobody else refers to that, as after a backward whose graph is gone, and
    else into a new one; also if the memory is another array's. For layers of 30 neurons a function for each of these
    questions would take as long as the arithmetic.
    """
    dtype = None
    for parameter in parameters:
        g = parameter.grad
        if g is None:
            continue
        data = parameter.data
        if not isinstance(g, np.ndarray) or g.dtype is not data.dtype:
            g = array_of(g, data.dtype)
        if data.dtype is not dtype:  # as arrays, or every operation would make them anew
            dtype = data.dtype
            rate, kept = np.asarray(lr, dtype), np.asarray(1 - lr * decay, dtype)
        if sys.getrefcount(data) == _OWN_REFERENCES and data.base is None and data.flags.writeable:
            new = data
            parameter.version += 1
        else:
            parameter.data = new = np.empty_like(data)
        for p, slope, out in in_blocks(data, g, new) if data.size > 2 * _BLOCK else ((data, g, new),):
            if decay:
                p = np.multiply(p, kept, out)
            np.subtract(p, np.multiply(slope, rate), out)


def in_blocks(*arrays: Any) -> Iterable[tuple[Any, ...]]:
    """Arrays of one shape, cut along their first axis into blocks of about `_BLOCK` elements."""
    first = arrays[0]
    rows = max(1, _BLOCK * len(first) // first.size)
    for i in range(0, len(first), rows):
        yield tuple(array[i : i + rows] for array in arrays)


class SGD(Optimizer):
    """Stochastic gradient descent: v ← momentum·v + g + weight_decay·p, p ← p − lr·v.

    Nielsen's regularization parameter λ on n training samples is weight_decay = λ/n.

    A parameter's array is written in place if no graph holds it any more: after `cost(net(x), y).backward()`, or a
    `loss = loss.detach()` behind `loss.backward()`. While one does, the parameter gets a new array, which takes longer.

    Args:
        params: parameters, or groups of them as dicts.
        lr: step length η.
        momentum: share of the last step's direction that is kept; the first v is g itself.
        weight_decay: see above.
        nesterov: look ahead: p ← p − lr·(g + weight_decay·p + momentum·v).

    Raises:
        ValueError: for a negative option, an unknown one, or Nesterov without momentum.

    >>> from tinygrad_vg import nn, optim
    >>> p = nn.Parameter(1.0)
    >>> (p * p).backward()
    >>> optim.SGD([p], lr=0.1).step()
    >>> p.item()
    0.8
    """

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
        super().check(options)
        if not 0 <= options["momentum"] < math.inf:
            raise ValueError(f"momentum must be a number ≥ 0, not {options['momentum']}")
        if options["nesterov"] and not options["momentum"]:
            raise ValueError("nesterov looks ahead along the momentum: give momentum= too")

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            # float() keeps float32 parameters float32: a NumPy scalar would promote them.
            lr, decay, momentum = float(group["lr"]), float(group["weight_decay"]), float(group["momentum"])
            if not momentum:
                descend(group["params"], lr, decay)
                continue
            for parameter, g in self.gradients(group):
                state = self.state.setdefault(parameter, {})
                if decay:
                    g = g + decay * parameter.data
                v = state["velocity"] = momentum * state["velocity"] + g if "velocity" in state else g.copy()
                parameter.data = np.asarray(parameter.data - lr * (g + momentum * v if group["nesterov"] else v))


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): steps of about lr, whatever the gradient's magnitude, as long as it is far above eps.

    The root of the running mean of g² is kept, not the mean itself: where |g| is near the end of its type's
    range, g² would underflow.

    Args:
        params: parameters, or groups of them as dicts.
        lr: step length.
        betas: shares kept of the running means of g and g².
        eps: added to √v, against division by 0.
        weight_decay: added to the gradient as weight_decay·p.

    >>> from tinygrad_vg import nn, optim
    >>> p = nn.Parameter(1.0)
    >>> (p * 1e-20).backward()
    >>> optim.Adam([p], lr=0.1, eps=0.0).step()
    >>> round(p.item(), 6)
    0.9
    """

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
        super().check(options)
        if len(options["betas"]) != 2 or not all(0 <= beta < 1 for beta in options["betas"]):
            raise ValueError(f"betas must be two numbers from 0 to below 1, not {options['betas']}")
        if not 0 <= options["eps"] < math.inf:
            raise ValueError(f"eps must be a number ≥ 0, not {options['eps']}")

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            lr, decay, eps = (float(group[name]) for name in ("lr", "weight_decay", "eps"))
            beta1, beta2 = (float(beta) for beta in group["betas"])
            for parameter, g in self.gradients(group):
                if decay:
                    g = g + decay * parameter.data
                state = self.state.setdefault(parameter, {"t": 0, "mean": 0.0, "root": np.zeros_like(g)})
                t = state["t"] = state["t"] + 1
                mean = state["mean"] = beta1 * state["mean"] + (1 - beta1) * g
                root = state["root"] = np.hypot(math.sqrt(beta2) * state["root"], math.sqrt(1 - beta2) * g)
                step = lr / (1 - beta1**t) * mean / (root / math.sqrt(1 - beta2**t) + eps)
                parameter.data = np.asarray(parameter.data - step)
