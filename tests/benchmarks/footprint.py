"""What importing costs, and what memory training takes: each measured in Python processes of its own."""

import os
import subprocess
import sys
import tracemalloc
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.benchmarks.fresh import in_a_fresh_process
from tests.benchmarks.jobs import Job, UnavailableError, draw_job, mnist
from tests.benchmarks.ours import compiled, compiled_step, ours
from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import interleaved, ratio, spread

WARM_STEPS, STEPS = 2_000, 100_000
MB = 1e6
PEAK_NETS = {"[784, 30, 30, 10]": [784, 30, 30, 10], "[784, 100 × 8, 10]": [784, *[100] * 8, 10]}


# --- Import -----------------------------------------------------------------------------------------------


def seconds_to_import(module: str, environment: dict[str, str]) -> float:
    """The import alone, without the start of the interpreter, which would make the ratio look better."""
    code = f"from time import perf_counter; t = perf_counter(); import {module}; print(perf_counter() - t)"
    run = partial(subprocess.run, stdout=subprocess.PIPE, check=True, env=environment)
    return float(run([sys.executable, "-c", code]).stdout)


def measure_import(repeats: int) -> Result:
    with TemporaryDirectory() as bytecode:
        # Both modules' bytecode is kept there: where Python is told to write none, ours would be compiled each time.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        blocks = {name: partial(seconds_to_import, name, environment) for name in ("numpy", "tinygrad_vg")}
        for block in blocks.values():
            block()  # writes the bytecode, and brings the files into memory
        seconds = interleaved(blocks, 2 * repeats)  # more than elsewhere: starting processes is a noisy thing
    row = Row("import tinygrad_vg / import numpy", ratio(seconds["tinygrad_vg"], seconds["numpy"]), Bar("≤", 1.3))
    return Result("importing, NumPy with it, in a fresh interpreter", [row], seconds)


# --- Memory -----------------------------------------------------------------------------------------------


def resident() -> int | None:
    """Bytes of this process in memory; None where the system does not say it as Linux does."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else None


def growth(side: str) -> float | None:
    """MB by which the process has grown in training, once everything it needs is there."""
    rng = np.random.default_rng(0)
    images = rng.random((500, 20), dtype=np.float32)
    targets = np.eye(3, dtype=np.float32)[rng.integers(3, size=500)]
    training = {"eager": ours, "compiled": compiled}[side](draw_job((images, targets), [20, 8, 8, 3], batch=10, lr=0.5))
    training.run(WARM_STEPS)
    before = resident()
    training.run(STEPS)
    return None if before is None else (resident() - before) / MB


def peak_job(name: str) -> Job:
    return draw_job(mnist(), PEAK_NETS[name], batch=1000, lr=0.1)


def peak(name: str) -> int:
    """The most bytes that Python and NumPy hold during an eager training step: parameters, batch and all on the way."""
    job = peak_job(name)
    tracemalloc.start()  # here: the data set and the job's start are not the step's
    training = ours(job)
    training.run(2)  # after which the optimizer has what it keeps
    tracemalloc.reset_peak()
    training.run(1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def arena(name: str) -> int:
    """The bytes of the memory in which a compiled step keeps all that is on the way."""
    job = peak_job(name)
    _, step = compiled_step(job, "numba")
    batch = job.batches[0]
    while step.source is None:
        step(job.images.take(batch, axis=0), job.targets.take(batch, axis=0))
    return step.programs[0].lowered.bytes


def bytes_needed(sizes: list[int], batch: int) -> int:
    """The float32 arrays that must be there at once at the end of a backward, however it is written.

    These are the parameters and a gradient for each, the batch's images and targets, and one array for each layer's
    output: of a sigmoid layer y, from which its slope y(1 − y) follows, of the last the logits. A step of SGD without
    momentum must keep nothing else. Not counted, though ours holds them: each sigmoid layer's z (the slope is exact
    at every z, which y cannot give), what is on its way back, and the optimizer's array for each parameter's step.

    >>> bytes_needed([3, 2, 1], batch=10)
    368
    """
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    values = sizes[0] + sizes[-1] + sum(sizes[1:])  # images, targets, outputs
    return 4 * (2 * parameters + batch * values)


def bytes_given(name: str) -> int:
    """What an eager peak has and an arena has not: the parameters and the batch."""
    sizes = PEAK_NETS[name]
    job = peak_job(name)
    return sum(array.nbytes for layer in job.start for array in layer) + 4 * job.batch * (sizes[0] + sizes[-1])


def measure_memory() -> Result:
    rows = [growth_row("eager")]
    peaks = {name: in_a_fresh_process(f"footprint.peak({name!r})") for name in PEAK_NETS}
    for name, most in peaks.items():
        rows.append(Row(f"peak / needed, {name}", spread([most / bytes_needed(PEAK_NETS[name], 1000)]), Bar("≤", 2)))
    notes = [
        f"growth: of resident memory, over {STEPS:,} steps of [20, 8, 8, 3], batch 10",
        "peak: of one step, batch 1,000; needed are parameters, gradients, the batch, and an output for each layer",
        "arena: the memory of a compiled step, over the eager peak without parameters and batch, which lie elsewhere",
    ]
    try:
        compiled_step(peak_job(next(iter(PEAK_NETS))), "numba")
    except UnavailableError as error:
        return Result("memory in training", rows, notes=[*notes, missing("a compiled step", error)])
    rows.append(growth_row("compiled"))
    for name, most in peaks.items():
        share = in_a_fresh_process(f"footprint.arena({name!r})") / (most - bytes_given(name))
        rows.append(Row(f"arena / eager peak, {name}", spread([share]), Bar("≤", 1)))
    if rows[0].value is None:
        notes.append("growth was not measured: it is read from /proc, which only Linux has")
    return Result("memory in training", rows, notes=notes)


def growth_row(side: str) -> Row:
    grown = in_a_fresh_process(f"footprint.growth({side!r})")
    return Row(f"growth, {side}", None if grown is None else spread([grown]), Bar("<", 5), unit=" MB")
