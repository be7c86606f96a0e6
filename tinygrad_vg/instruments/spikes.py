"""Spikes: when a gradient rises suddenly in a training, and in which layer first."""

from dataclasses import dataclass
from typing import Any

import numpy as np

BEFORE = 10  # recorded steps that a rise is measured against
# A rise is one of so many decades above their median, and of so many times their spread.
RISE, TIMES = 1.0, 5.0


@dataclass(frozen=True)
class Spike:
    """Consecutive steps in which gradients are far larger than before.

    Attributes:
        step: the number of its first backward.
        layer: the layer that rose first; if several rose in one step, the one that rose most.
        decades: by how much it rose.
        layers: all layers that rose, in this order.
        member: the member of an ensemble; 0 for a single network.

    `History.spikes` finds them:

    >>> from tinygrad_vg.instruments import History
    >>> levels = np.zeros((30, 2))
    >>> levels[20:, 1] = 2.0
    >>> (spike,) = History(np.arange(30), (1, 2), ("0", "2"), levels).spikes()
    >>> spike.step, spike.layer, spike.decades
    (20, 2, 2.0)
    """

    step: int
    layer: int
    decades: float
    layers: tuple[int, ...]
    member: int = 0


def spikes_in(steps: Any, layers: tuple[int, ...], log10_norm: Any) -> tuple[Spike, ...]:
    """The spikes in norms (S, L) or (S, L, R) of these steps and layers, in their order."""
    levels = log10_norm.reshape(*log10_norm.shape[:2], -1)
    if len(levels) <= BEFORE:
        return ()
    before = np.lib.stride_tricks.sliding_window_view(levels[:-1], BEFORE, axis=0)  # (S−10, L, R, 10)
    with np.errstate(invalid="ignore"):  # −inf − −inf: no rise
        usual = np.median(before, axis=-1)
        spread = 1.48 * np.median(np.abs(before - usual[..., None]), axis=-1)
        rises = levels[BEFORE:] - usual
    high = np.isfinite(usual) & (rises > np.maximum(RISE, TIMES * spread))
    found = []
    for member in range(levels.shape[2]):
        rows = np.flatnonzero(high[:, :, member].any(axis=1))
        for event in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else ():
            first = {  # of each layer that rose: when, and by how much
                i: (int(event[hits.argmax()]), -float(rises[event[hits.argmax()], i, member]))
                for i, hits in enumerate(high[event, :, member].T)
                if hits.any()
            }
            order = sorted(first, key=first.__getitem__)
            found.append(
                Spike(
                    step=int(steps[BEFORE + event[0]]),
                    layer=layers[order[0]],
                    decades=-first[order[0]][1],
                    layers=tuple(layers[i] for i in order),
                    member=member,
                )
            )
    return tuple(sorted(found, key=lambda spike: (spike.step, spike.member)))
