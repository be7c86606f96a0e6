"""How long does the first layer sleep? The epoch of training at which it learns at least half as fast as the last one.

Stochastic gradient descent as in the chapter (50,000 images, mini-batch 10, η = 0.1, λ = 5). ‖δ^l‖ of the first
1,000 images is measured every 50 to 250 steps, 0.01 to 0.05 epochs; a network is awake when last : first is below 2.
"""

import chapter
import numpy as np

import tinygrad_vg as tg

EPOCHS = {2: 0.3, 3: 0.7, 4: 1.8, 5: 5.0, 6: 4.0}  # for how long each depth is trained
SEEDS, EVERY = {2: 100, 3: 100, 4: 100, 5: 30, 6: 5}, {2: 50, 3: 50, 4: 100, 5: 250, 6: 250}  # steps between two looks
GROUP, STEPS = 5, 50_000 // chapter.BATCH  # members in one ensemble; steps in an epoch


def look_of(net):
    """A function that returns log10 of last : first, (seed,), on the first 1,000 images."""
    images, _, targets = chapter.digits(1000)
    biases, cost = [net[0].bias, net[len(net) - 3].bias], tg.nn.BCEWithLogitsLoss("batchmean")
    gradients = tg.compile(lambda x, t: tg.grad(cost(net(x), t), biases), backend=chapter.backend())

    def look():
        first, last = (np.log10(np.linalg.norm(g, axis=-1)) for g in gradients(images, targets))
        return last - first

    return look


def waking(case, seeds, report=lambda share: False):
    """The epoch of waking, (seed,), NaN where it sleeps to the end; case = (depth, first seed), of seeds[depth]."""
    depth, first = case
    epochs, every, seeds = EPOCHS[depth], EVERY[depth], range(first, min(first + GROUP, seeds[depth]))
    images, _, targets = chapter.digits()
    net = chapter.ensemble(depth, seeds)
    step, look = chapter.step_of(net, chapter.optimizer(net, len(images))), look_of(net)
    rng, looks, gaps = np.random.default_rng(first), round(epochs * STEPS / every), []
    for i in range(looks):
        if i * every % STEPS == 0:
            order = rng.permutation(len(images)).reshape(STEPS // every, every, chapter.BATCH)
        gaps.append(look())
        if np.isfinite(first_below(gaps, every)).all() or report(i / looks):  # all are awake
            return first_below(gaps, every)
        step.over(order[i % len(order)], images, targets)
    return first_below([*gaps, look()], every)


def first_below(gaps, every, factor=2.0):
    """The epoch at which the gaps (look, seed) are first below log10 of the factor; NaN where they never are."""
    awake = np.asarray(gaps) < np.log10(factor)
    return np.where(awake.any(axis=0), np.argmax(awake, axis=0) * every / STEPS, np.nan)


def main():
    args = chapter.options(__doc__, quick="4 seeds of 2 and 3 hidden layers")
    seeds = {2: 4, 3: 4} if args.quick else SEEDS
    cases = [(depth, first) for depth in sorted(seeds, reverse=True) for first in range(0, seeds[depth], GROUP)]
    results = chapter.in_processes(waking, cases, seeds)
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
            words = f"{len(found) - len(awake)} of {len(found)} asleep\nafter {EPOCHS[depth]:g} epochs"
            ax.annotate(words, (depth, EPOCHS[depth]), (0, 8), textcoords="offset points", ha="center")
            ax.plot([depth], [EPOCHS[depth]], "^", ms=9, color=chapter.ORANGE)
    ax.set(title="Deeper networks wake up later; with six hidden layers not at all", xlabel="hidden layers",
           ylabel="epoch at which last : first < 2", xticks=sorted(seeds), xlim=(1.5, max(seeds) + 0.5))  # fmt: skip
    ax.set_ylim(top=20)
    chapter.write(drawn, args.out, "time_to_wake")


if __name__ == "__main__":
    main()
