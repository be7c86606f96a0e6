"""Activations of a user's own: a subclass is all that it takes for every instrument and picture to know them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder, Ledger, chain_factors, mean_field, mean_field_of

ERF = np.vectorize(math.erf, otypes=[float])


@tg.differentiable(lambda g, y, z: g * 2 / np.sqrt(np.pi) * np.exp(-z * z))
def erf(z: Any) -> Any:
    return ERF(z)


@tg.differentiable(lambda g, y, z: g / np.square(1 + abs(z)))
def softsign(z: Any) -> Any:
    return z / (1 + abs(z))


def swish(z: Any) -> Any:
    return z * tg.ops.sigmoid(z)


class MySigmoid(nn.Sigmoid):
    pass


class MySoftplus(nn.Activation):
    """One operation that no activation of `nn` is made of."""

    function = staticmethod(lambda z: np.logaddexp(z, 0.0))
    symbol = "ζ"
    largest_slope = 1.0


class LeakyReLU(nn.Activation):
    """With an option, so with a forward of its own."""

    symbol = "lrelu"
    largest_slope = 1.0

    def __init__(self, negative_slope: float) -> None:
        self.negative_slope = negative_slope

    def forward(self, z: Any) -> Any:
        return tg.ops.relu(z) - self.negative_slope * tg.ops.relu(-z)


class GELU(nn.Activation):
    """z Φ(z): three operations, one of them a user's."""

    symbol = "gelu"
    largest_slope = 1.1289042

    def forward(self, z: Any) -> Any:
        return z * (1 + erf(z / np.sqrt(2.0))) / 2


class TanhGELU(nn.Activation):
    """The form with tanh, in which an activation of `nn` is one of seven operations."""

    symbol = "gelu"
    largest_slope = 1.1289931

    def forward(self, z: Any) -> Any:
        return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


class SiLU(nn.Activation):
    """z σ(z), given as a function in several operations; it ends in a product, as a layer might."""

    function = staticmethod(swish)
    symbol = "silu"
    largest_slope = 1.0998397


class Softsign(nn.Activation):
    """A function with a rule of its own."""

    function = staticmethod(softsign)
    symbol = "softsign"
    largest_slope = 1.0


class Nameless(nn.Activation):
    """Nothing is said of it: its symbol is φ, and its slopes have no bound."""

    function = staticmethod(np.arctan)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def tanh_gelu_slope(z: Any) -> Any:
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * c * (1 + 3 * 0.044715 * z * z)


@dataclass
class Case:
    make: Callable[[], nn.Module]
    slope: Callable[[Any], Any]
    symbol: str
    function: Any = None  # what a forward may call in its place


CASES = {
    "MySigmoid": Case(MySigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)), "σ"),
    "MySoftplus": Case(MySoftplus, sigmoid, "ζ"),
    "LeakyReLU": Case(lambda: LeakyReLU(0.1), lambda z: np.where(z > 0, 1.0, 0.1), "lrelu"),
    "GELU": Case(GELU, lambda z: (1 + ERF(z / np.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi), "gelu"),
    "TanhGELU": Case(TanhGELU, tanh_gelu_slope, "gelu"),
    "SiLU": Case(SiLU, lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z))), "silu"),
    "Softsign": Case(Softsign, lambda z: 1 / np.square(1 + abs(z)), "softsign", softsign),
    "Nameless": Case(Nameless, lambda z: 1 / (1 + z * z), "φ", np.arctan),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def network(case: Case, width: int = 6, layers: int = 4, seed: int = 0) -> nn.Sequential:
    """Orthogonal weights, so that what is taken the slopes take."""
    return nn.mlp([width] * (layers + 1), case.make, init=nn.init.orthogonal_, rng=seed)


def bare(case: Case, net: nn.Sequential) -> nn.Module:
    """The same network with the function in place of the modules, where there is one."""

    class Bare(nn.Module):
        def __init__(self) -> None:
            self.layers = list(net)[::2]

        def forward(self, x: Any) -> Any:
            for layer in self.layers[:-1]:
                x = case.function(layer(x))
            return self.layers[-1](x)

    return Bare() if case.function else net


def nested(net: nn.Sequential) -> nn.Sequential:
    """The same network of blocks, each of which ends with the activation."""
    blocks = [nn.Sequential(*pair) for pair in zip(list(net)[:-1:2], list(net)[1::2], strict=True)]
    return nn.Sequential(*blocks, net[-1])


