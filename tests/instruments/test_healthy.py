"""Networks that have learned well are not called ill.

`pytest tests/instruments/test_healthy.py -m long -s` prints the table of docs/verdicts.md.
"""

from collections import Counter

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger, diagnose

KINDS = [(nn.Sigmoid, 1), (nn.Sigmoid, 2), (nn.Sigmoid, 3), (nn.Tanh, 2), (nn.Tanh, 5), (nn.ReLU, 4)]
SEEDS, STEPS, BATCH = 11, 1000, 50


def digits(split, n):
    """Images of 14 × 14, which train in half the time, with mean 0 and variance 1; and labels."""
    images, labels = tg.datasets.mnist(split)
    small = images[:n].reshape(n, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(n, 196)
    return (small - np.float32(0.13)) / np.float32(0.28), labels[:n]


def trained(activation, hidden, data):
    """Eleven networks, trained together, and their accuracies on new images."""
    images, labels, new_images, new_labels = data
    sizes, gain = [196, *[30] * hidden, 10], 2**0.5 if activation is nn.ReLU else 1.0
    nets = nn.stack([nn.mlp(sizes, activation, dtype=np.float32, rng=seed) for seed in range(SEEDS)])
    for parameter in nets.parameters():
        parameter.data = parameter.data * np.float32(gain)
    adam, rng = tg.optim.Adam(nets.parameters(), lr=0.005), np.random.default_rng(0)
    for _ in range(STEPS):
        batch = rng.integers(len(images), size=BATCH)
        adam.zero_grad()
        nn.CrossEntropyLoss()(nets(images[batch]), labels[batch]).backward()
        adam.step()
    with tg.no_grad():
        return nets, (np.argmax(nets(new_images).data, axis=-1) == new_labels).mean(axis=-1)


@pytest.mark.long
def test_healthy_trained_networks():
    data = [array for split, n in (("train", 30_000), ("validation", 1000)) for array in digits(split, n)]
    states, by_decades, healthy = Counter(), Counter(), 0
    for activation, hidden in KINDS:
        nets, accuracies = trained(activation, hidden, data)
        for member in np.flatnonzero(accuracies > 0.9):
            net = nn.unstack(nets, int(member))
            with Ledger(net) as ledger:
                nn.CrossEntropyLoss()(net(data[0][:1000]), data[1][:1000]).backward()
            diagnosis = diagnose(ledger)
            healthy += 1
            states[diagnosis.state] += 1
            by_decades[diagnosis.severity or "none"] += 1
            assert not diagnosis.is_ill, str(diagnosis)
    print(f"\n{healthy} networks above 90 %: {dict(states)}; by decades alone {dict(by_decades)}")
    assert healthy >= 60
    assert not {"vanishing", "exploding", "dead"} & states.keys()
    assert by_decades["at risk"] + by_decades["severe"] <= 1  # as if it did not know that they were trained
