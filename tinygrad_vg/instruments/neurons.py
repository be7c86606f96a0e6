"""Neurons: which of them pass on no gradient, or nearly none, for a whole batch, and for how many steps."""

import math
from typing import Any

import numpy as np

from tinygrad_vg.instruments.factors import slope
from tinygrad_vg.instruments.signals import Chain
from tinygrad_vg.nn import feature_axis, member_axis


def flags_of(chain: Chain, outputs: list[Any]) -> dict[str, Any]:
    """Which neurons are off, and which are saturated, for all samples of a pass whose graph still exists.

    The neurons of layer l are the outputs of the first activation behind it; of a convolution they are the channels, at
    all positions of the image. A neuron is *off* if its slope is exactly 0 for all samples, as that of a ReLU with
    z ≤ 0, and *saturated* if it is below 6 % of the largest slope (`nn.Activation.saturated`). A neuron that is off is
    also saturated.

    Args:
        chain: the chain of the pass.
        outputs: the output tensors of its units, and that of the first unit of its tail.

    Returns:
        A dictionary of bool arrays, (n,), or (R, n) for an ensemble, with the keys "off_1", "saturated_1", "off_2", ...
        A layer without an activation has no key.
    """
    flags: dict[str, Any] = {}
    layer, is_known = 0, True
    for i, unit in enumerate([*chain.units, *chain.tail[:1]]):
        if unit.name is not None:
            layer, is_known = layer + 1, False
        elif unit.activation is not None and not is_known and outputs[i] is not None:
            is_known = True
            y, z = outputs[i], outputs[i - 1]
            saturated = unit.activation.saturated(y.data)
            if saturated is None or saturated.any():
                off = _for_all_samples(slope(y, z) == 0, chain.members, unit.channels_first)
            else:  # in most steps of a sound network; then no slope need be computed
                axis = feature_axis(y.ndim, chain.members, unit.channels_first)
                off = np.zeros((*chain.members, y.shape[axis]), bool)
            flags[f"off_{layer}"] = off
            flags[f"saturated_{layer}"] = (
                off if saturated is None else _for_all_samples(saturated, chain.members, unit.channels_first)
            )
    return flags


def _for_all_samples(which: Any, members: tuple[int, ...], channels_first: bool) -> Any:
    """(..., B, n) → (n,), or (..., R, B, n) → (R, n) for an ensemble; for images over all positions too."""
    feature = feature_axis(which.ndim, members, channels_first)
    kept = (member_axis(which.ndim, channels_first), feature) if members else (feature,)
    return which.all(axis=tuple(axis for axis in range(which.ndim) if axis not in kept))


def lasting(flags: Any, window: int, share: float) -> Any:
    """Which neurons have a flag in at least a share of the steps of each window.

    Args:
        flags: (S, ..., n) bools of S steps.
        window: the number of steps in a window, 2 or more.
        share: a share of them, above 0 and up to 1.

    Returns:
        (S − window + 1, ..., n) bools, one for each window; the windows end with step window − 1, window, ... If there
        are fewer steps than a window has, (0, ..., n).

    Raises:
        ValueError: if window or share are out of range.

    >>> lasting(np.array([[True, True], [True, False], [True, True]]), window=2, share=1.0)
    array([[ True, False],
           [ True, False]])
    """
    if not isinstance(window, int) or window < 2:
        raise ValueError(f"window counts steps, 2 or more, not {window!r}")
    if not 0 < share <= 1:
        raise ValueError(f"share is above 0 and up to 1, not {share!r}")
    counts = np.concatenate([np.zeros((1, *flags.shape[1:]), int), np.cumsum(flags, axis=0)])
    least = math.ceil(share * window - 1e-9)  # 0.1 · 30 is a little more than 3
    found: Any = counts[window:] - counts[: max(len(counts) - window, 0)] >= least
    return found
