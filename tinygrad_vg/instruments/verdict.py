"""The verdict: whether a gradient vanishes or explodes on its way to the input, how fast, and what is to blame.

It goes by the *rate*, decades a layer, and not by a magnitude: Nielsen's network of four hidden layers loses 0.7
decades a layer, and a rule such as "vanishing if the mean gradient is below 1e-7" calls it healthy.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger import Ledger
from tinygrad_vg.notation import decades, median

# Decades a layer that count as keeping the gradient: a factor of 1.26. A network at criticality loses some by its
# finite width (ReLU at width 10: 0.05), and ten layers at this rate lose one decade.
STEADY = 0.1
# Decades below the largest slope from which the activations of a layer count as saturated.
SATURATED = 1.0


@dataclass(frozen=True)
class LayerVerdict:
    """What becomes of the gradient on its step to one layer.

    Attributes:
        layer: the layer that it arrives at; 1 is the input side.
        state: "vanishing", "exploding", "stable", "saturated", "dead" or "not computed".
        rate: decades of this step; the median for an ensemble.
    """

    layer: int
    state: str
    rate: float


@dataclass(frozen=True)
class Diagnosis:
    """What becomes of the gradient on its way to the input; `str` says it in a sentence.

    Attributes:
        state: of the whole network, one of the states of a layer.
        rate: decades a layer, negative where the gradient shrinks towards the input: the median over members, or
            over steps of a history.
        interval: from 5 to 95 % of the members (or steps); for a single one ± 1.645 standard errors of its layers'
            mean, NaN if it has only one.
        cause: "activation" or "weights", whichever takes (or gives) more in the direction of the rate; None if the
            rate is steady, or nobody kept accounts (a History knows no causes).
        weights, activation: decades a layer that each takes, medians; NaN from a History.
        layers: a verdict for each step, layer 1 first.
        between: the modules between the layers, "Sigmoid".
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
    """Judge a recorded history, or the last backward in a ledger, of one network or of an ensemble.

    Slice a history first to choose its steps and layers: `diagnose(history[0, :-1])` is the start of training
    without the output layer. Only a ledger can name the cause.

    Raises:
        TypeError: for anything else.
        ValueError: with less than two layers, or a history without steps.

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
            raise ValueError("one layer has no step to judge; a verdict needs two")
        steps, weights = (
            np.array([np.atleast_1d(getattr(row, name)) for row in rows]) for name in ("total", "weights")
        )
        dead = np.array([np.atleast_1d(np.array(row.cause) == "dead") for row in rows])
        between = ", ".join(dict.fromkeys(part.label for row in rows for part in row.parts)) or "nothing"
        saturation = np.array([np.median(row.activation - row.cap) for row in rows])
        return _judge(tuple(row.layer for row in rows), steps, weights, dead, saturation, between)
    raise TypeError(f"diagnose takes a History or a Ledger, not {type(source).__name__}")


def _differences(levels: Any) -> Any:
    """From each layer's log10 norms (L, samples) the steps towards the input (L−1, samples)."""
    if len(levels) < 2:
        raise ValueError("one layer has no step to judge; a verdict needs two")
    with np.errstate(invalid="ignore"):  # −inf − −inf: nothing arrived, nothing is known
        return levels[:-1] - levels[1:]


def _judge(layers: tuple[int, ...], steps: Any, weights: Any, dead: Any, saturation: Any, between: str) -> Diagnosis:
    """The verdicts from each step's decades, the weights' part in them, and where δ is 0, all (L−1, samples)."""
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
    """The state of a step, or of all of them, from its decades and how far its slopes lie below their largest."""
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
