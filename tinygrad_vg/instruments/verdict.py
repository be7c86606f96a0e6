"""The verdict: how a gradient changes on its way to the input, how much that matters, and what is to blame.

A verdict is based on the decades of the *whole way* and not on a magnitude. Nielsen's network of four hidden layers
loses 2.7 decades; a rule such as "vanishing if the mean gradient is below 1e-7" would call it healthy.
"""

from dataclasses import dataclass

from tinygrad_vg.instruments.dying import Dying
from tinygrad_vg.instruments.naming import Named
from tinygrad_vg.notation import decades
from tinygrad_vg.tables import Sentence

# Borders for the decades of the whole way at initialization, which tell what plain SGD can train. They were chosen for
# two sets of 80 networks (sigmoid, tanh, ReLU, softplus; 1 to 30 hidden layers) that were trained at the best of 3 to 5
# learning rates:
#                     < 1     1-2     2-3     > 3
#     learns        61       32      11       1
#     does not       0        1       7      47
# tests/benchmarks/trainability.py measures this on other networks.
KEEPS, MILD, AT_RISK = 1.0, 2.0, 3.0
# A step that changes the gradient by fewer decades keeps it: 0.1 is a factor of 1.26. A network at criticality loses
# some decades by its finite width (ReLU at width 10: 0.05 a layer), and ten layers at this rate lose one decade.
STEADY = 0.1
# Activations count as saturated if their slopes are so many decades below the largest slope.
SATURATED = 1.0

FORECASTS = {
    None: "trains",
    "mild": "trains with a suitable learning rate",
    "at risk": "may not train with plain SGD",
    "severe": "does not train with plain SGD",
}
BROKEN_STATES = ("dead", "no gradient", "underflow", "not finite", "not computed")


@dataclass(frozen=True)
class LayerVerdict:
    """The state of the gradient in its step to one layer.

    Attributes:
        layer: the layer at which the gradient arrives; 1 is the layer at the input.
        state: "shrinking", "growing", "stable", "saturated" (it shrinks because the slopes are far below the largest),
            or a state without a number: "dead", "no gradient", "underflow", "not finite", "not computed".
        rate: decades of this step; the median for an ensemble.

    >>> import numpy as np
    >>> from tinygrad_vg.instruments import History, diagnose
    >>> diagnose(History(np.arange(1), (1, 2), ("0", "2"), np.array([[-2.0, -1.0]]))).layers
    (LayerVerdict(layer=1, state='shrinking', rate=-1.0),)
    """

    layer: int
    state: str
    rate: float


@dataclass(frozen=True, repr=False)
class Diagnosis(Sentence):
    """How the gradient changes on its way to the input; `str` says it in a sentence.

    At initialization it is a forecast, such as "vanishing, severe". For gradients that explode, the borders hold at the
    best learning rate: if the gradient grows by two decades, the rate has to be smaller by two. For a trained network
    it is a description, "shrinking" or "growing", because many networks with such gradients have learned well. Where
    the decades would be "at risk" or "severe" at initialization, the sentence says that there is no forecast.

    Attributes:
        state: one of the following.
            "vanishing", "exploding": at initialization; "shrinking", "growing": of a trained network.
            "stable": `total` and `span` are below 1 decade.
            "uneven": only `total` is below 1 decade: the gradient falls and rises again, or rises and falls.
            "unsure": members or steps differ in direction.
            "dying": at initialization, the decades are below 2 but many random draws are born dead (`dying`).
            "dead", "no gradient", "underflow", "not finite", "not computed": no gradient can be judged. "no gradient"
            is of one backward, "dead" of several.
        rate: decades a step, negative if the gradient shrinks towards the input; the median over members, or over
            the steps of a history.
        interval: of the rate, from 5 to 95 % of the members or steps; for a single network ± 1.645 standard errors of
            the mean of its steps, NaN if there is only one step.
        cause: "activation" or "weights", whichever changes the gradient more in the direction of the rate; "width" if
            the state is "dying"; None if there is no direction, or for a History, which has no causes.
        weights, activation: the decades a step of each, medians; NaN for a History.
        layers: a verdict for each step, layer 1 first.
        between: the modules between the layers, such as "Sigmoid".
        total: decades of the whole way, from the last layer to the first; with "underflow" as far as there are
            numbers; −inf if no gradient arrives; NaN if it is not known.
        span: decades between the largest and the smallest ‖δ‖ of all layers.
        severity: of the larger of |total| and span: None (below 1), "mild" (below 2), "at risk" (below 3), "severe". It
            is "at risk" or more if `dying` is not None and a gradient could be judged. It is None for time steps, where
            it would depend on how far back the task reaches.
        named: parts of layers that stand out, the worst first; or only the layer in which the gradient is lost.
        at_start: whether the network is at its initialization, so that there is a `forecast`.
        steps: the number of steps on the way; with "underflow", of those that have numbers.
        unit: "layer"; "step" if a module between two layers has layers inside; "time step" for a recurrent layer;
            "block" for modules that a bridge takes as units.
        slopes: whether only activations lie between the layers, so that `activation` is the part of the slopes.
        samples: the number of members, or of steps times members, over which the medians are taken.
        dying: how many random draws of this architecture are born dead, at initialization; None if they are few, if the
            theory does not apply, or for a History.

    >>> import numpy as np
    >>> from tinygrad_vg.instruments import History, diagnose
    >>> diagnosis = diagnose(History(np.arange(1), (1, 2), ("0", "2"), np.array([[-4.5, -1.0]])))
    >>> diagnosis.state, diagnosis.severity, diagnosis.total, diagnosis.is_ill
    ('vanishing', 'severe', -3.5, True)
    >>> diagnosis.forecast
    'does not train with plain SGD'
    """

    state: str
    rate: float
    interval: tuple[float, float]
    cause: str | None
    weights: float
    activation: float
    layers: tuple[LayerVerdict, ...]
    between: str
    total: float
    span: float
    severity: str | None
    named: tuple[Named, ...]
    at_start: bool
    steps: int
    unit: str
    slopes: bool
    samples: int
    dying: Dying | None = None

    @property
    def forecast(self) -> str | None:
        """Whether plain SGD can train this network, in words; None for a network that is not at its initialization."""
        if not self.at_start or self.state in BROKEN_STATES or self.unit == "time step":
            return None
        return FORECASTS[self.severity]

    @property
    def is_ill(self) -> bool:
        """Whether the network cannot learn as it is, or, at initialization, most likely will not."""
        if self.state in ("dead", "underflow", "not finite"):
            return True
        return self.at_start and self.severity == "severe"

    def __str__(self) -> str:
        if self.state in BROKEN_STATES and self.state != "underflow":
            texts = [_broken(self)]
        else:
            texts = [_way(self), _blame(self), _standing_out(self), _no_forecast(self)]
        texts.insert(2, str(self.dying or ""))
        return "; ".join(text for text in texts if text)


