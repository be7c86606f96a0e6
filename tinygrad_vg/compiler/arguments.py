"""Arguments and results of a step: the arrays in them, and everything else, which must be the same in every run."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor

KIND = attrgetter("shape", "dtype")
STATIC = (int, float, complex, str, bytes, bool, type(None))


class Leaf:
    """A place for an array in a structure of tuples, lists and dicts.

    Attributes:
        kind: ndarray or Tensor; of an argument also its shape, dtype and whether it requires gradients.
    """

    __slots__ = ("kind",)

    def __init__(self, kind: Any) -> None:
        self.kind = kind


def taken_apart(value: Any, leaf: Callable[[Any], Any], found: list[Any]) -> Any:
    """The structure of a value, with a `leaf` in the place of each array and Tensor. The arrays and Tensors go into
    `found`.
    """
    if isinstance(value, np.ndarray | np.generic | Tensor):
        found.append(value)
        return leaf(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(taken_apart(v, leaf, found) for v in value))
    if isinstance(value, tuple | list):
        return type(value)(taken_apart(v, leaf, found) for v in value)
    if isinstance(value, dict):
        return {key: taken_apart(v, leaf, found) for key, v in value.items()}
    return value


def put_together(structure: Any, fill: Callable[[Leaf], Any]) -> Any:
    """A structure with the leaves replaced, in their order."""
    if isinstance(structure, Leaf):
        return fill(structure)
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(put_together(v, fill) for v in structure))
    if isinstance(structure, tuple | list):
        return type(structure)(put_together(v, fill) for v in structure)
    if isinstance(structure, dict):
        return {key: put_together(v, fill) for key, v in structure.items()}
    return structure


class Form:
    """The form of the arguments of a step: what must be the same in every run.

    Args:
        args, kwargs: the arguments. The arrays and Tensors among them are in `found`, in their order.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.found: list[Any] = []
        self.structure = taken_apart((args, kwargs), described, self.found)
        self.is_simple = not kwargs and all(type(a) is np.ndarray for a in args)
        self.types = [np.ndarray] * len(args)
        self.kinds = [*map(KIND, args)] if self.is_simple else []

    def is_of(self, args: tuple[Any, ...], kwargs: dict[str, Any], found: list[Any]) -> bool:
        """Whether other arguments have this form; their arrays go into `found`."""
        if not self.is_simple or kwargs:
            return is_alike(self.structure, (args, kwargs), found)
        found += args
        return [*map(type, args)] == self.types and [*map(KIND, args)] == self.kinds

    def filled(self, arrays: Any) -> Any:
        """(args, kwargs) with other arrays in them."""
        left = iter(arrays)
        return put_together(self.structure, lambda leaf: next(left))


def described(value: Any) -> Leaf:
    """The properties of an array that must be the same in every run."""
    array = value._data if isinstance(value, Tensor) else np.asarray(value)
    asks = isinstance(value, Tensor) and value.requires_grad
    return Leaf((isinstance(value, Tensor), array.shape, array.dtype, asks))


def is_alike(structure: Any, value: Any, found: list[Any]) -> bool:
    """Whether a value has this structure; its arrays and Tensors go into `found`."""
    if type(structure) is Leaf:
        is_tensor, shape, dtype, asks = structure.kind
        if isinstance(value, Tensor):
            if not is_tensor or value._asks is not asks or value.node is not None:
                return False
        elif is_tensor or not isinstance(value, np.ndarray | np.generic):
            return False
        array = value._data if is_tensor else value
        found.append(array)
        return bool(array.shape == shape and (array.dtype is dtype or array.dtype == dtype))
    if type(structure) is not type(value):
        return False
    if isinstance(structure, tuple | list):
        return len(structure) == len(value) and all(map(is_alike, structure, value, [found] * len(value)))
    if isinstance(structure, dict):
        return structure.keys() == value.keys() and all(is_alike(v, value[key], found) for key, v in structure.items())
    if isinstance(structure, STATIC):
        return bool(structure == value)
    return structure is value
