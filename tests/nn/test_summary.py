"""summary: what it says to write where it cannot call the network."""

from typing import Any

import numpy as np
import pytest

from tinygrad_vg import nn


def test_a_shape_is_no_input() -> None:
    net = nn.mlp([4, 3], rng=0)
    with pytest.raises(TypeError, match=r"an input, not a shape: write np\.zeros\(\(20, 4\)\) in place of \(20, 4\)"):
        nn.summary(net, (20, 4))
    assert nn.summary(net, np.zeros((20, 4))).title.endswith("called with (20, 4)")


def test_without_an_input_it_says_what_to_give() -> None:
    with pytest.raises(TypeError, match=r"write summary\(net, x\) with a batch x, such as images\[:10\]"):
        nn.summary(nn.mlp([4, 3], rng=0))


def test_a_network_without_inputs_needs_none() -> None:
    class Constant(nn.Module):
        def forward(self) -> Any:
            return np.zeros(3)

    assert "Constant" in str(nn.summary(Constant()))


def test_a_state_of_several_arrays_is_an_input() -> None:
    lstm, zeros = nn.LSTM(3, 2, rng=0), np.zeros((1, 5, 2))
    assert "(4, 5, 3)" in nn.summary(lstm, np.zeros((4, 5, 3)), (zeros, zeros)).title
