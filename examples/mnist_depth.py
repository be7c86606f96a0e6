"""Does depth help? Nielsen's chapter 5.1 on the real MNIST, with a gradient recorder running.

Two experiments, each on ensembles of networks [784, 30, ..., 30, 10] with 1 to 6 hidden layers of sigmoids:

    training    30 epochs of stochastic gradient descent on 50,000 images, validated on 10,000 after each;
    descent     ‖∂C/∂b‖ of every layer at the start, over 200 seeds, and during 500 epochs of full-batch
                descent on the first 1,000 images.

Results go to runs/mnist_depth/: results.csv, history.npz, ladder and learning_speed as .png and .svg.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import csv
import multiprocessing
import queue
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder
from tinygrad_vg.storage import replacing

OUT = Path("runs/mnist_depth")
ETA, LAMBDA, BATCH, HIDDEN = 0.1, 5.0, 10, 30
BOOK_ACCURACY = {1: "96.48", 2: "96.90", 3: "96.57", 4: "96.53"}  # one seed each
BOOK_NORMS = {2: ".07 .31", 3: ".012 .060 .283", 4: ".003 .017 .070 .285"}


# --- What runs in the workers -----------------------------------------------------------------------------


def start_worker(reports, stop):
    """Ctrl-C reaches every process; only the main one answers it, and tells the workers by `stop`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_worker.reports, start_worker.stop = reports, stop


@cache
def data(directory, split, limit):
    images, labels = tg.datasets.mnist(split, directory)
    return images[:limit], labels[:limit], np.eye(labels.max() + 1, dtype=np.float32)[labels[:limit]]


def ensemble(sizes, seed, members):
    """Networks with Nielsen's initial weights, N(0, 1/n_in), and biases, N(0, 1), one for each seed."""

    def network(rng):
        layers = []
        for n_in, n_out in zip(sizes, sizes[1:], strict=False):
            layers += [tg.nn.Linear(n_in, n_out, rng=rng, dtype=np.float32), tg.nn.Sigmoid()]
        return tg.nn.Sequential(*layers[:-1])  # the cost takes the last sigmoid's place

    return tg.nn.stack([network(np.random.default_rng(seed + i)) for i in range(members)])


def optimizer(net, n):
    """Nielsen's descent: weights decay by λ/n, biases do not."""
    parameters = dict(net.named_parameters())
    weights = {"params": [p for name, p in parameters.items() if name.endswith("weight")], "weight_decay": LAMBDA / n}
    return tg.optim.SGD([weights, {"params": [p for name, p in parameters.items() if name.endswith("bias")]}], lr=ETA)


