"""The convolution of images as matrix products of patches.

A convolution is linear in the images and in the filters. Its three operations are each other's rules: `conv2d` itself,
`conv2d_images`, the gradient of the images, and `conv2d_filters`, the gradient of the filters. So derivatives of every
order are exact.
"""

import math
from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import differentiable

Pair = tuple[int, int]


def padded(x: Any, padding: Pair, value: float = 0.0) -> Any:
    """x (..., H, W) with a border of `value`: (..., H + 2·padding[0], W + 2·padding[1])."""
    if padding == (0, 0):
        return x
    *lead, height, width = x.shape
    out = np.full((*lead, height + 2 * padding[0], width + 2 * padding[1]), value, x.dtype)
    inside(out, padding)[...] = x
    return out


def inside(a: Any, padding: Pair) -> Any:
    """The array without the border that `padded` has put around it, a view."""
    (top, left), (height, width) = padding, a.shape[-2:]
    return a[..., top : height - top, left : width - left]


def patches(x: Any, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The patches of images as columns: (..., B, C, H, W) → (..., C·kh·kw, H′·W′·B).

    The images of a batch are neighbours in memory, so that the copies are long runs, and the whole batch is one matrix.
    """
    x = np.ascontiguousarray(images_last(padded(x, padding)))
    *lead, channels, height, width, batch = x.shape
    rows, columns = output_size((height, width), kernel, stride, (0, 0))
    out = np.empty((*lead, channels, *kernel, rows, columns, batch), x.dtype)
    for i, j, place in places(kernel, stride, (rows, columns)):
        out[..., i, j, :, :, :] = x[(*place, slice(None))]
    return out.reshape(*lead, channels * math.prod(kernel), rows * columns * batch)


def images_last(x: Any) -> Any:
    """(..., B, C, H, W) as a view (..., C, H, W, B)."""
    return np.moveaxis(x, -4, -1)


def images_first(x: Any) -> Any:
    """(..., C, H, W, B) as a view (..., B, C, H, W)."""
    return np.moveaxis(x, -1, -4)


def as_matrix(weight: Any) -> Any:
    """Filters as rows: (..., O, C, kh, kw) → (..., O, C·kh·kw)."""
    return weight.reshape(*weight.shape[:-3], math.prod(weight.shape[-3:]))


def as_columns(g: Any) -> Any:
    """The columns of outputs: (..., B, O, H′, W′) → (..., O, H′·W′·B), in the order of `patches`."""
    *lead, batch, outputs, height, width = g.shape
    return images_last(g).reshape(*lead, outputs, height * width * batch)


def _images_vjp(
    g: Any, y: Any, x: Any, weight: Any, bias: Any = None, *, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> Any:
    return conv2d_images(g, weight, size=np.shape(x)[-2:], stride=stride, padding=padding)


def _filters_vjp(
    g: Any, y: Any, x: Any, weight: Any, bias: Any = None, *, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> Any:
    return conv2d_filters(g, x, kernel=np.shape(weight)[-2:], stride=stride, padding=padding)


def _bias_vjp(g: Any, y: Any, x: Any, weight: Any, bias: Any, *, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> Any:
    return np.sum(g, axis=(-4, -2, -1))


@differentiable(_images_vjp, _filters_vjp, _bias_vjp)
def conv2d(x: Any, weight: Any, bias: Any = None, *, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> Any:
    """y[b, o] = bias[o] + Σ_c x[b, c] ⋆ weight[o, c], where ⋆ is the cross-correlation, as in PyTorch.

    Args:
        x: images (B, C, H, W), or (R, B, C, H, W) for the R members of an ensemble.
        weight: filters (O, C, kh, kw), or (R, O, C, kh, kw).
        bias: (O,), or (R, O).
        stride: the distances between neighbouring patches, in rows and in columns.
        padding: the numbers of rows and of columns of zeros that are added at either end.

    Returns:
        (B, O, H′, W′), or (R, B, O, H′, W′), with H′ = (H + 2·padding − kh) // stride + 1.

    Raises:
        ValueError: if x has fewer than four axes, or the kernel is larger than the padded images.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    if x.ndim < 4:
        raise ValueError(f"images have the shape (B, C, H, W), not {x.shape}; x[None] is a batch of one image")
    height, width = output_size(x.shape[-2:], weight.shape[-2:], stride, padding)
    y = np.matmul(as_matrix(weight), patches(x, weight.shape[-2:], stride, padding))
    y = images_first(y.reshape(*y.shape[:-1], height, width, x.shape[-4]))
    return np.ascontiguousarray(y) if bias is None else np.add(y, bias[..., None, :, None, None], order="C")


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """(H′, W′), the numbers of patches.

    Raises:
        ValueError: if the kernel is larger than the images, or `size` is not that of images.
    """
    if len(size) < 2:
        raise ValueError(f"images have the shape (..., H, W), not {size}")
    rows, columns = (
        (n + 2 * p - k) // s + 1 if n + 2 * p >= k else 0
        for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    if rows < 1 or columns < 1:
        raise ValueError(f"a kernel {kernel} is larger than images of {size} with padding {padding}")
    return rows, columns


@differentiable(
    lambda h, y, g, weight, *, size, stride, padding: conv2d(h, weight, stride=stride, padding=padding),
    lambda h, y, g, weight, *, size, stride, padding: conv2d_filters(
        g, h, kernel=np.shape(weight)[-2:], stride=stride, padding=padding
    ),
)
def conv2d_images(g: Any, weight: Any, *, size: Pair, stride: Pair, padding: Pair) -> Any:
    """The gradient of the images, (..., B, C, *size), for a gradient g (..., B, O, H′, W′) at the output."""
    *_, batch, _, height, width = g.shape
    channels, *kernel = weight.shape[-3:]
    columns = np.matmul(as_matrix(weight).mT, as_columns(g))
    columns = columns.reshape(*columns.shape[:-2], channels, *kernel, height, width, batch)
    rows_and_columns = (n + 2 * p for n, p in zip(size, padding, strict=True))
    out = np.zeros((*columns.shape[:-6], channels, *rows_and_columns, batch), g.dtype)
    for i, j, place in places(weight.shape[-2:], stride, (height, width)):
        out[(*place, slice(None))] += columns[..., i, j, :, :, :]
    return np.ascontiguousarray(inside(images_first(out), padding))


def places(kernel: Pair, stride: Pair, size: Pair) -> list[tuple[int, int, Any]]:
    """(i, j, index) for each element of a kernel: padded[index] are the pixels that the element is multiplied by."""
    ends = [(n - 1) * s + 1 for n, s in zip(size, stride, strict=True)]
    return [
        (i, j, (..., slice(i, i + ends[0], stride[0]), slice(j, j + ends[1], stride[1])))
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


@differentiable(
    lambda h, y, g, x, *, kernel, stride, padding: conv2d(x, h, stride=stride, padding=padding),
    lambda h, y, g, x, *, kernel, stride, padding: conv2d_images(
        g, h, size=np.shape(x)[-2:], stride=stride, padding=padding
    ),
)
def conv2d_filters(g: Any, x: Any, *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The gradient of the filters, (..., O, C, *kernel), for a gradient g (..., B, O, H′, W′) at the output."""
    total = np.matmul(as_columns(g), patches(x, kernel, stride, padding).mT)
    return total.reshape(*total.shape[:-1], x.shape[-3], *kernel)
