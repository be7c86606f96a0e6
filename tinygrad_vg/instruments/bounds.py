"""Bounds: a step of the ledger compared with the most that its weights and its slopes could give."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Row, taken
from tinygrad_vg.instruments.signals import Unit


@dataclass(frozen=True, eq=False)
class Split:
    """A row's `weights` and `activation` compared with their bounds, in decades: floats, or (R,) for an ensemble.

    Attributes:
        layer: as in the row.
        spectral: log10‖W^{l+1}‖₂, the largest possible value of `weights`.
        alignment: weights − spectral, ≤ 0: how far δ^{l+1} is from the direction that the weights stretch most.
        cap: log10 max|σ′|, −0.602 for a sigmoid, summed over the activations; NaN if one of them is not known.
        saturation: activation − cap, ≤ 0: how far the slopes are below their largest value.
    """

    layer: int
    spectral: Any
    alignment: Any
    cap: float
    saturation: Any


def split_of(row: Row, above: Unit) -> Split:
    """The row of a step compared with its bounds; `above` is layer l+1.

    Raises:
        RuntimeError: if the weights are not known any more, or are not a matrix.
    """
    weight = above.weights
    if above.weight is None:
        raise RuntimeError(f"layer {row.layer + 1} computes its weights, so their bound is not known")
    if weight is not None and above.matrix is None:
        raise RuntimeError(f"layer {row.layer + 1} is a convolution; bounds are computed for matrices only")
    if weight is None:
        raise RuntimeError(
            f"the weights of layer {row.layer + 1} have changed since the pass of these rows; "
            "call split() between backward and the optimizer's step"
        )
    finite = np.isfinite(weight).all(axis=(-2, -1))  # NumPy raises for the norm of other matrices
    sizes = np.linalg.norm(np.where(finite[..., None, None], weight, 0).astype(np.float64), 2, axis=(-2, -1))
    with np.errstate(divide="ignore"):  # weights that are all 0 give −inf
        spectral = np.where(finite, np.log10(sizes), np.nan)
    bound = spectral if spectral.ndim else float(spectral)
    return Split(row.layer, bound, taken(spectral, row.weights), row.cap, row.activation - row.cap)
