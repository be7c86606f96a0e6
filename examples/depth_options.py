"""The options of examples/mnist_depth.py, and what the full run and --quick choose."""

import argparse
import math
from pathlib import Path

from depth_conclusion import listed, words
from depth_experiment import ACTIVATIONS, INITS, NETWORK, TRAINING
from depth_files import REPORT

FULL = {"depths": [1, 2, 3, 4, 5, 6], "members": 4, "epochs": TRAINING["epochs"], "seeds": 200, "descent_epochs": 500}
QUICK = {"depths": [1, 2, 3, 6], "epochs": 4, "seeds": 50, "descent_epochs": 100}
WORDS = {"depths": "hidden layers", "members": "seeds of each network", "epochs": "epochs",
         "seeds": "seeds at the start", "descent_epochs": "epochs of descent"}  # fmt: skip
OWN = ("out", "workers", "dask", "report")  # options on which the results do not depend


def above_0(kind, name, examples):
    """A function that reads a number above 0."""

    def read(text):
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive {name}: write one, such as {examples}")
        return number

    return read


def options(doc):
    """The parser; `doc` is the docstring of the script."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])  # -OO: none
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: {message} (--help lists the options)\n")
    add, positive = parser.add_argument, above_0(int, "whole number", "1 or 30")
    spaced = " ".join(map(str, FULL["depths"]))
    add("--depths", type=positive, nargs="+", metavar="K", help=f"numbers of hidden layers (default: {spaced})")
    add("--members", type=positive, help=f"seeds of each network, trained together (default: {FULL['members']})")
    add("--epochs", type=positive, help=f"of training (default: {FULL['epochs']})")
    add("--seed", type=int, default=0, help="of the first member (default: 0)")
    add("--data", metavar="DIRECTORY", help="four IDX files named as MNIST's, such as Fashion-MNIST's (default: MNIST)")
    add("--activation", type=str.lower, choices=ACTIVATIONS, default=NETWORK["activation"].lower(), metavar="NAME",
        help=f"of the hidden layers (default: sigmoid): {', '.join(ACTIVATIONS)}")  # fmt: skip
    add("--init", type=str.lower, choices=INITS, metavar="NAME",
        help=f"of the weights (default: N(0, 1/n_in)): {', '.join(INITS)}; biases are N(0, 1)")  # fmt: skip
    add("--hidden", type=positive, default=NETWORK["hidden"], help="neurons of a hidden layer (default: 30)")
    add("--lr", type=above_0(float, "number", "0.1"), default=TRAINING["lr"], help="learning rate η (default: 0.1)")
    add("--batch", type=positive, default=TRAINING["batch"], help="images of a mini-batch (default: 10)")
    less = [f"{words(value)} {WORDS[name]}" for name, value in QUICK.items()]
    add("--quick", action="store_true", help=f"less than the full run: {listed(less)}")
    add("--out", type=Path, metavar="FOLDER",
        help="of the results (default: runs/mnist_depth, or runs/mnist_depth_quick with --quick)")  # fmt: skip
    add("--workers", type=positive, help="processes, one thread each (default: one for each core)")
    add("--dask", metavar="ADDRESS", help="of a Dask scheduler, whose workers train in place of processes")
    add("--report", action="store_true", help=f"write {REPORT} too, a page with a microscope of the gradients")
    return parser


def arguments(parser, line=None):
    """The arguments, those of the command line by default, with what --quick or the full run chooses."""
    args = parser.parse_args(line)
    args.options = [name for name in vars(args) if name not in OWN]  # what the results depend on
    args.activation = ACTIVATIONS[args.activation]
    args.full = {name: (WORDS[name], value) for name, value in FULL.items()}
    for name, value in (FULL | QUICK if args.quick else FULL).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    args.depths = sorted(set(args.depths))
    args.out = args.out or Path("runs/mnist_depth_quick" if args.quick else "runs/mnist_depth")
    return args
