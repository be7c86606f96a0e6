"""Figures of a report, as SVG that stands inside a page."""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg import draw, plots
from tinygrad_vg.extras import install
from tinygrad_vg.study.again import Start
from tinygrad_vg.study.state import Result
from tinygrad_vg.study.svg import inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE = "#1f5fa8"


def ladder(start: Start) -> str:
    """The gradients at the start, against the layer."""
    theory = start.theory
    if theory is not None and len(theory.layers) > 1:
        theory = theory[:-1]
    return _svg("ladder", lambda ax: plots.ladder(_hidden(start.history), ax, theory=theory))


def blame(start: Start) -> str:
    """What weights and activations do to the gradient at the start."""
    return _svg("blame", lambda ax: plots.blame(start.ledger, ax))


def learning_speed(result: Result, steps: int) -> str:
    """The gradients over the training."""
    return _svg("speed", lambda ax: plots.learning_speed(_hidden(result.history), ax, steps))


def heat_map(result: Result, steps: int) -> str:
    """The same, with a row for each layer."""
    return _svg("heat", lambda ax: plots.heat_map(_hidden(result.history), ax, steps))


def graph(start: Start) -> str | None:
    """The network by layers; None where there is no program that lays graphs out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layers.svg")
        try:
            draw.save(draw.layers(start.net, start.ledger), path)
        except RuntimeError:
            return None
        return inline("graph", path.read_text(encoding="utf-8"))


def accuracy(series: dict[str, list[Result]], book: dict[int, float]) -> str:
    """Accuracy after the last epoch against the number of hidden layers: each seed, and means with two standard errors.

    Args:
        series: trials that differ in their sizes only, by what they have in common.
        book: the book's accuracies by depth.
    """

    def painted(ax: "Axes") -> None:
        for place, (name, results) in enumerate(series.items()):
            ordered = sorted(results, key=_depth)
            depths = np.array([_depth(result) for result in ordered], float) + 0.06 * (place - (len(series) - 1) / 2)
            last = [100 * result.accuracy[-1] for result in ordered]
            means = np.array([values.mean() for values in last])
            errors = np.array([0 if len(v) < 2 else 2 * v.std(ddof=1) / len(v) ** 0.5 for v in last])
            color = _BLUE if len(series) == 1 else None
            line = ax.errorbar(depths, means, errors, fmt="o-", capsize=4, ms=4, color=color, label=name)
            for x, values in zip(depths, last, strict=True):
                ax.plot(np.full(len(values), x - 0.03), values, ".", ms=4, alpha=0.5, color=line.lines[0].get_color())
        if book:
            ax.plot([*book], [100 * share for share in book.values()], "kx", ms=8, mew=2, label="the book's network")
        ax.set(xlabel="hidden layers", ylabel="validation accuracy, %")
        ax.set_xticks(sorted({_depth(result) for results in series.values() for result in results}))
        ax.grid(alpha=0.3)
        _zoom(ax, [result for results in series.values() for result in results])
        if len(series) > 1 or book:
            ax.legend(frameon=False, fontsize="small")

    return _svg("accuracy", painted)


def _zoom(ax: "Axes", results: Sequence[Result]) -> None:
    """Show the accuracies above half of the best one, and count the other seeds at the lower edge.

    Where trials have the same depth, all accuracies are shown.
    """
    last = {_depth(result): 100 * result.accuracy[-1] for result in results}
    every = np.concatenate([100 * result.accuracy[-1] for result in results])
    high = every[every > every.max() / 2]
    if len(high) == len(every) or len(last) < len(results):
        return
    margin = max(0.15 * np.ptp(high), 0.1)
    ax.set_ylim(high.min() - 2 * margin, min(high.max() + margin, 100.0))
    ax.margins(x=0.1)
    for depth, values in last.items():
        if len(low := values[values <= every.max() / 2]):
            words = f"{len(low)} of {len(values)}:\n{low.mean():.1f} %"
            ax.annotate(words, (depth, 0.01), xycoords=("data", "axes fraction"), ha="center", fontsize="small")


def _depth(result: Result) -> int:
    return len(result.trial.sizes) - 2


def _hidden(history: Any) -> Any:
    """Without the output layer, whose size is another one."""
    return history[:, :-1] if len(history.layers) > 1 else history


def _svg(name: str, paint: Callable[["Axes"], Any]) -> str:
    """A figure of 5.8 × 4 inches, with text as text: smaller than as outlines, and it can be searched and read aloud.

    Raises:
        ModuleNotFoundError: if Matplotlib is missing; the message names the extra that installs it.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a report needs Matplotlib: {install('report')} installs it") from error
    figure, file = Figure(figsize=(5.8, 4), layout="constrained"), io.StringIO()
    paint(figure.subplots())
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return inline(name, file.getvalue())


def series_of(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by what is different between them beside sizes and seeds, in words."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, value in result.trial.settings.items():
            values.setdefault(name, set()).add(str(value))
    differing = [name for name, found in values.items() if len(found) > 1 and name not in ("sizes", "seeds")]
    series: dict[str, list[Result]] = {}
    for result in results:
        told = ", ".join(f"{name}={getattr(result.trial, name)}" for name in differing)
        series.setdefault(told or "mean ± 2 standard errors", []).append(result)
    return series
