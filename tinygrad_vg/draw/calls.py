"""A recorded call in words, as a user would write it.

This module is internal to `draw`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_vg.engine import Node, Tensor

_PLACE = "·"  # stands for an argument that has an edge
_LONGEST = 20  # letters of an argument


def words_of(node: Node) -> str:
    """The call that a node keeps. Its name stands alone if all arguments are arrays.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> words_of(np.exp(t).node), words_of(np.sum(t, axis=0).node), words_of(t[0, 1:].node)
    ('np.exp', 'np.sum(·, axis=0)', '·[0, 1:]')
    """
    written = _WORDS.get(node.operation.name)
    if written is not None:
        return written(node)
    words = [_PLACE if isinstance(given, Tensor | np.ndarray) else _short(given) for given in node.inputs]
    words += [f"{option}={_short(value)}" for option, value in node.kwargs.items() if value is not None]
    return node.operation.name + (f"({', '.join(words)})" if set(words) != {_PLACE} else "")


def _short(value: Any) -> str:
    words = (
        value.__name__ if isinstance(value, type) else repr(value.item() if isinstance(value, np.generic) else value)
    )
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def _of_joined(node: Node) -> str:
    return f"{node.operation.name}(axis={node.kwargs['axis']})"


def _of_contracted(node: Node) -> str:
    subscripts = f"{','.join(node.kwargs['inputs'])}->{node.kwargs['output']}"
    return f"{node.operation.name}({subscripts!r})"


def _of_indexed(node: Node) -> str:
    first, *others = node.inputs[1:]
    parts = first if isinstance(first, tuple) else (first, *others)
    return f"{_PLACE}[{', '.join(map(_part, parts))}]"


def _part(part: Any) -> str:
    """A part of an index."""
    if isinstance(part, slice):
        ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
        return ":".join(ends if part.step is not None else ends[:2])
    if part is Ellipsis:
        return "..."
    return _PLACE if isinstance(part, Tensor | np.ndarray) else _short(part)


def _of_sum(node: Node) -> str:
    """Σa / n."""
    n = node.inputs[-1]
    if n == np.size(node.values[0]) > 1:
        return "mean"
    return "sum" if n == 1 else f"sum / {n}"


def _of_cross_entropy(node: Node) -> str:
    return f"{node.operation.name.removesuffix(' / n')}, {_of_sum(node)}"


_WORDS: dict[str, Callable[[Node], str]] = {
    "np.concatenate": _of_joined,
    "np.einsum": _of_contracted,
    "getitem": _of_indexed,
    "sum / n": _of_sum,
    "binary_cross_entropy_with_logits / n": _of_cross_entropy,
}
