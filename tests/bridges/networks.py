"""Networks of PyTorch for the tests of the bridge, and blocks of a user's own."""

from collections import OrderedDict
from typing import Any

import pytest

torch = pytest.importorskip("torch")
T = torch.nn


class Mlp(T.Module):
    """Modules that are called in another order than they are set, one of them twice."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.act = T.Tanh()
        self.out = T.Linear(n, 3)
        self.layers = T.ModuleList(T.Linear(n, n) for _ in range(2))

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = self.act(layer(x))
        return self.out(x)


class Block(T.Module):
    """x + body(x), the usual residual block."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Any) -> Any:
        return self.body(x) + x


class PreNorm(T.Module):
    """The half of a transformer block after the attention, with two ways around."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = T.LayerNorm(n), T.LayerNorm(n)
        self.mix, self.up, self.down = T.Linear(n, n), T.Linear(n, 4 * n), T.Linear(4 * n, n)
        self.act = T.GELU()

    def forward(self, x: Any) -> Any:
        x = x + self.mix(self.norm1(x))
        return x + self.down(self.act(self.up(self.norm2(x))))


class PostNorm(T.Module):
    """A norm and an activation behind each sum, as in the first transformers and in ResNets."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm, self.act = T.LayerNorm(n), T.ReLU()
        self.first, self.second = T.Linear(n, n), T.Linear(n, n)

    def forward(self, x: Any) -> Any:
        x = self.norm(x + self.second(self.act(self.first(x))))
        return self.act(x)


class Tied(T.Module):
    """One weight at two places."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.encode, self.act, self.decode = T.Linear(n, n), T.Sigmoid(), T.Linear(n, n, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x: Any) -> Any:
        return self.decode(self.act(self.encode(x)))


class Mean(T.Module):
    """A module of two arguments."""

    def forward(self, x: Any, y: Any) -> Any:
        return (x + y) / 2


class Both(T.Module):
    """A network with such a module inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mean = T.Linear(4, 4), Mean()

    def forward(self, x: Any) -> Any:
        return self.mean(self.first(x), x)


PARTS = {
    "Sigmoid": T.Sigmoid(), "Tanh": T.Tanh(), "ReLU": T.ReLU(), "ReLU in place": T.ReLU(inplace=True),
    "Softplus": T.Softplus(), "Identity": T.Identity(), "LeakyReLU": T.LeakyReLU(0.2), "ELU": T.ELU(0.7),
    "SELU": T.SELU(), "SiLU": T.SiLU(), "GELU": T.GELU(), "GELU by tanh": T.GELU("tanh"), "Softmax": T.Softmax(dim=1),
    "LogSoftmax": T.LogSoftmax(dim=-1), "LayerNorm": T.LayerNorm(5), "BatchNorm1d": T.BatchNorm1d(5),
    "BatchNorm1d without weights": T.BatchNorm1d(5, affine=False, momentum=None),
    "BatchNorm1d of batches": T.BatchNorm1d(5, track_running_stats=False), "Dropout": T.Dropout(0.0),
}  # fmt: skip
NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {  # a network, and the shape of a batch
    name: (net, shape or (6, 4))
    for name, net, shape in [
        *((f"with {name}", T.Sequential(T.Linear(4, 5), part, T.Linear(5, 3)), ()) for name, part in PARTS.items()),
        ("one layer", T.Linear(4, 3), ()),
        ("nothing", T.Sequential(), ()),
        ("no bias", T.Sequential(T.Linear(4, 3, bias=False), T.Tanh()), ()),
        ("sequences", T.Sequential(T.Linear(4, 5), T.LayerNorm(5), T.ReLU(), T.Linear(5, 3)), (6, 2, 4)),
        ("names", T.Sequential(OrderedDict(low=T.Linear(4, 5), act=T.Tanh(), high=T.Linear(5, 3))), ()),
        ("nested", T.Sequential(T.Sequential(T.Linear(4, 5), T.Tanh()), T.Sequential(T.Sequential(T.ReLU()))), ()),
        ("modules of one's own", T.Sequential(T.Linear(4, 5), Mlp(5)), ()),
        ("residual", T.Sequential(*(Block(T.Sequential(T.Linear(4, 4), T.Tanh())) for _ in range(3))), ()),
        ("residual, pre-norm", T.Sequential(PreNorm(4), PreNorm(4), T.LayerNorm(4), T.Linear(4, 3)), (6, 7, 4)),
        ("residual, post-norm", T.Sequential(PostNorm(4), PostNorm(4), T.Linear(4, 3)), ()),
        ("a residual inside a residual", Block(T.Sequential(T.Linear(4, 4), Block(T.Linear(4, 4)), T.Tanh())), ()),
        ("tied", Tied(4), ()),
        ("images",
         T.Sequential(
            T.Conv2d(2, 4, 3, padding=1), T.ReLU(), T.MaxPool2d(2), T.Conv2d(4, 4, (3, 2), (1, 2), padding="valid"),
            T.ELU(), T.Conv2d(4, 3, 3, padding="same", bias=False), T.AvgPool2d(2, padding=1), T.Flatten(),
            T.Linear(12, 3),
         ), (5, 2, 10, 9)),
        ("images, batch norm",
         T.Sequential(
            T.Conv2d(2, 4, 3, bias=False), T.BatchNorm2d(4), T.ReLU(), T.MaxPool2d(2), Block(T.Sequential(
                T.Conv2d(4, 4, 3, padding=1), T.BatchNorm2d(4), T.Tanh())), T.Flatten(), T.Linear(48, 3),
         ), (5, 2, 10, 9)),
        ("RNN", T.RNN(4, 3, 2, nonlinearity="relu", batch_first=True), (5, 6, 4)),
        ("LSTM", T.LSTM(4, 3, bias=False), (6, 5, 4)),
        ("GRU", T.GRU(4, 3, 2), (6, 5, 4)),
        ("RNNCell", T.RNNCell(4, 3), ()),
        ("LSTMCell", T.LSTMCell(4, 3), ()),
        ("GRUCell", T.GRUCell(4, 3), ()),
    ]
}  # fmt: skip
