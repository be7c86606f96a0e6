"""Does the verdict at initialization tell which networks plain SGD can train? Measured on networks drawn at random.

    python -m tests.benchmarks.trainability            # trains 200 networks, about 15 minutes of one core
    python -m tests.benchmarks.trainability --networks 20

Each network is trained at five learning rates, as an ensemble of five, and it learns if one of them reaches the bar.
What has been trained is kept in runs/trainability.jsonl, so that a run that was stopped goes on; the verdicts are taken
anew each time, for that takes seconds.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import nn

OUT = Path("runs/trainability.jsonl")
RATES = np.array([0.0005, 0.01, 0.1, 0.5, 2.0], np.float32)
STEPS, BATCH, BAR = 1500, 32, 0.8  # the bar: of new images, where a guess has 0.1
ENOUGH = 0.9  # a network that gets here need not go on


@dataclass(frozen=True)
class Net:
    """A point of the bench: hidden layers of this activation and width, σ_w and σ_b of all layers."""

    seed: int
    activation: Any
    depth: int
    width: int
    weight_std: float
    bias_std: float

    @classmethod
    def drawn(cls, seed):
        rng = np.random.default_rng([2024, seed])
        return cls(
            seed,
            (nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Softplus)[rng.integers(4)],
            int(np.exp(rng.uniform(0, np.log(31)))),
            int(np.exp(rng.uniform(np.log(20), np.log(151)))),
            float(np.exp(rng.uniform(np.log(0.3), np.log(10)))),
            float(rng.choice([0.0, rng.uniform(0, 2)])),
        )

    def build(self, inputs, dtype):
        rng, modules, n_in = np.random.default_rng([2025, self.seed]), [], inputs
        for n_out in [*[self.width] * self.depth, 10]:
            linear = nn.Linear(n_in, n_out, rng=rng)
            nn.init.scaled_normal_(linear.weight, gain=self.weight_std, rng=rng)
            nn.init.normal_(linear.bias, std=self.bias_std, rng=rng)
            for parameter in linear.parameters():
                parameter.data = parameter.data.astype(dtype)
            modules += [linear, self.activation()]
            n_in = n_out
        return nn.Sequential(*modules[:-1])


def digits(split, n, dtype=np.float32):
    """Images of 14 × 14 with mean 0 and variance 1, and labels."""
    images, labels = tg.datasets.mnist(split)
    small = images[:n].reshape(n, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(n, 196)
    return ((small - 0.1307) / 0.28).astype(dtype), labels[:n]


def best_accuracy(net, data, new):
    """Of new images, at the best of the learning rates and of the looks at every 100th step."""
    (images, labels), (new_images, new_labels) = data, new
    nets, cost = nn.stack([net.build(images.shape[1], np.float32)] * len(RATES)), nn.CrossEntropyLoss()
    rng, best = np.random.default_rng(net.seed), 0.0
    for step in range(1, STEPS + 1):
        batch = rng.integers(len(images), size=BATCH)
        nets.zero_grad()
        cost(nets(images[batch]), labels[batch]).backward()
        for parameter in nets.parameters():  # the members' costs are summed: each has its own gradient
            parameter.data = parameter.data - RATES.reshape(-1, *[1] * (parameter.ndim - 1)) * parameter.grad
        if step % 100 == 0:
            with tg.no_grad():
                right = (np.argmax(nets(new_images).data, axis=-1) == new_labels).mean(axis=-1)
            best = max(best, float(right.max()))
            if best >= ENOUGH:
                break
    return best


def train(count):
    """The best accuracy of each network, from the file where it stands, else trained."""
    OUT.parent.mkdir(exist_ok=True)
    known = dict(map(json.loads, OUT.read_text().splitlines())) if OUT.exists() else {}
    data, new = digits("train", 20_000), digits("validation", 1000)
    for seed in range(count):
        if seed not in known:
            with np.errstate(all="ignore"):  # some learning rates are too large
                known[seed] = best_accuracy(Net.drawn(seed), data, new)
            with OUT.open("a") as file:
                file.write(json.dumps([seed, known[seed]]) + "\n")
    return {seed: known[seed] for seed in range(count)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=200, help="how many (200)")
    train(parser.parse_args().networks)
