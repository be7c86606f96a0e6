"""Operations: the engine keeps one record for each function, its `Operation`, in one registry, `OPERATIONS`.

The recording of a call, the walk back, the instruments and the pictures all read the function's `Operation`. `defvjp`
and `@differentiable` add new ones to the registry.
"""

import inspect
import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, partial, wraps
from typing import Any, Literal, NoReturn

import numpy as np

from tinygrad_vg.engine.recording import recording
from tinygrad_vg.engine.refused import why_refused

Rule = Callable[..., Any]
Function = Callable[..., Any]
Kind = Literal["differentiable", "constant", "random", "plain", "composite"]


class Recordable:
    """Base of Tensor: a call with an argument of this class is recorded. So this module need not know Tensor."""

    __slots__ = ()
    data: Any  # the array

    @staticmethod
    def record(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call that has this argument. `Tensor.record` is `engine.tensor.record`."""
        raise TypeError(f"{name_of(function)} was called on an argument that records nothing")


def is_data(argument: Any) -> bool:
    """Whether a Tensor stands for a plain array, as it does where everything is recorded."""
    return recording.everything and not argument.requires_grad


class ForEach:
    """The rules of a function that takes any number of arrays: one rule serves every argument.

    The rule is called as `rule(index, g, y, *arrays, **options)`, where `index` counts the arguments from 0.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __getitem__(self, index: int) -> Rule:
        return partial(self.rule, index)

    def __len__(self) -> int:
        return sys.maxsize


class NoRules:
    """The rules of a function without a derivative: None for every argument."""

    def __getitem__(self, index: int) -> None:
        return None

    def __len__(self) -> int:
        return 0


NO_RULES = NoRules()
Rules = Sequence[Rule | None] | ForEach | NoRules


class Operation:
    """What the engine knows of one function.

    Attributes:
        function: what users call: a NumPy function, a ufunc, or one that `@differentiable` has decorated.
        kernel: the function that runs on arrays. The kernel of a composite runs on Tensors.
        rules: one entry for each positional argument up to the last that has a derivative: its rule, or None if the
            argument has none.
        kind: one of five.
            "differentiable": calls are recorded, and there are rules.
            "constant": the value has no derivative, as that of a comparison; calls are recorded only inside
            `record_everything`.
            "random": the same for random numbers: each call returns others.
            "plain": the function returns shapes, types or text, arrays that depend on these alone, or a tuple;
            calls are never recorded.
            "composite": the function is written in terms of other operations, and only their calls are recorded.
        name: the name in messages and pictures: "np.sum", "np.linalg.norm", "sigmoid".

    >>> import numpy as np, tinygrad_vg as tg
    >>> operation = np.sum(tg.Tensor([1.0], requires_grad=True)).node.operation
    >>> operation.name, operation.kind, operation.limit, sorted(operation.options)
    ('np.sum', 'differentiable', 2, ['axis', 'keepdims'])
    >>> operation.checked((), {"axis": 0})
    {'axis': 0}
    """

    def __init__(self, function: Function, kernel: Function, rules: Rules, kind: Kind) -> None:
        for rule in rules if isinstance(rules, tuple) else ():
            if rule is not None and not callable(rule):
                raise TypeError(f"a rule is a function (g, y, *args) -> gradient, or None, not {rule!r}")
        self.function = function
        self.kernel = kernel
        self.rules = rules
        self.kind = kind
        self.name = name_of(function)

    @cached_property
    def limit(self) -> float:
        """How many positional arguments the rules take."""
        return min((_arity(parameters) for parameters in self._parameters), default=math.inf)

    @cached_property
    def options(self) -> Collection[str]:
        """The keywords that a call may use: those that all rules take, or a composite's own parameters."""
        if self.kind == "composite":
            return inspect.signature(self.kernel).parameters.keys()
        names = [{p.name for p in _behind_first(parameters)} for parameters in self._parameters]
        return set.intersection(*names) if names else set()

    @property
    def _parameters(self) -> list[list[inspect.Parameter]]:
        """The parameters of each rule, without g and y."""
        rules = self.rules if isinstance(self.rules, tuple) else [self.rules[0]]
        found = []
        for rule in filter(None, rules):
            with suppress(ValueError):  # raised for a function written in C that has no signature
                found.append([*inspect.signature(rule).parameters.values()][2:])
        return found

    def checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments with which the kernel is to be called.

        Raises:
            TypeError: if the rules do not cover the call: an unknown option, a Tensor as an option, or more positional
                arguments than the rules take.
        """
        if self.kind in ("constant", "random", "plain"):
            _refuse(self.name, kwargs.keys() & _REASONS.keys(), ())
            tensors = {name for name, value in kwargs.items() if isinstance(value, Recordable)}
            if tensors and recording.everything:  # a run of a recorded call would have the old array
                raise TypeError(f"{self.name} got a Tensor as {min(tensors)}=; pass it by position to have it recorded")
            return {name: value.data if name in tensors else value for name, value in kwargs.items()}
        for option, value in kwargs.items():
            if isinstance(value, Recordable) and self.kind != "composite":
                raise TypeError(
                    f"{self.name} got a Tensor as {option}=; gradients follow positional arguments only: "
                    "pass it by position, or its .data if it is a constant"
                )
        _refuse(self.name, kwargs, self.options)
        for position, argument in enumerate(args[len(self.rules) :], len(self.rules) + 1):
            if isinstance(argument, Recordable) and self.kind != "composite" and not is_data(argument):
                raise TypeError(
                    f"{self.name} has no rule for a Tensor as argument {position}; pass its .data if it is a constant"
                )
        if len(args) > self.limit:
            raise TypeError(
                f"{self.name} of a Tensor takes {self.limit} positional arguments, not {len(args)}; "
                "pass options that follow the arrays by keyword"
            )
        return kwargs

    def __repr__(self) -> str:
        return f"Operation({self.name}, {self.kind})"


# Every function that may be called on a Tensor; any other one raises TypeError.
OPERATIONS: dict[Function, Operation] = {}


def enter(
    function: Function, rules: Rules = NO_RULES, kind: Kind = "differentiable", kernel: Function | None = None
) -> None:
    """Add an operation to the registry. `kernel` is the function that runs; `function` itself runs if it is None."""
    OPERATIONS[function] = Operation(function, kernel or function, rules, kind)


def defvjp(function: Function, *rules: Rule | None) -> None:
    """Define the derivative of `function`: one rule for each positional argument, up to the last that has a derivative.

    `function` must pass Tensors on to NumPy's protocols: a NumPy function does, and so does any ufunc, SciPy's too.
    For a plain Python function use `@differentiable`.

    Args:
        function: the function.
        rules: each is called as `rule(g, y, *args, **kwargs)`, where g = ∂C/∂y is the gradient at the output y. It
            returns ∂C/∂argument, which the engine sums to the argument's shape. None marks an argument without
            derivative.

    >>> import math, numpy as np, scipy.special, tinygrad_vg as tg
    >>> tg.defvjp(scipy.special.erf, lambda g, y, a: g * (2 / math.sqrt(math.pi)) * np.exp(-a * a))
    >>> tg.gradcheck(scipy.special.erf, tg.Tensor([0.3, -1.2], requires_grad=True), order=2)
    True

    Raises:
        TypeError: if a rule is not callable.
    """
    enter(function, rules)


def differentiable(*rules: Rule | None) -> Callable[[Function], Function]:
    """Make a function of arrays an operation: a call on Tensors is recorded, a call on arrays just runs.

    Args:
        rules: one rule `rule(g, y, *args, **kwargs)` for each positional argument, or None; see `defvjp`.

    Raises:
        TypeError: if a rule is not callable, or the decorator is used without its rules.

    >>> import tinygrad_vg as tg
    >>> @tg.differentiable(lambda g, y, a: 3 * g * a * a)
    ... def cube(a):
    ...     return a * a * a
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad.item()
    12.0
    """
    return lambda function: operation(function, rules)


def operation(kernel: Function, rules: Rules, kind: Kind = "differentiable", name: str = "") -> Function:
    """Make an operation of a kernel and its rules; see `differentiable`. Users read its `name`, else the kernel's.

    Raises:
        TypeError: if `kernel` is not callable, as when `@differentiable` is written without its rules.
    """
    if not callable(kernel):
        raise TypeError("write @differentiable(rule, ...) above a function, with the rules in brackets")

    @wraps(kernel)
    def function(*args: Any, **kwargs: Any) -> Any:
        for argument in args:
            if isinstance(argument, Recordable):
                return argument.record(function, args, kwargs)
        for argument in kwargs.values() if kwargs else ():
            if isinstance(argument, Recordable):
                return argument.record(function, args, kwargs)
        return kernel(*args, **kwargs)

    enter(function, rules, kind, kernel)
    OPERATIONS[function].name = name or OPERATIONS[function].name
    return function


def composite(*functions: Function | None) -> Callable[[Function], Function]:
    """Enter functions of NumPy that the decorated one computes in terms of others.

    None stands for a function that this version of NumPy lacks.
    """

    def entered(kernel: Function) -> Function:
        for function in functions:
            if function is not None:
                enter(function, kind="composite", kernel=kernel)
        return kernel

    return entered


def fixed(function: Function, **given: Any) -> None:
    """Raise TypeError for a Tensor as an argument of a composite that has to be known when the call is recorded."""
    for name, value in given.items():
        if isinstance(value, Recordable):
            raise TypeError(
                f"{name_of(function)} got a Tensor as {name}; the shape of the result depends on it, so that it "
                "has no derivative; pass its .data"
            )


def name_of(function: Function) -> str:
    """The name of a function as users write it.

    >>> import numpy as np
    >>> name_of(np.sum), name_of(np.linalg.norm)
    ('np.sum', 'np.linalg.norm')
    """
    name = getattr(function, "__name__", repr(function))
    if getattr(np, name, None) is function:
        return f"np.{name}"
    package, *path = (getattr(function, "__module__", None) or "").split(".")
    return ".".join(["np", *path, name]) if package == "numpy" else name


def undefined(function: Function) -> NoReturn:
    """Raise TypeError: a function without an entry cannot be called on a Tensor."""
    name = name_of(function)
    if (reason := why_refused(function, name)) is not None:
        raise TypeError(f"{name} takes no Tensor: {reason}")
    raise TypeError(
        f"the gradient of {name} is not defined; add it with "
        f"tinygrad_vg.defvjp({name}, lambda g, y, a: ...), one rule for each positional argument, "
        "or pass .data if it is a constant"
    )


def why_no_gradient(operation: Operation, dtype: Any) -> str:
    """The message for a call whose output has a dtype without gradients."""
    return (
        f"{operation.name} of a Tensor that requires gradients returns {dtype}, and only real floating-point "
        "numbers have gradients; pass its .data if it is a constant"
    )


_REASONS = {
    "out": "the graph keeps the arrays of the forward pass, so they must not change; write `t = f(u)` instead",
    "where": "the entries left out would have no defined value; write `np.where(condition, f(t), other)` instead",
}


def _refuse(name: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for the first given option that is not known."""
    for option in given:
        if option not in known:
            covered = ", ".join(sorted(known)) or "none"
            reason = _REASONS.get(option, f"its rule covers these options: {covered}")
            raise TypeError(f"{name} of a Tensor does not take {option}=: {reason}")


def _arity(parameters: Sequence[inspect.Parameter]) -> float:
    """How many positional arguments these parameters take."""
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return math.inf
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _behind_first(parameters: Sequence[inspect.Parameter]) -> Iterable[inspect.Parameter]:
    """The parameters that may be passed by keyword: all but the first array and `*args`."""
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p for p in parameters if p not in positional[:1] and p.kind is not p.VAR_POSITIONAL]
