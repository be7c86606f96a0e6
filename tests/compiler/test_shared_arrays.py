"""All programs of a network write into the same arrays, and every write is noticed by a graph that holds them."""

import gc

import numpy as np
import pytest

from tests.compiler.backends import BACKENDS
from tests.compiler.steps import training
from tinygrad_vg import nn, optim


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [(5,), (5, 6), (5, 6, 7)], ids=["one program", "two programs", "three programs"])
def test_programs_share_the_arrays_of_parameters_and_each_notes_its_writes(sizes, backend):
    """A graph that holds the parameters of before a compiled step, of whichever program, refuses its backward."""
    net, cost = nn.mlp([4, 5, 3], rng=0), nn.BCEWithLogitsLoss("batchmean")
    step = training(net, backend, lambda p: optim.SGD(p, lr=0.1))
    batches = [(np.ones((size, 4)), np.ones((size, 3))) for size in sizes]
    for _ in range(3):
        for x, t in batches:
            step(x, t)
    arrays = [p.data for p in net.parameters()]
    for x, t in batches:
        graph = cost(net(x), t)
        step(x, t)
        assert all(p.data is array for p, array in zip(net.parameters(), arrays, strict=True))
        with pytest.raises(RuntimeError, match="was written into after the forward"):
            graph.backward()


def after_calls(backend, cost=None, out=3):
    """A network whose step has a program for batches of 5, and has been traced for 6."""
    net, cost = nn.mlp([4, 4, 4, out], rng=0), cost or nn.BCEWithLogitsLoss("batchmean")
    step = training(net, backend, lambda p: optim.SGD(p, lr=0.5), cost)
    return net, cost, step


def batch(size, out=3):
    return np.random.default_rng(size).normal(size=(size, 4)), np.ones((size, out))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["step", "program"])
def test_the_writes_of_a_program_that_is_gone_are_still_noticed(way, backend):
    net, cost, step = after_calls(backend)
    for _ in range(3):
        step(*batch(5))
    graph = cost(net(batch(5)[0]), batch(5)[1])
    step(*batch(5))
    if way == "step":
        del step
    else:
        step.programs.clear()
    gc.collect()
    with pytest.raises(RuntimeError, match="was written into after the forward"):
        graph.backward()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [(5, 5, 5), (5, 5, 6, 5)], ids=["a program that has run", "one that is new"])
def test_two_parameters_that_exchange_their_arrays(sizes, backend):
    sides = []
    for kind in (None, backend):
        net, _, step = after_calls(kind)
        for size in sizes:
            step(*batch(size))
        one, other = net[0].weight, net[2].weight
        one.data, other.data = other.data, one.data
        step(*batch(6 if 6 in sizes else 5))
        sides.append([p.data for p in net.parameters()])
    for a, b in zip(*sides, strict=True):
        assert np.allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_refused_call_that_has_made_a_program_notes_what_it_wrote(backend):
    net, cost, step = after_calls(backend, nn.CrossEntropyLoss())
    for size in (5, 5, 6, 5):
        step(batch(size)[0], np.zeros(size, int))
    graph = cost(net(batch(5)[0]), np.zeros(5, int))
    for p in net.parameters():
        p.data = 3 * p.data
    with pytest.raises(ValueError, match="class"):
        step(batch(6)[0], np.full(6, 7))
    with pytest.raises(RuntimeError, match="was written into after the forward"):
        graph.backward()
