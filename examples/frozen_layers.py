"""Small gradients are no good news: what a network loses when its first layer does not learn.

The chapter asks whether the small gradient of the first layer might mean that this layer needs little adjustment. Here
networks [784, 30, 30, 30, 10] are trained as in the chapter, all layers or one of them frozen at its initial weights.
"""

import sys

import chapter
import initial_gradients as initial
import numpy as np

import tinygrad_vg as tg

SEEDS, EPOCHS = 8, 3
CASES = {"all layers learn": None, "layer 1 frozen": 0, "layer 2 frozen": 2, "layer 3 frozen": 4}


def training(case, seeds=SEEDS, epochs=EPOCHS, report=lambda share: False):
    """Validation accuracy in % after each epoch, (epoch, seed); a frozen layer is left out of the optimizer."""
    images, _, targets = chapter.digits()
    new, labels, _ = chapter.digits(split="validation")
    net = chapter.ensemble(3, range(seeds))
    sgd = chapter.optimizer(net, len(images))
    if CASES[case] is not None:
        frozen = set(net[CASES[case]].parameters())
        for group in sgd.param_groups:
            group["params"] = [p for p in group["params"] if p not in frozen]
    step, rng, accuracies = chapter.step_of(net, sgd), np.random.default_rng(0), []
    for epoch in range(epochs):
        for i, batches in enumerate(np.array_split(rng.permutation(len(images)).reshape(-1, chapter.BATCH), 20)):
            step.over(batches, images, targets)
            if report((epoch + i / 20) / epochs):
                sys.exit(130)
        with tg.no_grad():
            accuracies.append(100 * (np.argmax(net(new), axis=-1) == labels).mean(axis=-1))
    return np.array(accuracies)


def main():
    args = chapter.options(__doc__, quick="2 seeds and one epoch in place of 8 and 3")
    results = chapter.in_processes(training, CASES, *((2, 1) if args.quick else (SEEDS, EPOCHS)))
    speeds = 10 ** initial.norms(3, 50).mean(axis=1)
    print("‖∂C/∂b‖ of the hidden layers at the start: " + ", ".join(f"{speed:.3f}" for speed in speeds))
    seeds = results["all layers learn"].shape[1]
    print(f"validation accuracy after epoch 1, 2, ..., mean of {seeds} seeds; range of the seeds at the end")
    for case in CASES:
        found = results[case]
        print(f"    {case:<17} {', '.join(f'{a:.1f}' for a in found.mean(axis=1))} %; {found[-1].min():.1f} to "
              f"{found[-1].max():.1f} %")  # fmt: skip
    drawn, ax = chapter.figure(width=7)
    places = np.arange(len(CASES))
    finals = np.array([results[case][-1] for case in CASES])
    ax.bar(places, finals.mean(axis=1), color=[chapter.BLUE, chapter.ORANGE, "darkgray", "darkgray"])
    ax.plot(np.repeat(places, seeds), finals.ravel(), "k.", ms=4, label="one seed")
    for place, mean in zip(places, finals.mean(axis=1), strict=True):
        ax.annotate(f"{mean:.1f} %", (place, 3), ha="center", color="white", weight="bold")
    ax.set_xticks(places, CASES)
    ax.set(title="The layer with the smallest gradient has the most to learn", ylim=(0, 112),
           ylabel=f"validation accuracy after {len(results['all layers learn'])} epochs, %")  # fmt: skip
    ax.legend(frameon=False, loc="upper right")
    chapter.write(drawn, args.out, "frozen_layers")


if __name__ == "__main__":
    main()
