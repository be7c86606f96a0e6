"""How many members of an ensemble have to be dead for the verdict to call a layer dead."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import diagnose


@pytest.mark.parametrize(("dead", "is_dead"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_a_layer_is_dead_if_it_is_in_most_members(dead, is_dead):
    members = [nn.mlp([5, 4, 4, 3], activation=nn.ReLU, rng=i) for i in range(4)]
    for member in members:
        for layer in (member[0], member[2]):
            layer.bias.data = np.full_like(layer.bias.data, 5.0)
    for member in members[:dead]:
        member[2].bias.data = np.full_like(member[2].bias.data, -1e6)
    net = nn.stack(members)
    with tg.instruments.GradientRecorder(net) as recorder:
        np.sum(net(np.ones((2, 5)))).backward()
    diagnosis = diagnose(recorder.history)
    assert (diagnosis.layers[0].state == "dead") == is_dead
    assert (diagnosis.state == "dead") == is_dead
