"""Cures of the vanishing gradient, tried on one patient: ten hidden layers of 30 sigmoids on MNIST.

For each cure: the ledger of the gradient at the start (how many decades a layer weights, slopes and the rest take or
give), what `diagnose` blames, and accuracy after equal numbers of training steps, over an ensemble of random seeds.
examples/cures_networks.py has the networks.

Results go to runs/cures/: results.csv, norms.npz, cures.png.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import csv
import sys
import textwrap
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from cures_networks import CODED, DEPTH, PATIENT, PATIENTS, SLOW, WHY, compiled_step, larger, pre_trained

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.extras import install
from tinygrad_vg.instruments import Ledger, critical_weight_std, diagnose
from tinygrad_vg.notation import decades
from tinygrad_vg.storage import replacing
from tinygrad_vg.study import run_tasks

OUT = Path("runs/cures")
BATCH, FACTORS = 20, np.logspace(0, 2, 9)
COST = nn.BCEWithLogitsLoss("batchmean")
SWEEP = "larger and larger weights"
COLORS = {-1: "#2166ac", 0: "#1a7f37", 1: "#b2182b"}  # the gradient shrinks, is kept, grows


@cache
def data(split, limit=None):
    """The first images of MNIST's "train" or "validation", their labels, and these as 0 and 1 for ten neurons."""
    images, labels = (array[:limit] for array in tg.datasets.mnist(split))
    return images, labels, np.eye(10, dtype=np.float32)[labels]


def trial(name, args, report):
    """Put a cure on the ledger, then train it at each rate; keep the rate that is best on training images."""
    images, labels, targets = data("train")
    new_images, new_labels, _ = data("validation", args.new_images)
    net = nn.stack([PATIENTS[name](seed) for seed in range(args.slow_seeds if name in SLOW else args.seeds)])
    if name == CODED:
        pre_trained(net, images[:5000], args.coding_steps, BATCH)
    initial, result, best = net.state_dict(), on_ledger(net, images[:1000], targets[:1000]), -1.0
    for i, rate in enumerate(args.rates):
        net.load_state_dict(initial)
        step = compiled_step(net.train(), COST, tg.optim.SGD(net.parameters(), lr=rate))
        with np.errstate(all="ignore"):  # some explode
            for k, rows in enumerate(np.random.default_rng(0).integers(0, len(images), (args.steps, BATCH))):
                step(images[rows], targets[rows])
                if k % 50 == 0 and report((i + k / args.steps) / len(args.rates)):
                    return result
            if (known := accuracy(net.eval(), images[:1000], labels[:1000]).mean()) > best:
                best = known
                result |= {"rate": rate, "accuracy": 100 * accuracy(net, new_images, new_labels)}
    return result


def on_ledger(net, images, targets):
    """The ledger of one backward: (layer, member) log10‖δ‖, decades a layer by cause (members), and the verdict.

    A Residual is a layer of the picture, though the ledger counts it as a part between two.
    """
    with Ledger(net) as ledger:
        COST(net(images), targets).backward()
    net.zero_grad()
    rows, parts = ledger.rows, [part for row in ledger for part in row.parts]
    return {
        "norms": np.array([unit.log10_norm for unit in ledger.accounts if unit.name is not None or unit.holds_layers]),
        "weights": sum(row.weights for row in rows) / DEPTH,
        "slopes": sum(part.decades for part in parts if part.is_activation) / DEPTH,
        "other": sum((part.decades for part in parts if not part.is_activation), np.zeros_like(rows[0].total)) / DEPTH,
        "verdict": diagnose(ledger),
    }


def accuracy(net, images, labels):
    """(members,) shares of images that are classified correctly."""
    with tg.no_grad():
        return (np.argmax(net(images), axis=-1) == labels).mean(axis=-1)


def sweep(args, report):
    """Decades a layer of the patient with larger and larger weights, one mean over seeds for each factor."""
    images, _, targets = data("train")
    found = []
    for i, factor in enumerate(FACTORS):
        norms = on_ledger(
            nn.stack([larger(factor)(seed) for seed in range(args.seeds)]), images[:1000], targets[:1000]
        )["norms"]
        found.append((norms[0] - norms[-1]).mean() / DEPTH)
        report((i + 1) / len(FACTORS))
    return np.array(found)


