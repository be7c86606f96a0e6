"""Mean-field theory: its figures, its quadrature, and what ensembles of networks measure.

Statistical tests draw from fixed seeds. Their intervals are at least 4 standard errors wide on each side, and
where the theory itself is approximate, by what it is said to be off.
"""

import math
from itertools import pairwise
from statistics import NormalDist

import mpmath
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import erf

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder
from tinygrad_vg.instruments.theory import critical_weight_std, mean_field, mean_field_of

CRITICAL_TANH = dict(weight_std=math.sqrt(1.76095), bias_std=math.sqrt(0.05))
IMAGES, LABELS = (part[:1000].copy() for part in tg.datasets.mnist("train"))
PER_DECADE = math.log(10)


def elu(z):
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def silu(z):
    return z * tg.ops.sigmoid(z)


# --- Quadrature -------------------------------------------------------------------------------------------


def mp_sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


# φ and φ′, as mpmath has them.
EXACT = {
    nn.Sigmoid: (mp_sigmoid, lambda z: mp_sigmoid(z) * mp_sigmoid(-z)),
    nn.Tanh: (mpmath.tanh, lambda z: mpmath.sech(z) ** 2),
    nn.ReLU: (lambda z: max(z, 0), lambda z: int(z > 0)),
    elu: (lambda z: z if z > 0 else mpmath.expm1(z), lambda z: mpmath.exp(min(z, 0))),
}


def exact_moment(function, power, q):
    """E[f(√q z)^power] by mpmath, in panels around the kink and the narrow middle."""
    middle = [c / math.sqrt(q) for c in (0.5, 1, 2, 4, 8, 16, 32) if c / math.sqrt(q) < 12]
    ends = [-12, *(-c for c in reversed(middle)), 0, *middle, 12]
    return mpmath.quad(lambda z: function(mpmath.sqrt(q) * z) ** power * mpmath.npdf(z), ends)


@pytest.mark.parametrize("activation", EXACT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("q", [1e-6, 1.3, 50.0, 1e4])
def test_quadrature_is_exact_for_narrow_slopes_and_for_a_kink_at_zero(activation, q):
    value, derivative = EXACT[activation]
    second, slope, fourth = (exact_moment(f, p, q) for f, p in ((value, 2), (derivative, 2), (derivative, 4)))
    prediction = mean_field(activation, 1, 0, width=30, depth=2, input_q=q)
    assert prediction.q[1] == pytest.approx(float(second), rel=1e-12)
    assert prediction.chi[0] == pytest.approx(float(slope), rel=1e-12)
    assert prediction.kappa[0] == pytest.approx(float(3 * fourth / slope**2 - 1), rel=1e-11)


@pytest.mark.parametrize("q", [1e-6, 1.3, 50.0, 1000.0])
def test_quadrature_of_an_oscillation(q):
    prediction = mean_field(np.sin, 1, 0, width=30, depth=2, input_q=q)
    slope, fourth = (1 + math.exp(-2 * q)) / 2, (3 + 4 * math.exp(-2 * q) + math.exp(-8 * q)) / 8
    assert prediction.q[1] == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-12)
    assert prediction.chi[0] == pytest.approx(slope, rel=1e-12)
    assert prediction.kappa[0] == pytest.approx(3 * fourth / slope**2 - 1, rel=1e-11)


def hermite(function, q, nodes=200):
    z, weights = hermegauss(nodes)
    return weights @ function(math.sqrt(q) * z) / math.sqrt(2 * math.pi)


def test_gauss_hermite_agrees_where_its_points_are_dense_enough_and_fails_elsewhere():
    def chi(q):
        return mean_field(np.tanh, 1, 0, width=30, depth=2, input_q=q).chi[0]

    assert hermite(lambda z: np.cosh(z) ** -4, 1.3) == pytest.approx(chi(1.3), rel=1e-9)
    assert hermite(lambda z: np.cosh(z) ** -4, 50.0) < 0.85 * chi(50.0)


def test_a_kink_elsewhere_costs_no_more_than_one_percent():
    for q in np.logspace(-1, 4, 40):
        prediction = mean_field(lambda z: np.minimum(np.maximum(z, -1), 1), 1, 0, width=30, depth=2, input_q=q)
        assert prediction.chi[0] == pytest.approx(erf(1 / math.sqrt(2 * q)), rel=0.01)


