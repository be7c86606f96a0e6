"""The verdict: whether the gradient vanishes or explodes on its way to the input, how fast, and by which cause.

The verdict depends on the *rate*, in decades per layer, and not on a magnitude: in Nielsen's network of four hidden
layers the gradient shrinks by 0.7 decades per layer, but a rule such as "vanishing if the mean gradient is below 1e-7"
calls this network healthy.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger import Ledger
from tinygrad_vg.notation import decades, median

# A rate of at most 0.1 decades per layer, a factor of 1.26, counts as stable. The gradient of a network at its critical
# point shrinks a little by the finite width (ReLU at width 10: 0.05); ten layers at this rate lose one decade.
STEADY = 0.1
# The activations of a layer count as saturated if their slopes are more than one decade below the largest slope.
SATURATED = 1.0


@dataclass(frozen=True)
class LayerVerdict:
    """The verdict on the gradient's step to one layer.

    Attributes:
        layer: the layer at which the gradient arrives; 1 is the layer at the input.
        state: "vanishing", "exploding", "stable", "saturated", "dead" or "not computed".
        rate: the change of the norm in this step, in decades; the median for an ensemble.
    """

    layer: int
    state: str
    rate: float


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on the gradient's way to the input; `str(diagnosis)` says it in a sentence.

    Attributes:
        state: the state of the whole network, one of the states in `LayerVerdict`.
        rate: decades per layer, negative if the gradient shrinks towards the input; the median over the members, or
            over the rows of a history.
        interval: the range of the middle 90 % of the members (or rows). For a single one, rate ± 1.645 standard errors
            of the mean over the layers; NaN if there is only one step.
        cause: "activation" or "weights", whichever changes the norm more in the direction of the rate; None if the
            state is stable, dead or not computed, and for a History, which has no accounts.
        weights, activation: the change by each of the two, in decades per layer, medians; NaN for a History.
        layers: the verdict on each step; the step to layer 1 comes first.
        between: the names of the parts between the layers, "Sigmoid".

    >>> from tinygrad_vg.instruments import History, diagnose
    >>> history = History(np.arange(1), (1, 2, 3), ("0", "2", "4"), np.array([[-2.4, -1.7, -1.0]]))
    >>> print(diagnose(history))
    vanishing: −0.70 decades a layer (−0.70 to −0.70)
    >>> [verdict.state for verdict in diagnose(history).layers]
    ['vanishing', 'vanishing']
    """

    state: str
    rate: float
    interval: tuple[float, float]
    cause: str | None
    weights: float
    activation: float
    layers: tuple[LayerVerdict, ...]
    between: str

    def __str__(self) -> str:
        if self.state in ("dead", "not computed"):
            where = ", ".join(str(verdict.layer) for verdict in self.layers if verdict.state == self.state)
            return f"{self.state}: {'no gradient arrives at' if self.state == 'dead' else 'not reached:'} layer {where}"
        low, high = self.interval
        text = f"{self.state}: {decades(self.rate)} decades a layer"
        if math.isfinite(low + high):
            text += f" ({decades(low)} to {decades(high)})"
        if self.cause is None:
            return text
        name = f"the slopes of {self.between} (σ′)" if self.cause == "activation" else "the weights (w)"
        part, other = (self.activation, self.weights) if self.cause == "activation" else (self.weights, self.activation)
        rest = "the weights" if self.cause == "activation" else "what lies between"
        verb = "take" if part < 0 else "give"
        return f"{text}: {name} {verb} {decades(part)}, {rest} {decades(other)}"


