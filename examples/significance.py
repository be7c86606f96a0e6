"""Is a difference of accuracy between two depths significant? The chapter doubts it for 96.57 and 96.53 %.

Sixteen seeds of each depth, trained as in the chapter (30 epochs). The test is exact and written here: the differences
of the seeds are paired, and under the hypothesis that depth does not matter each difference may have either sign. The
p-value is the share of all 2¹⁶ signs whose mean is as far from 0 as the measured one.
"""

import chapter
import numpy as np
from depth_experiment import BOOK_ACCURACY as BOOK

import tinygrad_vg as tg

DEPTHS, SEEDS, EPOCHS, GROUP = (1, 2, 3, 4), 16, 30, 4


def accuracies(case, epochs, images, report=lambda share: False):
    """Validation accuracy in % after the last epoch, (seed,); case = (depth, first seed).

    Each group of seeds has the initial weights and the batches of mnist_depth.py with this seed.
    """
    (depth, first), (images, _, targets) = case, chapter.digits(images)
    new_images, new_labels, _ = chapter.digits(len(images) if len(images) < 10_000 else None, "validation")
    net, rng = chapter.ensemble(depth, range(first, first + GROUP)), np.random.default_rng(first)
    step = chapter.step_of(net, chapter.optimizer(net, len(images)))
    for epoch in range(epochs):
        step.over(rng.permutation(len(images)).reshape(-1, chapter.BATCH), images, targets)
        if report((epoch + 1) / epochs):
            break
    with tg.no_grad():
        return 100 * (np.argmax(net(new_images), axis=-1) == new_labels).mean(axis=-1)


def p_value(differences):
    """Of all signs of the differences, the share whose mean is at least as far from 0: an exact test, two-sided."""
    n = len(differences)
    signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    means = np.abs(signs @ np.asarray(differences, float))
    return np.mean(means >= means[0] * (1 - 1e-12))


def main():
    args = chapter.options(__doc__, quick="8 seeds and one epoch of 5,000 images")
    seeds, epochs, images = (8, 1, 5000) if args.quick else (SEEDS, EPOCHS, None)
    cases = [(depth, first) for depth in sorted(DEPTHS, reverse=True) for first in range(0, seeds, GROUP)]
    results = chapter.in_processes(accuracies, cases, epochs, images)
    found = {depth: np.concatenate([results[depth, first] for first in range(0, seeds, GROUP)]) for depth in DEPTHS}
    print(f"accuracy after {epochs} epochs, {seeds} seeds, mean ± sd (the book's one network)")
    for depth, values in found.items():
        print(f"    {depth} hidden: {values.mean():.2f} ± {values.std(ddof=1):.2f} % ({BOOK[depth]:.2f})")
    print("difference      mean     sd    p, exact    the book's difference")
    for more, less in ((2, 1), (3, 2), (4, 3), (3, 1), (4, 1)):
        d = found[more] - found[less]
        print(f"{more} − {less} hidden   {d.mean():+.3f}  {d.std(ddof=1):.3f}   {p_value(d):.5f}     "
              f"{BOOK[more] - BOOK[less]:+.2f}")  # fmt: skip
    drawn, ax = chapter.figure(width=8)
    for seed in range(seeds):
        ax.plot(DEPTHS, [found[depth][seed] for depth in DEPTHS], color="gray", lw=0.6, alpha=0.5)
    ax.plot([], [], color="gray", lw=0.6, label="one seed")
    means = np.array([values.mean() for values in found.values()])
    errors = np.array([values.std(ddof=1) / seeds**0.5 for values in found.values()])
    ax.errorbar(DEPTHS, means, 2 * errors, fmt="o-", capsize=4, color=chapter.BLUE, label="mean ± 2 standard errors")
    ax.plot(list(BOOK), list(BOOK.values()), "kx", ms=9, label="the book's network")
    ax.set(title=f"Accuracy against depth, {seeds} seeds", xlabel="hidden layers", ylabel="validation accuracy, %",
           xticks=DEPTHS)  # fmt: skip
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    chapter.write(drawn, args.out, "significance")


if __name__ == "__main__":
    main()
