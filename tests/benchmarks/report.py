"""Results as a table, and the machine they come from."""

import operator
import os
import platform
import sys
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tests.benchmarks.timing import Spread, spread

LIBRARIES = ("torch", "mygrad", "autograd", "jax", "jaxlib", "numba", "scipy")


@dataclass(frozen=True)
class Bar:
    """What a value is held to: `sign` is ≥, >, ≤ or <."""

    sign: str
    limit: float

    def met(self, value: float) -> bool:
        """
        >>> Bar("≤", 1.4).met(1.4), Bar(">", 1.0).met(1.0)
        (True, False)
        """
        compare = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}[self.sign]
        return compare(value, self.limit)

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """A line of the table: a ratio, or another value with its unit; None where a side is not installed."""

    compared: str
    value: Spread | None
    bar: Bar | None = None
    unit: str = ""

    @property
    def met(self) -> str:
        if self.value is None or self.bar is None:
            return "–"
        return "yes" if self.bar.met(self.value.median) else "NO"

    def cells(self) -> list[str]:
        bar = f"{self.bar}{self.unit}" if self.bar else "–"
        if self.value is None:
            return [self.compared, "–", "–", bar, self.met]
        once = self.value.low == self.value.high
        low_to_high = "measured once" if once else f"{self.value.low:.3f} to {self.value.high:.3f}"
        return [self.compared, f"{self.value.median:.3f}{self.unit}", low_to_high, bar, self.met]


@dataclass(frozen=True)
class Result:
    """A work that was measured: its rows, the seconds behind them, notes below the table, and text of its own."""

    title: str
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    text: str = ""

    def for_json(self) -> dict:
        rows = [
            {
                "compared": row.compared,
                "value": row.value and row.value._asdict(),
                "unit": row.unit or "ratio",
                "bar": row.bar and str(row.bar),
                "met": row.met,
            }
            for row in self.rows
        ]
        seconds = {name: spread(times)._asdict() | {"repeats": times} for name, times in self.seconds.items()}
        return {"title": self.title, "rows": rows, "seconds": seconds, "notes": self.notes, "text": self.text}


def cells_of(results: dict[str, Result]) -> list[list[str]]:
    """The head of the table and all its rows."""
    rows = [[name, *row.cells()] for name, result in results.items() for row in result.rows]
    return [["work", "compared", "ratio", "quartiles", "bar", "met"], *rows]


def table(results: dict[str, Result]) -> str:
    """Plain text: all rows in one table, then each work's notes and text."""
    lines = cells_of(results)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = {2, 4}  # numbers
    shown = [
        "  ".join(f"{cell:{'>' if i in right else '<'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
        for line in lines
    ]
    shown.insert(1, "  ".join("-" * width for width in widths))
    for name, result in results.items():
        shown += ["", f"{name}: {result.title}", *(f"    {note}" for note in result.notes)]
        shown += [f"    {line}".rstrip() for line in result.text.splitlines()]
    return "\n".join(shown)


def markdown(results: dict[str, Result]) -> str:
    """The same as Markdown, for docs/performance.md."""
    head, *rows = (f"| {' | '.join(cells)} |" for cells in cells_of(results))
    shown = [head, "|---|---|--:|---|--:|---|", *rows]
    for name, result in results.items():
        shown += ["", f"**{name}**: {'; '.join([result.title, *result.notes])}"]
        shown += ["", "```text", *map(str.rstrip, result.text.splitlines()), "```"] if result.text else []
    return "\n".join(shown)


def missing(side: str, error: Exception) -> str:
    """The note that a side is not there; it is also said at once, on the terminal."""
    help = ': pip install -e ".[bench]" brings the peers' if isinstance(error, ImportError) else ""
    note = f"{side} was not measured ({error}){help}"
    print(f"\n{note}", file=sys.stderr)
    return note


def machine() -> dict:
    """What a reader has to know of where this was measured."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "tinygrad_vg": tg.__version__,
        **{name: version_of(name) for name in LIBRARIES},
    }


def cpu_model() -> str:
    information = Path("/proc/cpuinfo")  # of Linux; `platform` knows no model there
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
