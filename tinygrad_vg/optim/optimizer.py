"""The base of all optimizers: parameter groups, steps, and state dicts.

An optimizer never writes into an array: a step gives each parameter a new one, and a graph that still holds the old one
stays right. What a step computes is `update`, a pure function; `step` only loops over the parameters.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn.module import Module, Parameter

Params = Iterable[Parameter] | Iterable[dict[str, Any]]


class Optimizer:
    """Base of the optimizers: parameter groups, each with its own options. A subclass gives `update` and `numbers`.

    A step belongs to one thread. It gives each parameter its new array at once, one parameter after the other: another
    thread never sees half an array, but may see new weights in one layer and old ones in the next.

    Attributes:
        param_groups: dicts {"params": list of parameters, option: value, ...}; options may be changed between steps.
        state: what is kept of each parameter from step to step.

    Args:
        params: parameters, or dicts {"params": parameters, option: value, ...}; what a dict leaves out is
            taken from the defaults.
        defaults: the options and their values.
    """

    not_negative: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")

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
        self._values = itemgetter(*defaults)
        self._ready: dict[int, tuple[Any, Any, dict[str, Any]]] = {}  # a group's options, dtype, numbers

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for options that cannot be meant."""
        for name in self.not_negative:
            if not (isinstance(options[name], Real) and 0 <= options[name] < math.inf):
                raise ValueError(f"{name} must be a number ≥ 0, not {options[name]!r}")

    def numbers(self, options: dict[str, Any], dtype: Any) -> dict[str, Any]:
        """What `update` takes of a group's options, for parameters of this dtype. It is called when these change."""
        raise TypeError(f"{type(self).__name__} has no numbers(): define what update() takes of the options")

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What one step makes of a parameter; a pure function, which changes nothing that it is given.

        Args:
            p, g: the parameter and its gradient, arrays or Tensors of one shape and dtype.
            state: what the last step's `update` returned for this parameter; {} in the first step.
            options: what `numbers` makes of the options.

        Returns:
            The new p and the new state, in arrays that share no memory with p and g.
        """
        raise TypeError(f"{type(self).__name__} has no update(): define what a step makes of a parameter")

    def step(self) -> None:
        """Move every parameter that has a gradient.

        Raises:
            ValueError: for options that have been set since the last step and cannot be meant, or a `.grad` that has
                been set to another shape.
            TypeError: if a parameter has been given other numbers than floats.
        """
        for i, group in enumerate(self.param_groups):
            dtype = None
            for parameter in group["params"]:
                g = parameter.grad
                if g is None:
                    continue
                p = parameter.data
                if p.dtype is not dtype:
                    dtype = p.dtype
                    options = self._numbers_of(i, dtype)
                if not isinstance(g, np.ndarray) or g.dtype is not dtype or g.shape != p.shape:
                    g = array_of(g, parameter)
                new, state = self.update(p, g, self.state.get(parameter, {}), options)
                parameter.data = np.asarray(new)  # NumPy makes numbers of arrays without axes
                if state:
                    self.state[parameter] = state

    def _numbers_of(self, i: int, dtype: Any) -> dict[str, Any]:
        """The numbers of group i, checked and made anew only where its options are others than in the last step."""
        values = self._values(self.param_groups[i])
        known, known_dtype, numbers = self._ready.get(i, (None, None, {}))
        if values != known or dtype is not known_dtype:
            group = self.param_groups[i]
            self.check(group)
            numbers = self.numbers(group, dtype)
            self._ready[i] = copy.deepcopy(values), dtype, numbers  # betas may be a list, which may change
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on later, in copies of arrays and in numbers.

        Returns:
            {"state": {i: {name: array or number}}, "param_groups": [{"params": [i, ...], option: value}]}, where i
            counts the parameters through all groups.

        >>> from tinygrad_vg import nn, optim
        >>> optim.SGD([nn.Parameter(1.0)], lr=0.1).state_dict()["param_groups"][0]["params"]
        [0]
        """
        places = {parameter: i for i, parameter in enumerate(self._parameters())}
        return {
            "state": {
                places[parameter]: {name: value.copy() if isinstance(value, np.ndarray) else value
                                    for name, value in state.items()}
                for parameter, state in self.state.items()
            },
            "param_groups": [{**group, "params": [places[p] for p in group["params"]]} for group in self.param_groups],
        }  # fmt: skip

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict()` of an optimizer of the same kind, with parameters in the same order.

        The options become those of the state dict, also where they are arrays of one number, as after `tg.load`.

        Raises:
            ValueError: if groups, options or shapes are others than here. Nothing has been changed then.
        """
        saved = state_dict["param_groups"]
        shapes, saved_shapes = (
            [(len(g["params"]), sorted(g)) for g in groups] for groups in (self.param_groups, saved)
        )
        if shapes != saved_shapes:
            raise ValueError(f"the state has groups (parameters, names) {saved_shapes}, this optimizer {shapes}")
        options = [{name: plain(value) for name, value in group.items() if name != "params"} for group in saved]
        for of_group in options:
            self.check(of_group)
        parameters = dict(zip((i for group in saved for i in group["params"]), self._parameters(), strict=True))
        if unknown := state_dict["state"].keys() - parameters.keys():
            raise ValueError(f"the state is of parameters {sorted(unknown)}, which are in none of its groups")
        state = {
            parameters[i]: {name: restored(value, parameters[i], name) for name, value in of_one.items()}
            for i, of_one in state_dict["state"].items()
        }
        for group, of_group in zip(self.param_groups, options, strict=True):
            group.update(of_group)
        self.state = state

    def _parameters(self) -> Iterable[Parameter]:
        return (parameter for group in self.param_groups for parameter in group["params"])

    def zero_grad(self) -> None:
        """Forget all gradients: every parameter's `.grad` becomes None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def array_of(g: Any, parameter: Parameter) -> Any:
    """The array of a gradient, which may be a Tensor or an ExtendedArray too, in the parameter's dtype.

    Raises:
        ValueError: if somebody has set `.grad` to another shape: the parameter would take it.
        TypeError: if the parameter has been given other numbers than floats, which a small step would never move.
    """
    if parameter.dtype.kind != "f":
        raise TypeError(f"only arrays of real floating-point numbers are trained, not {parameter.dtype}")
    array = np.asarray(g.data if isinstance(g, Tensor) else g).astype(parameter.dtype, copy=False)
    if array.shape != parameter.shape:
        raise ValueError(f"the .grad of {parameter.label} has shape {array.shape}, and it has {parameter.shape}")
    return array


def plain(value: Any) -> Any:
    """An option as Python's number, or a tuple of them."""
    value = np.asarray(value).tolist()
    return tuple(value) if isinstance(value, list) else value


def restored(value: Any, parameter: Parameter, name: str) -> Any:
    """A value of a saved state: a count as Python's int, else an array of the parameter's shape and dtype.

    Raises:
        ValueError: if the shape is another.
    """
    array = np.asarray(value)
    if array.dtype.kind in "iu" and not array.ndim:
        return int(array)
    if array.shape != parameter.shape:
        raise ValueError(f"{name} has shape {array.shape} in the state, its parameter {parameter.shape}")
    return array.astype(parameter.dtype)
