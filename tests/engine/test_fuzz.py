"""Random programs against differences, and the engine's ways to differentiate against one another."""

from collections import Counter

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.engine.programs import KINKS, OURS, program

PROGRAMS = 240
EPS = 1e-6


def tensors(arrays):
    return [tg.Tensor(a, requires_grad=True) for a in arrays]


def gradients(cost, leaves, **options):
    """Of the cost by each leaf; 0 for one that takes no part."""
    grads = []
    for leaf in leaves:
        leaf.grad = None
    cost.backward(**options)
    for leaf in leaves:
        grads.append(tg.Tensor(np.zeros(leaf.shape)) if leaf.grad is None else leaf.grad)
    return grads


def close(one, other, scale, rtol):
    assert np.all(np.isfinite(one))
    np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * scale)


def test_programs_use_everything_that_they_may():
    used = Counter(step.name for seed in range(PROGRAMS) for step in program(seed).steps)
    assert used.keys() == OURS.keys()
    assert min(used.values()) >= 3
    smooth = {step.name for seed in range(PROGRAMS) for step in program(seed, kinks=False).steps}
    assert smooth == OURS.keys() - KINKS


@pytest.mark.parametrize("block", range(8))
def test_first_and_second_derivatives_are_those_of_differences(block):
    """Along one direction v: the cost moves by g·v, and g·u for any u moves by its own gradient times v."""
    for seed in range(block, PROGRAMS, 8):
        p = program(seed, kinks=False)
        rng = np.random.default_rng([seed, 1])
        along, other = ([rng.normal(size=a.shape) for a in p.leaves] for _ in range(2))

        def slope(arrays, p=p, other=other):
            leaves = tensors(arrays)
            grads = gradients(p.cost(leaves), leaves, create_graph=True)
            return leaves, sum(np.sum(g * u) for g, u in zip(grads, other, strict=True))

        leaves = tensors(p.leaves)
        first = [g.data for g in gradients(p.cost(leaves), leaves, create_graph=True)]
        ends = [[a + sign * EPS * v for a, v in zip(p.leaves, along, strict=True)] for sign in (1, -1)]
        moved = (p.cost(ends[0]) - p.cost(ends[1])) / (2 * EPS)
        by_gradient = sum(np.sum(g * v) for g, v in zip(first, along, strict=True))
        scale = 1 + sum(np.sum(np.abs(g * v)) for g, v in zip(first, along, strict=True))
        close(by_gradient, moved, scale, 1e-6)
        leaves, projected = slope(p.leaves)
        if not projected.requires_grad:
            continue
        second = [g if isinstance(g, np.ndarray) else g.data for g in gradients(projected, leaves)]
        moved = (slope(ends[0])[1].item() - slope(ends[1])[1].item()) / (2 * EPS)
        scale = 1 + sum(np.sum(np.abs(g * v)) for g, v in zip(second, along, strict=True))
        close(sum(np.sum(g * v) for g, v in zip(second, along, strict=True)), moved, scale, 1e-5)


@pytest.mark.parametrize("block", range(4))
def test_backward_forward_recorded_and_extended_agree(block):
    for seed in range(block, PROGRAMS, 4):
        p = program(seed)
        rng = np.random.default_rng([seed, 2])
        leaves = tensors(p.leaves)
        with tg.checked():  # nothing may be written into on the way
            cost = p.cost(leaves)
        plain = [np.asarray(g.data if isinstance(g, tg.Tensor) else g) for g in gradients(cost, leaves)]
        used = [leaf for leaf in leaves if leaf.grad is not None]
        recorded = [g.data for g in gradients(cost, leaves, create_graph=True)]
        for g, same in zip(plain, recorded, strict=True):
            close(g, same, np.max(np.abs(g)), 1e-12)
        along = [rng.normal(size=leaf.shape) for leaf in used]
        (moved,) = tg.jvp(cost, used, along)
        found = dict(zip(leaves, plain, strict=True))
        terms = [found[leaf] * v for leaf, v in zip(used, along, strict=True)]
        close(moved, sum(map(np.sum, terms)), sum(np.sum(np.abs(t)) for t in terms), 1e-10)
        tiny = cost * 2.0**-600 * 2.0**-600  # below all floats
        for leaf, g in zip(leaves, gradients(tiny, leaves, extended_range=True), strict=True):
            if isinstance(g, tg.engine.ExtendedArray):
                g = tg.engine.ExtendedArray(g.mantissa, g.exponent + 1200)
                close(np.asarray(g), found[leaf], np.max(np.abs(found[leaf])), 1e-12)
