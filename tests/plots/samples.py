"""What the tests of the pictures draw, and how they read it back."""

import dataclasses

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import History, Ledger, mean_field


def history(layers, steps=1, members=50, slope=0.7):
    rng = np.random.default_rng(0)
    below = np.arange(layers)[::-1]
    noise = 0.1 * rng.standard_normal((steps, layers, members)).cumsum(axis=0)
    norms = -0.5 - slope * below[:, None] + noise / np.sqrt(steps)
    return History(np.arange(steps) * 5, tuple(range(1, layers + 1)), tuple(map(str, range(layers))), norms)


def with_norms(whole, norms):
    return dataclasses.replace(whole, log10_norm=norms)


def broken(layers, steps=40):
    """Exact zeros at the start, NaN in one member from the middle, everything NaN below the middle at the end."""
    norms = history(layers, steps, 4).log10_norm
    norms[: steps // 4, : layers // 3] = -np.inf
    norms[steps // 2 :, :, 0] = np.nan
    norms[-steps // 4 :, : layers // 2] = np.nan
    return with_norms(history(layers, steps, 4), norms)


def ledger(layers, activation=tg.nn.Sigmoid, members=3, dead=None):
    """Of a real backward. `dead` is a hidden layer whose ReLUs are all off, in the first member."""
    networks = [tg.nn.mlp([*[8] * (layers + 1), 3], activation, rng=seed) for seed in range(members)]
    if dead is not None:
        bias = networks[0][2 * (dead - 1)].bias
        bias.data = bias.data - 100
    net = tg.nn.stack(networks) if members > 1 else networks[0]
    with Ledger(net) as accounts:
        tg.nn.MSELoss("batchmean")(net(np.random.default_rng(9).random((5, 8))), np.zeros((5, 3))).backward()
    return accounts


def vectors(layers, n=30):
    rng = np.random.default_rng(0)
    return [5.0 ** (layer - layers) * rng.standard_normal(n) for layer in range(layers)]


def theory(layers):
    return mean_field(tg.nn.Sigmoid, 1, 1, width=30, depth=layers + 1, input_q=0.1)


def line(ax, label):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]
