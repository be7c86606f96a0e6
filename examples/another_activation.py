"""The chapter's exercise: would an activation with a larger derivative avoid the unstable gradient?

The ledger splits each step of the gradient exactly into what the weights do and what the slopes do. First Nielsen's
weights are kept and the activation is changed. Then σ is compared with 4σ, whose slope is 1 where that of σ is 1/4, and
the weights behind it are divided by 4: the two networks are the same function.
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import Ledger

DEPTH, SEEDS = 4, 40


class Sine(tg.nn.Activation):
    """sin(z): its largest slope is 1, and it does not saturate."""

    function, symbol, largest_slope = staticmethod(np.sin), "sin", 1.0


class FourSigmoid(tg.nn.Activation):
    """4σ(z), whose largest slope is 1."""

    function, symbol, largest_slope = staticmethod(lambda z: 4.0 * tg.ops.sigmoid(z)), "4σ", 1.0


class SteepSigmoid(tg.nn.Activation):
    """σ(16z), whose largest slope is 4."""

    function, symbol, largest_slope = staticmethod(lambda z: tg.ops.sigmoid(16.0 * z)), "σ(16 ·)", 4.0


KINDS = {"σ(z)": tg.nn.Sigmoid, "tanh(z)": tg.nn.Tanh, "ReLU(z)": tg.nn.ReLU, "sin(z)": Sine, "4σ(z)": FourSigmoid,
         "σ(16z)": SteepSigmoid}  # fmt: skip


def account(kind, gain=1.0, depth=DEPTH, seeds=SEEDS):
    """Decades a layer, by the weights and by the slopes: means over seeds; weights behind the first layer × gain."""
    images, _, targets = chapter.digits(200)
    net = tg.nn.stack([tg.nn.mlp(chapter.sizes(depth), kind, dtype=np.float32, rng=seed) for seed in range(seeds)])
    for layer in list(net)[2::2]:
        layer.weight.data = np.float32(gain) * layer.weight.data
    with Ledger(net) as ledger:
        tg.nn.BCEWithLogitsLoss("batchmean")(net(images), targets).backward()
    rows = list(ledger)[: depth - 1]  # between hidden layers
    return np.mean([row.weights for row in rows]), np.mean([row.activation for row in rows])


def main():
    args = chapter.options(__doc__)
    table = {name: account(kind) for name, kind in KINDS.items()}
    table |= {"4σ(z), weights : 4": account(FourSigmoid, 0.25), "σ(z), weights × 4": account(tg.nn.Sigmoid, 4.0)}
    print(f"decades that a hidden layer adds to the gradient, mean of {SEEDS} networks [784, 30, 30, 30, 30, 10]")
    print("activation           by weights   by slopes   together")
    for name, (weights, slopes) in table.items():
        print(f"{name:<20} {weights:+10.3f} {slopes:+11.3f} {weights + slopes:+10.3f}")
    drawn, ax = chapter.figure(width=8, height=4.8)
    places = np.arange(len(table))
    weights, slopes = np.array(list(table.values())).T
    ax.barh(places - 0.2, weights, 0.38, color="gray", label="by the weights")
    ax.barh(places + 0.2, slopes, 0.38, color=chapter.BLUE, label="by the slopes of the activation")
    ax.plot(weights + slopes, places, "D", color=chapter.ORANGE, label="together")
    ax.set_yticks(places, list(table))
    ax.invert_yaxis()
    ax.axvline(0, color="black", lw=0.8)
    ax.set(title="A larger derivative moves the gradient; it does not balance it",
           xlabel="decades per layer: left of 0 it vanishes, right of 0 it explodes")  # fmt: skip
    ax.grid(alpha=0.3, axis="x")
    drawn.legend(loc="outside lower center", ncols=3, frameon=False)
    chapter.write(drawn, args.out, "another_activation")


if __name__ == "__main__":
    main()