def severity_of(decades: float) -> str | None:
    """How much a change of the gradient by this number of decades matters.

    >>> [severity_of(x) for x in (0.9, 1.9, 2.9, 3.1)]
    [None, 'mild', 'at risk', 'severe']
    """
    return next((name for name, border in ((None, KEEPS), ("mild", MILD), ("at risk", AT_RISK)) if decades < border),
                "severe")  # fmt: skip


def _broken(diagnosis: Diagnosis) -> str:
    """The sentence for a gradient that cannot be judged."""
    hit = [verdict.layer for verdict in diagnosis.layers if verdict.state == diagnosis.state]
    unit = diagnosis.unit if diagnosis.unit in ("time step", "block") else "layer"
    where = f"{unit} {hit[0]}" if len(hit) == 1 else f"{unit}s {hit[0]} to {hit[-1]}" if hit else f"{unit} 1"
    named = diagnosis.named[0] if diagnosis.named else None
    if diagnosis.state == "not computed":
        return f"not computed: the backward did not reach {where}"
    if diagnosis.state == "not finite":
        return f"not finite: {named or 'the gradient'}"
    reason = ""
    if named is not None:
        one = named.part == "cost"
        reason = ": the cost gives none" if one else f": {'all ' * (named.part == 'slopes')}{_bare(named)} are 0"
        if named.part == "weights" and diagnosis.state == "no gradient":
            return f"no gradient before the first step{reason}"
    when = "in this backward arrives" if diagnosis.state == "no gradient" else "arrives"
    prefix = "dead: " if diagnosis.state == "dead" else ""
    return f"{prefix}no gradient {when} at {where}{reason}"


def _bare(named: Named) -> str:
    return str(named) if named.part == "weights" else str(named).removeprefix("the ")


def _way(diagnosis: Diagnosis) -> str:
    """State, severity, and the decades of the whole way."""
    word = diagnosis.state
    if diagnosis.at_start and diagnosis.severity and diagnosis.state != "underflow":
        word += f", {diagnosis.severity}"
    rate = f"{decades(diagnosis.rate)} a {diagnosis.unit}"
    if diagnosis.samples > 1:
        rate += ", {} to {}".format(*map(decades, diagnosis.interval))
    plural = "s" * (diagnosis.steps != 1)
    steps = f"{'time ' * (diagnosis.unit == 'time step')}step{plural}"
    text = f"{word}: {decades(diagnosis.total, 1)} decades over {diagnosis.steps} {steps} ({rate})"
    if diagnosis.state == "uneven":
        text += f", {decades(diagnosis.span, 1).removeprefix('+')} between its largest and its smallest"
    if diagnosis.state == "underflow":
        text += ", and below that the numbers of its type end: extended_range=True goes on"
    return text


def _blame(diagnosis: Diagnosis) -> str:
    """The part of the sentence that names the cause."""
    if diagnosis.cause in (None, "width"):
        return ""
    part = diagnosis.steps * (diagnosis.weights if diagnosis.cause == "weights" else diagnosis.activation)
    if diagnosis.cause == "weights":
        name = "the blocks" if diagnosis.unit == "block" else "the weights"
    elif not diagnosis.slopes:
        name = f"what lies between ({diagnosis.between})"
    else:
        states = [verdict.state for verdict in diagnosis.layers]
        saturated = "saturated " * (2 * states.count("saturated") > len(states))
        name = f"the {saturated}slopes of {diagnosis.between} (σ′)"
    verb = ("take" if part < 0 else "give") + "s" * (diagnosis.cause == "activation" and not diagnosis.slopes)
    return f"{name} {verb} {decades(part, 1)}"


def _standing_out(diagnosis: Diagnosis) -> str:
    return ", ".join(named.comparison for named in diagnosis.named[:1])


def _no_forecast(diagnosis: Diagnosis) -> str:
    """Why there is no forecast, where the same decades have a bad one at initialization."""
    has_none = not diagnosis.at_start and diagnosis.state not in BROKEN_STATES
    return "trained already: no forecast" if has_none and diagnosis.severity in ("at risk", "severe") else ""
