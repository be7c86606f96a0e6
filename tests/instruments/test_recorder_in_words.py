"""A recorder at a prompt says what it records, and how much it has."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder


def test_a_recorder_says_what_it_records_and_how_many_rows_it_has():
    net = tg.nn.mlp([3, 4, 4, 1], rng=0)
    recorder = GradientRecorder(net, every=2, layers=[1, 2])
    assert repr(recorder) == "<GradientRecorder of 2 layers, every=2: 0 rows recorded>"
    with recorder:
        np.sum(net(np.ones((5, 3)))).backward()
        inside = repr(recorder)
        for _ in range(2):
            np.sum(net(np.ones((5, 3)))).backward()
    assert inside == "<GradientRecorder of 2 layers, every=2: 1 row recorded>"
    assert repr(recorder) == "<GradientRecorder of 2 layers, every=2: 2 rows recorded>"


def test_of_an_ensemble_it_says_how_many_networks():
    nets = tg.nn.stack([tg.nn.mlp([3, 4, 1], rng=seed) for seed in range(6)])
    assert repr(GradientRecorder(nets)) == "<GradientRecorder of 2 layers of 6 networks, every=1: 0 rows recorded>"


@pytest.mark.torch
def test_that_of_a_network_of_pytorch_says_the_same():
    torch = pytest.importorskip("torch")
    from tinygrad_vg.bridges.torch import GradientRecorder

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1))
    with GradientRecorder(net) as recorder:
        before = repr(recorder)
        net(torch.ones(5, 3)).sum().backward()
    assert before == "<GradientRecorder of 2 layers, every=1: 0 rows recorded>"
    assert repr(recorder) == "<GradientRecorder of 2 layers, every=1: 1 row recorded>"
