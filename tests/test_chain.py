"""Eq. 122 of Nielsen's chapter 5: ∂C/∂b₁ of a chain of neurons is the product of its factors."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_vg as tg

numbers = st.floats(-3, 3, allow_nan=False)
ACTIVATIONS = {
    "sigmoid": (tg.ops.sigmoid, lambda z: 1 / ((1 + np.exp(z)) * (1 + np.exp(-z)))),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
}
EPS, TINY = np.finfo(float).eps, np.finfo(float).tiny


@st.composite
def chains(draw):
    depth = draw(st.integers(1, 8))
    return (
        draw(st.lists(numbers, min_size=depth, max_size=depth)),
        draw(st.lists(numbers, min_size=depth, max_size=depth)),
        draw(numbers),
        draw(st.sampled_from(sorted(ACTIVATIONS))),
    )


def cost_of(weights, biases, x, activation):
    """C = a_L² / 2 after a_j = f(w_j a_{j−1} + b_j); also the z_j."""
    a, zs = x, []
    for w, b in zip(weights, biases, strict=True):
        zs.append(w * a + b)
        a = activation(zs[-1])
    return 0.5 * a * a, zs, a


@given(chains())
def test_the_product_of_the_factors_is_the_gradient(chain):
    weights, biases, x, name = chain
    activation, slope = ACTIVATIONS[name]
    bs = [tg.Tensor(b, requires_grad=True) for b in biases]
    cost, zs, a = cost_of(weights, bs, x, activation)
    cost.backward()
    for j in range(len(bs)):
        factors = [slope(zs[j].data)]
        for w, z in zip(weights[j + 1 :], zs[j + 1 :], strict=True):
            factors += [w, slope(z.data)]
        product = np.prod([*factors, a.data])  # ∂C/∂a_L = a_L
        assert abs(bs[j].grad - product) <= max(1e-12 * abs(product), TINY)  # below TINY floats lose digits


@given(chains())
def test_central_differences_agree_within_their_error(chain):
    weights, biases, x, name = chain
    activation, _ = ACTIVATIONS[name]
    bs = [tg.Tensor(b, requires_grad=True) for b in biases]
    cost_of(weights, bs, x, activation)[0].backward()

    for j, b in enumerate(bs):

        def cost(step, j=j):
            moved = [*biases[:j], biases[j] + step, *biases[j + 1 :]]
            return cost_of(weights, moved, x, lambda z: activation(np.float64(z)))[0]

        def difference(h, cost=cost):
            return (cost(h) - cost(-h)) / (2 * h)

        h = 1e-3
        coarse, fine = difference(h), difference(h / 2)
        # Richardson: the h² term is (coarse − fine)/0.75; twice that bounds truncation, the rest is rounding
        # of two costs of at most 1/2, divided by the step, with room for the depth of the chain.
        richardson = fine + (fine - coarse) / 3
        bound = abs(coarse - fine) + 64 * EPS / h
        assert abs(b.grad - richardson) <= bound
