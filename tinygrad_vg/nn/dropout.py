"""Dropout: in training, random elements are set to 0."""

from typing import Any

import numpy as np

from tinygrad_vg.engine.random import uniform
from tinygrad_vg.nn.init import Rng
from tinygrad_vg.nn.module import Module


class Dropout(Module):
    """In training each element is 0 with probability p, else divided by 1 − p; in evaluation x itself.

    Each member of an ensemble drops other elements (Srivastava et al. 2014).

    Args:
        p: the probability, from 0 to below 1.
        rng: a `np.random.Generator` to draw from, or a random seed.

    Raises:
        ValueError: for another probability.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> layer = nn.Dropout(0.5, rng=0)
    >>> layer(np.ones(6))
    array([2., 0., 0., 0., 2., 2.])
    >>> layer.eval()(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p is a probability from 0 to below 1, not {p!r}")
        self.p = p
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Any) -> Any:
        """x with elements set to 0, of the shape and dtype of x."""
        if not self.training or not self.p:
            return x
        is_kept = uniform(self.rng, np.shape(x), x.dtype) >= self.p
        return np.where(is_kept, x * (1 / (1 - self.p)), 0)

    def extra_repr(self) -> str:
        return f"{self.p}"
