"""The ledger over time steps: each number against what is computed here from the gradients themselves."""

import re
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim
from tinygrad_vg.instruments import GradientRecorder, Ledger, diagnose, log10_norm

T, B, IN, H = 6, 3, 2, 4
X = np.random.default_rng(0).normal(size=(T, B, IN))
KINDS: dict[str, Callable[..., Any]] = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
every_kind = pytest.mark.parametrize("kind", KINDS)
COSTS: dict[str, Callable[[Any], Any]] = {
    "the last state": lambda output: np.sum(np.square(output[-1])),
    "all states": lambda output: np.sum(np.square(output)),
}


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


class Loop(nn.Module):
    """A cell in a loop of one's own, which keeps the states that it has seen, and asks for their gradients."""

    def __init__(self, kind: str, seed: int = 0, **options: Any) -> None:
        self.cell = getattr(nn, f"{kind}Cell")(IN, H, rng=seed, **options)

    def forward(self, x: Any, hx: Any = None) -> Any:
        self.states, self.gradients = [], []
        for t in range(len(x)):
            hx = self.cell(x[t], hx)
            self.states.append(hx if isinstance(hx, tuple) else (hx,))
            of_step: list[Any] = [None] * len(self.states[-1])
            self.gradients.append(of_step)
            for i, tensor in enumerate(self.states[-1]):
                tensor.register_hook(lambda g, i=i, of_step=of_step: of_step.__setitem__(i, g))
        return np.stack([state[0] for state in self.states])


def same(row: Any, weights: float, parts: dict[str, float], total: float) -> None:
    np.testing.assert_allclose(row.weights, weights, atol=1e-12)
    assert [part.label for part in row.parts] == [*parts]
    np.testing.assert_allclose([part.decades for part in row.parts], [*parts.values()], atol=1e-12)
    np.testing.assert_allclose([row.total, row.weights + row.activation], total, atol=1e-12)


def decades(*arrays: Any) -> list[float]:
    """The changes of the norm along the way."""
    norms = [np.log10(np.linalg.norm(array)) for array in arrays]
    return [after - before for before, after in pairwise(norms)]


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_step_is_slopes_then_weights(nonlinearity: str, cost: Any) -> None:
    net = Loop("RNN", nonlinearity=nonlinearity)
    net.cell.weight_hh.data = 2 * net.cell.weight_hh.data
    with Ledger(net) as ledger:
        cost(net(X)).backward()
    joins = cost is COSTS["all states"]
    assert len(ledger.rows) == T - 1
    for t, row in enumerate(ledger):  # from time step t + 2 to t + 1
        g, h, below = net.gradients[t + 1][0], net.states[t + 1][0].data, net.gradients[t][0]
        delta = g * ((1 - h**2) if nonlinearity == "tanh" else (h > 0))
        u = delta @ net.cell.weight_hh.data
        slopes, weights, joined = decades(g, delta, u, below)
        label = "Tanh" if nonlinearity == "tanh" else "ReLU"
        same(row, weights, {label: slopes} | ({"joined": joined} if joins else {}), log10_norm(below) - log10_norm(g))
        assert (row.layer, row.unit) == (t + 1, "time step")
        assert row.parts[0].is_activation
        assert not joins or abs(joined) > 1e-6


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_a_step_of_an_lstm_has_the_way_through_its_cell_state(cost: Any) -> None:
    net = Loop("LSTM")
    with Ledger(net) as ledger:
        cost(net(X)).backward()
    cell = net.cell
    for t, row in enumerate(ledger):
        (g, g_c), (_, c), (h_before, c_before) = net.gradients[t + 1], net.states[t + 1], net.states[t]
        z = X[t + 1] @ cell.weight_ih.data.T + cell.bias_ih.data + h_before.data @ cell.weight_hh.data.T
        i, f, z_g, o = np.split(z + cell.bias_hh.data, 4, axis=-1)
        by_h = g * sigmoid(o) * (1 - np.tanh(c.data) ** 2)
        slope = lambda z: sigmoid(z) * (1 - sigmoid(z))  # noqa: E731
        delta = np.concatenate(
            [
                g_c * np.tanh(z_g) * slope(i),
                g_c * c_before.data * slope(f),
                g_c * sigmoid(i) * (1 - np.tanh(z_g) ** 2),
                g * np.tanh(c.data) * slope(o),
            ],
            axis=-1,
        )
        below = net.gradients[t][0]
        gate, state, gates, weights, joined = decades(
            g, by_h, g_c, delta, delta @ cell.weight_hh.data, below
        )  # fmt: skip
        more = {"joined": joined} if cost is COSTS["all states"] else {}
        same(
            row,
            weights,
            {"output gate": gate, "cell state": state, "gates": gates} | more,
            log10_norm(below) - log10_norm(g),
        )
        assert (state > 0.01) == (t < T - 2)  # c_T has no later step


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_a_step_of_a_gru_has_the_way_through_its_update_gate(cost: Any) -> None:
    net = Loop("GRU")
    with Ledger(net) as ledger:
        cost(net(X)).backward()
    cell = net.cell
    for t, row in enumerate(ledger):
        (g,), (h_before,) = net.gradients[t + 1], net.states[t]
        given = np.split(X[t + 1] @ cell.weight_ih.data.T + cell.bias_ih.data, 3, axis=-1)
        product = np.split(h_before.data @ cell.weight_hh.data.T + cell.bias_hh.data, 3, axis=-1)
        r, z = sigmoid(given[0] + product[0]), sigmoid(given[1] + product[1])
        n = np.tanh(given[2] + r * product[2])
        g_n = g * (1 - z) * (1 - n**2)
        delta = np.concatenate(
            [g_n * product[2] * r * (1 - r), g * (h_before.data - n) * z * (1 - z), g_n * r], axis=-1
        )
        u, below = delta @ cell.weight_hh.data, net.gradients[t][0]
        gates, weights, kept, joined = decades(g, delta, u, u + g * z, below)
        more = {"joined": joined} if cost is COSTS["all states"] else {}
        same(row, weights, {"gates": gates, "update gate": kept} | more, log10_norm(below) - log10_norm(g))


