"""The recorder: exact, silent, and gone after its block."""

import copy
import gc
import math
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine.graph import walk
from tinygrad_vg.instruments import GradientRecorder, Ledger, log10_norm

MEMBERS = 3


def network(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return tg.nn.Sequential(
        tg.nn.Linear(6, 5, rng=rng, dtype=dtype),
        tg.nn.Sigmoid(),
        tg.nn.Linear(5, 4, rng=rng, dtype=dtype),
        tg.nn.Tanh(),
        tg.nn.Linear(4, 2, rng=rng, dtype=dtype),
    )


@pytest.fixture(params=["one network", "an ensemble"])
def net(request):
    return network(0) if request.param == "one network" else tg.nn.stack([network(s) for s in range(MEMBERS)])


def train(net, steps, after_each=lambda: None):
    rng = np.random.default_rng(0)
    sgd, cost = tg.optim.SGD(net.parameters(), lr=0.5, momentum=0.9), tg.nn.MSELoss()
    for _ in range(steps):
        x, y = rng.normal(size=(8, 6)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
        sgd.zero_grad()
        cost(net(x), y).backward()
        sgd.step()
        after_each()


def test_what_is_recorded_is_the_gradient_itself(net):
    biases = [net[i].bias for i in (0, 2, 4)]
    seen = []
    with GradientRecorder(net) as recorder:
        train(net, 5, lambda: seen.append([log10_norm(b.grad, axis=-1) for b in biases]))
    history = recorder.history
    assert np.array_equal(history.log10_norm, seen)
    assert history.steps.tolist() == [0, 1, 2, 3, 4]
    assert (history.layers, history.names) == ((1, 2, 3), ("0", "2", "4"))


EVERYTHING = dict(values=True, statistics=True, on_nonfinite="raise", max_steps=16)


@pytest.mark.parametrize("options", [{}, EVERYTHING, EVERYTHING | dict(every=3, layers=[1, 3])], ids=str)
def test_training_is_bit_identical_with_and_without(net, options):
    other = copy.deepcopy(net)
    with GradientRecorder(net, **options):
        train(net, 50)
    train(other, 50)
    for mine, plain in zip(net.parameters(), other.parameters(), strict=True):
        assert np.array_equal(mine.data, plain.data)


def test_every_third_step_over_more_than_one_block(net):
    with GradientRecorder(net, every=3) as some:
        train(net, 1)  # restarted below: a history may be read at any time
        assert len(some.history.steps) == 1
        train(net, 999)
    assert some.history.steps.tolist() == list(range(0, 1000, 3))
    assert np.isfinite(some.history.log10_norm).all()


def test_every_third_equals_every_one_thinned():
    with GradientRecorder(first := network(0)) as all_steps:
        train(first, 20)
    with GradientRecorder(second := network(0), every=3) as some:
        train(second, 20)
    assert np.array_equal(some.history.log10_norm, all_steps.history.log10_norm[::3])


def test_hooks_are_gone_after_the_block_also_when_it_raises(net):
    recorder = GradientRecorder(net, statistics=True)
    graph = []
    net[4].register_forward_hook(lambda module, args, output: graph.append((args[0], output)))

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recorder:
        train(net, 2, after_each=lambda: len(recorder.history.steps) < 2 or fail())
    train(net, 2)
    assert len(recorder.history.steps) == 2
    assert not any(p.hooks for p in net.parameters())
    assert [len(module._forward_hooks or ()) for _, module in net.named_modules()] == [0] * 5 + [1]
    assert not any(tensor.hooks for pair in graph for tensor in pair)


def test_a_recorder_cannot_be_entered_twice_at_once_but_again(net):
    recorder = GradientRecorder(net)
    with recorder, pytest.raises(RuntimeError, match="recording already"), recorder:
        pass
    with GradientRecorder(net) as other, recorder:
        train(net, 2)
    with recorder:
        train(net, 1)
    assert recorder.history.steps.tolist() == [0, 1, 2]
    assert other.history.steps.tolist() == [0, 1]


def test_a_layer_that_a_backward_does_not_reach_is_not_computed():
    net = network(0)
    with GradientRecorder(net) as recorder:
        np.sum(net(np.ones((1, 6)))).backward()
        np.sum(net[4](np.ones((1, 4)))).backward()  # the last layer alone
        np.sum(net(np.ones((1, 6)))).backward()
    assert np.isnan(recorder.history.log10_norm).tolist() == [[False] * 3, [True, True, False], [False] * 3]


def test_nan_and_inf_are_recorded_as_such():
    net = network(0)
    with GradientRecorder(net) as recorder, np.errstate(invalid="ignore"):
        for value in (1.0, np.inf, np.nan):
            net(np.ones((1, 6))).backward(np.full((1, 2), value))
    assert np.isfinite(recorder.history.log10_norm[0]).all()
    assert recorder.history.log10_norm[1, 2] == np.inf
    assert np.isnan(recorder.history.log10_norm[2]).all()


def test_a_network_without_layers_and_a_wrong_every_are_refused():
    with pytest.raises(ValueError, match="Sigmoid has no Linear, Conv2d or layer with a bias"):
        GradientRecorder(tg.nn.Sigmoid())
    for every in (0, -1, 1.5):
        with pytest.raises(ValueError, match="every counts backwards"):
            GradientRecorder(network(0), every=every)
    for wrong, message in [
        (dict(max_steps=0), "max_steps counts backwards"),
        (dict(on_nonfinite="stop"), '"record" or "raise"'),
        (dict(layers=[4]), r"there is no layer 4; .*: 1 \('0'\), 2 \('2'\), 3 \('4'\)"),
        (dict(layers="3"), "there is no layer '3'"),
        (dict(layers=()), "selects no layer"),
    ]:
        with pytest.raises(ValueError, match=message):
            GradientRecorder(network(0), **wrong)


@pytest.mark.parametrize("layers", [[3, 1], ["0", "4"], [1, "4"]])
def test_chosen_layers_keep_their_numbers(net, layers):
    with GradientRecorder(net) as full, GradientRecorder(net, layers=layers, values=True) as some:
        train(net, 3)
    assert (some.history.layers, some.history.names) == ((1, 3), ("0", "4"))
    assert np.array_equal(some.history.log10_norm, full.history.log10_norm[:, [0, 2]])
    assert not net[2].bias.hooks


def test_values_are_the_gradients(net):
    seen = []
    with GradientRecorder(net, values=True) as recorder:
        train(net, 300, lambda: seen.append([net[i].bias.grad.copy() for i in (0, 2, 4)]))
    for i, values in enumerate(recorder.history.values):
        assert values.dtype == np.float32
        assert np.array_equal(values, [step[i] for step in seen])


# --- Statistics -------------------------------------------------------------------------------------------


def deltas_of_samples(net, x, y):
    """δ of every sample and layer, each sample run alone: [layer][sample] of (out,), or of (R, out)."""
    rows = []
    for sample, target in zip(x, y, strict=True):
        net.zero_grad()
        tg.nn.MSELoss("batchmean")(net(sample[None]), target[None]).backward()
        rows.append([net[i].bias.grad.copy() for i in (0, 2, 4)])
    net.zero_grad()
    return [np.array(layer) for layer in zip(*rows, strict=True)]


@pytest.mark.parametrize("reduction", ["batchmean", "sum"])
def test_statistics_are_those_of_samples_run_alone(net, reduction):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 6)).astype(np.float32), rng.normal(size=(7, 2)).astype(np.float32)
    deltas = deltas_of_samples(net, x, y)
    with GradientRecorder(net, statistics=True) as recorder:
        tg.nn.MSELoss(reduction)(net(x), y).backward()
    history = recorder.history
    for i, delta in enumerate(deltas):
        rms = np.sqrt((delta**2).sum(axis=-1).mean(axis=0))
        coherence = np.sqrt((delta.mean(axis=0) ** 2).sum(axis=-1)) / rms
        scale = 7 if reduction == "sum" else 1
        np.testing.assert_allclose(10 ** history.log10_rms[0, i], scale * rms, rtol=1e-5)
        np.testing.assert_allclose(history.coherence[0, i], coherence, rtol=1e-5)
    assert np.all(history.coherence < 1)
    np.testing.assert_allclose(history.log10_rms + np.log10(history.coherence), history.log10_norm, atol=1e-12)


