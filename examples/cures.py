"""Cures of the vanishing gradient, tried on one patient: ten hidden layers of 30 sigmoids on MNIST.

For each cure: the ledger of the gradient at the start (how many decades a layer weights, slopes and the rest take or
give), what `diagnose` blames, and accuracy after equal numbers of training steps, over an ensemble of random seeds. The
results of all seeds are in cures.csv.
"""

import csv
import os
import sys

import chapter
from cures_convolutions import CONVOLUTIONAL
from cures_figure import draw
from cures_networks import PATIENT
from cures_sentences import WHY
from cures_table import explosion, sentences, table
from cures_trial import BATCH, FACTORS, sweep, trial

from tinygrad_vg.storage import replacing
from tinygrad_vg.study import run_tasks

SWEEP = "larger and larger weights"
FULL = dict(seeds=10, new=5000, steps=1000, coding_steps=300, rates=(0.1, 0.02))
QUICK = dict(seeds=2, new=1000, steps=50, coding_steps=50, rates=(0.1,))


def trained(results):
    """The results of the cures that were trained to the end, in the order of the figure."""
    return {name: results[name] for name in WHY if "accuracy" in results.get(name, ())}


def save(results, out):
    """Write a row for each cure and seed: the rate, the accuracy, and decades a layer."""
    with replacing(out / "cures.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["cure", "rate", "seed", "accuracy", "weights", "slopes", "other"])
        for name, result in trained(results).items():
            columns = zip(*(result[key] for key in ("accuracy", "weights", "slopes", "other")), strict=True)
            rows.writerows([name, result["rate"], seed, *values] for seed, values in enumerate(columns))


def main():
    args = chapter.options(__doc__, quick="2 seeds and 50 steps of training in place of 10 and 1,000")
    do = QUICK if args.quick else FULL
    longest_first = sorted(WHY, key=lambda name: (name not in CONVOLUTIONAL, "Norm" not in name))
    tasks = {name: (trial, (name, do)) for name in longest_first} | {SWEEP: (sweep, (SWEEP, do))}
    results, interrupted = run_tasks(tasks, os.cpu_count() or 1, lambda results: save(results, args.out))
    if not (done := trained(results)):
        sys.exit(130)  # interrupted before the first result
    print(f"Decades a layer at the start; accuracy after {do['steps']} steps of {BATCH}, best of rates {do['rates']}")
    table(done)
    if SWEEP in results:
        explosion(FACTORS, results[SWEEP])
    if PATIENT in done:
        sentences(done)
    draw(WHY, done, args.out)
    sys.exit(130 if interrupted else 0)


if __name__ == "__main__":
    main()
