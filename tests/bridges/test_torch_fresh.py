"""Gradients that a recorder reads from `.grad`: only where they are fresh, and then they are those of the biases."""

import copy
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
from tests.bridges.kinds import KINDS, SETTINGS, trained  # noqa: E402 - it needs torch
from tinygrad_vg.bridges.torch import GradientRecorder  # noqa: E402

T = torch.nn


def drawn() -> Any:
    torch.manual_seed(0)
    return T.Sequential(T.Linear(4, 5), T.Tanh(), T.LayerNorm(5), T.Linear(5, 5), T.Tanh(), T.Linear(5, 2)).double()


def hooks(net: Any) -> int:
    return sum(len(p._backward_hooks or ()) for p in net.parameters())


def cost_of(net: Any, i: int) -> Any:
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
    return net(x).square().mean()


def zeroed(net: Any, i: int) -> None:
    net.zero_grad()
    cost_of(net, i).backward()


def zeroed_in_place(net: Any, i: int) -> None:
    net.zero_grad(set_to_none=False)
    cost_of(net, i).backward()


def accumulated(net: Any, i: int) -> None:
    if i % 3 == 0:
        net.zero_grad()
    cost_of(net, i).backward()


def by_grad(net: Any, i: int) -> None:
    torch.autograd.grad(cost_of(net, i), [*net.parameters()])


def graphed(net: Any, i: int) -> None:
    net.zero_grad()
    cost_of(net, i).backward(create_graph=True)
    for p in net.parameters():
        p.grad = p.grad.detach()


def both(net: Any, i: int) -> None:
    (by_grad if i % 2 else zeroed)(net, i)


def freed(net: Any, i: int) -> None:
    """An optimizer inside the backward takes the gradients away."""
    handles = [p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None)) for p in net.parameters()]
    cost_of(net, i).backward()
    for handle in handles:
        handle.remove()


def clipped(net: Any, i: int) -> None:
    """What changes a gradient in place behind the backward does not change what was recorded."""
    zeroed(net, i)
    T.utils.clip_grad_norm_(net.parameters(), 1e-3)


LOOPS = [zeroed, zeroed_in_place, accumulated, by_grad, graphed, both, freed, clipped]
FRESH = ("zeroed", "clipped")


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_rows_are_the_gradients_of_the_biases_bit_for_bit(loop: Any, every: int) -> None:
    net, steps = drawn(), 11
    with GradientRecorder(net, every=every, values=True) as recorder:
        for i in range(steps):
            loop(net, i)
        left = hooks(net)
    assert hooks(net) == 0
    assert recorder.history.steps.tolist() == [*range(0, steps, every)]
    plain = copy.deepcopy(net)
    for row, i in enumerate(recorder.history.steps.tolist()):
        plain.zero_grad()
        cost_of(plain, i).backward()
        for values, layer in zip(recorder.history.values, (0, 2, 3, 5), strict=True):
            assert np.array_equal(values[row], plain[layer].bias.grad.numpy())
    if loop.__name__ in FRESH:
        assert left == 1  # the hooks of the other biases are gone


def test_a_layer_that_is_not_reached_has_no_gradient() -> None:
    net = T.ModuleList([T.Linear(4, 5), T.Linear(5, 2), T.Linear(5, 3)])
    with GradientRecorder(net, values=True) as recorder:
        for i in range(8):
            if i not in (5, 6):
                net.zero_grad()
            below = net[0](torch.ones(3, 4))
            (net[1](below) if i % 4 else net[1](below) + net[2](below).sum()).sum().backward()
    reached = ~np.isnan(recorder.history.log10_norm)
    assert reached[:5].tolist() == [[True, True, i % 4 == 0] for i in range(5)]


def test_gradients_that_begin_to_accumulate_are_missing_for_one_row() -> None:
    net = drawn()
    with GradientRecorder(net, every=4, values=True) as recorder:
        for i in range(17):
            if i < 8:
                net.zero_grad()
            cost_of(net, i).backward()
    assert recorder.history.steps.tolist() == [0, 4, 8, 12, 16]
    assert np.isnan(recorder.history.log10_norm).all(axis=1).tolist() == [False, False, True, False, False]
    assert recorder.history.first_nonfinite is None
    plain = copy.deepcopy(net)
    plain.zero_grad()
    cost_of(plain, 16).backward()
    assert np.array_equal(recorder.history.values[3][-1], plain[5].bias.grad.numpy())


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", [name for name in KINDS if name != "recurrent"])
def test_trainings_of_every_kind_are_the_same_and_have_their_gradients(name: str, setting: Any) -> None:
    on: list[Any] = []
    grads: list[dict[str, Any]] = []

    def instruments(net: Any) -> list[Any]:
        on[:] = [GradientRecorder(net, values=True)]
        return on

    def after(net: Any) -> None:
        named = {n.removesuffix("_bias").removesuffix(".bias"): p for n, p in net.named_parameters() if "bias" in n}
        grads.append({n: p.grad.numpy().ravel().copy() for n, p in named.items() if p.grad is not None})

    weights = trained(name, setting, instruments, after, steps=4)
    bare = trained(name, setting, lambda net: [], steps=4)
    assert all(torch.equal(one, other) for one, other in zip(weights, bare, strict=True))
    history = on[0].history
    assert len(history.steps) == len(grads) == 4 * setting.backwards
    for values, layer in zip(history.values, history.names, strict=True):
        for step in range(0, len(grads), setting.backwards):  # where they are fresh
            if layer in grads[step]:
                assert np.array_equal(values[step], grads[step][layer])


def test_a_training_with_a_scaler_is_the_same() -> None:
    """With a scale that overflows at first, so that the first steps are left out and the scale is halved."""
    found, rows = [], []
    for every in (None, 1, 2):
        net = drawn().float()
        sgd, scaler = torch.optim.SGD(net.parameters(), lr=0.5), torch.amp.GradScaler("cpu", init_scale=2.0**127)
        recorder = None if every is None else GradientRecorder(net, every, scaler=scaler, values=True)
        if recorder is not None:
            recorder.__enter__()
        for i in range(12):
            sgd.zero_grad()
            x = torch.rand(6, 4, generator=torch.Generator().manual_seed(i))
            scaler.scale(8.0 * net(x).square().sum()).backward()
            scaler.unscale_(sgd)
            rows.append(net[5].bias.grad.numpy().copy())
            T.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(sgd)
            scaler.update()
        if recorder is not None:
            recorder.__exit__()
            finite = np.isfinite(recorder.history.values[3]).all(axis=1)
            assert 0 < finite.sum() < len(finite)
            expected = np.array(rows[-12::every])[finite]
            np.testing.assert_allclose(recorder.history.values[3][finite], expected, rtol=1e-6)
        found.append([p.detach().clone() for p in net.parameters()])
    for other in found[1:]:
        assert all(torch.equal(p, q) for p, q in zip(found[0], other, strict=True))
