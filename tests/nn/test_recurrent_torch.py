"""Recurrent cells and layers in PyTorch: the same parameters by name, the same outputs and gradients."""

from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

pytestmark = pytest.mark.torch
# importorskip silences what an installation of PyTorch may warn of while it is imported, and nothing after that.
torch = pytest.importorskip("torch")

T, B, IN, H = 6, 4, 3, 5
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}
every_kind = pytest.mark.parametrize(("name", "options"), KINDS.values(), ids=KINDS)


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def twin_of(ours: Any, name: str, *args: Any, **options: Any) -> Any:
    """The module of PyTorch with our parameters; loading them by name is a part of the test."""
    theirs = getattr(torch.nn, name)(*args, **options, dtype=torch.float64)
    theirs.load_state_dict({key: torch.tensor(array) for key, array in ours.state_dict().items()})
    return theirs


def states(hx: Any) -> list[Any]:
    return list(hx) if isinstance(hx, tuple) else [hx]


def same_gradients(ours: Any, theirs: Any, pairs: list[tuple[Any, Any]]) -> None:
    """Outputs are the same, and so are the gradients of the parameters for cotangents of all outputs."""
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=mine.shape) for mine, _ in pairs]
    for mine, other in pairs:
        close(mine.data, other.detach().numpy())
        assert abs(mine.data).max() > 0.01
    sum(np.sum(mine * g) for (mine, _), g in zip(pairs, cotangents, strict=True)).backward()
    sum((other * torch.tensor(g)).sum() for (_, other), g in zip(pairs, cotangents, strict=True)).backward()
    twins = dict(theirs.named_parameters())
    assert [*twins] == [key for key, _ in ours.named_parameters()]
    for key, parameter in ours.named_parameters():
        close(parameter.grad, twins[key].grad.numpy())


@every_kind
@pytest.mark.parametrize("more", [{}, {"num_layers": 3}, {"batch_first": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "initial state"])
def test_layers_are_those_of_pytorch(name: str, options: dict[str, Any], more: dict[str, Any], given: bool) -> None:
    rng = np.random.default_rng(0)
    ours = getattr(nn, name)(IN, H, **options, **more, rng=rng)
    theirs = twin_of(ours, name, IN, H, **options, **more)
    x = rng.normal(size=(B, T, IN) if "batch_first" in more else (T, B, IN))
    ours_x, theirs_x = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours_hx = theirs_hx = None
    if given:
        first = rng.normal(size=(2, more.get("num_layers", 1), B, H))
        ours_hx = tuple(first) if name == "LSTM" else first[0]
        theirs_hx = tuple(torch.tensor(first)) if name == "LSTM" else torch.tensor(first[0])
    (output, last), (their_output, their_last) = ours(ours_x, ours_hx), theirs(theirs_x, theirs_hx)
    same_gradients(
        ours, theirs, [(output, their_output), *zip(states(last), states(their_last), strict=True)]
    )  # fmt: skip
    close(ours_x.grad, theirs_x.grad.numpy())


@every_kind
def test_a_sequence_without_a_batch(name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    ours = getattr(nn, name)(IN, H, 2, **options, batch_first=True, rng=rng)
    theirs = twin_of(ours, name, IN, H, 2, **options, batch_first=True)
    x = rng.normal(size=(T, IN))
    (output, last), (their_output, their_last) = ours(x), theirs(torch.tensor(x))
    same_gradients(
        ours, theirs, [(output, their_output), *zip(states(last), states(their_last), strict=True)]
    )  # fmt: skip


@every_kind
@pytest.mark.parametrize("batch", [(B,), ()], ids=["batch", "no batch"])
def test_cells_are_those_of_pytorch(name: str, options: dict[str, Any], batch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    ours = getattr(nn, f"{name}Cell")(IN, H, **options, rng=rng)
    theirs = twin_of(ours, f"{name}Cell", IN, H, **options)
    hx = their_hx = None
    for x in rng.normal(size=(3, *batch, IN)):
        hx, their_hx = ours(x, hx), theirs(torch.tensor(x), their_hx)
    same_gradients(ours, theirs, [*zip(states(hx), states(their_hx), strict=True)])


@every_kind
def test_a_training_is_that_of_pytorch(name: str, options: dict[str, Any]) -> None:
    """Twenty steps of gradient descent: what is the same once stays the same."""
    rng = np.random.default_rng(4)
    ours = getattr(nn, name)(IN, H, **options, rng=rng)
    theirs = twin_of(ours, name, IN, H, **options)
    sgd, their_sgd = tg.optim.SGD(ours.parameters(), 0.1), torch.optim.SGD(theirs.parameters(), 0.1)
    x, t = rng.normal(size=(T, B, IN)), rng.normal(size=(B, H))
    losses = []
    for _ in range(20):
        sgd.zero_grad()
        their_sgd.zero_grad()
        loss = nn.MSELoss()(ours(x)[0][-1], t)
        their_loss = torch.nn.functional.mse_loss(theirs(torch.tensor(x))[0][-1], torch.tensor(t))
        loss.backward()
        their_loss.backward()
        sgd.step()
        their_sgd.step()
        losses.append(loss.item())
        np.testing.assert_allclose(losses[-1], their_loss.item(), rtol=1e-11)
    assert losses[-1] < losses[0]
