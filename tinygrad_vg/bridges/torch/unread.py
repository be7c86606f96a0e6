"""Rows of a recorder whose gradients are still on the device."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_vg.bridges.torch.norms import on_host, split_scale
from tinygrad_vg.instruments.blocks import Blocks


class UnreadRows:
    """The gradients of recorded backwards on their device, until they are written into blocks."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, Callable[[], Mapping[int, Any]], Any]] = []

    def add(self, row: int, gradients: Callable[[], Mapping[int, Any]], scale: Any) -> None:
        """Add a row of the blocks.

        Args:
            row: its number in the blocks.
            gradients: a function that returns the gradients by the columns of the history.
            scale: the scale of the loss, a tensor, or None.
        """
        self._rows.append((row, gradients, scale))

    def write_into(self, blocks: Blocks, columns: int) -> None:
        """Read all gradients, a transfer for each column, and write them into the blocks."""
        read, self._rows = [(row, gradients(), scale) for row, gradients, scale in self._rows], []
        if not read:
            return
        rows = [row for row, _, _ in read]
        scales = [1.0 if scale is None else scale.item() for _, _, scale in read]
        mantissas, exponents = zip(*map(split_scale, scales), strict=True)
        for column in range(columns):
            reached = np.array([column in gradients for _, gradients, _ in read])
            if reached.any():
                arrays = on_host([gradients[column].flatten() for _, gradients, _ in read if column in gradients])
                values = np.full((len(rows), *arrays.shape[1:]), np.nan, arrays.dtype)
                values[reached] = arrays
                values /= np.array(mantissas, arrays.dtype).reshape(-1, *[1] * (values.ndim - 1))
                blocks.put_rows(rows, column, values, -np.array(exponents), reached)
            else:
                blocks.put_rows(rows, column, np.nan, 0, reached)
