"""What the recorder and the ledger say of networks in PyTorch: verdicts, numbers, and what they leave behind."""

import copy
import math
import pickle
import weakref
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import diagnose

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tests.bridges.kinds import PreNorm, Residual  # noqa: E402 - it needs torch
from tinygrad_vg.bridges.torch import GradientClip, GradientRecorder, Ledger  # noqa: E402

T = torch.nn


def nielsen(activation: Any = T.Sigmoid, hidden: int = 4, dtype: Any = torch.float32) -> Any:
    """[784, 30, ..., 10] with Nielsen's start, weights N(0, 1/in) and biases N(0, 1)."""
    torch.manual_seed(0)
    parts: list[Any] = []
    for n_in, n_out in pairwise([784, *[30] * hidden, 10]):
        layer = T.Linear(n_in, n_out, dtype=dtype)
        T.init.normal_(layer.weight, std=n_in**-0.5)
        T.init.normal_(layer.bias)
        parts += [layer, activation()]
    return T.Sequential(*parts)


def step(net: Any, n_in: int = 784, seed: int = 1, scale: float = 1.0) -> Any:
    dtype = next(net.parameters()).dtype
    x = torch.rand(16, n_in, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    cost = net(x).square().mean() * scale
    cost.backward()
    return cost


def mlp(activation: Any = T.ReLU) -> Any:
    torch.manual_seed(0)
    return T.Sequential(T.Linear(4, 5), activation(), T.Linear(5, 5), activation(), T.Linear(5, 2))


def test_nielsens_network_vanishes_by_the_slopes() -> None:
    net = nielsen()
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        step(net)
    verdict, of_recorder = diagnose(ledger), diagnose(recorder)
    assert (verdict.state, verdict.cause, verdict.between, verdict.slopes) == (
        "vanishing",
        "activation",
        "Sigmoid",
        True,
    )
    assert verdict.severity == "at risk"
    assert "the slopes of Sigmoid (σ′) take" in str(verdict)
    assert -3.0 < verdict.total < -2.4
    assert of_recorder.state == "vanishing"
    assert all(row.activation < math.log10(1 / 4) for row in ledger.rows)
    assert not verdict.is_ill
    net = nielsen(hidden=6)
    with Ledger(net) as ledger:
        step(net)
    assert diagnose(ledger).is_ill


def test_the_same_network_in_ours_has_the_same_accounts() -> None:
    net = nielsen(dtype=torch.float64)
    own = tg.nn.Sequential(*tg.nn.mlp([784, *[30] * 4, 10], rng=0), tg.nn.Sigmoid())
    for mine, its in zip(own.parameters(), net.parameters(), strict=True):
        mine.data = its.detach().numpy().copy()
    x = np.random.default_rng(0).random((16, 784))
    with Ledger(net) as of_torch, GradientRecorder(net) as recorder:
        net(torch.from_numpy(x)).square().mean().backward()
    with tg.instruments.Ledger(own) as of_ours, tg.instruments.GradientRecorder(own) as own_recorder:
        np.mean(own(x) ** 2).backward()
    np.testing.assert_allclose(of_torch.log10_norm, of_ours.log10_norm, rtol=0, atol=1e-12)
    for row, own_row in zip(of_torch.rows, of_ours.rows, strict=True):
        assert abs(row.weights - own_row.weights) < 1e-12
        assert abs(row.activation - own_row.activation) < 1e-12
        assert row.parts[0].cap == own_row.parts[0].cap
    np.testing.assert_allclose(recorder.history.log10_norm, own_recorder.history.log10_norm, rtol=0, atol=1e-12)
    assert str(of_torch.table()) == str(of_ours.table())


def test_statistics_are_those_of_ours() -> None:
    net = mlp(T.Tanh).double()
    own = tg.nn.mlp([4, 5, 5, 2], tg.nn.Tanh, rng=0)
    for mine, its in zip(own.parameters(), net.parameters(), strict=True):
        mine.data = its.detach().numpy().copy()
    x = np.random.default_rng(0).normal(size=(16, 4)) * 3
    with GradientRecorder(net, statistics=True) as recorder:
        sgd = torch.optim.SGD(net.parameters(), lr=0.5)
        for _ in range(3):
            sgd.zero_grad()
            net(torch.from_numpy(x)).square().mean().backward()
            sgd.step()
    with tg.instruments.GradientRecorder(own, statistics=True) as own_recorder:
        own_sgd = tg.optim.SGD(own.parameters(), lr=0.5)
        for _ in range(3):
            own_sgd.zero_grad()
            np.mean(own(x) ** 2).backward()
            own_sgd.step()
    for name in ("log10_norm", "log10_weight_norm", "log10_rms", "coherence", "saturation", "log10_update"):
        numbers, own_numbers = getattr(recorder.history, name), getattr(own_recorder.history, name)
        np.testing.assert_allclose(numbers, own_numbers, rtol=0, atol=1e-7, err_msg=name)
    scalars, own_scalars = recorder.scalars(), own_recorder.scalars()
    assert scalars.keys() == own_scalars.keys() >= {"grad/1", "update/1", "saturation/1", "rate", "span", "total"}


def test_layers_are_numbered_as_they_are_called_also_after_an_embedding() -> None:
    class Net(T.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.norm, self.below = T.Linear(4, 2), T.LayerNorm(4), T.Linear(3, 4)
            self.unused, self.words = T.Linear(2, 2), T.Embedding(5, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.below(self.words(x))))

    net = Net()
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        net(torch.tensor([[0, 1], [2, 3]])).sum().backward()
    assert recorder.names == ("below", "norm", "head", "unused")
    assert np.isnan(recorder.history.log10_norm[0]).tolist() == [False, False, False, True]
    assert ledger.names == ("below", "head")
    assert [part.label for part in ledger.rows[0].parts] == ["LayerNorm"]
    with GradientRecorder(net, layers=[1, "head"], values=True) as recorder:
        net(torch.tensor([[0, 1], [2, 3]])).sum().backward()
    assert (recorder.layers, recorder.names) == ((1, 3), ("below", "head"))
    assert [v.shape for v in recorder.history.values] == [(1, 4), (1, 2)]


def test_a_layer_without_a_bias_has_what_a_bias_would_get() -> None:
    """To the order of one sum: two in float64 differ by rounding."""
    torch.manual_seed(0)
    with_bias = T.Sequential(T.Conv2d(1, 3, 2), T.ReLU(), T.Flatten(), T.Linear(27, 2)).double()
    without = copy.deepcopy(with_bias)
    for i in (0, 3):
        T.init.zeros_(with_bias[i].bias)
        without[i].register_parameter("bias", None)
    found = []
    for net in (with_bias, without):
        with GradientRecorder(net, values=True) as recorder:
            net(torch.ones(5, 1, 4, 4, dtype=torch.float64)).square().mean().backward()
        found.append(recorder.history.values)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 1e-36), ("float32", 1e36), ("float64", 1e-300), ("float64", 1e300)]
)
def test_sizes_over_the_whole_range_of_the_floats(dtype: str, size: float) -> None:
    net = T.Sequential(T.Linear(3, 3), T.Identity(), T.Linear(3, 1)).to(getattr(torch, dtype))
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        (net(torch.ones(2, 3, dtype=getattr(torch, dtype))).sum() * size).backward()
    assert abs(recorder.history.log10_norm[0, 1] - math.log10(2 * size)) < 1e-6  # the sum over two samples
    assert abs(ledger.log10_norm[-1] - math.log10(2 * size)) < 1e-6  # √B · √2 · size
    assert np.isfinite(ledger.log10_norm).all()


