"""Clipping: PyTorch's clip_grad_norm_, with the norms before and after, and how often it binds."""

from typing import Any

import numpy as np

from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.norms import on_host

_UNREAD = 256  # norms that wait on the device


class GradientClip:
    """Clips gradients by `torch.nn.utils.clip_grad_norm_`, and notes the norm of each step.

    It is called in the place of that function, after the backward, and after `scaler.unscale_(optimizer)` if there is a
    GradScaler. The norms stay on the device until they are read.

    Args:
        max_norm: the largest norm of all gradients together.
        norm_type, foreach: as of `clip_grad_norm_`.

    >>> import torch
    >>> clip, x = GradientClip(max_norm=1.0), torch.nn.Parameter(torch.ones(2))
    >>> for size in (0.1, 30.0):
    ...     x.grad = torch.tensor([0.6, 0.8]) * size
    ...     norm = clip([x])
    >>> clip.log10_before.round(3), (clip.log10_after < 1e-6).tolist(), clip.share
    (array([-1.   ,  1.477]), [True, True], 0.5)
    >>> clip.scalars()["clip/share"]
    0.5
    """

    def __init__(self, max_norm: float, norm_type: float = 2.0, *, foreach: bool | None = None) -> None:
        self.max_norm, self.norm_type, self._foreach = float(max_norm), float(norm_type), foreach
        self._clip = pytorch().nn.utils.clip_grad_norm_
        self._unread: list[Any] = []
        self._read: list[Any] = [np.empty(0)]

    def __call__(self, parameters: Any) -> Any:
        """Clip the gradients of parameters in place, and return their norm before, a tensor."""
        norm = self._clip(parameters, self.max_norm, self.norm_type, foreach=self._foreach)
        self._unread.append(norm.detach())
        if len(self._unread) == _UNREAD:
            self._fetch()
        return norm

    @property
    def log10_before(self) -> Any:
        """(S,) log10 of the norm of all gradients before each step was clipped."""
        with np.errstate(divide="ignore"):
            return np.log10(self._norms())

    @property
    def log10_after(self) -> Any:
        """(S,) the same after: at most log10 of `max_norm`. PyTorch multiplies by max_norm / (norm + 1e-6) if that is
        below 1."""
        norms = self._norms()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(norms * np.minimum(1.0, self.max_norm / (norms + 1e-6)))

    @property
    def share(self) -> float:
        """The share of the steps in which it binds: the norm was above `max_norm`. NaN before the first step."""
        norms = self._norms()
        return float(np.mean(norms + 1e-6 > self.max_norm)) if len(norms) else float("nan")

    def scalars(self) -> dict[str, float]:
        """The last step for a tracker of experiments: "clip/before", "clip/after" in decades and "clip/share"; empty
        before the first step."""
        if not len(self._norms()):
            return {}
        return {
            "clip/before": float(self.log10_before[-1]),
            "clip/after": float(self.log10_after[-1]),
            "clip/share": self.share,
        }

    def _norms(self) -> Any:
        self._fetch()
        self._read = [np.concatenate(self._read)]
        return self._read[0]

    def _fetch(self) -> None:
        if self._unread:
            self._read.append(on_host(self._unread).astype(np.float64))
            self._unread.clear()
