"""What a function's own code takes from outside by name: numbers, arrays, modules ..."""

import types
from collections.abc import Callable
from typing import Any


def outside(function: Callable[..., Any]) -> dict[str, Any]:
    """The objects by their names. Modules of Python, such as `np`, are left out."""
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    found = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    found |= {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
    return {name: value for name, value in found.items() if not isinstance(value, types.ModuleType)}


class Outside:
    """The objects that a function takes from outside, to be compared with those of later.

    Args:
        function: the function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        seen = outside(function)
        code = getattr(function, "__code__", None)
        free = code.co_freevars if code is not None else ()
        cells = zip(free, cells_of(function), strict=True)
        self.cells = [(name, cell, seen[name]) for name, cell in cells if name in seen]
        self.globals = getattr(function, "__globals__", {})
        self.names = [(name, value) for name, value in seen.items() if name not in free]

    def changed(self) -> str | None:
        """The name that stands for another object now; None if there is none."""
        for name, cell, value in self.cells:
            if cell.cell_contents is not value:
                return f"{name!r}, which the function takes from outside"
        for name, value in self.names:
            if self.globals.get(name) is not value:
                return f"{name!r}, which the function takes from outside"
        return None


def cells_of(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The cells of a function's free variables."""
    return getattr(function, "__closure__", None) or ()
