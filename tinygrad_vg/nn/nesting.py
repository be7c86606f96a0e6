"""Nesting: pickling modules that are nested deeper than Python's stack."""

from collections.abc import Callable
from typing import Any

STRIDE = 50  # levels of nesting that pickle has the stack for, also where it is called far down


def levels_below(module: Any, levels: int) -> list[Any]:
    """The modules so many levels below this one, by the shortest way, each once."""
    seen, level = {module}, [module]
    while level and levels:
        below = dict.fromkeys(child for above in level for _, child in above.named_children())
        level = [child for child in below if child not in seen]
        seen.update(level)
        levels -= 1
    return level


def made(make: Callable[..., Any], arguments: tuple[Any, ...], below: list[Any]) -> Any:
    """A module that is being unpickled; those below it, which come first, need nothing but to be known."""
    return make(*arguments)
