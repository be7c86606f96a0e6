"""How the layers' speeds of learning change: 500 epochs of full-batch descent, 40 seeds, the author's curves on top.

For every layer the script prints the share of epochs at which the author's curve is within the band from 5 to 95 % of
the seeds; 85 % and more count as agreement. It also counts in how many networks with two hidden layers the first one is
slower than the second "through it all".
"""

import chapter
import numpy as np

DEPTHS, SEEDS, EPOCHS, BAR, GROUP = (2, 3, 4), 40, 500, 0.85, 20


def speeds(case, epochs, report=lambda share: False):
    """log10‖δ^l‖ of the hidden layers, (epoch, layer, seed); case = (depth, seeds)."""
    return chapter.descent(*case, epochs, report=report)[0]


def band(decades):
    """5 %, 50 % and 95 % of the seeds, each (epoch, layer)."""
    return np.quantile(decades, [0.05, 0.5, 0.95], axis=2)


def within(decades, author):
    """The share of epochs, for each layer, at which the author's curve is within the band of the seeds."""
    low, _, high = band(decades)
    author = author[: len(decades)]
    return ((low <= author) & (author <= high)).mean(axis=0)


def always_slower(decades):
    """In how many networks the first layer is slower than the last at every epoch."""
    return int((decades[:, 0] < decades[:, -1]).all(axis=0).sum())


def main():
    args = chapter.options(__doc__, quick="8 seeds and 60 epochs in place of 40 and 500")
    seeds, epochs = (8, 60) if args.quick else (SEEDS, EPOCHS)
    groups = chapter.groups(seeds, GROUP)
    parts = chapter.in_processes(speeds, [(depth, group) for depth in DEPTHS[::-1] for group in groups], epochs)
    results = {depth: np.concatenate([parts[depth, group] for group in groups], axis=2) for depth in DEPTHS}
    drawn, axes = chapter.figure(3, width=10.5, height=5, sharey=True)
    for ax, depth in zip(axes, DEPTHS, strict=True):
        decades, author = results[depth], chapter.author(depth)[:epochs]
        print(f"{depth} hidden layers, {seeds} seeds, {len(decades)} epochs:")
        for layer, share in enumerate(within(decades, author)):
            print(f"    layer {layer + 1}: the author's curve is within the band at {share:.1%} of the epochs"
                  + ("" if share >= BAR else f": less than {BAR:.0%}"))  # fmt: skip
        drop = (decades[0] - decades.min(axis=0)).mean(axis=1)
        rise = (decades[-1] - decades.min(axis=0)).mean(axis=1)
        print(f"    the speeds fall by {', '.join(f'{x:.2f}' for x in drop)} decades and rebound by "
              f"{', '.join(f'{x:.2f}' for x in rise)}")  # fmt: skip
        print(f"    the first layer is slower than the last at every epoch in {always_slower(decades)} of {seeds}")
        gap = decades[-1, -1] - decades[-1, 0]
        print(f"    last : first at the end {10 ** gap.mean():.2f} (geometric mean), author's "
              f"{10 ** (author[-1, -1] - author[-1, 0]):.2f}")  # fmt: skip
        low, _, high = band(decades)
        for layer in reversed(range(depth)):
            color = chapter.LAYERS[layer]
            ax.fill_between(range(len(decades)), low[:, layer], high[:, layer], color=color, alpha=0.3, lw=0)
            ax.plot(author[:, layer], color=color, lw=1.6)
        ax.set(title=f"{depth} hidden layers", xlabel="epoch")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("log$_{10}$‖∂C/∂b‖ (decades)")
    for layer in range(4):
        axes[-1].plot([], [], color=chapter.LAYERS[layer], lw=6, alpha=0.5, label=f"layer {layer + 1}, 1 = input side")
    axes[-1].plot([], [], color="black", label="line: the author's network")
    axes[-1].fill_between([], [], color="gray", alpha=0.4, label=f"band: 5-95 % of {seeds} seeds")
    drawn.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    chapter.write(drawn, args.out, "learning_speed")


if __name__ == "__main__":
    main()
