"""Checks of the arrays that are given to Tensors: some are refused because they would lose their meaning."""

import sys
from typing import Any

import numpy as np
from numpy import ndarray


def as_array(value: Any, dtype: Any = None) -> Any:
    """As `np.asarray`, but arrays that would lose their meaning are refused.

    Raises:
        TypeError: for an np.matrix, a masked array, or complex numbers where real ones are asked for.
    """
    if isinstance(value, ndarray) and type(value) is not ndarray:
        refuse(value)
    array = value if type(value) is ndarray else np.asarray(value)
    if dtype is None or array.dtype is dtype:
        return array
    if array.dtype.kind == "c":
        raise TypeError(f"{array.dtype} numbers would lose their imaginary part as {dtype}; write .real or abs()")
    return array.astype(dtype, copy=False)


def check_floats(dtype: Any) -> None:
    """Raise TypeError for a dtype that has no gradients."""
    if dtype.kind != "f":
        raise TypeError(f"only arrays of real floating-point numbers have gradients, not {dtype}")


def is_basic(index: Any) -> bool:
    """Whether an index of numbers, slices, None and ... gives a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        isinstance(p, int | np.integer | slice | type(None) | type(...)) and not isinstance(p, bool) for p in parts
    )


def refuse(value: Any) -> None:
    """Raise TypeError for an np.matrix, whose `*` is a product of matrices, and for an array that has a mask."""
    if isinstance(value, np.matrix):
        raise TypeError(
            "an np.matrix is not supported: its * is a product of matrices, and rules use * element by element; "
            "write matrix.A for the array, and @ for the product"
        )
    masked = sys.modules.get("numpy.ma")  # NumPy loads this module on first use
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            "a masked array is not supported: its gradient would have no mask; "
            "write .filled(value), or np.where(~array.mask, f(t), 0) to leave elements out"
        )
