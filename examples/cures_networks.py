"""The patient of examples/cures.py and its cures, each by name: functions that make one network from a random seed.

The patient is [784, 30, ..., 30, 10] with ten hidden layers of sigmoids, Nielsen's weights N(0, 1/n_in) and biases
N(0, 1). Each cure changes one thing in it, or what its recipe names: its activation comes with its initial weights.
"""

from itertools import pairwise

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg import nn

DEPTH, WIDTH, PIXELS, CLASSES = 10, 30, 784, 10
CHANNELS, CODING_RATE = 4, 0.01


def dense(activation=nn.Sigmoid, weights=None, biases=None, norm=None, norm_first=True, depth=DEPTH):
    """A maker of plain chains: Linear and activation, `depth` times, with a normalization on either side of the latter.

    `weights` and `biases` are initializers; None leaves Nielsen's.
    """

    def make(seed):
        rng, modules = np.random.default_rng(seed), []
        sizes = [PIXELS, *[WIDTH] * depth, CLASSES]
        for n_in, n_out in pairwise(sizes):
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
        modules += [nn.Flatten(), nn.Linear(CHANNELS * 25, CLASSES, dtype=np.float32, rng=rng)]
        for layer in modules:
            if isinstance(layer, nn.Layer):
                initialize(layer, weights, biases, rng)
        return nn.Sequential(*modules)

    return make


def pre_trained(net, images, steps, batch):
    """Train each hidden layer of an ensemble of patients as an encoder of the layer below it (Bengio et al. 2007).

    The decoder of each layer is thrown away. The costs are cross-entropies, for pixels and activations are from 0 to 1.

    Args:
        net: the ensemble, which is changed.
        images: (n, 784).
        steps, batch: of Adam, for each layer.
    """
    code, rng, cost = images, np.random.default_rng(0), nn.BCEWithLogitsLoss("batchmean")
    for linear, sigmoid in zip([*net][:-1:2], [*net][1::2], strict=True):
        decoders = [
            nn.Linear(WIDTH, linear.in_features, dtype=np.float32, rng=rng) for _ in range(*nn.members_of(linear))
        ]
        coder = nn.Sequential(linear, sigmoid, nn.stack(decoders))
        step = compiled_step(coder, cost, tg.optim.Adam(coder.parameters(), lr=CODING_RATE))
        for rows in rng.integers(0, len(images), (steps, batch)):
            inputs = np.ascontiguousarray(code[..., rows, :])
            step(inputs, inputs)
        with tg.no_grad():
            code = sigmoid(linear(code)).data  # (R, n, 30)


def compiled_step(net, cost, optimizer):
    """A step of an optimizer as one function.

    Its backend is "numpy": machine code would take longer to compile, for each of the networks, than the steps take.
    """

    @tg.compile(backend="numpy")
    def step(inputs, targets):
        optimizer.zero_grad()
        cost(net(inputs), targets).backward()
        optimizer.step()

    return step


HE = dict(activation=nn.ReLU, weights=nn.init.kaiming_normal_, biases=nn.init.zeros_)
PATIENT, CODED, CONVOLUTIONS = "the patient", "autoencoders first", "convolutions, σ"
PATIENTS = {  # in the order of the figure
    PATIENT: dense(),
    "orthogonal, σ": dense(weights=nn.init.orthogonal_),
    "LayerNorm before σ": dense(norm=nn.LayerNorm),
    CONVOLUTIONS: convolutional(),
    "LayerNorm after σ": dense(norm=nn.LayerNorm, norm_first=False),
    CODED: dense(),
    "residual": residual,
    "BatchNorm before σ": dense(norm=nn.BatchNorm1d),
    "tanh, Xavier": dense(nn.Tanh, nn.init.xavier_normal_, nn.init.zeros_),
    "tanh, orthogonal": dense(nn.Tanh, nn.init.orthogonal_, nn.init.zeros_),
    "ReLU, He": dense(**HE),
    "convolutions, ReLU": convolutional(**HE),
    "weights × 10": larger(10),
    "weights × 30": larger(30),
    "weights × 100": larger(100),
}
SLOW = {CONVOLUTIONS, "convolutions, ReLU"}  # convolutions in NumPy: fewer seeds

# Two sentences on each. The program fills in the means of the ledger: decades a layer, and `way` for all ten layers.
WHY = {
    PATIENT: "A slope of σ is at most 1/4: the slopes have {slopes} decades a layer, and W has {weights}. "
    "Ten layers change ‖δ‖ by {way} decades.",
    "orthogonal, σ": "An orthogonal W keeps the length of what it multiplies: its part is {weights} decades a layer. "
    "But it was {patient[weights]} before; the slopes have {slopes}, as in the patient.",
    "LayerNorm before σ": "The biases spread z over the neurons of a layer by about 1 already, so that dividing by "
    "this spread changes little: {other} decades a layer. The slopes have {slopes}, for σ′ is at most 1/4 also there.",
    CONVOLUTIONS: "A filter is a W that all positions share, and its part is {weights} decades a layer. "
    "The slopes are those of σ, {slopes}, so that ‖δ‖ still changes by {way} decades.",
    "LayerNorm after σ": "The outputs of σ differ little, and the norm divides by their small spread: it has {other} "
    "decades a layer. The slopes have {slopes}, and most of that is paid back.",
    CODED: "A layer that codes its input needs larger weights: W has {weights} decades a layer, and had "
    "{patient[weights]}. The slopes still have {slopes}; larger weights pay it back, and do not take it away.",
    "residual": "The gradient of x + σ(Wx + b) is δ itself plus a part that passes σ′: the nine blocks have {other} "
    "decades a layer. The {slopes} of the slopes are those of the first layer, which has no way around it.",
    "BatchNorm before σ": "In a deep layer z differs little from image to image, and the norm divides by this small "
    "spread: it has {other} decades a layer. The slopes have {slopes}, and that is paid back.",
    "tanh, Xavier": "The slope of tanh at 0 is 1: the slopes have {slopes} decades a layer, not {patient[slopes]}. "
    "Xavier's W keeps the length of δ and of the signal, {weights}, so that z stays where the slope is near 1.",
    "tanh, orthogonal": "As with Xavier, the slopes have {slopes} decades a layer. "
    "W has {weights} in each draw, and not only on average.",
    "ReLU, He": "A slope of ReLU is 0 or 1, about half of each: the slopes have {slopes} decades a layer. "
    "He's W is larger by √2 and has {weights}.",
    "convolutions, ReLU": "As with ReLU and He in a dense net, the slopes have {slopes} decades a layer, and W has "
    "{weights}. W pays back less here, because strides and edges give some pixels fewer consumers.",
    "weights × 10": "W has {weights} decades a layer, and because most neurons now saturate the slopes have {slopes}. "
    "The two nearly cancel: ‖δ‖ changes by {way} decades.",
    "weights × 30": "W has {weights} decades a layer, the slopes have {slopes}: saturation pays back a part only. "
    "‖δ‖ changes by {way} decades, and no single learning rate suits the first layer and the last.",
    "weights × 100": "W has {weights} decades a layer, the slopes have {slopes}. "
    "‖δ‖ changes by {way} decades: it explodes, as Skansi warns.",
}
