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
import signal
import sys
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import plots
from tinygrad_vg.extras import install
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose, mean_field_of
from tinygrad_vg.storage import replacing
from tinygrad_vg.study import run_tasks

try:
    import fcntl
except ModuleNotFoundError:  # Windows, which does not rename a folder with open files
    fcntl = None

OUT = Path("runs/mnist_depth")
ETA, LAMBDA, BATCH, HIDDEN = 0.1, 5.0, 10, 30
BOOK_ACCURACY = {1: "96.48", 2: "96.90", 3: "96.57", 4: "96.53"}  # one seed each
BOOK_NORMS = {2: ".07 .31", 3: ".012 .060 .283", 4: ".003 .017 .070 .285"}


# --- What runs in the workers -----------------------------------------------------------------------------


@cache
def data(directory, split, limit):
    images, labels = tg.datasets.mnist(split, directory)
    return images[:limit], labels[:limit], np.eye(labels.max() + 1, dtype=np.float32)[labels[:limit]]


def ensemble(sizes, seed, members):
    """An ensemble of networks with Nielsen's initial weights, N(0, 1/n_in), and biases, N(0, 1), one for each seed.

    The last sigmoid is a part of the cost.
    """
    return tg.nn.stack([tg.nn.mlp(sizes, dtype=np.float32, rng=seed + i) for i in range(members)])


def optimizer(net, n):
    """Nielsen's gradient descent, with weight decay λ/n for weights and none for biases."""
    parameters = dict(net.named_parameters())
    weights = {"params": [p for name, p in parameters.items() if name.endswith("weight")], "weight_decay": LAMBDA / n}
    return tg.optim.SGD([weights, {"params": [p for name, p in parameters.items() if name.endswith("bias")]}], lr=ETA)


def judge(net, images, targets):
    """The history and the verdict of one backward."""
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        tg.nn.BCEWithLogitsLoss("batchmean")(net(images), targets).backward()
    return recorder.history, diagnose(ledger)


def compiled(net, sgd, cost):
    """A step of gradient descent as one function, in machine code where Numba is installed."""

    @tg.compile
    def step(images, targets):
        sgd.zero_grad()
        cost(net(images), targets).backward()
        sgd.step()

    return step


