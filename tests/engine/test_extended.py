"""Extended range: the same digits as the plain walk back, and an exponent that never ends."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine import ExtendedArray
from tinygrad_vg.instruments import log10_norm


def deep(depth, dtype, width=30):
    return nn.Sequential(*nn.mlp([width] * (depth + 1), dtype=dtype, rng=0), nn.Sigmoid())


def exact(x):
    """An ExtendedArray of one element as a fraction."""
    return Fraction(float(x.mantissa.item())) * Fraction(2) ** x.exponent


def test_60_layers_in_float32_where_the_plain_norm_is_0():
    x = np.random.default_rng(1).normal(size=(1, 30))
    single, double = deep(60, np.float32), deep(60, np.float64)
    np.sum(double(x)).backward()
    truth = log10_norm(double[0].bias.grad)
    np.sum(single(x.astype(np.float32))).backward()
    assert np.linalg.norm(single[0].bias.grad) == 0
    single.zero_grad()
    np.sum(single(x.astype(np.float32))).backward(extended_range=True)
    assert single[0].bias.grad.dtype == np.float32
    assert log10_norm(single[0].bias.grad) == pytest.approx(truth, rel=1e-6)


def test_1000_layers_have_a_slope_and_no_zeros():
    """√χ e^(−κ/4n) of Nielsen's initializer at width 30: −0.698 decades a layer."""
    net = deep(1000, np.float64)
    np.sum(net(np.random.default_rng(1).normal(size=(1, 30)))).backward(extended_range=True)
    decades = [log10_norm(layer.bias.grad) for layer in net if isinstance(layer, nn.Linear)]
    assert np.isfinite(decades).all()
    assert decades[0] < -680
    theory = math.log10(0.2048) - 2.56 / (4 * 30) / math.log(10)
    assert np.polyfit(np.arange(1000), decades, 1)[0] == pytest.approx(-theory, rel=0.02)


def test_a_scalar_chain_1000_deep_against_mpmath():
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(size=(2, 1000))
    bs = [tg.Tensor(b, requires_grad=True) for b in biases]
    a = tg.Tensor(0.3)
    zs = []
    for w, b in zip(weights, bs, strict=True):
        zs.append(w * a + b)
        a = tg.ops.sigmoid(zs[-1])
    a.backward(extended_range=True)
    with mpmath.workdps(40):
        truth = mpmath.mpf(1)
        for j in range(999, -1, -1):
            z = mpmath.mpf(float(zs[j].data))
            truth *= mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2
            found = mpmath.mpf(float(bs[j].grad.mantissa)) * mpmath.mpf(2) ** bs[j].grad.exponent
            assert abs(found / truth - 1) <= 1e-12
            truth *= mpmath.mpf(float(weights[j]))
        assert mpmath.log10(abs(truth)) < -600


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_nothing_underflows_it_is_the_plain_backward_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 6)).astype(dtype)
    net = nn.Sequential(
        nn.Linear(6, 5, rng=rng, dtype=dtype), nn.Sigmoid(), nn.Linear(5, 5, rng=rng, dtype=dtype), nn.Tanh(),
        nn.Linear(5, 3, rng=rng, dtype=dtype),
    )  # fmt: skip
    gradients = []
    for extended in (False, True):
        net.zero_grad()
        z = net(x)
        loss = nn.CrossEntropyLoss()(z, np.arange(8) % 3) + np.sum(1e-9 * z * z) + 1e6 * np.std(z, axis=0)[0]
        loss.backward(extended_range=extended)
        gradients.append([np.asarray(p.grad) for p in net.parameters()])
    for plain, other in zip(*gradients, strict=True):
        assert np.array_equal(plain, other)
        assert plain.dtype == other.dtype


powers = st.integers(-400, 400)  # decades


@given(st.lists(st.tuples(st.floats(-9, 9).filter(lambda m: abs(m) > 0.1), powers), min_size=1, max_size=6), powers)
def test_sums_over_400_decades_are_the_exact_ones_to_rounding(terms, start):
    """A parameter shared by branches of any magnitude: Σ mᵢ 10^pᵢ, each factor applied in harmless steps."""
    x = tg.Tensor(1.0, requires_grad=True)
    total, truth, size = 0.0, Fraction(0), Fraction(0)
    for m, power in [*terms, (1.0, start)]:
        branch, factor = x * 0.0 + m * x, Fraction(m)
        for _ in range(abs(power) // 20):  # forward values are cut down to 0: only the way back is long
            step = 1e20 if power > 0 else 1e-20
            branch = (branch - branch.data) * step
            factor *= Fraction(step)
        total = total + branch
        truth += factor
        size += abs(factor)
    total.backward(extended_range=True)
    assert abs(exact(x.grad) - truth) <= Fraction(1e-13) * size


def test_exploding_gradients_do_not_overflow():
    x = y = tg.Tensor(np.float32(0.0), requires_grad=True)
    for _ in range(100):
        y = y * np.float32(1e20)
    y.backward(extended_range=True)
    assert log10_norm(x.grad) == pytest.approx(2000, rel=1e-6)
    assert np.asarray(x.grad) == np.inf


def test_hooks_see_and_replace_extended_gradients():
    x = tg.Tensor(2.0, requires_grad=True)
    y = x * 3.0
    kinds = []
    y.register_hook(lambda g: kinds.append(type(g)))
    y.register_hook(lambda g: np.asarray(g) * 10)
    y.backward(extended_range=True)
    assert kinds == [ExtendedArray]
    assert float(x.grad) == 30.0


def test_backwards_of_both_kinds_add():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = np.sum(x * x)
    y.backward()
    y.backward(extended_range=True)
    y.backward()
    assert np.array_equal(np.asarray(x.grad), [6.0, 12.0])


def test_a_wider_type_gets_what_the_own_type_has_no_room_for():
    x = ExtendedArray(np.ones(1, np.float32), -200)
    assert np.asarray(x, np.float64) == 2.0**-200
    assert np.asarray(x) == 0


def test_a_true_infinity_stays_one():
    x = tg.Tensor(0.0, requires_grad=True)
    with np.errstate(divide="ignore"):
        np.sqrt(x).backward(extended_range=True)
    assert float(x.grad) == math.inf


def test_not_with_create_graph():
    with pytest.raises(ValueError, match="cannot be recorded and have extended range at once"):
        tg.Tensor(1.0, requires_grad=True).backward(create_graph=True, extended_range=True)
