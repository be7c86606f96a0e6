"""TextTable and Sentence: what a terminal, Rich or a notebook shows of an object."""

from collections.abc import Sequence
from typing import Any


class TextTable:
    """Rows of text under a sentence: `str` aligns the columns, Rich and notebooks show a table of their own.

    Args:
        title: a sentence above the table.
        header: the names of the columns.
        rows: a cell for each column.
        left: the numbers of the columns of words, which are set left; the others are set right.
        note: a sentence below the table, or none.

    >>> print(TextTable("Two layers.", ["name", "size"], [["in", "784"], ["out", "10"]], left=(0,)))
    Two layers.
    name  size
    in     784
    out     10
    """

    def __init__(
        self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (), note: str = ""
    ) -> None:
        self.title = title
        self.header = header
        self.rows = rows
        self.left = left
        self.note = note

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = []
        for row in (self.header, *self.rows):
            cells = enumerate(zip(row, widths, strict=True))
            lines.append("  ".join(cell.ljust(w) if k in self.left else cell.rjust(w) for k, (cell, w) in cells))
        return "\n".join(filter(None, [self.title, *map(str.rstrip, lines), self.note]))

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(self.title), title_justify="left", caption=Text(self.note) if self.note else None,
            caption_justify="left",
        )  # fmt: skip
        for k, name in enumerate(self.header):
            table.add_column(Text(name), justify="left" if k in self.left else "right")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _repr_html_(self) -> str:
        """An HTML table; all text in it is escaped."""
        from html import escape  # here and not above: few sessions need it

        lines = []
        for tag, cells in (("th", self.header), *(("td", row) for row in self.rows)):
            sides = ["left" if k in self.left else "right" for k in range(len(cells))]
            parts = zip(sides, map(escape, cells), strict=True)
            line = (f"<{tag} style='text-align: {side}; padding: 0 0.5em'>{cell}</{tag}>" for side, cell in parts)
            lines.append(f"<tr>{''.join(line)}</tr>")
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return f"<p>{escape(self.title)}</p><table>{''.join(lines)}</table>{note}"


class Sentence:
    """Base of results whose `str` is a sentence: a session shows it, and not all their fields.

    >>> class Two(Sentence):
    ...     def __str__(self):
    ...         return "1 < 2"
    >>> Two(), Two()._repr_html_()
    (<Two: 1 < 2>, '<p>1 &lt; 2</p>')
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(str(self))}</p>"


def shortened(rows: Sequence[Sequence[str]], most: int) -> list[Sequence[str]]:
    """At most so many of the rows: the first and the last, with a row of dots between them.

    >>> shortened([["1"], ["2"], ["3"], ["4"]], 3)
    [['1'], ['⋮'], ['4']]
    """
    if len(rows) <= most:
        return [*rows]
    first = most // 2
    return [*rows[:first], ["⋮"] * len(rows[0]), *rows[len(rows) - (most - 1 - first) :]]
