"""The networks and the tasks of cures_over_time.py.

    digits       MNIST's images, a row of 28 pixels at each of 28 time steps; the cost is at the last step;
    adding T     the adding problem (Hochreiter & Schmidhuber 1997): T random numbers, two of them marked, one in each
                 half; the target is the sum of the two. Who always answers the mean, 1, has the MSE 1/6.

The "open LSTM" is the same LSTM with 3 added to the bias of its forget gates.
"""

import chapter
import numpy as np

import tinygrad_vg as tg

NETWORKS = {"RNN": (tg.nn.RNN, 0), "LSTM": (tg.nn.LSTM, 0), "open LSTM": (tg.nn.LSTM, 3), "GRU": (tg.nn.GRU, 0)}
TASKS = {"digits": 28, "adding 50": 50, "adding 100": 100, "adding 200": 200}  # time steps
TRAINED = {"digits": 400, "adding 50": 900}  # steps of training
HIDDEN = 32


class Net(tg.nn.Module):
    """A recurrent layer, and a Linear that reads its last state; weights as PyTorch draws them."""

    def __init__(self, name, inputs, outputs, seed):
        rng, (layer, forget) = np.random.default_rng(seed), NETWORKS[name]
        self.recurrent = layer(inputs, HIDDEN, dtype=np.float32, rng=rng)
        self.head = tg.nn.Linear(HIDDEN, outputs, dtype=np.float32, rng=rng)
        if forget:
            self.recurrent.bias_ih_l0.data[HIDDEN : 2 * HIDDEN] += forget  # rows of i, f, g, o

    def forward(self, x):
        return self.head(self.recurrent(x)[0][-1])


def sequences(task, n, rng, split="train"):
    """n sequences, (T, n, features), and their targets."""
    if task == "digits":
        images, labels, _ = chapter.digits(split=split)
        chosen = rng.integers(0, len(images), n)
        return np.swapaxes(images[chosen].reshape(n, 28, 28), 0, 1).copy(), labels[chosen]
    steps = TASKS[task]
    x = np.stack([rng.random((steps, n)), np.zeros((steps, n))], axis=-1).astype(np.float32)
    marked = rng.integers(0, steps // 2, n), rng.integers(steps // 2, steps, n)
    for t in marked:
        x[t, range(n), 1] = 1
    return x, sum(x[t, range(n), 0] for t in marked)[:, None]
