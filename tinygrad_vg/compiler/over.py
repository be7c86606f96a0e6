"""`Compiled.over`, many steps in one call: the indices and the results."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_vg.compiler.arguments import Leaf, put_together, taken_apart
from tinygrad_vg.engine import Tensor


def rows_of(batches: Any, data: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """The indices, with none below 0, and the data as arrays.

    Raises:
        TypeError: if the indices are not whole numbers, or there are no data.
        ValueError: if the data differ in length.
        IndexError: if an index is out of range.
    """
    batches, arrays = np.asarray(batches), [np.asarray(d._data if isinstance(d, Tensor) else d) for d in data]
    if batches.dtype.kind not in "iu" or batches.ndim < 1:
        raise TypeError(f"over() takes an array of indices, one row for each step, not {batches.dtype} {batches.shape}")
    if not arrays or any(array.ndim == 0 for array in arrays):
        raise TypeError("over() takes the data after the indices: compiled.over(batches, images, labels)")
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise ValueError(f"the data have different lengths: {sorted(lengths)}")
    (n,) = lengths
    if batches.size and not -n <= batches.min() <= batches.max() < n:
        raise IndexError(f"an index is not between 0 and {n - 1}: {batches.min()} to {batches.max()}")
    return np.where(batches < 0, batches + n, batches).astype(np.int64), arrays


def with_steps(result: Any) -> Any:
    """The result of one step, each array with a first axis that counts the steps."""
    arrays: list[Any] = []
    structure = taken_apart(result, _leaf, arrays)
    ready = iter(arrays)
    return put_together(structure, lambda leaf: leaf.kind(_array(next(ready))[None]))


def joined(results: list[Any]) -> Any:
    """The results of all steps, from the results of one step or several."""
    if len(results) == 1:
        return results[0]
    found: list[list[Any]] = []
    structure: Any = None
    for result in results:
        arrays: list[Any] = []
        structure = taken_apart(result, _leaf, arrays)
        found.append([_array(a) for a in arrays])
    columns = iter([np.concatenate(column) for column in zip(*found, strict=True)])
    return put_together(structure, lambda leaf: leaf.kind(next(columns)))


def _array(value: Any) -> Any:
    return value._data if isinstance(value, Tensor) else value


def _leaf(value: Any) -> Any:
    return Leaf(Tensor if isinstance(value, Tensor) else np.asarray)


@contextmanager
def whole_step() -> Iterator[None]:
    """Inside this context Ctrl-C has its effect only at the end."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is not signal.default_int_handler:
        yield
        return
    pressed: list[Any] = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pressed:
            raise KeyboardInterrupt
