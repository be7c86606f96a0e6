"""How long a user waits for the first compiled step of work A, and in a second process, which finds it in the cache."""

from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from tests.benchmarks.fresh import in_a_fresh_process
from tests.benchmarks.jobs import Job, UnavailableError, draw_job
from tests.benchmarks.ours import compiled_step
from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import spread

REPEATS, MOST_CALLS = 3, 10
BARS = {"cold": Bar("≤", 3), "from the cache": Bar("≤", 0.5)}
CACHE = "TINYGRAD_VG_CACHE"  # names the folder where machine code is kept: an empty one at first


def small_job() -> Job:
    """A's network; on noise, for reading MNIST is no part of the wait."""
    rng = np.random.default_rng(0)
    images = rng.random((300, 784), dtype=np.float32)
    targets = np.eye(10, dtype=np.float32)[rng.integers(10, size=300)]
    return draw_job((images, targets), [784, 30, 30, 10], batch=10, lr=0.5)


def waited() -> tuple[float, int]:
    """Seconds from the first call to the end of the first that ran compiled, and how many calls that took.

    The calls before it are eager steps, which record. All that they import, Numba most of all, is part of it.
    """
    job = small_job()
    _, step = compiled_step(job, "numba")
    x, t = job.images[: job.batch], job.targets[: job.batch]
    start = perf_counter()
    for calls in range(1, MOST_CALLS + 1):
        step(x, t).item()
        if step.source is not None:
            return perf_counter() - start, calls
    raise RuntimeError(f"no call of {MOST_CALLS} ran compiled")


def measure() -> Result:
    title = "seconds from the first call of A's step to the end of the first compiled one, all imports with it"
    seconds: dict[str, list[float]] = {"cold": [], "from the cache": []}
    try:
        compiled_step(small_job(), "numba")
    except UnavailableError as error:
        note = missing("a compiled step", error)
        return Result(title, [Row(name, None, bar, " s") for name, bar in BARS.items()], notes=[note])
    in_a_fresh_process("compiling.waited()")  # brings the files of Numba and SciPy into memory
    calls = 0
    for _ in range(REPEATS):
        with TemporaryDirectory() as folder:
            for times in seconds.values():
                waited_for, calls = in_a_fresh_process("compiling.waited()", **{CACHE: folder})
                times.append(waited_for)
    rows = [Row(name, spread(seconds[name]), bar, " s") for name, bar in BARS.items()]
    return Result(title, rows, seconds, [f"each in a process of its own; compiled from call {calls} on"])