def heard(net: Any, **options: bool) -> tuple[Ledger, Any]:
    x = np.random.default_rng(1).normal(size=(5, _inputs(net)))
    with Ledger(net) as ledger:
        y = net(x)
        cost = np.sum(y * np.random.default_rng(2).normal(size=y.shape))
        cost.backward(**options)
    return ledger, cost


def _inputs(net: nn.Module) -> int:
    return int(next(net.parameters()).shape[-1])


def decades(array: Any) -> float:
    return math.log10(np.linalg.norm(array))


def by_hand(case: Case, net: nn.Sequential) -> list[tuple[float, float]]:
    """For each step what the weights and what the slopes take, in NumPy."""
    layers: list[Any] = list(net)[::2]
    a = np.random.default_rng(1).normal(size=(5, _inputs(net)))
    zs = []
    for layer in layers:
        zs.append(a @ layer.weight.data.T + layer.bias.data)
        a = case.make()(zs[-1])
    delta = np.random.default_rng(2).normal(size=zs[-1].shape)
    steps = []
    for z, layer in zip(zs[-2::-1], layers[:0:-1], strict=True):
        u = delta @ layer.weight.data
        below = case.slope(z) * u
        steps.append((decades(u) - decades(delta), decades(below) - decades(u)))
        delta = below
    return steps[::-1]


@pytest.mark.parametrize("options", [{}, {"extended_range": True}], ids=["plain", "extended"])
@pytest.mark.parametrize("as_function", [False, True], ids=["module", "function"])
def test_what_it_takes_are_its_slopes(case: Case, as_function: bool, options: dict[str, bool]) -> None:
    """log10 of ‖φ′(z) ⊙ u‖ / ‖u‖, heard and read; one part with its symbol and bound, though of several operations."""
    net = network(case)
    model = bare(case, net) if as_function else net
    ledger, cost = heard(model, **options)
    for found in (ledger, Ledger.of(model, cost)):
        halves = np.array([(row.weights, row.activation) for row in found])
        assert halves == pytest.approx(np.array(by_hand(case, net)), abs=1e-12)
        for row, split in zip(found, found.split(), strict=True):
            (part,) = row.parts
            assert (part.label, part.symbol, part.is_activation) == (type(net[1]).__name__, case.symbol, True)
            assert part.cap == pytest.approx(math.log10(net[1].largest_slope), abs=1e-15, nan_ok=True)
            assert row.cap == pytest.approx(part.cap, nan_ok=True)
            assert split.saturation == pytest.approx(row.activation - part.cap, abs=1e-15, nan_ok=True)
        assert "σ′ takes" in str(found)
        assert "what lies between" not in str(found)


def test_its_bound_is_the_largest_of_its_slopes(case: Case) -> None:
    """And the slopes by hand are those of the engine."""
    z = np.linspace(-9, 9, 20_001)
    x = tg.Tensor(z, requires_grad=True)
    (slope,) = tg.grad(case.make()(x), x, np.ones_like(z))
    assert slope == pytest.approx(np.where(z == 0, slope, case.slope(z)), abs=1e-12)
    bound = case.make().largest_slope
    if not math.isnan(bound):
        assert bound - 3e-4 <= slope.max() <= bound + 1e-7


def test_its_factors_multiply_to_the_gradient(case: Case) -> None:
    net = network(case, width=1)
    net[0].bias.data = np.array([0.3])
    told = []
    for model in (net, bare(case, net), nested(net)):
        net.zero_grad()
        cost = np.sum(np.square(model(np.full((1, 1), 0.7))))
        told.append(factors := chain_factors(cost, net[0].bias))
        cost.backward()
        assert np.prod([factor.value for factor in factors]) == pytest.approx(net[0].bias.grad.item(), rel=1e-12)
    s = case.symbol
    assert [factor.label for factor in told[0]] == [f"{s}′(z₁)", "w₂", f"{s}′(z₂)", "w₃", f"{s}′(z₃)", "∂C/∂a₃"]
    assert told[0] == told[1] == told[2]
    z = net[0](np.full((1, 1), 0.7)).data
    assert told[0][0].value == pytest.approx(case.slope(z).item(), rel=1e-12)


