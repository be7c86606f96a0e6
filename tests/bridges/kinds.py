"""Thirteen kinds of networks, each with a batch and the blocks that follow one another; and ways to train them."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")
T = torch.nn


class Functional(T.Module):
    """Activations that are no modules, and a head that is set before the layers that are called before it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.below, self.above = T.Linear(6, 3), T.Linear(5, 6), T.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        return self.head(torch.tanh(self.above(T.functional.relu(self.below(x)))))


class Gated(T.Module):
    """Between its layers z goes two ways, which join: z · sigmoid(z)."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.gate, self.above = T.Linear(5, 6), T.Sigmoid(), T.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        z = self.below(x)
        return self.above(z * self.gate(z))


class Words(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.below, self.above = T.Embedding(7, 6), T.Linear(6, 6), T.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.above(torch.tanh(self.below(self.words(x)))).mean(dim=1)


class Residual(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = T.Linear(6, 6), T.Linear(6, 6, bias=False)

    def forward(self, x: Any) -> Any:
        return x + self.two(torch.relu(self.one(x)))


class PreNorm(T.Module):
    """A block of a transformer whose projections are Linears."""

    def __init__(self, n: int = 6) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = T.LayerNorm(n), T.Linear(n, 3 * n), T.Linear(n, n)
        self.other_norm, self.mlp = T.LayerNorm(n), T.Sequential(T.Linear(n, 2 * n), T.GELU(), T.Linear(2 * n, n))

    def forward(self, x: Any) -> Any:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.out(T.functional.scaled_dot_product_attention(q, k, v))
        return x + self.mlp(self.other_norm(x))


class Encoder(T.Module):
    """PyTorch's own post-norm layers, with MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.below = T.Linear(5, 6)
        self.blocks = T.ModuleList(T.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True) for _ in range(2))
        self.head = T.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        x = self.below(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


class Recurrent(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.below, self.lstm, self.head = T.Linear(5, 6), T.LSTM(6, 4, batch_first=True), T.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        states, _ = self.lstm(self.below(x))
        return self.head(states[:, -1])


def _mlp(activation: Callable[[], Any], *, bias: bool = True, norm: Any = None) -> Any:
    parts = []
    for n_in in (5, 6, 6):
        parts += [T.Linear(n_in, 6, bias=bias), *([norm(6)] if norm else []), activation()]
    return T.Sequential(*parts, T.Linear(6, 3))


def _cnn() -> Any:
    return T.Sequential(
        T.Conv2d(1, 3, 3), T.BatchNorm2d(3), T.ReLU(inplace=True), T.MaxPool2d(2),
        T.Conv2d(3, 4, 2, bias=False), T.Tanh(), T.Flatten(), T.Linear(16, 3),
    )  # fmt: skip


def _conv1d() -> Any:
    return T.Sequential(
        T.Conv1d(5, 4, 2), T.GroupNorm(2, 4), T.SiLU(), T.Conv1d(4, 3, 2), T.AdaptiveAvgPool1d(1), T.Flatten()
    )


class Kind(NamedTuple):
    """A kind of network: how to make it, the shape of a batch, and its blocks where its layers are in no row."""

    make: Callable[[], Any]
    shape: tuple[int, ...] = (8, 5)
    blocks: list[str] | None = None


KINDS = {
    "sigmoid": Kind(lambda: _mlp(T.Sigmoid)),
    "no bias": Kind(lambda: _mlp(T.Tanh, bias=False)),
    "batch norm": Kind(lambda: _mlp(T.ReLU, norm=T.BatchNorm1d)),
    "layer norm, dropout": Kind(lambda: _mlp(lambda: T.Sequential(T.GELU(), T.Dropout(0.2)), norm=T.LayerNorm)),
    "functional": Kind(Functional),
    "gated": Kind(Gated),
    "words": Kind(Words, (8, 4)),
    "cnn": Kind(_cnn, (4, 1, 8, 8)),
    "conv1d": Kind(_conv1d, (4, 5, 7)),
    "residual": Kind(lambda: T.Sequential(T.Linear(5, 6), *(Residual() for _ in range(3)), T.Linear(6, 3)),
                     blocks=["0", "1", "2", "3", "4"]),
    "pre-norm": Kind(lambda: T.Sequential(T.Linear(5, 6), PreNorm(), PreNorm(), T.Linear(6, 3), T.Flatten()), (8, 4, 5),
                     blocks=["0", "1", "2", "3"]),
    "encoder": Kind(Encoder, (8, 4, 5), blocks=["below", "blocks.0", "blocks.1", "head"]),
    "recurrent": Kind(Recurrent, (8, 4, 5), blocks=["below", "lstm", "head"]),
}  # fmt: skip


class Setting(NamedTuple):
    dtype: str
    optimizer: str
    backwards: int = 1
    clip: float | None = None


SETTINGS = {
    "SGD": Setting("float64", "SGD"),
    "Adam": Setting("float32", "Adam"),
    "accumulation": Setting("float64", "SGD", backwards=2),
    "clip": Setting("float32", "SGD", clip=0.01),
}


def drawn(name: str, dtype: str) -> tuple[Any, Any]:
    """A network of this kind, and a function that draws a batch."""
    kind = KINDS[name]
    torch.manual_seed(0)
    net = kind.make().to(getattr(torch, dtype))
    rng = torch.Generator().manual_seed(1)

    def batch() -> Any:
        if name == "words":
            return torch.randint(0, 7, kind.shape, generator=rng)
        return torch.randn(kind.shape, generator=rng, dtype=getattr(torch, dtype))

    return net, batch


def trained(
    name: str, setting: Setting, instruments: Callable[[Any], list[Any]], after_backward: Any = None, steps: int = 2
) -> Any:
    """Train a network for some steps; return its weights. `after_backward(net)` is called after each backward."""
    net, batch = drawn(name, setting.dtype)
    optimizer = getattr(torch.optim, setting.optimizer)(net.parameters(), lr=0.1)
    with ExitStack() as on:
        for instrument in instruments(net):
            on.enter_context(instrument)
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(setting.backwards):
                net(batch()).square().mean().backward()
                if after_backward is not None:
                    after_backward(net)
            if setting.clip is not None:
                torch.nn.utils.clip_grad_norm_(net.parameters(), setting.clip)
            optimizer.step()
    return [p.detach().clone() for p in net.parameters()]
