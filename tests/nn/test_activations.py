"""Activations know their facts; a subclass inherits them, and an activation is found by what was recorded."""

import copy
import math
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, ops

BUILT_IN = [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Softplus, nn.Identity, nn.SELU]
every_activation = pytest.mark.parametrize("kind", BUILT_IN)


class MySigmoid(nn.Sigmoid):
    pass


class Cube(nn.Activation):
    function = staticmethod(tg.differentiable(lambda g, y, z: 3 * g * z * z)(lambda z: z * z * z))
    symbol = "cube"


class LeakyReLU(nn.Activation):
    largest_slope = 1.0

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, z: Any) -> Any:
        return np.where(z > 0, z, self.negative_slope * z)


class GELU(nn.Activation):
    """Its usual approximation, of several NumPy functions."""

    def forward(self, z: Any) -> Any:
        return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def slopes(kind: type[nn.Activation], z: Any) -> Any:
    tensor = tg.Tensor(z, requires_grad=True)
    return tg.grad(np.sum(kind()(tensor)), tensor)[0]


@every_activation
def test_no_slope_is_larger_than_the_largest(kind: type[nn.Activation]) -> None:
    found = np.abs(slopes(kind, np.linspace(-30, 30, 6001))).max()
    assert found <= kind.largest_slope
    assert found == pytest.approx(kind.largest_slope, rel=1e-12)


@every_activation
def test_saturated_is_where_the_slope_is_below_six_percent_of_the_largest(kind: type[nn.Activation]) -> None:
    z = np.linspace(-8, 8, 4001)
    y = kind()(z)
    share = np.abs(slopes(kind, z)) / kind.largest_slope
    saturated = kind.saturated(y)
    assert saturated.dtype == bool
    assert saturated.shape == y.shape
    assert np.array_equal(saturated[np.abs(share - 0.06) > 0.002], (share < 0.06)[np.abs(share - 0.06) > 0.002])


@pytest.mark.parametrize("kind", [nn.Activation, GELU, Cube, LeakyReLU])
def test_what_is_not_known_is_not_made_up(kind: type[nn.Activation]) -> None:
    assert kind.saturated(np.zeros(3)) is None
    assert kind is LeakyReLU or math.isnan(kind.largest_slope)


def test_a_subclass_has_all_facts_and_is_the_same_function() -> None:
    z = np.linspace(-3, 3, 7)
    assert (MySigmoid.symbol, MySigmoid.largest_slope) == ("σ", 0.25)
    assert MySigmoid.function is ops.sigmoid
    assert np.array_equal(MySigmoid.saturated(z), nn.Sigmoid.saturated(z))
    assert np.array_equal(MySigmoid()(z), ops.sigmoid(z))


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Softplus, nn.SiLU, MySigmoid, Cube])
def test_a_call_runs_the_function_itself(kind: type[nn.Activation]) -> None:
    """No method of ours lies between the call and the function: it would cost every layer of every step."""
    assert kind().forward is kind.function


def test_a_forward_of_one_s_own_is_kept() -> None:
    class Doubled(nn.Activation):
        function = staticmethod(np.tanh)

        def forward(self, z: Any) -> Any:
            return 2 * self.function(z)

    assert Doubled()(1.0) == 2 * np.tanh(1.0)


@pytest.mark.parametrize("make", [Cube, LeakyReLU, lambda: LeakyReLU(0.3), GELU])
def test_activations_of_one_s_own_have_gradients(make: Any) -> None:
    z = tg.Tensor(np.array([-1.5, -0.2, 0.3, 2.0]), requires_grad=True)
    assert tg.gradcheck(make(), [z])
    net = nn.Sequential(nn.Linear(3, 4, rng=0), make(), nn.Linear(4, 2, rng=1))
    np.sum(copy.deepcopy(net)(np.ones((5, 3)))).backward()
    assert nn.stack([net, net])(np.ones((5, 3))).shape == (2, 5, 2)


def test_an_activation_without_a_function_says_what_it_lacks() -> None:
    class Nothing(nn.Activation):
        pass

    with pytest.raises(TypeError, match=r"Nothing has no forward\(\)"):
        Nothing()(1.0)


# Activation.of


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Softplus, nn.SiLU, nn.SELU, Cube])
def test_an_activation_is_found_by_the_function_that_was_recorded(kind: type[nn.Activation]) -> None:
    z = tg.Tensor([0.3, -0.2], requires_grad=True)
    assert nn.Activation.of(kind.function(z)) is kind


def test_the_first_class_of_a_function_is_the_one_that_is_found() -> None:
    class Late(nn.Activation):
        function = staticmethod(np.tanh)

    assert nn.Activation.of(np.tanh(tg.Tensor(0.5, requires_grad=True))) is nn.Tanh


def test_what_is_no_activation_s_output_has_none() -> None:
    z = tg.Tensor([0.3, -0.2], requires_grad=True)
    assert nn.Activation.of(z) is None
    assert nn.Activation.of(z * z) is None
    assert nn.Activation.of(ops.sigmoid(tg.Tensor(1.0))) is None  # nothing was recorded


def test_the_module_that_was_called_comes_first() -> None:
    """Its options are its own, and an activation of several functions is found by nothing else."""
    z, leaky = tg.Tensor([[1.0]], requires_grad=True), LeakyReLU(0.3)
    assert nn.Activation.of(leaky(z)) is leaky
    assert nn.Activation.of(nn.Sequential(leaky)(z)) is leaky
    assert nn.Activation.of(nn.Linear(1, 1)(z)) is None
