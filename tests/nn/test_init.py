"""Initializers against the distributions that they claim, over many draws.

A statistic of a sample must lie within five standard errors of its expectation: a right initializer fails one
check in two million, and the seeds are fixed, so a test that passes once always passes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.nn import init

Array = NDArray[np.floating[Any]]

# Fan-in and fan-out differ, and a stack of weights is neither.
STACK, OUT, IN = 30, 40, 60
STANDARD_ERRORS = 5

# (call, mean, standard deviation)
NORMAL: dict[str, tuple[Callable[..., Any], float, float]] = {
    "normal_": (init.normal_, 0, 1),
    "normal_(3, 0.2)": (lambda t, **kw: init.normal_(t, 3.0, 0.2, **kw), 3, 0.2),
    "standard_normal_": (init.standard_normal_, 0, 1),
    "scaled_normal_": (init.scaled_normal_, 0, math.sqrt(1 / IN)),
    "xavier_normal_": (init.xavier_normal_, 0, math.sqrt(2 / (IN + OUT))),
    "kaiming_normal_": (init.kaiming_normal_, 0, math.sqrt(2 / IN)),
}
# (call, low, high)
UNIFORM: dict[str, tuple[Callable[..., Any], float, float]] = {
    "uniform_": (init.uniform_, 0, 1),
    "uniform_(-3, 5)": (lambda t, **kw: init.uniform_(t, -3.0, 5.0, **kw), -3, 5),
    "xavier_uniform_": (init.xavier_uniform_, -math.sqrt(6 / (IN + OUT)), math.sqrt(6 / (IN + OUT))),
    "kaiming_uniform_": (init.kaiming_uniform_, -math.sqrt(6 / IN), math.sqrt(6 / IN)),
}
WITH_GAIN: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in [
        init.scaled_normal_,
        init.xavier_normal_,
        init.xavier_uniform_,
        init.kaiming_normal_,
        init.kaiming_uniform_,
        init.orthogonal_,
    ]
}
RANDOM: dict[str, Callable[..., Any]] = {
    **{name: case[0] for name, case in {**NORMAL, **UNIFORM}.items()},
    "orthogonal_": init.orthogonal_,
}
every_random_initializer = pytest.mark.parametrize("initializer", RANDOM.values(), ids=RANDOM)
every_initializer_with_gain = pytest.mark.parametrize("initializer", WITH_GAIN.values(), ids=WITH_GAIN)


def draw(initializer: Callable[..., Any], *shape: int, **options: Any) -> Array:
    tensor = initializer(tg.Tensor(np.full(shape, np.nan)), **{"rng": 0, **options})
    assert isinstance(tensor.data, np.ndarray)
    assert tensor.shape == shape
    return tensor.data


def assert_moments(x: Array, mean: float, std: float, fourth: float) -> None:
    """The sample has this mean and variance; `fourth` is the distribution's E(x − mean)⁴ / std⁴."""
    error = STANDARD_ERRORS / math.sqrt(x.size)
    assert abs(x.mean() - mean) < error * std
    assert abs(np.mean((x - mean) ** 2) - std**2) < error * std**2 * math.sqrt(fourth - 1)


def assert_share(hits: NDArray[np.bool_], share: float) -> None:
    assert abs(hits.mean() - share) < STANDARD_ERRORS * math.sqrt(share * (1 - share) / hits.size)


@pytest.mark.parametrize("shape", [(STACK, OUT, IN), (OUT, IN)], ids=["stack", "weight"])
@pytest.mark.parametrize(("initializer", "mean", "std"), NORMAL.values(), ids=NORMAL)
def test_normal(initializer: Callable[..., Any], mean: float, std: float, shape: tuple[int, ...]) -> None:
    x = draw(initializer, *shape)
    assert_moments(x, mean, std, fourth=3)
    for distance in [0.5, 1, 2]:
        assert_share(abs(x - mean) < distance * std, math.erf(distance / math.sqrt(2)))


@pytest.mark.parametrize("shape", [(STACK, OUT, IN), (OUT, IN)], ids=["stack", "weight"])
@pytest.mark.parametrize(("initializer", "low", "high"), UNIFORM.values(), ids=UNIFORM)
def test_uniform(initializer: Callable[..., Any], low: float, high: float, shape: tuple[int, ...]) -> None:
    x = draw(initializer, *shape)
    assert_moments(x, (low + high) / 2, (high - low) / math.sqrt(12), fourth=9 / 5)
    assert low <= x.min() <= x.max() <= high
    for share in [0.1, 0.5, 0.9]:
        assert_share(x < low + share * (high - low), share)


