"""Initializers. Each gives a tensor a new array of the same shape and dtype, and returns the tensor.

The name ends in an underscore because `tensor.data` is rebound; the old array is not written into. `rng` is a
`np.random.Generator` to sample from, or a random seed; None takes a new generator with an unpredictable seed. A weight
has the shape (..., out, in): fan_in = in is the number of inputs of a neuron, fan_out = out the number of neurons. The
filters of a convolution, `nn.Filters` of shape (..., out, in, kh, kw), have fan_in = in·kh·kw and fan_out = out·kh·kw.

>>> from tinygrad_vg import nn
>>> layer = nn.Linear(100, 50)
>>> weight = nn.init.orthogonal_(layer.weight, rng=0)
"""

import math
from typing import Any, TypeAlias, TypeVar, Union

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn.parameter import Parameter
from tinygrad_vg.nn.twins import seed_of

Rng: TypeAlias = Union["np.random.Generator", int, None]  # a string: np.random is loaded on first use, and large
T = TypeVar("T", bound=Tensor)


def _filled(tensor: T, array: Any, rng: Rng = None) -> T:
    """The tensor with this array, in its own dtype; a parameter is untrained again, and knows its seed."""
    tensor.data = array.astype(tensor.dtype, copy=False)
    if isinstance(tensor, Parameter):
        tensor.is_trained = False
        tensor.seed = seed_of(rng)
    return tensor


def constant_(tensor: T, value: float) -> T:
    """Set every element to `value`.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.constant_(nn.Parameter(np.zeros(2)), 0.5)
    Parameter([0.5, 0.5], requires_grad=True)
    """
    return _filled(tensor, np.full(tensor.shape, value, tensor.dtype))


def zeros_(tensor: T) -> T:
    """Set every element to 0.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.zeros_(nn.Parameter(np.ones(2)))
    Parameter([0., 0.], requires_grad=True)
    """
    return constant_(tensor, 0.0)


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> T:
    """Sample every element from N(mean, std²).

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> weight = nn.init.normal_(nn.Parameter(np.empty((100, 100))), std=0.1, rng=0)
    >>> weight.data.std().round(2)
    np.float64(0.1)
    """
    return _filled(tensor, np.random.default_rng(rng).normal(mean, std, tensor.shape), rng)


def uniform_(tensor: T, low: float = 0.0, high: float = 1.0, rng: Rng = None) -> T:
    """Sample every element uniformly between `low` and `high`.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> weight = nn.init.uniform_(nn.Parameter(np.empty((100, 100))), -1.0, 1.0, rng=0)
    >>> bool(abs(weight.data).max() <= 1.0)
    True
    """
    return _filled(tensor, np.random.default_rng(rng).uniform(low, high, tensor.shape), rng)


def standard_normal_(tensor: T, rng: Rng = None) -> T:
    """Sample from N(0, 1): Nielsen's biases, and the weights of his "large" initializer (chapter 3).

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.standard_normal_(nn.Parameter(np.empty((100, 100))), rng=0).data.std().round(1)
    np.float64(1.0)
    """
    return normal_(tensor, rng=rng)


def scaled_normal_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """Sample from N(0, gain²/fan_in): Nielsen's default weights (chapter 3), LeCun's initializer.

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.scaled_normal_(nn.Parameter(np.empty((50, 400))), rng=0).data.std().round(2)  # 1/√400
    np.float64(0.05)
    """
    return normal_(tensor, std=gain / math.sqrt(fans(tensor)[0]), rng=rng)


def xavier_normal_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """Sample from N(0, 2 gain²/(fan_in + fan_out)) (Glorot & Bengio 2010).

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.xavier_normal_(nn.Parameter(np.empty((200, 600))), rng=0).data.std().round(2)  # √(2/800)
    np.float64(0.05)
    """
    return normal_(tensor, std=gain * math.sqrt(2 / sum(fans(tensor))), rng=rng)


def xavier_uniform_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """Sample uniformly, with mean 0 and the variance of `xavier_normal_` (Glorot & Bengio 2010).

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.xavier_uniform_(nn.Parameter(np.empty((200, 600))), rng=0).data.std().round(2)
    np.float64(0.05)
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, rng)


def kaiming_normal_(tensor: T, gain: float = math.sqrt(2), rng: Rng = None) -> T:
    """Sample from N(0, gain²/fan_in). The gain √2 compensates for the half of the inputs that ReLU sets to 0.

    Source: He et al. 2015.

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.kaiming_normal_(nn.Parameter(np.empty((50, 800))), rng=0).data.std().round(2)  # √(2/800)
    np.float64(0.05)
    """
    return scaled_normal_(tensor, gain, rng)


def kaiming_uniform_(tensor: T, gain: float = math.sqrt(2), rng: Rng = None) -> T:
    """Sample uniformly, with mean 0 and the variance of `kaiming_normal_` (He et al. 2015).

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.init.kaiming_uniform_(nn.Parameter(np.empty((50, 800))), rng=0).data.std().round(2)
    np.float64(0.05)
    """
    bound = gain * math.sqrt(3 / fans(tensor)[0])
    return uniform_(tensor, -bound, bound, rng)


def orthogonal_(tensor: T, gain: float = 1.0, rng: Rng = None) -> T:
    """Sample gain times a matrix with orthonormal rows or columns, uniformly distributed (Saxe et al. 2014).

    A weight (R, out, in) gets R matrices; filters count as matrices (out, in·kh·kw), as in PyTorch.

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> q = nn.init.orthogonal_(nn.Parameter(np.empty((30, 30))), rng=0).data
    >>> bool(np.allclose(q @ q.T, np.eye(30)))
    True
    """
    fan_in, _ = fans(tensor)
    *lead, fan_out = tensor.shape[: -_input_axes(tensor)]
    tall = np.random.default_rng(rng).normal(size=(*lead, max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(tall)
    # The signs of the columns depend on the algorithm; the signs of R's diagonal make the distribution uniform.
    q = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return _filled(tensor, gain * (q if fan_out >= fan_in else q.swapaxes(-1, -2)).reshape(tensor.shape), rng)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (..., out, in), or of `nn.Filters`.

    Raises:
        ValueError: if the tensor has fewer than two axes.

    >>> from tinygrad_vg import nn
    >>> nn.init.fans(nn.Linear(784, 30).weight)
    (784, 30)
    """
    if tensor.ndim < 2:
        raise ValueError(f"a tensor of shape {tensor.shape} has no count of inputs; a weight is (..., out, in)")
    out, inputs, *field = tensor.shape[-_input_axes(tensor) - 1 :]
    return inputs * math.prod(field), out * math.prod(field)


def _input_axes(tensor: Tensor) -> int:
    return tensor.input_axes if isinstance(tensor, Parameter) else 1