def test_equal_samples_agree_and_opposite_ones_cancel():
    net = tg.nn.Sequential(tg.nn.Linear(3, 2, rng=0))
    x = np.ones((4, 3))
    with GradientRecorder(net, statistics=True) as recorder:
        net(x).backward(np.ones((4, 2)))
        net(x).backward(np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [-1.0, -2.0]]))
        net(x).backward(np.zeros((4, 2)))
    history = recorder.history
    assert history.coherence[:2, 0] == pytest.approx([1, 0], abs=1e-15)
    assert history.log10_rms[1, 0] == pytest.approx(math.log10(4 * math.sqrt(5)))
    assert (history.log10_rms[2, 0], history.log10_norm[2, 0]) == (-math.inf, -math.inf)
    assert np.isnan(history.coherence[2, 0])


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e300])
def test_statistics_at_the_ends_of_the_range(scale):
    net, g = tg.nn.Sequential(tg.nn.Linear(3, 2, rng=0)), np.random.default_rng(0).normal(size=(4, 2))
    with GradientRecorder(net, statistics=True) as recorder:
        net(np.ones((4, 3))).backward(g)
        net(np.ones((4, 3))).backward(g * scale)
    small, plain = recorder.history[1], recorder.history[0]
    np.testing.assert_allclose(small.log10_rms - plain.log10_rms, math.log10(scale), rtol=1e-13)
    np.testing.assert_allclose(small.coherence, plain.coherence, rtol=1e-11)


