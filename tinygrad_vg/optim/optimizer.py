"""The base of all optimizers: parameter groups, steps, and state dicts.

An optimizer writes into no array. A step gives each parameter a new array, so a graph that holds the old one still
computes the right gradients. `update` is a pure function that computes the new array; `step` calls it for each
parameter.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.instead import OPTIMIZER, advising
from tinygrad_vg.engine.recording import recording
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Parameter

Params = Iterable[Parameter] | Iterable[dict[str, Any]]


@advising(OPTIMIZER)
class Optimizer:
    """Base of the optimizers. A subclass defines `update` and `numbers`.

    Parameters are in groups, and each group has its own options.

    Only one thread may call `step`. A step rebinds the arrays of the parameters one after the other: another thread
    never sees half an array, but it may see new weights in one layer and old ones in the next.

    Attributes:
        param_groups: dicts {"params": list of parameters, option: value, ...}; options may be changed between steps.
        state: by parameter, the dict that `update` returned in the last step.

    Args:
        params: parameters, or dicts {"params": parameters, option: value, ...}. An option that a dict leaves out has
            its default value.
        defaults: the options and their default values.

    Raises:
        TypeError: if `params` holds something else than Parameters or dicts, or both.
        ValueError: if there is no parameter, one occurs twice, or an option is unknown or out of its range.

    >>> from tinygrad_vg import nn, optim
    >>> class SignDescent(optim.Optimizer):
    ...     not_negative = ("lr",)
    ...     def __init__(self, params, lr):
    ...         super().__init__(params, dict(lr=lr))
    ...     def numbers(self, options, dtype):
    ...         return {"lr": dtype.type(options["lr"])}
    ...     def update(self, p, g, state, options):
    ...         return p - options["lr"] * np.sign(g), state
    >>> p = nn.Parameter(1.0)
    >>> (p * p).backward()
    >>> descent = SignDescent([p], lr=0.25)
    >>> descent.step()
    >>> p.item()
    0.75
    >>> descent.zero_grad()
    >>> p.grad is None
    True
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
        self._ready: dict[int, tuple[Any, Any, dict[str, Any]]] = {}  # by group: its options, dtype and numbers

    def __repr__(self) -> str:
        groups = []
        for group in self.param_groups:
            options = [f"{name}={value!r}" for name, value in group.items() if name != "params"]
            groups.append(f"{len(group['params'])} parameters, {', '.join(options)}")
        return f"{type(self).__name__}({'; '.join(groups)})"

    def check(self, options: dict[str, Any]) -> None:
        """Raise ValueError for options out of their range.

        >>> from tinygrad_vg import nn, optim
        >>> optim.SGD([nn.Parameter(1.0)], lr=0.1).check({"lr": -1.0})
        Traceback (most recent call last):
        ValueError: lr must be a number ≥ 0, not -1.0
        """
        for name in self.not_negative:
            if not (isinstance(options[name], Real) and 0 <= options[name] < math.inf):
                raise ValueError(f"{name} must be a number ≥ 0, not {options[name]!r}")

    def numbers(self, options: dict[str, Any], dtype: Any) -> dict[str, Any]:
        """The options for `update`, computed from a group's options for parameters of this dtype.

        It is called when the options or the dtype have changed since the last step, and not in every step.
        """
        raise TypeError(f"{type(self).__name__} has no numbers(): define what update() takes of the options")

    def at_step(self, numbers: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """The options for the next `update` of a parameter with this state; by default those that `numbers` returned.

        A subclass defines `at_step` if some of them depend on the count of the steps, as Adam's bias correction does.

        >>> from tinygrad_vg import nn, optim
        >>> adam = optim.Adam([nn.Parameter(1.0)], betas=(0.5, 0.5))
        >>> numbers = adam.numbers_of(0, np.dtype(float))
        >>> [round(adam.at_step(numbers, {"t": t})["bias"], 3) for t in (0, 1, 10)]  # √(1 − β₂ᵗ⁺¹)
        [0.707, 0.866, 1.0]
        """
        return numbers

    def update(self, p: Any, g: Any, state: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One step of one parameter, as a pure function: it changes none of its arguments.

        Args:
            p, g: the parameter and its gradient, arrays or Tensors of the same shape and dtype.
            state: the state that `update` returned for this parameter in the last step; {} in the first step.
            options: the dict that `at_step` returned for the options of the parameter's group.

        Returns:
            The new p and the new state, whose arrays share no memory with p and g. A number in the state, such as a
            count, must be one of the options, under the same name.
        """
        raise TypeError(f"{type(self).__name__} has no update(): define the new value of a parameter in a step")

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises:
            ValueError: if an option is out of its range, or a `.grad` has another shape than its parameter.
            TypeError: if the data of a parameter are not floating-point numbers.
        """
        if recording.trace is not None:
            recording.trace.step(self)
            return
        for i, group in enumerate(self.param_groups):
            dtype = None
            for parameter in group["params"]:
                g = parameter.grad
                if g is None:
                    continue
                p = parameter.data
                if p.dtype is not dtype:
                    dtype = p.dtype
                    options = self.numbers_of(i, dtype)
                if not isinstance(g, np.ndarray) or g.dtype is not dtype or g.shape != p.shape:
                    g = array_of(g, parameter)
                state = self.state.get(parameter, {})
                new, state = self.update(p, g, state, self.at_step(options, state))
                parameter.data = np.asarray(new)  # NumPy returns a scalar for 0-d arrays
                parameter.is_trained = True
                if state:
                    self.state[parameter] = state

    def numbers_of(self, i: int, dtype: Any) -> dict[str, Any]:
        """The result of `numbers` for group i, computed again only if the options have changed since the last call.

        >>> from tinygrad_vg import nn, optim
        >>> optim.SGD([nn.Parameter(1.0)], lr=0.1).numbers_of(0, np.dtype(float))
        {'nesterov': False, 'lr': 0.1, 'kept': 1.0}
        """
        values = self._values(self.param_groups[i])
        known, known_dtype, numbers = self._ready.get(i, (None, None, {}))
        if values != known or dtype is not known_dtype:
            group = self.param_groups[i]
            self.check(group)
            numbers = self.numbers(group, dtype)
            self._ready[i] = copy.deepcopy(values), dtype, numbers  # a copy: betas may be a list that the user changes
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """The state and the options, with copies of the arrays: all that a later training needs to continue.

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
        """Set state and options to those of a `state_dict()` of an optimizer of the same class.

        The parameters are matched by their order. Options may be arrays of one number, as `tg.load` returns them.

        Raises:
            ValueError: if groups, options or shapes differ from those here. The optimizer is unchanged then.

        >>> from tinygrad_vg import nn, optim
        >>> p = nn.Parameter(1.0)
        >>> optimizer = optim.SGD([p], lr=0.1)
        >>> optimizer.load_state_dict(optim.SGD([p], lr=0.5).state_dict())
        >>> optimizer.param_groups[0]["lr"]
        0.5
        """
        saved = state_dict["param_groups"]
        shapes, saved_shapes = (
            [(len(g["params"]), sorted(g)) for g in groups] for groups in (self.param_groups, saved)
        )
        if shapes != saved_shapes:
            raise ValueError(
                f"the groups of the state (number of parameters, names) are {saved_shapes}, those of this optimizer "
                f"{shapes}"
            )
        options = [{name: plain(value) for name, value in group.items() if name != "params"} for group in saved]
        for of_group in options:
            self.check(of_group)
        parameters = dict(zip((i for group in saved for i in group["params"]), self._parameters(), strict=True))
        if unknown := state_dict["state"].keys() - parameters.keys():
            raise ValueError(f"the state has arrays for parameters {sorted(unknown)}, which are in none of its groups")
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
        """Set the `.grad` of every parameter to None."""
        if recording.trace is not None:
            recording.trace.zeroing(self._parameters())
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def array_of(g: Any, parameter: Parameter) -> Any:
    """The array of a gradient, which may also be a Tensor or an ExtendedArray, in the parameter's dtype.

    Raises:
        ValueError: if `.grad` has another shape than the parameter, which the parameter would take over.
        TypeError: if the parameter's data are not floating-point numbers: a small step would be rounded to 0.
    """
    if parameter.dtype.kind != "f":
        raise TypeError(f"only arrays of real floating-point numbers are trained, not {parameter.dtype}")
    array = np.asarray(g.data if isinstance(g, Tensor) else g).astype(parameter.dtype, copy=False)
    if array.shape != parameter.shape:
        raise ValueError(
            f"the .grad of {parameter.label} has shape {array.shape}, the parameter itself {parameter.shape}"
        )
    return array


def plain(value: Any) -> Any:
    """An option as a Python number, or as a tuple of Python numbers."""
    value = np.asarray(value).tolist()
    return tuple(value) if isinstance(value, list) else value


def restored(value: Any, parameter: Parameter, name: str) -> Any:
    """A value of a saved state: a Python int for a count, else an array of the parameter's shape and dtype.

    Raises:
        ValueError: if an array has another shape than the parameter.
    """
    array = np.asarray(value)
    if array.dtype.kind in "iu" and not array.ndim:
        return int(array)
    if array.shape != parameter.shape:
        raise ValueError(f"{name} has shape {array.shape} in the state, its parameter {parameter.shape}")
    return array.astype(parameter.dtype)
