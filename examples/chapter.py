"""What the scripts of the chapter share: Nielsen's networks, his descent, his curves, processes, and the pictures."""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import sys
from functools import cache
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder

ETA, LAMBDA, BATCH, HIDDEN = 0.1, 5.0, 10, 30
BLUE, ORANGE, GREEN, PURPLE = LAYERS = ("#1f5fa8", "#d9730d", "#2d8a4e", "#8452a1")


def options(doc, quick=None):
    """The options of a script: --out, and --quick where the script is long; `quick` says what it leaves out."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/chapter"), help="folder of the picture (runs/chapter)")
    if quick:
        parser.add_argument("--quick", action="store_true", help=quick)
    if sys.stdout:  # None where it is closed
        sys.stdout.reconfigure(errors="replace")  # not every terminal can show σ
    args = parser.parse_args()
    try:  # now, and not after minutes of training
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {args.out} cannot be made: {error.strerror}; write the path of a folder")
    if quick and args.quick:
        os.environ["CHAPTER_BACKEND"] = "numpy"  # machine code would take longer to compile than the short run takes
    return args


def backend():
    """The backend of compiled steps, also in the processes of a script."""
    return os.environ.get("CHAPTER_BACKEND", "auto")


def sizes(depth):
    """The layers of a network with `depth` hidden layers of 30."""
    return [784, *[HIDDEN] * depth, 10]


loaded = cache(tg.datasets.mnist)  # the files are compressed: reading them takes a second


def digits(n=None, split="train"):
    """The first n images (n, 784), their labels (n,), and the labels as rows of 0 and 1, all in float32."""
    images, labels = loaded(split)
    return images[:n], labels[:n], np.eye(10, dtype=np.float32)[labels[:n]]


def ensemble(depth, seeds):
    """Networks with Nielsen's initial weights N(0, 1/n_in) and biases N(0, 1), one member for each seed."""
    return tg.nn.stack([tg.nn.mlp(sizes(depth), dtype=np.float32, rng=int(seed)) for seed in seeds])


def optimizer(net, n, decay=LAMBDA):
    """Nielsen's gradient descent: η = 0.1, and weight decay λ/n for weights only."""
    parameters = dict(net.named_parameters())
    weights = {"params": [p for name, p in parameters.items() if name.endswith("weight")], "weight_decay": decay / n}
    return tg.optim.SGD([weights, {"params": [p for name, p in parameters.items() if name.endswith("bias")]}], lr=ETA)


def step_of(net, optimizer, by=None):
    """A compiled step of training with Nielsen's cost: step(images, targets), by a backend."""
    cost = tg.nn.BCEWithLogitsLoss("batchmean")

    @tg.compile(backend=by or backend())
    def step(images, targets):
        optimizer.zero_grad()
        cost(net(images), targets).backward()
        optimizer.step()

    return step


def descent(depth, seeds, epochs, decay=LAMBDA, report=lambda share: False):
    """Full-batch descent on 1,000 images: log10‖δ^l‖ of the hidden layers, (epoch, layer, seed), and the ensemble."""
    images, _, targets = digits(1000)
    net = ensemble(depth, seeds)
    step = step_of(net, optimizer(net, len(images), decay))
    with GradientRecorder(net) as recorder:
        for epoch in range(epochs):
            step(images, targets)
            if epoch % 10 == 0 and report(epoch / epochs):
                break
    return recorder.history.log10_norm[:, :-1], net


def author(depth):
    """‖∂C/∂b‖ in decades, (500, depth), as the author of the chapter measured it: one seed, 500 epochs."""
    path = Path(__file__).parent / "book" / f"descent_{depth}_hidden.csv"
    return np.log10(np.loadtxt(path, delimiter=",", skiprows=1)[:, 1:])


def in_processes(function, cases, *args):
    """{case: function(case, *args)} for all cases, on all cores, with a progress bar for each."""
    from tinygrad_vg.study import run_tasks

    tasks = {named(case): (function, (case, *args)) for case in cases}
    results, interrupted = run_tasks(tasks, os.cpu_count() or 1, lambda results: None)
    if interrupted:
        sys.exit(130)
    return {case: results[named(case)] for case in cases}  # in their order, and not in that of their ends


def named(case):
    """A case as its progress bar names it: of (4, range(20)) the parts are "4" and "seeds 0 to 19"."""
    parts = case if isinstance(case, tuple) else (case,)
    return tuple(f"seeds {part[0]} to {part[-1]}" if isinstance(part, range) else str(part) for part in parts)


def groups(seeds, size):
    """The seeds in groups, each for a process: `groups(5, 2)` is [range(0, 2), range(2, 4), range(4, 5)]."""
    return [range(seeds)[first : first + size] for first in range(0, seeds, size)]


def wilson(hits, n, z=1.96):
    """The 95 % Wilson interval of a share of which `hits` of n trials are counted."""
    middle, half = hits + z * z / 2, z * np.sqrt(hits * (n - hits) / n + z * z / 4)
    return (middle - half) / (n + z * z), (middle + half) / (n + z * z)


def figure(columns=1, rows=1, width=8.0, height=4.6, **options):
    """A figure and its axes, on a light background."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def write(drawn, out, name, *axes):
    """Write a figure to out/name.png; `axes` get a grid and a legend first."""
    from matplotlib import pyplot

    for ax in axes:
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    drawn.savefig(out / f"{name}.png", dpi=110)
    pyplot.close(drawn)
    print(f"wrote {out / name}.png")
