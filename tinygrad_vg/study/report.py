"""Report: one HTML page about the finished trials of a study."""

import base64
import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_vg.extras import install
from tinygrad_vg.instruments.microscope import page
from tinygrad_vg.notation import decades
from tinygrad_vg.storage import replacing
from tinygrad_vg.study import figures
from tinygrad_vg.study.again import STEPS, Start, book_accuracies, frames, start_of
from tinygrad_vg.study.comparison import compare
from tinygrad_vg.study.state import Result
from tinygrad_vg.study.table import table_of
from tinygrad_vg.study.trial import Trial, labels

TEMPLATE = Path(__file__).with_suffix(".html")
SHOWN = 6  # trials with figures: more would make a page that opens slowly


@dataclass(frozen=True)
class Rows:
    """A table of the page: its caption, its head, its rows of texts, and a link that holds it as CSV."""

    title: str
    file: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    link: str

    @classmethod
    def of(cls, title: str, file: str, head: Sequence[str], rows: Sequence[Sequence[Any]], shown: Any = None) -> "Rows":
        """A table of values; `shown` are the texts that stand on the page for them."""
        texts = tuple(tuple(map(str, row)) for row in (rows if shown is None else shown))
        return cls(title, file, tuple(head), texts, link(head, rows))


@dataclass(frozen=True)
class Panel:
    """What the page shows of one trial: figures by their caption, and the verdict."""

    label: str
    verdict: str
    figures: dict[str, str]


def written(results: Sequence[Result], trials: Sequence[Trial], path: str | os.PathLike[str]) -> None:
    """Write the page; `Study.report` says what is raised."""
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a report needs Jinja2: {install('report')} installs it") from error
    if not results:
        raise ValueError("no trial of the study is finished, so there is nothing to report: run the study")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                  lstrip_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))  # fmt: skip
    text = template.render(**_content(results, trials))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _content(results: Sequence[Result], trials: Sequence[Trial]) -> dict[str, Any]:
    """Everything that the template names."""
    shown = [results[i] for i in spaced(len(results), SHOWN)]
    names = labels(trials)
    starts = [start_of(result.trial) for result in shown]
    book: dict[int, float] = {}
    for result in results:
        book |= book_accuracies(result.trial)
    deepest = max(range(len(shown)), key=lambda i: len(shown[i].trial.sizes))
    seen = _microscope(shown[deepest], starts[deepest].steps)
    compared, reason = _compared(results)
    return {
        "done": len(results),
        "trials": len(trials),
        "accuracy": figures.accuracy(figures.series_of(results), book),
        "has_book": bool(book),
        "accuracies": _accuracies(results, names, book),
        "compared": compared,
        "why_not": reason,
        "least_p": _least_p(results),
        "panels": [_panel(result, names, start) for result, start in zip(shown, starts, strict=True)],
        "norms": _norms(shown, names, starts),
        "microscope": page(**seen),
        "microscope_of": names[shown[deepest].trial.key],
        "microscope_seed": shown[deepest].trial.seeds[0],
        "microscope_frames": len(seen["history"].steps),
        "microscope_span": _span(starts[deepest].steps * shown[deepest].trial.epochs),
        "settings": _settings(results),
        "versions": _versions(results),
        "epochs": _epochs(results),
    }


def spaced(n: int, most: int) -> list[int]:
    """The positions of all of n things, or of so many that are evenly spaced, with the first and the last.

    >>> spaced(4, 6), spaced(100, 6)
    ([0, 1, 2, 3], [0, 20, 40, 59, 79, 99])
    """
    return list(range(n)) if n <= most else np.linspace(0, n - 1, most).round().astype(int).tolist()


def _panel(result: Result, names: dict[str, str], start: Start) -> Panel:
    """The figures of one trial."""
    shown = {"The gradient at the start, against the layer; the theory has no fitted number": figures.ladder(start)}
    if len(result.trial.sizes) > 2:
        shown["What weights and activations do to the gradient at the start"] = figures.blame(start)
    shown["Learning speed of the hidden layers over the training"] = figures.learning_speed(result, start.steps)
    shown["The same as a map"] = figures.heat_map(result, start.steps)
    if (graph := figures.graph(start)) is not None:
        shown["The network at the start, and where the gradient is lost"] = graph
    verdict = "one layer: there is no way for a gradient" if start.diagnosis is None else str(start.diagnosis)
    return Panel(names[result.trial.key], verdict, shown)


def _microscope(result: Result, per_epoch: int) -> dict[str, Any]:
    """History, ledger and accuracies of the first seed."""
    history, ledger = frames(result.trial)
    ends = per_epoch * np.arange(1, len(result.accuracy) + 1) - 1  # the last step of each epoch
    known = ends < history.steps[-1] + per_epoch  # the records may end within an epoch
    accuracy = (ends[known], result.accuracy[known, 0]) if known.any() else None
    return {"history": history, "ledger": ledger, "accuracy": accuracy}


