"""Convolution, pooling and Flatten: loops over patches, finite differences, PyTorch, and loops over members."""

import functools
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-13)
# (kernel, stride, padding) on images of 7 rows and 6 columns
FORMS = {
    "3": (3, 1, 0),
    "whole image": ((7, 6), 1, 0),
    "pairs": ((2, 3), (3, 2), (1, 0)),
    "gaps": (2, 3, 0),
    "padded": (3, 2, 1),
}
every_form = pytest.mark.parametrize(("kernel", "stride", "padding"), FORMS.values(), ids=FORMS)


def images(rng: np.random.Generator, *lead: int) -> Any:
    return rng.normal(size=(*lead, 7, 6))


def pair(n: Any) -> tuple[int, int]:
    return n if isinstance(n, tuple) else (n, n)


def patches(x: Any, kernel: Any, stride: Any, padding: Any, fill: float = 0.0) -> Any:
    """Every patch of x (B, C, H, W), by a loop: (H′, W′, B, C, kh, kw)."""
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel), pair(stride), pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    rows, columns = range(0, x.shape[2] - kh + 1, sh), range(0, x.shape[3] - kw + 1, sw)
    return np.array([[x[:, :, i : i + kh, j : j + kw] for j in columns] for i in rows])


@every_form
def test_a_convolution_is_a_sum_over_each_patch(
    rng: np.random.Generator, kernel: Any, stride: Any, padding: Any
) -> None:
    layer = nn.Conv2d(2, 4, kernel, stride, padding, rng=rng)
    x = images(rng, 3, 2)
    expected = np.einsum("hwbcij,ocij->bohw", patches(x, kernel, stride, padding), layer.weight.data)
    close(layer(x).data, expected + layer.bias.data[:, None, None])
    assert layer.weight.shape == (4, 2, *pair(kernel))


@every_form
def test_pools_take_the_largest_and_the_mean(rng: np.random.Generator, kernel: Any, stride: Any, padding: Any) -> None:
    x = images(rng, 3, 2)
    of_largest = patches(x, kernel, stride, padding, -np.inf).max(axis=(-2, -1))
    close(nn.MaxPool2d(kernel, stride, padding)(x), np.moveaxis(of_largest, (0, 1), (2, 3)))
    of_mean = patches(x, kernel, stride, padding).mean(axis=(-2, -1))
    close(nn.AvgPool2d(kernel, stride, padding)(x), np.moveaxis(of_mean, (0, 1), (2, 3)))


