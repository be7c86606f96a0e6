"""The objects that a function uses from outside by name: numbers, arrays, modules ..., and elements of lists."""

import types
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn import Module
from tinygrad_vg.optim import Optimizer

MOST = 100  # the most elements of a container that is compared in each call; longer ones are not compared
# Packages whose functions and objects do not change.
KNOWN = ("tinygrad_vg", "numpy", "scipy", "builtins")


class Elements:
    """The elements of a container, which must stay the same objects."""

    def __init__(self, name: str, container: Any) -> None:
        self.name = name
        self.elements = container.values() if isinstance(container, dict) else container  # of a dict it is a view
        self.before = (*self.elements,)

    def changed(self) -> bool:
        """Whether an element is now another object, or one was added or removed."""
        return len(self.elements) != len(self.before) or not all(map(is_, self.elements, self.before))


def named(function: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, the cell or the globals with the object, the object) for each name that a function uses from outside.

    Modules of Python, such as `np`, are left out.
    """
    code = getattr(function, "__code__", None)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True) if code is not None else ():
        if cell != types.CellType():
            yield name, cell, cell.cell_contents
    names = dict.fromkeys(name for each in codes_in(code) for name in each.co_names) if code is not None else {}
    for name in names:
        if not isinstance(value := function.__globals__.get(name, types), types.ModuleType):
            yield name, function.__globals__, value


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function and of the functions and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)


def is_plain(value: Any) -> bool:
    """Whether a value is an object with attributes, of a class of the user."""
    if isinstance(value, type | Tensor | Module | Optimizer) or type(value).__module__.split(".")[0] in KNOWN:
        return False
    return isinstance(getattr(value, "__dict__", None), dict)


class Outside:
    """The objects that a function, and the functions that it calls by name, use from outside.

    Attributes:
        objects: all of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.cells: list[tuple[str, Any, Any]] = []
        self.globals: list[tuple[str, dict[str, Any], Any]] = []
        self.containers: list[Elements] = []
        self.objects: dict[int, Any] = {}
        self.follow("the step", function)

    def follow(self, name: str, value: Any) -> None:
        """Note an object, and all that can be reached from it by names, elements and attributes."""
        if id(value) in self.objects:
            return
        self.objects[id(value)] = value
        if isinstance(value, types.MethodType):
            self.follow(name, value.__func__)
            self.follow(name, value.__self__)
        elif isinstance(value, types.FunctionType):
            if (value.__module__ or "").split(".")[0] not in KNOWN:
                self._follow_function(value)
        elif isinstance(value, list | tuple | dict):
            if len(value) > MOST:
                return
            self.containers.append(Elements(f"an element of {name!r}", value))
            for element in value.values() if isinstance(value, dict) else value:
                self.follow(name, element)
        elif is_plain(value):
            self.follow(f"{name}'s attributes", vars(value))

    def _follow_function(self, function: types.FunctionType) -> None:
        for name, where, value in named(function):
            if isinstance(where, dict):
                self.globals.append((name, where, value))
            else:
                self.cells.append((name, where, value))
            self.follow(name, value)
        for defaults in (function.__defaults__, function.__kwdefaults__):
            if defaults:
                self.follow("the defaults", defaults)

    def changed(self) -> str | None:
        """A name that now stands for another object; None if there is none."""
        for name, cell, value in self.cells:
            if cell.cell_contents is not value:
                return f"{name!r}, which the step takes from outside"
        for name, where, value in self.globals:
            if where.get(name) is not value:
                return f"{name!r}, which the step takes from outside"
        for container in self.containers:
            if container.changed():
                return container.name
        return None
