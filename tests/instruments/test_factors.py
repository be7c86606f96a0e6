"""Eq. 122: the factors in the book's order, with the book's names, and their product."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import cascade, chain_factors

TINY = np.finfo(float).tiny
numbers = st.floats(-3, 3)
activations = st.sampled_from([tg.ops.sigmoid, np.tanh, tg.ops.softplus])


def chain(weights, biases, x, activation):
    """A chain of neurons written out; its biases, weighted inputs and last activation."""
    a, zs = tg.Tensor(x), []
    bs = [tg.Tensor(b, requires_grad=True) for b in biases]
    for w, b in zip(weights, bs, strict=True):
        zs.append(w * a + b)
        a = activation(zs[-1])
    return bs, zs, a


def modules(weights, biases, activation):
    """The same chain as modules, one neuron to a layer."""
    net = []
    for w, b in zip(weights, biases, strict=True):
        net += [nn.Linear(1, 1), activation()]
        net[-2].weight.data, net[-2].bias.data = np.array([[w]]), np.array([b])
    return nn.Sequential(*net)


def test_the_chapter_s_chain_of_four_neurons():
    weights, biases = [0.8, -1.2, 0.5, 2.0], [0.1, 0.7, -0.4, 0.2]
    bs, zs, a = chain(weights, biases, 0.6, tg.ops.sigmoid)
    cost = 0.5 * (1.0 - a) ** 2
    cost.backward()
    factors = chain_factors(cost, bs[0])
    assert " · ".join(f.label for f in factors) == "σ′(z₁) · w₂ · σ′(z₂) · w₃ · σ′(z₃) · w₄ · σ′(z₄) · ∂C/∂a₄"
    values = [f.value for f in factors]
    assert values[1::2][:3] == weights[1:]
    assert values[0:7:2] == [tg.ops.sigmoid_slope(z.data) for z in zs]
    assert values[-1] == a.item() - 1.0
    assert math.prod(values) == pytest.approx(bs[0].grad.item(), rel=1e-14)
    # ∂C/∂b₃ has the same factors, two pairs less: b₁ learns more slowly by just those two w_j σ′(z_j).
    third = chain_factors(cost, bs[2])
    assert [f.value for f in third] == values[4:]
    assert third[0].label == "σ′(z₁)"  # counted from the bias


def test_the_exploding_chain_has_25_for_every_pair():
    a, bs = tg.Tensor(0.7), []
    for _ in range(4):
        bs.append(tg.Tensor(-100 * a.data, requires_grad=True))
        a = tg.ops.sigmoid(100.0 * a + bs[-1])
    values = [f.value for f in chain_factors(a, bs[0])]
    assert [slope * w for slope, w in zip(values[2::2], values[1::2], strict=False)] == [25.0, 25.0, 25.0]


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), numbers, activations)
def test_the_product_is_the_gradient_of_every_bias(layers, x, activation):
    bs, _, a = chain(*zip(*layers, strict=True), x, activation)
    cost = 0.5 * a * a
    cost.backward()
    for b in bs:
        product = math.prod(f.value for f in chain_factors(cost, b))
        assert abs(product - b.grad) <= max(1e-12 * abs(product), TINY)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), numbers, activations)
def test_the_cascade_ends_at_the_gradient_and_each_step_is_a_factor(layers, x, activation):
    bs, _, a = chain(*zip(*layers, strict=True), x, activation)
    cost = 0.5 * a * a
    cost.backward()
    factors, changes = chain_factors(cost, bs[0]), cascade(cost, bs[0])
    assert [c.label for c in changes[:4]] == ["Δb₁", "Δz₁", "Δa₁", "Δz₂" if len(layers) > 1 else "ΔC"]
    assert len(changes) == 2 + len(factors)  # Δb₁ and Δz₁ before the first factor, then one change for each
    for factor, before, after in zip(factors, changes[1:], changes[2:], strict=False):
        assert abs(after.value - factor.value * before.value) <= max(1e-12 * abs(after.value), TINY)
    assert abs(changes[-1].value - bs[0].grad) <= max(1e-12 * abs(bs[0].grad), TINY)


def test_modules_with_one_neuron_to_a_layer():
    weights, biases = [0.8, -1.2, 0.5], [0.1, 0.7, -0.4]
    net = modules(weights, biases, nn.Tanh)
    cost = nn.MSELoss()(net(np.array([[0.6]])), np.array([[1.0]]))
    cost.backward()
    factors = chain_factors(cost, net[0].bias)
    assert [f.label for f in factors] == ["tanh′(z₁)", "w₂", "tanh′(z₂)", "w₃", "tanh′(z₃)", "∂C/∂a₃"]
    assert math.prod(f.value for f in factors) == pytest.approx(net[0].bias.grad.item(), rel=1e-14)


def test_a_cost_of_logits_ends_at_z():
    net = modules([0.8, -1.2, 0.5], [0.1, 0.7, -0.4], nn.Sigmoid)[:-1]
    cost = nn.BCEWithLogitsLoss("batchmean")(net(np.array([[0.6]])), np.array([[1.0]]))
    cost.backward()
    factors = chain_factors(cost, net[0].bias)
    assert math.prod(f.value for f in factors) == pytest.approx(net[0].bias.grad.item(), rel=1e-14)


def test_a_chain_without_activations():
    b = tg.Tensor(0.5, requires_grad=True)
    z = -3.0 * (2.0 * (0.3 + b) + 1.0) - 4.0
    factors = chain_factors(z * z, b)
    assert [f.label for f in factors] == ["w₂", "w₃", "∂C/∂z₃"]
    assert math.prod(f.value for f in factors) == pytest.approx(2 * z.item() * -6.0, rel=1e-15)


def test_differences_turn_the_sign():
    b = tg.Tensor(0.5, requires_grad=True)
    a = tg.ops.sigmoid(1.0 - b)
    a.backward()
    assert math.prod(f.value for f in chain_factors(a, b)) == b.grad


def test_a_wide_path_is_refused_and_points_to_the_ledger():
    net = nn.Sequential(nn.Linear(1, 3, rng=0), nn.Sigmoid(), nn.Linear(3, 1, rng=0), nn.Sigmoid())
    cost = np.sum(net(np.ones((1, 1))))
    with pytest.raises(ValueError, match=r"\(3,\) wide.*Ledger"):
        chain_factors(cost, net[0].bias)


def test_a_fork_is_refused():
    b = tg.Tensor(0.5, requires_grad=True)
    a = tg.ops.sigmoid(b)
    with pytest.raises(ValueError, match="forks at the output of sigmoid"):
        chain_factors(tg.ops.sigmoid(2.0 * a) + np.tanh(a), b)


def test_no_path():
    b = tg.Tensor(0.5, requires_grad=True, name="b")
    with pytest.raises(ValueError, match="no path from tensor 'b'"):
        chain_factors(tg.Tensor(1.0, requires_grad=True) * 2.0, b)


def test_jvp_of_several_inputs_and_outputs():
    rng = np.random.default_rng(0)
    x, y = (tg.Tensor(rng.normal(size=3), requires_grad=True) for _ in range(2))
    dx, dy = rng.normal(size=(2, 3))
    product, total = tg.jvp([x * np.sin(y), np.sum(x * y)], [x, y], [dx, dy])
    assert np.allclose(product, dx * np.sin(y.data) + x.data * np.cos(y.data) * dy, rtol=1e-14)
    assert np.allclose(total, dx @ y.data + x.data @ dy, rtol=1e-14)
    with pytest.raises(ValueError, match="2 inputs and 1 tangents"):
        tg.jvp(x * y, [x, y], [dx])
