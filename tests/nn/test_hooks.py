"""Forward hooks: what they see, what they may change, and that they compose with the hooks of tensors."""

from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn


class Double(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2.0


class Scale(nn.Module):
    """factor · x; its parameter makes outputs ask for gradients."""

    def __init__(self) -> None:
        self.factor = nn.Parameter(3.0)

    def forward(self, x: Any) -> Any:
        return self.factor * x


def test_a_hook_sees_module_arguments_and_output() -> None:
    module, seen = Double(), []
    module.register_forward_hook(lambda *arguments: seen.append(arguments))
    x = np.ones(3)
    output = module(x)
    ((hooked, args, result),) = seen
    assert hooked is module
    assert args == (x,)
    assert args[0] is x
    assert result is output


def test_none_keeps_the_output_and_anything_else_replaces_it() -> None:
    module = Double()
    with module.register_forward_hook(lambda module, args, output: None):
        assert module(1.0) == 2.0
    with module.register_forward_hook(lambda module, args, output: 0.0):  # false, but not None
        assert module(1.0) == 0.0
    assert module(1.0) == 2.0


def test_hooks_run_in_the_order_of_their_registration_on_the_output_of_the_one_before() -> None:
    module = Double()
    module.register_forward_hook(lambda module, args, output: output + 1.0)
    module.register_forward_hook(lambda module, args, output: output * 10.0)
    assert module(1.0) == 30.0


def test_a_hook_belongs_to_one_module() -> None:
    hooked, other, calls = Double(), Double(), []
    hooked.register_forward_hook(lambda *_: calls.append(1))
    other(1.0)
    assert calls == []


def test_remove_takes_off_one_hook_and_twice_is_harmless() -> None:
    module, calls = Double(), []
    first = module.register_forward_hook(lambda *_: calls.append("first"))
    module.register_forward_hook(lambda *_: calls.append("second"))
    first.remove()
    first.remove()
    module(1.0)
    assert calls == ["second"]


def test_one_function_registered_twice_has_two_handles() -> None:
    module, calls = Double(), []

    def hook(*_: Any) -> None:
        calls.append(1)

    handle = module.register_forward_hook(hook)
    module.register_forward_hook(hook)
    module(1.0)
    assert len(calls) == 2
    handle.remove()
    module(1.0)
    assert len(calls) == 3


def test_a_handle_is_a_context_manager_also_when_the_block_fails() -> None:
    module, calls = Double(), []

    def fail() -> None:
        with module.register_forward_hook(lambda *_: calls.append(1)):
            module(1.0)
            raise RuntimeError("in the block")

    with pytest.raises(RuntimeError, match="in the block"):
        fail()
    module(1.0)
    assert calls == [1]


def test_hooks_may_come_and_go_during_a_call() -> None:
    """The hooks of a call are those that were there when the module's forward returned, but for those taken off."""
    module, calls = Double(), []

    def once(*_: Any) -> None:
        calls.append("once")
        first.remove()
        second.remove()
        module.register_forward_hook(lambda *_: calls.append("late"))

    first = module.register_forward_hook(once)
    second = module.register_forward_hook(lambda *_: calls.append("second"))
    module(1.0)
    assert calls == ["once"]
    module(1.0)
    assert calls == ["once", "late"]


def test_a_hook_is_a_function() -> None:
    with pytest.raises(TypeError, match="a hook is a function, not 3"):
        Double().register_forward_hook(3)


@pytest.mark.parametrize("layer", [0, 1, 2, 3, 4])
def test_a_tensor_hook_on_the_output_gets_the_gradient_of_the_cost(rng: np.random.Generator, layer: int) -> None:
    """Also at the activations, whose slope comes before: a module's output is a tensor like any other."""
    net = nn.Sequential(
        nn.Linear(3, 4, rng=rng), nn.Sigmoid(), nn.Linear(4, 4, rng=rng), nn.Tanh(), nn.Linear(4, 2, rng=rng)
    )
    seen: list[Any] = []
    outputs: list[Any] = []

    def listen(module: nn.Module, args: Any, output: Any) -> None:
        outputs.append(output)
        output.register_hook(lambda g: seen.append(g.copy()))

    x, target = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    with net[layer].register_forward_hook(listen):
        cost = nn.MSELoss("batchmean")(net(x), target)
    cost.backward()
    assert len(seen) == 1
    assert np.array_equal(seen[0], tg.grad(cost, outputs)[0])
    if layer % 2 == 0:  # ∂C/∂b is ∂C/∂z summed over the batch
        np.testing.assert_allclose(seen[0].sum(axis=0), net[layer].bias.grad, rtol=1e-13)
    # By the formula, from the last layer down to the one that listens.
    weight = [net[i].weight.data if i % 2 == 0 else None for i in range(5)]
    z1 = x @ weight[0].T + net[0].bias.data
    a1 = 1 / (1 + np.exp(-z1))
    a2 = np.tanh(a1 @ weight[2].T + net[2].bias.data)
    delta = [2 * (a2 @ weight[4].T + net[4].bias.data - target) / 5]
    delta += [delta[-1] @ weight[4]]
    delta += [delta[-1] * (1 - a2**2)]
    delta += [delta[-1] @ weight[2]]
    delta += [delta[-1] * a1 * (1 - a1)]
    np.testing.assert_allclose(seen[0], delta[4 - layer], rtol=1e-12)


def test_gradients_go_through_a_replaced_output() -> None:
    module = Scale()
    with module.register_forward_hook(lambda module, args, output: output * output):
        module(2.0).backward()
    assert module.factor.grad == 2 * 3.0 * 2.0**2


def test_a_module_used_twice_calls_its_hook_twice() -> None:
    module, outputs = Scale(), []
    module.register_forward_hook(lambda module, args, output: outputs.append(output.item()))
    module(module(1.0))
    assert outputs == [3.0, 9.0]


def test_a_hook_gets_arguments_given_by_keyword_behind_the_others() -> None:
    """So whoever listens to a layer finds its input however it was called."""

    class Sum(nn.Module):
        def forward(self, x: Any, y: Any, z: Any) -> Any:
            return x + y + z

    module, seen = Sum(), []
    module.register_forward_hook(lambda module, args, output: seen.append(args))
    module(1.0, z=2.0, y=3.0)
    module(x=4.0, y=5.0, z=6.0)
    assert seen == [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]
