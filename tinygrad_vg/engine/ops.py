"""Operations that NumPy lacks and networks need; they take arrays and Tensors.

`linear`, `conv2d`, `sigmoid` and the two cross-entropies are operations of their own because training spends its time
in them, and because a composition of NumPy's functions would lose precision. Slopes are exact at every z, so that no
gradient vanishes by rounding.
"""

from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine.arrays import is_basic
from tinygrad_vg.engine.convolution import conv2d
from tinygrad_vg.engine.fourier import irfft, rfft
from tinygrad_vg.engine.kernels import ONE_PRODUCT, sum_of_outer, wide
from tinygrad_vg.engine.normal import gelu, gelu_tanh, normal_cdf, normal_pdf
from tinygrad_vg.engine.operations import differentiable, operation
from tinygrad_vg.engine.pooling import avg_pool2d, max_pool2d
from tinygrad_vg.engine.units import elu, leaky_relu, relu, selu, sigmoid, sigmoid_slope, silu, softplus

__all__ = [
    "at", "avg_pool2d", "binary_cross_entropy_with_logits", "conv2d", "cross_entropy", "elu", "gelu", "gelu_tanh",
    "irfft", "leaky_relu", "linear", "log_softmax", "max_pool2d", "normal_cdf", "normal_pdf", "put", "relu", "rfft",
    "scatter", "selu", "sigmoid", "sigmoid_error", "sigmoid_slope", "silu", "softmax", "softmax_error", "softplus",
]  # fmt: skip


@differentiable(lambda g, y, z, axis=-1: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True))
def log_softmax(z: Any, axis: int = -1) -> Any:
    """z − log Σ exp(z) over an axis, without overflow.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.log_softmax(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """
    if not np.shape(z)[axis]:  # no classes, and np.max of nothing is an error
        return np.array(z)
    shifted = z - np.max(z, axis=axis, keepdims=True)
    others = np.exp(shifted)
    np.put_along_axis(others, np.argmax(shifted, axis=axis, keepdims=True), 0, axis=axis)
    others = np.sum(others, axis=axis, keepdims=True, dtype=wide(others.dtype))
    return shifted - np.log1p(others).astype(shifted.dtype, copy=False)  # exp(0) of the largest is the 1 in log1p


@differentiable(lambda g, y, z, axis=-1: y * (g - np.sum(g * y, axis=axis, keepdims=True)))
def softmax(z: Any, axis: int = -1) -> Any:
    """exp(z)/Σ exp(z) over an axis, without overflow.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    return np.exp(log_softmax(z, axis))


# For two matrices np.dot equals np.matmul. Its overhead is half as large, but it first fills its result with zeros.


def _linear_input(g: Any, y: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    if g.ndim == 2 == weight.ndim:
        return np.dot(g, weight)
    if x.ndim > 1:
        return np.matmul(g, weight)
    return np.squeeze(np.matmul(np.expand_dims(g, -2), weight), -2)


def _linear_weight(g: Any, y: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    if x.ndim == 1:
        return np.expand_dims(g, -1) * x
    return sum_of_outer(g, x) if g.ndim > 2 else np.matmul(g.mT, x)


def _linear_bias(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
    return g if x.ndim == 1 else np.sum(g, axis=-2)


@differentiable(_linear_input, _linear_weight, _linear_bias)
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b: (..., B, in), (..., out, in), (..., out) → (..., B, out); leading axes broadcast.

    A weight (R, out, in) holds the R layers of an ensemble. If x is a batch of 64 or more samples without a member
    axis, the R layers are computed as one product with a matrix (R·out, in). A single sample x (in,) gives (..., out).

    Raises:
        ValueError: if the weight has fewer than two axes, or the shapes do not match.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.linear(np.ones((5, 3)), np.ones((2, 3)), np.zeros(2)).shape
    (5, 2)
    """
    if weight.ndim < 2:
        raise ValueError(
            f"linear takes a weight of shape (..., out, in), not {weight.shape}; write np.matmul for a vector"
        )
    if x.ndim == 2 == weight.ndim:
        y = x.dot(weight.T)
    elif x.ndim == 2 and weight.ndim == 3 and len(x) >= ONE_PRODUCT:
        members, out, features = weight.shape
        y = np.matmul(x, weight.reshape(members * out, features).T)
        y = np.ascontiguousarray(y.reshape(-1, members, out).swapaxes(0, 1))  # later operations run over its rows
    else:
        y = np.matmul(weight, x) if x.ndim == 1 else np.matmul(x, weight.mT)
    if bias is None:
        return y
    in_place = y.dtype is bias.dtype and weight.shape[:-1] == bias.shape  # then y has all axes of the bias
    if bias.ndim > 1 and x.ndim > 1:  # the bias of an ensemble: add each member's bias to its whole batch
        bias = np.expand_dims(bias, -2)
    return np.add(y, bias, out=y if in_place else None)


