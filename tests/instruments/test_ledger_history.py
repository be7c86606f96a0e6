"""The history of a ledger: parts of each step, neurons over a window, and spectra of the weights, over a training."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose, singular_alignment, stable_rank

ALL = dict(every=1, neurons=True, spectra=True)
PARTS = ("weights", "activation", "total")


def ensemble(sizes, activation=nn.Sigmoid, members=3):
    return nn.stack([nn.mlp(sizes, activation, rng=seed) for seed in range(members)])


NETS = {
    "sigmoid": lambda: nn.mlp([5, 6, 7, 6, 3], rng=0),
    "relu": lambda: nn.mlp([5, 6, 7, 6, 3], nn.ReLU, rng=0),
    "ensemble": lambda: ensemble([5, 6, 7, 6, 3], nn.ReLU),
    "several between": lambda: nn.Sequential(
        nn.Linear(5, 6, rng=0), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 6, rng=1),
        nn.Residual(nn.Sequential(nn.Linear(6, 6, rng=2), nn.Tanh())), nn.Linear(6, 3, rng=3), nn.Sigmoid(),
    ),
}  # fmt: skip


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param]()


def batch_of(rng, size=8, inputs=5):
    return rng.normal(size=(size, inputs))


def train(net, steps, instruments=(), lr=0.05, each=None, **options):
    """Train, with a ledger of these options where there are any, and return the ledger."""
    rng = np.random.default_rng(0)
    sgd = tg.optim.SGD(net.parameters(), lr=lr, momentum=0.5)
    ledger = Ledger(net, **options)
    with ledger:
        for _ in range(steps):
            sgd.zero_grad()
            cost = np.sum(np.square(net(batch_of(rng, inputs=next(net.parameters()).shape[-1])) - 1.0)) / 8
            cost.backward()
            if each is not None:
                each(ledger, cost)
            sgd.step()
    return ledger


# The accounts.


def test_every_row_is_the_account_of_its_backward(net):
    seen, again = [], []

    def each(ledger, cost):
        seen.append(np.array([[getattr(row, name) for name in PARTS] for row in ledger]))
        again.append(np.array([[getattr(row, name) for name in PARTS] for row in Ledger.of(net, cost)]))

    ledger = train(net, 6, each=each, every=2)
    history = ledger.history
    assert history.steps.tolist() == [0, 2, 4]
    assert (history.layers, history.names) == (ledger.layers, ledger.names)
    kept = np.stack([getattr(history, name) for name in PARTS], axis=2)
    assert kept == pytest.approx(np.array(seen)[::2], abs=1e-12)
    assert kept == pytest.approx(np.array(again)[::2], abs=1e-9)
    assert not (history.cause != "").any()
    assert [[part.label for part in parts] for parts in history.parts] == [
        [part.label for part in row.parts] for row in ledger
    ]


def test_parts_telescope_to_the_total_at_each_step(net):
    history = train(net, 10, every=1).history
    assert history.weights + history.activation == pytest.approx(history.total, abs=1e-12)
    whole = history.log10_norm[:, 0] - history.log10_norm[:, -1]
    assert history.total.sum(axis=1) == pytest.approx(whole, abs=1e-11)


def test_extended_range_and_higher_derivatives_have_the_same_accounts():
    net, x = NETS["sigmoid"](), batch_of(np.random.default_rng(0))
    with Ledger(net, **ALL) as ledger:
        for options in ({}, {"extended_range": True}, {"create_graph": True}):
            np.sum(net(x)).backward(**options)
            net.zero_grad()
    history = ledger.history
    for name in (*PARTS, "log10_norm", "stable_rank", "alignment"):
        array = getattr(history, name)
        assert array[1:] == pytest.approx(np.broadcast_to(array[:1], array[1:].shape), abs=1e-12)


def test_training_is_the_same_to_the_last_bit(net):
    def weights(**options):
        own = nn.unstack(nn.stack([net]), 0)  # a copy
        train(own, 8, **options)
        return own.state_dict()

    plain, watched = weights(), weights(**ALL)
    assert all(np.array_equal(plain[name], watched[name]) for name in plain)


def test_an_activation_with_random_slopes_is_not_called_again():
    class Noisy(nn.Activation):
        largest_slope = 1.0

        def __init__(self):
            self.rng = np.random.default_rng(0)

        def forward(self, z):
            return z * self.rng.choice([0.0, 1.0], size=z.shape[-1])

    def trained(**options):
        net = nn.Sequential(nn.Linear(5, 6, rng=0), Noisy(), nn.Linear(6, 2, rng=1))
        ledger = train(net, 6, **options)
        return net[0].weight.data, ledger

    (plain, _), (watched, ledger) = trained(), trained(**ALL)
    assert np.array_equal(plain, watched)
    off = np.random.default_rng(0).choice([0.0, 1.0], size=(6, 6)) == 0  # the slopes are the factors
    assert np.array_equal(ledger.history.off[0], off)
    assert np.array_equal(ledger.history.saturated[0], off)


def test_what_is_not_in_a_row_or_another_chain_has_no_row():
    class Net(nn.Module):
        def __init__(self):
            self.first, self.second, self.third = (nn.Linear(4, 4, rng=seed) for seed in range(3))
            self.short = self.branch = False

        def forward(self, x):
            h = np.tanh(self.first(x))
            if self.branch:
                return self.third(h + self.second(h))
            return self.third(h if self.short else np.tanh(self.second(h)))

    net = Net()
    with Ledger(net, every=1) as ledger:
        for net.short, net.branch in ((False, False), (True, False), (False, True), (False, False)):
            np.sum(net(np.ones((2, 4)))).backward()
    assert ledger.history.steps.tolist() == [0, 3]
    with Ledger(net, every=1) as ledger:
        net.branch = True
        np.sum(net(np.ones((2, 4)))).backward()
    with pytest.raises(ValueError, match="not in a row"):
        ledger.history  # noqa: B018


def test_memory_is_bounded_and_rows_stay_evenly_spaced():
    net = nn.mlp([3, 4, 4, 2], rng=0)
    x = np.ones((2, 3))
    ledger = Ledger(net, every=3, neurons=True, max_steps=10)
    sizes = []
    with ledger:
        for _ in range(400):
            np.sum(net(x)).backward()
            sizes.append(len(ledger.history.steps))
    steps = ledger.history.steps
    assert max(sizes) == 10
    assert steps.tolist() == [*range(0, 400, steps[1])]
    assert steps[1] % 3 == 0
    assert all(len(flags) == len(steps) for flags in ledger.history.off[:2])


def test_a_step_that_is_not_recorded_measures_nothing(monkeypatch):
    from tinygrad_vg.instruments import collector

    calls = []
    measured = collector.Collector._measured
    monkeypatch.setattr(collector.Collector, "_measured", lambda *args: calls.append(1) or measured(*args))
    train(NETS["relu"](), 10, **{**ALL, "every": 4})
    assert len(calls) == 3


def test_histories_are_copies_and_are_cut_by_steps(net):
    history = train(net, 5, **ALL).history
    history.log10_norm[:] = 0
    again = train(net, 5, **ALL)
    whole = again.history
    whole.total[:] = 7.0
    assert not (again.history.total == 7).any()
    last, one = again.history[-2:], again.history[1]
    assert last.steps.tolist() == [3, 4]
    assert one.steps.tolist() == [1]
    assert np.array_equal(last.alignment, again.history.alignment[-2:])
    assert last.off[0].shape == again.history.off[0][-2:].shape
    with pytest.raises(IndexError, match="history has 5"):
        again.history[5]
    with pytest.raises(TypeError, match="an integer or a slice"):
        again.history[:, 0]


def test_arguments_out_of_range_are_refused():
    net = NETS["relu"]()
    for options in ({"every": 0}, {"every": 1.5}, {"every": 1, "max_steps": 0}, {"neurons": True}, {"spectra": True}):
        with pytest.raises(ValueError, match=r"every|max_steps"):
            Ledger(net, **options)
    with pytest.raises(RuntimeError, match="keeps only the last backward"):
        Ledger(net).history  # noqa: B018
    history = train(net, 5, every=1, neurons=True).history
    for options in ({"window": 1}, {"window": 2.5}, {"share": 0}, {"share": 1.1}):
        with pytest.raises(ValueError, match=r"window counts steps|share is above"):
            history.dead_fraction(**options)
    with pytest.raises(ValueError, match="fewer than the window of 30"):
        history.dead_neurons(1)
    with pytest.raises(ValueError, match="no activation after layer 4"):
        history.saturated_neurons(4, 2)
    with pytest.raises(ValueError, match="no layer 5; the layers are 1 to 4"):
        history.dead_neurons(5)
    with pytest.raises(RuntimeError, match="no neurons were recorded"):
        train(net, 1, every=1).history.dead_fraction()


# Neurons.


@pytest.mark.parametrize(
    ("window", "share"), [(2, 1.0), (5, 1.0), (5, 0.6), (10, 0.1), (20, 0.55)]
)  # 0.55 · 20 is above 11
@pytest.mark.parametrize("members", [None, 3])
def test_counts_over_a_window_equal_a_brute_force(window, share, members):
    sizes, rng = [5, 12, 12, 3], np.random.default_rng(0)
    net = ensemble(sizes, nn.ReLU, members) if members else nn.mlp(sizes, nn.ReLU, rng=0)
    zs = []  # (step, layer) by hand
    sgd = tg.optim.SGD(net.parameters(), lr=0.02)
    with Ledger(net, every=1, neurons=True) as ledger:
        for _ in range(20):
            x = batch_of(rng, 3)
            hidden = net[0](x)
            zs.append([hidden.data, net[:3](x).data])
            sgd.zero_grad()
            np.sum(np.square(net(x) - 1.0)).backward()
            sgd.step()
    history = ledger.history
    found = history.dead_fraction(window, share)
    for layer in (0, 1):
        off = np.array([(z[layer] <= 0).all(axis=-2) for z in zs])
        assert off.any()
        assert np.array_equal(history.off[layer], off)
        for step in range(20):
            if step < window - 1:
                assert np.isnan(found[step, layer]).all()
                continue
            counts = sum(off[k].astype(int) for k in range(step - window + 1, step + 1))
            dead = counts >= share * window - 1e-9
            assert np.array_equal(found[step, layer], dead.mean(axis=-1))
            assert np.array_equal(history[: step + 1].dead_neurons(layer + 1, window, share), dead)
    assert np.isnan(found[:, 2]).all()
    assert np.array_equal(history.saturated_fraction(window, share), found, equal_nan=True)  # ReLU: the same


def test_a_dying_relu_network_is_found():
    net = nn.mlp([5, 8, 8, 3], nn.ReLU, rng=0)
    ledger = train(net, 10, every=1, neurons=True)
    assert not (ledger.history.dead_fraction(5)[-1, :2] == 1).any()
    net[2].bias.data = np.full(8, -1e3)
    with ledger:
        for _ in range(40):
            net.zero_grad()
            np.sum(np.square(net(np.ones((4, 5))) - 1.0)).backward()
    history = ledger.history
    assert history.dead_fraction()[-1, 1] == 1
    assert history.dead_neurons(2).all()
    assert not history.dead_neurons(1).all()
    diagnosis = diagnose(history)
    assert str(diagnosis) == "dead: no gradient arrives at layers 1 to 2: all slopes at layer 2 are 0"
    assert diagnosis.named == diagnose(ledger).named
    assert ledger.scalars()["dead/2"] == 1.0
    assert np.array_equal(history.cause[-1], ["no gradient"] * 2)


def test_a_saturating_sigmoid_network_is_found_and_is_not_dead():
    net = nn.mlp([5, 8, 8, 3], rng=0)
    net[2].weight.data = net[2].weight.data + 100.0
    history = train(net, 35, every=1, neurons=True, lr=1e-3).history
    assert history.saturated_fraction()[-1, 1] == 1
    assert history.saturated_fraction()[-1, 0] < 0.5
    assert history.saturated_neurons(2).all()
    assert (history.dead_fraction()[-1, :2] == 0).all()  # small slopes are no 0


def test_only_the_member_that_dies_is_dead():
    net = ensemble([5, 8, 8, 3], nn.ReLU)
    bias = net[2].bias.data.copy()
    bias[1] = -1e3
    net[2].bias.data = bias
    ledger = train(net, 31, every=1, neurons=True, lr=1e-3)
    history = ledger.history
    fraction = history.dead_fraction()[-1, 1]
    assert fraction.shape == (3,)
    assert (fraction == 1).tolist() == [False, True, False]
    assert history.dead_neurons(2).shape == (3, 8)
    assert history.cause[-1, 0].tolist() == ["", "no gradient", ""]
    assert diagnose(history).state not in ("dead", "no gradient")  # one of three is not most
    assert "layers 1-2: dead in 1 of 3 networks, no gradient in 31 backwards in a row" in " ".join(str(ledger).split())


def test_the_table_says_dead_after_several_backwards_in_a_row():
    net = nn.mlp([5, 8, 8, 3], nn.ReLU, rng=0)
    net[2].bias.data = np.full(8, -1e3)
    with Ledger(net) as ledger:
        tables = []
        for _ in range(3):
            np.sum(net(np.ones((4, 5)))).backward()
            tables.append(str(ledger))
    assert "dead" not in tables[0]
    assert tables[0].endswith("layers 1-2: no gradient")
    assert "dead: ReLU" in tables[2]
    assert tables[2].endswith("layers 1-2: dead, no gradient in 3 backwards in a row")
    with Ledger(net) as ledger:  # the cost asks for nothing
        for _ in range(3):
            np.sum(0.0 * net(np.ones((4, 5)))).backward()
    assert "dead" not in str(ledger)


# Spectra.


@pytest.mark.parametrize("shape", [(6, 6), (3, 9), (9, 3), (4, 5, 7)])
def test_spectra_are_those_of_the_svd(shape):
    rng = np.random.default_rng(0)
    lower, upper = rng.normal(size=shape), rng.normal(size=(*shape[:-2], 5, shape[-2]))
    for each in np.ndindex(shape[:-2]):
        u, s, _ = np.linalg.svd(lower[each])
        _, _, vh = np.linalg.svd(upper[each])
        assert stable_rank(lower)[each] == pytest.approx(np.sum(lower[each] ** 2) / s[0] ** 2)
        assert singular_alignment(lower, upper)[each] == pytest.approx(abs(u[:, 0] @ vh[0]))
        product = np.linalg.norm(upper[each] @ lower[each], 2)
        assert product <= np.linalg.norm(upper[each], 2) * s[0] * (1 + 1e-12)


def test_aligned_weights_multiply_their_norms_and_bad_ones_have_no_number():
    rng = np.random.default_rng(0)
    lower = rng.normal(size=(6, 6))
    upper = lower.T  # its right singular vectors are the left ones of `lower`
    assert singular_alignment(lower, upper) == pytest.approx(1.0)
    assert stable_rank(1e200 * lower) == pytest.approx(stable_rank(lower))  # no square overflows
    assert stable_rank(1e-200 * lower) == pytest.approx(stable_rank(lower))
    for bad in (np.zeros((6, 6)), np.full((6, 6), np.nan), np.where(np.eye(6) > 0, np.inf, lower)):
        assert np.isnan(stable_rank(bad))
        assert np.isnan(singular_alignment(lower, bad))
    assert np.isnan(singular_alignment(lower, np.ones((3, 5))))


def test_spectra_over_time_are_those_of_the_weights_of_each_backward(net):
    expected = []

    def each(ledger, cost):
        weights = [unit.module.weight.data for unit in ledger.chain.layers]
        expected.append([stable_rank(weight) for weight in weights])
        for i in range(len(weights) - 1):
            kept = ledger.history.alignment[-1, i]
            assert kept == pytest.approx(singular_alignment(weights[i], weights[i + 1]), nan_ok=True)

    history = train(net, 3, each=each, every=1, spectra=True).history
    assert history.stable_rank == pytest.approx(np.array(expected))


# Verdicts and scalars.


def test_the_verdict_on_a_history_is_of_its_last_steps_and_names_the_cause():
    net = nn.mlp([10] * 8, rng=0)
    ledger = train(net, 40, every=1, lr=1e-6)
    history = ledger.history
    at_start, now = diagnose(history[0]), diagnose(history)
    assert (at_start.state, at_start.severity, at_start.cause) == ("vanishing", "severe", "activation")
    assert (now.state, now.severity, now.cause, now.samples) == ("shrinking", "severe", "activation", 30)
    assert now.total == pytest.approx(np.median(history.total[-30:].sum(axis=1)))
    last, by_ledger = diagnose(history[-1]), diagnose(ledger)
    for name in ("state", "severity", "cause", "total", "rate", "weights", "activation", "between", "named"):
        assert getattr(last, name) == pytest.approx(getattr(by_ledger, name)), name


def test_a_history_of_a_trained_network_is_no_start():
    net = NETS["sigmoid"]()
    first = train(net, 1, every=1).history
    assert first.at_start
    second = train(net, 2, every=1).history
    assert not second[0].at_start
    assert not second[1:].at_start


def zero_weights(net):
    net[4].weight.data = np.zeros((6, 6))


def closed(net):
    net[4].bias.data = np.full(6, -1e3)


def broken(net):
    net[4].weight.data = np.full((6, 6), np.nan)


@pytest.mark.parametrize(("fault", "factor", "words"), [
    (zero_weights, 1.0, "dead: no gradient arrives at layers 1 to 2: the weights of layer 3 are 0"),
    (closed, 1.0, "dead: no gradient arrives at layers 1 to 3: all slopes at layer 3 are 0"),
    (zero_weights, 0.0, "no gradient in this backward arrives at layers 1 to 4: the cost gives none"),
    (broken, 1.0, "not finite: the gradient of layer 2"),
    (broken, np.nan, "not finite: the gradient of layer 5"),
])  # fmt: skip
def test_a_history_tells_where_the_gradient_comes_to_nothing(fault, factor, words):
    net = nn.mlp([5, 6, 6, 6, 6, 2], nn.ReLU, rng=0)
    for layer in net[::2]:
        layer.bias.data = np.abs(layer.bias.data) + 3.0  # nobody else is off
    fault(net)
    with np.errstate(invalid="ignore"), Ledger(net, every=1) as ledger:
        for _ in range(3):
            np.sum(factor * net(np.ones((4, 5)))).backward()
    assert str(diagnose(ledger.history)) == words


def test_a_layer_that_stands_out_over_the_window_is_named():
    net = nn.mlp([20] * 9, nn.Tanh, rng=0)
    net[8].weight.data = net[8].weight.data * 100
    diagnosis = diagnose(train(net, 5, every=1, lr=1e-9).history)
    assert str(diagnosis.named[0]) == "the weights of layer 5"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_and_underflow_are_told(value):
    net = nn.mlp([5, 6, 6, 2], nn.Tanh, rng=0)
    with np.errstate(all="ignore"), Ledger(net, **ALL) as ledger:
        for _ in range(3):
            np.sum(net(np.ones((2, 5)))).backward()
            net[2].weight.data = np.full((6, 6), value)
    history = ledger.history
    assert (history.cause[0] == "").all()
    assert (history.cause[1:, 0] == "not finite").all()
    assert np.isnan(history.stable_rank[1, 1])
    assert diagnose(history).state == "not finite"
    deep = nn.mlp([10] * 72, dtype=np.float32, rng=0)
    with Ledger(deep, every=1) as ledger:
        np.sum(deep(np.ones((2, 10), np.float32))).backward()
    assert ledger.history.cause[0, 0] == "underflow"
    assert diagnose(ledger.history).state == diagnose(ledger).state == "underflow"


def test_a_history_without_steps_or_with_one_layer_is_not_judged():
    net = nn.mlp([5, 6, 2], rng=0)
    ledger = Ledger(net, **ALL)
    assert (len(ledger.history.steps), ledger.scalars()) == (0, {})
    with pytest.raises(ValueError, match="holds no steps"):
        diagnose(ledger.history)
    one = nn.Linear(3, 2, rng=0)
    with Ledger(one, **ALL) as ledger:
        np.sum(one(np.ones((2, 3)))).backward()
    assert ledger.history.total.shape == ledger.history.alignment.shape == (1, 0)
    with pytest.raises(ValueError, match="a verdict needs two layers"):
        diagnose(ledger.history)


def test_scalars_are_the_last_row(net):
    ledger = train(net, 4, **ALL)
    scalars, history = ledger.scalars(), ledger.history
    assert all(isinstance(value, float) for value in scalars.values())
    for i in range(len(history.layers) - 1):
        for name in PARTS:
            assert scalars[f"{name}/{i + 1}"] == pytest.approx(np.median(getattr(history, name)[-1, i]))
        assert scalars[f"delta/{i + 1}"] == pytest.approx(np.median(history.log10_norm[-1, i]))
        assert scalars[f"stable_rank/{i + 1}"] == pytest.approx(np.median(history.stable_rank[-1, i]))


def test_ledger_and_recorder_differ_where_samples_cancel():
    """What the guide says: the δ of all samples, and their mean."""
    net = nn.mlp([10, 30, 30, 2], nn.Tanh, rng=0)
    x = np.random.default_rng(0).normal(size=(400, 10))
    with Ledger(net, every=1) as ledger, GradientRecorder(net) as recorder:
        np.mean(net(x)[:, 0]).backward()
    assert diagnose(ledger).total - diagnose(recorder).total > 0.1
    with Ledger(net, every=1) as ledger, GradientRecorder(net) as recorder:
        np.mean(net(x[:1])[:, 0]).backward()
    assert diagnose(ledger).total == pytest.approx(diagnose(recorder).total, abs=1e-12)


def test_stable_ranks_fall_and_neighbours_align_where_the_gradient_explodes():
    """The network of the guide, at a learning rate of 2."""
    images, labels = tg.datasets.mnist("test", dtype=np.float64)
    net, rng = nn.mlp([784, 30, 30, 30, 10], nn.ReLU, rng=0), np.random.default_rng(0)
    sgd, cost = tg.optim.SGD(net.parameters(), lr=2.0), nn.BCEWithLogitsLoss("batchmean")
    with Ledger(net, **ALL) as ledger:
        for _ in range(12):
            some = rng.integers(0, 200, 50)
            sgd.zero_grad()
            cost(net(images[some]), np.eye(10)[labels[some]]).backward()
            sgd.step()
    history = ledger.history
    assert (history.stable_rank[0] > 5).all()
    assert (history.stable_rank[2] < 1.05).all()
    assert (history.alignment[0] < 0.2).all()
    assert (history.alignment[2] > 0.6).all()
    growth = history.log10_norm[:, 1] - history.log10_norm[0, 1]
    assert growth[2] < 3.2
    assert growth[4] > 9
    assert all(flags[7:].all() for flags in history.off[:3])
    assert not all(flags[6].all() for flags in history.off[:3])