# --- Figures ----------------------------------------------------------------------------------------------


def at_fixed_point(activation, weight_std, bias_std):
    return mean_field(activation, weight_std, bias_std, width=30, depth=200, input_q=0.1)[-2:]


def test_figures_of_nielsens_initializer():
    nielsen = at_fixed_point(nn.Sigmoid, 1, 1)
    assert nielsen.q[0] == pytest.approx(1.3021, abs=5e-5)
    assert nielsen.chi[0] == pytest.approx(0.04196, abs=5e-6)
    assert math.sqrt(nielsen.chi[0]) == pytest.approx(0.2048, abs=5e-5)
    assert math.log10(nielsen.chi[0]) / 2 == pytest.approx(-0.689, abs=5e-4)
    assert nielsen.kappa[0] == pytest.approx(2.56, abs=5e-3)


def test_figures_of_other_sigmoids():
    unbiased, large = at_fixed_point(nn.Sigmoid, 1, 0), at_fixed_point(nn.Sigmoid, math.sqrt(30), 1)
    assert unbiased.q[0] == pytest.approx(0.2647, abs=5e-5)
    assert unbiased.chi[0] == pytest.approx(0.05572, abs=5e-6)
    assert large.chi[0] == pytest.approx(0.5276, abs=5e-5)


def test_kappa_of_relu_and_of_critical_tanh():
    relu, tanh = at_fixed_point(nn.ReLU, math.sqrt(2), 0), at_fixed_point(nn.Tanh, **CRITICAL_TANH)
    assert relu.kappa[0] == pytest.approx(5, rel=1e-13)
    assert relu.active[0] == pytest.approx(0.5, rel=1e-13)
    assert tanh.kappa[0] == pytest.approx(3.03, abs=5e-3)


def test_kappa_of_a_linear_network_is_that_of_a_mean_of_squares():
    assert at_fixed_point(nn.Identity, 1, 0).kappa[0] == pytest.approx(2, rel=1e-13)


def nielsens(hidden, images):
    return mean_field(nn.Sigmoid, 1, 1, width=30, depth=hidden, input_q=np.mean(np.square(images), dtype=np.float64))


def test_ratios_of_nielsens_nets_the_step_into_layer_1_is_smaller_because_pixels_are_shorter_than_neurons():
    for hidden, ratios in {2: [4.88], 3: [4.88, 4.98], 4: [4.88, 4.98, 4.99]}.items():
        prediction = nielsens(hidden, IMAGES)
        assert 10**-prediction.decades_per_layer == pytest.approx(ratios, abs=0.006)
        assert prediction.q[0] == pytest.approx(1 + np.mean(IMAGES.astype(float) ** 2), rel=1e-6)
    assert prediction.q[0] < 1.11 < 1.29 < prediction.q[1] < prediction.q[2]  # pixels² 0.11, sigmoids² 0.30


def test_typical_ratio_is_that_of_infinite_width_less_a_quarter_of_the_variance():
    narrow, wide = (mean_field(nn.ReLU, 1.2, 0, width, depth=3, input_q=1) for width in (10, 10**12))
    assert wide.decades_per_layer == pytest.approx(np.log10(1.2 / math.sqrt(2)), rel=1e-9)
    assert (wide.decades_per_layer - narrow.decades_per_layer) * PER_DECADE == pytest.approx(5 / 40)


def test_a_thousand_layers():
    assert mean_field(nn.Sigmoid, 1, 1, width=30, depth=1000, input_q=0.1).log10_norm[0] == pytest.approx(-697, abs=1)


# --- Critical points --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "bias_variance", "weight_variance", "abs_error"),
    [
        (nn.Tanh, 0.05, 1.76095, 5e-6),
        (nn.Tanh, 2.01e-5, 1.05, 5e-6),
        (nn.Tanh, 0.0, 1.0, 1e-12),
        (nn.ReLU, 0.0, 2.0, 1e-12),
        (nn.ReLU, 1.0, 2.0, 1e-12),  # χ does not depend on q there, which grows without limit
        (tg.ops.softplus, 0.5, 2.0, 1e-6),  # in the same limit
        (nn.Identity, 0.3, 1.0, 1e-12),
        (nn.Sigmoid, 0.0, 10.149**2, 0.01),
        (nn.Sigmoid, 1.0, 10.265**2, 0.01),
    ],
)
def test_critical_points(activation, bias_variance, weight_variance, abs_error):
    critical = critical_weight_std(activation, math.sqrt(bias_variance))
    assert critical**2 == pytest.approx(weight_variance, abs=abs_error)


