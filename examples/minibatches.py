"""Are mini-batches "much noisier (albeit very similar, when you average away the noise)" than full batches?

500 steps on the first 1,000 images with two hidden layers, with all images and with mini-batches of 10, from the same
initial weights. The length ‖δ‖ of a mini-batch contains the noise of its ten images; the length of the mean gradient of
50 mini-batches in a row contains little of it.
"""

import chapter
import numpy as np

from tinygrad_vg.instruments import GradientRecorder

DEPTH, SEEDS, STEPS, WINDOW, GROUP, BATCHES = 2, 20, 500, 50, 10, (1000, 10)


def gradients(case, steps=STEPS, report=lambda share: False):
    """∂C/∂b of the hidden layers, each (step, seed, neuron); case = (size of the mini-batches, seeds)."""
    (batch, seeds), (images, _, targets) = case, chapter.digits(1000)
    net = chapter.ensemble(DEPTH, seeds)
    step, rng = chapter.step_of(net, chapter.optimizer(net, len(images))), np.random.default_rng(0)
    with GradientRecorder(net, values=True) as recorder:
        for i in range(steps):
            if i * batch % len(images) == 0:
                order = rng.permutation(len(images)) if batch < len(images) else np.arange(len(images))
            chosen = order[i * batch % len(images) :][:batch]
            step(images[chosen], targets[chosen])
            if i % 10 == 0 and report(i / steps):
                break
    return recorder.history.values[:-1]


def speeds(of_layer, window=WINDOW):
    """log10 of ‖δ‖ in two ways, (window, seed): the mean of the decades, and the length of the mean gradient."""
    of_layer = np.asarray(of_layer, np.float64)[: len(of_layer) // window * window]
    parts = of_layer.reshape(-1, window, *of_layer.shape[1:])  # (window, step, seed, neuron)
    decades = np.log10(np.linalg.norm(parts, axis=-1))
    return decades.mean(axis=1), np.log10(np.linalg.norm(parts.mean(axis=1), axis=-1)), decades.std(axis=1)


def main():
    args = chapter.options(__doc__, quick="4 seeds in place of 20")
    groups = chapter.groups(4 if args.quick else SEEDS, GROUP)
    parts = chapter.in_processes(gradients, [(batch, group) for batch in BATCHES for group in groups])
    results = {
        batch: [np.concatenate(layer, axis=1) for layer in zip(*(parts[batch, group] for group in groups), strict=True)]
        for batch in BATCHES
    }
    drawn, axes = chapter.figure(2, width=9, height=5, sharey=True)
    print(f"decades, mean of seeds; windows of {WINDOW} steps: first, second, last")
    for layer, ax in enumerate(axes):
        found = {batch: speeds(results[batch][layer]) for batch in results}
        for name, values in (("all images", found[1000][0]), ("mini-batches, mean of decades", found[10][0]),
                             ("mini-batches, length of the mean", found[10][1])):  # fmt: skip
            means = values.mean(axis=1)
            print(f"    layer {layer + 1}, {name:<33} {means[0]:.2f}, {means[1]:.2f}, {means[-1]:.2f}")
            ax.plot((np.arange(len(means)) + 0.5) * WINDOW, means, "o-", label=name)
        noise = [found[batch][2][-1].mean() for batch in (1000, 10)]
        print(f"    layer {layer + 1}, spread of the steps at the end: all images {noise[0]:.3f}, ten {noise[1]:.3f}")
        ax.set(title=f"Layer {layer + 1} of {DEPTH} hidden layers", xlabel="step")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("log$_{10}$‖∂C/∂b‖ (decades)")
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    chapter.write(drawn, args.out, "minibatches")


if __name__ == "__main__":
    main()
