"""`into` writes weights and buffers back, in place, and changes nothing where they do not fit."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from tinygrad_vg import nn, optim

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
T = torch.nn

from tests.bridges import networks  # noqa: E402 - it needs torch
from tinygrad_vg.bridges.torch import into, twin  # noqa: E402


def state(net: Any) -> dict[str, Any]:
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_there_and_back(name: str) -> None:
    """The weights of one network, as those of a twin of another one."""
    net, shape = networks.NETWORKS[name]
    source, target = copy.deepcopy(net).double(), copy.deepcopy(net)
    with torch.no_grad():
        for tensor in [*source.parameters(), *source.buffers()]:
            tensor.copy_(torch.rand(tensor.shape) * 5)
    into(target, twin(source, np.zeros(shape)))
    for key, array in state(source).items():
        written = state(target)[key]
        assert written.dtype in (np.float32, np.int64)  # it keeps its own
        np.testing.assert_array_equal(written, array.astype(written.dtype), err_msg=key)


def test_a_training_of_the_twin_is_one_of_the_network() -> None:
    """Ten steps here, written back, equal ten steps there."""
    net = T.Sequential(T.Linear(4, 5), T.BatchNorm1d(5), T.Tanh(), networks.PreNorm(5), T.Linear(5, 2)).double()
    theirs, rng = copy.deepcopy(net), np.random.default_rng(0)
    ours = twin(net)
    sgd = optim.SGD(ours.parameters(), lr=0.1)
    for _ in range(10):
        x, t = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
        sgd.zero_grad(), theirs.zero_grad()
        nn.MSELoss()(ours(x), t).backward()
        T.MSELoss()(theirs(torch.from_numpy(x)), torch.from_numpy(t)).backward()
        sgd.step()
        with torch.no_grad():
            for p in theirs.parameters():
                p -= 0.1 * p.grad
    begin = state(net)
    into(net, ours)
    for key, array in state(theirs).items():
        np.testing.assert_allclose(state(net)[key], array, rtol=1e-10, atol=1e-12, err_msg=key)
    assert not np.array_equal(begin["0.weight"], state(net)["0.weight"])


def test_it_writes_in_place() -> None:
    """An optimizer of PyTorch, and whoever else holds a parameter, sees the new numbers."""
    net = T.Linear(4, 2)
    net.bias.requires_grad_(False)
    held, place = [*net.parameters()], net.weight.data_ptr()
    ours = twin(net)
    ours.weight.data = np.full((2, 4), 7.0, np.float32)  # type: ignore[attr-defined]
    into(net, ours)
    assert [*map(id, net.parameters())] == [*map(id, held)]
    assert net.weight.data_ptr() == place
    assert bool((held[0] == 7).all())
    assert [p.requires_grad for p in held] == [True, False]
    assert net.weight.is_leaf


@pytest.mark.parametrize("move", [copy.deepcopy, lambda ours: pickle.loads(pickle.dumps(ours))], ids=["copy", "pickle"])
def test_a_copied_twin_knows_the_names(move: Any) -> None:
    """Also those that differ, because there is a Residual that has no module in PyTorch."""
    net = networks.PreNorm(4)
    ours = move(twin(net))
    for parameter in ours.parameters():
        parameter.data = parameter.data + 1
    before = state(net)
    into(net, ours)
    for key, array in state(net).items():
        np.testing.assert_array_equal(array, before[key] + np.float32(1), err_msg=key)


def test_a_network_that_is_no_twin() -> None:
    ours = nn.mlp([4, 3, 2], rng=0)
    net = T.Sequential(T.Linear(4, 3), T.Sigmoid(), T.Linear(3, 2)).double()
    into(net, ours)
    x = np.random.default_rng(1).normal(size=(5, 4))
    np.testing.assert_allclose(net(torch.from_numpy(x)).detach().numpy(), ours(x).data, rtol=1e-12)


def test_a_member_of_an_ensemble() -> None:
    nets = [T.Linear(4, 2) for _ in range(3)]
    ensemble = nn.stack([twin(net) for net in nets])
    into(nets[0], nn.unstack(ensemble, 2))
    assert torch.equal(nets[0].weight, nets[2].weight)
    with pytest.raises(
        ValueError, match=r"weight is \(3, 2, 4\) here and \(2, 4\) in Linear; .*nn\.unstack\(ours, i\)"
    ):
        into(nets[0], ensemble)


def unfit() -> list[Any]:
    net = T.Sequential(T.Linear(4, 3), T.Tanh(), T.Linear(3, 2))
    return [
        (net, twin(net[:2]), KeyError, r"\['2\.weight', '2\.bias'\] of Sequential are missing"),
        (net[:2], twin(net), KeyError, r"which has \['2\.weight', '2\.bias'\] besides"),
        (net, nn.mlp([4, 3, 5], rng=0), ValueError, r"2\.weight is \(5, 3\) here and \(2, 3\) in Sequential"),
        (twin(net), net, TypeError, r"into\(net, ours\)"),
    ]


@pytest.mark.parametrize(("net", "ours", "kind", "words"), unfit(), ids=["missing", "unknown", "shape", "order"])
def test_nothing_changes_where_they_do_not_fit(net: Any, ours: Any, kind: type[Exception], words: str) -> None:
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(kind, match=words):
        into(net, ours)
    assert all(np.array_equal(array, before[key]) for key, array in net.state_dict().items())
