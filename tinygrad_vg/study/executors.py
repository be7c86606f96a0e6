"""Executors: the processes of this machine, made anew when one of them is killed, or an executor that is given."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from tinygrad_vg.study.processes import begin_worker, sigint_held

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Given:
    """An executor of the user's, such as Dask's. It is not ended, and cannot be made anew.

    Attributes:
        window: how many parts are handed in at once. More would take memory, and fewer would leave workers idle.
    """

    window = 1000
    is_own = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        return self._executor.submit(function, *args)


class Processes:
    """Spawned processes with one BLAS thread each. They ignore Ctrl-C, and end when this process ends."""

    is_own = True

    def __init__(self, workers: int) -> None:
        self._workers, self.window = workers, 2 * workers
        self._pool: ProcessPoolExecutor | None = None
        self._others = {*multiprocessing.active_children()}

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.end()

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        """
        Raises:
            BrokenProcessPool: if a worker has been killed; after `end` there are new workers.
        """
        if self._pool is None:
            # Spawned workers are the same on every system, and no lock is copied while a thread holds it.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, begin_worker)
        with sigint_held(), _one_thread():  # this call may start a worker
            return self._pool.submit(function, *args)

    def end(self) -> None:
        """End the workers, after what they run."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None

    def kill(self) -> None:
        """Kill the workers. What they run is lost since its last checkpoint."""
        for process in {*multiprocessing.active_children()} - self._others:
            process.kill()


def executor_of(given: Executor | int | None) -> "Given | Processes":
    """The executor for the argument of `Study.run`.

    Raises:
        TypeError: for another argument.
        ValueError: for a number below 1.
    """
    if given is None:
        affinity = getattr(os, "sched_getaffinity", None)  # a container may have fewer cores than the machine
        given = len(affinity(0)) if affinity else os.cpu_count() or 1
    if isinstance(given, int):
        if given < 1:
            raise ValueError(f"executor is a number of processes, 1 or more, not {given}")
        return Processes(given)
    if not callable(getattr(given, "submit", None)):
        raise TypeError(
            f"executor is a concurrent.futures.Executor, a number of processes or None, not {given!r}; of a Dask "
            "client it is client.get_executor()"
        )
    return Given(given)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """In processes that start meanwhile BLAS uses one thread: the processes share the cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
