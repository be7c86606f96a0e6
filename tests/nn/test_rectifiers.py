"""GELU, SiLU, LeakyReLU, ELU, SELU and the softmaxes: precise values and slopes, their facts, members, and PyTorch."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, ops
from tinygrad_vg.engine import normal


def gelu_tanh(z: Any) -> Any:
    u = mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf(0.044715) * z**3)
    return z / (1 + mpmath.exp(-2 * u))


# The activation, and the same in many digits.
EXACT: dict[str, tuple[Any, Any]] = {
    "gelu": (nn.GELU(), lambda z: z * mpmath.ncdf(z)),
    "gelu by tanh": (nn.GELU("tanh"), gelu_tanh),
    "silu": (nn.SiLU(), lambda z: z / (1 + mpmath.exp(-z))),
    "elu": (nn.ELU(0.7), lambda z: z if z > 0 else mpmath.mpf(0.7) * mpmath.expm1(z)),
    "leaky": (nn.LeakyReLU(0.3), lambda z: z if z > 0 else mpmath.mpf(0.3) * z),
    "selu": (
        nn.SELU(),
        lambda z: ops.selu(1.0).item() * (z if z > 0 else mpmath.mpf(normal_alpha()) * mpmath.expm1(z)),
    ),
}
every_activation = pytest.mark.parametrize("name", EXACT)


def normal_alpha() -> float:
    """SELU's α, from its value far below 0, −λ α."""
    return float(-ops.selu(-1e3) / ops.selu(1.0))


def slopes(layer: Any, z: Any) -> Any:
    tensor = tg.Tensor(z, requires_grad=True)
    return tg.grad(np.sum(layer(tensor)), tensor)[0]


def grid(dtype: Any) -> Any:
    """Between the ends of exp(z) and of exp(−z²/2), dense in the middle; not where a slope is about 0."""
    far = np.concatenate([np.linspace(-36, 36, 31), np.linspace(-4, 4, 31)]) / (1 if dtype == np.float64 else 3)
    return far[(far != 0) & (abs(far + 0.75) > 0.3) & (abs(far + 1.28) > 0.2)].astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@every_activation
def test_values_and_slopes_are_exact_far_out(name: str, dtype: Any) -> None:
    layer, truth = EXACT[name]
    z = grid(dtype)
    if name == "gelu by tanh":
        z = z[abs(z) < (18 if dtype == np.float64 else 8)]
    y, slope = layer(z), slopes(layer, z)
    assert (y.dtype, slope.dtype) == (dtype, dtype)
    # The cube in the exponent of the approximation has an error of some hundred of its units.
    tolerance = np.finfo(dtype).eps * (3000 if name == "gelu by tanh" else 12)
    with mpmath.workdps(60):
        for x, value, first in zip(z, y, slope, strict=True):
            exact, exact_slope = truth(mpmath.mpf(float(x))), mpmath.diff(truth, mpmath.mpf(float(x)), h=1e-20)
            assert abs(value / exact - 1) < tolerance, x
            assert abs(first / exact_slope - 1) < tolerance, x


def test_the_distribution_of_the_normal_is_exact_to_a_few_units() -> None:
    z = np.concatenate([np.linspace(-38.4, 9, 200), -np.geomspace(1e-10, 38, 60)])
    with mpmath.workdps(40):
        exact = [mpmath.ncdf(mpmath.mpf(x)) for x in z]
        units = [abs(mpmath.mpf(y) - e) / np.spacing(float(e))
                 for y, e in zip(ops.normal_cdf(z).tolist(), exact, strict=True)]  # fmt: skip
    assert max(units) < 5
    assert ops.normal_cdf(np.array([-np.inf, np.inf])).tolist() == [0, 1]
    assert np.isnan(ops.normal_cdf(np.nan))
    assert abs(ops.normal_cdf(0) - 0.5) < 2e-16


