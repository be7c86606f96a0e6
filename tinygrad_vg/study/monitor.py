"""Monitor: a table that shows how far the parts of a study are, while they are trained."""

import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tinygrad_vg.extras import install
from tinygrad_vg.notation import decades
from tinygrad_vg.study.store import Store
from tinygrad_vg.study.trial import Trial

LOOK_SECONDS = 0.5  # between two looks at the notes of the parts
MOST_ROWS = 20


class Monitor:
    """Shows nothing; the base of what shows something."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, handled: int, store: Store, run: str) -> None:
        """Show how many parts are finished or have failed, and how far the running ones are."""


@dataclass
class Row:
    """A part on the table: its last note, and since when it has been there, with which share of its work done.

    `left` is None for a part that is finished.
    """

    note: dict[str, Any]
    since: float
    share: float
    left: float | None = math.nan


class LiveTable(Monitor):
    """A table of Rich's, which is gone at the end: a row for each running part, and finished ones while there is room.

    Raises:
        ModuleNotFoundError: if Rich is missing; the message names the extra that installs it.
    """

    def __init__(self, trials: dict[str, Trial], parts: int) -> None:
        try:
            from rich.live import Live
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"the table of progress needs Rich: {install('examples')}, or write progress=False"
            ) from error
        self._live = Live(auto_refresh=False, transient=True)
        self._trials, self._parts, self._names = trials, parts, telling(trials.values())
        self._rows: dict[tuple[str, int], Row] = {}
        self._begun: tuple[float, float] | None = None  # when, and how many parts were done then
        self._next = 0.0

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, handled: int, store: Store, run: str) -> None:
        if time.monotonic() < self._next:
            return
        now = time.monotonic()
        self._next = now + LOOK_SECONDS
        notes = store.notes(run)
        for key in [key for key, row in self._rows.items() if row.left is not None and key not in notes]:
            self._end(key, store)
        for key, note in notes.items():
            self._follow(key, note, now)
        done = handled + sum(note["share"] for note in notes.values())
        self._begun = self._begun or (now, done)
        line = f"{handled} of {self._parts} parts are done{self._time_left(done, now)}"
        self._live.update(self.table(line), refresh=True)

    def _end(self, key: tuple[str, int], store: Store) -> None:
        """A part is not trained any more. If it is finished, its row says how well."""
        row, trial = self._rows[key], self._trials[key[0]]
        if not store.is_done(trial, key[1]):
            del self._rows[key]
            return
        accuracy = store.place(trial, key[1]).load().accuracy[-1]
        row.note, row.left = row.note | {"share": 1.0, "accuracy": float(accuracy.mean())}, None

    def _follow(self, key: tuple[str, int], note: dict[str, Any], now: float) -> None:
        """Show a running part; it may take the place of a finished one."""
        if key not in self._rows and len(self._rows) >= MOST_ROWS:
            finished = [other for other, row in self._rows.items() if row.left is None]
            if not finished:
                return
            del self._rows[finished[0]]
        row = self._rows.setdefault(key, Row(note, now, note["share"]))
        if note["decades"] is None:  # in an epoch without a recorded step yet
            note = note | {"decades": row.note["decades"]}
        row.note, row.left = note, left(now - row.since, note["share"] - row.share, 1 - note["share"])

    def _time_left(self, done: float, now: float) -> str:
        assert self._begun is not None
        since, before = self._begun
        seconds = left(now - since, done - before, self._parts - done)
        return f", about {clock(seconds)} left" if math.isfinite(seconds) else ""

    def table(self, line: str) -> Any:
        """The table, with a line about the whole below it."""
        from rich.table import Table
        from rich.text import Text

        others = ["settings"] if self._names else []
        table = Table("hidden", *others, "seeds", "epoch", "accuracy", "decades", "time left", box=None, caption=line,
                      pad_edge=False, padding=(0, 2, 0, 0), caption_justify="left")  # fmt: skip
        for (key, number), row in self._rows.items():
            table.add_row(*map(Text, self._cells(self._trials[key], number, row)))
        return table

    def _cells(self, trial: Trial, number: int, row: Row) -> list[str]:
        share, accuracy, total = (row.note[name] for name in ("share", "accuracy", "decades"))
        others = [", ".join(f"{name}={trial.settings[name]}" for name in self._names)] if self._names else []
        first, last = trial.parts[number][0], trial.parts[number][-1]
        return [
            str(len(trial.sizes) - 2),
            *others,
            f"{first} to {last}" if last != first else str(first),
            f"{int(trial.epochs * share + 1e-9)}/{trial.epochs}",
            "" if accuracy is None else f"{100 * accuracy:.2f} %",
            "" if total is None or not math.isfinite(total) else decades(total, 1),
            "done" if row.left is None else clock(row.left) if math.isfinite(row.left) else "",
        ]


def telling(trials: Collection[Trial]) -> list[str]:
    """The settings that tell the trials apart, beside the number of hidden layers, of epochs and the seeds.

    >>> few = [Trial((784, 30, 10), lr=lr, batch=batch) for lr, batch in ((0.1, 10), (0.1, 20), (0.5, 10))]
    >>> telling(few), telling(few[:1])
    (['lr', 'batch'], [])
    """
    known: list[tuple[Any, ...]] = [(len(trial.sizes), trial.epochs, trial.seeds) for trial in trials]
    names = []
    for name in [*next(iter(trials)).settings]:
        more = [(*each, str(trial.settings[name])) for each, trial in zip(known, trials, strict=True)]
        if len({*more}) > len({*known}):
            names.append(name)
            known = more
    return names


def left(seconds: float, done: float, rest: float) -> float:
    """How long the rest of some work takes, if so much was done in so many seconds; NaN if nothing was done."""
    return seconds * rest / done if done > 0 else math.nan


def clock(seconds: float) -> str:
    """
    >>> clock(83.2)
    '0:01:23'
    """
    return str(timedelta(seconds=round(seconds)))