def diagnose(source: History | Ledger) -> Diagnosis:
    """Judge how the gradient changes on its way to the input, from a history or from the last backward of a ledger.

    Both may be of one network or of an ensemble. Slice a history to choose backwards and layers:
    `diagnose(history[0, :-1])` judges the first backward without the output layer. Only from a ledger is the cause
    known.

    Raises:
        TypeError: if `source` is neither a History nor a Ledger.
        ValueError: if there are less than two layers, or the history has no rows.
        RuntimeError: if the ledger has heard no backward.

    >>> import numpy as np, tinygrad_vg as tg
    >>> from tinygrad_vg.instruments import Ledger, diagnose
    >>> rng = np.random.default_rng(0)
    >>> net = tg.nn.mlp([30] * 9, rng=rng)
    >>> with Ledger(net) as ledger:
    ...     np.sum(net(rng.normal(size=(50, 30)))).backward()
    >>> diagnosis = diagnose(ledger)
    >>> diagnosis.state, diagnosis.cause
    ('vanishing', 'activation')
    """
    if isinstance(source, History):
        if source.log10_norm.shape[0] == 0:
            raise ValueError("the history holds no steps")
        levels = np.moveaxis(source.log10_norm, 1, 0).reshape(len(source.layers), -1)
        steps = _differences(levels)
        return _judge(source.layers[:-1], steps, np.full_like(steps, np.nan), np.isneginf(levels[:-1]), None, "")
    if isinstance(source, Ledger):
        rows = source.rows
        if not rows:
            raise ValueError("there is one layer and no step between layers; a verdict needs two layers")
        steps, weights = (
            np.array([np.atleast_1d(getattr(row, name)) for row in rows]) for name in ("total", "weights")
        )
        dead = np.array([np.atleast_1d(np.array(row.cause) == "dead") for row in rows])
        between = ", ".join(dict.fromkeys(part.label for row in rows for part in row.parts)) or "nothing"
        saturation = np.array([np.median(row.activation - row.cap) for row in rows])
        return _judge(tuple(row.layer for row in rows), steps, weights, dead, saturation, between)
    raise TypeError(f"diagnose takes a History or a Ledger, not {type(source).__name__}")


def _differences(levels: Any) -> Any:
    """The totals (L−1, samples) of the steps towards the input, from the log10 norms (L, samples) of the layers."""
    if len(levels) < 2:
        raise ValueError("there is one layer and no step between layers; a verdict needs two layers")
    with np.errstate(invalid="ignore"):  # −inf − −inf = NaN: a change from 0 to 0 has no rate
        return levels[:-1] - levels[1:]


def _judge(layers: tuple[int, ...], steps: Any, weights: Any, dead: Any, saturation: Any, between: str) -> Diagnosis:
    """The diagnosis.

    Args:
        layers: the layer of each step.
        steps, weights: `total` and `weights` of each step, in decades, (L−1, samples).
        dead: where δ is 0, (L−1, samples).
        saturation: how far the slopes of each step are from their cap, in decades, (L−1,); None if not known.
        between: as in a Diagnosis.
    """
    medians = [median(step) for step in steps]
    verdicts = tuple(
        LayerVerdict(layer, "dead", -math.inf)
        if 2 * dead[i].sum() > dead[i].size
        else LayerVerdict(layer, _state(rate, -math.inf if saturation is None else -saturation[i]), rate)
        for i, (layer, rate) in enumerate(zip(layers, medians, strict=True))
    )
    finite = np.isfinite(steps).all(axis=0)
    rates = steps[:, finite].mean(axis=0) if finite.any() else np.array([np.nan])
    rate = median(rates)
    own, other = (median(part[:, finite].mean(axis=0)) for part in (weights, steps - weights))
    states = [verdict.state for verdict in verdicts]
    if "dead" in states:
        state = "dead"
    elif not math.isfinite(rate):
        state = "not computed"
    else:
        state = _state(rate, -math.inf if saturation is None else -float(np.median(saturation)))
    cause = None
    if state in ("vanishing", "exploding", "saturated") and math.isfinite(own):
        cause = "weights" if (own < other) == (rate < 0) else "activation"
    return Diagnosis(state, rate, _interval(rates, medians), cause, own, other, verdicts, between)


def _state(rate: float, saturation: float) -> str:
    """The state of a step, or of the whole, from its rate and by how many decades its slopes are below the largest."""
    if math.isnan(rate):
        return "not computed"
    if rate > STEADY:
        return "exploding"
    if rate >= -STEADY:
        return "stable"
    return "saturated" if saturation > SATURATED else "vanishing"


def _interval(rates: Any, steps: list[float]) -> tuple[float, float]:
    if len(rates) > 1:
        low, high = np.quantile(rates, [0.05, 0.95])
        return float(low), float(high)
    if len(steps) < 2 or not np.isfinite(steps).all():
        return math.nan, math.nan
    error = 1.645 * float(np.std(steps, ddof=1)) / math.sqrt(len(steps))
    return float(rates[0]) - error, float(rates[0]) + error
