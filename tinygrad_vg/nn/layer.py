"""Layer: base of the modules that compute z from inputs and weights, which the instruments take for layers."""

from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.arrays import as_array
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Parameter


class Layer(Module):
    """Base of Linear and Conv2d: z = weight applied to x, plus a bias. Instruments number these modules.

    Attributes:
        weight: the weights, (out, ...): a matrix, or filters.
        bias: one number for each output, (out,), or None.

    >>> from tinygrad_vg import nn
    >>> nn.Conv2d(3, 8, 5).width, nn.Linear(784, 30).width
    ((3, 8), (784, 30))
    """

    weight: Parameter
    bias: Parameter | None

    @property
    def width(self) -> tuple[int, int]:
        """The numbers of inputs and of outputs: features, or channels.

        Raises:
            NotImplementedError: if the class does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} is a Layer and defines no width (inputs, outputs)")


def taken(x: Any, dtype: Any) -> Any:
    """The input of a layer as an array or Tensor, in the dtype of its weights if every number is exact in it.

    NumPy would convert float32 images for a product with float64 weights, and again for each product of the backward,
    which takes twice as long as the products. Other inputs keep their dtype: float64 is not rounded to float32.

    >>> taken(np.ones(2, np.float32), np.dtype(np.float64)).dtype, taken([1.0], np.dtype(np.float32)).dtype
    (dtype('float64'), dtype('float64'))
    """
    if not isinstance(x, Tensor):
        x = as_array(x)
        given = x.dtype
    else:
        given = x._data.dtype
    return x if given is dtype or not np.can_cast(given, dtype) else x.astype(dtype)
