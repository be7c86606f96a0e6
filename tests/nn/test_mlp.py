"""mlp is the network that one would write by hand: the same modules, the same draws."""

import itertools
from typing import Any

import numpy as np
import pytest

from tinygrad_vg import nn


def by_hand(sizes: list[int], activation: Any, rng: np.random.Generator, init: Any = None, **options: Any) -> Any:
    modules: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        modules.append(nn.Linear(n_in, n_out, rng=rng, **options))
        if init is not None:
            init(modules[-1].weight, rng=rng)
        modules.append(activation())
    return nn.Sequential(*modules[:-1])


@pytest.mark.parametrize("sizes", [[3, 2], [784, 30, 30, 10], (4, 4, 4), np.array([5, 3, 1])], ids=str)
@pytest.mark.parametrize("init", [None, nn.init.orthogonal_], ids=["Linear's", "orthogonal"])
@pytest.mark.parametrize("seeded", [True, False], ids=["seed", "generator"])
def test_the_same_seed_gives_the_network_written_by_hand(sizes: Any, init: Any, seeded: bool) -> None:
    rng, twin = np.random.default_rng(7), np.random.default_rng(7)
    net = nn.mlp(sizes, nn.Tanh, init=init, dtype=np.float32, rng=7 if seeded else rng)
    expected = by_hand(list(sizes), nn.Tanh, twin, init, dtype=np.float32)
    assert repr(net) == repr(expected)
    assert list(net.state_dict()) == list(expected.state_dict())
    for name, array in expected.state_dict().items():
        assert net.state_dict()[name].dtype == np.float32
        assert np.array_equal(net.state_dict()[name], array)
    if not seeded:  # the next network of this generator is the next by hand, too
        assert rng.bit_generator.state == twin.bit_generator.state


def test_it_is_a_sigmoid_network_of_float64_unless_said_otherwise() -> None:
    net = nn.mlp([3, 4, 2])
    assert [type(module) for module in net] == [nn.Linear, nn.Sigmoid, nn.Linear]
    assert {parameter.dtype for parameter in net.parameters()} == {np.dtype(np.float64)}


def test_no_seed_is_a_fresh_one() -> None:
    assert not np.array_equal(nn.mlp([3, 2])[0].weight.data, nn.mlp([3, 2])[0].weight.data)


def test_each_place_has_an_activation_of_its_own() -> None:
    made: list[nn.Module] = []

    def make() -> nn.Module:
        made.append(nn.Sequential(nn.Tanh(), nn.LayerNorm(4)))
        return made[-1]

    net = nn.mlp([4, 4, 4, 4], make, rng=0)
    assert net[1] is made[0]
    assert net[3] is made[1]
    assert made[0] is not made[1]


@pytest.mark.parametrize("sizes", [[], [3], [3, 0], [3, -2, 1], [3, 2.0], [3, "2"], [3, None]], ids=str)
def test_sizes_that_are_none_are_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match="two or more whole numbers above 0"):
        nn.mlp(sizes)


def test_a_module_in_place_of_its_class_is_refused() -> None:
    """One module at all places would run, and then be what nobody meant where it has parameters."""
    with pytest.raises(TypeError, match=r"give the class, not the module Tanh\(\)"):
        nn.mlp([3, 2, 1], nn.Tanh())


def test_what_is_no_size_and_no_activation_is_refused_with_what_to_write() -> None:
    with pytest.raises(
        TypeError, match=r"all sizes in one list: write mlp\(\[784, 30, 10\]\) for a hidden layer of 30"
    ):
        nn.mlp(784, 30)
    with pytest.raises(TypeError, match=r"the class of an activation, such as nn.ReLU, and not 'relu'"):
        nn.mlp([784, 30, 10], "relu")