def training(depth, args, report):
    """Train an ensemble by stochastic gradient descent, with a recorder on every 50th step."""
    images, _, targets = data(args.data, "train", args.images)
    new_images, new_labels, _ = data(args.data, "validation", args.images)
    net = ensemble([images.shape[1], *[HIDDEN] * depth, targets.shape[1]], args.seed, args.members)
    sgd, cost = optimizer(net, len(images)), tg.nn.BCEWithLogitsLoss("batchmean")
    rng, accuracies, steps = np.random.default_rng(args.seed), [], -(-len(images) // BATCH)
    step = compiled(net, sgd, cost)
    with GradientRecorder(net, every=50) as recorder:
        for i in range(args.epochs * steps):
            if i % steps == 0:
                order = rng.permutation(len(images))
            batch = order[i % steps * BATCH :][:BATCH]
            step(images.take(batch, axis=0), targets.take(batch, axis=0))
            if i % 200 == 0 and report(i / steps / args.epochs):
                break
            if (i + 1) % steps == 0:
                with tg.no_grad():
                    accuracies.append((np.argmax(net(new_images), axis=-1) == new_labels).mean(axis=-1))
    accuracies = np.array(accuracies).reshape(-1, args.members)
    _, verdict = judge(net, images[:1000], targets[:1000])
    return {"accuracies": accuracies, "history": recorder.history, "steps_per_epoch": steps, "verdict": verdict}


def descent(depth, args, report):
    """Record the gradients of many seeds at the start, and of a few seeds during full-batch descent."""
    images, _, targets = data(args.data, "train", 1000)
    sizes, cost = [images.shape[1], *[HIDDEN] * depth, targets.shape[1]], tg.nn.BCEWithLogitsLoss("batchmean")
    net = ensemble(sizes, args.seed, args.seeds)
    initial, verdict = judge(net, images, targets)
    theory = mean_field_of(net, images)
    net = ensemble(sizes, args.seed, args.members)
    sgd = optimizer(net, len(images))
    step = compiled(net, sgd, cost)
    with GradientRecorder(net) as recorder:
        for epoch in range(args.descent_epochs if depth in BOOK_NORMS else 0):
            step(images, targets)
            if epoch % 10 == 0 and report(epoch / args.descent_epochs):
                break
    history = recorder.history
    return {"initial": initial, "verdict": verdict, "theory": theory, "history": history, "steps_per_epoch": 1}


# --- What runs in the main process ------------------------------------------------------------------------


def save(args, results):
    """Write all results so far to results.csv and history.npz; each file is replaced atomically."""
    with replacing(OUT / "results.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["depth", "seed", "epoch", "validation_accuracy"])
        for (name, depth), result in sorted(results.items()):
            if name == "training":
                for (epoch, member), accuracy in np.ndenumerate(result["accuracies"]):
                    rows.writerow([depth, args.seed + member, epoch + 1, accuracy])
    arrays = {}
    for (name, depth), result in sorted(results.items()):
        for part, key in {"initial": "initial", name: "history"}.items():
            if key in result:
                arrays |= {f"{part}_{depth}_{field}": array for field, array in result[key].arrays().items()}
    tg.save(arrays, OUT / "history.npz")


def draw(results):
    """Draw the gradients at the start against the layer, and the learning speeds during descent and training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    depths = sorted(depth for name, depth in results if name == "descent")
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(depths)))
    ladders, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for depth, color in zip(depths, shades, strict=True):
        result = results["descent", depth]
        plots.ladder(result["initial"][:, :-1], ax, f"{depth} hidden", color, theory=result["theory"][:-1])
    speeds = plt.figure(figsize=(18, 7), layout="constrained")
    for part, name in zip(speeds.subfigures(2, 1), ("descent", "training"), strict=True):
        shown = [key for key in sorted(results) if key[0] == name and key[1] > 1 and len(results[key]["history"].steps)]
        axes = part.subplots(1, max(1, len(shown)), squeeze=False, sharey=True).flat  # one scale: they compare
        for key, ax in zip(shown, axes, strict=False):
            plots.learning_speed(results[key]["history"][:, :-1], ax, results[key]["steps_per_epoch"])
            ax.set_title(f"{name}, {key[1]} hidden layers")
    for name, figure in {"ladder": ladders, "learning_speed": speeds}.items():
        for suffix in ("png", "svg"):
            with replacing(OUT / f"{name}.{suffix}") as temporary:
                figure.savefig(temporary, dpi=150)


def report(results, args):
    """Print accuracy against depth and the gradients at the start, with verdicts and the book's figures."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    of_book = not (args.quick or args.data)  # otherwise the book's figures are of another experiment
    accuracy = Table("hidden", "epochs", "validation, %", "book, %", "first to last", "the gradient then",
                     title=f"Training{' (--quick)' * args.quick}: accuracy, mean ± sd over seeds; decades")  # fmt: skip
    norms = Table("hidden", "‖∂C/∂b‖ of layer 1, 2, ...", "book", "the gradient", "last : first", title=
                  f"At the start, geometric mean of {args.seeds} seeds; last : first layer after descent")  # fmt: skip
    for depth in args.depths:
        if ("training", depth) in results and len(results["training", depth]["accuracies"]):
            result = results["training", depth]
            final, history = 100 * result["accuracies"][-1], result["history"]
            late = history[-len(history.steps) // 10 :].log10_norm.mean(axis=0)
            spread = f" ± {final.std(ddof=1):.2f}" if len(final) > 1 else ""
            gap = f"{(late[-2] - late[0]).mean():.2f}" if depth > 1 else ""
            accuracy.add_row(str(depth), str(len(result["accuracies"])), f"{final.mean():.2f}{spread}",
                             BOOK_ACCURACY.get(depth) if of_book else "", gap, brief(result["verdict"]))  # fmt: skip
        if ("descent", depth) in results:
            result = results["descent", depth]
            speeds = " ".join(f"{10**decades:.3g}" for decades in result["initial"].log10_norm[0, :-1].mean(axis=1))
            end = result["history"][-1:, :-1].log10_norm
            done = len(result["history"].steps) == args.descent_epochs and depth > 1
            norms.add_row(str(depth), Text(speeds), BOOK_NORMS.get(depth) if of_book else "", brief(result["verdict"]),
                          f"{10 ** (end[:, -1] - end[:, 0]).mean():.0f}" if done else "")  # fmt: skip
    Console().print(*(table for table in (accuracy, norms) if table.row_count))


def brief(verdict):
    """A verdict in the cell of a table: state, decades from the last layer to the first, and cause."""
    blame = {"activation": ", by σ′", "weights": ", by the weights", None: ""}[verdict.cause]
    severity = f" ({verdict.severity})" if verdict.forecast and verdict.severity else ""
    return f"{verdict.state}{severity} {verdict.total:+.1f}{blame}"


def natural(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive(text):
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def parse():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO: none
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: {message} (--help lists the options)\n")
    if missing := [name for name in ("matplotlib", "rich") if find_spec(name) is None]:
        parser.error(f"{' and '.join(missing)} missing: {install('examples')} installs what the examples need")
    add = parser.add_argument
    add("--depths", type=positive, nargs="+", default=range(1, 7), metavar="K", help="numbers of hidden layers")
    add("--members", type=positive, default=4, help="seeds of each network, trained together (4)")
    add("--epochs", type=positive, help="of training (30; with --quick 3)")
    add("--seed", type=natural, default=0, help="of the first member (0)")
    add("--workers", type=positive, default=os.cpu_count(), help="processes, one thread each (one for each core)")
    add("--data", metavar="DIRECTORY", help="four IDX files named as MNIST's, such as Fashion-MNIST's")
    add("--quick", action="store_true", help="5,000 images and few epochs: a preview, not the experiment")
    args = parser.parse_args()
    args.depths = sorted(set(args.depths))
    args.images, args.seeds, args.descent_epochs = (5000, 50, 100) if args.quick else (None, 200, 500)
    args.epochs = args.epochs or (3 if args.quick else 30)
    try:
        tg.datasets.mnist("validation", args.data)  # from the same files as "train"
        return args, take_folder()
    except (OSError, ValueError) as error:
        parser.error(str(error))


def take_folder():
    """Make OUT an empty folder that only this run uses, until the returned lock is closed.

    The system releases the lock at the end of the process, also if that is killed.
    """
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context(open(f"{OUT}.lock", "w"))  # beside the folder, which is renamed
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another run writes to {OUT}/: wait for its end, or start this one elsewhere") from None
        except OSError:
            pass  # a file system without locks
        if OUT.is_dir() and any(OUT.iterdir()):
            earlier = f"{OUT}-before-{datetime.now():%Y%m%d-%H%M%S}"
            while Path(earlier).exists():  # clocks may be set back
                earlier += "-again"
            OUT.rename(earlier)  # keep the results of an earlier run
        OUT.mkdir(exist_ok=True)
        (OUT / "results.csv").touch()  # if this fails, it fails before the first training
        (OUT / "results.csv").unlink()
        return stack.pop_all()


def show(results, args):
    """Draw the pictures and print the tables, for all results that there are."""
    try:
        draw(results)
        report(results, args)
    except KeyboardInterrupt:
        end_interrupted(f"Interrupted while pictures and tables were made. All results are kept in {OUT}/.")
    print(f"results.csv, history.npz, ladder and learning_speed (.png, .svg) are in {OUT}/.")


def end_interrupted(message):
    """End with the exit status of Ctrl-C, of which a further one changes nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(message, file=sys.stderr)
    sys.exit(130)


def main():
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed
        stream.reconfigure(errors="replace")  # not every terminal can show ∂
    args, lock = parse()
    # The short tasks come first, then the others from the longest on, so that none runs alone at the end.
    tasks = {(run.__name__, depth): (run, (depth, args)) for run in (descent, training) for depth in args.depths[::-1]}
    kept = {}

    def keep(results):
        kept.update(results)
        save(args, kept)

    with lock:
        try:
            results, interrupted = run_tasks(tasks, args.workers, keep)
        finally:  # also after an error
            if kept:
                show(kept, args)
    if interrupted:
        done = [f"{name}, {depth} hidden" for name, depth in sorted(results)]
        for i, (_, result) in enumerate(sorted(results.items())):
            if "accuracies" in result:
                done[i] += f": {len(result['accuracies'])} of {args.epochs} epochs"
        end_interrupted(f"Interrupted. What was done is kept in {OUT}/: {'; '.join(done) or 'nothing yet'}.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the tasks: run_tasks handles Ctrl-C itself
        end_interrupted("Interrupted before the first result.")
