"""Running: the parts of a study are handed to an executor, and what becomes of them."""

import contextlib
import queue
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_vg.study import work
from tinygrad_vg.study.executors import Given, Processes
from tinygrad_vg.study.monitor import Monitor
from tinygrad_vg.study.processes import Signals
from tinygrad_vg.study.store import Store
from tinygrad_vg.study.trial import Trial, differing, label_beside, span

Part = tuple[Trial, int]

LOOK_SECONDS = 0.25  # between two looks at signals and at the notes of running parts
MOST_BREAKS = 3  # a part that was running in so many broken pools has failed


@dataclass(frozen=True)
class Failure:
    """A part of a trial that has raised, or whose worker was killed again and again.

    Attributes:
        trial, part: the trial and the number of the part; its seeds are `trial.parts[part]`.
        error: the last line of the error.
        path: the file with the traceback.
        label: the trial in words, as `Study.label`.

    >>> import tempfile, tinygrad_vg as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trial = tg.study.Trial((784, 5, 10), images=20, epochs=1, data=f"{folder}/none")
    ...     (failure,) = tg.study.Study([trial], f"{folder}/study").run(1, progress=False).failed
    >>> failure.part, failure.error.partition(":")[0]
    (0, 'FileNotFoundError')
    """

    trial: Trial
    part: int
    error: str
    path: Path
    label: str


@dataclass(frozen=True)
class Outcome:
    """How a run of a study has ended; `print(outcome)` shows it.

    Attributes:
        done: how many trials are finished, in this run or before.
        trials: how many trials the study has.
        failed: the parts that have failed. The next run tries them again.
        interrupted: whether Ctrl-C or SIGTERM has ended the run.

    >>> print(Outcome(3, 4, (), interrupted=True))
    Interrupted: 3 of 4 trials are done; the next run goes on from the checkpoints
    """

    done: int
    trials: int
    failed: tuple[Failure, ...]
    interrupted: bool

    def __str__(self) -> str:
        lines = [f"{'Interrupted: ' if self.interrupted else ''}{self.done} of {self.trials} trials are done"]
        if self.interrupted:
            lines[0] += "; the next run goes on from the checkpoints"
        if self.failed:
            lines[0] += f"; {len(self.failed)} part{'s' * (len(self.failed) > 1)} failed:"
        for failure in self.failed:
            lines += [f"  {failure.label}, seeds {span(failure.trial.parts[failure.part])}: {failure.error}",
                      f"    traceback: {failure.path}"]  # fmt: skip
        return "\n".join(lines)


