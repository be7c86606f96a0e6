"""How fast the layers learn at the start: the book's bars, its lengths ‖δ^l‖, and whether they are a coincidence.

The chapter shows six neurons of each hidden layer of one network [784, 30, 30, 10], and asks whether it is "merely a
coincidence" that the second layer learns faster. Here 1,000 networks of each depth answer, on the first 1,000 images.
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder

BOOK = {2: "0.07, 0.31", 3: "0.012, 0.060, 0.283", 4: "0.003, 0.017, 0.070, 0.285"}  # one network each
GROUP = 50  # members at a time, to keep memory small


def start(depth, seeds, values=False):
    """The recorded ∂C/∂b of the hidden layers at the start, of one ensemble."""
    images, _, targets = chapter.digits(1000)
    net = chapter.ensemble(depth, seeds)
    with GradientRecorder(net, values=values) as recorder:
        tg.nn.BCEWithLogitsLoss("batchmean")(net(images), targets).backward()
    return recorder.history[:, :-1]


def norms(depth, seeds, report=lambda share: False):
    """log10‖δ^l‖ of the hidden layers at the start, (layer, seed)."""
    parts = []
    for begin in range(0, seeds, GROUP):
        parts.append(start(depth, range(begin, min(begin + GROUP, seeds))).log10_norm[0])
        if report(min(1.0, (begin + GROUP) / seeds)):
            break
    return np.concatenate(parts, axis=1)


def main():
    args = chapter.options(__doc__, quick="100 networks of each depth in place of 1,000")
    results = chapter.in_processes(norms, BOOK, 100 if args.quick else 1000)
    for depth, decades in sorted(results.items()):
        n = decades.shape[1]
        low, high = 10 ** np.quantile(decades, [0.05, 0.95], axis=1)
        strict = int((np.diff(decades, axis=0) > 0).all(axis=0).sum())
        bounds = chapter.wilson(strict, n)
        print(f"{depth} hidden layers, {n} networks; the book's one network: {BOOK[depth]}")
        for layer, middle in enumerate(10 ** decades.mean(axis=1)):
            print(f"    ‖δ^{layer + 1}‖ = {middle:.4f} (geometric mean), 5-95 %: {low[layer]:.4f} to {high[layer]:.4f}")
        print(f"    every layer faster than the one before it: {strict} of {n}, 95 % interval {bounds[0]:.2%} to "
              f"{bounds[1]:.2%}")  # fmt: skip
    drawn, (left, right) = chapter.figure(2, width=9)
    of_layers = start(2, [0], values=True).values
    tg.plots.neuron_bars([vectors[0, 0] for vectors in of_layers], left)
    left.set_title("Bars of ∂C/∂b as in the book (seed 0)")
    for shift, (depth, decades) in zip((-0.12, 0, 0.12), sorted(results.items()), strict=True):
        low, middle, high = np.quantile(decades, [0.05, 0.5, 0.95], axis=1)
        right.errorbar(np.arange(depth) + 1 + shift, middle, [middle - low, high - middle], fmt="o-", capsize=3,
                       color=chapter.LAYERS[depth - 2], label=f"{depth} hidden layers")  # fmt: skip
    right.plot([], [], "kx", label="the book's network")
    for shift, depth in zip((-0.12, 0, 0.12), BOOK, strict=True):
        right.plot(np.arange(depth) + 1 + shift, chapter.author(depth)[0], "kx", ms=8, zorder=3)
    right.set(title=f"{decades.shape[1]:,} networks: median, 5-95 %", xlabel="layer (1 = input side)",
              ylabel="log$_{10}$‖∂C/∂b‖ (decades)", xticks=range(1, 5))  # fmt: skip
    right.grid(alpha=0.3)
    right.legend(frameon=False)
    chapter.write(drawn, args.out, "initial_gradients")


if __name__ == "__main__":
    main()
