"""The verdict on 51 networks that others have labelled (at51.md), at the first batch and after 30 steps of Adam.

`pytest tests/instruments/test_at51.py -m long -s` prints the table of docs/verdicts.md.
"""

from collections import Counter

import numpy as np
import pytest

from tests.instruments.at51 import NETS, batches, build, cost
from tinygrad_vg import optim
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose

pytestmark = pytest.mark.long

SEEDS, WINDOW = range(5), 30
KINDS = ("not finite", "vanishing, activation", "vanishing, weights", "dead or vanishing", "stable")


def judged(net, seed):
    """The verdict on the first batch, and those on the window: of a recorder, and of a ledger at its end."""
    model = build(net, seed)
    adam = optim.Adam(model.parameters(), lr=1e-3)
    with Ledger(model) as ledger, GradientRecorder(model) as recorder, np.errstate(all="ignore"):
        for step, (x, y) in zip(range(WINDOW), batches(net, seed), strict=False):
            adam.zero_grad()
            cost(net, model(x), y).backward()
            adam.step()
            if step == 0:
                first = diagnose(ledger)
    return first, diagnose(recorder), diagnose(ledger)


def is_alarm(diagnosis):
    """By the decades alone too, where training has begun and the verdict itself gives no alarm."""
    return diagnosis.is_ill or diagnosis.severity in ("at risk", "severe")


def has_right_cause(label, diagnosis):
    if label == "not finite":
        return diagnosis.state == "not finite"
    if label == "dead or vanishing":
        return diagnosis.cause == "width" or diagnosis.state in ("dead", "no gradient", "vanishing")
    return (diagnosis.state, diagnosis.cause) == tuple(label.split(", "))


@pytest.fixture(scope="module")
def verdicts():
    return [(net["label"], [judged(net, seed) for seed in SEEDS]) for net in NETS]


def counts(verdicts, says):
    """How many networks of each label, by the majority of the seeds, and runs, of all seeds."""
    networks, runs = Counter(), Counter()
    for label, some in verdicts:
        hits = sum(says(label, *each) for each in some)
        networks[label] += 2 * hits > len(SEEDS)
        runs[label] += hits
    return networks, runs


def test_what_is_known_to_be_wrong_is_found(verdicts):
    sizes = Counter(label for label, _ in verdicts)
    measures = {
        "found at the first batch": lambda label, first, window, last: is_alarm(first),
        "with the right cause": lambda label, first, window, last: is_alarm(first) and has_right_cause(label, first),
        "alarm over the window (recorder)": lambda label, first, window, last: is_alarm(window),
        "alarm at its end (ledger)": lambda label, first, window, last: is_alarm(last),
    }
    found = {name: counts(verdicts, says) for name, says in measures.items()}
    print("\n| known label | networks |", " | ".join(found), "|\n|---|---|" + "---|" * len(found))
    for label in KINDS:
        figures = [f"{networks[label]} ({runs[label]} of {sizes[label] * len(SEEDS)} runs)"
                   for networks, runs in found.values()]  # fmt: skip
        print(f"| {label} | {sizes[label]} | {' | '.join(figures)} |")
    for measure, kinds in zip(list(found)[:3], (KINDS[:4], KINDS[:4], KINDS[:3]), strict=True):
        networks, runs = found[measure]
        for label in kinds:
            assert networks[label] == sizes[label], measure
            assert runs[label] == len(SEEDS) * sizes[label], measure
    # That is 31 of the 31 faulty ones, and none of the sound ones is called dying: that would prove nothing of ReLU
    # networks that train, for all of these are of tanh. tests/benchmarks/dying.py has some.
    assert not any(first.dying for label, some in verdicts for first, _, _ in some if label == "stable")
    networks, runs = found["alarm over the window (recorder)"]
    assert networks["stable"] == 0
    assert runs["stable"] <= len(SEEDS)  # one of twenty
    assert found["alarm at its end (ledger)"][0]["stable"] <= 1
    assert not any(window.is_ill or last.is_ill for label, some in verdicts for _, window, last in some
                   if label == "stable")  # fmt: skip


def test_deep_narrow_relu_networks_are_called_dead_only_where_they_are(verdicts):
    """All are at risk by their widths. Which of them learn depends on the seed; one that is dead after the window has
    no gradient at all."""
    runs = [each for label, some in verdicts for each in some if label == "dead or vanishing"]
    assert {window.state == "dead" for _, window, _ in runs} == {True, False}
    for first, window, last in runs:
        assert first.dying is not None
        assert last.dying is None
        if first.state == "no gradient":
            assert window.state == last.state == "dead"
            assert last.named[0].part == "slopes"
