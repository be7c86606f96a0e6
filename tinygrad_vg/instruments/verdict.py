"""The verdict: what becomes of a gradient on its way to the input, how much that matters, and what is to blame.

It is based on the decades of the *whole way* and not on a magnitude: Nielsen's network of four hidden layers loses 2.7
decades, and a rule such as "vanishing if the mean gradient is below 1e-7" calls it healthy.
"""

from dataclasses import dataclass

from tinygrad_vg.instruments.dying import Dying
from tinygrad_vg.instruments.naming import Named
from tinygrad_vg.notation import decades
from tinygrad_vg.tables import Sentence

# Borders for the decades of the whole way at initialization, which tell what plain SGD can train. They were fixed on
# two sets of 80 networks (sigmoid, tanh, ReLU, softplus; 1 to 30 hidden layers) that were trained at the best of 3 to 5
# learning rates:
#                     < 1     1-2     2-3     > 3
#     learns        61       32      11       1
#     does not       0        1       7      47
# tests/benchmarks/trainability.py measures this on other networks.
KEEPS, MILD, AT_RISK = 1.0, 2.0, 3.0
# Decades a step that count as keeping the gradient: a factor of 1.26. A network at criticality loses some by its
# finite width (ReLU at width 10: 0.05), and ten layers at this rate lose one decade.
STEADY = 0.1
# Decades below the largest slope from which the activations of a layer count as saturated.
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
        layer: the layer that it arrives at; 1 is the input side.
        state: "shrinking", "growing", "stable", "saturated" (shrinking by slopes far below their largest), or one of
            the states without a number: "dead", "no gradient", "underflow", "not finite", "not computed".
        rate: decades of this step; the median for an ensemble.
    """

    layer: int
    state: str
    rate: float


@dataclass(frozen=True, repr=False)
class Diagnosis(Sentence):
    """What becomes of the gradient on its way to the input; `str` says it in a sentence.

    At initialization it is a forecast, such as "vanishing, severe". For gradients that explode, its borders hold for
    the best learning rate: a gradient that grows by two decades needs a rate that is smaller by two. For a trained
    network it is a description, "shrinking" or "growing", because many networks with such gradients have learned well.

    Attributes:
        state: at initialization "vanishing", "exploding"; of a trained network "shrinking", "growing". "stable" if
            `total` and `span` are below 1 decade; "uneven" if only `total` is: the gradient falls and rises again, or
            the other way round; "unsure" if members or steps differ in direction; "dying" if, at initialization, the
            decades are below 2 but many fresh draws are born dead (`dying`). And if no gradient can be judged: "dead"
            (no gradient in several backwards), "no gradient" (in the only backward), "underflow", "not finite", "not
            computed".
        rate: decades a step, negative where the gradient shrinks towards the input: the median over members, or
            over steps of a history.
        interval: of the rate, from 5 to 95 % of the members (or steps); for a single one ± 1.645 standard errors of
            its steps' mean, NaN if it has only one.
        cause: "activation" or "weights", whichever takes (or gives) more in the direction of the rate; "width" where
            the state is "dying"; None if there is no direction, or for a History, which has no causes.
        weights, activation: decades a step that each takes, medians; NaN from a History.
        layers: a verdict for each step, layer 1 first.
        between: the modules between the layers, such as "Sigmoid".
        total: decades of the whole way, from the last layer to the first; with "underflow" as far as there are
            numbers, −inf where no gradient arrives, NaN where it is not known.
        span: decades between the largest and the smallest ‖δ‖ of all layers.
        severity: of the larger of |total| and span: None (below 1), "mild" (below 2), "at risk" (below 3), "severe";
            "at risk" or more where `dying` is not None and a gradient could be judged. None over time steps: how much
            it matters there depends on how far back the task reaches, and was not measured.
        named: parts of layers that stand out, the worst first; or only the layer in which the gradient is lost.
        at_start: whether the network is at its initialization, so that there is a `forecast`.
        steps: the number of steps on the way; with "underflow", of those that have numbers.
        unit: "layer", or "step" where something between two layers holds several of its own, or "time step" of a
            recurrent layer.
        slopes: whether only activations lie between the layers, so that their part is that of slopes.
        samples: the number of members, or of steps times members, that the medians are taken over.
        dying: how many random draws of this architecture are born dead, at initialization; None if they are few, if the
            theory does not apply, or from a History.
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
        """What plain SGD can achieve with this network, at initialization; else None."""
        if not self.at_start or self.state in BROKEN_STATES or self.unit == "time step":
            return None
        return FORECASTS[self.severity]

    @property
    def is_ill(self) -> bool:
        """Whether something is wrong for certain, or, at initialization, in all likelihood."""
        if self.state in ("dead", "underflow", "not finite"):
            return True
        return self.at_start and self.severity == "severe"

    def __str__(self) -> str:
        if self.state in BROKEN_STATES and self.state != "underflow":
            texts = [_broken(self)]
        else:
            texts = [_way(self), _blame(self), _standing_out(self)]
        texts.insert(2, str(self.dying or ""))
        return "; ".join(text for text in texts if text)


def severity_of(decades: float) -> str | None:
    """How much a change of the gradient by so many decades matters.

    >>> [severity_of(x) for x in (0.9, 1.9, 2.9, 3.1)]
    [None, 'mild', 'at risk', 'severe']
    """
    return next((name for name, border in ((None, KEEPS), ("mild", MILD), ("at risk", AT_RISK)) if decades < border),
                "severe")  # fmt: skip


def _broken(diagnosis: Diagnosis) -> str:
    """The sentence for a way without a number."""
    hit = [verdict.layer for verdict in diagnosis.layers if verdict.state == diagnosis.state]
    unit = "time step" if diagnosis.unit == "time step" else "layer"
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
        name = "the weights"
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
