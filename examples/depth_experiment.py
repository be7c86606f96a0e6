"""The two experiments of examples/mnist_depth.py, as they run in its processes, and what the book has measured."""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import inspect
from functools import cache

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
INITS = {name.removesuffix("_"): init for name, init in inspect.getmembers(tg.nn.init, inspect.isfunction)
         if {"rng"} <= inspect.signature(init).parameters.keys() <= {"tensor", "gain", "rng"}}  # fmt: skip


def has_norms_of_book(args):
    """Whether the networks at their start are the chapter's."""
    return all(getattr(args, name) == value for name, value in NETWORK.items())


def has_accuracies_of_book(args):
    """Whether the networks and their trainings are the chapter's."""
    return has_norms_of_book(args) and all(getattr(args, name) == value for name, value in TRAINING.items())


@cache
def data(directory, split):
    """The images (n, pixels), their labels (n,), and the labels as rows of 0 and 1; the directory None has MNIST."""
    images, labels = tg.datasets.mnist(split, directory)
    return images, labels, np.eye(labels.max() + 1, dtype=np.float32)[labels]


def ensemble(sizes, args, members):
    """An ensemble of networks, one for each seed from args.seed on. The last sigmoid is a part of the cost."""
    activation, init = getattr(tg.nn, args.activation), INITS.get(args.init)
    seeds = range(args.seed, args.seed + members)
    return tg.nn.stack([tg.nn.mlp(sizes, activation, init=init, dtype=np.float32, rng=seed) for seed in seeds])


def optimizer(net, n, lr):
    """Nielsen's gradient descent, with weight decay λ/n for weights and none for biases."""
    parameters = dict(net.named_parameters())
    weights = {"params": [p for name, p in parameters.items() if name.endswith("weight")], "weight_decay": LAMBDA / n}
    return tg.optim.SGD([weights, {"params": [p for name, p in parameters.items() if name.endswith("bias")]}], lr=lr)


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


@np.errstate(over="ignore", invalid="ignore")  # a step that is too long overflows: the recorder says so
def training(depth, args, report):
    """Train an ensemble by stochastic gradient descent, with a recorder on every 50th step."""
    images, _, targets = (array[: args.images] for array in data(args.data, "train"))
    new_images, new_labels, _ = (array[: args.images] for array in data(args.data, "validation"))
    net = ensemble([images.shape[1], *[args.hidden] * depth, targets.shape[1]], args, args.members)
    sgd, cost = optimizer(net, len(images), args.lr), tg.nn.BCEWithLogitsLoss("batchmean")
    rng, accuracies, steps = np.random.default_rng(args.seed), [], -(-len(images) // args.batch)
    step = compiled(net, sgd, cost)
    with GradientRecorder(net, every=50) as recorder:
        for i in range(args.epochs * steps):
            if i % steps == 0:
                order = rng.permutation(len(images))
            batch = order[i % steps * args.batch :][: args.batch]
            step(images.take(batch, axis=0), targets.take(batch, axis=0))
            if i % 200 == 0 and report(i / steps / args.epochs):
                break
            if (i + 1) % steps == 0:
                with tg.no_grad():
                    accuracies.append((np.argmax(net(new_images), axis=-1) == new_labels).mean(axis=-1))
    accuracies = np.array(accuracies).reshape(-1, args.members)
    _, verdict = judge(net, images[:1000], targets[:1000])
    return {"accuracies": accuracies, "history": recorder.history, "steps_per_epoch": steps, "verdict": verdict,
            "chance": np.bincount(new_labels).max() / len(new_labels), "validated": len(new_labels)}  # fmt: skip


@np.errstate(over="ignore", invalid="ignore")
def descent(depth, args, report):
    """Record the gradients of many seeds at the start, and of a few seeds during full-batch descent."""
    images, _, targets = (array[:1000] for array in data(args.data, "train"))
    sizes = [images.shape[1], *[args.hidden] * depth, targets.shape[1]]
    net = ensemble(sizes, args, args.seeds)
    initial, verdict = judge(net, images, targets)
    try:
        theory = mean_field_of(net, images)
    except ValueError:  # such as lengths that overflow: the theory says nothing about this network
        theory = None
    net = ensemble(sizes, args, args.members)
    step = compiled(net, optimizer(net, len(images), args.lr), tg.nn.BCEWithLogitsLoss("batchmean"))
    with GradientRecorder(net) as recorder:
        for epoch in range(args.descent_epochs if depth in BOOK_NORMS else 0):
            step(images, targets)
            if epoch % 10 == 0 and report(epoch / args.descent_epochs):
                break
    return {"initial": initial, "verdict": verdict, "theory": theory, "history": recorder.history, "steps_per_epoch": 1}
