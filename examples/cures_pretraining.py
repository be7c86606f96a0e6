"""Autoencoders as a cure of the vanishing gradient: each layer is trained to code the layer below, before the network.

The patient of cures.py is trained in this way (Bengio et al. 2007), layer by layer from the input.
"""

import chapter
import numpy as np
from cures_networks import WIDTH

import tinygrad_vg as tg
from tinygrad_vg import nn

RATE = 0.01


def pre_trained(net, images, steps, batch):
    """Train each hidden layer of an ensemble of patients as an encoder of the layer below it.

    The decoder of each layer is thrown away. The costs are cross-entropies, for pixels and activations are from 0 to 1.

    Args:
        net: the ensemble, which is changed.
        images: (n, 784).
        steps, batch: of Adam, for each layer.
    """
    code, rng = images, np.random.default_rng(0)
    for linear, sigmoid in zip([*net][:-1:2], [*net][1::2], strict=True):
        (members,) = nn.members_of(linear)
        decoders = [nn.Linear(WIDTH, linear.in_features, dtype=np.float32, rng=rng) for _ in range(members)]
        coder = nn.Sequential(linear, sigmoid, nn.stack(decoders))
        step = chapter.step_of(coder, tg.optim.Adam(coder.parameters(), lr=RATE), by="numpy")
        for rows in rng.integers(0, len(images), (steps, batch)):
            inputs = np.ascontiguousarray(code[..., rows, :])
            step(inputs, inputs)
        with tg.no_grad():
            code = sigmoid(linear(code)).data  # (R, n, 30)
