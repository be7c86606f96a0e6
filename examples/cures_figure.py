"""The figure of cures.py: a panel for each cure, log10‖δ‖ against the layer, and the accuracy."""

import chapter
import numpy as np
from cures_networks import PATIENT
from cures_table import interval

COLORS = {-1: "#2166ac", 0: "#1a7f37", 1: "#b2182b"}  # the gradient shrinks, is kept, grows
TITLE = "Ten hidden layers: the gradient in each layer before training, and the accuracy after it"
WORDS = ["the gradient", "vanishes", "is kept", "explodes", "the patient"]
LEGEND = dict(zip(WORDS, ["0.2", *COLORS.values(), "0.5"], strict=True))


def panel(ax, name, result, patient):
    """Mean and 5-95 % of the seeds of one cure, with the accuracy; the patient as a grey line."""
    norms, reached, change = result["norms"], result["accuracy"], result["verdict"].total
    layers, color = range(1, len(norms) + 1), COLORS[0 if abs(change) < 2 else int(np.sign(change))]
    if patient is not None:
        ax.plot(layers, patient["norms"].mean(axis=1), color="0.65", lw=2)
    ax.fill_between(layers, *np.percentile(norms, [5, 95], axis=1), color=color, alpha=0.25, lw=0)
    ax.plot(layers, norms.mean(axis=1), color=color, lw=2)
    low, high = interval(reached)
    ax.set_title(name, fontsize="large", color=color, fontweight="bold")
    ax.text(0.96, 0.06, f"{reached.mean():.0f} %", transform=ax.transAxes, ha="right", fontsize=19, color=color)
    ax.text(0.96, 0.24, f"{low:.1f} to {high:.1f}", transform=ax.transAxes, ha="right", color="0.4")
    ax.set_xticks(range(1, len(norms) + 1, 2))
    ax.grid(axis="y", alpha=0.3)


def draw(names, results, out):
    """The panels of all cures, in this order; one that has no result stays empty. The last one is the legend."""
    drawn, axes = chapter.figure(4, 4, width=9.6, height=8.6, sharex=True, sharey=True)
    for name, ax in zip([*names, None], axes.flat, strict=True):
        if name in results:
            panel(ax, name, results[name], results.get(PATIENT))
        else:
            ax.set_axis_off()
    for line, (words, color) in enumerate(LEGEND.items()):
        ax.text(0.5, 0.85 - 0.15 * line, words, transform=ax.transAxes, ha="center", fontsize="large", color=color)
    drawn.suptitle(TITLE)
    drawn.supxlabel("layer, 1 at the input")
    drawn.supylabel("log$_{10}$‖δ‖ (decades)")
    chapter.write(drawn, out, "cures")
