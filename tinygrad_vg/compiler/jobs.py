"""Jobs: several runs of a compiled step in one call of machine code, and the rows that go in and out of each run."""

import ctypes
from collections.abc import Iterator
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_vg.compiler.buffers import address_of
from tinygrad_vg.compiler.functions import many_steps
from tinygrad_vg.compiler.places import FOLLOWED, WATCHED32, WATCHED64
from tinygrad_vg.engine.following import Room, Watch

PAUSE = 0.05  # seconds in machine code, after which Python checks whether Ctrl-C was pressed


class Job:
    """Runs of one or two functions of a table of addresses; `steps.steps` carries it out.

    Args:
        functions: the addresses of the functions. The second one changes the inputs.
        table: the address of the table.
        moves: what to copy in each run, rows (kind, source, target, bytes), with the kinds of `places`. GIVEN: the rows
            of the data at the address source to an argument, before the first function. NUMBER: the value for this step
            to a number of an optimizer, also before. WATCHED: whether the numbers at source, as many as the last number
            says, are sound (`steps.is_sound`), after the first function; target is the address of `dots`. If they are
            not, the job ends. FOLLOWED: a gradient to where the address at the address target points, which is then
            moved on, after that. RESULT: a result to its place among those of all steps, after the second function.
            COUNT: the count of the optimizer's steps, also after the second function.
        batches: the indices of the rows of data, (steps, rows); None if there are no data.
    """

    def __init__(
        self, functions: list[int], table: int, moves: list[tuple[int, int, int, int]], batches: Any = None
    ) -> None:
        self.moves, self.batches = np.array(moves, np.int64).reshape(-1, 4), batches
        first, second = (*functions, 0)[:2]
        given, rows = (0, 0) if batches is None else (batches.ctypes.data, int(np.prod(batches.shape[1:], dtype=int)))
        numbers = first, second, 0, table, self.moves.ctypes.data, len(self.moves), given, rows, 0, 1, 0
        self.numbers = (ctypes.c_int64 * 11)(*numbers)
        address = ctypes.addressof(self.numbers)
        self.numbers[2] = address + 80  # of the last number, for the sum that `steps.is_sound` looks at
        self.go = partial(many_steps(), address)

    def once(self) -> bool:
        """Run once; whether all that is watched was sound, so that both functions ran."""
        self.go()
        if self.numbers[9]:
            return True
        self.numbers[9] = 1
        return False

    def stretches(self, count: int) -> Iterator[int]:
        """Run several times; from time to time yield the number of finished runs. It ends before a run that is not
        sound."""
        done, length = 0, 1
        while done < count:
            began = perf_counter()
            end = min(count, done + length)
            self.numbers[8], self.numbers[9] = done, end
            self.go()
            done = self.numbers[9]
            yield done
            if done < end:
                return
            length = max(1, int(length * min(8.0, PAUSE / max(1e-6, perf_counter() - began))))


def moves_for(room: Room | Watch, arrays: list[Any]) -> list[tuple[int, int, int, int]]:
    """The moves of a job that write these arrays into a room, or watch the only one of them.

    >>> room = Room([np.zeros((5, 2))])
    >>> ((kind, _, target, n),) = moves_for(room, [np.zeros(2)])
    >>> kind == FOLLOWED, target == room.ends.ctypes.data, n
    (True, True, 16)
    """
    if isinstance(room, Room):
        first, step = address_of(room.ends), room.ends.itemsize
        return [(FOLLOWED, address_of(array), first + i * step, array.nbytes) for i, array in enumerate(arrays)]
    from tinygrad_vg.compiler import products

    (array,) = arrays
    kind = WATCHED32 if array.dtype == np.float32 else WATCHED64
    function, n = products.address_of("dots", array.dtype.name), array.size // room.parts
    return [(kind, array.ctypes.data + i * n * array.itemsize, function, n) for i in range(room.parts)]
