"""Retention: which backwards a recorder keeps.

It keeps evenly spaced backwards up to a largest number of them, and those just before the first NaN or inf.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_vg.instruments.history import History, join

FRAMES = 10  # how many backwards before the first NaN or inf are kept


@dataclass(frozen=True)
class Kept:
    """The rows that are kept of all backwards so far. A row holds what a History records of one backward.

    Attributes:
        parts: the kept rows, in several histories.
        count: the number of kept rows.
        tail: the rows of the last backwards, all of them.
        every: the distance of the kept backwards, which are the numbers 0, every, 2·every ...
        first_nonfinite: as in a History.
    """

    parts: tuple[History, ...]
    count: int
    tail: History
    every: int
    first_nonfinite: int | None = None

    def and_then(self, new: History, nonfinite: int | None, max_steps: int | None) -> "Kept":
        """What is kept after the rows `new` have been added.

        Args:
            new: the rows of the next backwards. Their last 10 must be complete; others that are not wanted may be
                left out.
            nonfinite: the number of the first of them that gave NaN or inf; None if none did.
            max_steps: the largest number of evenly spaced rows; None for no limit. `every` doubles when there are more.
        """
        added, every, first = [], self.every, self.first_nonfinite
        if first is None and nonfinite is not None:
            first = nonfinite
            left_out = self.tail.steps % every != 0  # the others are in the parts
            added.append(self.tail.rows(wanted(self.tail.steps, every, first) & left_out))
        added.append(new.rows(wanted(new.steps, every, first)))
        parts = (*self.parts, *(part for part in added if len(part.steps)))
        count = self.count + sum(len(part.steps) for part in added)
        if max_steps is not None and count > max_steps:
            whole = join(parts)
            while np.count_nonzero(whole.steps % every == 0) > max_steps:
                every *= 2
            parts = (whole.rows(wanted(whole.steps, every, first)),)
            count = len(parts[0].steps)
        return Kept(parts, count, join([self.tail, new[-FRAMES:]])[-FRAMES:], every, first)

    @property
    def history(self) -> History:
        """The kept rows in one history."""
        return replace(join(self.parts), first_nonfinite=self.first_nonfinite)


def wanted(steps: Any, every: int, first_nonfinite: int | None) -> Any:
    """Which backwards to keep, as bools: the multiples of `every`, the first that was not finite, and 10 before it."""
    spaced = steps % every == 0
    if first_nonfinite is None:
        return spaced
    return spaced | ((steps >= first_nonfinite - FRAMES) & (steps <= first_nonfinite))