class Running:
    """One run of a study."""

    def __init__(self, store: Store, trials: Sequence[Trial], run: str) -> None:
        self._store, self._trials, self._run = store, trials, run
        self._differing = differing(trials)  # not a label of each: a study may have many trials
        self._new = self._parts()
        self._again: deque[Part] = deque()  # parts whose worker was killed
        self._busy: deque[Part] = deque()  # parts that another process trains; they are waited for at the end
        self._alone: deque[Part] = deque()  # those that were running in two broken pools: each is tried alone
        self._breaks: dict[tuple[str, int], int] = {}
        self._idle_breaks = 0  # of pools in which no part was running
        self._futures: dict[Future[Any], Part] = {}
        self._ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._left: dict[str, int] = {}  # parts that are not finished, of the trials that have begun
        self._failed: list[Failure] = []
        self._done = self._handled = 0
        self._error: Exception | None = None
        self._stopping = False

    def _parts(self) -> Iterator[Part]:
        for trial in self._trials:
            self._left[trial.key] = len(trial.parts)
            for number in range(len(trial.parts)):
                yield trial, number

    def drive(self, executor: Given | Processes, monitor: Monitor) -> Outcome:
        """Run all parts to their end.

        Raises:
            Exception: of the executor, if it takes no parts any more. Its note says how many trials are done.
        """
        try:
            with Signals() as signals, executor:
                self._drive(executor, monitor, signals)
        finally:
            if not self._futures:  # else there are parts that have still to find it
                self._store.stop_file(self._run).unlink(missing_ok=True)
        outcome = Outcome(self._done, len(self._trials), tuple(self._failed), signals.count > 0)
        if self._error is not None:
            self._error.add_note(str(outcome))
            raise self._error
        return outcome

    def _drive(self, executor: Given | Processes, monitor: Monitor, signals: Signals) -> None:
        while True:
            self._fill(executor)
            monitor.show(self._handled, self._store, self._run)
            if not self._futures:
                return
            lost = [part for future in self._wait() if (part := self._take(future, executor.is_own)) is not None]
            if lost:
                self._mend(executor, lost)
            if (signals.count or self._error) and not self._stopping:
                self._stop(executor)
            if signals.count >= 3:
                if not isinstance(executor, Processes):
                    return
                executor.kill()

    def _stop(self, executor: Given | Processes) -> None:
        """Ask the running parts to end; on a full disk, where that is not possible, kill the workers."""
        self._stopping = True
        try:
            self._store.stop_file(self._run).touch()
        except OSError:
            if isinstance(executor, Processes):
                executor.kill()

    def _wait(self) -> Iterator[Future[Any]]:
        """The futures that have ended, after a while or when the first ends; `wait` would look at all each time."""
        with contextlib.suppress(queue.Empty):
            yield self._ended.get(timeout=LOOK_SECONDS)
            while True:
                yield self._ended.get_nowait()

    def _fill(self, executor: Given | Processes) -> None:
        """Hand in parts until the window is full."""
        while not self._stopping and len(self._futures) < executor.window:
            part, wait = self._next()
            if part is None:
                return
            if self._store.is_done(*part):
                self._finish(part)
                continue
            try:
                future = executor.submit(work.run_part, str(self._store.directory), *part, self._run, wait)
            except Exception as error:
                if not (isinstance(error, BrokenProcessPool) and isinstance(executor, Processes)):
                    self._error = error
                    return
                self._again.appendleft(part)
                if self._futures:
                    return  # they tell the same, and the pool is made anew
                executor.end()  # a worker was killed that had nothing to do
                continue
            self._futures[future] = part
            future.add_done_callback(self._ended.put)

    def _next(self) -> tuple[Part | None, bool]:
        """The next part to hand in, None if there is none now; and whether to wait while another process trains it."""
        if self._again:
            return self._again.popleft(), False
        if (part := next(self._new, None)) is not None:
            return part, False
        if self._busy:
            return self._busy.popleft(), True
        return (self._alone.popleft() if self._alone and not self._futures else None), True

    def _take(self, future: "Future[Any]", is_own: bool) -> Part | None:
        """Take in a part that has ended; return it if its pool is broken."""
        part = self._futures.pop(future, None)
        if part is None:  # it was taken in when its pool broke
            return None
        try:
            status, line = future.result()
        except BrokenProcessPool as error:
            if is_own:
                return part
            self._error = error
        except (CancelledError, Exception) as error:  # of the executor: `run_part` itself raises nothing
            self._store.place(*part).fail("".join(traceback.format_exception(error)))
            self._fail(part, traceback.format_exception_only(error)[-1].strip())
        else:
            if status == work.DONE:
                self._finish(part)
            elif status == work.FAILED:
                self._fail(part, line)
            elif status == work.BUSY:
                self._busy.append(part)
        return None

    def _finish(self, part: Part) -> None:
        trial, number = part
        self._handled += 1
        self._breaks.pop((trial.key, number), None)
        self._left[trial.key] -= 1
        if not self._left[trial.key]:
            del self._left[trial.key]
            self._done += 1

    def _fail(self, part: Part, line: str) -> None:
        self._handled += 1
        label = label_beside(part[0], self._differing)
        self._failed.append(Failure(*part, line, self._store.place(*part).error, label))

    def _mend(self, executor: Given | Processes, lost: list[Part]) -> None:
        """A worker was killed, and with it the pool: wait for the others, and hand in what is lost once more.

        The pool does not tell which worker was the first. A part that was running twice when a pool broke is tried
        alone the third time: so only the part fails whose worker is killed each time.
        """
        lost += [part for future in wait_for(self._futures).done if (part := self._take(future, True)) is not None]
        assert isinstance(executor, Processes)
        executor.end()
        if self._stopping:
            return
        running = self._store.notes(self._run)
        if not running:
            self._idle_breaks += 1
        for trial, number in lost:
            place, key = self._store.place(trial, number), (trial.key, number)
            self._breaks[key] = self._breaks.get(key, 0) + (key in running)
            self._store.forget(trial, number)
            if self._breaks[key] >= MOST_BREAKS:
                line = f"the system killed its worker in {MOST_BREAKS} pools, perhaps because memory was short"
                place.fail(f"{line}\n")
                self._fail((trial, number), line)
            elif self._breaks[key] == MOST_BREAKS - 1:
                self._alone.append((trial, number))
            else:
                self._again.append((trial, number))
        if self._idle_breaks >= MOST_BREAKS:
            self._error = BrokenProcessPool(
                f"{MOST_BREAKS} times a worker ended before it began a part: call run() in a script, under "
                '`if __name__ == "__main__":`'
            )
