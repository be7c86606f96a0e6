"""A module finds what belongs to it, copies and restores it, and calls its hooks."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn


class Branches(nn.Module):
    """Every way in which a module may hold others: alone, in a list, in a tuple, deeper down, and twice."""

    def __init__(self, seed: int = 0, dtype: type = np.float64) -> None:
        rng = np.random.default_rng(seed)
        self.note = "neither a module nor a parameter"
        self.stem = nn.Linear(3, 2, rng=rng, dtype=dtype)
        self.arms = [nn.Linear(2, 2, rng=rng, dtype=dtype), nn.Sequential(nn.Linear(2, 2, rng=rng, dtype=dtype))]
        self.ends = (nn.Linear(2, 1, bias=False, rng=rng, dtype=dtype), "not a module", self.stem)
        self.scale = nn.Parameter(np.ones(2, dtype))
        self.arms[1][0].weight = self.arms[0].weight

    def forward(self, x: Any) -> Any:
        hidden = self.scale * self.stem(x)
        for arm in self.arms:
            hidden = np.tanh(arm(hidden))
        return self.ends[0](hidden)


class Double(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2.0


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
}


# Names.


def test_modules_come_once_each_from_the_outside_in() -> None:
    model = Branches()
    expected = {"": model, "stem": model.stem, "arms.0": model.arms[0], "arms.1": model.arms[1]}
    expected |= {"arms.1.0": model.arms[1][0], "ends.0": model.ends[0]}
    found = list(model.named_modules())
    assert [name for name, _ in found] == list(expected)
    assert all(module is expected[name] for name, module in found)


def test_parameters_come_once_each_in_the_order_of_their_modules() -> None:
    model = Branches()
    names = ["scale", "stem.weight", "stem.bias", "arms.0.weight", "arms.0.bias", "arms.1.0.bias", "ends.0.weight"]
    assert [name for name, _ in model.named_parameters()] == names
    assert dict(model.named_parameters())["arms.0.weight"] is model.arms[1][0].weight
    assert [id(p) for p in model.parameters()] == [id(p) for _, p in model.named_parameters()]


def test_a_prefix_stands_before_every_name() -> None:
    assert [name for name, _ in Branches().named_modules("net")][:3] == ["net", "net.stem", "net.arms.0"]


def test_what_an_attribute_loses_the_module_loses() -> None:
    model = Branches()
    model.stem = model.ends = None
    model.arms = model.arms[:1]
    assert [name for name, _ in model.named_parameters()] == ["scale", "arms.0.weight", "arms.0.bias"]


# State.


def test_state_dict_is_a_copy() -> None:
    model = Branches()
    before, state = {name: p.data.copy() for name, p in model.named_parameters()}, model.state_dict()
    for array in state.values():
        array += 1
    assert list(state) == list(before)
    assert all(np.array_equal(p.data, before[name]) for name, p in model.named_parameters())


def test_a_loaded_state_is_the_same_function(rng: np.random.Generator) -> None:
    source, model = Branches(seed=1), Branches(seed=2)
    x = rng.normal(size=(4, 3))
    expected, state = source(x).data, source.state_dict()
    model.load_state_dict(state)
    for array in state.values():
        array.fill(np.nan)  # the module keeps copies of what it was given
    assert np.array_equal(model(x).data, expected)
    assert model.arms[1][0].weight is model.arms[0].weight


def test_a_loaded_state_is_cast() -> None:
    model, state = Branches(dtype=np.float32), Branches(seed=1).state_dict()
    model.load_state_dict(state)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == np.float32
        assert np.array_equal(parameter.data, state[name].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"ends.0.weight": None}, KeyError, "missing.*ends.0.weight"),
        ({"arms.7.weight": np.ones(2)}, KeyError, "unknown.*arms.7.weight"),
        ({"ends.0.weight": np.ones((2, 1))}, ValueError, r"ends.0.weight.*\(1, 2\).*\(2, 1\)"),
        ({"arms.1.0.bias": np.ones(1)}, ValueError, r"arms.1.0.bias.*\(2,\).*\(1,\)"),
    ],
    ids=["missing", "unknown", "wrong shape", "shape that would broadcast"],
)
def test_a_state_that_does_not_fit_changes_nothing(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    model = Branches()
    arrays = {name: p.data for name, p in model.named_parameters()}
    state = {**Branches(seed=1).state_dict(), **changes}
    with pytest.raises(error, match=words):
        model.load_state_dict({name: array for name, array in state.items() if array is not None})
    assert all(p.data is arrays[name] for name, p in model.named_parameters())


def test_train_and_eval_reach_every_module() -> None:
    model = Branches()
    assert all(module.training for _, module in model.named_modules())
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    assert model.train() is model
    assert all(module.training for _, module in model.named_modules())
    model.stem.eval()
    assert [name for name, module in model.named_modules() if not module.training] == ["stem"]
    assert nn.Module.training


def test_zero_grad_forgets_every_gradient() -> None:
    model = Branches()
    np.sum(model(np.ones((2, 3)))).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


# Copies.


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_copy_is_the_same_function_and_shares_nothing(
    rng: np.random.Generator, duplicate: Callable[[Any], Any]
) -> None:
    model, x = Branches().eval(), rng.normal(size=(4, 3))
    model.scale.requires_grad = False
    np.sum(model(x)).backward()
    twin = duplicate(model)
    assert np.array_equal(twin(x).data, model(x).data)
    assert twin.arms[1][0].weight is twin.arms[0].weight
    assert twin.ends[2] is twin.stem
    assert not twin.training
    originals, copies = dict(model.named_parameters()), dict(twin.named_parameters())
    assert list(copies) == list(originals)
    for name, parameter in copies.items():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is None
        assert parameter.requires_grad == originals[name].requires_grad
        assert not np.shares_memory(parameter.data, originals[name].data)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_hooks_stay_with_the_original(duplicate: Callable[[Any], Any]) -> None:
    model, calls = Branches(), []
    model.register_forward_hook(lambda *_: calls.append("whole"))
    model.stem.register_forward_hook(lambda *_: calls.append("part"))
    model.scale.register_hook(lambda g: calls.append("tensor"))
    np.sum(duplicate(model)(np.ones((2, 3)))).backward()
    assert calls == []
    np.sum(model(np.ones((2, 3)))).backward()
    assert calls == ["part", "whole", "tensor"]


# Calls, repr.


def test_repr_shows_the_tree() -> None:
    lines = [
        "Branches(",
        "  (stem): Linear(3, 2)",
        "  (arms.0): Linear(2, 2)",
        "  (arms.1): Sequential(",
        "    (0): Linear(2, 2)",
        "  )",
        "  (ends.0): Linear(2, 1, bias=False)",
        "  (ends.2): Linear(3, 2)",
        ")",
    ]
    assert repr(Branches()) == "\n".join(lines)
    assert repr(Double()) == "Double()"


def test_a_module_without_forward_says_so() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"Empty has no forward\(\)"):
        Empty()(1.0)


def test_sequential_is_a_sequence_of_modules(rng: np.random.Generator) -> None:
    parts = [nn.Linear(3, 2, rng=rng), nn.Tanh(), nn.Linear(2, 1, rng=rng)]
    net, x = nn.Sequential(*parts), rng.normal(size=(5, 3))
    assert len(net) == 3
    assert list(net) == parts
    assert net[0] is parts[0]
    assert net[-1] is parts[-1]
    assert np.array_equal(net(x).data, parts[2](np.tanh(parts[0](x))).data)
    assert nn.Sequential()(x) is x
    with pytest.raises(TypeError, match="argument 1 is"):
        nn.Sequential(parts[0], parts)


def test_a_slice_of_a_sequential_is_a_sequential(rng: np.random.Generator) -> None:
    net, x = nn.Sequential(nn.Linear(3, 2, rng=rng), nn.Tanh(), nn.Linear(2, 1, rng=rng)), rng.normal(size=(5, 3))
    front, back = net[:2], net[2:]
    assert isinstance(front, nn.Sequential)
    assert front[0].weight is net[0].weight
    assert np.array_equal(back(front(x)).data, net(x).data)


def test_one_module_at_two_places_runs_twice_and_is_trained_once(rng: np.random.Generator) -> None:
    layer, x = nn.Linear(2, 2, rng=rng), rng.normal(size=(5, 2))
    net = nn.Sequential(layer, nn.Sigmoid(), layer)
    assert np.array_equal(net(x).data, layer(tg.ops.sigmoid(layer(x))).data)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]


@pytest.mark.parametrize("value", [np.zeros((3, 2)), tg.Tensor([1.0]), 1.0], ids=["array", "Tensor", "number"])
def test_a_parameter_is_not_replaced_by_what_is_none(value):
    """It would leave `parameters()`, and no optimizer would train it."""
    layer = nn.Linear(2, 3, rng=0)
    with pytest.raises(TypeError, match=r"'weight' of Linear is a Parameter.*write \.weight\.data = array"):
        layer.weight = value
    assert len([*layer.parameters()]) == 2
    layer.weight = nn.Parameter(np.ones((3, 2)))
    layer.bias = None
    assert len([*layer.parameters()]) == 1


def test_a_buffer_is_not_replaced_by_what_is_none():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(TypeError, match="'running_mean' of BatchNorm1d is a Buffer"):
        norm.running_mean = np.zeros(3)
