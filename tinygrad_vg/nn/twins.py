"""Twins: weights of one network that were sampled from the same seed, and so begin with the same random numbers."""

import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from tinygrad_vg.nn.parameter import Parameter

COMPARED = 8  # numbers; a gain of the initializer makes weights of one seed proportional, and not equal


def seed_of(rng: Any) -> int | None:
    """The seed that was given as `rng`; None for a generator, from which each layer draws other numbers.

    >>> seed_of(0), seed_of(np.random.default_rng(0))
    (0, None)
    """
    return int(rng) if isinstance(rng, Integral) else None


def warn_of_twins(parameters: Iterable[Parameter]) -> None:
    """Warn the caller's caller of each weight of a network that begins with the numbers of another.

    Twins have one shape and two axes or more. A weight that was set since to other numbers is no twin. Nothing is said
    twice.

    >>> from tinygrad_vg import nn
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     _ = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh(), nn.Linear(4, 4, rng=0))
    >>> print(str(heard[0].message).partition(";")[0])
    two weights of shape (4, 4) in a network have the same seed 0, and begin with the same random numbers
    """
    first: dict[Any, Parameter] = {}
    for parameter in parameters:
        if (seed := parameter.seed) is None or parameter.ndim < 2:
            continue
        if (other := first.setdefault((seed, parameter.shape), parameter)) is parameter:
            continue
        parameter.seed = None
        if begin_alike(parameter.data, other.data):
            warnings.warn(
                f"two weights of shape {parameter.shape} in a network have the same seed {seed}, and begin with the "
                f"same random numbers; make one generator, rng = np.random.default_rng({seed}), and give it to all "
                "layers as rng=rng (nn.mlp and nn.RNN do so inside)",
                stacklevel=3,
            )


def begin_alike(a: Any, b: Any) -> bool:
    """Whether the first numbers of two arrays of one shape are the same up to a factor, and not all one number."""
    a, b = a.ravel()[:COMPARED], b.ravel()[:COMPARED]
    return bool(np.any(a != a[0]) and np.allclose(a * b[0], b * a[0], rtol=1e-3, atol=0))
