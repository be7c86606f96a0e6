"""Parameter groups and options of the optimizers: what is taken, and what is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_vg as tg
from tinygrad_vg import nn, optim


def start(seed: int = 9) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(3, 2))


def test_a_group_has_its_own_options_and_the_defaults_of_what_it_leaves_out() -> None:
    """Groups are optimizers of their own."""
    weight, bias, alone, also_alone = (nn.Parameter(start()) for _ in range(4))
    together = optim.SGD(
        [{"params": [weight], "weight_decay": 0.2}, {"params": iter([bias]), "lr": 0.5, "momentum": 0.0}],
        lr=0.1,
        momentum=0.9,
    )
    apart = [optim.SGD([alone], 0.1, 0.9, 0.2), optim.SGD([also_alone], 0.5)]
    for seed in range(5):
        for p in (weight, bias, alone, also_alone):
            p.grad = start(seed)
        for optimizer in (together, *apart):
            optimizer.step()
    assert np.array_equal(weight.data, alone.data)
    assert np.array_equal(bias.data, also_alone.data)
    assert [group["lr"] for group in together.param_groups] == [0.1, 0.5]


@pytest.mark.torch
def test_groups_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ours = [nn.Parameter(start()) for _ in range(3)]
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    options: list[dict[str, Any]] = [{}, dict(lr=0.5, nesterov=True), dict(momentum=0.0, weight_decay=0.2)]
    optimizers = [
        kind(
            [{"params": [p], **of_group} for p, of_group in zip(parameters, options, strict=True)], lr=0.1, momentum=0.9
        )
        for kind, parameters in [(optim.SGD, ours), (torch.optim.SGD, theirs)]
    ]
    for seed in range(5):
        for p, twin in zip(ours, theirs, strict=True):
            p.grad, twin.grad = start(seed), torch.tensor(start(seed))
        for optimizer in optimizers:
            optimizer.step()
    for p, twin in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, twin.detach().numpy(), rtol=1e-13)


def test_the_groups_given_are_not_changed() -> None:
    parameters = (nn.Parameter(1.0),)
    group = {"params": parameters, "lr": 0.5}
    optim.SGD([group], lr=0.1).param_groups[0]["lr"] = 3.0
    assert group.keys() == {"params", "lr"}
    assert group["params"] is parameters
    assert group["lr"] == 0.5


def test_a_group_may_be_one_parameter() -> None:
    p = nn.Parameter(start())
    assert optim.SGD([{"params": p}], lr=0.1).param_groups[0]["params"] == [p]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("SGD", dict(lr=-0.1), "lr"),
        ("SGD", dict(lr=float("nan")), "lr"),
        ("SGD", dict(lr=float("inf")), "lr"),
        ("SGD", dict(lr=0.1, momentum=-0.1), "momentum"),
        ("SGD", dict(lr=0.1, weight_decay=-0.1), "weight_decay"),
        ("SGD", dict(lr=0.1, nesterov=True), "nesterov"),
        ("Adam", dict(lr=-0.1), "lr"),
        ("Adam", dict(weight_decay=-0.1), "weight_decay"),
        ("Adam", dict(eps=-1e-8), "eps"),
        ("Adam", dict(betas=(0.9, 1.0)), "betas"),
        ("Adam", dict(betas=(-0.1, 0.9)), "betas"),
        ("Adam", dict(betas=(0.9,)), "betas"),
    ],
    ids=str,
)
@pytest.mark.parametrize("in_group", [False, True], ids=["default", "group"])
def test_options_that_cannot_be_meant_are_refused(
    kind: str, options: dict[str, Any], words: str, in_group: bool
) -> None:
    p = nn.Parameter(start())
    params, defaults = ([{"params": [p], **options}], dict(lr=0.1)) if in_group else ([p], options)
    with pytest.raises(ValueError, match=words):
        getattr(optim, kind)(params, **defaults)


def test_unknown_options_are_refused() -> None:
    p = nn.Parameter(start())
    with pytest.raises(ValueError, match=r"SGD has no option \['learning_rate'\], only \['lr'"):
        optim.SGD([{"params": [p], "learning_rate": 0.1}], lr=0.1)
    with pytest.raises(TypeError, match="learning_rate"):
        optim.Adam([p], learning_rate=0.1)
    with pytest.raises(TypeError, match="lr"):
        optim.SGD([p])


@pytest.mark.parametrize("parameters", [[], iter([])], ids=["list", "iterator"])
def test_no_parameters_are_refused(parameters: Any) -> None:
    with pytest.raises(ValueError, match="SGD got no parameters"):
        optim.SGD(parameters, lr=0.1)


def test_duplicates_are_refused() -> None:
    p, q = nn.Parameter(start(), name="p"), nn.Parameter(start())
    for parameters in [[p, q, p], [{"params": [p]}, {"params": [q, p]}]]:
        with pytest.raises(ValueError, match="'p' appears twice"):
            optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize(
    "parameters",
    [[tg.Tensor([1.0], requires_grad=True)], [np.ones(2)], nn.Sequential(nn.Linear(2, 1)), nn.Parameter(np.ones(2))],
    ids=["Tensor", "array", "module", "Parameter alone"],
)
def test_only_parameters_are_trained(parameters: Any) -> None:
    with pytest.raises(TypeError, match="takes Parameters, not"):
        optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize("group_first", [True, False])
def test_groups_and_parameters_do_not_mix(group_first: bool) -> None:
    """The parameters that are not in a group would not be trained."""
    mixed = [{"params": [nn.Parameter(1.0)]}, nn.Parameter(2.0)]
    with pytest.raises((TypeError, ValueError)):
        optim.SGD(mixed if group_first else mixed[::-1], lr=0.1)


def test_repr_says_what_is_in_a_group():
    net = nn.mlp([3, 2, 1], rng=0)
    sgd = optim.SGD([{"params": [net[0].weight], "lr": 0.5}, {"params": [net[0].bias]}], lr=0.1)
    assert repr(sgd).startswith("SGD(1 parameters, lr=0.5, momentum=0.0")
    assert "; 1 parameters, lr=0.1" in repr(sgd)
