"""Pooling layers, which make images smaller, and Flatten, which makes rows of them."""

import math
from typing import Any

from tinygrad_vg.engine import ops
from tinygrad_vg.nn.convolution import pair
from tinygrad_vg.nn.module import Module


class _Pool2d(Module):
    """Base of the pooling layers.

    Args:
        kernel_size: the size of a patch, a number or a pair (rows, columns).
        stride: the distances between neighbouring patches, in rows and in columns; by default kernel_size.
        padding: the numbers of rows and of columns that are added at either end, at most half of the kernel.

    Raises:
        ValueError: if a number is out of range; in a call, if x has fewer than two axes, or is smaller than the kernel.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"padding {self.padding} is more than half of the kernel {self.kernel_size}")

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """The largest element of each patch: (..., H, W) → (..., H′, W′); padding counts as −∞.

    H′ = (H + 2·padding − kernel) // stride + 1. The gradient goes to the first of the largest elements, as in PyTorch.
    Leading axes may be any, members too. `kernel_size`, `stride` (by default the kernel's size) and `padding` are
    numbers or pairs (rows, columns).

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).ravel()
    array([ 5.,  7., 13., 15.])
    """

    def forward(self, x: Any) -> Any:
        """The pooled images, (..., H, W) → (..., H′, W′)."""
        return ops.max_pool2d(x, kernel=self.kernel_size, stride=self.stride, padding=self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each patch: (..., H, W) → (..., H′, W′); padding counts as zeros.

    The arguments and shapes are those of MaxPool2d.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).ravel()
    array([ 2.5,  4.5, 10.5, 12.5])
    """

    def forward(self, x: Any) -> Any:
        """The pooled images, (..., H, W) → (..., H′, W′)."""
        return ops.avg_pool2d(x, kernel=self.kernel_size, stride=self.stride, padding=self.padding)


class Flatten(Module):
    """The axes from `start_axis` to `end_axis` as one axis: by default (B, C, H, W) → (B, C·H·W).

    Axes count from 0, the batch, or from the end. In an ensemble (`nn.stack`) the axes of (R, B, C, H, W) count from
    B on: it becomes (R, B, C·H·W). If x has fewer axes and the first one has length R, it is not known whether this
    axis counts members; a `start_axis` that counts from the end, such as −3, is always clear.

    Args:
        start_axis, end_axis: the first and the last of the axes that become one; PyTorch's start_dim and end_dim.

    Raises:
        ValueError: in a call, if x has no such axes, or the first axis of x may count members or samples.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Flatten()(np.zeros((5, 1, 28, 28))).shape
    (5, 784)
    """

    members: tuple[int, ...] = ()

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis = start_axis
        self.end_axis = end_axis

    def forward(self, x: Any) -> Any:
        """x with one axis in the place of several."""
        begin, end = (self._position(x.shape, axis) for axis in (self.start_axis, self.end_axis))
        if not 0 <= begin <= end < x.ndim:
            raise ValueError(f"{self!r} cannot find the axes {begin} to {end} in an array of shape {x.shape}")
        lengths = x.shape
        return x.reshape((*lengths[:begin], math.prod(lengths[begin : end + 1]), *lengths[end + 1 :]))

    def _position(self, shape: tuple[int, ...], axis: int) -> int:
        """The position of an axis, from 0; in an ensemble's output it comes after the member axis."""
        if axis < 0:
            return len(shape) + axis
        if self.members and len(shape) > IMAGES:
            return axis + 1
        if shape[:1] == self.members and axis < len(shape) - 1 > 1:
            raise ValueError(
                f"the first axis of {shape} may count the {shape[0]} members or {shape[0]} samples: count the axes of "
                f"Flatten from the end, as in Flatten({axis - (len(shape) - 1)})"
            )
        return axis

    def extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"


IMAGES = 4  # axes of a batch of images, (B, C, H, W)