@every_kind
@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_a_layer_has_the_rows_of_its_cell(kind: str, cost: Any) -> None:
    layer, loop = KINDS[kind](IN, H, rng=0), Loop(kind, 0)
    with Ledger(layer) as heard:
        cost(layer(X)[0]).backward()
    of_graph, by_cell = Ledger.of(layer, cost(layer(X)[0])), Ledger.of(loop, cost(loop(X)))
    for ledger in (of_graph, by_cell):
        np.testing.assert_allclose(ledger.log10_norm, heard.log10_norm, atol=1e-12)
        for row, other in zip(ledger, heard, strict=True):
            same(row, other.weights, {part.label: part.decades for part in other.parts}, other.total)
    steps = sum(row.total for row in heard)
    np.testing.assert_allclose(steps, heard.log10_norm[0] - heard.log10_norm[-1], atol=1e-12)
    assert heard.names[2] == "t=3"
    assert by_cell.names[2] == "cell t=3"


@every_kind
def test_an_ensemble_has_the_rows_of_its_members(kind: str) -> None:
    layers = [KINDS[kind](IN, H, 2, rng=seed) for seed in range(B)]
    ensemble = Ledger.of(stack := nn.stack(layers), COSTS["all states"](stack(X)[0]))
    for i, layer in enumerate(layers):
        alone = Ledger.of(layer, COSTS["all states"](layer(X)[0]))
        for row, own in zip(ensemble, alone, strict=True):
            np.testing.assert_allclose(
                [row.weights[i], row.activation[i], row.total[i], row.log10_norm[i]],
                [own.weights, own.activation, own.total, own.log10_norm], atol=1e-12)  # fmt: skip


@every_kind
def test_the_bound_of_the_weights_is_the_norm_of_w_hh(kind: str) -> None:
    layer = KINDS[kind](IN, H, rng=0)
    for split in Ledger.of(layer, COSTS["the last state"](layer(X)[0])).split():
        np.testing.assert_allclose(split.spectral, np.log10(np.linalg.norm(layer.weight_hh_l0.data, 2)), rtol=1e-12)
        assert split.alignment < 1e-12


def test_of_several_layers_the_highest_is_shown() -> None:
    layer = nn.RNN(IN, H, 2, rng=0)
    output, _ = layer(X)
    upper = nn.RNN(H, H, rng=0)
    upper.load_state_dict(
        {name.replace("l1", "l0"): array for name, array in layer.state_dict().items() if "l1" in name}
    )
    lower = nn.RNN(IN, H, rng=0)
    lower.load_state_dict({name: array for name, array in layer.state_dict().items() if "l0" in name})
    expected = Ledger.of(upper, COSTS["the last state"](upper(lower(X)[0].data)[0]))
    np.testing.assert_allclose(
        Ledger.of(layer, COSTS["the last state"](output)).log10_norm, expected.log10_norm, atol=1e-12
    )  # fmt: skip


class Model(nn.Module):
    """Linears around a recurrent layer."""

    def __init__(self, kind: Any = nn.LSTM) -> None:
        self.embed = nn.Linear(IN, IN, rng=1)
        self.recurrent = kind(IN, H, rng=0)
        self.head = nn.Linear(H, 1, rng=2)

    def forward(self, x: Any) -> Any:
        return self.head(self.recurrent(self.embed(x))[0][-1])


