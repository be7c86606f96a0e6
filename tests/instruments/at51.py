"""AT-51: 51 small networks that other people have labelled, built from their descriptions in at51.jsonl."""

import ast
import json
import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from tinygrad_vg import nn

NETS = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text("utf-8").splitlines()]


class Exponential(nn.Activation):
    function = staticmethod(np.exp)
    symbol = "exp"


ACTIVATIONS = {"exponential": Exponential, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def initialize(weight, name, rng):
    """Keras' initializers by their names."""
    n_out, n_in = weight.shape
    if name in ("Zeros", "Constant"):  # Keras' constant is 0 unless it is told otherwise
        return nn.init.zeros_(weight)
    if name == "Ones":
        return nn.init.constant_(weight, 1.0)
    if name == "RandomUniform":
        return nn.init.uniform_(weight, -0.05, 0.05, rng=rng)
    if name == "TruncatedNormal":
        return truncated_(weight, 0.05, rng)
    options = {"scale": 2.0, "mode": "fan_in", "distribution": "uniform"}
    if name != "VS2":
        given = re.findall(r"(\w+)=([^,)]+)", name)
        options |= {key: ast.literal_eval(value) for key, value in given}
    fan = n_in if options["mode"] == "fan_in" else (n_in + n_out) / 2
    std = math.sqrt(options["scale"] / fan)
    if options["distribution"] == "uniform":
        return nn.init.uniform_(weight, -math.sqrt(3) * std, math.sqrt(3) * std, rng=rng)
    return truncated_(weight, std / 0.8796, rng)  # the standard deviation of what is left


def truncated_(weight, std, rng):
    """A normal distribution without what lies beyond two standard deviations."""
    x = rng.normal(size=weight.shape)
    while (far := np.abs(x) > 2).any():
        x[far] = rng.normal(size=far.sum())
    weight.data = (std * x).astype(weight.dtype)
    return weight


def build(net, seed):
    rng, modules = np.random.default_rng(seed), []
    for (n_in, n_out), name in zip(pairwise(net["widths"]), net["initializers"], strict=True):
        linear = nn.Linear(n_in, n_out, rng=rng, dtype=np.float32)
        initialize(linear.weight, name, rng)
        nn.init.zeros_(linear.bias)
        modules += [linear, ACTIVATIONS[net["hidden_activation"]]()]
    return nn.Sequential(*modules[:-1])


def batches(net, seed):
    """Batch after batch of the data that the net was made for: inputs and classes."""
    rng = np.random.default_rng([seed, 1])
    if net["data"] == "circle":
        angle, inner = rng.uniform(0, 2 * np.pi, 1000), rng.permutation(np.arange(1000) % 2)
        x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(inner, 0.8, 1.0)[:, None]
        x, y, size = (x + rng.normal(scale=0.1, size=x.shape))[:700], inner[:700], 128
    else:
        y = rng.integers(3, size=1000)
        x, size = rng.uniform(-10, 10, (3, 2))[y] + rng.normal(scale=2.0, size=(1000, 2)), 256
    while True:
        order = rng.permutation(len(x))
        for some in np.split(order, range(size, len(x), size)):
            yield x[some].astype(np.float32), y[some]


def cost(net, output, y):
    if net["data"] == "circle":
        return nn.BCEWithLogitsLoss()(output, y[:, None].astype(np.float32))
    return nn.CrossEntropyLoss()(output, y)