@pytest.mark.parametrize(("activation", "bias_std"), [(nn.Tanh, 0.3), (nn.Sigmoid, 1), (np.sin, 0.3), (elu, 0.5)])
def test_networks_that_are_deep_enough_have_chi_1_there_less_below_more_above(activation, bias_std):
    critical = critical_weight_std(activation, bias_std)
    below, at, above = (at_fixed_point(activation, factor * critical, bias_std).chi[0] for factor in (0.9, 1, 1.1))
    assert below < 0.99 < 1.01 < above
    assert at == pytest.approx(1, abs=1e-9)


def test_critical_point_of_the_sine_against_its_closed_form():
    q = mpmath.findroot(lambda q: (q - 0.09) * mpmath.coth(q) - 1, 0.7)
    assert critical_weight_std(np.sin, 0.3) ** 2 == pytest.approx(float(2 / (1 + mpmath.exp(-2 * q))), rel=1e-12)


def test_at_the_sigmoids_critical_point_few_neurons_pass_the_gradient_on():
    critical = at_fixed_point(nn.Sigmoid, critical_weight_std(nn.Sigmoid, 1.0), 1.0)
    steepest = 1 / 16
    assert critical.active[0] == pytest.approx(0.22, abs=0.005)
    assert critical.chi[0] / critical.weight_std[0] ** 2 < 0.16 * steepest  # and E[σ′²] is a sixth of what it may be
    assert at_fixed_point(nn.Sigmoid, 1, 1).active[0] == pytest.approx(0.84, abs=0.005)


@pytest.mark.parametrize(("activation", "bias_std"), [(silu, 0.0), (silu, 0.1), (np.exp, 0.3), (np.square, 0.1)])
def test_where_lengths_jump_before_chi_is_1_there_is_no_critical_point(activation, bias_std):
    with pytest.raises(ValueError, match="no weight_std gives χ = 1 at a length that networks settle at"):
        critical_weight_std(activation, bias_std)


def test_the_jump_is_where_the_message_says():
    with pytest.raises(ValueError, match=r"end at weight_std = 1\.842 with χ = 0\.95"):
        critical_weight_std(silu, 0.1)
    settled, jumped = (mean_field(silu, w, 0.1, width=30, depth=200, input_q=0) for w in (1.83, 1.86))
    assert settled.chi[-1] < 0.95
    assert jumped.q[-1] > 1e6


# --- Measurements -----------------------------------------------------------------------------------------


def ensemble(sizes, activation, weight_std, bias_std, members, rng, dtype=np.float64):
    layers = [layer for n_in, n_out in pairwise(sizes) for layer in (nn.Linear(n_in, n_out, dtype=dtype), activation)]
    net = nn.stack([nn.Sequential(*layers[:-1])] * members)
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    stds = np.broadcast_to(weight_std, len(linears)), np.broadcast_to(bias_std, len(linears))
    for linear, w, b in zip(linears, *stds, strict=True):
        nn.init.scaled_normal_(linear.weight, w, rng)
        nn.init.normal_(linear.bias, std=b, rng=rng)
        linear.weight.requires_grad = False  # only ∂C/∂b is looked at
    return net


