"""Table: the results of a study, a row for each trial, member and epoch."""

import csv
import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.extras import install
from tinygrad_vg.storage import replacing
from tinygrad_vg.study.state import Result, State
from tinygrad_vg.study.trial import Trial

_BLOCK = 10_000  # rows that become Python objects at once


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A table: `table["validation_accuracy"]` is a column, a NumPy array, and `len(table)` the number of rows.

    The columns of a study's results are `trial` (the hash of the settings), the settings, `hidden_layers`, `seed`,
    `epoch` (1 is after the first), `validation_accuracy` and `validation_cost`. Texts, and settings that may be None,
    are columns of Python objects. `sizes` is a text such as "784-30-10".

    >>> table = Table({"seed": np.array([0, 1]), "epoch": np.array([1, 1])})
    >>> table["seed"], len(table)
    (array([0, 1]), 2)
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.to_csv(f"{folder}/table.csv")
    ...     pathlib.Path(folder, "table.csv").read_text(encoding="utf-8").split()
    ['seed,epoch', '0,1', '1,1']
    """

    columns: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file. All digits are written; a setting that is None is an empty field.

        Raises:
            OSError: if the file cannot be written.
        """
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(self.columns)
            for begin in range(0, len(self), _BLOCK):
                part = [column[begin : begin + _BLOCK].tolist() for column in self.columns.values()]
                rows.writerows(zip(*part, strict=True))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write a Parquet file.

        Raises:
            ModuleNotFoundError: if PyArrow is not installed.
            OSError: if the file cannot be written.
        """
        parquet = _needed("to_parquet", "PyArrow", "pyarrow.parquet")
        table = _needed("to_parquet", "PyArrow", "pyarrow").table(self.columns)
        with replacing(path) as temporary:
            parquet.write_table(table, temporary)

    def to_pandas(self) -> Any:
        """A pandas DataFrame.

        Raises:
            ModuleNotFoundError: if pandas is not installed.
        """
        return _needed("to_pandas", "pandas", "pandas").DataFrame(self.columns)

    def to_polars(self) -> Any:
        """A Polars DataFrame.

        Raises:
            ModuleNotFoundError: if Polars is not installed.
        """
        columns = {name: c.tolist() if c.dtype == object else c for name, c in self.columns.items()}
        return _needed("to_polars", "Polars", "polars").DataFrame(columns)

    def __repr__(self) -> str:
        return f"Table({len(self):,} rows: {', '.join(self.columns)})"


def _facts(trial: Trial) -> dict[str, Any]:
    """The columns of a trial's settings."""
    settings = {name: value for name, value in trial.settings.items() if name not in ("sizes", "seeds")}
    sizes = "-".join(map(str, trial.sizes))
    return {"trial": trial.key, "sizes": sizes, "hidden_layers": len(trial.sizes) - 2, **settings}


def _measured(seeds: tuple[int, ...], state: State | Result | None) -> dict[str, Any]:
    """The columns of what a part has measured, one epoch after the other for each member."""
    epochs = len(state.accuracy) if state is not None else 0
    return {
        "seed": np.repeat(np.array(seeds, int), epochs),
        "epoch": np.tile(np.arange(1, epochs + 1), len(seeds)),
        "validation_accuracy": state.accuracy.T.ravel() if state is not None else np.empty(0),
        "validation_cost": state.cost.T.ravel() if state is not None else np.empty(0),
    }


def _filled(rows: int, value: Any) -> Any:
    """A column of one value. A whole number and None make a column of objects together."""
    return np.full(rows, value, type(value) if isinstance(value, int | float) else object)


def _needed(method: str, name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{method} needs {name}: {install('tables')}") from error


def table_of(parts: Iterable[tuple[Trial, tuple[int, ...], State | Result]]) -> Table:
    """The table of finished parts, or of whole trials: (trial, seeds, what was measured)."""
    columns: dict[str, list[Any]] = {name: [] for name in (*_facts(Trial((784, 10))), *_measured((), None))}
    for trial, seeds, state in parts:
        measured = _measured(seeds, state)
        rows = len(measured["seed"])
        facts = {name: _filled(rows, value) for name, value in _facts(trial).items()}
        for name, column in (facts | measured).items():
            columns[name].append(column)
    return Table({name: np.concatenate(column) if column else np.empty(0) for name, column in columns.items()})
