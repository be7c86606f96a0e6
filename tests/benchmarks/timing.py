"""Sides timed in turn, and what is then compared: not two times but the ratios of pairs that ran side by side.

On a shared machine times drift by more than the sides differ. Every repeat runs each side once, so that a slow spell
strikes all of them; of each repeat's ratio the median and quartiles are taken.
"""

import gc
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median and quartiles of repeats."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Spread(median, low, high)


def ratio(over: list[float], under: list[float]) -> Spread:
    """Of the ratios of each repeat.

    >>> ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0])
    Spread(median=2.0, low=2.0, high=2.5)
    """
    return spread([a / b for a, b in zip(over, under, strict=True)])


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """`run` as a block: a function that gives the seconds it took."""

    def block() -> float:
        gc.collect()  # so that no side clears up after another; the collector stays on
        start = perf_counter()
        run()
        return perf_counter() - start

    return block


def interleaved(blocks: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """The seconds of each block in each repeat; the order moves on by one from repeat to repeat."""
    names = list(blocks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(blocks[name]())
    return seconds


def fastest(blocks: dict[str, Callable[[], float]]) -> str:
    """The name of the block whose best repeat is shortest. Give short blocks: some fall between the slow spells."""
    if len(blocks) == 1:
        return next(iter(blocks))
    seconds = interleaved(blocks, repeats=12)
    return min(seconds, key=lambda name: min(seconds[name]))
