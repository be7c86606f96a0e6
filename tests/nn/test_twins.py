"""One seed for several layers of a network makes twins: a warning says so, and only where it is so."""

import copy
import warnings

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn

SAYS = r"have the same seed 0, and begin with the same random numbers; .*rng = np\.random\.default_rng\(0\)"


class Own(nn.Module):
    def __init__(self, *layers):
        self.layers = [*layers]


MADE = {
    "Linear": lambda **rng: nn.Linear(4, 4, **rng),
    "float32": lambda **rng: nn.Linear(4, 4, dtype=np.float32, **rng),
    "initializer": lambda **rng: initialized(**rng),
}


def initialized(rng):
    layer = nn.Linear(4, 4)
    nn.init.xavier_normal_(layer.weight, rng=rng)
    return layer


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_sequential_says_it(make):
    with pytest.warns(UserWarning, match=SAYS) as heard:
        net = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh(), make(rng=0))
    assert heard[0].filename == __file__
    [*net.parameters()]  # it is said once


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_recurrent_twins(kind):
    with pytest.warns(UserWarning, match=SAYS):
        [*Own(kind(3, 3, rng=0), kind(3, 3, rng=0)).parameters()]


def test_twins_among_filters():
    with pytest.warns(UserWarning, match=SAYS):
        nn.Sequential(nn.Conv2d(3, 3, 2, rng=0), nn.ReLU(), nn.Conv2d(3, 3, 2, rng=0))


def test_any_module_says_it_when_its_parameters_are_asked_for():
    net = Own(nn.Residual(nn.Linear(4, 4, rng=0)), nn.Residual(nn.Linear(4, 4, rng=0)))
    with pytest.warns(UserWarning, match=SAYS) as heard:
        tg.optim.SGD(net.parameters(), lr=0.1)
    assert heard[0].filename == __file__


def test_three_twins_are_two_warnings():
    with pytest.warns(UserWarning, match=SAYS) as heard:
        nn.Sequential(*[nn.Linear(4, 4, rng=0) for _ in range(3)])
    assert len(heard) == 2


def shared():
    layer = nn.Linear(4, 4, rng=0)
    return nn.Sequential(layer, nn.Tanh(), layer)


def by_hand(value):
    layers = nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=0)
    for layer in layers:
        layer.weight.data = value(layer.weight.data)
    return nn.Sequential(*layers)


def by_one_generator():
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng))


def initialized_again():
    layers = nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=0)
    rng = np.random.default_rng(0)
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, rng=rng)
    return nn.Sequential(*layers)


def copied():
    layer = nn.Linear(4, 4, rng=0)
    return nn.Sequential(layer, copy.deepcopy(layer))


SILENT = {
    "other seeds": lambda: nn.Sequential(nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=1)),
    "one generator": by_one_generator,
    "mlp": lambda: nn.mlp([4, 4, 4], rng=0),
    "the same network again": lambda: (nn.mlp([4, 4, 4], rng=0), nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=0))[1],
    "an ensemble": lambda: nn.stack([nn.mlp([4, 4, 4], rng=seed) for seed in (0, 1)]),
    "an ensemble of twins": lambda: nn.stack([nn.Linear(4, 4, rng=0) for _ in range(2)]),
    "layers of an RNN": lambda: nn.LSTM(3, 3, num_layers=2, rng=0),
    "one layer at two places": shared,
    "weights set by hand, all equal": lambda: by_hand(np.ones_like),
    "weights set by hand": lambda: by_hand(lambda w: np.random.default_rng().normal(size=w.shape)),
    "weights initialized again": initialized_again,
    "a copy": copied,
    "another shape": lambda: nn.Sequential(nn.Linear(4, 3, rng=0), nn.Linear(3, 4, rng=0)),
    "biases": lambda: Own(*[nn.init.normal_(nn.Parameter(np.ones(4)), rng=0) for _ in range(2)]),
    "unseeded": lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
}


@pytest.mark.parametrize("make", SILENT.values(), ids=SILENT)
def test_no_false_alarm(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = make()
        tg.optim.SGD(net.parameters(), lr=0.1)
        net.zero_grad()


DTYPES = [np.float32, np.dtype("float32"), "float32"]
LAYERS = {
    "Linear": lambda flag: nn.Linear(2, 3, flag),
    "Conv2d": lambda flag: nn.Conv2d(1, 2, 3, 1, 0, flag),
    "RNN": lambda flag: nn.RNN(2, 3, 1, "tanh", flag),
    "LSTM": lambda flag: nn.LSTM(2, 3, 1, flag),
    "GRU batch_first": lambda flag: nn.GRU(2, 3, 1, True, flag),
    "RNNCell": lambda flag: nn.RNNCell(2, 3, flag),
    "LSTMCell": lambda flag: nn.LSTMCell(2, 3, flag),
    "GRUCell": lambda flag: nn.GRUCell(2, 3, flag),
    "BatchNorm1d": lambda flag: nn.BatchNorm1d(3, 1e-5, 0.1, flag),
    "BatchNorm1d running": lambda flag: nn.BatchNorm1d(3, 1e-5, 0.1, True, flag),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_dtype_is_not_taken_for_a_flag(make, dtype):
    with pytest.raises(TypeError, match=r"=True or \w+=False here, not .*; write dtype=np\.float32"):
        make(dtype)
    assert make(False) is not None
    assert make(np.True_) is not None
