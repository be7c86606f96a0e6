"""Does depth help? Nielsen's chapter 5.1 on the real MNIST, with a gradient recorder running.

Two experiments, each on ensembles of networks [784, 30, ..., 30, 10] with 1 to 6 hidden layers of sigmoids:

    training    30 epochs of stochastic gradient descent on 50,000 images, validated on 10,000 after each;
    descent     ‖∂C/∂b‖ of every layer at the start, over 200 seeds, and during 500 epochs of full-batch
                descent on the first 1,000 images.

Results go to runs/mnist_depth/, those of --quick to runs/mnist_depth_quick/: results.csv, history.npz, and the pictures
accuracy, ladder and learning_speed as .png and .svg.
"""

import argparse
import math
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from depth_conclusion import listed, words
from depth_experiment import ACTIVATIONS, INITS, NETWORK, TRAINING, descent, training  # before NumPy: one thread each
from depth_files import WRITTEN, about, save, take_folder
from depth_pictures import draw
from depth_report import report

import tinygrad_vg as tg
from tinygrad_vg.extras import install
from tinygrad_vg.study import run_tasks

FULL = {"depths": [1, 2, 3, 4, 5, 6], "members": 4, "epochs": TRAINING["epochs"], "seeds": 200, "descent_epochs": 500}
QUICK = {"depths": [1, 2, 3, 6], "epochs": 4, "seeds": 50, "descent_epochs": 100}
WORDS = {"depths": "hidden layers", "members": "seeds of each network", "epochs": "epochs",
         "seeds": "seeds at the start", "descent_epochs": "epochs of descent"}  # fmt: skip


def natural(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0: write one, such as 0 or 7")
    return int(text)


def positive(text):
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number: write one, such as 1 or 30")
    return int(text)


def rate(text):
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no learning rate: write a number above 0, such as 0.1")
    return number


def one_of(names):
    """A function that finds a name, in whatever case, in a dictionary {lower-case name: value}."""

    def find(text):
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(f"there is no {text!r}: write one of {', '.join(names)}")
        return names[text.lower()]

    return find


def options():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO: none
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: {message} (--help lists the options)\n")
    if missing := [name for name in ("matplotlib", "rich") if find_spec(name) is None]:
        parser.error(f"{' and '.join(missing)} missing: {install('examples')} installs what the examples need")
    add, spaced = parser.add_argument, " ".join(map(str, FULL["depths"]))
    add("--depths", type=positive, nargs="+", metavar="K", help=f"numbers of hidden layers (default: {spaced})")
    add("--members", type=positive, help=f"seeds of each network, trained together (default: {FULL['members']})")
    add("--epochs", type=positive, help=f"of training (default: {FULL['epochs']})")
    add("--seed", type=natural, default=0, help="of the first member (default: 0)")
    add("--data", metavar="DIRECTORY", help="four IDX files named as MNIST's, such as Fashion-MNIST's (default: MNIST)")
    add("--activation", type=one_of(ACTIVATIONS), default=NETWORK["activation"], metavar="NAME",
        help=f"of the hidden layers (default: sigmoid): {', '.join(ACTIVATIONS)}")  # fmt: skip
    add("--init", type=one_of({name: name for name in INITS}), metavar="NAME",
        help=f"of the weights (default: N(0, 1/n_in)): {', '.join(INITS)}; biases are N(0, 1)")  # fmt: skip
    add("--hidden", type=positive, default=NETWORK["hidden"], help="neurons of a hidden layer (default: 30)")
    add("--lr", type=rate, default=TRAINING["lr"], help="learning rate η (default: 0.1)")
    add("--batch", type=positive, default=TRAINING["batch"], help="images of a mini-batch (default: 10)")
    less = [f"{words(value)} {WORDS[name]}" for name, value in QUICK.items()]
    add("--quick", action="store_true", help=f"less than the full run: {listed(less)}")
    add("--out", type=Path, metavar="FOLDER",
        help="of the results (default: runs/mnist_depth, or runs/mnist_depth_quick with --quick)")  # fmt: skip
    add("--workers", type=positive, default=os.cpu_count(),
        help="processes, one thread each (default: one for each core)")  # fmt: skip
    return parser


def arguments(parser, line=None):
    """The arguments, those of the command line by default, with what --quick or the full run chooses."""
    args = parser.parse_args(line)
    args.options = [name for name in vars(args) if name not in ("out", "workers")]  # what the results depend on
    args.full = {name: (WORDS[name], value) for name, value in FULL.items()}
    for name, value in (FULL | QUICK if args.quick else FULL).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    args.depths, args.images = sorted(set(args.depths)), None
    args.out = args.out or Path("runs/mnist_depth_quick" if args.quick else "runs/mnist_depth")
    return args


def begin():
    """The arguments, the origin that each file gets, and the lock of the folder of results."""
    parser = options()
    args = arguments(parser)
    try:
        images = len(tg.datasets.mnist("train", args.data)[0])
        if args.batch > images:
            parser.error(f"argument --batch: there are no {args.batch} images, but {images}: write at most {images}")
        return args, about(args), take_folder(args.out)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def say_if_slow():
    """One line if the steps cannot be machine code, before minutes are spent."""
    if missing := [name for name, module in (("Numba", "numba"), ("SciPy", "scipy")) if find_spec(module) is None]:
        verb = "are" if len(missing) > 1 else "is"
        words = f"{' and '.join(missing)} {verb} missing: training is several times slower"
        print(f"{words} ({install('fast')} installs what is missing).", file=sys.stderr)


def show(results, args, origin):
    """Draw the pictures and print the tables, for all results that there are."""
    try:
        draw(results, args, origin)
        report(results, args, origin, sorted(path.name for path in args.out.iterdir() if path.name in WRITTEN))
    except KeyboardInterrupt:
        end_interrupted(f"Interrupted while pictures and tables were made. All results are kept in {args.out}/.")


def end_interrupted(message):
    """End with the exit status of Ctrl-C, of which a further one changes nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(message, file=sys.stderr)
    sys.exit(130)


def main():
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed
        stream.reconfigure(errors="replace")  # not every terminal can show ∂
    args, origin, lock = begin()
    say_if_slow()
    # The short tasks come first, then the others from the longest on, so that none runs alone at the end.
    tasks = {(run.__name__, depth): (run, (depth, args)) for run in (descent, training) for depth in args.depths[::-1]}
    kept = {}

    def keep(results):
        kept.update(results)
        save(args, kept, origin)

    with lock:
        try:
            results, interrupted = run_tasks(tasks, args.workers, keep)
        finally:  # also after an error
            if kept:
                show(kept, args, origin)
    if interrupted:
        done = [f"{name}, {depth} hidden" for name, depth in sorted(results)]
        for i, (_, result) in enumerate(sorted(results.items())):
            if "accuracies" in result:
                done[i] += f": {len(result['accuracies'])} of {args.epochs} epochs"
        end_interrupted(f"Interrupted. What was done is kept in {args.out}/: {'; '.join(done) or 'nothing yet'}.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the tasks: run_tasks handles Ctrl-C itself
        end_interrupted("Interrupted before the first result.")
