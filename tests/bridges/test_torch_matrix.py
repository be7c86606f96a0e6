"""Every kind of network in every setting: the ledger's numbers are those of the gradients themselves, and the training
is the same bit for bit."""

import functools
import math
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tests.bridges.kinds import KINDS, SETTINGS, Setting, drawn, trained  # noqa: E402 - it needs torch
from tinygrad_vg.bridges.torch import GradientRecorder, Ledger  # noqa: E402


class Watched(NamedTuple):
    """A training with instruments on: the weights at its end, and for each backward the `.grad` of all biases."""

    weights: list[Any]
    recorder: Any
    ledger: Any
    grads: list[dict[str, Any]]


@functools.cache
def watched(name: str, setting: Setting) -> Watched:
    on: list[Any] = []
    grads: list[dict[str, Any]] = []

    def instruments(net: Any) -> list[Any]:
        recorder = nullcontext() if name == "recurrent" else GradientRecorder(net, values=True, statistics=True)
        on[:] = [recorder, Ledger(net, layers=KINDS[name].blocks, every=1)]
        return on

    def after(net: Any) -> None:
        named = {n.removesuffix("_bias").removesuffix(".bias"): p for n, p in net.named_parameters() if "bias" in n}
        grads.append({n: p.grad.numpy().ravel().copy() for n, p in named.items() if p.grad is not None})

    return Watched(trained(name, setting, instruments, after), *on, grads)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", KINDS)
def test_training_is_the_same_bit_for_bit(name: str, setting: Setting) -> None:
    bare = trained(name, setting, lambda net: [])
    assert all(torch.equal(one, other) for one, other in zip(watched(name, setting).weights, bare, strict=True))


def norms_by_hand(name: str, setting: Setting) -> list[tuple[list[float], list[float]]]:
    """log10 of ∂C/∂output and ∂C/∂input of the units of each backward, from `retain_grad`, which hears no hook."""
    net, _ = drawn(name, setting.dtype)
    kept: list[tuple[Any, Any]] = []
    chosen = KINDS[name].blocks
    wanted = {n for n, m in net.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.modules.conv._ConvNd)}
    result: list[tuple[list[float], list[float]]] = []

    def forward_of(module: Any) -> Any:
        plain = module.forward

        def forward(*args: Any, **options: Any) -> Any:
            x = args[0]
            if x.requires_grad:
                x.retain_grad()
            y = plain(*args, **options)
            z = y[0] if isinstance(y, tuple) else y
            z = z.view_as(z)  # what is written into y later has a gradient of its own
            z.retain_grad()
            kept.append((x, z))
            return (z, *y[1:]) if isinstance(y, tuple) else z

        return forward

    def after(net: Any) -> None:
        size = lambda x: math.nan if x.grad is None else math.log10(float(x.grad.double().norm()))  # noqa: E731
        result.append(([size(z) for _, z in kept], [size(x) for x, _ in kept]))
        kept.clear()

    def attach(net: Any) -> list[Any]:
        for own, module in net.named_modules():
            if own in (wanted if chosen is None else chosen):
                module.forward = forward_of(module)
        return []

    trained(name, setting, attach, after)
    return result


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", KINDS)
def test_the_steps_are_those_of_the_gradients_and_telescope(name: str, setting: Setting) -> None:
    history = watched(name, setting).ledger.history
    tolerance = 1e-12 if setting.dtype == "float64" else 1e-5
    by_hand = norms_by_hand(name, setting)
    assert len(by_hand) == len(history.steps)
    for step, (outputs, inputs) in enumerate(by_hand):
        steps = [low - high for low, high in pairwise(outputs)]
        np.testing.assert_allclose(history.total[step], steps, rtol=0, atol=tolerance)
        weights = [u - high for u, high in zip(inputs[1:], outputs[1:], strict=True)]
        np.testing.assert_allclose(history.weights[step], weights, rtol=0, atol=tolerance)
        assert abs(history.total[step].sum() - (outputs[0] - outputs[-1])) < tolerance
        assert np.abs(history.weights[step] + history.activation[step] - history.total[step]).max() < 1e-12


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", [name for name in KINDS if name != "recurrent"])
def test_the_recorder_has_the_gradients_of_the_biases(name: str, setting: Setting) -> None:
    """Bit for bit those that a fresh backward adds to `bias.grad`; with several backwards, each has its own row."""
    _, recorder, _, grads = watched(name, setting)
    history = recorder.history
    assert len(history.steps) == len(grads)
    compared = 0
    for i, layer in enumerate(history.names):
        for step, now in enumerate(grads):
            if layer not in now:
                continue  # a layer without a bias
            compared += 1
            if step % setting.backwards == 0:
                assert np.array_equal(history.values[i][step], now[layer]), layer
            else:
                added = now[layer] - grads[step - 1][layer]
                np.testing.assert_allclose(history.values[i][step], added, rtol=1e-9, atol=1e-15)
    assert compared >= len(grads)