def test_every_max_steps_and_the_first_that_is_not_finite() -> None:
    net = mlp()
    with GradientRecorder(net, every=3, max_steps=4) as recorder, Ledger(net, every=3, max_steps=4) as ledger:
        for _ in range(20):
            step(net, 4)
    assert recorder.history.steps.tolist() == ledger.history.steps.tolist() == [0, 6, 12, 18]
    assert recorder.history.first_nonfinite is None
    net = mlp()
    with GradientRecorder(net) as recorder, Ledger(net, every=1) as ledger:
        for i in range(600):
            step(net, 4, scale=math.nan if i == 400 else 1.0)
            net.zero_grad()
    assert recorder.history.first_nonfinite == 400
    assert len(recorder.history.steps) == len(ledger.history.steps) == 600
    assert np.isnan(recorder.history.log10_norm[400]).all()
    assert set(ledger.history.cause[400]) == {"not finite"}


def test_a_nonfinite_gradient_can_raise_and_is_named() -> None:
    net = mlp()
    with GradientRecorder(net, every=5, on_nonfinite="raise") as recorder, Ledger(net) as ledger:
        step(net, 4)
        with torch.no_grad():
            net[2].weight[0, 0] = math.nan
        with pytest.raises(FloatingPointError, match=r"∂C/∂b of layer 3 \('4'\) holds NaN in backward 1"):
            step(net, 4)
    assert recorder.history.steps.tolist() == [0, 1]
    assert str(diagnose(ledger)) == "not finite: the weights of layer 2"


