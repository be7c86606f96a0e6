"""Flags: arguments of layers that are True or False."""

from typing import Any

import numpy as np


def checked_flag(layer: Any, name: str, value: Any) -> bool:
    """An argument that is True or False.

    Raises:
        TypeError: for anything else: a dtype, which is given by its name.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    dtype = getattr(value, "__name__", value)
    instead = f"; write dtype=np.{dtype}" if hasattr(np, str(dtype)) else ""
    raise TypeError(f"{type(layer).__name__} takes {name}=True or {name}=False here, not {value!r}{instead}")
