"""What recording costs: the time of training with a recorder, and with recorder and ledger, over bare training.

    python tests/benchmarks/recording.py

Each line is a median of ratios, and their quartiles, of pairs of runs that follow one another; one BLAS thread.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

from contextlib import ExitStack
from time import perf_counter

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder, Ledger

PAIRS, STEPS, BATCH = 31, 100, 32
NETS = {"[784, 30×4, 10]": [784, *[30] * 4, 10], "[784, 100×8, 10]": [784, *[100] * 8, 10]}
INSTRUMENTS = {"recorder": (GradientRecorder,), "recorder and ledger": (GradientRecorder, Ledger)}


def training(sizes):
    """A function that trains a network for STEPS steps and returns the seconds of it, instruments on."""
    rng = np.random.default_rng(0)
    net = tg.nn.mlp(sizes, dtype=np.float32, rng=rng)
    images = rng.random((5000, sizes[0]), dtype=np.float32)
    targets = np.eye(sizes[-1], dtype=np.float32)[rng.integers(0, sizes[-1], 5000)]
    sgd = tg.optim.SGD(net.parameters(), lr=0.01, weight_decay=1e-4)
    cost = tg.nn.BCEWithLogitsLoss("batchmean")

    def run(instruments):
        with ExitStack() as on:
            for instrument in instruments:
                on.enter_context(instrument(net))
            start = perf_counter()
            for _ in range(STEPS):
                batch = rng.integers(0, len(images), BATCH)
                sgd.zero_grad()
                cost(net(images[batch]), targets[batch]).backward()
                sgd.step()
            return perf_counter() - start

    return run


def measured():
    """Yield network, instruments, and the seconds of each pair of runs: with them, and bare."""
    for name, sizes in NETS.items():
        run = training(sizes)
        run(())
        for label, instruments in INSTRUMENTS.items():
            yield name, label, [(run(instruments), run(())) for _ in range(PAIRS)]


def main():
    for name, label, pairs in measured():
        low, median, high = np.quantile([on / bare for on, bare in pairs], [0.25, 0.5, 0.75])
        print(f"{name:18} {label:20} {median:.3f}  ({low:.3f} to {high:.3f}) of bare training")


if __name__ == "__main__":
    main()
