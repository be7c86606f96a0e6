"""Tasks in processes, each with a progress bar and its remaining time. Ctrl-C loses no results."""

import multiprocessing
import queue
import signal
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

Report = Callable[[float], bool]  # takes the share of the work that is done, and returns whether to end
Task = tuple[Callable[..., Any], tuple[Any, ...]]

_channel: tuple[Any, Any] | None = None  # in a worker: the queue of reports, and the event that asks to stop


def run_tasks(
    tasks: Mapping[Hashable, Task], workers: int, on_result: Callable[[dict[Hashable, Any]], None]
) -> tuple[dict[Hashable, Any], bool]:
    """Run tasks in worker processes and show their progress.

    A task is (function, args). The function is called as `function(*args, report=report)`, and calls `report(share)`
    from time to time with the share of its work that is done. When `report` returns True, the user has pressed Ctrl-C,
    and the function returns the results that it has. Functions, arguments and results must be picklable.

    Args:
        tasks: the tasks by key. The key names the task on the screen; a tuple is shown with commas.
        workers: the number of processes. NumPy should use one thread in each (`OMP_NUM_THREADS=1`).
        on_result: called with all results so far after each new result, to save them.

    Returns:
        The results by key, and whether Ctrl-C has interrupted the tasks. In that case there are results only of the
        tasks that had begun.

    Raises:
        ModuleNotFoundError: if Rich is missing; the message names the extra that installs it.
        Exception: any exception that a task raises; the other tasks are asked to end.
    """
    bars = _progress()
    # Spawned workers are the same on every system, and no lock is copied while a thread holds it.
    context = multiprocessing.get_context("spawn")
    reports, stop = context.Queue(), context.Event()
    results: dict[Hashable, Any] = {}
    interrupted = False
    with ProcessPoolExecutor(workers, context, _start, (reports, stop)) as pool, bars:
        futures = {key: pool.submit(_run, key, *task) for key, task in tasks.items()}
        rows = {key: bars.add_task(_label(key), start=False, total=1) for key in tasks}
        try:
            while len(results) < len(futures):
                try:
                    key, share = reports.get(timeout=0.2)
                    bars.start_task(rows[key])
                    bars.update(rows[key], completed=share)
                except queue.Empty:
                    pass
                except KeyboardInterrupt:
                    interrupted = True
                    stop.set()
                    futures = {key: future for key, future in futures.items() if not future.cancel()}
                for key in [key for key, future in futures.items() if future.done() and key not in results]:
                    results[key] = futures[key].result()
                    on_result(results)
                    if not interrupted:
                        bars.start_task(rows[key])
                        bars.update(rows[key], completed=1)
        except BaseException:
            for future in futures.values():
                future.cancel()
            raise
        finally:
            stop.set()
    return results, interrupted


def _progress() -> Any:
    """Rich's display of all tasks: name, bar, share, time so far, time left."""
    try:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("progress bars need Rich: pip install 'tinygrad_vg[examples]'") from error
    columns = BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    return Progress("{task.description}", *columns)


def _label(key: Hashable) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _start(reports: Any, stop: Any) -> None:
    """Initialize a worker. Ctrl-C reaches every process; workers ignore it, and the main process sets `stop`."""
    global _channel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _channel = reports, stop


def _run(key: Hashable, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run a task in a worker."""
    assert _channel is not None
    reports, stop = _channel

    def report(share: float) -> bool:
        reports.put((key, share))
        return bool(stop.is_set())

    return function(*args, report=report)