def _span(steps: int) -> str:
    """What the microscope shows of a training of so many steps."""
    return f"all {steps:,} steps" if steps <= STEPS else f"the first {STEPS:,} of {steps:,} steps"


def _accuracies(results: Sequence[Result], names: dict[str, str], book: dict[int, float]) -> Rows:
    head = ["trial", "hidden layers", "seeds", "accuracy, %", "deviation", "best seed", "cost"]
    rows: list[list[Any]] = []
    shown = []
    for result in results:
        last, depth = 100 * result.accuracy[-1], len(result.trial.sizes) - 2
        deviation = last.std(ddof=1) if len(last) > 1 else np.nan
        name = names[result.trial.key]
        row: list[Any] = [name, depth, len(last), float(last.mean()), float(deviation), float(last.max())]
        row.append(float(result.cost[-1].mean()))
        told = [*row[:3], *("–" if np.isnan(x) else f"{x:.2f}" for x in row[3:6]), f"{row[6]:.3f}"]
        if book:
            known = book_accuracies(result.trial).get(depth)
            row.append("" if known is None else 100 * known)
            told.append("" if known is None else f"{100 * known:.2f}")
        rows.append(row)
        shown.append(told)
    return Rows.of("Validation accuracy after the last epoch", "accuracies.csv", head + ["the book"] * bool(book), rows,
                   shown)  # fmt: skip


def _compared(results: Sequence[Result]) -> tuple[Rows | None, str]:
    """The comparison of depths, or why there is none."""
    try:
        table = compare(table_of((result.trial, result.trial.seeds, result) for result in results))
    except ValueError as error:
        return None, str(error)
    head = ["first", "second", "seeds", "difference, %", "deviation, %", "effect d_z", "p", "p, Holm"]
    rows, shown = [], []
    for first, second, seeds, mean, deviation, effect, p, corrected in zip(
        *(column.tolist() for column in table.columns.values()), strict=True
    ):
        rows.append([first, second, seeds, 100 * mean, 100 * deviation, effect, p, corrected])
        shown.append([first, second, seeds, decades(100 * mean, 3), f"{100 * deviation:.3f}",
                      "–" if np.isnan(effect) else decades(effect), f"{p:.2g}", f"{corrected:.2g}"])  # fmt: skip
    return Rows.of("Pairs of depths, second − first", "comparison.csv", head, rows, shown), ""


def _least_p(results: Sequence[Result]) -> float:
    """The smallest p that the comparison of these trials can give, corrected for the number of pairs."""
    pairs = len(results) * (len(results) - 1) // 2
    return pairs * 2 / 2.0 ** min(len(result.trial.seeds) for result in results)


def _norms(results: Sequence[Result], names: dict[str, str], starts: Sequence[Start]) -> Rows:
    """The gradients at the start, a row for each trial and layer."""
    rows, shown = [], []
    for result, start in zip(results, starts, strict=True):
        norms = np.median(start.history.log10_norm[0], axis=1).tolist()
        changes: list[float | None] = [low - high for low, high in pairwise(norms)]
        for layer, norm, change in zip(start.history.layers, norms, [*changes, None], strict=True):
            rows.append([names[result.trial.key], layer, norm, "" if change is None else change])
            told = "" if change is None or not np.isfinite(change) else decades(change)
            shown.append([names[result.trial.key], layer, f"{norm:.2f}", told])
    head = "trial", "layer", "log₁₀ ‖∂C/∂b‖, median", "change to the layer, decades"
    return Rows.of("Gradients at the start", "gradients.csv", head, rows, shown)


def _settings(results: Sequence[Result]) -> Rows:
    names = [*results[0].trial.settings]
    rows = [[result.trial.key, *(json.dumps(value) if isinstance(value, list) else "" if value is None else value
                                 for value in result.trial.settings.values())] for result in results]  # fmt: skip
    return Rows.of("All settings of the finished trials", "settings.csv", ["hash", *names], rows)


def _versions(results: Sequence[Result]) -> Rows:
    found = {json.dumps(each): each for result in results for each in result.versions}
    rows = [["" if value is None else value for value in each.values()] for each in found.values()]
    return Rows.of("What has trained them", "versions.csv", [*next(iter(found.values()))], rows)


def _epochs(results: Sequence[Result]) -> str:
    """A link with all results: a row for each trial, seed and epoch."""
    rows = [
        [result.trial.key, seed, epoch + 1, result.accuracy[epoch, i].item(), result.cost[epoch, i].item()]
        for result in results
        for i, seed in enumerate(result.trial.seeds)
        for epoch in range(len(result.accuracy))
    ]
    return link(["trial", "seed", "epoch", "validation_accuracy", "validation_cost"], rows)


def link(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A `data:` address that holds a CSV file with all digits."""
    file = io.StringIO()
    csv.writer(file).writerows([head, *rows])
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(file.getvalue().encode()).decode("ascii")
