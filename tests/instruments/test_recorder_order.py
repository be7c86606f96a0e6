"""The recorder numbers layers by attributes, and warns where the model calls them in another order."""

import warnings

import numpy as np
import pytest

from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder


class Net(nn.Module):
    def __init__(self, order: str) -> None:
        sizes = {"first": (3, 4), "second": (4, 4), "third": (4, 2)}
        for name in order.split():
            setattr(self, name, nn.Linear(*sizes[name], rng=len(name)))

    def forward(self, x):
        return self.third(np.tanh(self.second(np.tanh(self.first(x)))))


def record(net):
    with GradientRecorder(net) as recorder:
        for _ in range(2):
            np.sum(net(np.ones((5, 3)))).backward()
    return recorder.history


def test_another_order_is_told_once():
    with pytest.warns(
        UserWarning, match=r"called in the order first, second, third, .* third, first, second: "
    ) as told:
        assert record(Net("third first second")).names == ("third", "first", "second")
    assert len(told) == 1


def test_nothing_is_said_of_the_order_of_the_calls():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record(Net("first second third"))
        record(nn.stack([nn.mlp([3, 4, 2], rng=seed) for seed in range(3)]))
