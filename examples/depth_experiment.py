"""The trials of examples/mnist_depth.py, what is known of them, and what the book has measured."""

import inspect
from typing import NamedTuple

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose, mean_field_of

LAMBDA = 5.0
# The networks and the training of the chapter; init=None is nn.Linear's: weights N(0, 1/n_in), biases N(0, 1).
NETWORK = {"activation": "Sigmoid", "init": None, "hidden": 30, "data": None}
TRAINING = {"lr": 0.1, "batch": 10, "epochs": 30}
BOOK_ACCURACY = {1: 96.48, 2: 96.90, 3: 96.57, 4: 96.53}  # in %, one seed each
BOOK_NORMS = {2: ".07 .31", 3: ".012 .060 .283", 4: ".003 .017 .070 .285"}

ACTIVATIONS = {name.lower(): name for name, kind in inspect.getmembers(tg.nn, inspect.isclass)
               if issubclass(kind, tg.nn.Activation) and kind is not tg.nn.Activation}  # fmt: skip
# Initializers that sample weights around 0, and so have a standard deviation that the theory can use.
INITS = {
    name.removesuffix("_"): init
    for name, init in inspect.getmembers(tg.nn.init, inspect.isfunction)
    if name.endswith("_") and {"rng"} <= inspect.signature(init).parameters.keys() <= {"tensor", "gain", "rng"}
}


class Data(NamedTuple):
    """The images (n, pixels) and the labels (n,) of the training, and the labels of the validation."""

    images: np.ndarray
    labels: np.ndarray
    validation: np.ndarray


def read(directory):
    """The data of a directory; None has MNIST."""
    return Data(*tg.datasets.mnist("train", directory), tg.datasets.mnist("validation", directory)[1])


def has_norms_of_book(args):
    """Whether the networks at their start are the chapter's."""
    return all(getattr(args, name) == value for name, value in NETWORK.items())


def has_accuracies_of_book(args):
    """Whether the networks and their trainings are the chapter's."""
    return has_norms_of_book(args) and all(getattr(args, name) == value for name, value in TRAINING.items())


def trials(args, data):
    """{("training" or "descent", depth): its trial}, the longest first; the book has descents of some depths."""
    made, common = {}, {"activation": args.activation, "init": args.init, "data": args.data or "mnist", "lr": args.lr,
                        "weight_decay": LAMBDA, "seeds": range(args.seed, args.seed + args.members),
                        "order_seed": args.seed}  # fmt: skip
    whole = {"batch": 1000, "images": 1000, "validation_images": 100, "every": 1, "epochs": args.descent_epochs}
    for depth in args.depths[::-1]:
        sizes = data.images.shape[1], *[args.hidden] * depth, int(data.labels.max()) + 1
        made["training", depth] = tg.study.Trial(sizes, **common, batch=args.batch, epochs=args.epochs)
        if depth in BOOK_NORMS:
            made["descent", depth] = tg.study.Trial(sizes, **common, **whole)
    return dict(sorted(made.items(), reverse=True))


def ensemble(trial, seeds):
    """The networks of a trial at their start, one for each seed. The last sigmoid is a part of the cost."""
    activation, init = getattr(tg.nn, trial.activation), INITS.get(trial.init)
    return tg.nn.stack([tg.nn.mlp(trial.sizes, activation, init=init, dtype=np.float32, rng=seed) for seed in seeds])


@np.errstate(over="ignore", invalid="ignore")  # a step that was too long has made them overflow: the verdict says so
def judge(net, data):
    """The history and the verdict of one backward of 1,000 images."""
    targets = np.eye(net[-1].out_features, dtype=np.float32)[data.labels[:1000]]
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        tg.nn.BCEWithLogitsLoss("batchmean")(net(data.images[:1000]), targets).backward()
    return recorder.history, diagnose(ledger)


def start(trial, args, data):
    """The gradients of many seeds at the start: their history, the verdict, and the theory if there is one."""
    net = ensemble(trial, range(args.seed, args.seed + args.seeds))
    initial, verdict = judge(net, data)
    try:
        theory = mean_field_of(net, data.images[:1000])
    except ValueError:  # such as lengths that overflow: the theory says nothing about this network
        theory = None
    return {"initial": initial, "verdict": verdict, "theory": theory}


def results(study, made, args, data):
    """What is known of each trial that has begun and of each depth at its start, by (name, depth) as in `trials`."""
    found = {("descent", depth): start(made["training", depth], args, data) for depth in args.depths}
    for (name, depth), trial in made.items():
        if (reached := study.so_far(trial)) is None:
            continue
        known = found.setdefault((name, depth), {})
        known |= {"history": reached.history, "steps_per_epoch": -(-len(data.images[: trial.images]) // trial.batch)}
        if name == "training":
            net = ensemble(trial, trial.seeds)
            net.load_state_dict(reached.weights)
            known |= {"accuracies": reached.accuracy, "verdict": judge(net, data)[1],
                      "chance": np.bincount(data.validation).max() / len(data.validation),
                      "validated": len(data.validation)}  # fmt: skip
    return found