def training(depth, args):
    """Train; return accuracies (epoch, member) and the history of the gradients."""
    images, labels, targets = data(args.data, "train", args.images)
    new_images, new_labels, _ = data(args.data, "validation", args.images)
    net = ensemble([images.shape[1], *[HIDDEN] * depth, targets.shape[1]], args.seed, args.members)
    sgd, cost = optimizer(net, len(images)), tg.nn.BCEWithLogitsLoss("batchmean")
    rng, accuracies, steps = np.random.default_rng(args.seed), [], -(-len(images) // BATCH)
    with GradientRecorder(net, every=50) as recorder:
        for epoch in range(args.epochs):
            order = rng.permutation(len(images))
            for i in range(steps):
                batch = order[i * BATCH : (i + 1) * BATCH]
                sgd.zero_grad()
                cost(net(images[batch]), targets[batch]).backward()
                sgd.step()
                if i % 200 == 0:
                    start_worker.reports.put(("training", depth, (epoch + i / steps) / args.epochs))
                    if start_worker.stop.is_set():
                        return np.array(accuracies), recorder.history
            with tg.no_grad():
                accuracies.append((np.argmax(net(new_images), axis=-1) == new_labels).mean(axis=-1))
    return np.array(accuracies), recorder.history


def descent(depth, args):
    """Return the history of one backward over many seeds, and that of full-batch descent."""
    images, _, targets = data(args.data, "train", 1000)
    sizes, cost = [images.shape[1], *[HIDDEN] * depth, targets.shape[1]], tg.nn.BCEWithLogitsLoss("batchmean")
    net = ensemble(sizes, args.seed, args.seeds)
    with GradientRecorder(net) as initial:
        cost(net(images), targets).backward()
    net = ensemble(sizes, args.seed, args.members)
    sgd = optimizer(net, len(images))
    with GradientRecorder(net) as recorder:
        for epoch in range(args.descent_epochs if depth in BOOK_NORMS else 0):
            sgd.zero_grad()
            cost(net(images), targets).backward()
            sgd.step()
            if epoch % 10 == 0:
                start_worker.reports.put(("descent", depth, epoch / args.descent_epochs))
                if start_worker.stop.is_set():
                    break
    return initial.history, recorder.history


# --- What runs in the main process ------------------------------------------------------------------------


def run_all(args):
    """Run all tasks in processes, with a progress bar each; return their results, after Ctrl-C what there is."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn

    # The longest first, so that no worker is left alone with it at the end.
    tasks = [(run, depth) for run in (training, descent) for depth in sorted(args.depths, reverse=True)]
    context = multiprocessing.get_context("spawn")
    reports, stop, results = context.Queue(), context.Event(), {}
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
    with ProcessPoolExecutor(args.workers, context, start_worker, (reports, stop)) as pool, Progress(*columns) as bars:
        futures = {(run.__name__, depth): pool.submit(run, depth, args) for run, depth in tasks}
        rows = {key: bars.add_task(f"{key[0]}, {key[1]} hidden", start=False, total=1) for key in futures}
        while len(results) < len(futures):
            try:
                name, depth, share = reports.get(timeout=0.2)
                bars.start_task(rows[name, depth])
                bars.update(rows[name, depth], completed=share)
            except queue.Empty:
                pass
            except KeyboardInterrupt:
                stop.set()
                futures = {key: future for key, future in futures.items() if not future.cancel()}
            for key, future in futures.items():
                if future.done() and key not in results:
                    results[key] = future.result()
                    bars.update(rows[key], completed=share if stop.is_set() else 1)
                    save(results, args)
    return results, stop.is_set()


def save(results, args):
    """Write what there is to results.csv and history.npz; each file is replaced in one step."""
    with replacing(OUT / "results.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["depth", "seed", "epoch", "validation_accuracy"])
        for (name, depth), result in sorted(results.items()):
            if name == "training":
                for (epoch, member), accuracy in np.ndenumerate(result[0]):
                    rows.writerow([depth, args.seed + member, epoch + 1, accuracy])
    arrays = {}
    for (name, depth), result in sorted(results.items()):
        histories = {"training": result[1]} if name == "training" else {"initial": result[0], "descent": result[1]}
        for part, history in histories.items():
            arrays |= {f"{part}_{depth}_{field}": value for field, value in vars(history).items()}
    tg.save(arrays, OUT / "history.npz")


def draw(results):
    """The ladder at the start of training, and the learning speeds during descent and training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from tinygrad_vg.instruments import plots

    depths = sorted({depth for _, depth in results})
    figures = {"ladder": plt.subplots(figsize=(7, 4.5), layout="constrained")[0]}
    ax = figures["ladder"].axes[0]
    for depth, color in zip(depths, matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(depths))), strict=True):
        if ("descent", depth) in results:
            plots.ladder(results["descent", depth][0][:, :-1], ax, f"{depth} hidden", color)
    ax.legend(title="median, 5-95 % of seeds", ncols=2, fontsize="small")
    shown = [key for key in sorted(results) if (key[0] == "training" or key[1] in BOOK_NORMS) and key[1] > 1]
    if shown:
        n = (len(shown) + 1) // 2
        figures["learning_speed"], axes = plt.subplots(2, n, figsize=(3.2 * n, 6), layout="constrained", squeeze=False)
        for key, ax in zip(shown, axes.flat, strict=False):
            history = results[key][1]
            plots.learning_speed(history[:, :-1], ax, steps_per_epoch=1)
            ax.set_title(f"{key[0]}, {key[1]} hidden layers")
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            figure.savefig(OUT / f"{name}.{suffix}", dpi=150)


