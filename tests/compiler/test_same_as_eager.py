"""A compiled step does what the step itself does: the same losses, weights and states, for any network."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from tests.compiler.backends import BACKENDS
from tests.compiler.steps import training
from tinygrad_vg import nn, optim

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
ACTIVATIONS = [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Softplus, nn.Identity]
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.005),
    "decay": lambda p: optim.SGD(p, lr=0.005, weight_decay=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.002, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.002, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adam with decay": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
}
COSTS = {
    "bce": lambda: nn.BCEWithLogitsLoss("batchmean"),
    "mse": nn.MSELoss,
    "classes": nn.CrossEntropyLoss,
    "rows": lambda: nn.CrossEntropyLoss("batchmean"),
}


def network(widths, activation, extra, dtype, seed):
    """Linear layers with an activation between them; `extra` puts something after the first."""
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        layers += [nn.Linear(n_in, n_out, bias=extra != "no bias" or i > 0, dtype=dtype, rng=seed + i)]
        if i + 2 < len(widths):
            layers += [activation()]
            if extra == "norm" and i == 0 and n_out > 3:  # of two features little but rounding is left
                layers += [nn.LayerNorm(n_out, dtype=dtype)]
            if extra == "residual" and i == 0:
                layers += [
                    nn.Residual(nn.Sequential(nn.Linear(n_out, n_out, dtype=dtype, rng=seed + 50), activation()))
                ]
    return nn.Sequential(*layers)


def trained(case, backend=None):
    """Losses, network and optimizer of 20 steps, which are compiled if a backend is given."""
    rng = np.random.default_rng(case["seed"])
    nets = [network(case["widths"], case["activation"], case["extra"], case["dtype"], case["seed"] + 100 * m)
            for m in range(case["members"] or 1)]  # fmt: skip
    net = nn.stack(nets) if case["members"] else nets[0]
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    if case["shared"] and len(linears) > 2 and linears[1].weight.shape == linears[2].weight.shape:
        linears[2].weight = linears[1].weight
    x = rng.normal(size=(20, case["batch"], case["widths"][0])).astype(case["dtype"])
    t = rng.integers(0, case["widths"][-1], size=(20, case["batch"]))
    if case["cost"] != "classes":
        t = np.eye(case["widths"][-1], dtype=case["dtype"])[t]

    step = training(net, backend, OPTIMIZERS[case["optimizer"]], COSTS[case["cost"]]())
    return [step(a, b).data for a, b in zip(x, t, strict=True)], net, step.optimizer


cases = st.fixed_dictionaries({
    "widths": st.lists(st.integers(1, 17), min_size=2, max_size=5).filter(lambda widths: widths[-1] > 1),
    "activation": st.sampled_from(ACTIVATIONS),
    "extra": st.sampled_from(["", "", "norm", "residual", "no bias"]),
    "dtype": st.sampled_from([np.float32, np.float64]),
    "cost": st.sampled_from([*COSTS]),
    "optimizer": st.sampled_from([*OPTIMIZERS]),
    "members": st.sampled_from([None, None, 2, 3]),
    "batch": st.sampled_from([1, 2, 7, 64]),
    "shared": st.booleans(),
    "seed": st.integers(0, 1000),
})  # fmt: skip


def check(case, backend):
    """A training by the step and one by the compiled step must end alike."""
    losses, net, optimizer = trained(case)
    again, other, compiled = trained(case, backend)
    tolerance = TOLERANCE[case["dtype"]]
    assert np.allclose(losses, again, rtol=tolerance, atol=tolerance)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert p.dtype == q.dtype
        assert np.allclose(p.data, q.data, rtol=tolerance, atol=tolerance)
    state, other_state = optimizer.state_dict()["state"], compiled.state_dict()["state"]
    assert state.keys() == other_state.keys()
    for i, entries in state.items():
        assert entries.keys() == other_state[i].keys()
        assert all(np.allclose(v, other_state[i][n], rtol=10 * tolerance, atol=tolerance) for n, v in entries.items())


@given(case=cases)
@settings(max_examples=200, deadline=None, derandomize=True, phases=[Phase.generate])
def test_twenty_steps(case):
    check(case, "numpy")


@pytest.mark.skipif("numba" not in BACKENDS, reason="MACHINE_CODE=1 tests it")
@pytest.mark.parametrize("part", range(4))  # for workers side by side
def test_twenty_steps_in_machine_code(part):
    @seed(part)
    @settings(max_examples=50, deadline=None, database=None, phases=[Phase.generate])
    @given(case=cases)
    def run(case):
        check(case, "numba")

    run()
