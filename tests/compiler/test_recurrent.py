"""Compiled steps of recurrent networks are the eager ones."""

from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import SGDS
from tinygrad_vg import nn

X = np.random.default_rng(0).normal(size=(4, 3, 3, 2))  # (run, time, sample, feature)
TARGETS = np.random.default_rng(1).normal(size=(4, 3, 1))


class Last(nn.Module):
    """A recurrent layer, and a Linear of its last state."""

    def __init__(self, kind: Any, layers: int, seed: int) -> None:
        self.recurrent = kind(2, 4, layers, rng=seed)
        self.head = nn.Linear(4, 1, rng=seed)

    def forward(self, x: Any) -> Any:
        return self.head(self.recurrent(x)[0][-1])


class ByHand(nn.Module):
    """A loop over a cell."""

    def __init__(self, kind: Any, seed: int) -> None:
        self.cell = kind(2, 4, rng=seed)
        self.head = nn.Linear(4, 1, rng=seed)

    def forward(self, x: Any) -> Any:
        hx = None
        for t in range(len(x)):
            hx = self.cell(x[t], hx)
        return self.head(hx[0] if isinstance(hx, tuple) else hx)


NETS = {
    "RNN": lambda: Last(nn.RNN, 1, 0),
    "RNN of two layers": lambda: Last(nn.RNN, 2, 0),
    "LSTM": lambda: Last(nn.LSTM, 1, 0),
    "GRU": lambda: Last(nn.GRU, 1, 0),
    "LSTMCell": lambda: ByHand(nn.LSTMCell, 0),
    "ensemble of GRUs": lambda: nn.stack([Last(nn.GRU, 1, seed) for seed in range(3)]),
}


# Machine code of unrolled steps takes long to make, so it is made for one network and two time steps alone.
CASES = [(name, backend) for backend in BACKENDS for name in (NETS if backend == "numpy" else ["RNN"])]


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_compiled_training_is_the_eager_one(name: str, backend: str) -> None:
    losses, states = [], []
    for is_compiled in (False, True):
        net = NETS[name]()
        optimizer = SGDS["adam" if backend == "numpy" else "plain"](net.parameters())

        def step(x: Any, t: Any) -> Any:
            optimizer.zero_grad()  # noqa: B023 - each step is used up in its own turn
            loss = nn.MSELoss()(net(x), t)  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return loss

        run = tg.compile(step, backend=backend) if is_compiled else step
        length = 3 if backend == "numpy" else 2
        losses.append([run(x[:length], t).item() for x, t in zip(X, TARGETS, strict=True)])
        states.append(net.state_dict())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)
    for key, array in states[0].items():
        np.testing.assert_allclose(states[1][key], array, rtol=1e-9, atol=1e-12, err_msg=key)
    assert len(run.programs) <= 2  # the first step makes Adam's state


def test_another_length_of_the_sequence_is_another_program() -> None:
    layer = nn.LSTM(2, 4, rng=0)
    run = tg.compile(lambda x: layer(x)[0], backend="numpy")
    for length in (1, 2, 1, 2):
        np.testing.assert_allclose(run(X[0, :length]).data, layer(X[0, :length])[0].data, rtol=1e-12)
