"""Which steps a recorder keeps: evenly spaced, bounded in number, and the last ones before the first NaN or inf."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_vg.instruments.history import History, join

FRAMES = 10  # how many backwards before the first NaN or inf are kept


@dataclass(frozen=True)
class Kept:
    """What is kept of the steps seen so far: bounded, evenly spaced, with the last ones before the first NaN or inf.

    Attributes:
        parts: the kept steps.
        count: how many they are.
        tail: the last steps seen, none left out.
        every: the distance of the kept steps.
        first_nonfinite: as in a History.
    """

    parts: tuple[History, ...]
    count: int
    tail: History
    every: int
    first_nonfinite: int | None = None

    def and_then(self, fresh: History, lost: int | None, max_steps: int | None) -> "Kept":
        """With the steps that came next, the last ones all there; `lost` is the first that gave NaN or inf, if any."""
        added, every, first = [], self.every, self.first_nonfinite
        if first is None and lost is not None:
            first = lost
            left_out = self.tail.steps % every != 0  # the others are in the parts
            added.append(self.tail.rows(wanted(self.tail.steps, every, first) & left_out))
        added.append(fresh.rows(wanted(fresh.steps, every, first)))
        parts = (*self.parts, *(part for part in added if len(part.steps)))
        count = self.count + sum(len(part.steps) for part in added)
        if max_steps is not None and count > max_steps:
            whole = join(parts)
            while np.count_nonzero(whole.steps % every == 0) > max_steps:
                every *= 2
            parts = (whole.rows(wanted(whole.steps, every, first)),)
            count = len(parts[0].steps)
        return Kept(parts, count, join([self.tail, fresh[-FRAMES:]])[-FRAMES:], every, first)

    @property
    def history(self) -> History:
        """The kept steps in one."""
        return replace(join(self.parts), first_nonfinite=self.first_nonfinite)


def wanted(steps: Any, every: int, first_nonfinite: int | None) -> Any:
    """Which steps to keep: those that are due, and those around the first that was not finite."""
    due = steps % every == 0
    if first_nonfinite is None:
        return due
    return due | ((steps >= first_nonfinite - FRAMES) & (steps <= first_nonfinite))
