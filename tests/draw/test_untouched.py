"""Drawing changes nothing: no weight, no `.grad`, and nobody who listens to gradients hears of it."""

import numpy as np
import pytest

from tests.draw.nets import network, normalised, residual
from tinygrad_vg import draw, nn
from tinygrad_vg.instruments import GradientRecorder, Ledger

DRAWINGS = {
    "graph": lambda net, cost: draw.graph(cost, dict(net.named_parameters())),
    "layers": draw.layers,
    "neurons": draw.neurons,
    "Ledger.of": Ledger.of,
}
NETS = {
    "plain": lambda: network([5, 4, 4, 3], nn.Sigmoid, nn.Tanh),
    "residual": lambda: residual(4, 3),
    "normalised": normalised,
}
JOBS = [(drawing, net) for drawing in DRAWINGS for net in NETS if drawing != "neurons" or net == "plain"]


@pytest.mark.parametrize(("drawing", "kind"), JOBS)
@pytest.mark.parametrize("is_after_backward", [False, True])
def test_nothing_is_touched_and_nobody_is_told(drawing, kind, is_after_backward):
    net = NETS[kind]()
    cost = np.sum(np.square(net(np.random.default_rng(0).normal(size=(4, next(net.parameters()).shape[-1])))))
    if is_after_backward:
        cost.backward()
    parameters = list(net.parameters())
    before = [(p.data, p.data.copy(), p.grad, None if p.grad is None else p.grad.copy()) for p in parameters]
    heard = []
    for tensor in (cost, cost.node.inputs[0], *parameters):
        tensor.register_hook(heard.append)
    for _, module in net.named_modules():
        module.register_forward_hook(lambda *call: heard.append(call))
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - nobody draws random numbers, also not by the old way
    with GradientRecorder(net, statistics=True) as recorder, Ledger(net) as ledger:
        DRAWINGS[drawing](net, cost)
    assert heard == []
    assert len(recorder.history.log10_norm) == 0
    assert not ledger.heard
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for parameter, (data, values, grad, slopes) in zip(parameters, before, strict=True):
        assert parameter.data is data
        assert np.array_equal(data, values)
        assert parameter.grad is grad
        assert grad is None or np.array_equal(grad, slopes)


def test_a_training_that_is_drawn_goes_on_as_one_that_is_not():
    def weights(*, is_drawn):
        net = network([5, 4, 4, 3], nn.Sigmoid)
        for _ in range(3):
            cost = np.sum(np.square(net(np.ones((2, 5)))))
            cost.backward()
            if is_drawn:
                for drawing in DRAWINGS.values():
                    drawing(net, cost)
            for parameter in net.parameters():
                parameter.data = parameter.data - 0.1 * parameter.grad
                parameter.grad = None
        return [parameter.data for parameter in net.parameters()]

    for drawn, plain in zip(weights(is_drawn=True), weights(is_drawn=False), strict=True):
        assert np.array_equal(drawn, plain)
