"""Clipping of gradients: norm and direction, PyTorch's numbers, members, the ends of the floats, compiled steps."""

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.compiler import TraceError
from tinygrad_vg.instruments import log10_norm
from tinygrad_vg.nn.clipping import clip_grad_norm_, clip_grad_value_

SHAPES = [(3, 2), (3,), (), (2, 0)]


def parameters(factor: float = 1.0, dtype: Any = np.float64) -> list[nn.Parameter]:
    rng = np.random.default_rng(0)
    made = [nn.Parameter(np.zeros(shape, dtype)) for shape in SHAPES]
    for p in made:
        p.grad = np.asarray(rng.normal(size=p.shape) * factor, dtype)
    return made


def flat(made: list[nn.Parameter]) -> Any:
    return np.concatenate([np.ravel(p.grad) for p in made]).astype(np.float64)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.1, 1.0, 1e3])
def test_the_norm_is_at_most_max_norm(norm_type: float, max_norm: float) -> None:
    made = parameters()
    old, arrays = flat(made), [p.grad for p in made]
    before = [np.copy(array) for array in arrays]
    norm = np.linalg.norm(old, norm_type)
    np.testing.assert_allclose(clip_grad_norm_(made, max_norm, norm_type), norm, rtol=1e-14)
    np.testing.assert_allclose(flat(made), old * min(1, max_norm / (norm + 1e-6)), rtol=1e-14)
    assert all(np.array_equal(array, copy) for array, copy in zip(arrays, before, strict=True))  # nothing in place


