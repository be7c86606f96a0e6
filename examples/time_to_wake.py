"""How long does the first layer sleep? The epoch of training at which it learns at least half as fast as the last one.

Stochastic gradient descent as in the chapter (50,000 images, mini-batch 10, η = 0.1, λ = 5). The gap is the mean of
log10 of last : first over 50 recorded mini-batches in a row, one in every two steps; a network is awake when
the gap is below a factor of 2 for the first time.
"""

import chapter
import numpy as np

from tinygrad_vg.instruments import GradientRecorder

EPOCHS = {2: 0.5, 3: 1.2, 4: 3.0, 5: 8.0, 6: 8.0}  # for how long each depth is trained
SEEDS = {2: 100, 3: 100, 4: 100, 5: 40, 6: 8}
GROUP, EVERY, WINDOW = 10, 2, 50  # members in one ensemble; steps from one record to the next; records in a mean
STEPS = 50_000 // chapter.BATCH  # in an epoch


def waking(case, report=lambda share: False):
    """The epoch of waking of each seed, (seed,), NaN where it sleeps to the end; case = (depth, seeds, epochs)."""
    depth, seeds, epochs = case
    images, _, targets = chapter.digits()
    net = chapter.ensemble(depth, seeds)
    step = chapter.step_of(net, chapter.optimizer(net, len(images)))
    rng, total = np.random.default_rng(seeds[0]), round(epochs * STEPS)
    with GradientRecorder(net, every=EVERY) as recorder:
        for i in range(total):
            if i % STEPS == 0:
                order = rng.permutation(len(images)).reshape(STEPS, chapter.BATCH)
            step(images.take(order[i % STEPS], axis=0), targets.take(order[i % STEPS], axis=0))
            if i % 200 == 0 and report(i / total):
                break
    decades = recorder.history.log10_norm
    return first_below(decades[:, -2] - decades[:, 0])


def first_below(gaps, factor=2.0):
    """The epoch at which the running mean of the gaps (record, seed) is first below log10 of the factor; or NaN."""
    sums = np.cumsum(np.vstack([np.zeros(gaps.shape[1]), gaps]), axis=0)
    awake = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW < np.log10(factor)
    middle = (np.argmax(awake, axis=0) + WINDOW / 2) * EVERY / STEPS
    return np.where(awake.any(axis=0), middle, np.nan)


def main():
    args = chapter.options(__doc__, quick="4 seeds of 2 and 3 hidden layers")
    seeds = {2: 4, 3: 4} if args.quick else SEEDS
    cases = [(depth, tuple(range(begin, min(begin + GROUP, seeds[depth]))), EPOCHS[depth])
             for depth in sorted(seeds, reverse=True) for begin in range(0, seeds[depth], GROUP)]  # fmt: skip
    results = chapter.in_processes(waking, cases)
    drawn, ax = chapter.figure(width=8)
    print("hidden  seeds  epoch of waking, median (5-95 %)   asleep at the end")
    for depth in sorted(seeds):
        found = np.concatenate([results[case] for case in cases if case[0] == depth])
        awake = found[np.isfinite(found)]
        low, middle, high = np.quantile(awake, [0.05, 0.5, 0.95]) if len(awake) else [np.nan] * 3
        print(f"{depth:6}  {len(found):5}  {middle:10.2f} ({low:.2f} to {high:.2f})   "
              f"{len(found) - len(awake):11} of {len(found)} after {EPOCHS[depth]:g} epochs")  # fmt: skip
        jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(found))
        ax.semilogy(depth + jitter[np.isfinite(found)], awake, "o", ms=4, alpha=0.5, color=chapter.BLUE)
        if len(awake) < len(found):
            ax.annotate(f"{len(found) - len(awake)} of {len(found)} asleep\nafter {EPOCHS[depth]:g} epochs",
                        (depth, EPOCHS[depth]), (0, 6), textcoords="offset points", ha="center", color=chapter.ORANGE,
                        )  # fmt: skip
            ax.plot([depth], [EPOCHS[depth]], "^", ms=9, color=chapter.ORANGE)
    ax.set(title="Deeper networks wake up later; with six hidden layers not at all", xlabel="hidden layers",
           ylabel="epoch at which last : first < 2", xticks=sorted(seeds))  # fmt: skip
    ax.set_ylim(top=20)
    ax.grid(alpha=0.3)
    chapter.write(drawn, args.out, "time_to_wake")


if __name__ == "__main__":
    main()
