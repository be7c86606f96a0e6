"""Member i of a trained ensemble is network i trained alone: parameters, gradients and losses, to rounding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_vg import nn, optim

Array = NDArray[np.floating[Any]]

SIZES, MEMBERS, STEPS, BATCH = [20, 8, 8, 4], 3, 20, 10

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda parameters: optim.SGD(parameters, lr=0.5),
    "SGD with momentum": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda parameters: optim.Adam(parameters, lr=0.01),
}
COSTS: dict[str, type[nn.Module]] = {
    "mse": nn.MSELoss,
    "bce": nn.BCEWithLogitsLoss,
    "cross-entropy": nn.CrossEntropyLoss,
}


def network(seed: int, sizes: list[int] = SIZES, dtype: type = np.float64) -> nn.Sequential:
    return nn.mlp(sizes, dtype=dtype, rng=seed)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self, seed: int, tied: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.a, self.b = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)
        if tied:
            self.b.weight = self.a.weight

    def forward(self, x: Any) -> Any:
        return self.b(np.tanh(self.a(x)))


def train(net: nn.Module, kind: type[nn.Module], make: Callable[[Any], optim.Optimizer]) -> dict[str, Array]:
    """Train on the same mini-batches whatever the network; return what it went through, (steps, [member,] ...)."""
    rng = np.random.default_rng(99)
    width, depth = (parameter.shape[-1] for parameter in (next(net.parameters()), list(net.parameters())[-1]))
    x, t = rng.normal(size=(50, width)), np.eye(depth)[rng.integers(depth, size=50)]
    cost, separate, optimizer = kind("batchmean"), kind("none"), make(net.parameters())
    seen: dict[str, list[Array]] = {}
    for _ in range(STEPS):
        batch = rng.choice(50, BATCH, replace=False)
        optimizer.zero_grad()
        output = net(x[batch])
        losses = separate(output, t[batch]).data
        # One loss a member: (member, batch[, class]) summed over all but the first axis.
        members = losses.shape[:1] if output.ndim == 3 else ()
        seen.setdefault("loss", []).append(losses.reshape(*members, -1).sum(axis=-1))
        cost(output, t[batch]).backward()
        optimizer.step()
        for name, parameter in net.named_parameters():
            seen.setdefault(name, []).append(parameter.data)
            seen.setdefault(f"gradient of {name}", []).append(parameter.grad)
    return {name: np.stack(arrays) for name, arrays in seen.items()}


@pytest.mark.parametrize("kind", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_member_is_a_network_trained_alone(make: Callable[[Any], optim.Optimizer], kind: type[nn.Module]) -> None:
    together = train(nn.stack([network(seed) for seed in range(MEMBERS)]), kind, make)
    for i in range(MEMBERS):
        alone = train(network(i), kind, make)
        assert alone.keys() == together.keys()
        for name, array in alone.items():
            assert together[name].shape == (STEPS, MEMBERS, *array.shape[1:])
            np.testing.assert_allclose(together[name][:, i], array, rtol=1e-12, atol=1e-12, err_msg=name)
    assert not np.allclose(together["loss"][0], together["loss"][-1])  # it did train


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_tied_weight_stays_tied(make: Callable[[Any], optim.Optimizer]) -> None:
    ensemble = nn.stack([Tied(seed) for seed in range(MEMBERS)])
    assert ensemble.b.weight is ensemble.a.weight
    assert [name for name, _ in ensemble.named_parameters()] == ["a.weight", "a.bias", "b.bias"]
    together = train(ensemble, nn.MSELoss, make)
    for i in range(MEMBERS):
        for name, array in train(Tied(i), nn.MSELoss, make).items():
            np.testing.assert_allclose(together[name][:, i], array, rtol=1e-12, atol=1e-12, err_msg=name)
    member = nn.unstack(ensemble, 1)
    assert member.b.weight is member.a.weight
    assert member.a.weight.shape == (4, 4)


def test_stack_of_one_is_the_network_with_one_more_axis(rng: np.random.Generator) -> None:
    net, x = network(0), rng.normal(size=(5, 20))
    ensemble = nn.stack([net])
    assert {name: p.shape for name, p in ensemble.named_parameters()} == {
        name: (1, *p.shape) for name, p in net.named_parameters()
    }
    np.testing.assert_allclose(ensemble(x).data, net(x).data[None], rtol=1e-13)


def test_stack_leaves_the_models_alone() -> None:
    models = [network(seed) for seed in range(MEMBERS)]
    ensemble = nn.stack(models)
    for parameter in ensemble.parameters():
        parameter.data += 1
    for seed, model in enumerate(models):
        for name, array in network(seed).state_dict().items():
            assert np.array_equal(model.state_dict()[name], array)


def test_unstack_gives_back_the_model_that_was_stacked() -> None:
    models = [network(seed) for seed in range(MEMBERS)]
    ensemble = nn.stack(models)
    for i, model in enumerate(models):
        member = nn.unstack(ensemble, i)
        assert repr(member) == repr(model)
        assert {n: p.data.tobytes() for n, p in member.named_parameters()} == {
            n: p.data.tobytes() for n, p in model.named_parameters()
        }


def test_unstack_gives_copies(rng: np.random.Generator) -> None:
    ensemble, x = nn.stack([network(seed) for seed in range(MEMBERS)]), rng.normal(size=(5, 20))
    before = ensemble(x).data
    member = nn.unstack(ensemble, 1)
    originals = dict(ensemble.named_parameters())
    for name, parameter in member.named_parameters():
        assert not np.shares_memory(parameter.data, originals[name].data)
        assert parameter.data.flags.owndata  # a member that is kept does not keep the others
        assert parameter.grad is None
    nn.MSELoss("sum")(member(x), np.zeros((5, 4))).backward()
    optim.SGD(member.parameters(), lr=1.0).step()
    assert np.array_equal(ensemble(x).data, before)
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def test_there_are_no_more_members_than_were_stacked() -> None:
    with pytest.raises(IndexError):
        nn.unstack(nn.stack([network(seed) for seed in range(MEMBERS)]), MEMBERS)


def test_what_is_frozen_or_switched_stays_so() -> None:
    models = [network(seed, dtype=np.float32).eval() for seed in range(MEMBERS)]
    for model in models:
        model[0].weight.requires_grad = False
    ensemble = nn.stack(models)
    assert not ensemble[0].weight.requires_grad
    assert ensemble[0].bias.requires_grad
    assert not ensemble.training
    assert {parameter.dtype for parameter in ensemble.parameters()} == {np.dtype(np.float32)}


def test_hooks_of_the_first_model_do_not_run_in_the_ensemble(rng: np.random.Generator) -> None:
    models, calls = [network(seed) for seed in range(MEMBERS)], []
    models[0][0].register_forward_hook(lambda *_: calls.append(1))
    nn.stack(models)(rng.normal(size=(5, 20)))
    assert calls == []


# Refusals.


def test_no_models_are_no_ensemble() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        nn.stack([])


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (network(0, [20, 8, 7, 4]), ["2.weight", "2.bias", "4.weight"]),
        (network(0, [20, 8, 8, 8, 4]), ["4.weight", "4.bias", "6.weight", "6.bias"]),
        (network(0, dtype=np.float32), ["0.weight", "4.bias", "float32", "float64"]),
        (nn.Sequential(nn.Linear(20, 8, bias=False), *list(network(0))[1:]), ["0.bias"]),
    ],
    ids=["width", "depth", "dtype", "no bias"],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_models_that_differ_in_parameters_are_refused_with_names(
    other: nn.Module, names: list[str], first: bool
) -> None:
    models = [other, network(1)] if first else [network(1), network(2), other]
    with pytest.raises(ValueError, match=f"models 0 and {1 if first else 2} cannot be stacked") as caught:
        nn.stack(models)
    assert all(name in str(caught.value) for name in names)


def test_tied_and_untied_models_are_refused() -> None:
    with pytest.raises(ValueError, match=r"b\.weight"):
        nn.stack([Tied(0), Tied(1, tied=False)])


def test_models_that_compute_something_else_are_refused() -> None:
    """Their parameters fit, but every member would get the first one's activation."""
    models = [nn.Sequential(nn.Linear(3, 2, rng=seed), part) for seed, part in enumerate([nn.Sigmoid(), nn.Tanh()])]
    with pytest.raises(ValueError, match="Tanh"):
        nn.stack(models)


