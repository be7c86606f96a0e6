"""Buffers: the memory for the values of a plan. Values that are not needed at the same time share memory."""

import ctypes
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg.compiler.plan import Value

STEP = 64  # bytes; buffers begin at multiples, where vector instructions read fastest


class Arena:
    """One block of memory, whose parts are used again after the values in them are no longer needed.

    Attributes:
        size: the size of the block, in bytes.
        places: the offset of each value, in bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self.places: dict[Value, int] = {}
        self._free: list[tuple[int, int]] = []  # (begin, end) of the gaps, in order

    def take(self, value: Value) -> None:
        """Reserve the smallest gap into which a value fits, or new memory at the end."""
        size = bytes_of(value)
        fitting = [gap for gap in self._free if gap[1] - gap[0] >= size]
        if fitting:
            begin, end = min(fitting, key=lambda gap: gap[1] - gap[0])
            self._free.remove((begin, end))
            if begin + size < end:
                self._free.append((begin + size, end))
        elif self._free and max(self._free)[1] == self.size:  # the last gap grows
            begin, _ = max(self._free)
            self._free.remove(max(self._free))
            self.size = begin + size
        else:
            begin, self.size = self.size, self.size + size
        self.places[value] = begin

    def release(self, value: Value) -> None:
        """Free the memory of a value that is no longer read."""
        begin = self.places[value]
        gaps = sorted([*self._free, (begin, begin + bytes_of(value))])
        self._free = gaps[:1]
        for begin, end in gaps[1:]:
            if self._free[-1][1] == begin:
                self._free[-1] = self._free[-1][0], end
            else:
                self._free.append((begin, end))


def bytes_of(value: Value) -> int:
    """The number of bytes of a value, rounded up to a multiple of STEP."""
    size = int(np.prod(value.shape, dtype=np.int64)) * value.dtype.itemsize
    return int(max(1, -(-size // STEP))) * STEP


class Life(NamedTuple):
    """The time in which a value needs its memory: from the instruction that writes it to the last one that reads it.

    With `early` the last instruction may write its output into the same memory.
    """

    value: Value
    first: int
    last: int
    early: bool = False


def laid_out(lives: Iterable[Life]) -> Arena:
    """An arena in which values whose lives overlap have places that do not overlap."""
    events: list[tuple[int, int, int, Value]] = []
    for order, life in enumerate(lives):
        events.append((life.first, 1, order, life.value))
        events.append((life.last, 0 if life.early and life.last > life.first else 2, order, life.value))
    arena = Arena()
    for _, when, _, value in sorted(events, key=lambda event: event[:3]):
        if when == 1:
            arena.take(value)
        else:
            arena.release(value)
    return arena


def memory_of(size: int) -> Any:
    """So many bytes, which begin at a multiple of STEP."""
    memory = np.zeros(size + STEP, np.uint8)
    begin = -memory.ctypes.data % STEP
    return memory[begin : begin + size]


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array that begins at a multiple of STEP."""
    return memory_of(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize).view(dtype).reshape(shape)


def allocated(arena: Arena) -> dict[Value, np.ndarray]:
    """An array for each value of an arena."""
    memory = memory_of(arena.size)
    arrays = {}
    for value, place in arena.places.items():
        size = int(np.prod(value.shape, dtype=np.int64)) * value.dtype.itemsize
        arrays[value] = memory[place : place + size].view(value.dtype).reshape(value.shape)
    return arrays


def _field_of_the_address() -> int | None:
    """The offset of the data pointer in an array object; None if it does not directly follow the object's head.

    It does in NumPy's public structure, and reading it takes a fifth of the time of `__array_interface__`.
    """
    array, head = np.zeros(1), object.__basicsize__
    found = ctypes.c_ssize_t.from_address(id(array) + head).value
    return head if found == array.__array_interface__["data"][0] else None


_FIELD = _field_of_the_address()


def address_of(array: Any) -> int:
    """The address of the first element of an array."""
    if _FIELD is None:
        return int(array.__array_interface__["data"][0])
    return ctypes.c_ssize_t.from_address(id(array) + _FIELD).value