SLOPES = {
    tg.nn.Sigmoid: lambda z: 4 * np.exp(z) / (1 + np.exp(z)) ** 2,
    tg.nn.Tanh: lambda z: 1 - np.tanh(z) ** 2,
    tg.nn.ReLU: lambda z: (z > 0).astype(float),
}


@pytest.mark.parametrize("kind", SLOPES)
@pytest.mark.parametrize("members", [0, MEMBERS])
def test_saturation_is_the_share_of_small_slopes(kind, members):
    def layer(seed):
        linear = tg.nn.Linear(5, 40, rng=seed)
        linear.weight.data = linear.weight.data * (1.0 + seed) * 3
        return tg.nn.Sequential(linear, kind(), tg.nn.Linear(40, 1, rng=seed))

    net = tg.nn.stack([layer(seed) for seed in range(members)]) if members else layer(0)
    x = np.random.default_rng(0).normal(size=(20, 5))
    z = net[0](x).data
    with GradientRecorder(net, statistics=True) as recorder:
        np.sum(net(x)).backward()
    share = (SLOPES[kind](z) < 1 - 0.97**2).mean(axis=(-2, -1))
    assert np.min(share) > 0.01
    assert np.max(share) < 0.99
    np.testing.assert_allclose(recorder.history.saturation[0, 0], share, rtol=1e-12)
    assert np.isnan(recorder.history.saturation[0, 1]).all()  # the cost takes the activation's place


def test_update_is_what_the_weights_moved(net):
    before, expected = {}, []

    def look():
        ratios = []
        for i in (0, 2, 4):
            old, new = before[i].astype(np.float64), net[i].weight.data.astype(np.float64)
            ratios.append(np.log10(np.linalg.norm(new - old, axis=(-2, -1)) / np.linalg.norm(old, axis=(-2, -1))))
            before[i] = net[i].weight.data.copy()
        expected.append(ratios)

    before.update({i: net[i].weight.data.copy() for i in (0, 2, 4)})
    with GradientRecorder(net, statistics=True) as recorder:
        train(net, 4, look)
        assert np.isnan(recorder.history.log10_update[-1]).all()  # the step may not be over
    np.testing.assert_allclose(recorder.history.log10_update, expected, atol=1e-4)


def test_update_of_weights_that_are_changed_in_place_or_not_at_all():
    net = tg.nn.Sequential(tg.nn.Linear(3, 2, rng=0))
    with GradientRecorder(net, statistics=True) as recorder:
        np.sum(net(np.ones((1, 3)))).backward()
        np.sum(net(np.ones((1, 3)))).backward()
        net[0].weight.data *= 1.01
    np.testing.assert_allclose(recorder.history.log10_update, [[-math.inf], [-2]], atol=1e-12)


