"""Tasks in processes, with a progress bar and the time left for each, and nothing lost when Ctrl-C comes."""

import multiprocessing
import queue
import signal
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

Report = Callable[[float], bool]  # takes the share that is done, and says whether to end
Task = tuple[Callable[..., Any], tuple[Any, ...]]

_channel: tuple[Any, Any] | None = None  # in a worker: the queue of reports, and the event that says stop


def run_tasks(
    tasks: Mapping[Hashable, Task], workers: int, on_result: Callable[[dict[Hashable, Any]], None]
) -> tuple[dict[Hashable, Any], bool]:
    """Run tasks in processes of their own and show how far they are.

    A task is (function, args); the function is called as `function(*args, report=report)` and now and then calls
    `report(share)` with the share of its work that is done. Where that returns True, the user has asked for an end:
    the function then returns what it has. Functions, arguments and results must be picklable.

    Args:
        tasks: by a key that names the task; a tuple is shown with commas.
        workers: the number of processes. Give NumPy one thread in each (`OMP_NUM_THREADS=1`).
        on_result: called with all results so far when another one has come, to save them.

    Returns:
        The results by key, and whether Ctrl-C cut them short: then those of the tasks that had begun.

    Raises:
        ModuleNotFoundError: without Rich, with the name of the extra that brings it.
        Exception: whatever a task raises; the other tasks are asked to end.
    """
    bars = _progress()
    # Started afresh, workers are the same on every system, and no lock is copied while a thread holds it.
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
    """Ctrl-C reaches every process; only the main one answers it, and tells the workers by `stop`."""
    global _channel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _channel = reports, stop


def _run(key: Hashable, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """A task, in a worker."""
    assert _channel is not None
    reports, stop = _channel

    def report(share: float) -> bool:
        reports.put((key, share))
        return bool(stop.is_set())

    return function(*args, report=report)
