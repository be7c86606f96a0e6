"""BatchNorm1d and BatchNorm2d: laws, PyTorch's numbers, a loop over members; and compiled, the buffers too."""

import functools
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler import steps
from tests.compiler.backends import BACKENDS
from tinygrad_vg import nn, optim

close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-13)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": dict(),
    "options": dict(eps=0.1, momentum=0.3),
    "mean of all": dict(momentum=None),
    "no parameters": dict(affine=False),
    "no buffers": dict(track_running_stats=False),
    "neither": dict(affine=False, track_running_stats=False),
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
SHAPES = [(5, 4), (4, 4), (5, 4, 3), (4, 4, 4), (3, 4, 2, 3)]


def kind_for(axes: int) -> Any:
    """The class that takes a batch with so many axes, of a module `nn`."""
    return nn.BatchNorm1d if axes < 4 else nn.BatchNorm2d


def norm(rng: np.random.Generator, axes: int = 2, **options: Any) -> Any:
    layer = kind_for(axes)(4, **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, mean=0.5, rng=rng)
    return layer


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_batch_is_normalized_and_counted(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    layer, axes = kind_for(len(shape))(4, eps=0.0, momentum=None), (0, 2, 3)[: len(shape) - 1]
    batches = rng.normal(3, 2, size=(6, *shape))
    for x in batches:
        y = layer(x).data
        close(y.mean(axis=axes), 0)
        close(y.var(axis=axes), 1)
    of_batch = tuple(axis + 1 for axis in axes)
    close(layer.running_mean.data, batches.mean(axis=of_batch).mean(axis=0))
    close(layer.running_var.data, batches.var(axis=of_batch, ddof=1).mean(axis=0))
    assert layer.num_batches_tracked.item() == 6
    mean, std = (np.reshape(a, (4, *[1] * (len(shape) - 2)))
                 for a in (layer.running_mean.data, np.sqrt(layer.running_var.data)))  # fmt: skip
    close(layer.eval()(x).data, (x - mean) / std)
    assert layer.num_batches_tracked.item() == 6


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 2), (2, 4, 1, 2)], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_gradients_are_those_of_finite_differences(
    rng: np.random.Generator, shape: tuple[int, ...], training: bool
) -> None:
    layer = norm(rng, len(shape))
    layer(rng.normal(size=shape))
    layer.train(training)

    def function(x: Any, weight: Any, bias: Any) -> Any:
        vars(layer).update(weight=weight, bias=bias)  # Tensors, for their gradients
        return layer(x)

    inputs = [tg.Tensor(rng.normal(size=s), requires_grad=True) for s in (shape, (4,), (4,))]
    assert tg.gradcheck(function, inputs, order=2 if training else 1)


@every_option
@pytest.mark.parametrize("positions", [(), (3,), (3, 2)], ids=["(R, B, C)", "(R, B, C, L)", "images"])
@pytest.mark.parametrize("own_inputs", [True, False], ids=["own inputs", "shared inputs"])
def test_an_ensemble_is_a_loop_over_its_members(
    rng: np.random.Generator, options: dict[str, Any], positions: Any, own_inputs: bool
) -> None:
    """Four members, samples and features; an input that all members share has no further axis."""
    nets = [norm(rng, 2 + len(positions), **options) for _ in range(4)]
    ensemble = nn.stack(nets)
    shape = (4, 4, 4, *positions) if own_inputs else (1, 4, 4, *positions) if positions else (4, 4)
    for training in (True, True, False):
        x, g = tg.Tensor(rng.normal(size=shape), requires_grad=True), rng.normal(size=(4, 4, 4, *positions))
        ensemble.train(training)
        y = ensemble(x) + np.zeros(g.shape)
        (x_grad,) = tg.grad(y, x, g)
        for parameter in ensemble.parameters():
            parameter.grad = None
        y.backward(g)
        total = np.zeros(shape)
        for i, net in enumerate(nets):
            net.train(training)
            own = tg.Tensor(x.data[i] if own_inputs else x.data.reshape(shape[1:] if positions else shape),
                            requires_grad=True)  # fmt: skip
            output = net(own)
            close(y.data[i], output.data)
            for parameter in net.parameters():
                parameter.grad = None
            output.backward(g[i])
            total[i if own_inputs else 0 if positions else ...] += own.grad
            for mine, alone in zip(ensemble.parameters(), net.parameters(), strict=True):
                np.testing.assert_allclose(mine.grad[i], alone.grad, rtol=1e-10, atol=1e-12)
            for name, array in net.state_dict().items():
                close(ensemble.state_dict()[name][i], array)
        np.testing.assert_allclose(x_grad, total, rtol=1e-10, atol=1e-12)
    assert nn.unstack(ensemble, 1)(rng.normal(size=(5, 4, *positions))).shape == (5, 4, *positions)