def test_statistics_of_every_third_step_are_those_of_all_steps_thinned(net):
    other = copy.deepcopy(net)
    with GradientRecorder(net, statistics=True) as all_steps:
        train(net, 300)
    with GradientRecorder(other, every=3, statistics=True) as some:
        train(other, 300)
    for name in ("log10_norm", "log10_rms", "coherence", "saturation", "log10_update"):
        assert np.array_equal(getattr(some.history, name), getattr(all_steps.history, name)[::3], equal_nan=True)


def test_statistics_belong_to_the_forwards_of_the_backward():
    """Validation in between, twice the same graph, a gradient of another kind, two uses in one cost."""
    net = network(0)
    x, y = np.random.default_rng(0).normal(size=(2, 8, 6)).astype(np.float32)
    with GradientRecorder(net, statistics=True) as recorder:
        cost = np.sum(net(x) ** 2.0)
        cost.backward()
        net(y)
        cost = np.sum(net(x) ** 2.0)
        net(y)
        tg.grad(cost, net[4].weight)
        cost.backward()
        cost.backward()
        np.sum((net(x) + net(x)) ** 2.0).backward()  # δ is four times as large
        np.sum((net(x) + np.sum(net(x[:3]))) ** 2.0).backward()
    history = recorder.history
    for step in (1, 2):
        for name in ("log10_rms", "coherence", "saturation"):
            assert np.array_equal(getattr(history, name)[step], getattr(history, name)[0], equal_nan=True)
    np.testing.assert_allclose(history.log10_rms[3] - history.log10_rms[0], math.log10(4), atol=1e-6)
    np.testing.assert_allclose(history.coherence[3], history.coherence[0], rtol=1e-5)
    assert np.isnan(history.log10_rms[4]).all()  # two batches of different size in one ∂C/∂b
    assert np.isfinite(history.log10_norm).all()


def test_two_forwards_then_two_backwards_and_a_backward_that_stops_on_the_way():
    x, y = np.random.default_rng(0).normal(size=(2, 8, 6)).astype(np.float32)
    net = network(0)
    with GradientRecorder(net, statistics=True) as recorder:
        for batch in (x, y):
            np.sum(net(batch) ** 2.0).backward()
        costs = [np.sum(net(batch) ** 2.0) for batch in (x, y)]
        for cost in costs:
            cost.backward()
        tg.grad(np.sum(net(y) ** 2.0), net[4].weight)
        np.sum(net(x) ** 2.0).backward()
    history = recorder.history
    assert history.steps.tolist() == [0, 1, 2, 3, 4]
    for name in ("log10_norm", "log10_rms", "coherence", "saturation"):
        numbers = getattr(history, name)
        assert np.array_equal(numbers[2:], numbers[[0, 1, 0]], equal_nan=True)


def test_samples_along_several_axes_and_a_single_one(net):
    x = np.random.default_rng(0).normal(size=(5, 2, 1, 8, 6)).astype(np.float32)
    flat = np.moveaxis(x, 2, 0).reshape(1, 80, 6)
    if net[0].bias.ndim == 1:
        x, flat = x[:, :, 0], flat[0]
    with GradientRecorder(net, statistics=True) as recorder:
        for batch in (x, flat, flat[..., :1, :]):
            np.sum(net(batch) ** 2.0).backward()
    history = recorder.history
    for name in ("log10_norm", "log10_rms", "coherence", "saturation"):
        np.testing.assert_allclose(getattr(history, name)[0], getattr(history, name)[1], atol=1e-5)
    np.testing.assert_allclose(history.coherence[2], 1, atol=1e-6)
    if net[0].bias.ndim == 1:
        with GradientRecorder(net, statistics=True) as alone:
            np.sum(net(flat[0]) ** 2.0).backward()
        np.testing.assert_allclose(alone.history.log10_rms[0], history.log10_rms[2], atol=1e-6)


def test_recording_keeps_no_graph_alive():
    net = network(0)
    gc.disable()
    try:
        with GradientRecorder(net, statistics=True):
            for walk in (True, False):
                z = net[0](np.ones((2, 6), np.float32))
                if walk:
                    np.sum(z).backward()
                alive = weakref.ref(z)
                del z
                assert alive() is None
    finally:
        gc.enable()