def measured(sizes, activation, weight_std, bias_std, seeds, x, labels=None, dtype=np.float64):
    """log10‖∂C/∂b‖ (layer, seed), by 100 seeds at a time: of Nielsen's cost, or of a random linear one."""
    rng, parts = np.random.default_rng(0), []
    for _ in range(seeds // 100):
        net = ensemble(sizes, activation, weight_std, bias_std, 100, rng, dtype)
        with GradientRecorder(net) as recorder:
            z = net(x)
            if labels is None:
                z.backward(rng.normal(size=z.shape))
            else:
                nn.BCEWithLogitsLoss("batchmean")(z, np.eye(10, dtype=dtype)[labels]).backward()
        parts.append(recorder.history.log10_norm[0])
    return np.concatenate(parts, axis=1)


def share_inside(norms, band):
    """(layer,) of the seeds, anchored at the top layer."""
    low, high = (edge[:, None] for edge in band)
    relative = norms - norms[-1]
    return np.mean((low <= relative) & (relative <= high), axis=1)


SETTINGS = {
    "sigmoid": (nn.Sigmoid(), dict(weight_std=1.0, bias_std=1.0)),
    "tanh": (nn.Tanh(), CRITICAL_TANH),
    "relu": (nn.ReLU(), dict(weight_std=math.sqrt(2), bias_std=0.0)),
}


@pytest.mark.long
@pytest.mark.parametrize("width", [30, 100])
@pytest.mark.parametrize("setting", SETTINGS)
def test_typical_ratios_in_20_layers(setting, width):
    activation, stds = SETTINGS[setting]
    seeds, x = 400, np.random.default_rng(1).normal(size=(1, width))
    norms = measured([width] * 21, activation, **stds, seeds=seeds, x=x)
    prediction = mean_field(activation, **stds, width=width, depth=20, input_q=np.mean(x**2))
    steps = norms[:-1] - norms[1:]  # (step, seed)
    # The mean over all steps has a standard error of at most 0.23 %, of which 1.5 % are more than 6.
    error = (steps.mean() - prediction.decades_per_layer.mean()) * PER_DECADE
    assert abs(error) < 0.015
    # Each step by itself has one of about 1 % in the narrow nets; the theory may be off by 0.5 %.
    errors = steps.mean(axis=1) - prediction.decades_per_layer
    assert np.all(np.abs(errors) < 4 * steps.std(axis=1) / math.sqrt(seeds) + 0.005 / PER_DECADE)


@pytest.mark.long
def test_90_percent_band_covers_every_layer_of_a_12_layer_mnist_net():
    x, labels = IMAGES[:100], LABELS[:100]
    norms = measured([784, *[30] * 12, 10], nn.Sigmoid(), 1, 1, 1000, x, labels, np.float32)
    q = np.mean(np.square(x), dtype=np.float64)
    prediction = mean_field(nn.Sigmoid, 1, 1, width=[*[30] * 12, 10], depth=13, input_q=q)
    # The share of 1,000 seeds has a standard error of 0.95 %, of which 86-94 % is 4.2 to each side.
    for layers in (slice(None), slice(-1)):  # anchored at the output layer, and at the top one of the hidden layers
        shares = share_inside(norms[layers], prediction[layers].band(0.9))
        assert np.all((shares[:-1] > 0.86) & (shares[:-1] < 0.94)), shares
        assert shares[-1] == 1


def test_ratios_of_nielsens_nets_are_measured():
    x, labels = IMAGES[:100], LABELS[:100]
    steps = np.diff(measured([784, 30, 30, 30, 30, 10], nn.Sigmoid(), 1, 1, 2000, x, labels, np.float32)[:-1], axis=0)
    ratios = 10 ** steps.mean(axis=1)
    assert ratios == pytest.approx(10 ** -nielsens(4, x).decades_per_layer, rel=0.015)  # standard error 0.33 %
    assert ratios[0] < ratios[1:].min()


@pytest.mark.long
def test_layers_of_many_widths_and_stds():
    sizes, weight_stds, bias_stds = [25, 50, 20, 80, 40], [1.5, 0.7, 2.0, 1.2], [0.1, 1.0, 0.0, 0.5]
    rng, members, x = np.random.default_rng(2), 5000, np.random.default_rng(3).normal(size=(1, 25))
    net = ensemble(sizes, nn.Tanh(), weight_stds, bias_stds, members, rng)
    prediction = mean_field(nn.Tanh, weight_stds, bias_stds, sizes[1:], depth=4, input_q=np.mean(x**2))
    with GradientRecorder(net) as recorder:
        a, lengths = x, []
        for module in net:
            a = module(a)
            if isinstance(module, nn.Linear):
                lengths.append(np.mean(a.data**2))
        a.backward(rng.normal(size=a.shape))
    assert lengths == pytest.approx(prediction.q, rel=0.02)
    norms = recorder.history.log10_norm[0]
    squares = np.mean(100.0 ** (norms - norms[-1]), axis=1)  # E‖δ^l‖²/‖δ^L‖²
    assert squares[:-1] / squares[1:] == pytest.approx(prediction.chi, rel=0.04)
    steps = norms[:-1] - norms[1:]
    assert 10 ** steps.mean(axis=1) == pytest.approx(10**prediction.decades_per_layer, rel=0.015)
    variances = np.var(2 * PER_DECADE * steps, axis=1)
    assert variances == pytest.approx(prediction.kappa / prediction.width[:-1], rel=0.12)


@pytest.mark.long
def test_at_the_critical_point_of_tanh_seeds_spread_wider_than_kappa_says():
    x = np.random.default_rng(1).normal(size=(1, 30))
    norms = measured([30] * 21, nn.Tanh(), **CRITICAL_TANH, seeds=3000, x=x)
    prediction = mean_field(nn.Tanh, **CRITICAL_TANH, width=30, depth=20, input_q=np.mean(x**2))
    variance = np.var(2 * PER_DECADE * (norms[0] - norms[-1]))
    excess = variance / np.sum(prediction.kappa / 30) - 1
    assert 0.18 < excess < 0.40  # standard error 0.034
    assert 0.82 < share_inside(norms, prediction.band())[0] < 0.88


def test_gradients_of_a_batch_cancel_where_samples_keep_apart():
    drops = {}
    for batch in (1, 100):
        x, labels = IMAGES[:batch], LABELS[:batch]
        norms = measured([784, *[30] * 20, 10], nn.ReLU(), math.sqrt(2), 0, 400, x, labels, np.float32)[:-1]
        drops[batch] = np.mean(norms[0] - norms[-1])
    predicted = mean_field(nn.ReLU, math.sqrt(2), 0, width=30, depth=20, input_q=0.1).log10_norm[0]
    assert drops[1] == pytest.approx(predicted, abs=0.09)  # standard error 0.02
    assert drops[100] < predicted - 0.3


# --- Models -----------------------------------------------------------------------------------------------


def mixed(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Sequential(nn.Linear(784, 40, rng=rng, dtype=dtype), nn.Tanh()),
        nn.Linear(40, 30, bias=False, rng=rng, dtype=dtype),
        nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU())),
        nn.Linear(30, 30, rng=rng, dtype=dtype),
        nn.Linear(30, 10, rng=rng, dtype=dtype),
        nn.Sigmoid(),
    )