def test_one_parameter_a_generator_and_those_without_a_gradient() -> None:
    made = parameters()
    made[1].grad = None
    norm = np.linalg.norm(flat([made[0], made[2], made[3]]))
    np.testing.assert_allclose(clip_grad_norm_((p for p in made), 0.5), norm)
    np.testing.assert_allclose(clip_grad_norm_(made[0], 1e3), np.linalg.norm(made[0].grad))
    assert made[1].grad is None
    assert clip_grad_norm_([made[1]], 1.0) == 0
    clip_grad_value_(made[0], 0.01)
    assert abs(made[0].grad).max() == 0.01
    clip_grad_value_(made, 0.001)
    assert all(isinstance(p.grad, np.ndarray) for p in made if p is not made[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", ["smallest", "root", "inverse root", "largest"])
def test_norms_beyond_what_can_be_squared(dtype: Any, size: str) -> None:
    """And at the end of the floats beyond what the norm itself can be."""
    info = np.finfo(dtype)
    factor = {"smallest": info.tiny * 100, "root": info.tiny**0.5 / 100, "inverse root": info.max**0.5 * 100,
              "largest": info.max / 4}[size]  # fmt: skip
    made = parameters(float(factor), dtype)
    given = [p.grad for p in made]
    direction = flat(made) / float(factor)
    exact = log10_norm(flat(made) / float(factor)) + math.log10(factor)
    norm = clip_grad_norm_(made, 1.0)
    if exact < math.log10(np.finfo(np.float64).max):
        np.testing.assert_allclose(math.log10(norm), exact, rtol=1e-6 if dtype is np.float32 else 1e-13)
    else:
        assert norm == math.inf
    if factor < 1:
        assert all(p.grad is g for p, g in zip(made, given, strict=True))
    else:
        assert abs(log10_norm(flat(made))) < 1e-6
        assert flat(made) @ direction > (1 - 1e-6) * np.linalg.norm(direction)
    assert {p.grad.dtype for p in made} == {np.dtype(dtype)}


def test_gradients_in_extended_range() -> None:
    p, q = nn.Parameter(np.full(2, 1e-300)), nn.Parameter(np.full(1, 1e-300))
    ((np.sum(p) + 2 * np.sum(q)) * 1e300 * 1e300).backward(extended_range=True)
    assert clip_grad_norm_([p, q], 3.0) == math.inf
    np.testing.assert_allclose([*p.grad, *q.grad], np.array([1, 1, 2]) * 3 / math.sqrt(6), rtol=1e-14)
    p.grad = None
    (np.sum(p) * 1e-300 * 1e-300).backward(extended_range=True)
    clip_grad_norm_([p], 1.0)
    np.testing.assert_allclose(log10_norm(p.grad), -600 + math.log10(2) / 2)  # it is left as it was


def test_what_is_not_finite_makes_all_not_finite_or_raises() -> None:
    made = parameters()
    made[0].grad[0, 0] = np.nan
    before = [p.grad for p in made]
    with pytest.raises(RuntimeError, match="is nan, and error_if_nonfinite"):
        clip_grad_norm_(made, 1.0, error_if_nonfinite=True)
    assert all(p.grad is g for p, g in zip(made, before, strict=True))
    assert np.isnan(clip_grad_norm_(made, 1.0))
    assert np.isnan(flat(made)).all()
    made = parameters()
    made[1].grad[1] = -np.inf
    assert clip_grad_norm_(made, 1.0) == np.inf
    assert np.isnan(made[1].grad).tolist() == [False, True, False]
    assert not made[0].grad.any()


@pytest.mark.parametrize("max_norm", [0.5, 2.0])
def test_each_member_of_an_ensemble_is_clipped_by_its_own_norm(max_norm: float) -> None:
    nets = [nn.mlp([3, 4, 2], rng=seed) for seed in range(3)]
    for i, net in enumerate(nets):
        net[0].weight.data = 10.0**i * net[0].weight.data
    ensemble, x = nn.stack(nets), np.random.default_rng(1).normal(size=(5, 3))
    for net in (*nets, ensemble):
        np.sum(np.square(net(x))).backward()
    norms = clip_grad_norm_(ensemble.parameters(), max_norm)
    own = [clip_grad_norm_(net.parameters(), max_norm) for net in nets]
    np.testing.assert_allclose(norms, own, rtol=1e-13)
    for i, net in enumerate(nets):
        for p, whole in zip(net.parameters(), ensemble.parameters(), strict=True):
            np.testing.assert_allclose(whole.grad[i], p.grad, rtol=1e-12)
    assert {p.members for p in nn.unstack(ensemble, 0).parameters()} == {0}
    with pytest.raises(ValueError, match="no norm in common"):
        clip_grad_norm_([*ensemble.parameters(), *nets[0].parameters()], 1.0)


@pytest.mark.parametrize("members", [0, 3])
def test_a_compiled_step_clips(members: int) -> None:
    x, found = np.random.default_rng(1).normal(size=(6, 5, 3)), []
    for is_compiled in (False, True):
        nets = [nn.mlp([3, 4, 2], rng=seed) for seed in range(members or 1)]
        net = nn.stack(nets) if members else nets[0]
        sgd = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            sgd.zero_grad()  # noqa: B023 - each step is used up in its own turn
            loss = np.sum(np.square(net(x)))  # noqa: B023
            loss.backward()
            norm = clip_grad_norm_(net.parameters(), 5.0)  # noqa: B023
            clip_grad_value_(net.parameters(), 1.0)  # noqa: B023
            sgd.step()  # noqa: B023
            return loss, norm

        run = tg.compile(step, backend="numpy") if is_compiled else step
        results = [run(batch) for batch in x]
        found.append([np.stack([norm for _, norm in results]), *net.state_dict().values()])
        assert {(found[-1][0] > 5).any(), (found[-1][0] < 5).any()} == {True}  # it clips, and it does not
    for eager, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-11, atol=1e-14)


def test_what_clipping_refuses() -> None:
    net = nn.Linear(2, 1, rng=0)
    np.sum(net(np.ones((1, 2)))).backward()
    with pytest.raises(TypeError, match=r"net.parameters\(\)"):
        clip_grad_norm_(net, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"not -1\.0 and 2\.0"):
        clip_grad_norm_(net.parameters(), -1.0)
    with pytest.raises(ValueError, match="not nan"):
        clip_grad_value_(net.parameters(), math.nan)

    @tg.compile
    def step(x: Any) -> Any:
        np.sum(net(x)).backward()
        return clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True)

    net.zero_grad()
    with pytest.raises(TraceError, match="error_if_nonfinite"):
        step(np.ones((1, 2)))


@pytest.mark.torch
@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e5])
def test_clipping_is_that_of_pytorch(norm_type: float, factor: float) -> None:
    torch = pytest.importorskip("torch")
    made = parameters(factor)[:3]
    twins = [torch.nn.Parameter(torch.tensor(p.data)) for p in made]
    for p, twin in zip(made, twins, strict=True):
        twin.grad = torch.tensor(p.grad)
    norm = clip_grad_norm_(made, 1.5, norm_type)
    np.testing.assert_allclose(norm, torch.nn.utils.clip_grad_norm_(twins, 1.5, norm_type).item(), rtol=1e-13)
    for p, twin in zip(made, twins, strict=True):
        np.testing.assert_allclose(p.grad, twin.grad.numpy(), rtol=1e-12)
    clip_grad_value_(made, 0.2)
    torch.nn.utils.clip_grad_value_(twins, 0.2)
    for p, twin in zip(made, twins, strict=True):
        np.testing.assert_allclose(p.grad, twin.grad.numpy(), rtol=1e-12)