def test_dead_layers_are_named_after_two_backwards() -> None:
    net = mlp()
    T.init.constant_(net[2].bias, -100.0)
    with Ledger(net, every=1, neurons=True) as ledger, GradientRecorder(net) as recorder:
        step(net, 4)
        assert diagnose(ledger).state == "no gradient"
        for _ in range(39):
            step(net, 4)
    assert (diagnose(ledger).state, str(diagnose(ledger).named[0])) == ("dead", "the slopes at layer 2")
    assert ledger.silent == 40
    assert ledger.history.dead_fraction()[-1, 1] == 1.0
    assert ledger.scalars()["dead/2"] == 1.0
    assert diagnose(ledger.history).state == "dead"
    assert diagnose(recorder).state == "dead"


def test_spikes_name_the_layer_that_rose_first() -> None:
    net = mlp()
    with GradientRecorder(net) as recorder:
        for i in range(30):
            net.zero_grad()
            step(net, 4, seed=1, scale=1e4 if i == 20 else 1.0)
    (spike,) = recorder.history.spikes()
    assert (spike.step, len(spike.layers)) == (20, 3)


def test_the_verdict_is_told_when_it_changes() -> None:
    net, told = nielsen(), []
    with GradientRecorder(net, every=2, on_verdict=lambda diagnosis: told.append(diagnosis.state)):
        for _ in range(3):
            step(net)
        with torch.no_grad():
            for i in (2, 4, 6, 8):
                net[i].weight *= 60.0
        for _ in range(60):
            step(net)
    assert told[0] == "vanishing"
    assert len(told) > 1
    assert all(one != other for one, other in pairwise(told))


def test_a_graph_of_another_cost_is_no_backward() -> None:
    net, x = mlp(T.Tanh), torch.rand(3, 4, requires_grad=True)
    with GradientRecorder(net, values=True) as recorder:
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        slope.square().sum().backward()  # the gradient penalty
        torch.autograd.grad(net(x).sum(), x)
    assert recorder.history.steps.tolist() == [0]
    assert np.array_equal(recorder.history.values[0][0], net[0].bias.grad.numpy())


def test_a_layer_called_twice_is_refused_or_summed() -> None:
    class Twice(T.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.tied = T.Linear(4, 4), T.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.tied(torch.tanh(self.tied(torch.tanh(self.below(x)))))

    net = Twice()
    with GradientRecorder(net), pytest.raises(ValueError, match="'tied' was called 2 times in one backward"):
        step(net, 4)
    with Ledger(net), pytest.raises(ValueError, match="'tied' is called several times in one pass"):
        step(net, 4)
    net.zero_grad()
    with GradientRecorder(net, call="sum", values=True) as recorder, Ledger(net, call="each") as ledger:
        step(net, 4)
    assert np.array_equal(recorder.history.values[1][0], net.tied.bias.grad.numpy())
    assert ledger.names == ("below", "tied", "tied")
    with GradientRecorder(net, layers=["below"]):
        step(net, 4)


def test_two_calls_of_the_network_before_one_backward_are_the_last_pass() -> None:
    net = mlp()
    with Ledger(net) as ledger:
        (net(torch.ones(2, 4)).sum() + 3 * net(torch.ones(7, 4)).sum()).backward()
    assert ledger.accounts[0].samples == 7


def test_half_precision_and_the_scale_of_the_loss() -> None:
    """The scale of the loss is divided out, and bfloat16 is read as float32."""
    net = mlp(T.Tanh).double()
    with GradientRecorder(net, values=True, statistics=True) as plain, Ledger(net, every=1) as plain_ledger:
        step(net, 4)
    net.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=3.0 * 2**16)
    with (
        GradientRecorder(net, values=True, statistics=True, scaler=scaler) as recorder,
        Ledger(net, every=1, scaler=scaler) as ledger,
    ):
        x = torch.rand(16, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        scaler.scale(net(x).square().mean()).backward()
    np.testing.assert_allclose(recorder.history.log10_norm, plain.history.log10_norm, rtol=0, atol=1e-12)
    np.testing.assert_allclose(recorder.history.log10_rms, plain.history.log10_rms, rtol=0, atol=1e-6)
    np.testing.assert_allclose(recorder.history.values[0], plain.history.values[0], rtol=1e-12)
    np.testing.assert_allclose(ledger.history.log10_norm, plain_ledger.history.log10_norm, rtol=0, atol=1e-12)
    half = mlp(T.Tanh).bfloat16()
    with GradientRecorder(half, values=True) as recorder, Ledger(half) as ledger:
        step(half, 4)
    assert recorder.history.values[0].dtype == np.float32
    assert np.array_equal(recorder.history.values[0][0], half[0].bias.grad.float().numpy())
    assert np.isfinite([row.total for row in ledger.rows]).all()


def test_clipping_is_pytorchs_and_says_how_often_it_binds() -> None:
    one, other = mlp(), mlp()
    clip = GradientClip(max_norm=0.05)
    for scale in (1.0, 1e-3, 1.0):
        for net, clipped in ((one, clip), (other, lambda p: T.utils.clip_grad_norm_(p, 0.05))):
            net.zero_grad()
            step(net, 4, scale=scale)
            norm = clipped(net.parameters())
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(one.parameters(), other.parameters(), strict=True))
        assert abs(clip.log10_before[-1] - math.log10(norm)) < 1e-6
        after = torch.cat([p.grad.ravel() for p in one.parameters()]).double().norm()
        assert abs(clip.log10_after[-1] - math.log10(after)) < 1e-5
    assert clip.share == 2 / 3
    assert clip.scalars()["clip/share"] == clip.share


