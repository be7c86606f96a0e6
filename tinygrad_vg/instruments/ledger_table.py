"""The table of a ledger, as text for the terminal, for Rich and for Jupyter."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from itertools import groupby
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Row
from tinygrad_vg.notation import NOT_COMPUTED, decades, median, with_minus

_HEADER = ("layer", "log10‖δ‖", "total", "weights", "activation", "between", "█ σ′ ░ W")
_OF_BLOCKS = ("block", _HEADER[1], "total", "inside", "outside", "between", "█ outside ░ inside")
_OVER_TIME = ("time step", "log10‖∂C/∂h‖", *_HEADER[2:])
_FIGURES = 5  # columns of numbers, aligned to the right; the others are text
_BAR = 32  # the largest width of a bar


class LedgerTable:
    """The rows of a ledger as a table, layer 1 at the top, with their sums and a sentence that names the main cause.

    For an ensemble the table shows medians, and the range from 5 to 95 % of the members. A bar to the left of its line
    shows by how much a step shrinks the gradient, a bar to the right by how much the gradient grows. "–" stands for a
    number that was not computed, or is not finite, and for the change of a gradient that is 0 at both ends of a step.

    Args:
        rows: the rows of the ledger.
        top: log10‖δ^L‖, a float or (R,).
        width: the number of columns of the whole table.
        summary: the last line; by default it is made of the rows.
        silent: the number of backwards in a row that brought no gradient to layer 1, an int or (R,). After one backward
            the table says "no gradient", after several "dead", unless the cost itself had no gradient.
    """

    def __init__(self, rows: Sequence[Row], top: Any, width: int, summary: str | None = None, silent: Any = 0) -> None:
        silent = np.where(np.isneginf(top), 0, silent)
        rows = [_with_the_dead(row, np.atleast_1d(silent) > 1) for row in rows]
        steps = [_taken(row) for row in rows]
        sums = np.nansum([np.zeros((3, *np.shape(top))), *steps], axis=0)
        for row in rows:  # the sum over a way that is not finite is not known
            sums[..., np.reshape([cause == "not finite" for cause in row.causes], np.shape(top))] = np.nan
        lines = [
            [str(row.layer), _in_decades(median(row.log10_norm)), *map(_cell, step), _between(row), ""]
            for row, step in zip(rows, steps, strict=True)
        ]
        if rows:
            lines.append([str(len(rows) + 1), _in_decades(median(top)), "", "", "", "", ""])
            lines.append(["sum", "", *map(_cell, sums), "", ""])
        header = {"time step": _OVER_TIME, "block": _OF_BLOCKS}.get(rows[0].unit if rows else "", _HEADER)
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        room = width - sum(2 + w for w in widths[:_FIGURES])  # for "between" and the bar, two columns between them
        widths[-2] = min(widths[-2], max(len(header[-2]), room - 2 - len(header[-1]) - 4))
        bars = _bars([(median(step[2]), median(step[1])) for step in steps], min(_BAR, room - 2 - widths[-2]))
        for line, bar in zip(lines, bars, strict=False):
            line[-2] = line[-2] if len(line[-2]) <= widths[-2] else line[-2][: widths[-2] - 1] + "…"
            line[-1] = bar
        self.lines = [[*header], *lines]
        self.widths = widths
        self.summary = textwrap.fill(_summary(rows, sums, int(np.max(silent))) if summary is None else summary, width)

    def _padded(self) -> Iterator[list[str]]:
        for line in self.lines:
            yield [
                cell.rjust(width) if k < _FIGURES else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(line, self.widths, strict=True))
            ]

    def __str__(self) -> str:
        return "\n".join([*("  ".join(cells).rstrip() for cells in self._padded()), self.summary])

    def texts(self) -> Iterator[Any]:
        """The lines for Rich. As in all pictures, blue is for a gradient that shrinks and red for one that grows."""
        from rich.text import Text

        for i, cells in enumerate(self._padded()):
            colours = {"−": "blue", "+": "red"} if i else {}
            styled = [
                Text(cell, colours.get(cell.strip()[:1], "") if k in (2, 3, 4) else "") for k, cell in enumerate(cells)
            ]
            line = Text("  ", style="" if i else "bold").join(styled)
            line.no_wrap, line.overflow = True, "crop"
            yield line
        yield Text(self.summary)

    def html(self) -> str:
        """An HTML table; all text in it is escaped."""
        style = "white-space: pre; font-family: monospace; text-align: "
        rows = [
            "".join(
                f"<td style='{style}{'right' if k < _FIGURES else 'left'}'>{escape(c)}</td>" for k, c in enumerate(line)
            )
            for line in self.lines[1:]
        ]
        head = "".join(f"<th>{escape(title)}</th>" for title in self.lines[0])
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(self.summary)}</p>"


def _with_the_dead(row: Row, is_dead: Any) -> Row:
    """The row, with the cause "dead" where no gradient came in several backwards."""
    causes = tuple(
        "dead" if cause == "no gradient" and dead else cause for cause, dead in zip(row.causes, is_dead, strict=True)
    )
    return replace(row, cause=causes if isinstance(row.cause, tuple) else causes[0])


def _taken(row: Row) -> Any:
    """(3,) or (3, R): total, weights and activation; NaN where the gradient is 0 at both ends of the step."""
    figures = np.array([row.total, row.weights, row.activation])
    return np.where(np.isneginf(row.log10_norm) & (figures[0] == 0), np.nan, figures)


def _in_decades(x: float, digits: int = 3) -> str:
    """Decades with their sign; a number whose digits would all be 0 has an exponent."""
    if math.isnan(x):
        return NOT_COMPUTED
    return decades(x, digits) if x == 0 or abs(x) >= 0.5 * 10.0**-digits else with_minus(f"{x:+.0e}")


def _cell(values: Any) -> str:
    """One number; for an ensemble the median, and the range of the middle 90 % of the members."""
    if np.ndim(values) == 0:
        return _in_decades(float(values))
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return NOT_COMPUTED
    low, high = known[np.rint(np.array([0.05, 0.95]) * (len(known) - 1)).astype(int)].tolist()
    # Five characters for each number, so that three such cells leave room for the other columns.
    middle, low, high = (
        decades(x, 2 if abs(x) < 9.995 else 1 if abs(x) < 99.95 else 0) for x in (median(known), low, high)
    )
    return f"{middle} {low}…{high}"


def _between(row: Row) -> str:
    """The causes of the row, then the parts between the layers, with their decades if there are several."""
    groups = [(label, [part.decades for part in group]) for label, group in groupby(row.parts, lambda part: part.label)]
    labels = [f"{label} ×{len(group)}" if len(group) > 1 else label for label, group in groups]
    if len(groups) > 1:
        labels = [f"{label} {decades(median(sum(group)))}" for label, (_, group) in zip(labels, groups, strict=True)]
    causes = row.causes
    notes = [f"{causes.count(cause)} {cause}" if len(causes) > 1 else cause for cause in dict.fromkeys(causes) if cause]
    return ": ".join(text for text in (", ".join(notes), ", ".join(labels)) if text)


def _bars(steps: Sequence[tuple[float, float]], width: int) -> list[str]:
    """A bar for each (activation, weights) in decades, all on one scale."""
    sides = [[[max(sign * x, 0.0) if math.isfinite(x) else 0.0 for x in step] for step in steps] for sign in (-1, 1)]
    extent = sum(max(map(sum, side), default=0.0) for side in sides)
    scale = max(width - 1, 0) / max(extent, 0.1)  # at least 0.1, so that rounding errors do not fill the width

    def cells(sizes: list[float]) -> str:
        inner = round(sizes[0] * scale)
        return "█" * inner + "░" * (round(sum(sizes) * scale) - inner)

    taken, given = ([cells(sizes) for sizes in side] for side in sides)
    left = max(map(len, taken), default=0)
    return [f"{minus[::-1]:>{left}}│{plus}" for minus, plus in zip(taken, given, strict=True)]


def _summary(rows: Sequence[Row], sums: Any, silent: int) -> str:
    """A sentence that says whether weights or slopes change the gradient, and by how much."""
    sentences, unit = [], rows[0].unit if rows else "layer"
    for cause in ("dead", "no gradient", "underflow", "not finite", "not computed"):
        hit = {row.layer: row.causes.count(cause) for row in rows if cause in row.causes}
        if hit:
            layers = f"{unit}s {min(hit)}-{max(hit)}" if len(hit) > 1 else f"{unit} {min(hit)}"
            members = f" in {max(hit.values())} of {sums.shape[1]} networks" if sums.ndim > 1 else ""
            since = f", no gradient in {silent} backwards in a row" if cause == "dead" else ""
            sentences.append(f"{layers}: {cause}{members}{since}")
    total, weights, activation = map(median, sums)
    slopes = all(part.is_activation for row in rows for part in row.parts)
    parties = [
        ("the inside of blocks" if unit == "block" else "W", weights),
        ("σ′" if slopes else f"what lies between the {unit}s", activation),
    ]
    (other, rest), (party, most) = sorted(parties, key=lambda named: abs(named[1]))
    does, undoes = ("takes", "gives") if most < 0 else ("gives", "takes")
    if rows and math.isfinite(total):
        if abs(most) < 0.005:
            sentences.append("the gradient keeps its size")
        elif abs(total) < abs(most) / 2:
            sentences.append(
                f"{party} {does} {abs(most):.2f} decades, {other} {undoes} {abs(rest):.2f}: {decades(total)} in all"
            )
        else:
            sentences.append(f"{party} {does} {100 * most / total:.0f} % of {decades(total)} decades")
        if sums.ndim > 1:
            sentences[-1] += f" (median of {sums.shape[1]} networks)"
    return "; ".join(sentences) or "one layer: no step"