@differentiable(lambda g, y, z, target: g * sigmoid_slope(z), lambda g, y, z, target: -g)
def sigmoid_error(z: Any, target: Any) -> Any:
    """σ(z) − t, elementwise, computed as σ(z) − t σ(z) − t σ(−z): where σ(z) is close to t, the error keeps its digits.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> float(ops.sigmoid_error(np.array(40.0), np.array(1.0)))
    -4.248354255291589e-18
    """
    z = np.asarray(z)
    p, q = np.exp(np.minimum(z, 0)), np.exp(np.minimum(-z, 0))  # p : q = σ(z) : σ(−z), and the larger is 1
    error = np.asarray(target * p)
    np.subtract(p, error, out=error)
    p += q
    error -= target * q
    error /= p
    return error


def check_classes(target: Any, z: Any) -> None:
    """Raise ValueError if probabilities do not match the logits: nothing may broadcast over the classes."""
    if not goes_with(target.shape, z.shape):
        raise ValueError(
            f"probabilities of shape {target.shape} do not match logits of shape {z.shape}; give one for each class"
        )


def goes_with(target: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether the shape of a target matches the shape of an input: the same shape, with or without leading axes.

    Labels (10,) do not match (10, 10), although NumPy would broadcast them.
    """
    return target == shape or (len(target) > 1 and target == shape[max(0, len(shape) - len(target)) :])


@differentiable(lambda g, y, z, target: g * sigmoid_error(z, target), lambda g, y, z, target: -g * z)
def binary_cross_entropy_with_logits(z: Any, target: Any) -> Any:
    """−t log σ(z) − (1−t) log(1 − σ(z)) = softplus(z) − t z, elementwise.

    Its derivative with respect to z is σ(z) − t: the σ′ of the output layer cancels (Nielsen, chapter 3). The target is
    a number, or has the shape of z, with or without leading axes.

    Raises:
        ValueError: if the target has another shape.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.binary_cross_entropy_with_logits(np.array([-800.0, 800.0]), np.array([1.0, 1.0]))
    array([800.,   0.])
    """
    z = np.asarray(z)
    shape = np.shape(target)
    if shape != z.shape and shape and not goes_with(shape, z.shape):
        raise ValueError(
            f"a target of shape {shape} does not match logits of shape {z.shape}: "
            f"the two would broadcast, and the loss would compare the wrong elements; write it in the shape {z.shape}"
        )
    return binary_cross_entropy(z, target)


def binary_cross_entropy(z: Any, target: Any) -> Any:
    """The same, for arrays whose shapes have been checked."""
    return np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))


def _softmax_error_slope(g: Any, y: Any, z: Any, target: Any) -> Any:
    p = np.exp(log_softmax(z))
    return np.sum(target, axis=-1, keepdims=True) * p * (g - np.sum(p * g, axis=-1, keepdims=True))


@differentiable(
    _softmax_error_slope,
    lambda g, y, z, target: np.sum(g * np.exp(log_softmax(z)), axis=-1, keepdims=True) - g,
)
def softmax_error(z: Any, target: Any) -> Any:
    """p Σt − t with p = softmax(z) over the last axis, as p (Σt − t) − t (1−p): small errors keep their digits.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.softmax_error(np.array([40.0, 0.0]), np.array([1.0, 0.0]))
    array([-4.24835426e-18,  4.24835426e-18])
    """
    check_classes(target, z)
    p = np.exp(log_softmax(z))
    above_half = p > 0.5  # at most one element of a row; its 1 − p is computed as the sum of the others
    rest = np.where(above_half, np.sum(np.where(above_half, 0, p), axis=-1, keepdims=True), 1 - p)
    return p * (np.sum(target, axis=-1, keepdims=True) - target) - target * rest


def _one_hot(target: Any, z: Any) -> Any:
    """Class indices (..., B) as probabilities (..., B, C) of 0 and 1; probabilities unchanged."""
    if target.dtype.kind in "iu":
        return (target[..., None] == np.arange(np.shape(z)[-1])).astype(z.dtype)
    return target


@differentiable(
    lambda g, y, z, target: np.expand_dims(g, -1) * softmax_error(z, _one_hot(target, z)),
    lambda g, y, z, target: -np.expand_dims(g, -1) * log_softmax(z),
)
def cross_entropy(z: Any, target: Any) -> Any:
    """−Σ p log softmax(z) over the last axis: (..., B, C) → (..., B).

    `target` holds class indices (B,), an integer array, or probabilities (B, C). A class of probability 0 adds 0, even
    if its logit is −∞.

    Raises:
        ValueError: if a class index is out of range, or the shapes do not match.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.cross_entropy(np.zeros((1, 4)), np.array([2])).round(4)
    array([1.3863])
    """
    classes, indices = np.shape(z)[-1], np.asarray(target)
    if indices.dtype.kind in "iu" and indices.size and not 0 <= indices.min() <= indices.max() < classes:
        raise ValueError(f"class indices run from 0 to {classes - 1}; found {indices.min()} to {indices.max()}")
    p, logs = _one_hot(indices, z), log_softmax(z)
    check_classes(p, logs)
    terms = np.zeros(logs.shape, np.result_type(p, logs))
    return -np.sum(np.multiply(p, logs, out=terms, where=p != 0), axis=-1)  # 0 · log 0 is 0


@differentiable(lambda g, y, a, index, shape: g[index])
def scatter(a: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape`, with `a` added at `index`. A position that occurs twice in `index` gets both values.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.scatter(np.array([1.0, 2.0]), np.array([0, 0]), (3,))
    array([3., 0., 0.])
    """
    out = np.zeros(shape, a.dtype)
    if is_basic(index):  # no element occurs twice: an assignment takes a tenth of the time of np.add.at
        out[index] = a
    else:
        np.add.at(out, index, a)
    return out


def _put_vjp(g: Any, y: Any, a: Any, shape: tuple[int, ...], *index: Any) -> Any:
    return at(g, *index)


@differentiable(_put_vjp)
def put(a: Any, shape: tuple[int, ...], *index: Any) -> Any:
    """`scatter` with the parts of the index as separate arguments.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.put(np.array([5.0, 6.0]), (2, 2), np.array([0, 1]), np.array([1, 0]))
    array([[0., 5.],
           [6., 0.]])
    """
    return scatter(a, index, shape)


def _at_vjp(g: Any, y: Any, a: Any, *index: Any) -> Any:
    return put(g, np.shape(a), *index)


@partial(operation, rules=(_at_vjp,), name="getitem")
def at(a: Any, *index: Any) -> Any:
    """a[index], with the parts of the index as separate arguments. These may be Tensors where everything is recorded.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.at(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1]), np.array([1, 0]))
    array([2., 3.])
    """
    return a[index]
