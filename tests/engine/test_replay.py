"""All that depends on a Tensor can be recorded: a graph run again on other numbers gives what a new call gives."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine import Tensor, record_everything

X, OTHER = np.random.default_rng(0).normal(size=(2, 6, 4))
ROWS, OTHER_ROWS = np.eye(3)[[0, 1, 2, 0, 1, 2]], np.eye(3)[[2, 2, 0, 1, 0, 1]]
BODIES = {
    "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU(), "layer norm": nn.LayerNorm(5),
    "residual": nn.Residual(nn.Sequential(nn.Linear(5, 5, rng=7), nn.ReLU())),
}  # fmt: skip
COSTS = {
    "mse": (nn.MSELoss(), ROWS, OTHER_ROWS),
    "bce": (nn.BCEWithLogitsLoss("batchmean"), ROWS, OTHER_ROWS),
    "cross-entropy of rows": (nn.CrossEntropyLoss(), ROWS, OTHER_ROWS),
    "cross-entropy of classes": (nn.CrossEntropyLoss(), ROWS.argmax(axis=1), OTHER_ROWS.argmax(axis=1)),
    "no reduction": (lambda y, t: np.sum(nn.CrossEntropyLoss("none")(y, t) ** 2), ROWS.argmax(axis=1),
                     OTHER_ROWS.argmax(axis=1)),
}  # fmt: skip


def nodes_below(outputs):
    """The nodes of all Tensors that the outputs depend on, oldest first."""
    found, unseen = {}, [tensor for tensor in outputs if tensor.node is not None]
    while unseen:
        tensor = unseen.pop()
        if id(tensor) not in found:
            found[id(tensor)] = tensor
            unseen += [t for t in tensor.node.inputs if isinstance(t, Tensor) and t.node is not None]
    return sorted(found.values(), key=lambda tensor: tensor.node.order)


def replayed(outputs, new):
    """What the outputs would be with other data in the Tensors that are keys of `new`."""
    values = {id(tensor): array for tensor, array in new.items()}
    for tensor in nodes_below(outputs):
        arguments = [
            values.get(id(given), seen) for given, seen in zip(tensor.node.inputs, tensor.node.values, strict=True)
        ]
        values[id(tensor)] = np.asarray(tensor.node.operation.kernel(*arguments, **tensor.node.kwargs))
    return [values[id(output)] for output in outputs]


def step(net, cost, x, target):
    """The cost, and all gradients, recorded."""
    loss = cost(net(x), target)
    return [loss, *tg.grad(loss, [*net.parameters()], create_graph=True)]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("body", BODIES)
def test_a_recorded_step_replays_on_another_batch(body, cost):
    net = nn.Sequential(nn.Linear(4, 5, rng=0), BODIES[body], nn.Linear(5, 3, rng=1))
    cost, target, other_target = COSTS[cost]
    x, t = Tensor(X), Tensor(target)
    with record_everything():
        outputs = step(net, cost, x, t)
        expected = [output.data for output in step(net, cost, Tensor(OTHER), Tensor(other_target))]
    again = replayed(outputs, {x: OTHER, t: other_target})
    assert [a.tobytes() for a in again] == [e.tobytes() for e in expected]
    assert again[0] != outputs[0].data


def test_functions_without_a_derivative_are_recorded_only_on_demand():
    t = Tensor([-1.0, 2.0], requires_grad=True)
    assert isinstance(t > 0, np.ndarray)
    with record_everything():
        positive = t > 0
        assert isinstance(np.argmax(t), Tensor)
        assert np.shape(t) == (2,)
    assert positive.node.operation.kind == "constant"
    assert not positive.requires_grad
    assert not positive.node.edges


def test_data_are_recorded_too():
    with record_everything():
        doubled = 2 * Tensor([1.0])
    assert replayed([doubled], {doubled.node.inputs[1]: np.array([4.0])})[0].tolist() == [8.0]


def test_no_grad_keeps_edges_out():
    t = Tensor([1.0], requires_grad=True)
    with record_everything(), tg.no_grad():
        doubled = 2 * t
    assert doubled.node is not None
    assert not doubled.requires_grad
    assert not doubled.node.edges
