"""Buffers belong to a module's state and are not trained; a module's state has one entry for each name."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim


class Centred(nn.Module):
    """x minus a running mean, and how many batches it has seen."""

    takes_members = True

    def __init__(self, features: int = 3, momentum: float = 0.5) -> None:
        self.momentum = momentum
        self.mean = nn.Buffer(np.zeros(features))
        self.counts = {"batches": [nn.Buffer(0)]}
        self.factor = nn.Parameter(np.ones(features))

    def forward(self, x: Any) -> Any:
        if self.training:
            array = x.data if isinstance(x, tg.Tensor) else np.asarray(x)
            self.mean.data = self.mean.data + self.momentum * (array.mean(axis=-2) - self.mean.data)
            (batches,) = self.counts["batches"]
            batches.data = batches.data + 1
        return nn.beside_batch(self.factor, x) * (x - nn.beside_batch(self.mean, x))


def network(seed: int) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(2, 3, rng=rng), Centred(), nn.Linear(3, 1, rng=rng))


def test_buffers_are_found_and_are_no_parameters() -> None:
    net = network(0)
    assert [name for name, _ in net.named_buffers()] == ["1.mean", "1.counts.batches.0"]
    assert [id(buffer) for buffer in net.buffers()] == [id(net[1].mean), id(net[1].counts["batches"][0])]
    names = ["0.weight", "0.bias", "1.factor", "2.weight", "2.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert set(net.state_dict()) == {*names, "1.mean", "1.counts.batches.0"}


def test_no_gradient_reaches_a_buffer_and_no_optimizer_takes_one() -> None:
    net = network(0).eval()
    net[1].mean.data = np.array([1.0, 2.0, 3.0])
    np.sum(net(np.ones((4, 2)))).backward()
    assert net[1].factor.grad is not None
    assert net[1].mean.grad is None
    assert not net[1].mean.requires_grad
    with pytest.raises(TypeError, match="takes Parameters, not Buffer"):
        optim.SGD(net.buffers(), lr=0.1)


def test_a_loaded_state_has_the_buffers_too(rng: np.random.Generator) -> None:
    source, net, x = network(0), network(1), rng.normal(size=(5, 2))
    source(x)
    net.load_state_dict(source.state_dict())
    assert np.array_equal(net.eval()(x).data, source.eval()(x).data)
    assert net[1].counts["batches"][0].data == 1
    assert net[1].counts["batches"][0].dtype.kind == "i"
    with pytest.raises(KeyError, match=r"missing \['1\.mean'\]"):
        net.load_state_dict({name: array for name, array in source.state_dict().items() if name != "1.mean"})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_has_buffers_of_its_own(duplicate: Any) -> None:
    net = network(0)
    net[1].mean.name = "mean"
    twin = duplicate(net)
    assert isinstance(twin[1].mean, nn.Buffer)
    assert twin[1].mean.name == "mean"
    assert not np.shares_memory(twin[1].mean.data, net[1].mean.data)


def test_an_ensemble_s_buffers_are_its_members(rng: np.random.Generator) -> None:
    nets = [network(seed) for seed in range(3)]
    for i, net in enumerate(nets):
        net[1].mean.data = rng.normal(size=3)
        net[1].counts["batches"][0].data = np.asarray(i)
    ensemble, x = nn.stack(nets), rng.normal(size=(3, 2))  # as many samples as members, as features
    assert ensemble[1].mean.shape == (3, 3)
    for _ in range(2):
        outputs = ensemble(x).data
        for i, net in enumerate(nets):
            np.testing.assert_allclose(outputs[i], net(x).data, rtol=1e-13, atol=1e-14)
            np.testing.assert_allclose(ensemble[1].mean.data[i], net[1].mean.data, rtol=1e-13, atol=1e-14)
    member = nn.unstack(ensemble, 2)
    assert member[1].mean.data.flags.owndata
    assert member[1].counts["batches"][0].data == 4
    np.testing.assert_allclose(member.eval()(x).data, nets[2].eval()(x).data, rtol=1e-13)


# Names.


class Table(nn.Module):
    takes_members = True

    def __init__(self) -> None:
        self.table = {1: nn.Parameter(1.0), "1": nn.Buffer(2.0)}


@pytest.mark.parametrize(
    "attempt",
    [nn.Module.state_dict, lambda net: net.load_state_dict({"table.1": 3.0}), lambda net: nn.stack([net, net])],
    ids=["state_dict", "load_state_dict", "stack"],
)
def test_two_entries_of_one_name_are_refused(attempt: Any) -> None:
    """One would be lost: trained, but never saved."""
    with pytest.raises(ValueError, match=r"two parameters or buffers of Table have the name 'table\.1'"):
        attempt(Table())


def test_a_list_that_contains_itself_has_an_end() -> None:
    net = nn.Sequential(nn.Linear(2, 1))
    net.tree = [nn.Parameter(1.0)]
    net.tree.append({"parent": net.tree, "leaf": nn.Buffer(2.0)})
    assert [name for name, _ in net.named_parameters()] == ["tree.0", "0.weight", "0.bias"]
    assert [name for name, _ in net.named_buffers()] == ["tree.1.leaf"]