def test_extended_range_and_create_graph():
    net = tg.nn.Sequential(*(layer for i in range(70) for layer in (tg.nn.Linear(8, 8, rng=i), tg.nn.Sigmoid())))
    single = copy.deepcopy(net)
    for parameter in single.parameters():
        parameter.data = parameter.data.astype(np.float32)
    x = np.random.default_rng(0).normal(size=(3, 8))
    with GradientRecorder(net, statistics=True, values=True) as double:
        np.sum(net(x)).backward(create_graph=True)
    with GradientRecorder(single, statistics=True, values=True, on_nonfinite="raise") as extended:
        np.sum(single(x.astype(np.float32))).backward(extended_range=True)
    assert double.history.log10_norm[0, 0] < -46  # below float32
    assert extended.history.values[0].max() == 0
    np.testing.assert_allclose(extended.history.values[50], double.history.values[50], rtol=1e-3)
    for name in ("log10_norm", "log10_rms", "coherence"):
        np.testing.assert_allclose(getattr(extended.history, name), getattr(double.history, name), rtol=1e-3)


# --- Long runs, and numbers that are not finite -----------------------------------------------------------


@pytest.mark.parametrize("steps", [16, 17, 511, 512, 513, 1000])
def test_a_full_history_keeps_every_second_step(net, steps):
    other = copy.deepcopy(net)
    with GradientRecorder(net, max_steps=None, values=True) as whole:
        train(net, steps)
    with GradientRecorder(other, max_steps=16, values=True) as thin:
        train(other, steps)
    history, every = thin.history, thin.history.steps[1]
    assert 8 <= len(history.steps) <= 16
    assert history.steps.tolist() == list(range(0, steps, every))
    assert math.log2(every).is_integer()
    assert np.array_equal(history.log10_norm, whole.history.log10_norm[::every])
    for mine, all_values in zip(history.values, whole.history.values, strict=True):
        assert np.array_equal(mine, all_values[::every])


def tell(recorder, gradients):
    """A backward that has nothing to compute: it begins at the biases."""
    walk(dict(zip(recorder.biases[::-1], gradients[::-1], strict=True)))  # from the last layer down


@pytest.mark.long
def test_memory_does_not_grow_with_the_length_of_a_run():
    """At 5 layers it is 8 MB at most, here in 100,000 backwards of nothing but biases, and no more in the second half.

    Whatever a step left behind would show: 16 bytes a step are 0.8 MB.
    """
    net = tg.nn.Sequential(*(tg.nn.Linear(30, 30, dtype=np.float32, rng=i) for i in range(5)))
    gradients = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    tracemalloc.start()
    try:
        with GradientRecorder(net) as recorder:
            peaks = []
            for _ in range(2):
                tracemalloc.reset_peak()
                for _ in range(50_000):
                    tell(recorder, gradients)
                peaks.append(tracemalloc.get_traced_memory()[1])
            assert recorder.every == 16
            assert recorder.history.steps[-1] > 99_900
            assert 5000 < len(recorder.history.steps) <= 10_000
    finally:
        tracemalloc.stop()
    assert max(peaks) < 8e6
    assert peaks[1] < 1.2 * peaks[0]


def drive(net, steps, bad, value=np.inf, **options):
    """Gradients of a layer by layer recorder, told to its hooks; from step `bad` on layer 2 gets `value`."""
    recorder = GradientRecorder(net, values=True, **options)
    with recorder:
        for step in range(steps):
            gradients = [np.full(bias.shape, 1.0 + step, bias.dtype) for bias in recorder.biases]
            if step >= bad:
                gradients[1][..., 1] = value
            tell(recorder, gradients)
    return recorder.history


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("bad", [0, 3, 511, 512, 516, 777])
@pytest.mark.parametrize("options", [dict(every=50), dict(max_steps=8), dict(every=7, max_steps=3)], ids=str)
def test_the_last_frames_before_what_is_not_finite_are_kept(net, bad, options, value):
    history = drive(net, 1000, bad, value, **options)
    assert history.first_nonfinite == bad
    assert np.all(np.diff(history.steps) > 0)
    frames = range(max(0, bad - 10), bad + 1)
    assert set(frames) <= set(history.steps.tolist())
    others = [step for step in history.steps.tolist() if step not in frames]
    every = options.get("every", 1) * (1 if "max_steps" not in options else 2)
    assert all(step % every == 0 for step in others)
    assert len(others) <= options.get("max_steps", 20)
    for values in history.values[::2]:
        assert np.array_equal(values[..., 0].reshape(len(values), -1)[:, 0], 1 + history.steps)
    expected = np.nan if np.isnan(value) else np.inf
    late = history.log10_norm[history.steps >= bad, 1]
    assert np.array_equal(late, np.full(late.shape, expected), equal_nan=True)
    assert np.isfinite(history.log10_norm[history.steps < bad]).all()
    at = np.searchsorted(history.steps, history.first_nonfinite)
    assert history[max(0, at - 10) : at + 1].steps.tolist() == list(frames)


