"""Guards: what must be as it was in the trace for a plan to be right, and is compared before each run."""

import types
from collections.abc import Callable
from operator import is_
from typing import Any

from tinygrad_vg.compiler.trace import Trace
from tinygrad_vg.nn import Module


class Watched:
    """Containers whose elements must be the same objects as before."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.watches: list[tuple[Callable[[], Any], int, tuple[Any, ...]]] = []

    def add(self, name: str, container: Any) -> None:
        """Watch the elements of a list or tuple, or the values of a dict."""
        read = container.values if isinstance(container, dict) else container.__iter__
        self.names.append(name)
        self.watches.append((read, len(container), (*read(),)))

    def changed(self) -> str | None:
        """The name of what has changed; None if nothing has."""
        for number, (read, _, before) in enumerate(self.watches):
            now = (*read(),)
            if len(now) != len(before) or not all(map(is_, now, before)):
                return self.names[number]
        return None


class Guards:
    """What a trace has found that must stay.

    Attributes:
        watched: the parts of the modules that were called, and the groups of the optimizers.
        outside: the values of the names that the function itself takes from outside.
    """

    def __init__(self, function: Callable[..., Any], trace: Trace) -> None:
        self.function = function
        self.watched = Watched()
        for module in trace.modules:
            self.watch_module(module)
        for optimizer in trace.optimizers:
            self.watched.add("the groups of the optimizer", optimizer.param_groups)
            for group in optimizer.param_groups:
                self.watched.add("the parameters of the optimizer", group["params"])
        self.outside = outside(function)
        self.leaves = tuple(trace.leaves)
        self.asks = tuple(tensor._asks for tensor in self.leaves)

    def watch_module(self, module: Module) -> None:
        """Watch a module's attributes, and the elements of containers among them."""
        name = type(module).__name__
        self.watched.add(f"an attribute of {name}", vars(module))
        unseen = [*vars(module).items()]
        seen: set[int] = set()
        while unseen:
            key, value = unseen.pop()
            if key != "_forward_hooks" and isinstance(value, list | tuple | dict) and id(value) not in seen:
                seen.add(id(value))
                self.watched.add(f"{name}.{key}", value)
                items = value.items() if isinstance(value, dict) else enumerate(value)
                unseen += [(f"{key}[{k!r}]", v) for k, v in items]

    def changed(self) -> str | None:
        """What is no longer as it was in the trace; None if all is."""
        for tensor, asks in zip(self.leaves, self.asks, strict=True):
            if tensor._asks is not asks:
                return f"requires_grad of {tensor.label}"
        if (name := self.watched.changed()) is not None:
            return name
        now = outside(self.function)
        for name, value in self.outside.items():
            if now[name] is not value:
                return f"{name!r}, which the function takes from outside,"
        return None


def outside(function: Callable[..., Any]) -> dict[str, Any]:
    """The objects that a function's own code takes from outside, by name: numbers, arrays, tensors, modules ..."""
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    found = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet set
            continue
    for name in code.co_names:
        value = function.__globals__.get(name)
        if value is not None and not isinstance(value, types.ModuleType):
            found[name] = value
    return found