def report(results, args):
    """Print the tables: accuracy against depth, and the gradients at the start."""
    from rich.console import Console
    from rich.table import Table

    table = Table("hidden layers", "validation accuracy, %", "the book's", "decades, first to last hidden layer",
                  title=f"{args.epochs} epochs, {args.members} seeds: mean ± sd")  # fmt: skip
    for (name, depth), (accuracies, history) in sorted(results.items()):
        if name == "training" and len(accuracies):
            final, late = 100 * accuracies[-1], history[len(history.steps) * 2 // 3 :, :-1].log10_norm
            gap = (late[:, -1] - late[:, 0]).mean(axis=0)
            table.add_row(str(depth), f"{final.mean():.2f} ± {final.std(ddof=1) if len(final) > 1 else 0:.2f}",
                          BOOK_ACCURACY.get(depth, "-"), f"{gap.mean():.2f}" if depth > 1 else "-")  # fmt: skip
    norms = Table("hidden layers", "first 1,000 images: geometric mean (5-95 %)", "the book's", "first : last at the end",
                  title=f"‖∂C/∂b‖ of the hidden layers at the start, {args.seeds} seeds; and after descent")  # fmt: skip
    for (name, depth), (initial, history) in sorted(results.items()):
        if name == "descent":
            start = initial.log10_norm[0, :-1]
            low, high = np.quantile(start, [0.05, 0.95], axis=1)
            text = " | ".join(f"{10**m:.3g} ({10**a:.2g}-{10**b:.2g})" for m, a, b in zip(start.mean(axis=1), low, high, strict=True))
            end = history.log10_norm[-1:, :-1]
            ratio = f"1 : {10 ** (end[:, -1] - end[:, 0]).mean():.0f}" if depth > 1 and end.size else "-"
            norms.add_row(str(depth), text, BOOK_NORMS.get(depth, "-"), ratio)
    Console().print(table, norms)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.error = lambda message: sys.exit(f"mnist_depth.py: {message} (--help lists the options)")
    positive = lambda text: int(text) if int(text) > 0 else parser.error(f"{text} is not a positive number")  # noqa: E731
    add = parser.add_argument
    add("--depths", type=positive, nargs="+", default=[1, 2, 3, 4, 5, 6], metavar="K", help="numbers of hidden layers")
    add("--members", type=positive, default=4, help="seeds of each network, trained together")
    add("--epochs", type=positive, default=30)
    add("--seed", type=int, default=0, help="of the first member")
    add("--workers", type=positive, default=os.cpu_count(), help="processes, one thread each")
    add("--data", metavar="DIRECTORY", help="four IDX files named as MNIST's, such as Fashion-MNIST's")
    add("--quick", action="store_true", help="a few thousand images, a few epochs")
    args = parser.parse_args(arguments)
    args.images, args.seeds, args.descent_epochs = (5000, 50, 100) if args.quick else (None, 200, 500)
    args.epochs = min(args.epochs, 3) if args.quick else args.epochs
    try:
        tg.datasets.mnist("test", args.data)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return args


def main():
    args = parse()
    results, interrupted = run_all(args)
    if results:
        draw(results)
        report(results, args)
    if interrupted:
        print(f"Interrupted: {len(results)} tasks had begun; what they have found is in {OUT}/.")
        sys.exit(130)
    print(f"results.csv, history.npz, ladder and learning_speed (.png, .svg) are in {OUT}/.")


if __name__ == "__main__":
    main()
