"""What cures.py prints: the table, the point at which larger weights explode, and two sentences on each cure."""

import textwrap

import numpy as np
from cures_networks import DEPTH, PATIENT
from cures_sentences import WHY

from tinygrad_vg import nn
from tinygrad_vg.instruments import critical_weight_std
from tinygrad_vg.notation import decades


def interval(values):
    """The 95 % interval of the mean over seeds, by the bootstrap."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    return np.percentile(draws.mean(axis=1), [2.5, 97.5])


def numbers(result):
    """The means of a ledger as texts, for the sentences and the table."""
    texts = {key: decades(result[key].mean()) for key in ("weights", "slopes", "other")}
    way = (result["norms"][0] - result["norms"][-1]).mean()
    return texts | {"all": decades(way / DEPTH), "way": decades(way, 1)}


def blame(verdict):
    """What `diagnose` says in the cell of a table: state, severity, cause."""
    cause = {"activation": "σ′" if verdict.slopes else verdict.between, "weights": "W", None: "nobody"}[verdict.cause]
    return f"{verdict.state}{f', {verdict.severity}' if verdict.severity else ''}; blames {cause}"


def table(results):
    """Decades a layer at the start, and accuracy, of each cure."""
    print(f"{'':20} {'W':>6} {'σ′':>6} {'other':>6} {'all':>6}   accuracy, % [95 %]    rate  seeds   the ledger")
    for name, result in results.items():
        text, (low, high) = numbers(result), interval(result["accuracy"])
        mean = f"{result['accuracy'].mean():5.1f} [{low:.1f}, {high:.1f}]"
        print(f"{name:20} {text['weights']:>6} {text['slopes']:>6} {text['other']:>6} {text['all']:>6}   {mean:20}"
              f" {result['rate']:5}  {len(result['accuracy']):5}   {blame(result['verdict'])}")  # fmt: skip


def explosion(factors, changes):
    """Where the gradient of the patient with larger weights begins to explode; `changes` are decades a layer."""
    pairs = zip(factors, changes, strict=True)
    print("\nDecades a layer with larger weights:", ", ".join(f"× {f:.3g} {decades(change)}" for f, change in pairs))
    kept = 10 ** np.interp(0, changes, np.log10(factors))
    print(f"The gradient vanishes below weights × {kept:.1f} and explodes above. Theory for wide layers, no fit,"
          f" says × {critical_weight_std(nn.Sigmoid, 1.0):.1f}.\n")  # fmt: skip


def sentences(results):
    """Two sentences on each cure, with its numbers and those of the patient."""
    for name, result in results.items():
        why = WHY[name].format(**numbers(result), patient=numbers(results[PATIENT]))
        print(textwrap.fill(f"{name}: {why}", 110, subsequent_indent="    "))