def interval(values):
    """The 95 % interval of the mean over seeds, by the bootstrap."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    return np.percentile(draws.mean(axis=1), [2.5, 97.5])


def save(results):
    with replacing(OUT / "results.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["patient", "rate", "seed", "validation_accuracy", "weights", "slopes", "other"])
        for name, result in results.items():
            if name != SWEEP and "accuracy" in result:
                columns = (result[key] for key in ("accuracy", "weights", "slopes", "other"))
                rows.writerows(
                    [name, result["rate"], seed, *values] for seed, values in enumerate(zip(*columns, strict=True))
                )
    tg.save({name: result["norms"] for name, result in results.items() if name != SWEEP}, OUT / "norms.npz")


def draw(results):
    """A panel for each cure: log10‖δ‖ against the layer, mean and 5-95 % of seeds, and the accuracy."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 5, figsize=(13, 7.5), sharex=True, sharey=True, layout="constrained")
    for name, ax in zip(PATIENTS, axes.flat, strict=True):
        if name not in results or "accuracy" not in results[name]:
            ax.set_axis_off()  # of a run that was stopped
            continue
        norms, reached = results[name]["norms"], results[name]["accuracy"]
        layers, change = range(1, len(norms) + 1), results[name]["verdict"].total
        color = COLORS[0 if abs(change) < 2 else int(np.sign(change))]
        if PATIENT in results:
            ax.plot(layers, results[PATIENT]["norms"].mean(axis=1), color="0.65", lw=2)
        ax.fill_between(layers, *np.percentile(norms, [5, 95], axis=1), color=color, alpha=0.25, lw=0)
        ax.plot(layers, norms.mean(axis=1), color=color, lw=2)
        low, high = interval(reached)
        ax.set_title(name, fontsize="large", color=color, fontweight="bold")
        ax.text(0.96, 0.06, f"{reached.mean():.0f} %", transform=ax.transAxes, ha="right", fontsize=19, color=color)
        ax.text(0.96, 0.24, f"{low:.1f} to {high:.1f}", transform=ax.transAxes, ha="right", color="0.4")
        ax.set_xticks(range(1, len(norms) + 1, 2))
        ax.grid(axis="y", alpha=0.3)
    figure.suptitle(
        "Ten hidden layers: the size of the gradient in each layer before training, and the accuracy after it\n"
        "blue: the gradient vanishes    green: it is kept    red: it explodes    grey: the patient"
    )
    figure.supxlabel("layer, 1 at the input")
    figure.supylabel("log$_{10}$‖δ‖ (decades)")
    with replacing(OUT / "cures.png") as temporary:
        figure.savefig(temporary, dpi=100)


def numbers(result):
    """The means of a ledger as texts, for the sentences and the table."""
    texts = {key: decades(result[key].mean()) for key in ("weights", "slopes", "other")}
    way = (result["norms"][0] - result["norms"][-1]).mean()
    return texts | {"all": decades(way / DEPTH), "way": decades(way, 1)}


def tell(results, args):
    """Print the table, where larger weights explode, and two sentences on each cure."""
    done = {name: results[name] for name in PATIENTS if "accuracy" in results.get(name, {})}
    print(f"\nDecades a layer at the start; accuracy after {args.steps} steps of {BATCH}, best of rates {args.rates}")
    print(f"{'':20} {'W':>6} {'σ′':>6} {'other':>6} {'all':>6}   accuracy, % [95 %]    rate  seeds   the ledger")
    for name, result in done.items():
        text, (low, high) = numbers(result), interval(result["accuracy"])
        mean = f"{result['accuracy'].mean():5.1f} [{low:.1f}, {high:.1f}]"
        print(f"{name:20} {text['weights']:>6} {text['slopes']:>6} {text['other']:>6} {text['all']:>6}   {mean:20}"
              f" {result['rate']:5}  {len(result['accuracy']):5}   {blame(result['verdict'])}")  # fmt: skip
    if SWEEP in results:
        pairs = zip(FACTORS, results[SWEEP], strict=True)
        print(
            "\nDecades a layer with larger weights:", ", ".join(f"× {f:.3g} {decades(change)}" for f, change in pairs)
        )
        kept = 10 ** np.interp(0, results[SWEEP], np.log10(FACTORS))
        print(f"The gradient vanishes below weights × {kept:.1f} and explodes above. Theory for wide layers, no fit,"
              f" says × {critical_weight_std(nn.Sigmoid, 1.0):.1f}.\n")  # fmt: skip
    if PATIENT in done:
        for name, result in done.items():
            why = WHY[name].format(**numbers(result), patient=numbers(done[PATIENT]))
            print(textwrap.fill(f"{name}: {why}", 110, subsequent_indent="    "))


def blame(verdict):
    """What `diagnose` says in the cell of a table: state, severity, cause."""
    cause = {"activation": "σ′" if verdict.slopes else verdict.between, "weights": "W", None: "nobody"}[verdict.cause]
    return f"{verdict.state}{f', {verdict.severity}' if verdict.severity else ''}; blames {cause}"


def main():
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed
        stream.reconfigure(errors="replace")  # not every terminal can show σ
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO: none
    if missing := [name for name in ("matplotlib", "rich") if find_spec(name) is None]:
        parser.error(f"{' and '.join(missing)} missing: {install('examples')} installs what the examples need")
    parser.add_argument("--quick", action="store_true", help="few steps and seeds: a preview, not the experiment")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, one thread each")
    args = parser.parse_args()
    args.seeds, args.slow_seeds, args.new_images = (3, 1, 1000) if args.quick else (10, 4, 5000)
    args.steps, args.coding_steps, args.rates = (50, 150, (0.1,)) if args.quick else (1000, 300, (0.1, 0.02))
    OUT.mkdir(parents=True, exist_ok=True)
    names = sorted(PATIENTS, key=lambda name: (name not in SLOW, "Norm" not in name))  # the longest first
    tasks = {name: (trial, (name, args)) for name in names} | {SWEEP: (sweep, (args,))}
    results, interrupted = run_tasks(tasks, args.workers, save)
    draw(results)
    tell(results, args)
    print(f"\nresults.csv, norms.npz and cures.png are in {OUT}/.")
    sys.exit(130 if interrupted else 0)


if __name__ == "__main__":
    main()