# Layers of one's own. Where R = B, a layer that does not know members would mix them with samples, without a word.


class Scale(nn.Module):
    """Written for one network."""

    def __init__(self, seed: int) -> None:
        self.factor = nn.Parameter(np.random.default_rng(seed).normal(size=4))

    def forward(self, x: Any) -> Any:
        return x * self.factor


class ScaleOfMembers(Scale):
    """Written for ensembles too."""

    takes_members = True

    def forward(self, x: Any) -> Any:
        return x * nn.beside_batch(self.factor, x)


class ScaledLinear(nn.Linear):
    """Its base takes members; its own forward does not."""

    def __init__(self, seed: int) -> None:
        super().__init__(4, 4, rng=seed)
        self.factor = nn.Parameter(np.ones(4))

    def forward(self, x: Any) -> Any:
        return super().forward(x) * self.factor


class NamedLinear(nn.Linear):
    """Linear's own forward."""


class CountingNorm(nn.Module):
    def __init__(self) -> None:
        self.seen = nn.Buffer(np.zeros(4))

    def forward(self, x: Any) -> Any:
        return x - self.seen


@pytest.mark.parametrize(
    ("make", "name"),
    [(Scale, "Scale"), (ScaledLinear, "ScaledLinear"), (lambda _: CountingNorm(), "CountingNorm")],
    ids=["Parameter", "another forward than its base's", "Buffer"],
)
def test_a_layer_that_does_not_know_members_is_refused_with_what_to_write(make: Any, name: str) -> None:
    nets = [nn.Sequential(nn.Linear(5, 4, rng=seed), make(seed)) for seed in range(3)]
    with pytest.raises(
        TypeError, match=rf"{name} \(1\) has parameters .* nn\.beside_batch\(p, x\) .* takes_members = True"
    ):
        nn.stack(nets)
    with pytest.raises(TypeError, match=r"\(the model itself\)"):
        nn.stack([net[1] for net in nets])


