"""Tasks in processes, with progress bars. Neither Ctrl-C nor an error loses results."""

import contextlib
import multiprocessing
import pickle
import queue
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tinygrad_vg.extras import install
from tinygrad_vg.study.processes import Signals, begin_worker, sigint_held

Report = Callable[[float], bool]
"""The argument `report` of a task: it takes the share of the work that is done, 0 to 1, and returns whether to end."""
Task = tuple[Callable[..., Any], tuple[Any, ...]]
OnResult = Callable[[dict[Hashable, Any]], None]

_channel: tuple[Any, Any] | None = None  # in a worker: the queue of reports, and a number that is 1 to ask for a stop


def run_tasks(tasks: Mapping[Hashable, Task], workers: int, on_result: OnResult) -> tuple[dict[Hashable, Any], bool]:
    """Run tasks in worker processes and show their progress.

    A task is (function, args). It is called as `function(*args, report=report)`. From time to time the function calls
    `report(share)` with the share of its work that is done; if that returns True, it should end early and return the
    result that it has. Functions, arguments and results must be picklable.

    Ctrl-C and SIGTERM ask the tasks to end; the third signal kills the workers. The workers end with the main process,
    even if it is killed.

    Args:
        tasks: the tasks by key. The progress bars show the keys, a tuple with commas.
        workers: the number of processes. NumPy should use one thread in each (`OMP_NUM_THREADS=1`).
        on_result: a function that saves results; it is called with all results so far after each new one. If it fails,
            the tasks go on, and it is called again after the next result and at the end.

    Returns:
        The results by key, and whether a signal has interrupted the tasks. If so, only tasks that had begun have
        results.

    Raises:
        ModuleNotFoundError: if Rich is missing; the message names the extra that installs it.
        Exception: the exception of the first task that fails, or of the last `on_result`. Before it is raised, the
            other tasks are asked to end, and `on_result` gets their results. A note on the exception names the task,
            and the results that are kept.
        BrokenProcessPool: if the system kills a worker, for example because memory is short. All workers end then; a
            note names the tasks that are lost.

    >>> import contextlib, io
    >>> tasks = {name: (str.format, ("{} of {report.__name__}", name)) for name in ("share", "end")}
    >>> with contextlib.redirect_stdout(io.StringIO()):  # the progress bars
    ...     results, was_interrupted = run_tasks(tasks, workers=1, on_result=lambda results: None)
    >>> sorted(results.items()), was_interrupted
    ([('end', 'end of report'), ('share', 'share of report')], False)
    """
    bars, escape = _progress()
    # Spawned workers are the same on every system, and no lock is copied while a thread holds it.
    context = multiprocessing.get_context("spawn")
    reports, stop = context.Queue(), context.RawValue("b", 0)  # it has no lock, which a killed worker would keep
    others = {*multiprocessing.active_children()}
    end, outcome = Signals(), _Outcome(on_result)
    with end, ProcessPoolExecutor(workers, context, _start, (reports, stop)) as pool, bars:
        with sigint_held():
            futures = {key: pool.submit(_run, key, *task) for key, task in tasks.items()}
        rows = {key: bars.add_task(escape(_label(key)), start=False, total=1) for key in tasks}
        while futures:
            with contextlib.suppress(queue.Empty):
                key, share = reports.get(timeout=0.2)
                bars.start_task(rows[key])
                bars.update(rows[key], completed=share)
            for key in [key for key, future in futures.items() if future.done()]:
                if outcome.take(key, futures.pop(key)) and not stop.value:
                    bars.start_task(rows[key])
                    bars.update(rows[key], completed=1)
            if (end.count or outcome.error) and not stop.value:
                stop.value = 1
                futures = {key: future for key, future in futures.items() if not future.cancel()}
            if end.count >= 3:
                for process in {*multiprocessing.active_children()} - others:
                    process.kill()
    outcome.close(bool(end.count))
    return outcome.results, bool(end.count)


class _Outcome:
    """The results, the first error, and the tasks that are lost."""

    def __init__(self, on_result: OnResult) -> None:
        self.results: dict[Hashable, Any] = {}
        self.error: BaseException | None = None
        self._failed: Hashable = None  # the task whose error it is
        self._lost: list[Hashable] = []
        self._on_result, self._unsaved = on_result, False

    def take(self, key: Hashable, future: "Future[Any]") -> bool:
        """Keep the result or the error of a task that has ended; return whether it has a result."""
        error = future.exception()
        if error is None:
            self.results[key] = future.result()
            try:
                self._on_result(self.results)
            except Exception:  # such as a full disk; the next result is another chance
                self._unsaved = True
            else:
                self._unsaved = False
            return True
        if isinstance(error, BrokenProcessPool):
            self._lost.append(key)
        if self.error is None:
            self.error, self._failed = error, key
        return False

    def close(self, interrupted: bool) -> None:
        """Save the results that are not saved yet, and raise the first error."""
        if self._unsaved:
            self._on_result(self.results)
        if self.error is None or (interrupted and isinstance(self.error, BrokenProcessPool)):
            return
        kept = f"kept: {_labels(self.results)}"
        if isinstance(self.error, BrokenProcessPool):
            self.error.add_note(
                f"the system killed a worker, perhaps because memory was short; lost: {_labels(self._lost)}; {kept}"
            )
        else:
            self.error.add_note(f"in task {_label(self._failed)}; {kept}")
        raise self.error


def _progress() -> Any:
    """Rich's display of all tasks (name, bar, share, time so far, time left), and its function that escapes names."""
    try:
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"progress bars need Rich: {install('examples')} installs it") from error
    columns = BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    return Progress("{task.description}", *columns), escape


def _label(key: Hashable) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _labels(keys: Iterable[Hashable]) -> str:
    return "; ".join(map(_label, keys)) or "nothing"


def _start(reports: Any, stop: Any) -> None:
    """Initialize a worker. Ctrl-C reaches every process; workers ignore it, and the main process sets `stop`."""
    global _channel
    _channel = reports, stop
    begin_worker()


def _run(key: Hashable, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run a task in a worker."""
    assert _channel is not None
    reports, stop = _channel

    def report(share: float) -> bool:
        reports.put((key, share))
        return bool(stop.value)

    try:
        return function(*args, report=report)
    except BaseException as error:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        if not isinstance(error, Exception):  # such as SystemExit, which would end the main process
            raise plain from error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # the main process could not unpickle it, and would take this worker for dead
            raise plain from error
        raise
