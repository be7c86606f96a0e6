"""The recorder: exact, silent, and gone after its block."""

import copy
import csv

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder, History, log10_norm

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


def test_training_is_bit_identical_with_and_without(net):
    other = copy.deepcopy(net)
    with GradientRecorder(net):
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
    recorder = GradientRecorder(net)

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recorder:
        train(net, 2, after_each=lambda: len(recorder.history.steps) < 2 or fail())
    train(net, 2)
    assert len(recorder.history.steps) == 2
    assert not any(p._hooks for p in net.parameters())


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


def test_a_network_without_biases_and_a_wrong_every_are_refused():
    with pytest.raises(ValueError, match="Linear has no layer with a bias"):
        GradientRecorder(tg.nn.Linear(2, 2, bias=False))
    for every in (0, -1, 1.5):
        with pytest.raises(ValueError, match="every counts backwards"):
            GradientRecorder(network(0), every=every)


@pytest.fixture
def history(net):
    with GradientRecorder(net) as recorder:
        train(net, 4)
    return recorder.history


def test_histories_come_back_from_disk(history, tmp_path):
    history.save(tmp_path / "h.npz")
    other = History.load(tmp_path / "h.npz")
    assert np.array_equal(other.log10_norm, history.log10_norm)
    assert np.array_equal(other.steps, history.steps)
    assert (other.layers, other.names) == (history.layers, history.names)


def test_another_file_is_not_a_history(tmp_path):
    tg.save({"a": np.ones(2)}, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"holds \['a'\], not a history"):
        History.load(tmp_path / "a.npz")


def test_csv_has_a_row_for_each_number_and_loses_no_digit(history, tmp_path):
    history.to_csv(tmp_path / "h.csv")
    with open(tmp_path / "h.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["log10_norm"]) for row in rows] == history.log10_norm.ravel().tolist()
    assert rows[-1]["step"] == "3"
    assert (rows[-1]["layer"], rows[-1]["name"]) == ("3", "4")


def test_slices_of_a_history(history):
    part = history[-1, :-1]
    assert part.steps.tolist() == [3]
    assert (part.layers, part.names) == ((1, 2), ("0", "2"))
    assert np.array_equal(part.log10_norm, history.log10_norm[-1:, :-1])
    with pytest.raises(TypeError, match="indexed by integers and slices"):
        history[[0, 1]]