def test_the_parameters_of_a_model_are_read_off():
    net, x = mixed(0), IMAGES[:50].astype(float)
    prediction = mean_field_of(net, x)
    linears = [net[0][0], net[1], net[3], net[4]]
    assert prediction.layers == (1, 2, 3, 4)
    assert prediction.width.tolist() == [40, 30, 30, 10]
    stds = [np.sqrt(np.mean(linear.weight.data**2) * linear.in_features) for linear in linears]
    assert prediction.weight_std == pytest.approx(stds, rel=1e-12)
    assert prediction.bias_std[[0, 3]] == pytest.approx([np.sqrt(np.mean(linears[i].bias.data ** 2)) for i in (0, 3)])
    assert prediction.bias_std[1] == 0
    tanh = mean_field(nn.Tanh, prediction.weight_std[:2], prediction.bias_std[:2], [40, 30], 2, np.mean(x**2))
    assert prediction[:2].q == pytest.approx(tanh.q, rel=1e-12)
    assert prediction[:2].chi == pytest.approx(tanh.chi, rel=1e-12)
    assert prediction[:2].log10_norm == pytest.approx(tanh.log10_norm, rel=1e-12)
    assert prediction.q[2] == pytest.approx(stds[2] ** 2 * prediction.q[1] / 2 + prediction.bias_std[2] ** 2, rel=1e-12)
    assert prediction.chi[1:] == pytest.approx([stds[2] ** 2 / 2, stds[3] ** 2], rel=1e-12)  # ReLU, and nothing
    assert prediction.kappa[1:] == pytest.approx([5, 2], rel=1e-12)


def test_an_ensemble_is_pooled_and_float32_will_do():
    nets = [mixed(seed, np.float32) for seed in range(20)]
    together, alone = mean_field_of(nn.stack(nets), IMAGES[:50]), [mean_field_of(net, IMAGES[:50]) for net in nets]
    for name in ("weight_std", "bias_std"):
        pooled = np.sqrt(np.mean([getattr(each, name) ** 2 for each in alone], axis=0))
        assert getattr(together, name) == pytest.approx(pooled, rel=1e-6)
    assert together.weight_std == pytest.approx(1, abs=0.04)
    assert together.layers == alone[0].layers


