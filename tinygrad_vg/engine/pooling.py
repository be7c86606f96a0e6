"""Pooling: one number for each patch of an image, the largest or the mean.

If several elements of a patch are the largest, the first of them gets the gradient, as in PyTorch. `kernel`, `stride`
and `padding` are pairs (rows, columns). Images are (..., H, W).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_vg.engine.convolution import Pair, inside, output_size, padded, places
from tinygrad_vg.engine.operations import differentiable


def _largest(x: Any, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Any, Any, list[Any]]:
    """The largest of each patch (..., H′, W′), the padded images, and the place of each kernel element in them."""
    size = output_size(x.shape[-2:], kernel, stride, padding)
    images = padded(x, padding, -np.inf)
    indices = [index for _, _, index in places(kernel, stride, size)]
    largest = np.array(images[indices[0]])
    for index in indices[1:]:
        np.maximum(largest, images[index], out=largest)
    return largest, images, indices


def _zeros(g: Any, size: Pair, padding: Pair) -> Any:
    """Zeros for the gradient of padded images of this size, for a gradient g (..., H′, W′) of their patches."""
    *lead, _, _ = g.shape
    return np.zeros((*lead, *(n + 2 * p for n, p in zip(size, padding, strict=True))), g.dtype)


def _hits(x: Any, kernel: Pair, stride: Pair, padding: Pair) -> Iterator[tuple[Any, Any]]:
    """(index, bools) for each element of the kernel: whether it lies on the first largest element of each patch.

    In a patch with NaN it is the first NaN, so that the NaN is not lost in the gradient.
    """
    largest, images, indices = _largest(x, kernel, stride, padding)
    is_open = np.ones(largest.shape, bool)
    for index in indices:
        part = images[index]
        hit = is_open & ((part == largest) | np.isnan(part))
        is_open &= ~hit
        yield index, hit


@differentiable(
    lambda g, y, x, *, kernel, stride, padding: put_at_largest(g, x, kernel=kernel, stride=stride, padding=padding)
)
def max_pool2d(x: Any, *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The largest element of each patch: (..., H, W) → (..., H′, W′). Padding counts as −∞.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.max_pool2d(np.arange(16.0).reshape(4, 4), kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    array([[ 5.,  7.],
           [13., 15.]])
    """
    return _largest(x, kernel, stride, padding)[0]


@differentiable(
    lambda h, y, g, x, *, kernel, stride, padding: take_at_largest(h, x, kernel=kernel, stride=stride, padding=padding),
    None,
)
def put_at_largest(g: Any, x: Any, *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """Zeros of the shape of x, with g added at the largest element of each patch of x."""
    out = _zeros(g, x.shape[-2:], padding)
    for index, hit in _hits(x, kernel, stride, padding):
        out[index] += np.where(hit, g, 0)
    return inside(out, padding)


@differentiable(
    lambda g, y, a, x, *, kernel, stride, padding: put_at_largest(g, x, kernel=kernel, stride=stride, padding=padding),
    None,
)
def take_at_largest(a: Any, x: Any, *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """For each patch, the element of a at the place where x is largest: (..., H, W) → (..., H′, W′)."""
    out: Any = 0
    images = padded(a, padding)
    for index, hit in _hits(x, kernel, stride, padding):
        out = np.where(hit, images[index], out)
    return out


@differentiable(
    lambda g, y, x, *, kernel, stride, padding: spread_over_patches(
        g, size=np.shape(x)[-2:], kernel=kernel, stride=stride, padding=padding
    )
)
def avg_pool2d(x: Any, *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The mean of each patch: (..., H, W) → (..., H′, W′). The zeros of the padding count, as in PyTorch.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.avg_pool2d(np.arange(16.0).reshape(4, 4), kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    size = output_size(x.shape[-2:], kernel, stride, padding)
    images = padded(x, padding)
    parts = [images[index] for _, _, index in places(kernel, stride, size)]
    return sum(parts[1:], parts[0]) * (1 / len(parts))


@differentiable(
    lambda h, y, g, *, size, kernel, stride, padding: avg_pool2d(h, kernel=kernel, stride=stride, padding=padding)
)
def spread_over_patches(g: Any, *, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The gradient of images (..., *size) for a gradient g of the means of their patches."""
    out = _zeros(g, size, padding)
    share = g * (1 / (kernel[0] * kernel[1]))
    for _, _, index in places(kernel, stride, g.shape[-2:]):
        out[index] += share
    return inside(out, padding)
