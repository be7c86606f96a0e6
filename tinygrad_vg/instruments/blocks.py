"""Blocks: a recorder's gradients, collected for many backwards, and the history of the rows that are kept."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray, Room
from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.magnitude import array_of, log10_norm
from tinygrad_vg.instruments.retention import FRAMES, Kept, wanted
from tinygrad_vg.instruments.statistics import Columns

_BLOCK_BYTES = 2**21  # each layer's gradients are collected in a block of this size; norms are taken of whole blocks


class Blocks:
    """The gradients ∂C/∂b of the last backwards, a row for each, and the history of those before.

    Args:
        layers, names: of the layers, as in a History.
        forms: the shape and dtype of each layer's gradient.
        members: (R,) for an ensemble, else ().
        every: the number of backwards from one row to the next.
        values: whether the history keeps the gradients too.
        max_steps: the largest number of evenly spaced rows; None for no limit.
        columns: what else is measured for each row, in arrays with `block_size` rows; None for nothing.

    Attributes:
        size: the number of rows in a block.
        row: the row of the last backward in the blocks; None if it has none.

    >>> blocks = Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=2, values=False, max_steps=None)
    >>> for number in range(3):
    ...     blocks.make_room()
    ...     blocks.begin(number, has_row=blocks.is_spaced(number))
    ...     if blocks.row is not None:
    ...         blocks.put(0, np.array([30.0, 40.0]))
    >>> blocks.history.steps, blocks.history.log10_norm[:, 0].round(3), blocks.size, blocks.columns, blocks.every
    (array([0, 2]), array([1.699, 1.699]), 512, None, 2)
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        names: tuple[str, ...],
        forms: Sequence[tuple[tuple[int, ...], Any]],
        members: tuple[int, ...],
        *,
        every: int,
        values: bool,
        max_steps: int | None,
        columns: Columns | None = None,
    ) -> None:
        self._layers, self._names, self._members = layers, names, members
        self._values, self._max_steps = values, max_steps
        self.size = block_size(forms)
        self._blocks = [np.full((self.size, *shape), np.nan, dtype) for shape, dtype in forms]
        self._exponents = np.zeros((self.size, len(forms)), int)  # the exponents of ExtendedArrays, 0 for arrays
        self._reached = np.ones((self.size, len(forms)), bool)  # False: the backward did not reach the layer
        self._waiting: list[int] = []  # the numbers of the backwards whose gradients are in the blocks
        self.row: int | None = None
        self.columns = columns
        empty, _ = self._measured(every)
        self._kept = Kept((empty,), 0, empty, every)

    @property
    def every(self) -> int:
        """The present number of backwards from one row to the next."""
        return self._kept.every

    @property
    def is_sound(self) -> bool:
        """Whether the history, without the rows in the blocks, has no NaN or inf.

        >>> Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=2, values=False, max_steps=None).is_sound
        True
        """
        return self._kept.first_nonfinite is None

    def is_spaced(self, number: int) -> bool:
        """Whether the backward with this number is one of the evenly spaced ones; `Blocks` has an example."""
        return number % self._kept.every == 0

    @property
    def is_full(self) -> bool:
        """Whether `make_room` would settle the rows.

        >>> Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=2, values=False, max_steps=None).is_full
        False
        """
        return len(self._waiting) == self.size

    def make_room(self) -> None:
        """Settle the rows, if the blocks are full, so that a row can begin; `Blocks` has an example."""
        if self.is_full:
            self._settle()

    def begin(self, number: int, has_row: bool) -> None:
        """Begin a backward, with a row in the blocks or without one; `Blocks` has an example."""
        self.row = None
        if has_row:
            self.row = len(self._waiting)
            self._waiting.append(number)

    def begin_all(self, numbers: range) -> None:
        """Begin several backwards, each with a row in the blocks.

        >>> blocks = Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=1, values=False, max_steps=None)
        >>> blocks.begin_all(range(3))
        >>> blocks.row, len(blocks.history.steps)
        (2, 3)
        """
        self._waiting += numbers
        self.row = len(self._waiting) - 1

    def put_all(self, gradients: Sequence[Any]) -> None:
        """Write the gradients of all layers, arrays, into the last row.

        >>> blocks = Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=1, values=True, max_steps=None)
        >>> blocks.begin(0, has_row=True)
        >>> blocks.put_all([np.array([30.0, 40.0])])
        >>> blocks.history.values
        (array([[30., 40.]]),)
        """
        for block, gradient in zip(self._blocks, gradients, strict=True):
            block[self.row] = gradient

    def room(self) -> Room | None:
        """The memory of the rows that are free; None for layers without neurons.

        >>> Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=1, values=True, max_steps=None).room().left
        512
        """
        free = [block[len(self._waiting) :] for block in self._blocks]
        return Room(free) if all(array.size for array in free) else None

    def put(self, i: int, gradient: Any) -> None:
        """Write the gradient of the layer at position i into the last row; `Blocks` has an example."""
        self._blocks[i][self.row] = array_of(gradient)
        if isinstance(gradient, ExtendedArray):
            self._exponents[self.row, i] = gradient.exponent

    def put_rows(self, rows: Sequence[int], i: int, gradients: Any, exponents: Any, reached: Any) -> None:
        """Write the gradients of the layer at position i into several rows.

        Args:
            rows: which.
            gradients: (S, out).
            exponents: (S,) of each row; the gradients times 2**exponent are recorded.
            reached: (S,) bools: whether the backward of a row has reached the layer.

        >>> blocks = Blocks((1,), ("0",), [((1,), np.dtype(float))], (), every=1, values=False, max_steps=None)
        >>> for number in range(2):
        ...     blocks.begin(number, has_row=True)
        >>> blocks.put_rows([0, 1], 0, np.array([[4.0], [8.0]]), np.array([-2, -3]), np.array([True, True]))
        >>> blocks.history.log10_norm[:, 0].round(9) + 0.0
        array([0., 0.])
        """
        self._blocks[i][rows], self._exponents[rows, i], self._reached[rows, i] = gradients, exponents, reached

    def note_reached(self, reached: Sequence[bool]) -> None:
        """Note which layers the backward of the last row has reached: all, if this is not called.

        >>> blocks = Blocks((1,), ("0",), [((2,), np.dtype(float))], (), every=2, values=False, max_steps=None)
        >>> blocks.begin(0, has_row=True)
        >>> blocks.note_reached([False])
        >>> blocks.history.log10_norm, blocks.history.first_nonfinite
        (array([[nan]]), None)
        """
        self._reached[self.row] = reached

    @property
    def history(self) -> History:
        """The history of all rows so far."""
        return self._kept.and_then(*self._measured(self.every), self._max_steps).history

    def _settle(self) -> None:
        """Add the rows of the blocks to the history, and clear the blocks."""
        self._kept = self._kept.and_then(*self._measured(self.every), self._max_steps)
        self._waiting.clear()
        for block in self._blocks:
            block.fill(np.nan)
        self._exponents.fill(0)
        self._reached.fill(True)
        if self.columns is not None:
            self.columns.clear()

    def _measured(self, every: int) -> tuple[History, int | None]:
        """The history of the rows in the blocks that may be kept, and the number of the first one with NaN or inf."""
        n, steps = len(self._waiting), np.array(self._waiting, int)
        reached = self._reached[:n]
        unit_axes = tuple(range(1, self._blocks[0].ndim))
        finite = np.stack([np.isfinite(block[:n]).all(axis=unit_axes) for block in self._blocks], axis=1)
        nonfinite = (~finite & reached).any(axis=1)
        first = int(steps[nonfinite.argmax()]) if nonfinite.any() else None

        rows = wanted(steps, every, first)
        rows[-FRAMES:] = True
        rows = np.flatnonzero(rows)
        blocks, exponents = [block[rows] for block in self._blocks], self._exponents[rows]
        norms = np.stack([log10_norm(block, axis=-1) for block in blocks], axis=1)
        norms += exponents.reshape(*exponents.shape, *[1] * len(self._members)) * math.log10(2)
        recorded = {} if self.columns is None else self.columns.measured(rows, norms)
        if self._values:
            if exponents.any():
                with np.errstate(over="ignore"):
                    blocks = [
                        np.ldexp(block, exponents[:, i].reshape(-1, *[1] * len(unit_axes)))
                        for i, block in enumerate(blocks)
                    ]
            recorded["values"] = tuple(blocks)
        return History(steps[rows], self._layers, self._names, norms, **recorded), first


def block_size(forms: Sequence[tuple[tuple[int, ...], Any]]) -> int:
    """The number of rows in the blocks for gradients of these shapes and dtypes.

    >>> block_size([((30,), np.dtype(float)), ((10**6,), np.dtype(float))])
    1
    """
    widest: int = max(math.prod(shape) * dtype.itemsize for shape, dtype in forms)
    return max(1, min(512, _BLOCK_BYTES // max(1, widest)))


def check(every: Any, max_steps: Any, on_nonfinite: Any) -> None:
    """Check the arguments that recorders have in common.

    Raises:
        ValueError: if one is out of its range.

    >>> check(0, None, "record")
    Traceback (most recent call last):
    ValueError: every counts backwards, 1 or more, not 0
    """
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"every counts backwards, 1 or more, not {every!r}")
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
        raise ValueError(f"max_steps counts backwards, 1 or more, or is None, not {max_steps!r}")
    if on_nonfinite not in ("record", "raise"):
        raise ValueError(f'on_nonfinite is "record" or "raise", not {on_nonfinite!r}')