@pytest.mark.parametrize("form", [lambda case, net: net, bare, lambda case, net: nested(net)])
def test_pictures_know_it(case: Case, form: Callable[[Case, nn.Sequential], nn.Module]) -> None:
    net = network(case, width=3, layers=3)
    model = form(case, net)
    ledger, cost = heard(model)
    layers = tg.draw.layers(model, cost).source
    z = net[0](np.random.default_rng(1).normal(size=(5, 3))).data
    assert f"mean {case.symbol}′ = {tg.draw.style.three_digits(float(case.slope(z).mean()))}" in layers
    assert f"{case.symbol}′ {tg.draw.style.decades(ledger.rows[0].activation)}" in layers
    neurons = tg.draw.neurons(model, cost).source
    assert f"{case.symbol}′(z₁)" in neurons
    assert f"w₂ {case.symbol}′(z₂)" in neurons
    assert tg.draw.graph(cost).source.count(" -> ") > 8


def test_the_graph_of_one_neuron_a_layer_names_its_slope(case: Case) -> None:
    """Where it is one operation. Those of others stand there one by one, and none of them is called φ′(z)."""
    net = nn.Sequential(*nested(network(case, width=1)), nn.Sigmoid())
    cost = np.sum(net(np.ones((1, 1))))
    cost.backward()
    source = tg.draw.graph(cost).source
    if case.symbol in ("σ", "ζ", "softsign", "φ"):
        assert f"{case.symbol}′(z₁) =" in source
        assert "with w₂: " in source
    else:
        assert source.count("′(z") == source.count("σ′(z₄)")
    assert "σ′(z₄) =" in source  # whatever it is made of, it is one activation


def test_theory_takes_it_as_module_class_or_function(case: Case) -> None:
    """The moments of its slope are integrals over a Gaussian, here sums over a fine grid."""
    z = np.linspace(-12, 12, 40_000)
    weights = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    field = mean_field(case.make(), weight_std=1, bias_std=0.5, width=50, depth=3, input_q=1.0)
    q = 1.25
    chi = float(weights @ np.square(case.slope(np.sqrt(q) * z)))
    assert field.chi[0] == pytest.approx(chi, rel=1e-5)
    net = network(case, width=30)
    images = np.random.default_rng(0).normal(size=(4, 30))
    own, other = mean_field_of(net, images), mean_field_of(bare(case, net), images)
    assert own.log10_norm == pytest.approx(other.log10_norm, abs=1e-12)
    if isinstance(make := case.make, type):
        assert mean_field(make, 1, 0.5, 50, 3, 1.0).chi.tolist() == field.chi.tolist()


def test_its_slope_is_drawn(case: Case) -> None:
    from matplotlib.figure import Figure

    ax = tg.plots.slope_curve(case.make(), Figure().subplots())
    curve = next(line for line in ax.lines if len(line.get_xdata()) > 1000)
    z = np.asarray(curve.get_xdata())
    away = z != 0
    assert np.asarray(curve.get_ydata())[away] == pytest.approx(case.slope(z)[away], abs=1e-12)
    (note,) = ax.texts
    assert float(Fraction(note.get_text().removeprefix("largest: "))) == pytest.approx(case.slope(z).max(), rel=5e-3)


def test_a_recorder_measures_the_saturation_that_it_tells(case: Case) -> None:
    net = network(case)
    x = np.random.default_rng(1).normal(size=(5, 6)) * 4
    with GradientRecorder(net, statistics=True) as recorder:
        np.sum(net(x) ** 2).backward()
    history = recorder.history
    assert np.isfinite(history.log10_norm).all()
    assert np.isfinite(history.log10_rms).all()
    if case.symbol == "σ":  # what a subclass inherits
        y = net[:2](x).data
        assert history.saturation[0, 0] == np.mean(abs(y - 0.5) > 0.485) > 0
    else:
        assert np.isnan(history.saturation).all()


def test_an_own_measure_of_saturation_is_recorded() -> None:
    class Hard(LeakyReLU):
        @staticmethod
        def saturated(y: Any) -> Any:
            return y < 0

    net = nn.Sequential(nn.Linear(3, 8, rng=0), Hard(0.1), nn.Linear(8, 1, rng=1))
    x = np.random.default_rng(1).normal(size=(5, 3))
    with GradientRecorder(net, statistics=True) as recorder:
        np.sum(net(x)).backward()
    assert recorder.history.saturation[0, 0] == np.mean(net[0](x).data < 0)
    assert np.isnan(recorder.history.saturation[0, 1])
