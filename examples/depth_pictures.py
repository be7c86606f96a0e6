"""The pictures of examples/mnist_depth.py: accuracy against depth, the gradients at the start, and their course."""

import depth_conclusion
import depth_experiment
import numpy as np
from depth_files import save_picture

from tinygrad_vg import plots

COLUMNS = 3  # panels of learning speeds in a row
BLUE, ORANGE, GRAY = "#1f5fa8", "#d9730d", "#777777"


def draw(results, args, origin):
    """Draw all pictures of the results that there are."""
    import matplotlib

    matplotlib.use("Agg")
    depths = sorted({depth for _, depth in results})
    colors = dict(zip(depths, matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(depths))), strict=True))
    figures = {"ladder": ladders(results, colors)}
    if panels_of(results):
        figures["learning_speed"] = learning_speeds(results)
    if depth_conclusion.final(results, args):
        figures["accuracy"] = accuracy(results, args)
    for name, figure in figures.items():
        save_picture(figure, name, args, origin)


def ladders(results, colors):
    """The gradients at the start against the layer, with a theory line where there is a theory."""
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for depth, color in colors.items():
        if ("descent", depth) in results:
            result = results["descent", depth]
            theory = None if result["theory"] is None else result["theory"][:-1]
            plots.ladder(result["initial"][:, :-1], ax, f"{depth} hidden", color, theory=theory)
    return figure


def learning_speeds(results):
    """The learning speeds of the hidden layers during descent and training, on one scale, with one legend."""
    import matplotlib
    from matplotlib import pyplot

    rows = panels_of(results)
    size = len(rows), max(map(len, rows))
    figure, axes = pyplot.subplots(*size, squeeze=False, sharey=True, layout="constrained",
                                   figsize=(8.5, 1.0 + 2.4 * size[0]))  # fmt: skip
    shades = matplotlib.colormaps["plasma"](np.linspace(0, 0.9, max(depth for row in rows for _, depth in row)))
    for row, keys in zip(axes, rows, strict=True):
        for ax, key in zip(row, keys, strict=False):
            result, depth = results[key], key[1]
            plots.learning_speed(result["history"][:, :-1], ax, result["steps_per_epoch"], shades[:depth])
            if ax.get_legend():
                ax.get_legend().remove()
            ax.set(title=f"{key[0]}, {depth} hidden layers", xlabel="epoch", ylabel="")  # a step of descent is an epoch
        for ax in row[len(keys) :]:
            ax.remove()
    figure.supylabel("log$_{10}$‖∂C/∂b‖ (decades)", size="medium")
    members = results[rows[0][0]]["history"].log10_norm.shape[2]
    name_lines(figure, axes.flat, f"mean of {members} seeds; band: 5-95 % of them" if members > 1 else None)
    return figure


def panels_of(results):
    """The keys of the recorded courses of networks with two and more hidden layers, in rows of panels."""
    shown = [key for key in sorted(results) if key[1] > 1 and "history" in results[key]]
    parts = [[key for key in shown if key[0] == name] for name in ("descent", "training")]
    return [part[i : i + COLUMNS] for part in parts for i in range(0, len(part), COLUMNS)]


def name_lines(figure, panels, title):
    """One legend for all panels: each line and mark once, layer 1 first."""
    handles = {}
    for ax in panels:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    names = sorted(handles, key=lambda name: (not name.startswith("layer"), len(name), name))
    figure.legend([handles[name] for name in names], names, loc="outside lower center", title=title, frameon=False,
                  ncols=min(6, len(names)))  # fmt: skip


def accuracy(results, args):
    """Validation accuracy against depth, with intervals; depths with a seed near chance have a part of their own."""
    from matplotlib import pyplot

    accuracies, (share, limit) = depth_conclusion.final(results, args), depth_conclusion.chance(results)
    book = depth_experiment.BOOK_ACCURACY if depth_experiment.has_accuracies_of_book(args) else {}
    high = [depth for depth, values in accuracies.items() if values.min() > limit]
    split = 0 < len(high) < len(accuracies)
    figure, axes = pyplot.subplots(1 + split, squeeze=False, sharex=True, figsize=(8, 5), layout="constrained",
                                   height_ratios=[3, 1][: 1 + split])  # fmt: skip
    for ax in axes.flat:  # the upper part has no line that leaves it: it would look like an interval
        drawn = {depth: accuracies[depth] for depth in (high if split and ax is axes[0, 0] else accuracies)}
        for seed, values in enumerate(zip(*drawn.values(), strict=True)):
            beside = np.array([*drawn]) - 0.08
            ax.plot(beside, values, ".", ms=6, color=ORANGE, label=None if seed else "one seed")
        spread(ax, drawn)
        ax.grid(alpha=0.3)
    if shown := [depth for depth in book if depth in accuracies]:
        axes[0, 0].plot(shown, [book[depth] for depth in shown], "kx", ms=8, mew=2, label="the book's network")
    axes[-1, 0].axhline(share, ls="--", lw=1, color=GRAY)
    axes[-1, 0].annotate("chance", (1, share), (4, 0), ("axes fraction", "data"), "offset points", va="center",
                         size="small", annotation_clip=True)  # fmt: skip
    axes[-1, 0].set(xlabel="hidden layers", xticks=list(accuracies))
    axes[-1, 0].margins(x=0.1)
    if split:
        zoom(axes[0, 0], [accuracies[depth] for depth in high], [book[depth] for depth in shown])
        axes[1, 0].set(ylim=(0, 100), yticks=(0, 50, 100))
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.supylabel(f"validation accuracy after {args.epochs} epochs, %", size="medium")
    axes[0, 0].set_title(depth_conclusion.headline(results, args))
    return figure


def spread(ax, accuracies):
    """Means over the seeds and the intervals of the means."""
    means = [values.mean() for values in accuracies.values()]
    halves = [depth_conclusion.half_width(values) for values in accuracies.values()]
    seeds = len(next(iter(accuracies.values())))
    label = f"mean of {seeds} seeds, {depth_conclusion.LEVEL:.0%} interval" if seeds > 1 else None
    ax.errorbar(list(accuracies), means, np.nan_to_num(halves), fmt="o-", color=BLUE, ms=5, capsize=4, label=label)


def zoom(ax, shown, others):
    """Choose the limits for accuracies that are close together: their intervals, all seeds, and the book's."""
    halves = [np.nan_to_num(depth_conclusion.half_width(values)) for values in shown]
    ends = [values.mean() + sign * half for values, half in zip(shown, halves, strict=True) for sign in (-1, 1)]
    values = np.concatenate([*shown, ends, others])
    margin = 0.08 * np.ptp(values) or 1.0
    ax.set_ylim(values.min() - margin, min(values.max() + margin, 100 + margin))