def test_one_bad_member_is_enough():
    net = tg.nn.stack([network(seed) for seed in range(MEMBERS)])
    with GradientRecorder(net, every=5) as recorder:
        for step in range(9):
            cost = net(np.ones((2, 6), np.float32))
            cost.backward(np.where(np.arange(3) == 1, np.nan if step == 7 else 1.0, 1.0)[:, None, None] + 0 * cost.data)
    assert recorder.history.first_nonfinite == 7
    assert recorder.history.steps.tolist() == list(range(8))
    assert np.isnan(recorder.history[-1, :, 1].log10_norm).all()
    assert np.isfinite(recorder.history[-1, :, ::2].log10_norm).all()


def test_a_layer_that_is_not_reached_is_not_taken_for_nan():
    net = network(0)
    with GradientRecorder(net) as recorder:
        np.sum(net[4](np.ones((1, 4)))).backward()
        assert recorder.history.first_nonfinite is None  # the step may be under way
        np.sum(net(np.ones((1, 6)))).backward()
    assert recorder.history.first_nonfinite is None


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinite numbers")])
def test_raise_names_the_layer_and_the_backward(value, what):
    net = network(0)
    with GradientRecorder(net, every=4, on_nonfinite="raise") as recorder, np.errstate(invalid="ignore"):
        for step in range(4):
            output = net(np.ones((1, 6)))
            if step < 3:
                output.backward(np.ones((1, 2)))
                continue
            with pytest.raises(FloatingPointError, match=rf"layer 3 \('4'\) holds {what} in backward 3"):
                output.backward(np.full((1, 2), value))
    assert recorder.history.steps.tolist() == [0, 1, 2, 3]
    assert recorder.history.first_nonfinite == 3
    assert not any(p.hooks for p in net.parameters())


# --- Ensembles --------------------------------------------------------------------------------------------


def test_every_number_of_an_ensemble_is_that_of_its_members():
    net = tg.nn.stack([network(seed, np.float64) for seed in range(MEMBERS)])
    alone = [tg.nn.unstack(net, i) for i in range(MEMBERS)]

    def record(net):
        sgd, rng = tg.optim.SGD(net.parameters(), lr=0.5), np.random.default_rng(0)
        with GradientRecorder(net, values=True, statistics=True) as recorder:
            for _ in range(3):
                sgd.zero_grad()
                tg.nn.MSELoss("batchmean")(net(3 * rng.normal(size=(8, 6))), rng.normal(size=(8, 2))).backward()
                sgd.step()
        return recorder.history

    together = record(net)
    for i, member in enumerate(alone):
        single = record(member)
        for name in ("log10_norm", "log10_rms", "coherence", "saturation", "log10_update"):
            np.testing.assert_allclose(getattr(together, name)[:, :, i], getattr(single, name), rtol=1e-9)
        for mine, its in zip(together.values, single.values, strict=True):
            np.testing.assert_allclose(mine[:, i], its, rtol=1e-9)


def test_costs_that_are_kept_make_no_step_longer() -> None:
    """As in `losses.append(cost)`: their graphs are alive, and what they have put out is not asked for again."""
    net, costs, wanted = nn.mlp([3, 3, 3], rng=0), [], []
    with (
        GradientRecorder(net, statistics=True),
        Ledger(net) as ledger,
        tg.engine.listen(lambda walk: wanted.append(len(walk.wanted))),
    ):
        for _ in range(4):
            costs.append(np.sum(net(np.ones((2, 3)))))
            costs[-1].backward()
        assert len({*wanted}) == 1
        assert len(ledger._listener._calls) == 2  # of the last pass
