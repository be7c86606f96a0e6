"""Exploding gradients in a training: the early layers move, the later ones are stuck.

The chapter's recipe for its exploding chain, in networks with 8 hidden layers: large weights (× 24 between hidden
layers) and biases −Σw/2, which put every z near 0, where σ′ is 1/4. Beside it: Nielsen's initial weights, and weights
× 5, with which gradients neither vanish nor explode.
"""

import chapter
import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder

DEPTH, SEEDS, STEPS = 8, 8, 2000
KINDS = {"Nielsen's initial weights": None, "centred, weights × 5": 5.0, "centred, weights × 24": 24.0}


def networks(kind, seeds=SEEDS):
    """An ensemble; with a gain, weights between hidden layers are multiplied by it, and biases centre each z."""
    nets = [tg.nn.mlp(chapter.sizes(DEPTH), dtype=np.float32, rng=seed) for seed in range(seeds)]
    for net in nets if KINDS[kind] else ():
        for layer in list(net)[2:-1:2]:
            layer.weight.data = np.float32(KINDS[kind]) * layer.weight.data
            layer.bias.data = -layer.weight.data.sum(axis=1) / 2
    return tg.nn.stack(nets)


def training(kind, steps=STEPS, seeds=SEEDS, report=lambda share: False):
    """Of a training: log10‖∂C/∂b‖ and log10(‖ΔW‖/‖W‖) (record, layer), means of seeds; the accuracy, (seed,)."""
    images, _, targets = chapter.digits()
    net = networks(kind, seeds)
    step = chapter.step_of(net, tg.optim.SGD(net.parameters(), lr=chapter.ETA))
    batches = np.random.default_rng(0).permutation(len(images))[: steps * chapter.BATCH].reshape(steps, -1)
    with GradientRecorder(net, every=max(1, steps // 200), statistics=True) as recorder:
        for i, batch in enumerate(batches):
            step(images[batch], targets[batch])
            if i % 100 == 0 and report(i / steps):
                break
    new, labels, _ = chapter.digits(split="validation")
    with tg.no_grad():
        accuracy = (np.argmax(net(new), axis=-1) == labels).mean(axis=-1)
    history = recorder.history[:, :-1]
    return history.log10_norm.mean(axis=2), history.log10_update.mean(axis=2), accuracy


def main():
    args = chapter.options(__doc__, quick="300 steps of training in place of 2,000")
    steps = 300 if args.quick else STEPS
    results = chapter.in_processes(training, KINDS, steps)
    drawn, axes = chapter.figure(2, width=9, height=4.8)
    for (kind, (decades, updates, accuracy)), color in zip(results.items(), chapter.LAYERS, strict=False):
        print(f"{kind}, {DEPTH} hidden layers, {steps} steps, {len(accuracy)} seeds: accuracy {accuracy.mean():.1%} "
              f"({accuracy.min():.1%} to {accuracy.max():.1%})")  # fmt: skip
        late = np.mean(updates[1:], axis=0)
        print("    log10‖∂C/∂b‖ at the start:", *np.round(decades[0], 2))
        print("    log10(‖ΔW‖/‖W‖) of a step:", *np.round(late, 2))
        axes[0].plot(range(1, DEPTH + 1), decades[0], "o-", color=color, label=kind)
        axes[1].plot(range(1, DEPTH + 1), late, "o-", color=color)
    axes[0].set(title="Gradient at the start", xlabel="layer (1 = input side)", ylabel="log$_{10}$‖∂C/∂b‖ (decades)")
    axes[1].set(title=f"Change of the weights in a step, {steps} steps", xlabel="layer (1 = input side)",
                ylabel="log$_{10}$(‖ΔW‖ / ‖W‖)")  # fmt: skip
    for ax in axes:
        ax.grid(alpha=0.3)
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    chapter.write(drawn, args.out, "exploding_training")


if __name__ == "__main__":
    main()