def test_a_model_at_its_start_is_predicted_as_its_initializer_is():
    x = IMAGES[:100]
    net = ensemble([784, 30, 30, 30, 10], nn.Sigmoid(), 1, 1, 300, np.random.default_rng(0))
    assert mean_field_of(net, x)[:-1].log10_norm == pytest.approx(nielsens(3, x).log10_norm, rel=0.02)


class Halve(nn.Module):
    def forward(self, x):
        return x / 2


def test_what_stands_before_the_first_linear_is_applied_to_the_images():
    net, x = mixed(0), IMAGES[:50].astype(float)
    assert mean_field_of(nn.Sequential(Halve(), net), x).q == pytest.approx(mean_field_of(net, x / 2).q, rel=1e-12)
    assert mean_field_of(net, tg.Tensor(x)).q == pytest.approx(mean_field_of(net, x).q, rel=1e-12)


def test_one_linear_is_a_model_of_one_layer():
    prediction = mean_field_of(nn.Linear(3, 2, rng=0), np.ones((1, 3)))
    assert prediction.layers == (1,)
    assert prediction.log10_norm.tolist() == [0]
    assert prediction.chi.shape == prediction.kappa.shape == prediction.decades_per_layer.shape == (0,)


def test_reading_a_model_disturbs_nobody_who_listens_to_it():
    net, heard = mixed(0), []
    before = net.state_dict()
    for _, module in net.named_modules():
        module.register_forward_hook(lambda *call: heard.append(call))
    mean_field_of(net, IMAGES[:5])
    assert heard == []
    assert all(p.grad is None for p in net.parameters())
    assert all(np.array_equal(before[name], p.data) for name, p in net.named_parameters())


class Skip(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 3, rng=0)

    def forward(self, x):
        return x + self.inner(x)


class Softmax(nn.Module):
    def forward(self, x):
        return np.exp(tg.ops.log_softmax(x))


def test_models_the_theory_does_not_know_are_refused():
    first, last = nn.Linear(3, 3, rng=0), nn.Linear(3, 2, rng=0)
    with pytest.raises(TypeError, match="this model has Skip"):
        mean_field_of(nn.Sequential(first, Skip(), last), np.ones((1, 3)))
    with pytest.raises(TypeError, match="this model has no Linear"):
        mean_field_of(nn.Sequential(nn.Tanh()), np.ones((1, 3)))
    with pytest.raises(ValueError, match="not elementwise"):
        mean_field_of(nn.Sequential(first, Softmax(), last), np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"takes arrays of shape \(\.\.\., 3\), not \(1, 4\)"):
        mean_field_of(nn.Sequential(first, nn.Tanh(), last), np.ones((1, 4)))
    after_the_end = nn.Sequential(first, nn.Tanh(), last, Softmax())  # ∂C/∂z of the output layer is given
    assert mean_field_of(after_the_end, np.ones((1, 3))).layers == (1, 2)


# --- The rest of the interface ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "activation",
    [nn.Tanh, nn.Tanh(), np.tanh, lambda z: 2 * tg.ops.sigmoid(2 * z) - 1, lambda z: np.sinh(z) / np.cosh(z)],
)
def test_classes_modules_and_functions_are_alike(activation):
    mine, known = (mean_field(f, 0.9, 0.3, width=30, depth=5, input_q=1) for f in (activation, nn.Tanh))
    for name in ("q", "chi", "kappa"):
        assert getattr(mine, name) == pytest.approx(getattr(known, name), rel=1e-10)


def test_one_number_serves_all_layers():
    alike, each = (
        mean_field(nn.Tanh, w, b, n, depth=3, input_q=1)
        for w, b, n in ((1.1, 0.2, 30), ([1.1] * 3, [0.2] * 3, [30] * 3))
    )
    assert alike.q.tolist() == each.q.tolist()
    assert alike.log10_norm.tolist() == each.log10_norm.tolist()


