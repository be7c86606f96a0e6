"""Modules nested deeper than Python's stack: an answer, or an error that says what to write."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

DEPTH = 1100  # Python allows 1,000 calls


@pytest.fixture(params=[nn.Residual, nn.Sequential], ids=lambda kind: kind.__name__)
def deep(request):
    module = nn.Linear(2, 2, rng=0)
    for _ in range(DEPTH):
        module = request.param(module)
    return module


def test_what_lists_them_answers(deep):
    name, parameter = next(deep.named_parameters())
    assert parameter.shape == (2, 2)
    assert name.count(".") == DEPTH
    assert len([*deep.named_modules()]) == DEPTH + 1
    deep.load_state_dict(deep.state_dict())
    deep.eval()
    assert not [*deep.named_modules()][-1][1].training


def test_a_copy_is_deep_too(deep):
    _, twin = copy.deepcopy([nn.Linear(1, 1), deep])
    assert [type(module) for _, module in twin.named_modules()] == [type(module) for _, module in deep.named_modules()]
    for ours, copied in zip(deep.parameters(), twin.parameters(), strict=True):
        assert ours is not copied
        assert np.array_equal(ours.data, copied.data)
    assert nn.unstack(nn.stack([deep, twin]), 1).state_dict().keys() == deep.state_dict().keys()


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_pickle_takes_them_and_keeps_what_is_shared(deep, protocol):
    twin = pickle.loads(pickle.dumps([deep, deep], protocol))
    assert twin[0] is twin[1]
    assert [type(module) for _, module in twin[0].named_modules()] == [
        type(module) for _, module in deep.named_modules()
    ]
    for (name, ours), (copied_name, copied) in zip(deep.named_parameters(), twin[0].named_parameters(), strict=True):
        assert name == copied_name
        assert np.array_equal(ours.data, copied.data)


def test_pickle_takes_lists_of_deep_modules_and_those_that_hold_themselves():
    net = nn.Module()
    net.parts = [nn.Linear(2, 2, rng=0)]
    for _ in range(DEPTH):
        above = nn.Module()
        above.parts = [[net], net]
        above.own = above
        net = above
    twin = pickle.loads(pickle.dumps(net))
    assert twin.own is twin
    assert twin.parts[0][0] is twin.parts[1]
    assert len([*twin.named_modules()]) == DEPTH + 2


def test_repr_leaves_out_what_is_too_deep(deep):
    text = repr(deep)
    assert text.startswith(f"{type(deep).__name__}(")
    assert "(...)" in text


def test_a_call_says_what_to_write(deep):
    with pytest.raises(RecursionError, match=r"modules call one another too deep .* Sequential\(\*modules\)"):
        deep(np.ones((1, 2)))


def test_copies_share_what_the_originals_share():
    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2, rng=0)
            self.list = [self.layer, nn.Sequential(self.layer)]
            self.weight = self.layer.weight
            self.own = self

    net = Net()
    twin = copy.deepcopy(net)
    assert twin.own is twin
    assert twin.list[0] is twin.list[1][0] is twin.layer is not net.layer
    assert twin.weight is twin.layer.weight is not net.weight
    nets = copy.deepcopy([net, net])
    assert nets[0] is nets[1] is not net
    assert nets[0].weight is nets[0].layer.weight


def test_a_copy_of_a_module_keeps_what_its_class_says_of_copies():
    class Counting(nn.Linear):
        def __getstate__(self):
            return {**super().__getstate__(), "copied": True}

    layer = Counting(2, 2, rng=0)
    layer.register_forward_hook(print)
    twin = copy.deepcopy(nn.Sequential(layer))[0]
    assert twin.copied
    assert not twin._forward_hooks
    assert isinstance(twin(np.ones((1, 2))), tg.Tensor)
