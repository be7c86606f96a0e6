"""What makes the first layer "roughly 100 times slower": depth at the start, and weight decay after 500 epochs.

The chapter's descent with four hidden layers, at λ = 0, 5 (the book's) and 20. At the start last : first does not
depend on λ. At the end it does: λ = 5 is divided by n = 1,000 images and not by 50,000, so that the decay is strong and
the weights shrink. Beside the figure of the mean gradient, in which the images cancel, stands that of single images
(the root mean square of ‖δ‖).
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder

DEPTH, DECAYS, SEEDS, EPOCHS, GROUP = 4, (0.0, 5.0, 20.0), 10, 500, 5


def gaps(case, epochs=EPOCHS, report=lambda share: False):
    """log10 of last : first: of the mean gradient (epoch, seed), of single samples at the end (seed,); and the costs.

    case = (decay, seeds).
    """
    decay, seeds = case
    decades, net = chapter.descent(DEPTH, seeds, epochs, decay, report)
    images, _, targets = chapter.digits(1000)
    with GradientRecorder(net, statistics=True) as recorder:
        cost = tg.nn.BCEWithLogitsLoss("batchmean")(net(images), targets)
        cost.backward()
    rms = recorder.history.log10_rms[0, :-1]
    return decades[:, -1] - decades[:, 0], rms[-1] - rms[0], np.full(len(seeds), cost.item() / len(seeds))


def main():
    args = chapter.options(__doc__, quick="3 seeds and 100 epochs in place of 10 and 500")
    seeds, epochs = (3, 100) if args.quick else (SEEDS, EPOCHS)
    groups = chapter.groups(seeds, GROUP)
    parts = chapter.in_processes(gaps, [(decay, group) for decay in DECAYS for group in groups], epochs)
    results = {
        decay: [
            np.concatenate(found, axis=-1) for found in zip(*(parts[decay, group] for group in groups), strict=True)
        ]
        for decay in DECAYS
    }
    print(f"last : first of {DEPTH} hidden layers, geometric mean of {results[5.0][0].shape[1]} seeds")
    print("    λ   at the start   at the end   single samples, at the end   cost at the end")
    for decay in DECAYS:
        of_mean, of_samples, cost = results[decay]
        print(f"{decay:5g}   {10 ** of_mean[0].mean():12.0f}   {10 ** of_mean[-1].mean():10.2f}   "
              f"{10 ** of_samples.mean():26.0f}   {cost.mean():15.3f}")  # fmt: skip
    author = chapter.author(DEPTH)
    author = (author[:, -1] - author[:, 0])[: len(results[5.0][0])]
    print(f"the author's network, λ = 5: {10 ** author[0]:.0f} at the start, {10 ** author[-1]:.0f} at the end")
    drawn, ax = chapter.figure(width=8)
    for decay, color in zip(DECAYS, chapter.LAYERS, strict=False):
        low, middle, high = 10 ** np.quantile(results[decay][0], [0.05, 0.5, 0.95], axis=1)
        ax.semilogy(middle, color=color, label=f"λ = {decay:g}, median and 5-95 % of seeds")
        ax.fill_between(range(len(middle)), low, high, color=color, alpha=0.25, lw=0)
    ax.plot(10**author, color="black", lw=1, label="the author's network, λ = 5")
    ax.axhline(1, color="gray", lw=0.8)
    ax.set(title="How much faster the last hidden layer learns than the first", xlabel="epoch", ylabel="last : first")
    ax.grid(alpha=0.3)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    chapter.write(drawn, args.out, "regularization")


if __name__ == "__main__":
    main()
