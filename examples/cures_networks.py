"""The patient of cures.py and its cures in dense networks: functions that make one network from a random seed.

The patient is [784, 30, ..., 30, 10] with ten hidden layers of sigmoids, Nielsen's weights N(0, 1/n_in) and biases
N(0, 1). Each cure changes one thing in it, or what its recipe names: its activation comes with its initial weights.
"""

from itertools import pairwise

import numpy as np

from tinygrad_vg import nn

DEPTH, WIDTH = 10, 30
PATIENT, CODED = "the patient", "autoencoders first"


def dense(activation=nn.Sigmoid, weights=None, biases=None, norm=None, norm_first=True):
    """A maker of plain chains: Linear and activation, ten times, with a normalization on either side of the latter.

    `weights` and `biases` are initializers; None leaves Nielsen's.
    """

    def make(seed):
        rng, modules = np.random.default_rng(seed), []
        for n_in, n_out in pairwise([784, *[WIDTH] * DEPTH, 10]):
            linear = nn.Linear(n_in, n_out, dtype=np.float32, rng=rng)
            initialize(linear, weights, biases, rng)
            between = [activation()]
            if norm is not None:
                between.insert(0 if norm_first else 1, norm(WIDTH, dtype=np.float32))
            modules += [linear, *between]
        return nn.Sequential(*modules[: -len(between)])

    return make


def initialize(layer, weights, biases, rng):
    """Give a layer other initial weights and biases, where these are asked for."""
    if weights is not None:
        weights(layer.weight, rng=rng)
    if biases is not None:
        biases(layer.bias)


def larger(factor):
    """A maker of the patient with all weights times a factor."""
    return dense(weights=lambda weight, rng: nn.init.scaled_normal_(weight, factor, rng))


def residual(seed):
    """The patient with a way around each hidden layer but the first, which changes the width: x + σ(Wx + b)."""
    plain = [*dense()(seed)]
    blocks = [nn.Residual(nn.Sequential(*plain[i : i + 2])) for i in range(2, 2 * DEPTH, 2)]
    return nn.Sequential(*plain[:2], *blocks, plain[-1])


HE = dict(activation=nn.ReLU, weights=nn.init.kaiming_normal_, biases=nn.init.zeros_)
DENSE = {
    PATIENT: dense(),
    CODED: dense(),  # cures_pretraining.py trains it before
    "orthogonal, σ": dense(weights=nn.init.orthogonal_),
    "LayerNorm before σ": dense(norm=nn.LayerNorm),
    "LayerNorm after σ": dense(norm=nn.LayerNorm, norm_first=False),
    "BatchNorm before σ": dense(norm=nn.BatchNorm1d),
    "residual": residual,
    "tanh, Xavier": dense(nn.Tanh, nn.init.xavier_normal_, nn.init.zeros_),
    "tanh, orthogonal": dense(nn.Tanh, nn.init.orthogonal_, nn.init.zeros_),
    "ReLU, He": dense(**HE),
    "weights × 10": larger(10),
    "weights × 30": larger(30),
    "weights × 100": larger(100),
}
