"""What an optimizer keeps: a training that stops and goes on is the training that never stopped, bit by bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda parameters: optim.SGD(parameters, lr=0.5),
    "decay": lambda parameters: optim.SGD(parameters, lr=0.5, weight_decay=0.01),
    "momentum": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9),
    "momentum and decay": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda parameters: optim.Adam(parameters, lr=0.01, betas=(0.8, 0.99), weight_decay=0.01),
    "AdamW": lambda parameters: optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    "RMSprop": lambda parameters: optim.RMSprop(parameters, lr=0.01, momentum=0.5, centered=True),
    "groups": lambda parameters: optim.SGD(
        [{"params": p, "weight_decay": 0.1 * p.ndim} for p in parameters], lr=0.1, momentum=0.9
    ),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def network(members: int, seed: int = 0) -> nn.Sequential:
    nets = [nn.mlp([5, 4, 3], dtype=np.float32, rng=seed + i) for i in range(max(members, 1))]
    return nn.stack(nets) if members else nets[0]


def train(net: nn.Module, optimizer: optim.Optimizer, steps: range) -> None:
    rng = np.random.default_rng(7)
    x, t = rng.normal(size=(40, 5)).astype(np.float32), np.eye(3, dtype=np.float32)[rng.integers(3, size=40)]
    for step in steps:
        batch = np.random.default_rng(step).choice(40, 10, replace=False)
        optimizer.zero_grad()
        nn.CrossEntropyLoss("batchmean")(net(x[batch]), t[batch]).backward()
        optimizer.step()


def flat(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Arrays by name, as `tg.save` takes them."""
    arrays = {f"state.{i}.{name}": a for i, of_one in state_dict["state"].items() for name, a in of_one.items()}
    for i, group in enumerate(state_dict["param_groups"]):
        arrays |= {f"group.{i}.{name}": value for name, value in group.items()}
    return arrays


def unflat(arrays: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    groups: dict[int, dict[str, Any]] = {}
    for key, array in arrays.items():
        kind, i, name = key.split(".")
        (state if kind == "state" else groups).setdefault(int(i), {})[name] = array
    return {"state": state, "param_groups": [{**g, "params": g["params"].tolist()} for g in groups.values()]}


@every_optimizer
@pytest.mark.parametrize("members", [0, 3], ids=["single", "ensemble"])
@pytest.mark.parametrize("by_file", [False, True], ids=["dict", "file"])
def test_a_training_goes_on_bit_by_bit(make: Any, members: int, by_file: bool, tmp_path: Path) -> None:
    whole = network(members)
    train(whole, make(whole.parameters()), range(8))

    stopped = network(members)
    optimizer = make(stopped.parameters())
    train(stopped, optimizer, range(4))
    weights, kept = stopped.state_dict(), optimizer.state_dict()
    if by_file:
        tg.save(flat(kept), tmp_path / "optimizer.npz")
        kept = unflat(tg.load(tmp_path / "optimizer.npz"))

    resumed = network(members, seed=100)
    resumed.load_state_dict(weights)
    again = make(resumed.parameters())
    for group in again.param_groups:
        group["lr"] = 7.0  # the options are those of the state
    again.load_state_dict(kept)
    train(resumed, again, range(4, 8))
    for (name, expected), (_, parameter) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert parameter.data.tobytes() == expected.data.tobytes(), name
        assert parameter.dtype == np.float32
    train(stopped, optimizer, range(4, 8))  # the state that was given away is a copy
    assert all(np.array_equal(a.data, b.data) for a, b in zip(whole.parameters(), stopped.parameters(), strict=True))


@pytest.mark.parametrize("name", ["momentum", "Adam"])
def test_without_its_state_a_training_goes_another_way(name: str) -> None:
    """So that the test above could fail."""
    whole, stopped = network(0), network(0)
    train(whole, OPTIMIZERS[name](whole.parameters()), range(8))
    train(stopped, OPTIMIZERS[name](stopped.parameters()), range(4))
    train(stopped, OPTIMIZERS[name](stopped.parameters()), range(4, 8))
    assert not np.allclose(whole[0].weight.data, stopped[0].weight.data, rtol=1e-4)


def test_a_state_dict_counts_parameters_through_all_groups() -> None:
    p, q, r = (nn.Parameter(np.full(i + 1, 2.0)) for i in range(3))
    optimizer = optim.Adam([{"params": [p, q]}, {"params": [r], "lr": 0.5}], lr=0.1)
    q.grad, r.grad = np.ones(2), np.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state["param_groups"]] == [0.1, 0.5]
    assert state["state"].keys() == {1, 2}
    assert state["state"][2].keys() == {"t", "mean", "root"}
    assert state["state"][2]["t"] == 1
    state["state"][2]["mean"].fill(np.nan)
    assert np.isfinite(optimizer.state[r]["mean"]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["param_groups"].append(s["param_groups"][0]), "groups"),
        (lambda s: s["param_groups"][0]["params"].append(1), "groups"),
        (lambda s: s["param_groups"][0].pop("momentum"), "groups"),
        (lambda s: s["param_groups"][0].update(lr=-1.0), "lr must be"),
        (lambda s: s["state"].update({5: {}}), r"parameters \[5\]"),
        (lambda s: s["state"][0].update(velocity=np.ones((2, 3))), r"velocity has shape \(2, 3\).*\(3, 2\)"),
    ],
    ids=["groups", "parameters", "options", "an option's value", "a state of nobody", "shape"],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Any, words: str) -> None:
    p = nn.Parameter(np.ones((3, 2)))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = np.ones((3, 2))
    optimizer.step()
    state, before, options = optimizer.state_dict(), optimizer.state[p]["velocity"], dict(optimizer.param_groups[0])
    state["param_groups"][0]["momentum"] = 0.5
    change(state)
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(state)
    assert optimizer.state[p]["velocity"] is before
    assert optimizer.param_groups[0] == options