def test_the_coefficients_of_mills_ratio_are_those_of_its_chebyshev_series() -> None:
    """(1 + a) m(a) at 40 Chebyshev points, in 40 digits; the series is cut off and written in powers of t."""
    n, terms = 40, len(normal.MILLS)
    with mpmath.workdps(40):
        angles = [mpmath.pi * (2 * j + 1) / (2 * n) for j in range(n)]
        values = []
        for angle in angles:
            a = 5 * (1 + mpmath.cos(angle)) / (1 - mpmath.cos(angle))
            values.append((1 + a) * mpmath.ncdf(-a) / mpmath.npdf(a))
        series = [2 * sum(v * mpmath.cos(i * t) for v, t in zip(values, angles, strict=True)) / n for i in range(terms)]
        series[0] /= 2
        assert abs(2 * sum(v * mpmath.cos(terms * t) for v, t in zip(values, angles, strict=True)) / n) < 2e-17
    in_powers = np.polynomial.chebyshev.cheb2poly([float(c) for c in series])
    np.testing.assert_allclose(normal.MILLS, in_powers, rtol=0, atol=1e-11)


@every_activation
def test_far_out_no_slope_is_nan(name: str) -> None:
    layer, _ = EXACT[name]
    with np.errstate(over="ignore", invalid="ignore"):  # in their sum
        found = slopes(layer, np.array([-np.inf, -1e200, 1e200, np.inf]))
    assert found[1:3].tolist() == [layer.negative_slope if name == "leaky" else 0, ops.selu(1) if name == "selu" else 1]
    assert np.isfinite(found).all()


@every_activation
def test_no_slope_is_larger_than_the_largest(name: str) -> None:
    layer, _ = EXACT[name]
    found = np.abs(slopes(layer, np.concatenate([np.linspace(-30, 30, 6001), np.linspace(1, 3, 20001), [-1e-15]])))
    assert found.max() <= layer.largest_slope * (1 + 1e-15)
    assert found.max() == pytest.approx(layer.largest_slope, rel=1e-8)


def test_the_largest_slopes_are_where_the_second_derivative_is_0() -> None:
    of_silu = 2 * (2 * nn.SiLU.largest_slope - 1)
    for layer, z in ((nn.GELU(), math.sqrt(2)), (nn.SiLU(), of_silu)):
        tensor = tg.Tensor(z, requires_grad=True)
        (slope,) = tg.grad(layer(tensor), tensor, create_graph=True)
        assert slope.item() == pytest.approx(layer.largest_slope, rel=1e-15)
        assert abs(tg.grad(slope, tensor)[0]) < 1e-15
    assert of_silu * math.tanh(of_silu / 2) == pytest.approx(2, rel=1e-15)


@pytest.mark.parametrize(
    "layer",
    [nn.LeakyReLU(), nn.LeakyReLU(0.06), nn.LeakyReLU(0.0), nn.LeakyReLU(20.0), nn.ELU(), nn.ELU(0.5), nn.ELU(3.0)],
    ids=repr,
)
def test_saturated_is_where_the_slope_is_below_six_percent_of_the_largest(layer: Any) -> None:
    z = np.linspace(-8, 8, 4001)
    share = np.abs(slopes(layer, z)) / layer.largest_slope
    is_clear = np.abs(share - 0.06) > 1e-3
    found = layer.saturated(layer(z))
    assert found.dtype == bool
    assert np.array_equal(found[is_clear], (share < 0.06)[is_clear])
    assert found[share < 1e-3].all()


@pytest.mark.parametrize("layer", [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.LeakyReLU(-0.1), nn.ELU(-1.0)], ids=repr)
def test_where_y_does_not_tell_the_slope_nobody_says_so(layer: Any) -> None:
    """On a curve that turns, one y belongs to two z with different slopes."""
    assert layer.saturated(np.zeros(3)) is None
    rises = np.diff(layer(np.linspace(-8, 8, 4001))) > 0
    assert rises.any()
    assert not rises.all()


def test_selu_keeps_mean_and_variance() -> None:
    """Of N(0, 1), by an integral; these two conditions are what α and λ are made of."""
    z = np.linspace(-12, 12, 240_001)
    y, weight = ops.selu(z), ops.normal_pdf(z) * (z[1] - z[0])
    assert abs(np.sum(y * weight)) < 1e-9
    assert np.sum(y * y * weight) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("kind", [nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.SELU])
