"""Normalization: layers whose output has a fixed mean and variance."""

import math
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, no_grad
from tinygrad_vg.engine.arrays import as_array
from tinygrad_vg.nn.ensemble import beside_batch
from tinygrad_vg.nn.flags import checked_flag
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.parameter import Buffer, Parameter


class LayerNorm(Module):
    """(x − mean) / √(variance + eps) · weight + bias, over the last axis of x (Ba, Kiros & Hinton 2016).

    Mean and variance are taken over the features of each sample; the sum of squares is divided by the number of
    features, as in PyTorch. The initial weights are 1, the biases 0. In an ensemble both are (R, features), and x of
    shape (B, features) or (R, B, features) gives (R, B, features).

    Args:
        features: the length of the last axis of x.
        eps: a number added to the variance, so that a row of equal values gives 0.
        dtype: the dtype of the parameters.

    Raises:
        ValueError: if there is no feature; in a call, if the last axis of x has another length.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nn.LayerNorm(2)(np.array([[1.0, 3.0]])).data.round(3)
    array([[-1.,  1.]])
    """

    takes_members = True

    def __init__(self, features: int, eps: float = 1e-5, *, dtype: Any = np.float64) -> None:
        if not isinstance(features, int | np.integer):
            raise TypeError(f"LayerNorm takes the length of the last axis as a whole number, not {features!r}")
        if features < 1:
            raise ValueError(f"a layer has at least one feature, not {features}")
        self.features = features
        self.eps = eps
        self.weight = Parameter(np.ones(features, dtype))
        self.bias = Parameter(np.zeros(features, dtype))

    def forward(self, x: Any) -> Any:
        """The normalized x, of the shape of x; in an ensemble with a member axis, (R, B, features)."""
        if x.shape[-1] != self.features:
            raise ValueError(f"{self!r} takes arrays of shape (..., {self.features}), not {x.shape}")
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        weight, bias = beside_batch(self.weight, x), beside_batch(self.bias, x)
        return centred / np.sqrt(variance + self.eps) * weight + bias

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"


class BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d have in common; a subclass says which axes x may have."""

    takes_members = True
    channels_first = True
    members: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()  # how many axes x may have behind that of the channels

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float64,
    ) -> None:
        if num_features < 1:
            raise ValueError(f"a layer has at least one feature, not {num_features}")
        affine = checked_flag(self, "affine", affine)
        track_running_stats = checked_flag(self, "track_running_stats", track_running_stats)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.running_mean = Buffer(np.zeros(num_features, dtype)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, dtype)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.array(0)) if track_running_stats else None

    def forward(self, x: Any) -> Any:
        """The normalized x, of its shape; in an ensemble with a member axis in front."""
        if not isinstance(x, Tensor):
            x = as_array(x)
        batch = self._batch_axis(x.ndim)
        positions = x.ndim - batch - 2
        if positions not in self.positions or x.shape[batch + 1] != self.num_features:
            raise ValueError(f"{self!r} takes arrays of shape {self._forms()}, not {x.shape}")
        if self.training or self.running_mean is None:
            axes = (batch, *range(batch + 2, x.ndim))
            mean = np.mean(x, axis=axes, keepdims=True)
            centred = x - mean
            variance = np.mean(np.square(centred), axis=axes, keepdims=True)
            if self.training:
                self._track(np.squeeze(mean, axes), np.squeeze(variance, axes), math.prod(x.shape[a] for a in axes))
        else:
            centred = x - beside_batch(self.running_mean, x, positions)
            variance = beside_batch(self.running_var, x, positions)
        normalized = centred / np.sqrt(variance + self.eps)
        if self.weight is None or self.bias is None:
            return normalized
        return normalized * beside_batch(self.weight, x, positions) + beside_batch(self.bias, x, positions)

    def _batch_axis(self, ndim: int) -> int:
        """The axis of the samples in an x of so many axes."""
        raise NotImplementedError

    def _forms(self) -> str:
        """The shapes that x may have, in words."""
        raise NotImplementedError

    def _track(self, mean: Any, variance: Any, n: int) -> None:
        """Add a batch of n values per feature to the running means: (C,), or (R, C)."""
        if n < 2:
            raise ValueError(f"{self!r} needs two or more values of each feature in training; for one write .eval()")
        tracked: Any = self.num_batches_tracked
        if tracked is None:
            return
        with no_grad():
            tracked.assign(count := tracked + 1)
            share: Any = self.momentum
            if share is None:
                share = (1 / count).astype(mean.dtype)
                share = np.expand_dims(share, -1) if self.members else share
            new: dict[Any, Any] = {self.running_mean: mean, self.running_var: variance * (n / (n - 1))}
            for buffer, value in new.items():
                buffer.assign((1 - share) * buffer + share * value)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}, "
            f"track_running_stats={self.running_mean is not None}"
        )


class BatchNorm1d(BatchNorm):
    """(x − mean) / √(variance + eps) · weight + bias, feature by feature (Ioffe & Szegedy 2015).

    In training, mean and variance of a feature are taken over the batch, and over all positions if x is (B, C, L); the
    sum of squares is divided by the number n of values. As in PyTorch, buffers keep running means of the mean and of
    the variance (here with n − 1): new = (1 − momentum) · old + momentum · batch's. They are used in evaluation. The
    initial weights are 1, the biases 0.

    In an ensemble (`nn.stack`) parameters and buffers are (R, C), and x of shape (B, C), (R, B, C) or (R, B, C, L) is
    normalized for each member. A compiled step updates the buffers too.

    Args:
        num_features: C, the number of features or channels.
        eps: a number added to the variance, so that a feature of equal values gives 0.
        momentum: the share of the batch in the running means; None for the mean of all batches so far.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running means; without them evaluation takes those of the batch.
        dtype: the dtype of parameters and running means.

    Attributes:
        running_mean, running_var: buffers (C,), or None.
        num_batches_tracked: a buffer, the number of batches so far, or None.

    Raises:
        ValueError: if there is no feature; in a call, if x has another shape, or only one value of a feature in
            training.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> layer = nn.BatchNorm1d(1)
    >>> layer(np.array([[1.0], [3.0]])).data.round(3).ravel()
    array([-1.,  1.])
    >>> layer.running_mean, layer.running_var.data.round(3)
    (Buffer([0.2]), array([1.1]))
    """

    positions = (0, 1)

    def _batch_axis(self, ndim: int) -> int:
        return 0 if ndim == 2 else len(self.members)  # all members share a (B, C)

    def _forms(self) -> str:
        own, n = "".join(f"{n}, " for n in self.members), self.num_features
        return f"(B, {n}) or ({own}B, {n}, L)" + f" or ({own}B, {n})" * len(self.members)


class BatchNorm2d(BatchNorm):
    """BatchNorm1d for images (B, C, H, W): mean and variance of a channel are taken over the batch and all positions.

    In an ensemble (`nn.stack`) an x of shape (B, C, H, W) or (R, B, C, H, W) gives (R, B, C, H, W).

    Args:
        num_features: C, the number of channels.
        eps, momentum, affine, track_running_stats, dtype: as of BatchNorm1d.

    Attributes:
        running_mean, running_var: buffers (C,), or None.
        num_batches_tracked: a buffer, the number of batches so far, or None.

    Raises:
        ValueError: as BatchNorm1d.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> layer = nn.BatchNorm2d(1)
    >>> layer(np.array([[[[1.0, 3.0]]], [[[1.0, 3.0]]]])).data.round(3).ravel()
    array([-1.,  1., -1.,  1.])
    >>> layer.running_mean, layer.running_var.data.round(3)
    (Buffer([0.2]), array([1.033]))
    """

    positions = (2,)

    def _batch_axis(self, ndim: int) -> int:
        return len(self.members) if ndim == 4 + len(self.members) else 0  # all members share a (B, C, H, W)

    def _forms(self) -> str:
        n = self.num_features
        return f"(B, {n}, H, W)" + "".join(f" or ({members}, B, {n}, H, W)" for members in self.members)