LAYERS = {
    "conv": lambda *form: nn.Conv2d(2, 3, *form, rng=0),
    "conv without bias": lambda *form: nn.Conv2d(2, 3, *form, bias=False, rng=0),
    "max": nn.MaxPool2d,
    "avg": nn.AvgPool2d,
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@pytest.mark.parametrize("own_inputs", [False, True], ids=["shared images", "own images"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@every_form
def test_an_ensemble_is_a_loop_over_its_members(
    rng: np.random.Generator, kernel: Any, stride: Any, padding: Any, bias: bool, own_inputs: bool
) -> None:
    """Three members, three images, three channels."""
    nets = [nn.Sequential(nn.Conv2d(3, 3, kernel, stride, padding, bias, rng=seed), nn.Tanh(), nn.Flatten())
            for seed in range(3)]  # fmt: skip
    ensemble = nn.stack(nets)
    x = tg.Tensor(images(rng, 3, 3, 3) if own_inputs else images(rng, 3, 3), requires_grad=True)
    y = ensemble(x)
    g = rng.normal(size=y.shape)
    y.backward(g)
    x_grads = []
    for i, net in enumerate(nets):
        own = tg.Tensor(x.data[i] if own_inputs else x.data, requires_grad=True)
        output = net(own)
        output.backward(g[i])
        x_grads.append(own.grad)
        close(y.data[i], output.data)
        for mine, alone in zip(ensemble.parameters(), net.parameters(), strict=True):
            close(mine.grad[i], alone.grad)
        close(nn.unstack(ensemble, i)(own).data, output.data)
    close(x.grad, np.stack(x_grads) if own_inputs else sum(x_grads))
    assert nn.members_of(ensemble[0]) == (3,)


def test_the_first_of_several_largest_has_the_gradient() -> None:
    x = tg.Tensor(np.array([[[[1.0, 3.0], [3.0, 3.0]]]]), requires_grad=True)
    np.sum(nn.MaxPool2d(2)(x)).backward()
    assert x.grad.tolist() == [[[[0, 1], [0, 0]]]]


def test_a_patch_with_nan_has_a_gradient() -> None:
    x = tg.Tensor(np.array([[[[1.0, np.nan], [3.0, 4.0]]]]), requires_grad=True)
    y = nn.MaxPool2d(2)(x)
    y.backward(np.ones(y.shape))
    assert np.isnan(y.data).all()
    assert x.grad.tolist() == [[[[0, 1], [0, 0]]]]


def test_a_convolution_starts_as_linear_does() -> None:
    """Weights N(0, 1/(in·kernel²)), then biases N(0, 1), from one generator; initializers know the fans."""
    layer, rng = nn.Conv2d(3, 5, 2, rng=3), np.random.default_rng(3)
    close(layer.weight.data, rng.normal(size=(5, 3, 2, 2)) / np.sqrt(12))
    close(layer.bias.data, rng.normal(size=5))
    assert nn.init.fans(layer.weight) == (12, 20)
    assert nn.init.fans(nn.stack([layer, layer]).weight) == (12, 20)
    rows = nn.init.orthogonal_(layer.weight, rng=0).data.reshape(5, 12)
    np.testing.assert_allclose(rows @ rows.T, np.eye(5), atol=1e-12)
    wide = nn.init.kaiming_normal_(nn.Conv2d(30, 40, 5).weight, rng=0).data
    assert wide.std() == pytest.approx(np.sqrt(2 / 750), rel=0.02)


@pytest.mark.parametrize("kind", ["conv", "max", "avg"])
def test_float32_stays_float32(rng: np.random.Generator, kind: str) -> None:
    layer = nn.Conv2d(2, 3, 2, dtype=np.float32, rng=0) if kind == "conv" else LAYERS[kind](2)
    x = tg.Tensor(images(rng, 2, 2).astype(np.float32), requires_grad=True)
    y = layer(x)
    np.sum(y).backward()
    assert {y.dtype, x.grad.dtype, *(p.grad.dtype for p in layer.parameters())} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(2, 3, 0), "kernel_size is a whole number, 1 or more"),
        (lambda: nn.Conv2d(2, 3, (1, 2, 3)), "or a pair of them"),
        (lambda: nn.Conv2d(2, 3, 2, padding=-1), "padding is a whole number, 0 or more"),
        (lambda: nn.Conv2d(0, 3, 2), "in_channels and out_channels are 1 or more"),
        (lambda: nn.MaxPool2d(2, padding=2), "more than half"),
        (lambda: nn.Conv2d(2, 3, 2)(np.zeros((2, 7, 6))), r"x\[None\] is a batch of one image"),
        (lambda: nn.Conv2d(2, 3, 2)(np.zeros((5, 3, 7, 6))), r"shape \(B, 2, H, W\), not \(5, 3, 7, 6\)"),
        (lambda: nn.Conv2d(2, 3, 2)(np.zeros((4, 5, 2, 7, 6))), r"not \(4, 5, 2, 7, 6\)"),
        (lambda: tg.ops.conv2d(np.zeros((2, 7, 6)), np.zeros((3, 2, 2, 2))), r"\(B, C, H, W\), not \(2, 7, 6\)"),
        (lambda: nn.Conv2d(2, 3, 8)(np.zeros((5, 2, 7, 6))), "larger than images"),
        (lambda: nn.MaxPool2d(8)(np.zeros((5, 2, 7, 6))), "larger than images"),
        (lambda: nn.AvgPool2d(2)(np.zeros(8)), r"images have the shape \(\.\.\., H, W\), not \(8,\)"),
        (lambda: nn.Flatten(3)(np.zeros((5, 2))), "cannot find the axes"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Flatten.


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [((), (5, 2, 3, 4), (5, 24)), ((), (5, 3, 4), (5, 12)), ((), (5, 3), (5, 3)), ((2, 3), (5, 2, 3, 4), (5, 2, 12)),
     ((-3,), (5, 2, 3, 4), (5, 24)), ((0,), (5, 3), (15,)), ((1, 2), (5, 2, 3, 4), (5, 6, 4))],
    ids=str,
)  # fmt: skip
def test_flatten_joins_axes(axes: Any, shape: Any, expected: Any) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    assert np.array_equal(nn.Flatten(*axes)(x), x.reshape(expected))


def test_flatten_knows_the_member_axis_and_does_not_guess_it() -> None:
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(12, 2, rng=seed)) for seed in range(3)]
    ensemble = nn.stack(nets)
    assert ensemble[0](np.zeros((3, 5, 1, 3, 4))).shape == (3, 5, 12)
    assert ensemble[0](np.zeros((5, 1, 3, 4))).shape == (5, 12)
    assert ensemble[0](np.zeros((3, 5))).shape == (3, 5)
    for shape in [(3, 1, 3, 4), (3, 5, 12)]:
        with pytest.raises(ValueError, match=r"may count the 3 members or 3 samples.* Flatten\(-"):
            ensemble[0](np.zeros(shape))
    assert nn.stack([nn.Flatten(-3) for _ in range(3)])(np.zeros((3, 5, 1, 3, 4))).shape == (3, 5, 12)
    assert nn.unstack(ensemble, 0)(np.zeros((3, 1, 3, 4))).shape == (3, 2)


def test_an_attribute_of_ones_own_with_that_name_stays() -> None:
    class Choir(nn.Module):
        def __init__(self, seed: int) -> None:
            self.members = [nn.Linear(2, 2, rng=seed)]

    choirs = nn.stack([Choir(seed) for seed in range(3)])
    assert isinstance(choirs.members, list)
    assert choirs.members[0].weight.shape == (3, 2, 2)


# PyTorch.


@pytest.mark.torch
@every_layer
@every_form
def test_layers_are_those_of_pytorch(
    rng: np.random.Generator, make: Any, kernel: Any, stride: Any, padding: Any
) -> None:
    torch = pytest.importorskip("torch")
    layer = make(kernel, stride, padding)
    if isinstance(layer, nn.Conv2d):
        twin = torch.nn.Conv2d(2, 3, kernel, stride, padding, bias=layer.bias is not None, dtype=torch.float64)
        twin.load_state_dict({name: torch.tensor(array) for name, array in layer.state_dict().items()})
    else:
        twin = getattr(torch.nn, type(layer).__name__)(kernel, stride, padding)
    x = np.maximum(images(rng, 3, 2), 0)  # zeros are ties, as behind a ReLU
    ours, theirs = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    output, twin_output = layer(ours), twin(theirs)
    g = rng.normal(size=output.shape)
    output.backward(g)
    twin_output.backward(torch.tensor(g))
    close(output.data, twin_output.detach().numpy())
    close(ours.grad, theirs.grad.numpy())
    for name, parameter in layer.named_parameters():
        close(parameter.grad, getattr(twin, name).grad.numpy())
