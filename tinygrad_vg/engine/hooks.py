"""Hooks: who is told of a gradient, and who of a whole walk back."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

Gradient = Any  # an array; in a recorded walk a Tensor, in one of extended range an ExtendedArray
Hook = Callable[[Gradient], Gradient | None]

_keys = itertools.count()


class HookHandle:
    """Takes a hook off again: call `remove()`, or use the handle as a context manager."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        if not callable(hook):
            raise TypeError(f"a hook is a function, not {hook!r}")
        self._hooks = hooks
        self._key = next(_keys)  # a number: the handle as key would be a cycle, and the hook outlive its tensor
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook off; doing so twice is harmless."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> "HookHandle":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Walk:
    """One walk back, as those who `listen` are told of it when it begins.

    Attributes:
        seeds: the gradients that it starts from, by vertex.
        gradients: when it has ended, the total gradients of all leaves that it came to and of the vertices that were
            wanted; if an exception has ended it, of the wanted ones that it had come to.
    """

    __slots__ = ("seeds", "gradients", "wanted", "callbacks")

    def __init__(self, seeds: dict[Any, Gradient], wanted: set[Any]) -> None:
        self.seeds = seeds
        self.gradients: dict[Any, Gradient] = {}
        self.wanted = wanted
        self.callbacks: list[Callable[[Walk], None]] = []

    def want(self, vertices: Iterable[Any]) -> None:
        """Keep the gradients of these vertices, if the walk comes to them, until its end."""
        self.wanted.update(vertices)

    def at_end(self, callback: Callable[["Walk"], None]) -> None:
        """Call `callback(walk)` when this walk has ended, before any `.grad` is changed."""
        self.callbacks.append(callback)

    def shared(self) -> set[int]:
        """The `id` of each gradient that belongs to somebody else too: those given, and those that leaves may get."""
        leaves = (g for vertex, g in self.gradients.items() if vertex.node is None)
        return {id(g) for g in (*self.seeds.values(), *leaves)}


LISTENERS: dict[int, Callable[[Walk], None]] = {}


def listen(listener: Callable[[Walk], None]) -> HookHandle:
    """Call `listener(walk)` whenever a backward begins, in whatever thread; pictures do not count.

    Returns:
        A handle: `handle.remove()`, or use it as a context manager.

    >>> import tinygrad_vg as tg
    >>> a = tg.Tensor(2.0, requires_grad=True)
    >>> square = a * a
    >>> def listener(walk):
    ...     walk.want([square])
    ...     walk.at_end(lambda walk: print(*walk.gradients.values()))
    >>> with tg.engine.listen(listener):
    ...     (3 * square).backward()
    3.0 12.0
    """
    return HookHandle(LISTENERS, listener)


class Shower(Protocol):
    """What hooks need of the mode of a walk."""

    def shown(self, g: Gradient) -> Gradient:
        """The gradient as a hook gets it: what it does to that does no harm elsewhere."""

    def replaced(self, replacement: Any, vertex: Any) -> Gradient:
        """What a hook has returned, as a gradient that nobody else can change."""


def call_hooks(vertex: Any, g: Gradient, mode: Shower) -> Gradient:
    """Hand the total gradient to the vertex's hooks, in the order of their registration.

    Returns:
        The gradient as the last hook has seen it, or what it has put in its place.

    Raises:
        ValueError: if a hook returns a gradient of another shape.
    """
    hooks = vertex.hooks
    g = mode.shown(g)
    for key, hook in tuple(hooks.items()):
        if key not in hooks:  # another hook has just taken it off
            continue
        replacement = hook(g)
        if replacement is not None and replacement is not g:
            if np.shape(replacement) != vertex.shape:
                raise ValueError(
                    f"a hook on {vertex.label} returned a gradient of shape {np.shape(replacement)}; "
                    f"the tensor has shape {vertex.shape}"
                )
            g = mode.shown(mode.replaced(replacement, vertex))
    return g
