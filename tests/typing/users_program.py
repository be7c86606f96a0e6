"""A short program of a user, whose types mypy checks (`files` in pyproject.toml), and which a test runs."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import nn, optim


class Block(nn.Module):
    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.first = nn.Linear(n, n, rng=rng)
        self.second = nn.Linear(n, n, rng=rng)

    def forward(self, x: Any) -> Any:
        return x + self.second(np.tanh(self.first(x)))


def network(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8, rng=rng), nn.ReLU(), Block(8, rng), nn.Linear(8, 2, rng=rng))


def train(net: nn.Sequential, x: Any, labels: Any, rng: np.random.Generator) -> float:
    cost, adam = nn.CrossEntropyLoss(), optim.Adam(net.parameters(), lr=0.01)
    for batch, target in tg.datasets.batches(x, labels, size=10, rng=rng):
        adam.zero_grad()
        output = net(batch)
        assert_type(output, tg.Tensor)
        loss = cost(output, target)
        assert_type(loss, tg.Tensor)
        loss.backward()
        adam.step()
    assert_type(net.parameters(), Iterator[nn.Parameter])
    return loss.item()


def by_hand(net: nn.Sequential) -> None:
    layer = net[0]
    assert_type(layer, nn.Module)
    assert isinstance(layer, nn.Linear)  # a Sequential holds any modules: the assertion tells which one this is
    assert_type(layer.weight, nn.Parameter)
    assert_type(layer(np.ones((1, 4))), tg.Tensor)
    with tg.no_grad():
        layer.weight *= 0.5
    assert_type(layer.weight, nn.Parameter)


def main() -> float:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(25, 4))
    net = network(rng)
    by_hand(net)
    print(nn.summary(net, x))
    loss = train(net, x, (x[:, 0] > 0).astype(np.int64), rng)
    ensemble = nn.stack([nn.mlp([4, 3, 2], rng=seed) for seed in range(3)])
    assert_type(ensemble, nn.Sequential)
    assert_type(ensemble(x), tg.Tensor)
    return loss


if __name__ == "__main__":
    main()