def test_ledgers_and_compiled_steps_take_them(kind: Any, rng: np.random.Generator) -> None:
    net = nn.mlp([4, 5, 5, 2], kind, rng=0)
    x = rng.normal(size=(6, 4))
    ledger = tg.instruments.Ledger.of(net, np.sum(net(x)))
    assert [row.parts[0].label for row in ledger] == [kind.__name__] * 2
    assert all(row.activation <= row.cap for row in ledger)
    compiled = tg.compile(lambda x: tg.grad(np.sum(net(x)), [*net.parameters()]), backend="numpy")
    for scale in (1, 2):
        for one, two in zip(compiled(scale * x), tg.grad(np.sum(net(scale * x)), [*net.parameters()]), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-15)


# Softmax.


@pytest.mark.parametrize("axis", [-1, -2])
def test_softmax_is_its_formula_with_or_without_members(rng: np.random.Generator, axis: int) -> None:
    z, g = tg.Tensor(rng.normal(size=(3, 4, 5)), requires_grad=True), rng.normal(size=(3, 4, 5))
    p = np.exp(z.data) / np.exp(z.data).sum(axis=axis, keepdims=True)
    for layer, value in ((nn.Softmax(axis), p), (nn.LogSoftmax(axis), np.log(p))):
        y = nn.stack([layer, layer, layer])(z)
        np.testing.assert_allclose(y.data, value, rtol=1e-13)
        (gradient,) = tg.grad(y, z, g)
        for i in range(3):
            own = tg.Tensor(z.data[i], requires_grad=True)
            np.testing.assert_allclose(tg.grad(layer(own), own, g[i])[0], gradient[i], rtol=1e-12, atol=1e-15)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="counts from the end"):
        nn.Softmax(1)
    with pytest.raises(ValueError, match='"none" or "tanh"'):
        nn.GELU("erf")


# ModuleList and register_buffer.


def test_a_module_list_is_a_list_of_modules() -> None:
    layers = [nn.Linear(2, 2, rng=seed) for seed in range(4)]
    found = nn.ModuleList(layers[:1]).append(layers[2]).extend(layers[3:])
    found.insert(1, layers[1])
    assert [*found] == layers
    assert len(found) == 4
    assert found[-1] is layers[3]
    assert [*found[1:3]] == layers[1:3]
    found[-1] = layers[0]
    assert found[3] is layers[0]
    assert list(nn.ModuleList(layers).state_dict())[:3] == ["0.weight", "0.bias", "1.weight"]
    for attempt in (lambda: nn.ModuleList([1]), lambda: found.append(np.tanh), lambda: found.__setitem__(0, None)):
        with pytest.raises(TypeError, match="ModuleList takes modules"):
            attempt()
    with pytest.raises(IndexError):
        found[4]
    with pytest.raises(TypeError, match=r"has no forward\(\)"):
        found(np.ones(2))


def test_a_registered_buffer_is_saved() -> None:
    net = nn.Module()
    net.register_buffer("mean", np.zeros(2))
    net.register_buffer("nothing", None)
    assert isinstance(net.mean, nn.Buffer)  # type: ignore[attr-defined]
    assert list(net.state_dict()) == ["mean"]
    assert net.nothing is None  # type: ignore[attr-defined]


# PyTorch.

TWINS: dict[str, tuple[Any, Any]] = {
    "GELU": ({}, {}), "GELU by tanh": ({"approximate": "tanh"},) * 2, "SiLU": ({}, {}), "LeakyReLU": ({}, {}),
    "LeakyReLU 0.3": ({"negative_slope": 0.3},) * 2, "ELU": ({}, {}), "ELU 0.3": ({"alpha": 0.3},) * 2,
    "SELU": ({}, {}), "Softmax": ({}, {"dim": -1}), "LogSoftmax": ({"axis": -2}, {"dim": 0}),
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("name", TWINS)
def test_activations_are_those_of_pytorch(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    kind, (own, others) = name.split()[0], TWINS[name]
    z, g = np.concatenate([rng.normal(scale=3, size=(6, 8)), np.zeros((1, 8))]), rng.normal(size=(7, 8))
    ours, theirs = tg.Tensor(z, requires_grad=True), torch.tensor(z, requires_grad=True)
    y, twin = getattr(nn, kind)(**own)(ours), getattr(torch.nn, kind)(**others)(theirs)
    y.backward(g)
    twin.backward(torch.tensor(g))
    np.testing.assert_allclose(y.data, twin.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-12, atol=1e-14)
