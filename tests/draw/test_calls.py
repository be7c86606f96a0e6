"""A call in a picture, and in a table, has a name that its user has written, or can read."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.draw.reading import read
from tinygrad_vg import draw, nn
from tinygrad_vg.engine import ancestors
from tinygrad_vg.engine.operations import OPERATIONS


def tensor(*shape):
    return tg.Tensor(np.random.default_rng(0).normal(size=shape), requires_grad=True)


def lines_of(cost):
    """The lines of the picture's nodes."""
    cost.backward()
    return [line for node in read(draw.graph(cost)).nodes.values() for line in node.lines]


CALLS = {
    "np.concatenate(axis=0)": lambda: np.sum(np.concatenate([tensor(2), tensor(3)])),
    "np.einsum('ij,jk->ik')": lambda: np.sum(np.einsum("ij,jk->ik", tensor(2, 3), tensor(3, 2))),
    "np.convolve": lambda: np.sum(np.convolve(tensor(3), tensor(2))),
    "np.linalg.norm(·, (1,))": lambda: np.sum(np.linalg.norm(tensor(3, 2), axis=1)),
    "np.linalg.svd": lambda: np.sum(np.linalg.svd(tensor(3, 2), full_matrices=False)[1]),
    "np.linalg.qr": lambda: np.sum(np.linalg.qr(tensor(3, 3))[0]),
    "np.linalg.eigh(·, 'L')": lambda: np.sum(np.linalg.eigh(tensor(3, 3))[0]),
    "np.linalg.pinv(·, 1e-15)": lambda: np.sum(np.linalg.pinv(tensor(3, 2))),
    "log|det|": lambda: np.linalg.slogdet(tensor(3, 3))[1],
    "·[0]": lambda: tensor(3)[0],
    "·[..., 1:]": lambda: np.sum(tensor(3, 2)[..., 1:]),
    "·[::2, 0]": lambda: np.sum(tensor(3, 2)[::2, 0]),
    "·[·]": lambda: np.sum(tensor(3)[np.array([0, 2])]),
    "astype(·, float32)": lambda: np.sum(tensor(3).astype(np.float32)),
    "np.where(False, 0, ·)": lambda: np.linalg.norm(tensor(3), 3),
    "mean": lambda: nn.MSELoss()(tensor(3, 2), np.zeros((3, 2))),
    "sum / 3": lambda: nn.MSELoss("batchmean")(tensor(3, 2), np.zeros((3, 2))),
    "sum": lambda: nn.MSELoss("sum")(tensor(3, 2), np.zeros((3, 2))),
    "binary_cross_entropy_with_logits, mean": lambda: nn.BCEWithLogitsLoss()(tensor(3, 2), np.ones((3, 2))),
    "binary_cross_entropy_with_logits, sum / 3": lambda: nn.BCEWithLogitsLoss("batchmean")(
        tensor(3, 2), np.ones((3, 2))
    ),
}


@pytest.mark.parametrize("words", CALLS)
def test_a_call_is_written_as_its_user_would_write_it(words):
    assert words in lines_of(CALLS[words]())


# Functions of the package whose names users know, for they are called by these names, or say what is computed.
KNOWN = {
    "astype", "avg_pool2d", "binary_cross_entropy_with_logits", "conv2d", "cross_entropy", "elu", "gelu", "gelu_tanh",
    "getitem", "huber", "irfft", "leaky_relu", "linear", "log_softmax", "log|det|", "max_pool2d", "relu", "rfft",
    "selu", "sigmoid", "silu", "softmax", "softplus", "sum / n", "binary_cross_entropy_with_logits / n",
}  # fmt: skip


def test_no_layer_loss_or_function_of_numpy_shows_an_internal_name():
    """Neither in the picture nor in a ledger's table, which has the names of operations between the layers."""
    nets = [
        (nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), tensor(2, 1, 6, 6)),
        (nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.LayerNorm(9), nn.GELU()), tensor(2, 1, 6, 6)),
        (nn.RNN(2, 3, rng=0), tensor(3, 1, 2)),
        (nn.LSTM(2, 3, rng=0), tensor(3, 1, 2)),
        (nn.GRU(2, 3, rng=0), tensor(3, 1, 2)),
        (nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5, rng=0), nn.Softplus(), nn.ELU()), tensor(4, 3)),
    ]
    costs = [build() for build in CALLS.values()]
    for net, x in nets:
        y = net(x)
        costs.append(np.sum(y[0] if isinstance(y, tuple) else y))
    costs += [nn.CrossEntropyLoss()(tensor(3, 2), np.array([0, 1, 1])), nn.HuberLoss()(tensor(3), np.zeros(3))]
    costs += [np.median(tensor(5)), np.var(tensor(4)), np.sum(np.pad(tensor(3), 1)), np.sum(np.sort(tensor(3)))]
    names = {t.node.operation.name for t in ancestors(costs) if t.node is not None}
    assert len(names) > 25
    assert not {name for name in names if not name.startswith("np.")} - KNOWN


def test_names_do_not_depend_on_the_table_of_operations():
    """No operation has the name of a function of NumPy that does not exist."""
    for operation in OPERATIONS.values():
        if operation.name.startswith("np."):
            found = np
            for part in operation.name.split(".")[1:]:
                found = getattr(found, part)
            assert callable(found)
