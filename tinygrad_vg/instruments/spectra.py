"""Spectra: two numbers from the singular values of weights that change before a gradient explodes.

If the stable rank of the weights falls and neighbouring layers align, products of weights grow like the products of
their norms. Both precede the sudden explosions of gradients in the training of language models: Ren et al., "MSign: An
Optimizer Preventing Training Instability in Large Language Models via Stable Rank Restoration", arXiv:2602.01734, 2026.
There the alignment is that of the Jacobians of neighbouring layers; here it is that of their weights.
"""

from typing import Any

import numpy as np


def stable_rank(weight: Any) -> Any:
    """The stable rank ‖W‖_F² / ‖W‖₂²: how many directions a matrix stretches about as much as the strongest one.

    It is between 1 and the rank, and needs no threshold. A matrix (n, n) of independent normal numbers has about n/4.

    Args:
        weight: W, (out, in), or (R, out, in) for an ensemble.

    Returns:
        A float, or (R,). NaN for weights that are all 0 or not finite.

    >>> float(stable_rank(np.diag([3.0, 3.0, 0.0]))), stable_rank(np.outer([1.0, 2.0], [3.0, 4.0, 5.0])).round(9).item()
    (2.0, 1.0)
    """
    return top_of(weight)[0]


def singular_alignment(lower: Any, upper: Any) -> Any:
    """How close the direction of a layer's largest output is to the direction that the next layer stretches most.

    It is |u · v|, where u is the left singular vector (out,) of W^l for its largest singular value, and v the right
    singular vector (in,) of W^{l+1} for its largest: the cosine of the angle between two lines, as singular vectors
    have no sign. At 1, ‖W^{l+1} W^l‖₂ = ‖W^{l+1}‖₂ ‖W^l‖₂, the largest possible value. Two random directions of n
    neurons have about 0.8/√n. Modules between the layers are ignored.

    Args:
        lower: W^l, (out, in), or (R, out, in) for an ensemble.
        upper: W^{l+1}.

    Returns:
        A float from 0 to 1, or (R,). NaN for weights that are all 0 or not finite, or if the second layer does not have
        as many inputs as the first has outputs. If the two largest singular values are equal, as in orthogonal weights,
        the direction is not unique, and neither is the result.

    >>> stretch = np.diag([1.0, 5.0])
    >>> float(singular_alignment(stretch, stretch)), float(singular_alignment(stretch, np.diag([5.0, 1.0])))
    (1.0, 0.0)
    """
    return alignment_of(top_of(lower), top_of(upper))


def top_of(weight: Any) -> tuple[Any, Any, Any]:
    """(stable rank, u, v) of W, where u (..., out) and v (..., in) are its singular vectors to the largest value."""
    weight = np.asarray(weight, np.float64)
    largest = np.max(np.abs(weight), axis=(-2, -1), keepdims=True)
    is_sound = np.isfinite(largest) & (largest > 0)
    scaled = np.where(is_sound, weight, 1.0) / np.where(is_sound, largest, 1.0)  # so that no square overflows
    is_wide = weight.shape[-2] <= weight.shape[-1]
    wide = scaled if is_wide else scaled.mT
    # The largest eigenvalue of the small W Wᵀ is as accurate as that of an SVD, which takes six times as long for a
    # 30 × 784, and sixty times where several BLAS threads wait for one another.
    values, vectors = np.linalg.eigh(wide @ wide.mT)
    of_rows = vectors[..., -1:]
    of_columns = wide.mT @ of_rows
    of_columns /= np.linalg.norm(of_columns, axis=-2, keepdims=True)
    left, right = (of_rows, of_columns) if is_wide else (of_columns, of_rows)
    rank = np.sum(np.square(scaled), axis=(-2, -1)) / values[..., -1]
    return (
        np.where(is_sound[..., 0, 0], rank, np.nan),
        np.where(is_sound, left, np.nan)[..., 0],
        np.where(is_sound, right, np.nan)[..., 0],
    )


def alignment_of(lower: tuple[Any, Any, Any], upper: tuple[Any, Any, Any]) -> Any:
    """`singular_alignment` of weights whose `top_of` is known."""
    (_, u, _), (_, _, v) = lower, upper
    if u.shape != v.shape:
        return np.full(u.shape[:-1], np.nan)
    return np.minimum(np.abs(np.sum(u * v, axis=-1)), 1.0)  # rounding may give a little more
