"""Ledger, recorder and pictures of convolutional networks: exact decades, members, channels, and what is refused."""

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose, log10_norm, mean_field_of, what_if

X, T = np.random.default_rng(0).normal(size=(4, 1, 14, 14)), np.array([0, 1, 2, 1])
LABELS = ["MaxPool2d", "ReLU", "Flatten", "AvgPool2d", "GELU", "Tanh", "BatchNorm1d"]


def network(seed: int) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, bias=False, rng=rng), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(24, 8, bias=False, rng=rng), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3, rng=rng),
    )  # fmt: skip


def cost(net: nn.Module, x: Any = X) -> Any:
    return nn.CrossEntropyLoss()(net(x), T)


def test_the_steps_are_exact_and_add_up() -> None:
    """Norms of the gradients at the outputs of all modules, heard by hooks on their tensors."""
    net, norms = network(0), {}

    def hear(module: nn.Module, args: Any, output: Any) -> None:
        output.register_hook(lambda g: norms.__setitem__(module, log10_norm(np.array(g))))

    for module in net:
        module.register_forward_hook(hear)
    with Ledger(net) as ledger:
        cost(net).backward()
    of = [norms[module] for module in net]
    assert [part.label for row in ledger for part in row.parts] == LABELS
    found = [part.decades for row in ledger for part in row.parts]
    np.testing.assert_allclose(found, [of[i] - of[i + 1] for i in (1, 0, 5, 4, 3, 8, 7)], atol=1e-14)
    for row in ledger:
        assert row.weights + row.activation == pytest.approx(row.total, abs=1e-14)
    assert sum(row.total for row in ledger) == pytest.approx(of[0] - of[10], abs=1e-14)
    per_sample = 0.5 * np.log10(len(X))
    np.testing.assert_allclose(ledger.log10_norm, [of[i] + per_sample for i in (0, 3, 7, 10)], atol=1e-14)
    assert ledger.outputs[0].shape == (4, 4, 12, 12)
    plain = Ledger.of(net, cost(net))
    np.testing.assert_allclose(plain.log10_norm, ledger.log10_norm, atol=1e-13)
    assert diagnose(ledger).state in ("stable", "uneven")


@pytest.mark.parametrize("members", [0, 3])
def test_a_norm_of_images_has_its_own_decades(members: int) -> None:
    """It divides z by its spread, so where weights are 100 times as large its step is 2 decades lower."""

    def made(size: float) -> nn.Module:
        nets = [nn.Sequential(nn.Conv2d(1, 4, 3, rng=seed), nn.BatchNorm2d(4, eps=1e-12), nn.Tanh(), nn.Flatten(),
                              nn.Linear(576, 3, rng=seed)) for seed in range(members or 1)]  # fmt: skip
        for net in nets:
            net[0].weight.data = size * net[0].weight.data
        return nn.stack(nets) if members else nets[0]

    decades = []
    for size in (1.0, 100.0):
        net = made(size)
        with Ledger(net) as ledger, GradientRecorder(net) as recorder:
            cost(net).backward()
        (row,) = ledger.rows
        assert [part.label for part in row.parts] == ["Flatten", "Tanh", "BatchNorm2d"]
        np.testing.assert_allclose(row.weights + row.activation, row.total, atol=1e-14)
        decades.append(row.parts[-1].decades)
    np.testing.assert_allclose(decades[1] - decades[0], -2, atol=1e-6)
    assert recorder.names == ("0", "1", "4")


@pytest.mark.parametrize("own_images", [False, True], ids=["shared images", "own images"])
def test_members_have_their_own_accounts(own_images: bool) -> None:
    """As many members as samples, channels and classes or so: no axis is taken for another."""
    nets = [network(seed) for seed in range(4)]
    ensemble, x = nn.stack(nets), np.stack([X, 2 * X, X[::-1], -X]) if own_images else X
    with (
        Ledger(ensemble, every=1, neurons=True, spectra=True) as ledger,
        GradientRecorder(ensemble, statistics=True, values=True) as recorder,
    ):
        for _ in range(2):
            cost(ensemble, x).backward()
    for i, net in enumerate(nets):
        with (
            Ledger(net, every=1, neurons=True, spectra=True) as alone,
            GradientRecorder(net, statistics=True, values=True) as own,
        ):
            for _ in range(2):
                cost(net, x[i] if own_images else x).backward()
        for name in ("log10_norm", "total", "weights", "activation", "stable_rank", "alignment"):
            found, expected = getattr(ledger.history, name)[..., i], getattr(alone.history, name)
            np.testing.assert_allclose(found, expected, atol=1e-10, err_msg=name)
        dead = ledger.history.dead_fraction(2)[..., i]
        np.testing.assert_array_equal(dead, alone.history.dead_fraction(2))
        for name in ("log10_norm", "log10_weight_norm", "log10_rms", "coherence", "saturation"):
            found, expected = getattr(recorder.history, name)[..., i], getattr(own.history, name)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10, err_msg=name)
        for found, expected in zip(recorder.history.values, own.history.values, strict=True):
            np.testing.assert_allclose(found[:, i], expected, rtol=1e-9, atol=1e-12)


