"""What recording costs: the time of training with a recorder, and with recorder and ledger, over bare training.

    python -m tests.benchmarks.recording

Each line is a median of ratios, and their quartiles, of pairs of runs that follow one another; one BLAS thread. Eager
training, and compiled.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

from contextlib import ExitStack
from functools import partial
from time import perf_counter

import numpy as np

import tinygrad_vg as tg
from tests.benchmarks.jobs import UnavailableError
from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import ratio
from tinygrad_vg.instruments import GradientRecorder, Ledger

PAIRS, STEPS, BATCH = 31, 500, 32
NETS = {"[784, 30×4, 10]": [784, *[30] * 4, 10], "[784, 100×8, 10]": [784, *[100] * 8, 10]}
INSTRUMENTS = {"recorder": (GradientRecorder,), "recorder and ledger": (GradientRecorder, Ledger)}


BARS = {"recorder": Bar("≤", 1.05), "recorder and ledger": Bar("≤", 1.15)}
COMPILED_BARS = {"recorder": Bar("≤", 1.03), "recorder and ledger": Bar("≤", 1.1)}


def drawn(sizes):
    """A network, its step on a batch, and a function that fetches a random batch."""
    rng = np.random.default_rng(0)
    net = tg.nn.mlp(sizes, dtype=np.float32, rng=rng)
    images = rng.random((5000, sizes[0]), dtype=np.float32)
    targets = np.eye(sizes[-1], dtype=np.float32)[rng.integers(0, sizes[-1], 5000)]
    sgd = tg.optim.SGD(net.parameters(), lr=0.01, weight_decay=1e-4)
    cost = tg.nn.BCEWithLogitsLoss("batchmean")

    def step(x, t):
        sgd.zero_grad()
        cost(net(x), t).backward()
        sgd.step()

    def fetched():
        batch = rng.integers(0, len(images), BATCH)
        return images[batch], targets[batch]

    return net, step, fetched


def seconds_of(step, fetched):
    start = perf_counter()
    for _ in range(STEPS):
        step(*fetched())
    return perf_counter() - start


def measured():
    """Yield network, instruments, and the seconds of each pair of runs: with them, and bare."""
    for name, sizes in NETS.items():
        net, step, fetched = drawn(sizes)
        seconds_of(step, fetched)
        for label, instruments in INSTRUMENTS.items():
            pairs = []
            for _ in range(PAIRS):
                with ExitStack() as on:
                    for instrument in instruments:
                        on.enter_context(instrument(net))
                    with_them = seconds_of(step, fetched)
                pairs.append((with_them, seconds_of(step, fetched)))
            yield name, label, pairs


def measured_compiled():
    """The same of compiled steps. A step has a program with instruments and one without, which both run beforehand.

    Raises:
        UnavailableError: if an instrument sees nothing of the steps, which would then be timed as if it cost nothing.
    """
    for name, sizes in NETS.items():
        net, step, fetched = drawn(sizes)
        run = compiled(step, fetched)
        for label, instruments in INSTRUMENTS.items():
            pairs = []
            for _ in range(PAIRS + 1):  # the first pair makes the programs
                with ExitStack() as on:
                    attached = [on.enter_context(instrument(net)) for instrument in instruments]
                    with_them = run()
                    if not all(map(has_heard, attached)):
                        raise UnavailableError(f"a {label} saw nothing of the last compiled step")
                pairs.append((with_them, run()))
            yield name, label, pairs[1:]


def compiled(step, fetched):
    """A function that runs the step, compiled, and gives the seconds; traced and run for some time already."""
    run = partial(seconds_of, tg.compile(step), fetched)
    run()
    return run


def has_heard(instrument):
    """Whether an instrument has seen the last step of the first run, not only those that were traced."""
    if isinstance(instrument, Ledger):
        return instrument.heard
    return len(instrument.history.steps) == STEPS


def measure() -> Result:
    rows, seconds, notes = [], {}, []
    for side, measured_pairs, bars in (("", measured, BARS), (", compiled", measured_compiled, COMPILED_BARS)):
        try:
            for net, label, pairs in measured_pairs():
                on, bare = ([pair[i] / STEPS for pair in pairs] for i in (0, 1))
                rows.append(Row(f"{label} / bare{side}, {net}", ratio(on, bare), bars[label]))
                seconds |= {f"{net}, {label}{side}": on, f"{net}, bare beside {label}{side}": bare}
        except UnavailableError as error:
            notes.append(missing(f"recording{side}", error))
            rows += [Row(f"{label} / bare{side}", None, bar) for label, bar in bars.items()]
    return Result(f"training with instruments on, batch {BATCH}", rows, seconds, notes)


def main():
    for row in measure().rows:
        print("  ".join(row.cells()))


if __name__ == "__main__":
    main()
