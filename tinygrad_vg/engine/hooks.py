"""Hooks on the gradient of a tensor, and listeners to a whole backward."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from tinygrad_vg.engine.recording import changes

Gradient = Any  # an array; in a recorded walk a Tensor, in one of extended range an ExtendedArray
Hook = Callable[[Gradient], Gradient | None]
"""A hook on a tensor: it takes the gradient, and returns None or a gradient of the same shape."""

_keys = itertools.count()


class HookHandle:
    """Removes a hook: call `remove()`, or use the handle as a context manager.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor(2.0, requires_grad=True)
    >>> handle = t.register_hook(lambda g: 10 * g)
    >>> (t * t).backward()
    >>> handle.remove()
    >>> t.grad.item()
    40.0
    """

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        if not callable(hook):
            raise TypeError(f"a hook is a function, not {hook!r}")
        self._hooks = hooks
        self._key = next(_keys)  # not the handle itself: that would be a reference cycle, and keep the hook alive
        hooks[self._key] = hook
        changes.count += 1

    def remove(self) -> None:
        """Remove the hook. A second call does nothing."""
        self._hooks.pop(self._key, None)
        changes.count += 1

    def __enter__(self) -> "HookHandle":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Walk:
    """One backward. A listener (`listen`) gets it when the backward begins.

    Attributes:
        starts: the cotangents that it starts from, by vertex.
        gradients: empty until the end. Then it holds, by vertex, the total gradients of all leaves that were reached
            and of the vertices passed to `want`. If an exception has ended the backward, it holds only the gradients of
            the wanted vertices that were reached before.

    >>> import numpy as np, tinygrad_vg as tg
    >>> t = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> square = t * t
    >>> def listener(walk):
    ...     walk.want([square])
    ...     walk.at_end(lambda walk: print(walk.gradients[square], walk.gradients[t]))
    >>> with tg.engine.listen(listener):
    ...     np.sum(square).backward()
    [1. 1.] [2. 4.]
    """

    __slots__ = ("starts", "gradients", "wanted", "callbacks")

    def __init__(self, starts: dict[Any, Gradient], wanted: set[Any]) -> None:
        self.starts = starts
        self.gradients: dict[Any, Gradient] = {}
        self.wanted = wanted
        self.callbacks: list[Callable[[Walk], None]] = []

    def want(self, vertices: Iterable[Any]) -> None:
        """Keep the gradients of these vertices in `gradients`; call this when the backward begins."""
        self.wanted.update(vertices)

    def at_end(self, callback: Callable[["Walk"], None]) -> None:
        """Call `callback(walk)` when this backward has ended, before any `.grad` is changed."""
        self.callbacks.append(callback)

    def shared(self) -> set[int]:
        """The `id` of each gradient that is also held elsewhere: the given cotangents, and the gradients of leaves.

        A listener that keeps one of these must copy it.

        >>> import tinygrad_vg as tg
        >>> t = tg.Tensor(2.0, requires_grad=True)
        >>> with tg.engine.listen(lambda walk: walk.at_end(lambda walk: print(len(walk.shared()), "are shared"))):
        ...     (t * t).backward()
        2 are shared
        """
        leaves = (g for vertex, g in self.gradients.items() if vertex.node is None)
        return {id(g) for g in (*self.starts.values(), *leaves)}


LISTENERS: dict[int, Callable[[Walk], None]] = {}


def listen(listener: Callable[[Walk], None]) -> HookHandle:
    """Call `listener(walk)` whenever a backward begins, in any thread. Drawing a picture does not count as a backward.

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
        """The gradient as a hook gets it. The hook cannot change the gradient of others."""

    def replaced(self, replacement: Any, vertex: Any) -> Gradient:
        """What a hook has returned, as a gradient that the hook can no longer change."""


def call_hooks(vertex: Any, g: Gradient, mode: Shower) -> Gradient:
    """Call the hooks of a vertex with its total gradient, in the order of their registration.

    Args:
        vertex: the vertex.
        g: its total gradient.
        mode: the mode of the walk.

    Returns:
        The gradient with which the walk goes on.

    Raises:
        ValueError: if a hook returns a gradient of another shape.
    """
    hooks = vertex.hooks
    g = mode.shown(g)
    for key, hook in tuple(hooks.items()):
        if key not in hooks:  # another hook has just taken it off
            continue
        replacement = hook(g)
        if replacement is not None:
            if np.shape(replacement) != vertex.shape:
                raise ValueError(
                    f"a hook on {vertex.label} returned a gradient of shape {np.shape(replacement)}; "
                    f"the tensor has shape {vertex.shape}"
                )
            g = mode.shown(mode.replaced(replacement, vertex))
    return g
