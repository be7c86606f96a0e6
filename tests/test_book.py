"""The figures of the two sources: Nielsen's chapter 5.1 and Skansi's section 5.5, out of the program.

The accuracies after 30 epochs (minutes) are the business of examples/mnist_depth.py; docs/numbers.md has them.
"""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder


def ensemble(depth, seeds, dtype=np.float64):
    """[784, 30, ..., 30, 10] of sigmoids with Nielsen's initial weights and biases, a member for each seed."""
    return nn.stack([nn.mlp([784, *[30] * depth, 10], dtype=dtype, rng=int(seed)) for seed in seeds])


@pytest.fixture(scope="module")
def first_1000():
    images, labels = tg.datasets.mnist("train", dtype=np.float64)
    return images[:1000], np.eye(10)[labels[:1000]]


# Geometric means over 200 independent seeds, from a program that shares nothing with this one.
SPEEDS = {2: [0.0590, 0.2905], 3: [0.0119, 0.0581, 0.2927], 4: [0.0024, 0.0118, 0.0587, 0.2917]}


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_speeds_of_learning_at_the_start(depth, first_1000):
    """‖δ^l‖ over the first 1,000 images. The standard error over 200 seeds is below 2.3 % of each mean."""
    images, targets = (array.astype(np.float32) for array in first_1000)  # half the time, and the same norms
    norms = []
    for seeds in np.arange(200).reshape(4, 50):  # in four parts, to keep memory small
        net = ensemble(depth, seeds, np.float32)
        with GradientRecorder(net) as recorder:
            nn.BCEWithLogitsLoss("batchmean")(net(images), targets).backward()
        norms.append(recorder.history.log10_norm[0, :-1])
    norms = np.concatenate(norms, axis=1)
    assert 10 ** norms.mean(axis=1) == pytest.approx(SPEEDS[depth], rel=0.03)
    assert (np.diff(norms, axis=0) > 0).all(axis=0).mean() >= 0.99


def descend(net, images, targets, epochs):
    """Nielsen's full-batch descent, η = 0.1, λ = 5; the hidden layers' norms in decades (epoch, layer, member)."""
    parameters = dict(net.named_parameters())
    weights = {"params": [p for name, p in parameters.items() if "weight" in name], "weight_decay": 5.0 / len(images)}
    sgd = tg.optim.SGD([weights, {"params": [p for name, p in parameters.items() if "bias" in name]}], lr=0.1)
    cost = nn.BCEWithLogitsLoss("batchmean")
    with GradientRecorder(net) as recorder:
        for _ in range(epochs):
            sgd.zero_grad()
            cost(net(images), targets).backward()
            sgd.step()
    return recorder.history.log10_norm[:, :-1]


@pytest.mark.long
def test_four_hidden_layers_during_descent(first_1000):
    """All layers slow down at once, by 1.5 decades and more; the first ends about 100 times slower than the last."""
    norms = descend(ensemble(4, range(2)), *first_1000, epochs=500)
    assert 40 < 10 ** (norms[-1, -1] - norms[-1, 0]).mean() < 200
    assert (norms[60] < norms[0] - 1.5).all()


@pytest.mark.long
def test_two_hidden_layers_rebound(first_1000):
    """The speeds fall fast and rise again, and the first layer stays behind the second: means of four seeds."""
    speeds = descend(ensemble(2, range(4)), *first_1000, epochs=300).mean(axis=2)
    lowest = speeds.argmin(axis=0)
    assert ((lowest > 10) & (lowest < 150)).all()
    assert (speeds[lowest, [0, 1]] < speeds[0] - 1).all()
    assert (speeds[-1] > speeds[lowest, [0, 1]] + 0.3).all()
    assert (speeds[:, 1] > speeds[:, 0]).all()


def test_exploding_chain():
    """w = 100 and b_j = −100 a_{j−1} put every z_j at 0, and every w_j σ′(z_j) is 25."""
    a, biases = tg.Tensor(0.7), []
    for _ in range(4):
        biases.append(tg.Tensor(-100 * a.data, requires_grad=True))
        a = tg.ops.sigmoid(100.0 * a + biases[-1])
    a.backward()
    gradients = np.array([b.grad for b in biases])
    assert gradients[-1] == 0.25
    assert np.array_equal(gradients[:-1] / gradients[1:], [25.0, 25.0, 25.0])


def test_skansi_s_step():
    """The 2-2-1 network's weights after one step, to the book's own rounding; w5, w6 move ten times as far."""
    before = np.array([0.1, 0.5, 0.4, 0.3, 0.2, 0.6])
    w = nn.Parameter(before)
    x = (0.23, 0.82)
    hidden = [tg.ops.sigmoid(w[0] * x[0] + w[2] * x[1]), tg.ops.sigmoid(w[1] * x[0] + w[3] * x[1])]
    y = tg.ops.sigmoid(w[4] * hidden[0] + w[5] * hidden[1])
    (0.5 * (1 - y) ** 2).backward()
    tg.optim.SGD([w], lr=0.7).step()
    assert w.data == pytest.approx([0.1007, 0.502, 0.4024, 0.307, 0.2373, 0.6374], abs=6e-4)
    assert w.data == pytest.approx([0.10071, 0.50213, 0.40253, 0.30758, 0.23737, 0.63752], abs=5e-6)
    moved = w.data - before
    assert moved[4:].min() > 4 * moved[:4].max()
