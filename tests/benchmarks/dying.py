"""Does the forecast "dying" come true? ReLU networks of many widths and depths, each drawn and trained often.

    python -m tests.benchmarks.dying            # about 25 minutes of one core
    python -m tests.benchmarks.dying --draws 20 --grid 20

First the four networks of AT-51 that are labelled "dead or vanishing", beside the same networks with layers of 30; then
a grid of widths and depths. Every draw is built and trained as tests/instruments/at51.py says: VarianceScaling(2),
biases 0, Adam at 0.001, its data and batches; 600 steps. A network is stuck if it then answers the same for all data.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

import tinygrad_vg as tg
from tests.instruments.at51 import NETS, batches, build, cost
from tinygrad_vg import nn

STEPS, WINDOW, TOGETHER, WIDE = 600, 30, 20, 30
GRID = [*product((3, 4, 5, 6, 8, 12, 20), (2, 5, 10, 16, 25))]  # widths, hidden layers
EDGES = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Fates:
    """What became of R draws of one network.

    Attributes:
        forecast: 1 − ∏(1 − 2^−width) over its hidden layers.
        born: (R,) the share of the data that passed no gradient at birth.
        window, end: (R,) the same share after 30 steps, and at the end.
        stuck: (R,) whether all answers were the same at the end.
        accuracy: (R,) at the end, of the data.
    """

    forecast: float
    born: Any
    window: Any
    end: Any
    stuck: Any
    accuracy: Any


def with_width(net, width, hidden=None):
    """The same network with other hidden layers."""
    hidden = len(net["widths"]) - 2 if hidden is None else hidden
    return net | {
        "widths": [net["widths"][0], *[width] * hidden, net["widths"][-1]],
        "initializers": ["VS2"] * (hidden + 1),
    }


def silent(nets, x):
    """(R,) the share of samples for which all units of some hidden layer are closed."""
    closed: Any = False
    with tg.no_grad():
        for module in nets:
            x = module(x)
            if isinstance(module, nn.ReLU):
                closed = closed | ~x.data.any(axis=-1)
    return closed.mean(axis=-1)


def everything(net, seed):
    """All data of the seed: one epoch of its batches."""
    size = 700 if net["data"] == "circle" else 1000
    xs, ys = [], []
    for x, y in batches(net, seed):
        xs.append(x)
        ys.append(y)
        if sum(map(len, ys)) == size:
            return np.concatenate(xs), np.concatenate(ys)
    raise AssertionError


def together(net, seed):
    """Some draws, trained as one ensemble on the same data: the fields of `Fates` that are per draw."""
    nets = nn.stack([build(net, TOGETHER * seed + i) for i in range(TOGETHER)])
    x, y = everything(net, seed)
    adam, born = tg.optim.Adam(nets.parameters(), lr=1e-3), silent(nets, x)
    for step, (some, labels) in zip(range(STEPS), batches(net, seed), strict=False):
        if step == WINDOW:
            window = silent(nets, x)
        adam.zero_grad()
        cost(net, nets(some), labels).backward()
        adam.step()
    with tg.no_grad():
        output = nets(x).data
    answers = np.argmax(output, axis=-1) if net["data"] == "blob" else output[..., 0] > 0
    stuck = (answers == answers[:, :1]).all(axis=-1)
    return born, window, silent(nets, x), stuck, (answers == y).mean(axis=-1)


def fates(net, draws):
    groups = [together(net, seed) for seed in range(-(-draws // TOGETHER))]
    forecast = 1 - np.prod([1 - 2.0**-width for width in net["widths"][1:-1]])
    return Fates(float(forecast), *(np.concatenate(part) for part in zip(*groups, strict=True)))


def row(name, fate):
    figures = [fate.forecast, fate.born.mean(), (fate.born == 1).mean(), (fate.window == 1).mean(), fate.stuck.mean()]
    quartiles = " / ".join(f"{q:.2f}" for q in np.quantile(fate.accuracy, [0.1, 0.5, 0.9]))
    return f"| {name} | {' | '.join(f'{x:.1%}' for x in figures)} | {quartiles} |"


def by_labels(draws):
    """The four networks of AT-51 and their wide controls; and how those end that were born sound."""
    print("| network | forecast | samples silent at birth | draws born dead | dead after 30 steps | stuck | "
          "accuracy: 10, 50, 90 % |\n|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    some = []
    for net in (net for net in NETS if net["label"] == "dead or vanishing"):
        name = f"{net['data']}, {len(net['widths']) - 2} × 5"
        some.append(fates(net, draws))
        print(row(name, some[-1]), flush=True)
        print(row(f"the same, width {WIDE}", fates(with_width(net, WIDE), draws)), flush=True)
    born, stuck = (np.concatenate([getattr(fate, part) for fate in some]) for part in ("born", "stuck"))
    print("\n| silent samples at birth | draws | stuck |\n|---|---|---|")
    for name, of in (("none", born == 0), ("some", (born > 0) & (born < 1)), ("all", born == 1)):
        print(f"| {name} | {of.sum()} | {stuck[of].mean():.1%} |")


def by_forecast(draws):
    """The grid, and its bands of the forecast."""
    found = []
    for data, (width, hidden) in product(("blob", "circle"), GRID):
        base = next(net for net in NETS if net["label"] == "dead or vanishing" and net["data"] == data)
        fate = fates(with_width(base, width, hidden), draws)
        found.append((data, fate.forecast, fate.born.mean(), (fate.born == 1).mean(), fate.stuck.mean()))
        print(row(f"{data}, {hidden} × {width}", fate), flush=True)
    bands(found)


def bands(found):
    """Print the means of networks, each (data, forecast, silent samples, draws born dead, stuck), in bands."""
    print("\n| forecast | networks | samples silent at birth: forecast, measured | draws born dead | "
          "stuck on blobs: least, mean, most | on circles |\n|---|---|---|---|---|---|")  # fmt: skip
    for low, high in pairwise(EDGES):
        band = [each for each in found if low <= each[1] < high]
        forecast, born, dead = (np.mean([each[i] for each in band]) for i in (1, 2, 3))
        stuck = [[each[4] for each in band if each[0] == data] for data in ("blob", "circle")]
        figures = [f"{min(some):.0%}, {np.mean(some):.0%}, {max(some):.0%}" for some in stuck]
        print(f"| {low:.0%} to {high:.0%} | {len(band)} | {forecast:.0%}, {born:.0%} | {dead:.0%} | "
              f"{' | '.join(figures)} |")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=200, help="of each of the four networks (200)")
    parser.add_argument("--grid", type=int, default=60, help="of each network on the grid (60)")
    args = parser.parse_args()
    by_labels(args.draws)
    print()
    by_forecast(args.grid)
