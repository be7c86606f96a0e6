"""The same networks, data and descent in PyTorch: the same losses and gradients, step by step.

Both run in float64, so after 50 steps they differ by rounding alone: the two add in different orders.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.compiler import steps
from tinygrad_vg import Tensor, nn, optim

pytestmark = pytest.mark.torch
# importorskip silences what an installation of PyTorch may warn of while it is imported, and nothing after that.
torch = pytest.importorskip("torch")

STEPS, BATCH, SAMPLES = 50, 10, 100

# (sizes, activation, loss, learning rate); the names are the same in both.
NETWORKS: dict[str, tuple[list[int], str, str, float]] = {
    "sigmoid": ([784, 30, 30, 10], "Sigmoid", "BCEWithLogitsLoss", 1.0),
    "tanh": ([20, 16, 16, 3], "Tanh", "MSELoss", 0.1),
    "relu": ([20, 16, 16, 16, 5], "ReLU", "CrossEntropyLoss", 0.05),
}
DESCENTS: dict[str, dict[str, Any]] = {
    "plain": dict(),
    "nesterov": dict(momentum=0.9, nesterov=True),
    "weight decay": dict(weight_decay=0.01),
    "momentum and weight decay": dict(momentum=0.5, weight_decay=0.01),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in an order that does not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def twins(sizes: list[int], activation: str) -> tuple[nn.Sequential, Any]:
    """Our network with biases N(0, 1), and PyTorch's with copies of its arrays."""
    ours = nn.mlp(sizes, getattr(nn, activation), rng=0)
    theirs = []
    for layer in ours[::2]:
        twin = torch.nn.Linear(layer.in_features, layer.out_features, dtype=torch.float64)
        with torch.no_grad():
            twin.weight.copy_(torch.tensor(layer.weight.data))
            twin.bias.copy_(torch.tensor(layer.bias.data))
        theirs += [twin, getattr(torch.nn, activation)()]
    return ours, torch.nn.Sequential(*theirs[:-1])


def targets(loss: str, classes: int) -> Any:
    """What the loss takes: class indices, rows that mark the class, or numbers of any kind."""
    rng = np.random.default_rng(1)
    indices = rng.integers(classes, size=SAMPLES)
    return {
        "CrossEntropyLoss": indices,
        "BCEWithLogitsLoss": np.eye(classes)[indices],
        "MSELoss": rng.normal(size=(SAMPLES, classes)),
    }[loss]


@pytest.mark.parametrize("options", DESCENTS.values(), ids=DESCENTS)
@pytest.mark.parametrize(("sizes", "activation", "loss", "lr"), NETWORKS.values(), ids=NETWORKS)
def test_descent_is_that_of_pytorch(
    sizes: list[int], activation: str, loss: str, lr: float, options: dict[str, Any]
) -> None:
    net, twin = twins(sizes, activation)
    cost, twin_cost = getattr(nn, loss)(), getattr(torch.nn, loss)()
    sgd, twin_sgd = optim.SGD(net.parameters(), lr, **options), torch.optim.SGD(twin.parameters(), lr, **options)
    rng = np.random.default_rng(2)
    x, t = rng.random((SAMPLES, sizes[0])), targets(loss, sizes[-1])
    losses = []
    for step in range(STEPS):
        batch = rng.choice(SAMPLES, BATCH, replace=False)
        sgd.zero_grad()
        twin_sgd.zero_grad()
        value, twin_value = (
            cost(net(x[batch]), t[batch]),
            twin_cost(twin(torch.tensor(x[batch])), torch.tensor(t[batch])),
        )
        value.backward()
        twin_value.backward()
        losses.append(value.item())
        np.testing.assert_allclose(losses[-1], twin_value.item(), rtol=1e-10, err_msg=f"loss in step {step}")
        twin_parameters = dict(twin.named_parameters())
        for name, parameter in net.named_parameters():
            expected = twin_parameters[name].grad.numpy()
            scale = abs(expected).max()
            assert scale > 0
            np.testing.assert_allclose(
                parameter.grad, expected, rtol=1e-10, atol=1e-10 * scale, err_msg=f"{name} in step {step}"
            )
        sgd.step()
        twin_sgd.step()
    assert np.mean(losses[-10:]) < np.mean(losses[:10])  # it did descend


def test_names_are_those_of_pytorch() -> None:
    """So that a state moves between the two by name."""
    net, twin = twins([4, 3, 2], "Tanh")
    assert list(net.state_dict()) == list(twin.state_dict())
    assert [name for name, _ in net.named_modules()] == [name for name, _ in twin.named_modules()]
    other = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    other.load_state_dict({name: array.numpy() for name, array in twin.state_dict().items()})
    x = np.random.default_rng(3).normal(size=(5, 4))
    np.testing.assert_allclose(other(x).data, twin(torch.tensor(x)).detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("kind", ["MSELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "CrossEntropyLoss of indices"])
def test_losses_are_those_of_pytorch(kind: str, reduction: str) -> None:
    name, rng = kind.split()[0], np.random.default_rng(4)
    x, t = rng.normal(scale=5, size=(6, 4)), rng.dirichlet(np.ones(4), size=6)
    if "indices" in kind:
        t = t.argmax(axis=1)
    z, twin = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = getattr(nn, name)(reduction)(z, t)
    theirs = getattr(torch.nn, name)(reduction=reduction)(twin, torch.tensor(t))
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-12)
    ours.backward(np.ones(ours.shape))
    theirs.backward(torch.ones_like(theirs))
    np.testing.assert_allclose(z.grad, twin.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("compiled", [False, True], ids=["step", "compiled step"])
def test_a_convolutional_network_trains_as_pytorch_s(compiled: bool) -> None:
    """All kinds of layers in a row: parameters and running means after 20 steps, and the outputs in evaluation."""
    rng, modules = np.random.default_rng(5), torch.nn
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, rng=rng), nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, stride=2, rng=rng),
        nn.ELU(), nn.Flatten(), nn.Linear(20, 8, rng=rng), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 3, rng=rng),
    )  # fmt: skip
    twin = modules.Sequential(
        modules.Conv2d(2, 4, 3, padding=1), modules.SiLU(), modules.MaxPool2d(2), modules.Conv2d(4, 5, 3, stride=2),
        modules.ELU(), modules.Flatten(), modules.Linear(20, 8), modules.BatchNorm1d(8), modules.GELU(),
        modules.Linear(8, 3),
    ).double()  # fmt: skip
    twin.load_state_dict({name: torch.tensor(array) for name, array in net.state_dict().items()})
    weight = np.array([1.0, 2.0, 0.5])
    cost = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)
    twin_cost = modules.CrossEntropyLoss(weight=torch.tensor(weight), label_smoothing=0.1)
    twin_sgd = torch.optim.SGD(twin.parameters(), 0.05, momentum=0.9)
    sgd = partial(optim.SGD, lr=0.05, momentum=0.9)
    run = steps.training(net, "numpy" if compiled else None, sgd, cost)
    for _ in range(20):
        x, t = rng.normal(size=(6, 2, 10, 10)), rng.integers(0, 3, 6)
        loss = run(x, t)
        twin_sgd.zero_grad()
        twin_loss = twin_cost(twin(torch.tensor(x)), torch.tensor(t))
        twin_loss.backward()
        twin_sgd.step()
        np.testing.assert_allclose(loss.item(), twin_loss.item(), rtol=1e-11)
    for name, array in twin.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name], array.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
    expected = twin.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(net.eval()(x).data, expected, rtol=1e-10, atol=1e-12)
