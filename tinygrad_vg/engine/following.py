"""Followers: instruments that take the gradients of a compiled step as arrays, so that no hook is called."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Room:
    """Memory of a follower for the gradients of several backwards. Machine code writes into it without Python.

    Args:
        arrays: for each vertex an array (n, ...) in C order, with a row for each of the next n backwards.

    Attributes:
        ends: the addresses at which the next row of each array begins. Whoever writes a row moves them on.
        is_open: whether more rows may be written.

    >>> block = np.zeros((5, 2))
    >>> room = Room([block])
    >>> block[0] = 1.0, 2.0
    >>> room.ends += block[0].nbytes
    >>> room.left, room.close(), room.is_open
    (4, 1, False)
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = arrays
        self.ends = np.array([array.ctypes.data for array in arrays], np.int64)
        self.is_open = True

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
        used, self.is_open, self.arrays = self._used, False, ()
        return used


@runtime_checkable
class Follower(Protocol):
    """An instrument whose hooks and listeners need not be called by a compiled step; they are its bound methods.

    A run of a compiled step calls `take` once in their place. If the follower has given it a `Room`, machine code
    writes the gradients there, and calls nothing.

    >>> import tinygrad_vg as tg
    >>> recorder = tg.instruments.GradientRecorder(tg.nn.Linear(3, 2, rng=0))
    >>> isinstance(recorder, Follower), recorder.needs()  # hooks have to be called in the first backward
    (True, None)
    >>> recorder.take([np.zeros(2)], show=None), [vertex.shape for vertex in recorder.needs()]
    (True, [(2,)])
    >>> recorder.room().left
    255
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

    def room(self) -> Room | None:
        """Memory for the gradients of the next backwards, or None if each has to be taken; closes the room before."""
