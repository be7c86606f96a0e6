"""Which arrays are taken, and which are refused because they would be read as something else."""

import sys
from typing import Any

import numpy as np
from numpy import ndarray


def as_array(value: Any, dtype: Any = None) -> Any:
    """The same as `np.asarray`, but what would lose its meaning in it is refused.

    Raises:
        TypeError: for an np.matrix or a masked array.
    """
    if isinstance(value, ndarray) and type(value) is not ndarray:
        refuse(value)
    return np.asarray(value, dtype)


def refuse(value: Any) -> None:
    """Raise TypeError for an np.matrix, whose `*` is a product of matrices, and for an array that has a mask."""
    if isinstance(value, np.matrix):
        raise TypeError(
            "an np.matrix is not taken: its * is a product of matrices, and rules mean * element by element; "
            "write matrix.A for the array, and @ for the product"
        )
    masked = sys.modules.get("numpy.ma")  # NumPy loads it when somebody uses it
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            "a masked array is not taken: its gradient would have no mask; "
            "write .filled(value), or np.where(~array.mask, f(t), 0) for what shall not count"
        )