def test_images_that_all_members_share_need_no_member_axis(rng: np.random.Generator) -> None:
    ensemble, x = nn.stack([norm(rng, 4) for _ in range(3)]), rng.normal(size=(5, 4, 2, 2))
    for training in (True, False):
        ensemble.train(training)
        close(np.zeros((3, 1, 1, 1, 1)) + ensemble(x).data, ensemble(x[None]).data)


def test_float32_stays_float32(rng: np.random.Generator) -> None:
    for momentum in (0.1, None):
        layer = nn.BatchNorm1d(4, momentum=momentum, dtype=np.float32)
        y = layer(rng.normal(size=(5, 4)).astype(np.float32))
        np.sum(y * y).backward()
        arrays = [y, layer.running_mean, layer.running_var, *(p.grad for p in layer.parameters())]
        assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
        assert layer.num_batches_tracked.dtype == np.int64
        layer(rng.normal(size=(5, 4)))
        assert layer.running_mean.dtype == np.float32


def test_what_does_not_fit_is_refused() -> None:
    for shape in [(5, 3), (4,), (5, 3, 4), (2, 5, 4, 3)]:
        with pytest.raises(ValueError, match=r"takes arrays of shape \(B, 4\) or \(B, 4, L\), not"):
            nn.BatchNorm1d(4)(np.zeros(shape))
    with pytest.raises(ValueError, match=r"or \(3, B, 4, L\) or \(3, B, 4\), not"):
        nn.stack([nn.BatchNorm1d(4) for _ in range(3)])(np.zeros((3, 5, 2)))
    for shape in [(5, 4), (5, 4, 2), (4, 5, 2, 2), (3, 5, 4, 2, 2)]:
        with pytest.raises(ValueError, match=r"BatchNorm2d\(.* takes arrays of shape \(B, 4, H, W\), not"):
            nn.BatchNorm2d(4)(np.zeros(shape))
    with pytest.raises(ValueError, match=r"shape \(B, 4, H, W\) or \(3, B, 4, H, W\), not"):
        nn.stack([nn.BatchNorm2d(4) for _ in range(3)])(np.zeros((3, 5, 4, 2)))
    with pytest.raises(ValueError, match=r"two or more values of each feature in training"):
        nn.BatchNorm1d(4)(np.zeros((1, 4)))
    assert nn.BatchNorm1d(4).eval()(np.zeros((1, 4))).shape == (1, 4)
    with pytest.raises(ValueError, match="at least one feature"):
        nn.BatchNorm1d(0)
    with pytest.raises(ValueError, match=r"of shape \(4,\) cannot be set to a value of shape \(3,\)"):
        nn.Buffer(np.zeros(4)).assign(tg.Tensor(np.zeros(3)))


# Compiled.


def network(members: int, **options: Any) -> nn.Module:
    nets = [nn.Sequential(nn.Linear(3, 4, rng=seed), nn.BatchNorm1d(4, **options), nn.Tanh(), nn.Linear(4, 2, rng=seed))
            for seed in range(members or 1)]  # fmt: skip
    return nn.stack(nets) if members else nets[0]


def training(net: nn.Module, backend: str | None = None) -> Any:
    return steps.training(net, backend, functools.partial(optim.SGD, lr=0.1), nn.MSELoss())


