"""Small trainings for the tests of compiled steps."""

import functools

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import nn, optim

X = np.random.default_rng(0).normal(size=(10, 6, 4))
T = np.random.default_rng(1).uniform(size=(10, 6, 3))
LAYER = functools.partial(nn.Linear, rng=3)
NETS = {
    "plain": lambda: nn.mlp([4, 5, 5, 3], rng=0),
    "relu": lambda: nn.mlp([4, 5, 5, 3], nn.ReLU, rng=0),
    "parts": lambda: nn.Sequential(
        nn.Linear(4, 5, rng=0), nn.LayerNorm(5), nn.Tanh(), nn.Residual(nn.Sequential(LAYER(5, 5), nn.Softplus())),
        nn.Linear(5, 3, rng=1),
    ),
    "ensemble": lambda: nn.stack([nn.mlp([4, 5, 5, 3], rng=seed) for seed in range(3)]),
    "no bias": lambda: nn.Sequential(LAYER(4, 5, bias=False), nn.Sigmoid(), LAYER(5, 3, bias=False)),
}  # fmt: skip


def training(net, backend=None, optimizer=None, cost=None):
    """A training step of a network; compiled if a backend is given."""
    optimizer = (optimizer or SGDS["momentum"])(net.parameters())
    cost = cost or nn.BCEWithLogitsLoss("batchmean")

    def step(x, t):
        optimizer.zero_grad()
        loss = cost(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    step.optimizer = optimizer
    return step if backend is None else tg.compile(step, backend=backend)


def run(step, numbers=range(4)):
    return [step(X[i], T[i]).data for i in numbers]


SGDS = {
    "plain": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.01),
}