def handles(net: Any) -> int:
    """How many hooks there are on a network, its parameters, and all modules."""
    of_modules = [getattr(m, name) for m in net.modules() for name in ("_forward_hooks", "_forward_pre_hooks",
                                                                    "_backward_hooks")]  # fmt: skip
    of_parameters = [p._backward_hooks or {} for p in net.parameters()]
    return sum(map(len, [*of_modules, *of_parameters, T.modules.module._global_forward_hooks]))


def test_nothing_is_left_behind() -> None:
    net = mlp()
    on: list[int] = []

    def fail() -> None:
        with GradientRecorder(net, statistics=True), Ledger(net):
            step(net, 4)
            on.append(handles(net))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert on[0] > 0
    assert handles(net) == 0
    recorder = GradientRecorder(net)
    with recorder:
        with pytest.raises(RuntimeError, match="recording already"):
            recorder.__enter__()
        step(net, 4)
    with recorder:  # it goes on
        step(net, 4)
    assert (handles(net), recorder.history.steps.tolist()) == (0, [0, 1])


def test_copies_and_pickles_inside_the_block_are_plain_networks() -> None:
    net = mlp()
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        step(net, 4)
        before = ledger.log10_norm
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            step(other, 4)
            assert all(not p._backward_hooks for p in other.parameters())
            assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))
        assert b"tinygrad" not in pickle.dumps(net)
    assert recorder.history.steps.tolist() == [0]
    assert np.array_equal(ledger.log10_norm, before)


class Token:
    """Lives as long as the node of the graph that holds it."""


class Marked(torch.autograd.Function):
    alive: ClassVar[list[Any]] = []

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.token = Token()
        Marked.alive.append(weakref.ref(ctx.token))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient


class Mark(T.Module):
    def forward(self, x: Any) -> Any:
        return Marked.apply(x)


def test_no_graph_is_kept_between_steps() -> None:
    net = T.Sequential(T.Linear(4, 5), Mark(), T.Linear(5, 5), T.ReLU(), T.Linear(5, 2))
    Marked.alive.clear()
    with GradientRecorder(net, statistics=True), Ledger(net, every=1, neurons=True):
        for _ in range(2):
            step(net, 4)
            assert len(Marked.alive) == 1
            assert Marked.alive.pop()() is None
        net[2](net[1](net[0](torch.rand(3, 4)))).sum().backward()  # its parts, and not the whole
        assert Marked.alive.pop()() is None
        y = net(torch.rand(3, 4))  # a pass without a backward
        del y
        assert Marked.alive.pop()() is None