@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 1), (3, 7, 4), (3, 4, 7), (2, 3, 5, 5)], ids=str)
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    """The shorter side's vectors are orthonormal, times the gain, in every matrix of a stack."""
    q = draw(init.orthogonal_, *shape, gain=gain) / gain
    products = q.swapaxes(-1, -2) @ q if shape[-2] >= shape[-1] else q @ q.swapaxes(-1, -2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(min(shape[-2:])), products.shape), atol=1e-12)
    assert len(np.unique(q)) == q.size or shape == (1, 1)  # members differ


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 2), (2, 3)], ids=str)
def test_orthogonal_prefers_no_direction(shape: tuple[int, int]) -> None:
    """Every entry has mean 0 and variance 1/longer side, and half of the rotations are reflections."""
    q = draw(init.orthogonal_, 4000, *shape)
    variance = 1 / max(shape)
    error = STANDARD_ERRORS / math.sqrt(len(q))
    assert np.all(abs(q.mean(axis=0)) < error * math.sqrt(variance))
    assert np.all(abs(np.mean(q**2, axis=0) - variance) < error)  # q² ≤ 1 has a standard deviation below 1
    if shape[0] == shape[1]:
        assert_share(np.linalg.det(q) > 0, 0.5)


@every_initializer_with_gain
def test_gain_multiplies(initializer: Callable[..., Any]) -> None:
    once, three_times = draw(initializer, 3, 4, 5, gain=1.0), draw(initializer, 3, 4, 5, gain=3.0)
    np.testing.assert_allclose(three_times, 3 * once, rtol=0, atol=1e-14)


@every_initializer_with_gain
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_a_weight_has_two_axes(initializer: Callable[..., Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a weight is \(\.\.\., out, in\)") as caught:
        initializer(tg.Tensor(np.zeros(shape)))
    assert str(caught.value).startswith(f"a tensor of shape {shape} ")


@pytest.mark.parametrize("shape", [(4, 7), (3, 4, 7)], ids=str)
def test_fans(shape: tuple[int, ...]) -> None:
    assert init.fans(tg.Tensor(np.zeros(shape))) == (7, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@every_random_initializer
def test_the_tensor_keeps_its_dtype_and_is_returned(initializer: Callable[..., Any], dtype: type) -> None:
    tensor = nn.Parameter(np.zeros((3, 2), dtype))
    assert initializer(tensor, rng=0) is tensor
    assert tensor.dtype == dtype
    np.testing.assert_allclose(tensor.data, draw(initializer, 3, 2), rtol=np.finfo(dtype).eps)


@every_random_initializer
def test_the_old_array_stays_as_it_was(initializer: Callable[..., Any]) -> None:
    """A graph that still holds it stays right."""
    old = np.zeros((3, 2))
    tensor = initializer(nn.Parameter(old))
    assert not np.shares_memory(tensor.data, old)
    assert not old.any()


@every_random_initializer
def test_a_seed_is_a_generator_of_that_seed(initializer: Callable[..., Any]) -> None:
    rng = np.random.default_rng(7)
    first, second = draw(initializer, 3, 2, rng=rng), draw(initializer, 3, 2, rng=rng)
    assert np.array_equal(first, draw(initializer, 3, 2, rng=7))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, draw(initializer, 3, 2, rng=8))
    assert not np.array_equal(draw(initializer, 3, 2, rng=None), draw(initializer, 3, 2, rng=None))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (3, 2)], ids=str)
def test_constants(shape: tuple[int, ...], dtype: type) -> None:
    tensor = nn.Parameter(np.ones(shape, dtype))
    assert init.constant_(tensor, 0.25) is tensor
    assert np.array_equal(tensor.data, np.full(shape, 0.25))
    assert init.zeros_(tensor) is tensor
    assert np.array_equal(tensor.data, np.zeros(shape))
    assert tensor.dtype == dtype


@pytest.mark.parametrize("initializer", [init.normal_, init.uniform_, init.standard_normal_])
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_what_needs_no_fans_takes_any_shape(initializer: Callable[..., Any], shape: tuple[int, ...]) -> None:
    assert np.all(np.isfinite(draw(initializer, *shape)))