@every_kind
def test_linears_around_a_recurrent_layer_have_no_rows(kind: str) -> None:
    net = Model(KINDS[kind])
    states: list[Any] = []
    with Ledger(net) as ledger:
        (cost := np.sum(net(X))).backward()
    assert [row.layer for row in ledger] == [1, 2, 3, 4, 5]
    assert ledger.names[0] == "recurrent t=1"
    np.testing.assert_allclose(Ledger.of(net.recurrent, cost).log10_norm, ledger.log10_norm, atol=1e-12)
    # δ^T is what the head hands down, the same for all samples.
    expected = np.log10(np.linalg.norm(np.tile(net.head.weight.data, (B, 1)))) + 0.5 * np.log10(B)
    np.testing.assert_allclose(ledger.log10_norm[-1], expected)
    assert not states


def test_a_sequence_begins_where_it_was_cut_off() -> None:
    cell, h = nn.RNNCell(IN, H, rng=0), None
    for t in range(T):
        h = cell(X[t], h.detach() if t == 2 else h)
    assert len(Ledger.of(cell, np.sum(h)).log10_norm) == T - 2


def test_what_lies_between_two_steps_joins() -> None:
    cell, norm, h = nn.RNNCell(IN, H, rng=0), nn.LayerNorm(H), None
    for t in range(T):
        h = cell(X[t], h if h is None else norm(h))
    rows = Ledger.of(cell, np.sum(np.square(h))).rows
    assert len(rows) == T - 1
    assert [part.label for part in rows[0].parts] == ["Tanh", "joined"]


@every_kind
def test_the_ledger_changes_no_bit_and_keeps_a_history(kind: str) -> None:
    def trained(ledger: Ledger | None, net: Any) -> dict[str, Any]:
        sgd = optim.SGD(net.parameters(), lr=0.1)
        for _ in range(5):
            sgd.zero_grad()
            np.sum(np.square(net(X))).backward()
            sgd.step()
        return net.state_dict()

    alone = trained(None, Model(KINDS[kind]))
    net = Model(KINDS[kind])
    with Ledger(net, every=2) as ledger:
        heard = trained(ledger, net)
    assert all(np.array_equal(heard[name], array) for name, array in alone.items())
    history = ledger.history
    assert history.log10_norm.shape == (3, T)
    assert history.total.shape == (3, T - 1)
    np.testing.assert_allclose(history.weights + history.activation, history.total, atol=1e-12)
    np.testing.assert_allclose(history.log10_norm[-1], ledger.log10_norm, atol=1e-12)
    np.testing.assert_allclose(history.weights[-1], [row.weights for row in ledger], atol=1e-12)
    assert history.rows()[0].unit == "time step"
    assert "time step" in str(diagnose(history))


@every_kind
def test_a_compiled_training_is_heard(kind: str) -> None:
    """Its optimizer writes into the weights that the ledger goes through, and the rows are read after that."""
    ledgers = []
    for is_compiled in (False, True):
        net = Model(KINDS[kind])
        sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any) -> Any:
            sgd.zero_grad()  # noqa: B023 - each step is used up in its own turn
            loss = np.sum(np.square(net(x)))  # noqa: B023
            loss.backward()
            sgd.step()  # noqa: B023
            return loss

        run = tg.compile(step, backend="numpy") if is_compiled else step
        with Ledger(net) as ledger:
            for _ in range(4):
                run(X)
        ledgers.append(ledger)
    np.testing.assert_allclose(ledgers[1].log10_norm, ledgers[0].log10_norm, atol=1e-11)
    for row, other in zip(*ledgers, strict=True):
        np.testing.assert_allclose(row.weights, other.weights, atol=1e-11)
        assert [part.label for part in row.parts] == [part.label for part in other.parts]
        np.testing.assert_allclose(
            [part.decades for part in row.parts], [part.decades for part in other.parts], atol=1e-11
        )  # fmt: skip


def test_a_ledger_holds_no_graph_of_the_steps() -> None:
    net = Loop("LSTM")
    with Ledger(net) as ledger:
        np.sum(net(X)).backward()
        alive = [weakref.ref(h) for state in net.states for h in state]
        net.states, net.gradients = [], []
        assert not any(reference() for reference in alive)
    assert len(ledger.rows) == T - 1


def rotation(factor: float, **options: Any) -> Any:
    """A network near its linear range: W_hh is a factor times a rotation, so that the rate is known."""
    net = nn.RNN(IN, H, rng=0, **options)
    nn.init.orthogonal_(net.weight_hh_l0, factor, rng=0)
    for parameter in (net.bias_ih_l0, net.bias_hh_l0):
        nn.init.zeros_(parameter)
    return net


