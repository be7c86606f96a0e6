"""What cures_over_time.py shows: a figure, a table, and a sentence on each network."""

import chapter
import numpy as np
from over_time_tasks import NETWORKS, TASKS, TRAINED

PARTS = ("W_hh", "Tanh", "output gate", "gates", "cell state", "update gate")


def lines(ax, color, name, result, when):
    """Draw ‖∂C/∂h_t‖ against t, relative to that of the last step: median, and band from 5 to 95 %."""
    norms = result[f"{when}: norms"] - result[f"{when}: norms"][-1]
    low, median, high = np.percentile(norms, [5, 50, 95], axis=1)
    t = range(1, len(norms) + 1)
    ax.fill_between(t, low, high, color=color, alpha=0.2, lw=0)
    ax.plot(t, median, color=color, label=name)
    ax.set_xlabel("t")


def bars(ax, color, name, result, when):
    """Draw the parts of a time step as bars, losses downwards and gains upwards, with a mark at their sum."""
    ends, ax.use_sticky_edges = {True: 0.0, False: 0.0}, False  # leave a margin at the bars' ends
    name = name.replace(" ", "\n")
    for shade, part in enumerate(PARTS, 4):
        decades = np.mean(result.get(f"{when}: {part}", 0))
        ax.bar(name, decades, 0.7, ends[decades > 0], color=f"C{shade}", label=part)
        ends[decades > 0] += decades
    ax.plot(name, sum(ends.values()), "D", color="black", label="sum")


def draw(results, out):
    """Draw gradients against t at initialization and after training, and the parts of a time step."""
    words = {lines: "decades of ‖∂C/∂h$_t$‖ : ‖∂C/∂h$_T$‖", bars: "decades of each part per time step"}
    panels = [(lines, task, "start") for task in TASKS] + [(lines, task, "after") for task in TRAINED]
    panels += [(bars, task, "after") for task in TRAINED] + [(bars, task, "start") for task in TASKS]
    drawn, axes = chapter.figure(4, -(-len(panels) // 4), width=12, height=9.5)
    for ax, (artist, task, when) in zip(axes.flat, panels, strict=False):
        ax.set_title(f"{task}, {'after training' if when == 'after' else 'at the start'}")
        if ax.get_subplotspec().is_first_col() or (artist is bars and when == "after"):
            ax.set_ylabel(words[artist])
        for i, name in enumerate(NETWORKS):
            if f"{when}: norms" in results.get((task, name), {}):
                artist(ax, f"C{i}", name, results[task, name], when)
        if not ax.has_data():  # --quick leaves tasks out
            ax.set_axis_off()
    named = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawn.legend(named.values(), named, loc="outside lower center", ncols=-(-len(named) // 2), frameon=False)
    chapter.write(drawn, out, "cures_over_time")


def tell(results):
    """Print a table, decades and their parts for each task and network; then a sentence for each network."""
    said = {}
    print("decades from h_T to h_1, median (5 to 95 %); of a time step: mean decades of its parts")
    for task, name in ((task, name) for task in TASKS for name in NETWORKS if (task, name) in results):
        result = results[task, name]
        low, median, high = np.percentile(result["start: total"], [5, 50, 95])
        parts = [f"{part} {np.mean(result[f'start: {part}']):+.2f}" for part in PARTS if f"start: {part}" in result]
        print(f"{task:11}{name:10}{median:+6.1f} ({low:+.1f} to {high:+.1f})".ljust(46), ", ".join(parts))
        said.setdefault(name, []).append(f"{median:+.1f} decades on {task}")
        if "score" in result:
            score, decades = result["score"], np.median(result["after: total"])
            solved, errors = np.sum(score < result["always 1"] / 2), ", ".join(f"{s:.4f}" for s in score)
            learnt = f"MSE {errors}, {solved} of {len(score)} below half of {result['always 1']:.3f}"
            if task == "digits":
                learnt = f"{100 * score.mean():.1f} % of new digits right"
            said[name][-1] += f" ({decades:+.1f} after {result['steps']} steps of training; {learnt})"
    for name, words in said.items():
        print(f"{name}: from the last state to the first the gradient changes by {', by '.join(words)}.")
