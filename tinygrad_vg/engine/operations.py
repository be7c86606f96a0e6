"""Operations: what the engine knows of a function, in one record; and the registry that holds them all.

Everybody who needs to know something of a function reads its `Operation`: the recording of a call, the walk back, the
instruments and the pictures. `defvjp` and `@differentiable` enter new ones.
"""

import inspect
import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, partial, wraps
from typing import Any, Literal, NoReturn

import numpy as np

Rule = Callable[..., Any]
Function = Callable[..., Any]
Kind = Literal["differentiable", "constant", "plain", "composite"]


class Recordable:
    """An argument for whose sake a call is recorded: `Tensor` is one."""

    __slots__ = ()
    data: Any  # the array

    @staticmethod
    def record(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call that has this argument, and remember it if need be."""


class ForEach:
    """The rules of a function of any number of arrays: one rule that is told the number of the argument, from 0.

    `rule(index, g, y, *arrays, **options)`.
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
        kernel: what runs on arrays; of a composite, on Tensors.
        rules: for each array argument in order a rule, or None where there is no derivative to follow.
        kind: "differentiable": recorded, and has rules. "constant": its value has no derivative, as a comparison's;
            recorded only where everything is. "plain": tells of shapes and types, or makes text; never recorded.
            "composite": written in other operations, and a call of it is a call of those.
        name: how readers know the function: "np.sum", "np.linalg.norm", "sigmoid".
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
        """How many positional arguments the rules understand."""
        return min((_arity(parameters) for parameters in self._parameters), default=math.inf)

    @cached_property
    def options(self) -> Collection[str]:
        """The names that a call may use: those that all rules know; of a composite, those of its parameters."""
        if self.kind == "composite":
            return inspect.signature(self.kernel).parameters.keys()
        names = [{p.name for p in _behind_first(parameters)} for parameters in self._parameters]
        return set.intersection(*names) if names else set()

    @property
    def _parameters(self) -> list[list[inspect.Parameter]]:
        """Of each rule the parameters behind g and y."""
        rules = self.rules if isinstance(self.rules, tuple) else [self.rules[0]]
        found = []
        for rule in filter(None, rules):
            with suppress(ValueError):  # from a function written in C that does not say what it takes
                found.append([*inspect.signature(rule).parameters.values()][2:])
        return found

    def checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The options to run the call with.

        Raises:
            TypeError: if the rules do not cover the call.
        """
        if self.kind in ("constant", "plain"):
            _refuse(self.name, kwargs.keys() & _REASONS.keys(), ())
            return {name: value.data if isinstance(value, Recordable) else value for name, value in kwargs.items()}
        for option, value in kwargs.items():
            if isinstance(value, Recordable) and self.kind != "composite":
                raise TypeError(
                    f"{self.name} got a Tensor as {option}=; gradients follow positional arguments only: "
                    "pass it by position, or its .data if it is a constant"
                )
        _refuse(self.name, kwargs, self.options)
        for position, argument in enumerate(args[len(self.rules) :], len(self.rules) + 1):
            if isinstance(argument, Recordable) and self.kind != "composite":
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


# Every function that may be called on a Tensor. What is not here is refused.
OPERATIONS: dict[Function, Operation] = {}


def enter(
    function: Function, rules: Rules = NO_RULES, kind: Kind = "differentiable", kernel: Function | None = None
) -> None:
    """Put an operation into the registry; `kernel` is what runs, if it is not the function itself."""
    OPERATIONS[function] = Operation(function, kernel or function, rules, kind)


def defvjp(function: Function, *rules: Rule | None) -> None:
    """Enter the derivative of `function` in the table: one rule for each array argument, in order.

    `rule(g, y, *args, **kwargs)` returns ∂C/∂argument for g = ∂C/∂y; None marks an argument without
    derivative. `function` must be one that hands Tensors to NumPy's protocols: a NumPy function or any ufunc,
    SciPy's too. For a plain Python function use `@differentiable`.

    >>> import numpy as np, tinygrad_vg as tg
    >>> tg.defvjp(np.sinc, lambda g, y, a: g * (np.cos(np.pi * a) - y) / a)
    >>> tg.gradcheck(np.sinc, tg.Tensor([0.3, -1.2], requires_grad=True), order=2)
    True

    Raises:
        TypeError: if a rule is not callable.
    """
    enter(function, rules)


def differentiable(*rules: Rule | None) -> Callable[[Function], Function]:
    """Make a function of arrays an operation: on Tensors it is recorded, on arrays it just runs.

    Args:
        rules: for each array argument in order `rule(g, y, *args, **kwargs)`, or None; see `defvjp`.

    Raises:
        TypeError: if a rule is not callable, or the decorator stands without its rules.

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


def operation(kernel: Function, rules: Rules) -> Function:
    """The kernel as an operation with these rules; see `differentiable`."""
    if not callable(kernel):
        raise TypeError("write @differentiable(rule, ...) above a function: the rules come in brackets")

    @wraps(kernel)
    def function(*args: Any, **kwargs: Any) -> Any:
        for argument in args:
            if isinstance(argument, Recordable):
                return argument.record(function, args, kwargs)
        for argument in kwargs.values() if kwargs else ():
            if isinstance(argument, Recordable):
                return argument.record(function, args, kwargs)
        return kernel(*args, **kwargs)

    enter(function, rules, kernel=kernel)
    return function


def name_of(function: Function) -> str:
    """The name that a reader knows a function by.

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
    raise TypeError(
        f"the gradient of {name} is not defined; add it with "
        f"tinygrad_vg.defvjp({name}, lambda g, y, a: ...), one rule for each array argument, "
        "or pass .data if it is a constant"
    )


def why_no_gradient(operation: Operation, dtype: Any) -> str:
    """Why a call that makes numbers of this type has no gradient."""
    return (
        f"{operation.name} makes {dtype} of a Tensor that requires gradients, which only real "
        "floating-point numbers have; pass its .data if it is a constant"
    )


_REASONS = {
    "out": "the graph keeps the arrays of the forward pass, so nothing may be written into them; "
    "write `t = f(u)` instead",
    "where": "the entries left out would have no defined value; write `np.where(condition, f(t), other)` instead",
}


def _refuse(name: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for the first option that is not among the known ones."""
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
    """The parameters that a call may name: all but the first array, and `*args`."""
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p for p in parameters if p not in positional[:1] and p.kind is not p.VAR_POSITIONAL]
