"""The table of a history: what a session shows of it, ten lines however long it is."""

from typing import Any

import numpy as np

from tinygrad_vg.notation import NOT_COMPUTED, magnitude, median
from tinygrad_vg.tables import TextTable, shortened

MOST = 7  # rows: with the sentence, the header and the note below these are ten lines
_HEADER = ("layer", "name", "first", "median", "last", "smallest", "largest")


def table_of(history: Any) -> TextTable:
    """‖∂C/∂b‖ of each layer in decades: at the first step and the last, and the median and the range of all steps.

    Of an ensemble the numbers are medians over the members, but for the range, which is that of all.

    >>> from tinygrad_vg.instruments import History
    >>> print(table_of(History(np.arange(2), (1, 2), ("0", "2"), np.array([[-2.0, -1.0], [-3.0, np.nan]]))))
    History of 2 steps and 2 layers: log10‖∂C/∂b‖
    layer  name  first  median   last  smallest  largest
        1  0     −2.00   −2.50  −3.00     −3.00    −2.00
        2  2     −1.00   −1.00      –     −1.00    −1.00
    """
    values = history.log10_norm
    rows = []
    for i, (layer, name) in enumerate(zip(history.layers, history.names, strict=True)):
        of_layer = values[:, i]
        ends = [of_layer[:1], of_layer, of_layer[-1:]]
        known = of_layer[~np.isnan(of_layer)]
        extremes = [known.min(), known.max()] if known.size else [np.nan, np.nan]
        rows.append([str(layer), name, *map(_cell, [*map(median, ends), *extremes])])
    steps, layers, *members = values.shape
    title = f"History of {_count(steps, 'step')} and {_count(layers, 'layer')}"
    title += "".join(f", {_count(n, 'network')} (medians)" for n in members) + ": log10‖∂C/∂b‖"
    if steps and history.steps[-1] != steps - 1:
        title += f", backwards {history.steps[0]:,} to {history.steps[-1]:,}"
    broken = history.first_nonfinite
    note = "" if broken is None else f"NaN or inf came first in backward {broken:,}."
    return TextTable(title, _HEADER, shortened(rows, MOST), left=(1,), note=note)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _cell(log10: float) -> str:
    return NOT_COMPUTED if np.isnan(log10) else magnitude(log10)
