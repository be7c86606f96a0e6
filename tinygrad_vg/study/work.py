"""What a worker does: train one part of a trial under its lock, and leave everything in the store."""

import os
import threading
import time
import traceback
from collections.abc import Callable

from tinygrad_vg.study.state import State
from tinygrad_vg.study.store import Place, Store, held
from tinygrad_vg.study.training import StopError, trained
from tinygrad_vg.study.trial import Trial

DONE, FAILED, STOPPED, BUSY = "done", "failed", "stopped", "busy"

CHECKPOINT_SECONDS = 30.0  # between two checkpoints, by the monotonic clock: other clocks are set
LOOK_SECONDS = 0.5  # between two looks at the stop file, and two notes of how far the part is

# A worker of Dask has several threads. Recorders of other threads would be hooks of this part's training, whose
# compiled step would be recorded again, with other bits.
_one_at_a_time = threading.Lock()


class BusyError(Exception):
    """Another process trains the part."""


def run_part(directory: str, trial: Trial, number: int, run: str, wait: bool) -> tuple[str, str]:
    """Train a part of a trial, from its last checkpoint on, unless it is finished. All results stay in the store.

    Args:
        directory: of the study.
        trial, number: the part.
        run: a name of the run, whose stop file the part looks for.
        wait: whether to wait while another process trains the part.

    Returns:
        "done", "failed", "stopped" or "busy", and the last line of the error.
    """
    store = Store(directory)
    place, watch = store.place(trial, number), _Watch(store, trial, number, run)
    try:
        with _one_at_a_time:
            watch.raise_if_stopped()
            place.settle()
            with held(place.lock, watch.raise_if_stopped if wait else _leave), watch:
                if not place.finished.exists():
                    _train(place, watch)
        return DONE, ""
    except BusyError:
        return BUSY, ""
    except StopError:
        return STOPPED, ""
    except Exception as error:
        place.fail(traceback.format_exc())
        return FAILED, traceback.format_exception_only(error)[-1].strip()


def _leave() -> None:
    raise BusyError


def _train(place: Place, watch: "_Watch") -> None:
    """Train a part, with checkpoints. If it is stopped, the end of the last epoch becomes a checkpoint."""
    state = kept = place.last()
    saved = time.monotonic()
    try:
        for each in trained(place.trial, place.trial.parts[place.number], kept, watch.report):
            state = each
            if state.epochs < place.trial.epochs and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                kept = _keep(place, state, kept)
                saved = time.monotonic()
    except StopError:
        if state is not None and state is not kept:
            _keep(place, state, kept)
        raise
    assert state is not None  # there is at least one epoch
    place.finish(state)


def _keep(place: Place, state: State, before: State | None) -> State | None:
    """Write a checkpoint, and return the state that is on the disk then: on a full disk the one before."""
    try:
        state.save(place.checkpoint, place.trial, place.number)
    except OSError:
        return before
    return state


class _Watch:
    """Tells others how far a part is while it is entered, and looks for the stop file; about twice a second."""

    def __init__(self, store: Store, trial: Trial, number: int, run: str) -> None:
        self._store, self._trial, self._number, self._run = store, trial, number, run
        self._next = 0.0

    def __enter__(self) -> None:
        self.look(0.0, None, lambda: None)

    def __exit__(self, *_: object) -> None:
        self._store.forget(self._trial, self._number)

    def report(self, share: float, accuracy: float | None, decades: Callable[[], float | None]) -> None:
        if time.monotonic() >= self._next:
            self.look(share, accuracy, decades)

    def raise_if_stopped(self) -> None:
        if self._store.stop_file(self._run).exists():
            raise StopError

    def look(self, share: float, accuracy: float | None, decades: Callable[[], float | None]) -> None:
        self._next = time.monotonic() + LOOK_SECONDS
        self.raise_if_stopped()
        facts = {"run": self._run, "pid": os.getpid(), "share": share, "accuracy": accuracy, "decades": decades()}
        self._store.note(self._trial, self._number, facts)