@pytest.mark.parametrize(("factor", "state"), [(0.5, "vanishing"), (2.0, "exploding"), (1.0, "stable")])
def test_the_verdict_over_time_steps(factor: float, state: str) -> None:
    net, x = rotation(factor), 1e-9 * np.ones((11, B, IN))
    with Ledger(net) as ledger:
        np.sum(net(x)[0][-1]).backward()
    diagnosis = diagnose(ledger)
    assert diagnosis.state == state
    np.testing.assert_allclose(diagnosis.rate, np.log10(factor), atol=1e-6)
    if factor != 1:
        assert diagnosis.cause == "weights"
        assert re.search(r"decades over 10 time steps \([−+]0\.30 a time step\); the weights", str(diagnosis))
    assert (diagnosis.severity, diagnosis.forecast, diagnosis.is_ill) == (None, None, False)
    assert str(ledger).startswith("time step  log10‖∂C/∂h‖")


def test_gradients_beyond_the_range_of_the_floats() -> None:
    """200 steps that take three decades each; the states that the cost does not use hand down zeros."""
    net = rotation(0.001)
    ledger = Ledger.of(net, np.sum(net(1e-9 * np.ones((201, 1, IN)))[0][-1]))
    np.testing.assert_allclose(ledger.log10_norm[0] - ledger.log10_norm[-1], -600, atol=1e-6)


def test_where_the_gradient_comes_to_nothing_the_verdict_names_the_step() -> None:
    net = rotation(0.0)
    with Ledger(net) as ledger:
        np.sum(net(X)[0][-1]).backward()
    assert "no gradient" in str(diagnose(ledger))
    assert "the weights of time step" in str(diagnose(ledger).named[0])
    net = rotation(1.0, nonlinearity="relu")
    net.weight_ih_l0.data = np.abs(net.weight_ih_l0.data)
    x = np.ones((T, B, IN))
    x[3] = -100  # all units of time step 4 are closed
    with Ledger(net) as ledger:
        np.sum(net(x)[0][-1]).backward()
    assert str(diagnose(ledger).named[0]) == "the slopes at time step 4"
    assert [row.cause for row in ledger] == ["no gradient"] * 3 + [None] * 2
    net.weight_hh_l0.data = np.full((H, H), np.nan)
    with Ledger(net) as ledger, np.errstate(invalid="ignore"):
        np.sum(net(X)[0][-1]).backward()
    assert str(diagnose(ledger)).startswith("not finite: the weights of time step 1")


def test_what_has_no_rows_is_refused() -> None:
    two = nn.Sequential(nn.RNN(IN, H), nn.RNN(H, H))
    with pytest.raises(ValueError, match=r"2 recurrent modules, '0', '1'"):
        Ledger(two)
    with pytest.raises(ValueError, match="neurons and spectra belong to layers"):
        Ledger(nn.RNN(IN, H), every=1, neurons=True)
    net = Model()
    with tg.no_grad():
        output = net(X)
    with pytest.raises(ValueError, match="no time step of LSTM"):
        Ledger.of(net, output)
    with pytest.raises(ValueError, match="this model has time steps"):
        tg.draw.layers(net, np.sum(net(X)))


@every_kind
def test_the_recorder_has_the_bias_gradient_of_each_layer(kind: str) -> None:
    net = Model(lambda *sizes, rng: KINDS[kind](*sizes, 2, rng=rng))
    with GradientRecorder(net, values=True, statistics=True) as recorder:
        np.sum(np.square(net(X))).backward()
    assert recorder.history.names == ("embed", "recurrent.bias_ih_l0", "recurrent.bias_ih_l1", "head")
    for i, bias in ((1, net.recurrent.bias_ih_l0), (2, net.recurrent.bias_ih_l1)):
        assert np.array_equal(recorder.history.values[i][0], bias.grad)
        assert recorder.history.log10_norm[0, i] == log10_norm(bias.grad)
    assert np.isnan(recorder.history.log10_rms[0]).tolist() == [False, True, True, False]


def test_the_bias_gradient_is_the_sum_over_the_time_steps() -> None:
    net = Loop("RNN")
    with GradientRecorder(net) as recorder:
        COSTS["all states"](net(X)).backward()
    deltas = [g * (1 - state.data**2) for (g,), (state,) in zip(net.gradients, net.states, strict=True)]
    np.testing.assert_allclose(recorder.history.log10_norm[0], log10_norm(np.sum(deltas, axis=(0, 1))), atol=1e-12)


def test_the_gradient_against_time_is_drawn() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure
    net = rotation(0.5)
    with Ledger(net, every=1) as ledger:
        np.sum(net(1e-9 * np.ones((11, B, IN)))[0][-1]).backward()
    ax = tg.plots.ladder(ledger.history, figure().subplots())
    assert ax.get_xlabel() == "time step"
    assert "∂C/∂h" in ax.get_ylabel()
    assert ax.get_title() == "−0.30 decades per time step, towards the first"
    assert tg.plots.blame(ledger, figure().subplots()).get_ylabel() == "step from time step to time step"
