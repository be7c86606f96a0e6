"""Conv2d: the convolution of images with filters."""

from typing import Any

import numpy as np

from tinygrad_vg.engine import ops
from tinygrad_vg.nn.ensemble import members_of
from tinygrad_vg.nn.flags import checked_flag
from tinygrad_vg.nn.init import Rng, scaled_normal_, standard_normal_
from tinygrad_vg.nn.layer import Layer, taken
from tinygrad_vg.nn.parameter import Filters, Parameter
from tinygrad_vg.nn.twins import seed_of


class Conv2d(Layer):
    """Each output channel is a sum over patches of the image, times a filter, plus a bias, as in PyTorch.

    Images are (B, in, H, W), and the output is (B, out, H′, W′) with H′ = (H + 2·padding − kernel) // stride + 1. The
    initial weights are N(0, 1/(in·kernel²)) and the biases N(0, 1), as those of Linear. In an ensemble (`nn.stack`) the
    weight is (R, out, in, kh, kw), the bias (R, out), and images (B, in, H, W) or (R, B, in, H, W) give
    (R, B, out, H′, W′).

    Args:
        in_channels, out_channels: the numbers of channels of the images and of the output.
        kernel_size, stride, padding: a number of rows and columns, or a pair (rows, columns). Padding adds zeros at
            either end.
        bias: whether there is a bias.
        dtype: the dtype of the parameters.
        rng: a `np.random.Generator` to sample from, or a random seed.

    Raises:
        ValueError: if a number is out of range; in a call, if the images have another shape.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.Conv2d(1, 8, 5, rng=0)(np.zeros((2, 1, 28, 28))).shape
    (2, 8, 24, 24)
    """

    takes_members = True
    channels_first = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        *,
        dtype: Any = np.float64,
        rng: Rng = None,
    ) -> None:
        if min(in_channels, out_channels) < 1:
            raise ValueError(f"in_channels and out_channels are 1 or more, not {in_channels} and {out_channels}")
        bias = checked_flag(self, "bias", bias)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        one = np.random.default_rng(rng)  # one generator: weight and bias must not be sampled from the same seed
        self.weight = scaled_normal_(Filters(np.empty((out_channels, in_channels, *self.kernel_size), dtype)), rng=one)
        self.weight.seed = seed_of(rng)
        self.bias = standard_normal_(Parameter(np.empty(out_channels, dtype)), rng=one) if bias else None

    def forward(self, x: Any) -> Any:
        """The convolved images: (B, in, H, W) → (B, out, H′, W′); in an ensemble → (R, B, out, H′, W′)."""
        x = taken(x, self.weight._data.dtype)
        members = members_of(self)
        if x.ndim not in (4, 4 + len(members)) or x.shape[-3] != self.in_channels:
            forms = f"(B, {self.in_channels}, H, W)" + "".join(
                f" or ({n}, B, {self.in_channels}, H, W)" for n in members
            )
            raise ValueError(f"{self!r} takes images of shape {forms}, not {x.shape}; x[None] is a batch of one image")
        return ops.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)

    @property
    def width(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels

    def extra_repr(self) -> str:
        options = "".join(
            f", {name}={value}" for name, value, plain in
            (("stride", self.stride, (1, 1)), ("padding", self.padding, (0, 0)), ("bias", self.bias is not None, True))
            if value != plain
        )  # fmt: skip
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}{options}"


def pair(name: str, size: Any, least: int) -> tuple[int, int]:
    """(rows, columns) of a number or a pair.

    Raises:
        ValueError: if they are not whole numbers of `least` or more.
    """
    sizes = size if isinstance(size, tuple) else (size, size)
    if len(sizes) != 2 or not all(isinstance(n, int | np.integer) and n >= least for n in sizes):
        raise ValueError(f"{name} is a whole number, {least} or more, or a pair of them, not {size!r}")
    return int(sizes[0]), int(sizes[1])