def check_twenty_steps(rng: np.random.Generator, members: int, options: dict[str, Any], backend: str) -> None:
    """Compiled steps and steps of their own: costs, parameters and buffers."""
    one, two = network(members, **options), network(members, **options)
    eager, compiled = training(one), training(two, backend)
    for _ in range(20):
        x, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
        close(eager(x, t).data, compiled(x, t).data)
    assert len(compiled.programs) == 1
    state = one.state_dict()
    for name, array in two.state_dict().items():
        close(array, state[name], err_msg=name)
    x = rng.normal(size=(5, 3))
    close(one.eval()(x).data, tg.compile(two.eval(), backend=backend)(x).data)


@every_option
@pytest.mark.parametrize("members", [0, 3], ids=["single", "ensemble"])
def test_twenty_compiled_steps_are_those_of_the_step_itself(
    rng: np.random.Generator, members: int, options: dict[str, Any]
) -> None:
    check_twenty_steps(rng, members, options, "numpy")


@pytest.mark.skipif("numba" not in BACKENDS, reason="MACHINE_CODE=1 tests it")
def test_twenty_steps_in_machine_code_are_those_of_the_step_itself(rng: np.random.Generator) -> None:
    check_twenty_steps(rng, 3, OPTIONS["mean of all"], "numba")


def test_a_layer_called_twice_in_a_compiled_step_counts_twice(rng: np.random.Generator) -> None:
    layers = [nn.BatchNorm1d(4), nn.BatchNorm1d(4)]
    compiled = tg.compile(lambda x: layers[1](2 * layers[1](x)), backend="numpy")
    for _ in range(3):
        x = rng.normal(size=(5, 4))
        close(layers[0](2 * layers[0](x)).data, compiled(x).data)
        for name, array in layers[0].state_dict().items():
            close(layers[1].state_dict()[name], array)
    assert layers[1].num_batches_tracked.item() == 6


def test_a_compiled_step_takes_buffers_that_were_set_in_between(rng: np.random.Generator) -> None:
    layer, x = nn.BatchNorm1d(4, momentum=0.5), rng.normal(size=(5, 4))
    compiled = tg.compile(layer, backend="numpy")
    for _ in range(3):
        compiled(x)
    held = np.zeros(4)
    layer.running_mean.data = held
    compiled(x)
    close(layer.running_mean.data, 0.5 * x.mean(axis=0))
    assert not held.any()
    layer.eval()
    close(compiled(x).data, layer(x).data)
    layer.train()
    compiled(x)
    assert layer.num_batches_tracked.item() == 5


def test_a_compiled_step_that_fails_leaves_the_buffers(rng: np.random.Generator) -> None:
    layer = nn.BatchNorm1d(4)
    with pytest.raises(TypeError, match="bool"):
        tg.compile(lambda x: layer(x) if layer(x).sum() > 0 else x, backend="numpy")(rng.normal(size=(5, 4)))
    assert layer.num_batches_tracked.item() == 0
    assert not layer.running_mean.data.any()


# PyTorch.


@pytest.mark.torch
@every_option
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_is_that_of_pytorch(
    rng: np.random.Generator, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    layer = norm(rng, len(shape), **options)
    twin = getattr(torch.nn, type(layer).__name__)(4, dtype=torch.float64, **options)
    assert list(layer.state_dict()) == list(twin.state_dict())
    twin.load_state_dict({name: torch.tensor(array) for name, array in layer.state_dict().items()})
    for step in range(4):
        if step == 3:
            layer.eval()
            twin.eval()
        x, g = rng.normal(3, 2, size=shape), rng.normal(size=shape)
        ours, theirs = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        output, twin_output = layer(ours), twin(theirs)
        layer.zero_grad()
        twin.zero_grad()
        output.backward(g)
        twin_output.backward(torch.tensor(g))
        np.testing.assert_allclose(output.data, twin_output.detach().numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-10, atol=1e-12)
        for name, parameter in layer.named_parameters():
            np.testing.assert_allclose(parameter.grad, getattr(twin, name).grad.numpy(), rtol=1e-11, atol=1e-12)
        for name, array in twin.state_dict().items():
            close(layer.state_dict()[name], array.numpy(), err_msg=name)
