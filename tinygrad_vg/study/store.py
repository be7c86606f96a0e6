"""Store: the directory of a study, the only thing that its processes share.

    study.json                      marks the directory, with the version of its form
    trials/KEY/settings.json        the settings of a trial, whose hash is KEY
    trials/KEY/part-00.npz          a finished part
    trials/KEY/part-00.checkpoint.npz, part-00.error.txt, part-00.lock
    running/KEY-00.json             how far a part is that is being trained
    running/RUN.stop                asks the parts of one run to end

Files are written by `replacing`: readers find the old file or the new one, never a part of one.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_vg.storage import remove_leftovers, replacing
from tinygrad_vg.study.state import State
from tinygrad_vg.study.trial import Trial

FORMAT = 1
WAIT = 0.2  # seconds between two tries to take a lock

_KEY = re.compile(r"[0-9a-f]{16}")
_PART = re.compile(r"part-\d{2,}(\.npz|\.checkpoint\.npz|\.error\.txt|\.lock)")
_RUNNING = re.compile(r"[0-9a-f]{16}-\d{2,}\.json|[0-9a-f]{16}\.stop")
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}(\.\w+)")  # of `replacing`; a killed process leaves it behind


@dataclass(frozen=True)
class Place:
    """The files of one part of a trial."""

    folder: Path
    trial: Trial
    number: int

    @property
    def name(self) -> str:
        return f"part-{self.number:02}"

    @property
    def finished(self) -> Path:
        return self.folder / f"{self.name}.npz"

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.checkpoint.npz"

    @property
    def error(self) -> Path:
        return self.folder / f"{self.name}.error.txt"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    def settle(self) -> None:
        """Make the folder, and write the settings of the trial if they are not there yet.

        Raises:
            ValueError: if the folder holds the settings of another trial, or a damaged file.
        """
        path = self.folder / "settings.json"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(self.trial.settings, indent=1) + "\n", encoding="utf-8")
        elif _json(path) != self.trial.settings:
            raise ValueError(f"{path} has other settings than the trial {self.trial.label}, whose hash is its name")

    def load(self) -> State:
        """The finished part."""
        return State.load(self.finished, self.trial, self.number)

    def last(self) -> State | None:
        """The state of the last checkpoint; None if there is none."""
        return State.load(self.checkpoint, self.trial, self.number) if self.checkpoint.exists() else None

    def finish(self, state: State) -> None:
        """Write the finished part, and remove what it makes superfluous."""
        state.save(self.finished, self.trial, self.number)
        self.checkpoint.unlink(missing_ok=True)
        self.error.unlink(missing_ok=True)

    def fail(self, text: str) -> None:
        """Write why the part has failed. On a full disk there may be no room for it."""
        with contextlib.suppress(OSError), replacing(self.error) as temporary:
            temporary.write_text(text, encoding="utf-8")


class Store:
    """The directory of a study; its names are those of the module's docstring."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.trials, self.running = self.directory / "trials", self.directory / "running"

    def place(self, trial: Trial, number: int) -> Place:
        """The files of a part."""
        return Place(self.trials / trial.key, trial, number)

    def prepare(self) -> None:
        """Make the directory a study's, if it is empty or not there.

        Raises:
            ValueError: if it is another directory, or of another format.
        """
        mark = self.directory / "study.json"
        if not mark.exists():
            if foreign := [name for name in _names(self.directory) if not _TEMPORARY.fullmatch(name)]:
                raise ValueError(
                    f"{self.directory} is no study: it has no study.json, and holds {foreign[0]}; name an empty "
                    "directory, or one that is not there yet"
                )
            with replacing(mark) as temporary:
                temporary.write_text(json.dumps({"format": FORMAT}) + "\n", encoding="utf-8")
        marked = _json(mark)
        if not isinstance(marked, dict) or marked.get("format") != FORMAT:
            raise ValueError(f"{mark} says {marked!r}, and this version of tinygrad_vg reads the format {FORMAT}")
        for folder in (self.trials, self.running):
            folder.mkdir(exist_ok=True)

    def check(self, trials: Iterable[Trial]) -> None:
        """Look for files that do not belong here, and read all files of these trials.

        Raises:
            ValueError: if a file is damaged, or does not belong here; the message names it. Nothing is deleted.
        """
        _only(self.directory, re.compile(r"study\.json|trials|running"))
        _only(self.running, _RUNNING)
        _only(self.trials, _KEY)
        there = {*_names(self.trials)}
        for name in there:
            _only(self.trials / name, re.compile(rf"settings\.json|{_PART.pattern}"))
        for trial in trials:
            if trial.key in there:
                self._read(trial)

    def _read(self, trial: Trial) -> None:
        """Read the files of a trial. Another process may write them meanwhile: only what is whole is ever there."""
        if (self.trials / trial.key / "settings.json").exists():
            self.place(trial, 0).settle()
        for number in range(len(trial.parts)):
            place = self.place(trial, number)
            if place.finished.exists():
                place.load()
            else:
                with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                    place.last()

    def is_done(self, trial: Trial, number: int) -> bool:
        """Whether a part is finished."""
        return self.place(trial, number).finished.exists()

    def stop_file(self, run: str) -> Path:
        """The file that asks the parts of a run to end."""
        return self.running / f"{run}.stop"

    def note(self, trial: Trial, number: int, facts: dict[str, Any]) -> None:
        """Say how far a part is. Without a flush to the disk: it is for those who look on. It may fail silently."""
        path = self._note(trial, number)
        temporary = path.with_name(f".{path.stem}.{os.urandom(8).hex()}{path.suffix}")
        with contextlib.suppress(OSError):
            try:
                temporary.write_text(json.dumps(facts), encoding="utf-8")
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def forget(self, trial: Trial, number: int) -> None:
        """A part is no longer being trained."""
        with contextlib.suppress(OSError):
            self._note(trial, number).unlink(missing_ok=True)
            remove_leftovers(self._note(trial, number))

    def notes(self, run: str) -> dict[tuple[str, int], dict[str, Any]]:
        """How far the parts of a run are that are being trained, by key and number."""
        found = {}
        for path in sorted(self.running.glob("*-*.json")):
            with contextlib.suppress(OSError, ValueError):  # it is gone, or the disk is full
                facts = json.loads(path.read_text(encoding="utf-8"))
                if facts.get("run") == run:
                    key, _, number = path.stem.partition("-")
                    found[key, int(number)] = facts
        return found

    def _note(self, trial: Trial, number: int) -> Path:
        return self.running / f"{trial.key}-{number:02}.json"


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on a file; while another process has it, call `waiting` again and again, which may raise.

    The system releases the lock at the end of the process, also if that is killed. Where there are no locks (Windows,
    some network file systems) nothing is held: then only one run should use a directory.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                time.sleep(WAIT)
            except OSError:
                break
            else:
                break
        yield


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _only(folder: Path, names: "re.Pattern[str]") -> None:
    """Raise ValueError if a folder holds something else than these names, or their temporary files."""
    for name in _names(folder):
        temporary = _TEMPORARY.fullmatch(name)
        if not names.fullmatch(name) and not (temporary and names.fullmatch("".join(temporary.groups()))):
            raise ValueError(f"{folder / name} does not belong in the directory of a study: move it elsewhere")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