# update


def numbers_and_state(optimizer: optim.Optimizer, p: nn.Parameter) -> tuple[dict[str, Any], dict[str, Any]]:
    state = optimizer.state.get(p, {})
    return optimizer.at_step(optimizer.numbers(optimizer.param_groups[0], p.dtype), state), state


@every_optimizer
@pytest.mark.parametrize("shape", [(), (3, 2), (400, 400)], ids=str)
def test_update_is_pure_and_is_what_step_does(make: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    p = nn.Parameter(rng.normal(size=shape))
    optimizer = make([p])
    for _ in range(3):
        g = np.asarray(rng.normal(size=shape))
        options, state = numbers_and_state(optimizer, p)
        given = [p.data, g, *state.values(), *options.values()]
        before = [np.copy(value) for value in given]
        new, new_state = optimizer.update(p.data, g, state, options)
        assert all(np.array_equal(value, old) for value, old in zip(given, before, strict=True))
        for array in (new, *new_state.values()):
            assert not np.shares_memory(array, p.data)
            assert not np.shares_memory(array, g)
        p.grad = g
        optimizer.step()
        assert np.array_equal(p.data, new)
        kept = optimizer.state.get(p, {})
        assert kept.keys() == new_state.keys()
        assert all(np.array_equal(kept[name], value) for name, value in new_state.items())


@every_optimizer
def test_update_of_tensors_is_recorded(make: Any) -> None:
    """A step is a function of the gradient like any other: it can be differentiated."""
    rng = np.random.default_rng(0)
    p = nn.Parameter(rng.normal(size=(3, 2)))
    optimizer = make([p])
    p.grad = rng.normal(size=(3, 2))
    optimizer.step()
    options, state = numbers_and_state(optimizer, p)
    g = tg.Tensor(rng.normal(size=(3, 2)), requires_grad=True)
    expected, expected_state = optimizer.update(p.data, g.data, state, options)
    new, new_state = optimizer.update(p, g, state, options)
    assert np.array_equal(new.data, expected)
    assert new_state.keys() == expected_state.keys()
    assert tg.gradcheck(lambda p, g: optimizer.update(p, g, state, options)[0], [p, g])
