"""Norms on the device: the decades of a gradient as a tensor of one element, which is read much later."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_vg.bridges.torch.installed import pytorch


def log10_norm(gradient: Any) -> Any:
    """log10‖gradient‖ over all elements, float64, on the gradient's device; no value is waited for.

    The squares of float32, float16 and bfloat16 stay in the range of float64, so that the norm of gradients from 1e-45
    to 1e38 is right. A gradient in float64 is divided by its largest element first, as `instruments.log10_norm` does,
    and so is one on Apple's devices, which have no float64.

    Returns:
        A tensor without axes: −inf for the norm 0, NaN if an element is NaN, inf if one is infinite.

    >>> import torch
    >>> round(log10_norm(torch.full((4,), 1e-38)).item(), 4)
    -37.699
    >>> log10_norm(torch.tensor([3e-200, 4e-200], dtype=torch.float64)).item().__round__(4)
    -199.301
    """
    return log10_norms([gradient])[0]


def log10_norms(gradients: Sequence[Any]) -> Any:
    """The same of several gradients of one shape and dtype, at once: a tensor (S,).

    >>> import torch
    >>> log10_norms([torch.tensor([3.0, 4.0]), torch.zeros(2)])
    tensor([0.6990,   -inf], dtype=torch.float64)
    """
    torch = pytorch()
    first = gradients[0]
    rows = first.reshape(1, -1) if len(gradients) == 1 else torch.stack([g.reshape(-1) for g in gradients])
    rows = torch.view_as_real(rows).flatten(1) if rows.is_complex() else rows
    has_none = first.device.type == "mps"
    if not first.numel() or (first.dtype != torch.float64 and not has_none):
        return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).log10()
    rows = rows.float() if has_none else rows
    largest = rows.abs().amax(dim=1)
    decades = largest.log10() + torch.linalg.vector_norm(rows / largest[:, None], dim=1).log10()
    return torch.where((largest > 0) & (largest < math.inf), decades, torch.where(largest == 0, -math.inf, largest))


def on_host(numbers: Sequence[Any]) -> Any:
    """Tensors of one shape, read in one transfer: an array (S, ...) of float64, or of the tensors' own type if NumPy
    has it. Tensors of other devices go to that of the first one.

    >>> import torch
    >>> on_host([torch.tensor(1.0), torch.tensor(2.0)])
    array([1., 2.], dtype=float32)
    """
    torch = pytorch()
    if not numbers:
        return np.empty(0)
    stacked = torch.stack([number.to(numbers[0].device) for number in numbers])
    return array_of(stacked)


def array_of(tensor: Any) -> Any:
    """A tensor as an array; bfloat16, which NumPy does not have, becomes float32.

    >>> import torch
    >>> array_of(torch.ones(2, dtype=torch.bfloat16)).dtype
    dtype('float32')
    """
    torch = pytorch()
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()


def first_nonfinite(gradients: Mapping[int, Any], layers: Sequence[int], names: Sequence[str]) -> str:
    """The layer nearest to the output whose gradient is not finite, in words; "" if all are finite.

    >>> import torch
    >>> first_nonfinite({0: torch.ones(2), 1: torch.tensor([1.0, torch.nan])}, (1, 2), ("below", "above"))
    "layer 2 ('above') holds NaN"
    """
    for column in sorted(gradients, reverse=True):
        if not np.isfinite(array := array_of(gradients[column])).all():
            what = "NaN" if np.isnan(array).any() else "infinite numbers"
            return f"layer {layers[column]} ({names[column]!r}) holds {what}"
    return ""


def dtype_of(tensor: Any) -> Any:
    """The NumPy dtype that `array_of` gives.

    >>> import torch
    >>> dtype_of(torch.ones(2, dtype=torch.bfloat16)), dtype_of(torch.ones(2, dtype=torch.float64))
    (dtype('float32'), dtype('float64'))
    """
    torch = pytorch()
    if tensor.dtype == torch.bfloat16:
        return np.dtype(np.float32)
    return np.dtype(str(tensor.dtype).removeprefix("torch."))


def split_scale(scale: float) -> tuple[float, int]:
    """m and e with scale = m·2^e. PyTorch's scales of losses are powers of two, and then m is 1.

    >>> split_scale(65536.0), split_scale(3.0)
    ((1.0, 16), (1.5, 1))
    """
    mantissa, exponent = math.frexp(scale)
    return 2 * mantissa, exponent - 1


def scale_of(scaler: Any, device: Any) -> Any:
    """The present scale of a `torch.amp.GradScaler`, a tensor that is not waited for; None without one.

    >>> import torch
    >>> scale_of(torch.amp.GradScaler("cpu", init_scale=8.0), "cpu")
    tensor(8.)
    """
    if scaler is None or not scaler.is_enabled():
        return None
    return scaler.scale(pytorch().ones((), device=device))
