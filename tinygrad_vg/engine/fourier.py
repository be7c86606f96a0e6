"""The Fourier transform of real numbers, with real and imaginary parts side by side in the last axis.

Gradients are real here, so np.fft.rfft, whose result is complex, takes no Tensor. `rfft` and `irfft` are the same sums
in the layout of torch.view_as_real; NumPy loads numpy.fft when they first run.
"""

from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import differentiable


def _counted(n: int, dtype: Any) -> Any:
    """n times the number of times that irfft adds each frequency, 1 at the ends and else 2, of shape (n//2 + 1, 1)."""
    twice = np.full((n // 2 + 1, 1), 0.5, dtype)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    return n * twice


@differentiable(lambda g, y, a: irfft(g * _counted(np.shape(a)[-1], y.dtype), np.shape(a)[-1]))
def rfft(a: Any) -> Any:
    """Σ aₙ exp(−2πi kn/N) along the last axis: (..., N) → (..., N//2 + 1, 2), the real parts and the imaginary ones.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.rfft(np.array([1.0, 0.0, -1.0, 0.0])).tolist()
    [[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]
    """
    spectrum = np.fft.rfft(a)
    return np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.asarray(a).dtype, copy=False)


def _irfft_vjp(g: Any, y: Any, a: Any, n: int) -> Any:
    share = rfft(g) / _counted(n, y.dtype)
    real = [0, n // 2] if n % 2 == 0 else [0]  # whose imaginary part the result does not depend on
    used = np.ones((n // 2 + 1, 2), bool)
    used[real, 1] = False
    return np.where(used, share, 0)


@differentiable(_irfft_vjp)
def irfft(a: Any, n: int) -> Any:
    """The n real numbers whose `rfft` is `a`: (..., n//2 + 1, 2) → (..., n).

    Raises:
        ValueError: if `a` does not have n//2 + 1 frequencies.

    >>> import numpy as np
    >>> from tinygrad_vg import ops
    >>> ops.irfft(ops.rfft(np.array([1.0, 2.0, 5.0])), 3).round(9)
    array([1., 2., 5.])
    """
    if np.shape(a)[-2:] != (n // 2 + 1, 2):
        raise ValueError(f"irfft to {n} numbers takes an array (..., {n // 2 + 1}, 2), not {np.shape(a)}")
    return np.fft.irfft(a[..., 0] + 1j * a[..., 1], n).astype(a.dtype, copy=False)