def test_a_layer_that_knows_members_is_a_loop_over_them(rng: np.random.Generator) -> None:
    nets = [nn.Sequential(nn.Linear(5, 4, rng=seed), ScaleOfMembers(seed)) for seed in range(4)]
    x = rng.normal(size=(4, 5))  # four members, four samples, four features
    outputs = nn.stack(nets)(x)
    for i, net in enumerate(nets):
        np.testing.assert_allclose(outputs.data[i], net(x).data, rtol=1e-13)


def test_a_subclass_keeps_its_base_s_word_as_long_as_it_keeps_its_forward() -> None:
    assert nn.stack([NamedLinear(3, 2, rng=seed) for seed in range(4)])(np.ones((4, 3))).shape == (4, 4, 2)


@pytest.mark.parametrize(
    ("parameter", "x", "expected"),
    [((3,), (3,), (3,)), ((3,), (5, 3), (3,)), ((4, 3), (3,), (4, 3)), ((4, 3), (5, 3), (4, 1, 3)),
     ((4, 3), (4, 5, 3), (4, 1, 3))],
    ids=str,
)  # fmt: skip
def test_a_parameter_lies_beside_a_batch(parameter: tuple[int, ...], x: tuple[int, ...], expected: Any) -> None:
    assert nn.beside_batch(np.zeros(parameter), np.zeros(x)).shape == expected
    assert nn.beside_batch(nn.Parameter(np.zeros(parameter)), np.zeros(x)).shape == expected


def test_a_frozen_model_and_a_free_one_are_not_stacked() -> None:
    models = [nn.Linear(3, 2, rng=seed) for seed in range(2)]
    models[1].bias.requires_grad = False
    with pytest.raises(ValueError, match=r"bias: .*float64.* and .*requires_grad=False"):
        nn.stack(models)
    models[0].bias.requires_grad = False
    assert not nn.stack(models).bias.requires_grad


@pytest.mark.parametrize("model", [nn.Linear(3, 2, rng=0), nn.mlp([3, 2, 1], rng=0), nn.LayerNorm(2)], ids=repr)
def test_a_network_that_is_no_ensemble_has_no_members(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="every array of an ensemble begins with the member axis"):
        nn.unstack(model, 0)


def test_repr_says_how_many_members() -> None:
    net = nn.stack([nn.mlp([3, 2, 1], nn.ReLU, rng=seed) for seed in range(4)])
    assert "(0): Linear(3, 2, members=4)" in repr(net)
    assert "members" not in repr(nn.unstack(net, 0))