def test_the_recorder_has_the_gradients_of_biases_and_of_those_that_are_not_there() -> None:
    net, twin = network(0), network(0)
    for i, size in ((3, 6), (7, 8)):  # the same with biases of 0
        twin[i].bias = nn.Parameter(np.zeros(size))
    with GradientRecorder(net, values=True, statistics=True) as recorder, GradientRecorder(twin, values=True) as other:
        cost(net).backward()
        cost(twin).backward()
    assert recorder.names == other.names == ("0", "3", "7", "8", "10")
    for found, expected in zip(recorder.history.values, other.history.values, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-14)
    assert np.array_equal(recorder.history.values[0][0], net[0].bias.grad)
    assert other.history.values[1].shape == (1, 6)


def test_the_coherence_counts_every_position_as_a_sample() -> None:
    """‖mean δ‖/rms ‖δ‖, with a δ (channels,) for each sample and position."""
    net, deltas = network(0), []
    net[0].register_forward_hook(
        lambda m, args, z: deltas.append(z.register_hook(lambda g: deltas.append(np.array(g))))
    )
    with GradientRecorder(net, statistics=True) as recorder:
        cost(net).backward()
    rows = np.moveaxis(deltas[1], 1, -1).reshape(-1, 4)
    expected = np.linalg.norm(rows.mean(axis=0)) / np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    assert recorder.history.coherence[0, 0] == pytest.approx(expected, rel=1e-12)


def test_a_channel_that_is_off_for_all_samples_and_positions_is_dead() -> None:
    net = network(0)
    net[0].bias.data = np.array([-1e3, 1.0, -1e3, 1.0])
    with Ledger(net, every=1, neurons=True) as ledger:
        for _ in range(2):
            cost(net).backward()
    assert ledger.history.dead_neurons(1, window=2).tolist() == [True, False, True, False]
    assert ledger.history.dead_fraction(2)[-1, 0] == 0.5


def test_a_closed_convolution_is_named() -> None:
    net = network(0)
    net[0].bias.data = np.full(4, -1e3)
    with Ledger(net) as ledger:
        for _ in range(2):
            cost(net).backward()
    assert ledger.rows[0].cause == "no gradient"
    assert diagnose(ledger).state == "dead"
    net[3].weight.data = np.full_like(net[3].weight.data, np.nan)
    with Ledger(net) as ledger, np.errstate(invalid="ignore"):
        cost(net).backward()
    assert str(diagnose(ledger)) == "not finite: the weights of layer 2"


def test_a_compiled_step_is_heard_as_the_step_itself() -> None:
    histories = []
    for is_compiled in (False, True):
        net = network(0)
        sgd = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any, net: Any = net, sgd: Any = sgd) -> Any:
            sgd.zero_grad()
            loss = cost(net, x)
            loss.backward()
            sgd.step()
            return loss

        run = tg.compile(step, backend="numpy") if is_compiled else step
        with Ledger(net, every=1) as ledger, GradientRecorder(net) as recorder:
            for scale in (1.0, 2.0, -1.0):
                run(scale * X)
        histories.append((ledger.history.total, recorder.history.log10_norm, *net.state_dict().values()))
    for one, two in zip(*histories, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-10)


def test_pictures_show_channels() -> None:
    net = network(0)
    loss = cost(net)
    loss.backward()
    source = tg.draw.layers(net, loss).source
    assert "Conv2d 1 → 4" in source
    assert "Linear 24 → 8" in source
    assert "x: 1 channels" in source


def test_what_is_not_known_of_a_convolution_is_refused() -> None:
    net = network(0)
    with Ledger(net) as ledger:
        cost(net).backward()
        with pytest.raises(RuntimeError, match="layer 2 is a convolution; bounds are computed for matrices"):
            ledger.split()
    plain = nn.Sequential(nn.Conv2d(1, 4, 14, rng=0), nn.Flatten(), nn.Tanh(), nn.Linear(4, 2, rng=0))
    for attempt in (lambda: mean_field_of(net, X), lambda: what_if(plain[:1], X, activation=nn.Tanh)):
        with pytest.raises((TypeError, ValueError), match=r"this model has Conv2d|Linears in a row"):
            attempt()
    with pytest.raises(TypeError, match="this model has Conv2d"):
        mean_field_of(plain, X)
    with pytest.raises(ValueError, match="Conv2d has channels of images"):
        tg.draw.neurons(net, cost(net))
    with pytest.raises(ValueError, match=re.escape("takes images, whose size is not known before a call")):
        tg.draw.layers(net, Ledger(net))
    with pytest.raises(NotImplementedError, match="defines no width"):
        nn.Layer().width  # noqa: B018
