"""Does the verdict at initialization tell which networks plain SGD can train? Measured on networks drawn at random.

    python -m tests.benchmarks.trainability            # trains 200 networks, about 12 minutes of one core
    python -m tests.benchmarks.trainability --networks 20

Each network is trained at five learning rates, as an ensemble of five, and it learns if one of them reaches the bar:
half of new images right where a guess has a tenth, for the verdict is about networks that cannot be trained, and not
about how good the others get. The tables are printed for the second bar too.
What has been trained is kept in runs/trainability.jsonl, so that a run that was stopped goes on; the verdicts are taken
anew each time, for that takes seconds.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger, diagnose

OUT = Path("runs/trainability.jsonl")
RATES = np.array([0.0005, 0.004, 0.03, 0.25, 2.0], np.float32)
STEPS, BATCH, BARS = 1500, 32, (0.5, 0.8)  # the bars: of new images, where a guess has 0.1; the first is the verdict's
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


def train(seeds):
    """The best accuracy of each network, from the file where it stands, else trained."""
    OUT.parent.mkdir(exist_ok=True)
    known = dict(map(json.loads, OUT.read_text().splitlines())) if OUT.exists() else {}
    data, new = digits("train", 20_000), digits("validation", 1000)
    for seed in seeds:
        if seed not in known:
            with np.errstate(all="ignore"):  # some learning rates are too large
                known[seed] = best_accuracy(Net.drawn(seed), data, new)
            with OUT.open("a") as file:
                file.write(json.dumps([seed, known[seed]]) + "\n")
    return {seed: known[seed] for seed in seeds}


@dataclass(frozen=True)
class Look:
    """What is known of a network before any training, and whether it learns."""

    diagnosis: Any
    depth: int
    mean: float  # of |∂C/∂b| of layer 1
    first: float  # its norm
    last: float  # that of the last layer
    accuracy: float
    learns: bool = False

    @property
    def level(self):
        """What severity is about; of a network whose forward or backward has no numbers it is without bounds."""
        level = max(abs(self.diagnosis.total), self.diagnosis.span)
        return level if np.isfinite(level) else np.inf


def look(seed, accuracy, data):
    images, labels = data
    net = Net.drawn(seed)
    model = net.build(images.shape[1], np.float64)
    with Ledger(model) as ledger, np.errstate(all="ignore"):
        nn.CrossEntropyLoss()(model(images), labels).backward()
    first, last = (model[i].bias.grad for i in (0, 2 * net.depth))
    size = np.linalg.norm(first)
    return Look(diagnose(ledger), net.depth, np.abs(first).mean(), size, np.linalg.norm(last), accuracy)


def scores(looks, says):
    """How often an answer is right, and the mean of that over those that learn and those that do not."""
    right = np.array([says(each) == each.learns for each in looks])
    learns = np.array([each.learns for each in looks])
    return right.mean(), (right[learns].mean() + right[~learns].mean()) / 2


def best_depth(looks):
    """The k of "depth ≤ k" that is right most often on these very networks: hindsight, in its favour."""
    return max(range(1, 31), key=lambda k: scores(looks, lambda each: each.depth <= k)[1])


def report(looks, bar):
    looks = [replace(each, learns=each.accuracy >= bar) for each in looks]
    print(f"\n{len(looks)} networks, {sum(each.learns for each in looks)} learn: {bar:.0%} of new images are right\n")
    print("| decades of the whole way | severity | learn | do not |\n|---|---|---|---|")
    for low, high, name in ((0, 1, "none"), (1, 2, "mild"), (2, 3, "at risk"), (3, np.inf, "severe")):
        some = [each.learns for each in looks if low <= each.level < high or each.level == high == np.inf]
        print(f"| {low} to {high} | {name} | {sum(some)} | {len(some) - sum(some)} |")
    clear = [each for each in looks if not 2 <= each.level < 3]
    k, clear_k = best_depth(looks), best_depth(clear)
    rules = {
        "severity none or mild": lambda each: each.level < 2,
        "at risk counted as learning": lambda each: each.level < 3,
        "mean abs. gradient of layer 1 ≥ 1e-7": lambda each: each.mean >= 1e-7,
        "‖g₁‖ ≥ 1e-4": lambda each: each.first >= 1e-4,
        "‖g₁‖/‖g_L‖ ≥ 1e-3": lambda each: each.first >= 1e-3 * each.last,
        "1e-3 ≤ ‖g₁‖/‖g_L‖ ≤ 1e3": lambda each: 1e-3 <= each.first / each.last <= 1e3,
        "rate within ± 0.1 decades a layer": lambda each: abs(each.diagnosis.rate) <= 0.1,
        f"depth ≤ {clear_k} (best in hindsight, clear ones)": lambda each: each.depth <= clear_k,
        f"depth ≤ {k} (best in hindsight, all)": lambda each: each.depth <= k,
        "always: learns": lambda each: True,
    }
    print(f"\n| rule: it learns if | right, of {len(clear)} clear ones | balanced | right, of all | balanced |")
    print("|---|---|---|---|---|")
    for name, says in rules.items():
        figures = [f"{x:.3f}" for some in (clear, looks) for x in scores(some, says)]
        print(f"| {name} | {' | '.join(figures)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=200, help="how many (200)")
    parser.add_argument("--first", type=int, default=1000, help="the seed of the first (1000)")
    args = parser.parse_args()
    accuracies = train(range(args.first, args.first + args.networks))
    data = digits("train", 200, np.float64)
    looks = [look(seed, accuracy, data) for seed, accuracy in accuracies.items()]
    for bar in BARS:
        report(looks, bar)
