"""Monitor: one bar for a whole study, and a row for each part that is being trained."""

import time
from typing import Any

from tinygrad_vg.extras import install
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


class Bars(Monitor):
    """Bars of Rich's.

    Raises:
        ModuleNotFoundError: if Rich is missing; the message names the extra that installs it.
    """

    def __init__(self, trials: dict[str, Trial], parts: int) -> None:
        try:
            from rich.markup import escape
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"progress bars need Rich: {install('examples')}, or write progress=False"
            ) from error
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}")
        self._bars = Progress(*columns, TimeRemainingColumn())
        self._escape, self._trials = escape, trials
        self._all = self._bars.add_task("all parts", total=parts, facts=f"0/{parts}")
        self._parts = parts
        values: dict[str, set[str]] = {}
        for trial in trials.values():
            for name, value in trial.settings.items():
                values.setdefault(name, set()).add(str(value))
        self._differing = [name for name, found in values.items() if len(found) > 1]
        self._rows: dict[tuple[str, int], Any] = {}
        self._next = 0.0

    def __enter__(self) -> None:
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        for row in self._rows.values():
            self._bars.remove_task(row)
        self._bars.stop()

    def show(self, handled: int, store: Store, run: str) -> None:
        if time.monotonic() < self._next and handled < self._parts:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        notes = store.notes(run)
        done = handled + sum(note["share"] for note in notes.values())
        self._bars.update(self._all, completed=done, facts=f"{handled}/{self._parts}")
        for gone in self._rows.keys() - notes.keys():
            self._bars.remove_task(self._rows.pop(gone))
        for key, note in notes.items():
            if key not in self._rows and len(self._rows) < MOST_ROWS:
                self._rows[key] = self._bars.add_task(self._escape(self._name(*key)), total=1, facts="")
            if key in self._rows:
                accuracy = "" if note["accuracy"] is None else f"accuracy {note['accuracy']:.4f}"
                self._bars.update(self._rows[key], completed=note["share"], facts=accuracy)

    def _name(self, key: str, number: int) -> str:
        trial = self._trials[key]
        seeds = trial.parts[number]
        text = f"{trial.told(self._differing)}, seed {seeds[0]}"
        return text + (f" to {seeds[-1]}" if len(seeds) > 1 else "")