def test_passes_without_gradients_and_checkpoints_do_not_count() -> None:
    net = T.Sequential(T.Linear(4, 5), T.Sequential(T.Tanh(), T.Linear(5, 5)), T.Linear(5, 2))
    plain = copy.deepcopy(net)
    with GradientRecorder(net) as recorder, Ledger(net) as ledger:
        with torch.no_grad():
            net(torch.rand(3, 4))
        net.eval()(torch.rand(3, 4))
        x = torch.ones(3, 4)
        inner = torch.utils.checkpoint.checkpoint(net[1], net[0](x), use_reentrant=False)
        net[2](inner).square().sum().backward()
    with GradientRecorder(plain) as its, Ledger(plain) as its_ledger:
        plain(x).square().sum().backward()
    assert np.array_equal(recorder.history.log10_norm, its.history.log10_norm)
    assert np.array_equal(ledger.log10_norm, its_ledger.log10_norm)


def test_a_backward_inside_a_backward_is_refused() -> None:
    """To a ledger a reentrant checkpoint is one operation, for there is no graph of what is inside."""
    net = T.Sequential(T.Linear(4, 5), T.Sequential(T.Tanh(), T.Linear(5, 5)), T.Linear(5, 2))
    with GradientRecorder(net):
        step(net, 4)
        inner = torch.utils.checkpoint.checkpoint(net[1], net[0](torch.ones(3, 4)), use_reentrant=True)
        cost = net[2](inner).square().sum()
        with pytest.raises((RuntimeError, ValueError), match="use_reentrant=False"):
            cost.backward()
    with Ledger(net) as ledger:
        inner = torch.utils.checkpoint.checkpoint(net[1], net[0](torch.ones(3, 4)), use_reentrant=True)
        net[2](inner).square().sum().backward()
    assert [part.label for part in ledger.rows[0].parts] == ["checkpointfunction"]


def test_a_backward_that_stops_midway_is_forgotten() -> None:
    net, stops = mlp(), [True]

    def stop(gradient: Any) -> None:
        if stops:
            raise ZeroDivisionError

    with GradientRecorder(net, values=True) as recorder, Ledger(net) as ledger:
        handle = net[0].weight.register_hook(stop)
        with pytest.raises(ZeroDivisionError):
            step(net, 4)
        stops.clear()
        net.zero_grad()
        step(net, 4, seed=2)
        handle.remove()
    assert np.array_equal(recorder.history.values[0][-1], net[0].bias.grad.numpy())
    assert ledger.heard


def test_blocks_say_which_one_takes_the_gradient() -> None:
    torch.manual_seed(0)
    net = T.Sequential(T.Linear(6, 6), *(PreNorm() for _ in range(4)), T.Linear(6, 2))
    with torch.no_grad():
        net[3].out.weight *= 500.0
    with Ledger(net, layers=[str(i) for i in range(6)], every=1) as ledger:
        net(torch.randn(8, 3, 6)).square().mean().backward()
    verdict = diagnose(ledger)
    assert (verdict.unit, verdict.named[0].layer) == ("block", 4)
    assert "block 4 gives" in str(verdict)
    assert "inside" in str(ledger.table())
    assert ledger.rows[2].weights == max(row.weights for row in ledger.rows)
    assert diagnose(ledger.history).named[0].layer == 4
    from matplotlib.figure import Figure

    axes = tg.plots.ladder(ledger.history, Figure().subplots())
    assert (axes.get_xlabel(), "‖δ‖" in axes.get_ylabel()) == ("block (1 = input side)", True)


def test_layers_that_are_not_in_a_row_are_refused_with_what_to_write() -> None:
    net = T.Sequential(T.Linear(6, 6), Residual(), Residual(), T.Linear(6, 2))
    with Ledger(net) as ledger, pytest.raises(ValueError, match="not in a row") as error:
        step(net, 6)
    assert "layers=['0', '1', '2', '3']" in str(error.value)
    assert not ledger.heard
    assert handles(net) == 0
    with Ledger(net, layers=["0", "1", "2", "3"]) as ledger:
        step(net, 6)
    assert ledger.names == ("0", "1", "2", "3")


def test_pictures_and_files_take_the_history(tmp_path: Any) -> None:
    from matplotlib.figure import Figure

    net = mlp()
    with GradientRecorder(net) as recorder, Ledger(net, every=1) as ledger:
        for _ in range(3):
            step(net, 4)
    axes = Figure().subplots()
    assert "decades per layer" in tg.plots.ladder(recorder.history, axes).get_title()
    tg.plots.blame(ledger.rows, Figure().subplots())
    recorder.history.save(tmp_path / "history.npz")
    loaded = tg.instruments.History.load(tmp_path / "history.npz")
    assert np.array_equal(loaded.log10_norm, recorder.history.log10_norm)