def test_the_band_is_that_of_a_sum_of_gaussian_steps():
    prediction = mean_field(nn.ReLU, math.sqrt(2), 0, width=[30, 40, 50, 10], depth=4, input_q=1)
    low, high = prediction.band(0.9)
    assert low + high == pytest.approx(2 * prediction.log10_norm, abs=1e-12)
    deviations = np.sqrt([5 / 30 + 5 / 40 + 5 / 50, 5 / 40 + 5 / 50, 5 / 50, 0]) / 2 / PER_DECADE
    assert (high - low) / 2 == pytest.approx(NormalDist().inv_cdf(0.95) * deviations, rel=1e-12)
    assert np.all(np.diff([prediction.band(level)[1] for level in (0.5, 0.9, 0.99)], axis=0)[:, :-1] > 0)


def test_slices_are_predictions_with_a_top_of_their_own():
    whole = mean_field(nn.Sigmoid, 1, 1, width=[30, 40, 50, 10], depth=4, input_q=0.1)
    part = whole[1:-1]
    assert part.layers == (2, 3)
    for name in ("width", "weight_std", "bias_std", "q"):
        assert getattr(part, name).tolist() == getattr(whole, name)[1:3].tolist()
    assert part.chi.tolist() == whole.chi[1:2].tolist()
    assert part.log10_norm == pytest.approx(whole.log10_norm[1:3] - whole.log10_norm[2], rel=1e-12)
    assert part.band()[0][-1] == part.band()[1][-1] == 0
    assert whole[-1:].chi.shape == (0,)
    for index in (0, slice(None, None, 2), slice(4, None), slice(2, 1)):
        with pytest.raises(TypeError, match="indexed by a slice of one or more neighbouring layers"):
            whole[index]


GOOD = dict(activation=nn.Tanh, weight_std=1.0, bias_std=1.0, width=30, depth=3, input_q=1.0)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (dict(activation="tanh"), TypeError, "an activation is a module or a function of Tensors"),
        (dict(activation=np.sign), ValueError, "passes no gradient"),
        (dict(activation=lambda z: 0 * z), ValueError, "passes no gradient: it is constant"),
        (dict(activation=Softmax), ValueError, "not elementwise"),
        (dict(activation=np.sum), ValueError, "not elementwise"),
        (dict(weight_std=-1.0), ValueError, "weight_std is a finite number, 0 or more"),
        (dict(weight_std=0.0), ValueError, "weight_std is 0 in some layer"),
        (dict(weight_std=math.nan), ValueError, "weight_std is a finite number"),
        (dict(weight_std=[1.0, 1.0]), ValueError, "or 3 of them, one for each layer"),
        (dict(bias_std=-0.5), ValueError, "bias_std is a finite number, 0 or more"),
        (dict(width=30.0), ValueError, "width is a number of neurons, 1 or more"),
        (dict(width=[30, 0, 30]), ValueError, "width is a number of neurons, 1 or more"),
        (dict(depth=3.0), ValueError, "depth is the number of layers, 1 or more"),
        (dict(depth=0), ValueError, "depth is the number of layers, 1 or more"),
        (dict(input_q=-1.0), ValueError, "input_q is a finite number, 0 or more, not -1.0"),
        (dict(activation=nn.ReLU, bias_std=0.0, input_q=0.0), ValueError, "constant where q = 0"),
        (dict(activation=nn.ReLU, weight_std=1e200), ValueError, "lengths overflow in layer 1"),
        (dict(activation=nn.ReLU, weight_std=1e60), ValueError, "lengths overflow in layer 3"),
    ],
)
def test_what_makes_no_sense_is_refused(bad, error, message):
    with pytest.raises(error, match=message):
        mean_field(**GOOD | bad)


def test_the_other_two_refuse_it_too():
    with pytest.raises(ValueError, match="bias_std is a finite number, 0 or more, not -1"):
        critical_weight_std(nn.Tanh, -1)
    with pytest.raises(TypeError, match="an activation is a module or a function"):
        critical_weight_std("tanh", 0)
    for level in (0, 1, 90):
        with pytest.raises(ValueError, match="between 0 and 1"):
            mean_field(**GOOD).band(level)


def test_inside_no_grad_there_are_no_slopes_and_the_message_says_so():
    with tg.no_grad(), pytest.raises(ValueError, match="inside no_grad none does"):
        mean_field(**GOOD)
