"""Networks to draw, of all kinds, and what has become of their gradient."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger


def network(sizes: list[int], *units: type[nn.Module], gain: float | None = None, seed: int = 0) -> nn.Sequential:
    """Linears with these units in turn between them."""
    rng = np.random.default_rng(seed)
    parts: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(n_in, n_out, rng=rng)
        if gain is not None:
            nn.init.orthogonal_(linear.weight, gain=gain, rng=rng)
            nn.init.normal_(linear.bias, std=0.0, rng=rng)
        parts += [linear, units[i % len(units)]()]
    return nn.Sequential(*parts[:-1])


def residual(width: int, blocks: int) -> nn.Sequential:
    rng = np.random.default_rng(0)
    inner = [nn.Residual(nn.Sequential(nn.Linear(width, width, rng=rng), nn.Tanh())) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(5, width, rng=rng), *inner, nn.Linear(width, 2, rng=rng))


def normalised() -> nn.Sequential:
    rng = np.random.default_rng(0)
    parts = [[nn.Linear(6, 6, rng=rng), nn.LayerNorm(6), nn.Tanh()] for _ in range(4)]
    return nn.Sequential(*(module for part in parts for module in part))


NETS: dict[str, Callable[[], nn.Sequential]] = {
    "sigmoid": lambda: network([784, 30, 30, 30, 30, 10], nn.Sigmoid),
    "tanh": lambda: network([20, 20, 20, 20, 20, 20], nn.Tanh),
    "relu": lambda: network([8, 16, 16, 16, 16, 16, 3], nn.ReLU),
    "in turn": lambda: network([9] * 8, nn.Sigmoid, nn.Tanh, nn.ReLU),
    "identity": lambda: network([9] * 6, nn.Identity, gain=0.7),
    "normalised": normalised,
    "residual": lambda: residual(7, 4),
    "ends in σ": lambda: nn.Sequential(network([4, 4, 4, 4], nn.Sigmoid), nn.Sigmoid()),
    "one layer": lambda: network([4, 2], nn.Sigmoid),
    "50 layers": lambda: network([30] * 51, nn.Sigmoid),
}


def trained_once(net: Any, batch: int = 8, backwards: int = 1) -> tuple[Any, Ledger]:
    """The cost of random data after its backward, and the ledger that heard it."""
    weight = next(net.parameters())
    x = np.random.default_rng(1).normal(size=(batch, weight.shape[-1])).astype(weight.dtype)
    with Ledger(net) as ledger:
        for _ in range(backwards):
            cost = np.sum(np.square(net(x) - 1.0))
            cost.backward()
    return cost, ledger


def fate(state: str) -> nn.Sequential:
    """Six layers with this verdict on some of them, after as many backwards as it takes."""
    if state == "saturated":
        net = network([50] * 7, nn.Sigmoid, gain=30.0)
        for linear in net[::2]:
            nn.init.normal_(linear.bias, std=60.0, rng=0)
        return net
    if state == "underflow":
        net = network([20] * 7, nn.Identity, gain=1e-10)
        for parameter in net.parameters():
            parameter.data = parameter.data.astype(np.float32)
        return net
    if state == "not finite":
        net = network([20] * 7, nn.Identity, gain=1.0)
        net[6].bias.data = np.full(20, np.nan)
        return net
    if state in ("dead", "no gradient"):
        net = network([10] * 7, nn.ReLU, gain=1.4)
        net[4].bias.data = np.full(10, -1e3)
        return net
    return network([20] * 7, nn.Identity, gain={"shrinking": 0.5, "growing": 2.0, "stable": 1.0}[state])
