"""`batches`: the rows of some arrays in batches, shuffled."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from tinygrad_vg.extras import install


def batches(
    *arrays: Any, size: int, rng: "np.random.Generator | None" = None, progress: bool = False
) -> Iterator[tuple[Any, ...]]:
    """Go through arrays of the same length once, in batches: one epoch.

    Args:
        arrays: the samples, the targets ..., (n, ...) each.
        size: the number of rows of a batch. The last batch has the rest, which may be fewer, as in PyTorch's
            DataLoader: give its cost a reduction that divides by the number of rows.
        rng: a `np.random.Generator`, which draws a new order in each epoch. Without one the rows keep their order.
        progress: whether to show a bar in the terminal or notebook, by Rich.

    Returns:
        An iterator of tuples with the rows of each array, copies: (size, ...).

    Raises:
        TypeError: if `rng` is a seed, which would give the same order in every epoch; if there is no array.
        ValueError: if the lengths differ, or `size` is not a whole number above 0.
        ModuleNotFoundError: if a bar is asked for and Rich is missing; the message names the extra that installs it.

    >>> from tinygrad_vg import datasets
    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> for a, b in datasets.batches(x, y, size=2, rng=np.random.default_rng(0)):
    ...     print(a.shape, b)
    (2, 2) [2 4]
    (2, 2) [3 0]
    (1, 2) [1]
    """
    if not arrays:
        raise TypeError("batches takes one array or more, of one length")
    if not all(hasattr(array, "take") for array in arrays):
        raise TypeError("batches takes arrays; write np.asarray(...) for a list")
    lengths = [len(array) for array in arrays]
    if len({*lengths}) > 1:
        raise ValueError(f"batches takes arrays of one length, not of {', '.join(map(str, lengths))}")
    if not isinstance(size, Integral) or size < 1:
        raise ValueError(f"size counts the rows of a batch, a whole number above 0, not {size!r}")
    if isinstance(rng, Integral):
        raise TypeError(
            f"rng={rng} would give the same order in every epoch; make a generator before the loop over the "
            f"epochs, rng = np.random.default_rng({rng}), and pass rng=rng"
        )
    order = np.arange(lengths[0]) if rng is None else rng.permutation(lengths[0])
    rows = [order[begin : begin + size] for begin in range(0, len(order), size)]
    return (tuple([array.take(row, axis=0) for array in arrays]) for row in (shown(rows) if progress else rows))


def shown(rows: list[Any]) -> Any:
    """The rows, with a bar of Rich that follows them."""
    try:
        from rich.progress import track
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a progress bar needs Rich: {install('examples')} installs it") from error
    return track(rows, description="batches")
