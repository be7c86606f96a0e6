"""What an output knows of the module calls that have put it out, and what it keeps alive by that."""

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine import calls


class Block(nn.Module):
    """A module around another one."""

    def __init__(self, inner: nn.Module) -> None:
        self.inner = inner

    def forward(self, x: Any, *rest: Any, **options: Any) -> Any:
        return self.inner(x)


def linear() -> nn.Linear:
    return nn.Linear(3, 3, rng=0)


def test_calls_are_told_from_the_innermost_out() -> None:
    layer, tanh = linear(), nn.Tanh()
    block = Block(nn.Sequential(layer, tanh))
    x = np.ones((1, 3))
    output = block(x)
    found = calls(output)
    assert [call.module for call in found] == [tanh, block.inner, block]
    z = found[0].inputs[0]
    assert [call.module for call in calls(z)] == [layer]
    assert found[1].inputs[0] is found[2].inputs[0] is calls(z)[0].inputs[0] is x


def test_inputs_are_all_arguments_also_those_by_keyword() -> None:
    block, x, y = Block(linear()), np.ones(3), np.zeros(2)
    assert calls(block(x, 1, scale=y))[-1].inputs == (x, 1, y)
    assert calls(block(x=x))[-1].inputs == (x,)


def test_a_tensor_that_goes_through_has_both_calls_and_is_none_of_its_own_inputs() -> None:
    """Identity hands its input on: its call would hold its own output."""
    layer, identity = linear(), nn.Identity()
    for way in (nn.Sequential(layer, identity, Block(identity)), lambda x: identity(identity(layer(x)))):
        output = way(np.ones((1, 3)))
        assert calls(output)[0].module is layer
        assert calls(output)[1].module is identity
        assert all(given is not output for call in calls(output) for given in call.inputs)


def test_an_input_that_is_put_out_among_others_is_left_out_alone() -> None:
    class Pick(nn.Module):
        def forward(self, a: Any, b: Any, which: Any = None) -> Any:
            return b

    z, other = linear()(np.ones(3)), np.ones(1)
    assert calls(Pick()(other, z, which=2))[-1].inputs == (other, 2)
    z = linear()(np.ones(3))
    assert calls(Pick()(other, b=z))[-1].inputs == (other,)


def test_nothing_is_kept_alive_when_the_output_is_dropped() -> None:
    """No cycle: not through modules that hand their input on, nor through the ones around them."""
    net = nn.Sequential(linear(), nn.Identity(), Block(nn.Sequential(nn.Identity(), nn.Tanh())), nn.Identity())
    gc.collect()
    gc.disable()
    try:
        output = net(np.ones((1, 3)))
        dropped = [weakref.ref(output), *(weakref.ref(given) for call in calls(output) for given in call.inputs
                                         if isinstance(given, tg.Tensor))]  # fmt: skip
        np.sum(output).backward()
        assert len(dropped) > 2
        del output
        assert not any(reference() for reference in dropped)
    finally:
        gc.enable()


def test_a_module_is_not_kept_by_what_it_has_no_part_in() -> None:
    """The inputs of a call are those of the graph; data and results beside it know of no call."""
    layer = linear()
    with tg.no_grad():
        assert layer(np.ones(3)).call is None
    assert Block(nn.Identity())(parameter := nn.Parameter(np.ones(3))) is parameter
    assert parameter.call is None
    assert (2 * layer(np.ones(3))).call is None
    assert layer(np.ones(3)).detach().call is None
    frozen = linear()
    for parameter in frozen.parameters():
        parameter.requires_grad = False
    assert frozen(np.ones(3)).call is None
    assert frozen(layer(np.ones(3))).call is not None


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_modules_and_parameters_know_no_call(duplicate: Any) -> None:
    net = nn.Sequential(linear(), nn.Identity(), nn.Tanh())
    np.sum(net(net[0].weight)).backward()
    parameter = duplicate(net[0].weight)
    assert parameter.call is None
    assert parameter.grad is None
    assert np.array_equal(parameter.data, net[0].weight.data)
    other = duplicate(net)
    assert np.array_equal(other(np.ones(3)).data, net(np.ones(3)).data)
    assert calls(other(np.ones(3)))[0].module is other[2]


def test_a_hook_that_puts_out_something_else_has_it_called() -> None:
    """What goes on is what has been put out."""
    layer = linear()
    with layer.register_forward_hook(lambda module, args, z: z * 2.0):
        output = layer(np.ones(3))
    assert [call.module for call in calls(output)] == [layer]
    assert output.node.function is np.multiply
    with layer.register_forward_hook(lambda module, args, z: z.data):
        assert isinstance(layer(np.ones(3)), np.ndarray)


def test_a_module_that_puts_out_several_has_no_call() -> None:
    class Two(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2.0, x * 3.0

    assert all(output.call is None for output in Two()(linear()(np.ones(3))))
