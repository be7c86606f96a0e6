"""Followers: instruments that take the gradients of a compiled step as arrays, so that no hook is called."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tinygrad_vg.engine.recording import changes


class Room:
    """Memory of a follower for the gradients of several backwards. Machine code writes into it without Python.

    Args:
        arrays: for each vertex an array (n, ...) in C order, with a row for each of the next n backwards.

    Attributes:
        ends: the addresses at which the next row of each array begins. Whoever writes a row moves them on.

    >>> block = np.zeros((5, 2))
    >>> room = Room([block])
    >>> block[0] = 1.0, 2.0
    >>> room.ends += block[0].nbytes
    >>> room.left, room.close()
    (4, 1)
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = arrays
        self.ends = np.array([array.ctypes.data for array in arrays], np.int64)

    @property
    def _used(self) -> int:
        """The number of rows that were written."""
        first = self.arrays[0]
        return int(self.ends[0] - first.ctypes.data) // int(first[0].nbytes)

    @property
    def left(self) -> int:
        """The number of rows that are still free."""
        return len(self.arrays[0]) - self._used

    def close(self) -> int:
        """End the use of this memory; return the number of rows that were written."""
        used, self.arrays = self._used, ()
        changes.count += 1  # a compiled step compares it before it writes
        return used


class Watch:
    """What a follower asks for that reads the last backward only: in each backward a gradient has to be sound.

    A part of a gradient is sound if its sum of squares is finite and not 0. Machine code computes that sum, and calls
    nothing as long as all parts are sound.

    Args:
        parts: the number of parts of equal size, along the first axis: the members of an ensemble, or 1.

    Attributes:
        runs: the number of backwards so far.
        show: the function that `Follower.take` has for the last of them.
        left: for how many backwards more it can watch.

    >>> watch = Watch(parts=1)
    >>> watch.runs += 3
    >>> watch.close(), watch.left > 10**9
    (3, True)
    """

    left = sys.maxsize

    def __init__(self, parts: int) -> None:
        self.parts, self.runs = parts, 0
        self.show: Any = None

    def close(self) -> int:
        """End the watch; return the number of backwards."""
        changes.count += 1  # a compiled step compares it before it counts
        return self.runs


@runtime_checkable
class Follower(Protocol):
    """An instrument whose hooks and listeners need not be called by a compiled step; they are its bound methods.

    A run of a compiled step calls `take` once in their place. If the follower has given it a `Room`, machine code
    writes the gradients there, and calls nothing. If it has given a `Watch`, machine code only checks the gradient.

    >>> import tinygrad_vg as tg
    >>> recorder = tg.instruments.GradientRecorder(tg.nn.Linear(3, 2, rng=0))
    >>> isinstance(recorder, Follower), [vertex.shape for vertex in recorder.needs()]
    (True, [(2,)])
    >>> recorder.room().left, recorder.take([np.zeros(2)], show=lambda among: None)
    (512, True)
    """

    def needs(self) -> Sequence[Any] | None:
        """The vertices whose gradients the follower takes; None if the hooks and listeners have to be called."""

    def take(self, gradients: Sequence[Any], show: Callable[[Callable[[Any], bool]], None]) -> bool:
        """Take the gradients of a backward, arrays that the next run of the step writes into.

        Args:
            gradients: an array for each vertex that `needs` has named.
            show: `show(lambda owner: owner is self)` calls the hooks and listeners of this follower with the arrays of
                the run. It may be called until the next run; after that it does nothing.

        Returns:
            False if the hooks and listeners have to be called now.
        """

    def room(self) -> Room | Watch | None:
        """Memory for the gradients of the next backwards, or what to watch in them; None if each has to be taken.

        It closes the room or watch before."""
