"""Convolutions as cures of the vanishing gradient: nets with ten hidden convolutions of four channels."""

import numpy as np
from cures_networks import DEPTH, HE, initialize

from tinygrad_vg import nn

CHANNELS = 4


class AsImages(nn.Module):
    """(B, 784) as images (B, 1, 28, 28)."""

    def forward(self, x):
        return x.reshape(-1, 1, 28, 28)


def convolutional(activation=nn.Sigmoid, weights=None, biases=None):
    """A maker of nets with ten hidden convolutions: two of stride 2, to 12 × 12 and 5 × 5, eight that keep 5 × 5."""

    def make(seed):
        rng, modules = np.random.default_rng(seed), [AsImages()]
        shapes = [(1, 5, 2, 0), (CHANNELS, 3, 2, 0), *[(CHANNELS, 3, 1, 1)] * (DEPTH - 2)]
        for channels, kernel, stride, padding in shapes:
            modules += [nn.Conv2d(channels, CHANNELS, kernel, stride, padding, dtype=np.float32, rng=rng), activation()]
        modules += [nn.Flatten(), nn.Linear(CHANNELS * 25, 10, dtype=np.float32, rng=rng)]
        for layer in modules:
            if isinstance(layer, nn.Layer):
                initialize(layer, weights, biases, rng)
        return nn.Sequential(*modules)

    return make


CONVOLUTIONAL = {"convolutions, σ": convolutional(), "convolutions, ReLU": convolutional(**HE)}
