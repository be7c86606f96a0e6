"""Does regularization make the vanishing gradient worse? Weight decay λ/n on sigmoid nets with 5 and 6 hidden layers.

Skansi (5.5) says that it does. Nielsen's nets, [784, 30, ..., 30, 10] at η = 0.1 and batches of 10, learn with five
hidden layers and do not with six, at λ = 5. This script trains both at λ = 0, 1, 5 and 25 and asks whether the cliff is
the work of λ.

Results go to runs/regularization_and_depth/results.csv: accuracy and log10‖∂C/∂b‖ of layer 1 after each epoch.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import csv
import sys
from functools import cache
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder
from tinygrad_vg.storage import replacing
from tinygrad_vg.study import run_tasks

OUT = Path("runs/regularization_and_depth")
ETA, BATCH, HIDDEN = 0.1, 10, 30
LAMBDAS, DEPTHS = (0.0, 1.0, 5.0, 25.0), (5, 6)
LEARNED = 0.5  # from this accuracy on a net has left chance
COST = tg.nn.BCEWithLogitsLoss("batchmean")


def network(depth, members):
    """An ensemble of Nielsen's nets, seeds 0 to members − 1; the last sigmoid is a part of the cost."""
    sizes = [784, *[HIDDEN] * depth, 10]
    return tg.nn.stack([tg.nn.mlp(sizes, dtype=np.float32, rng=seed) for seed in range(members)])


@cache
def data(split, limit):
    """The first images of MNIST's "train" or "validation", their labels, and these as 0 and 1 for ten neurons."""
    images, labels = (array[:limit] for array in tg.datasets.mnist(split))
    return images, labels, np.eye(10, dtype=np.float32)[labels]


def training(depth, strength, args, report):
    """Train with λ = strength; return (epoch, accuracy or decades, member). All λ have equal initial nets and batches.

    Accuracy is on the first 1,000 validation images, and on all after the last epoch.
    """
    images, _, targets = data("train", args.images)
    new_images, new_labels, _ = data("validation", args.images)
    net, n, rng, rows = network(depth, args.members), len(images), np.random.default_rng(0), []
    weights, biases = ([p for name, p in net.named_parameters() if name.endswith(end)] for end in ("weight", "bias"))
    sgd = tg.optim.SGD([{"params": weights, "weight_decay": strength / n}, {"params": biases}], lr=ETA)

    @tg.compile
    def step(x, t):
        sgd.zero_grad()
        COST(net(x), t).backward()
        sgd.step()

    for epoch in range(1, args.epochs + 1):
        for batch in rng.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH):
            step(images.take(batch, axis=0), targets.take(batch, axis=0))
        stop, known = report(epoch / args.epochs), 1000
        if stop or epoch == args.epochs:
            known = len(new_images)
        rows.append(measured(net, images[:1000], targets[:1000], new_images[:known], new_labels[:known]))
        if stop:
            break
    return np.array(rows)


def measured(net, images, targets, new_images, new_labels):
    """Accuracy on new images, and log10‖∂C/∂b‖ of the first layer on the first 1,000 old ones; one of each a member."""
    with tg.no_grad():
        accuracy = (np.argmax(net(new_images), axis=-1) == new_labels).mean(axis=-1)
    with GradientRecorder(net) as recorder:
        COST(net(images), targets).backward()
    net.zero_grad()
    return accuracy, recorder.history.log10_norm[0, 0]


def save(results):
    with replacing(OUT / "results.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["depth", "lambda", "epoch", "seed", "validation_accuracy", "log10_norm_of_layer_1"])
        for key, curve in sorted(results.items()):
            for epoch, (accuracies, norms) in enumerate(curve, 1):
                rows.writerows([*key, epoch, *row] for row in zip(range(len(norms)), accuracies, norms, strict=True))


def table(results):
    """Depth and λ; accuracy, mean ± sd; nets that have left chance, and when; the gradient of layer 1 at the end."""
    lines = [
        f"{'hidden':>6} {'λ':>4} {'epochs':>7} {'validation, %':>16}   {'learned':>7}  {'from epoch':>10} log10‖∂C/∂b₁‖"
    ]
    for (depth, strength), curve in sorted(results.items()):
        final, left = 100 * curve[-1, 0], curve[:, 0] > LEARNED
        began = 1 + left[:, left.any(axis=0)].argmax(axis=0)
        when = f"{began.min()} to {began.max()}" if began.size else "-"
        mean, share = f"{final.mean():.2f} ± {final.std(ddof=1):.2f}", f"{began.size} of {len(final)}"
        lines.append(
            f"{depth:6} {strength:4g} {len(curve):7} {mean:>16}   {share:>7}  {when:>10}   {curve[-1, 1].mean():13.2f}"
        )
    return "\n".join(lines)


def main():
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed
        stream.reconfigure(errors="replace")  # not every terminal can show λ
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO: none
    parser.add_argument(
        "--quick", action="store_true", help="5,000 images and two epochs: a preview, not the experiment"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, one thread each")
    args = parser.parse_args()
    args.images, args.epochs, args.members = (5000, 2, 2) if args.quick else (None, 30, 4)
    OUT.mkdir(parents=True, exist_ok=True)
    tasks = {(depth, strength): (training, (depth, strength, args)) for strength in LAMBDAS[::-1] for depth in DEPTHS}
    results, interrupted = run_tasks(tasks, args.workers, save)
    print(table(results), f"\nresults.csv is in {OUT}/.")
    sys.exit(130 if interrupted else 0)


if __name__ == "__main__":
    main()
