"""A twin computes what its network of PyTorch computes, and refuses what it cannot."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tinygrad_vg import nn

pytestmark = pytest.mark.torch
# importorskip silences what an installation of PyTorch may warn of while it is imported, and nothing after that.
torch = pytest.importorskip("torch")
T = torch.nn

from tests.bridges import networks  # noqa: E402 - it needs torch
from tinygrad_vg.bridges.torch import twin  # noqa: E402


def flat(output: Any) -> list[Any]:
    return [each for part in output for each in flat(part)] if isinstance(output, tuple) else [output]


def same(net: Any, ours: nn.Module, x: Any, seed: int = 0, near: float = 1e-12) -> None:
    """Outputs and gradients of both are equal, gradients relative to the largest in their layer."""
    rng = np.random.default_rng(seed)
    net.zero_grad()
    ours.zero_grad()
    mine, theirs = flat(ours(x)), flat(net(torch.from_numpy(x)))
    for a, b in zip(mine, theirs, strict=True):
        expected = b.detach().numpy()
        assert a.dtype == expected.dtype
        np.testing.assert_allclose(getattr(a, "data", a), expected, rtol=near, atol=near * abs(expected).max())
        if b.requires_grad:
            g = rng.normal(size=b.shape).astype(x.dtype)
            a.backward(g)
            b.backward(torch.from_numpy(g), retain_graph=True)
    tensors = dict(net.named_parameters(remove_duplicate=False))
    for name, parameter in ours.named_parameters():
        other = tensors[parameter.name].grad
        if other is None:
            assert parameter.grad is None, name
            continue
        layer = parameter.name.rpartition(".")[0]
        size = max(float(abs(p.grad).max()) for key, p in tensors.items()
                   if key.rpartition(".")[0] == layer and p.grad is not None)  # fmt: skip
        np.testing.assert_allclose(parameter.grad, other.numpy(), rtol=near, atol=near * size, err_msg=name)


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluation"])
def test_outputs_and_gradients_are_those_of_pytorch(name: str, is_training: bool) -> None:
    net, shape = networks.NETWORKS[name]
    net = copy.deepcopy(net).double().train(is_training)
    x = np.random.default_rng(1).normal(size=shape)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    state = torch.random.get_rng_state()
    ours = twin(net, x)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())  # it is as it was
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training == is_training for _, module in ours.named_modules())
    same(net, ours, x)
    same(net, ours, x)  # with the running means of the first call


ELEMENTWISE = [name for name in networks.PARTS if "Norm" not in name and name not in ("ReLU in place", "Dropout")]


@st.composite
def sequentials(draw: Any, width: int, depth: int = 2) -> tuple[Any, int]:
    """A nested Sequential for inputs of this width, and the width of its outputs."""
    parts: list[Any] = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["Linear", "nested", "residual", "LayerNorm", *ELEMENTWISE]))
        if kind == "Linear":
            wider = draw(st.integers(1, 5))
            parts.append(T.Linear(width, wider, bias=draw(st.booleans())))
            width = wider
        elif kind == "LayerNorm" and width > 1:
            parts.append(T.LayerNorm(width, eps=draw(st.sampled_from([1e-5, 1e-2]))))
        elif kind in ("nested", "residual") and depth:
            inner, after = draw(sequentials(width, depth - 1))
            if kind == "residual" and after == width:
                parts.append(networks.Block(inner))
            elif kind == "nested":
                parts.append(inner)
                width = after
        elif kind in ELEMENTWISE:
            parts.append(copy.deepcopy(networks.PARTS[kind]))
    return T.Sequential(*parts), width


@settings(max_examples=30, deadline=None, derandomize=True)
@given(sequentials(4))
def test_any_sequential(drawn: tuple[Any, int]) -> None:
    net = drawn[0].double()
    x = np.random.default_rng(2).normal(size=(3, 4))
    same(net, twin(net, x), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_and_modes_are_kept(dtype: Any) -> None:
    net = T.Sequential(T.Linear(4, 5), T.BatchNorm1d(5), T.Dropout(0.3), T.Linear(5, 2)).to(dtype)
    net[0].weight.requires_grad_(False)
    net[1].eval()
    ours = twin(net)
    width = np.float32 if dtype is torch.float32 else np.float64
    assert {p.dtype for p in ours.parameters()} == {np.dtype(width)}
    assert ours[1].num_batches_tracked.dtype == np.int64  # type: ignore[attr-defined]
    assert [m.training for m in ours] == [m.training for m in net] == [True, False, True, True]
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in net.parameters()]
    x = np.random.default_rng(3).normal(size=(6, 4)).astype(width)
    same(net.eval(), ours.eval(), x, near=1e-5 if width is np.float32 else 1e-12)


def test_dropout_drops_as_often() -> None:
    ours = twin(T.Sequential(T.Linear(1, 1, bias=False), T.Dropout(0.3)).double())
    dropped = np.mean(ours(np.ones((10_000, 1))).data == 0)
    assert abs(dropped - 0.3) < 0.02  # four standard deviations


def test_what_is_shared_remains_shared() -> None:
    act, layer = T.Tanh(), T.Linear(4, 4)
    ours = twin(T.Sequential(layer, act, layer, act, networks.Tied(4)))
    assert ours[0] is ours[2]
    assert ours[1] is ours[3]
    assert ours[4].encode.weight is ours[4].decode.weight  # type: ignore[attr-defined]
    assert len([*ours.parameters()]) == 4
    assert ours[0].weight.name == "0.weight"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in networks.NETWORKS if "-norm" not in name and name != "tied"])
def test_names_are_those_of_pytorch(name: str) -> None:
    """So that layers have them in tables and pictures, and a state of PyTorch loads."""
    net, shape = networks.NETWORKS[name]
    ours = twin(net, np.zeros(shape))
    assert sorted(ours.state_dict()) == sorted(net.state_dict())
    ours.load_state_dict({key: tensor.numpy() for key, tensor in net.state_dict().items()})


def test_a_way_around_a_part_of_a_forward_is_a_residual_of_its_own() -> None:
    ours = twin(networks.PreNorm(4))
    assert [name for name, _ in ours.named_children()] == ["residual", "residual:2"]
    assert all(isinstance(child, nn.Residual) for _, child in ours.named_children())
    assert [p.name for p in ours.parameters()][:4] == ["norm1.weight", "norm1.bias", "mix.weight", "mix.bias"]


def test_weights_that_have_exploded_do_not_hide_the_structure() -> None:
    """The check of the structure uses other numbers, and the twin gets these."""
    net = networks.PostNorm(4).double()
    with torch.no_grad():
        net.first.weight.fill_(1e200)
        net.second.weight.fill_(float("nan"))
        net.second.bias.zero_()
    ours = twin(net)
    assert np.isnan(ours.residual.second.weight.data).all()  # type: ignore[attr-defined]
    assert (ours.residual.first.weight.data == 1e200).all()  # type: ignore[attr-defined]


def test_a_branch_that_begins_at_zero_is_seen() -> None:
    """With a last layer of zeros, x + body(x) is x itself."""
    net = networks.Block(T.Linear(4, 4)).double()
    with torch.no_grad():
        net.body.weight.zero_()
        net.body.bias.zero_()
    ours = twin(net)
    assert isinstance(ours, nn.Residual)
    same(net, ours, np.random.default_rng(4).normal(size=(3, 4)))


def test_hooks_of_the_network_are_not_called() -> None:
    net, called = T.Sequential(T.Tanh(), T.Linear(4, 2)), []
    net.register_forward_hook(lambda *_: called.append("forward"))
    net[1].register_forward_pre_hook(lambda *_: called.append("pre"))
    net[1].register_full_backward_hook(lambda *_: called.append("backward"))
    twin(net)
    assert called == []
    net(torch.zeros(1, 4, requires_grad=True)).sum().backward()
    assert called == ["pre", "forward", "backward"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, tg.no_grad])
def test_a_twin_where_nothing_is_recorded(mode: Any) -> None:
    net = T.Linear(4, 2)
    with mode():
        assert isinstance(twin(net), nn.Linear)


def test_a_cost_that_a_network_holds_is_no_part_of_it() -> None:
    net = networks.Mlp(4)
    net.cost = T.CrossEntropyLoss()
    assert "cost" not in dict(twin(net).named_children())


def test_a_module_that_is_held_elsewhere_is_followed() -> None:
    """In a list, which PyTorch does not look into; it has no name there but that of its class."""
    act = T.Tanh()
    inner = Refused(lambda net, x: net.held[0](net.b(net.a(x))))
    inner.held = [act]
    ours = twin(T.Sequential(act, inner).double())
    assert ours[1][2] is ours[0]  # type: ignore[index]
    assert [name for name, _ in ours[1].named_children()] == ["a", "b", "Tanh"]


class Refused(T.Module):
    """A network whose forward is a function of its modules a and b, and of x."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.a, self.b, self.body = T.Linear(4, 4), T.Linear(4, 4), forward

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


def with_hook(layer: Any) -> Any:
    """A layer whose weight is computed by a hook, as weight_norm in its old form and pruning do it."""
    from torch.nn.utils import prune

    return prune.l1_unstructured(layer, "weight", 2)


def script(layer: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and still in use
        return torch.jit.script(layer)


BETWEEN = "between {} and {} its forward computes something that is no call of a module, .* Write each step as a module"
OTHERS = "not the sequence of the modules that it calls: in {} the {}"
IMAGES = (2, 4, 6, 6)
REFUSED: dict[str, tuple[Any, tuple[int, ...], str]] = {  # what makes the network, the shape of a batch, the message
    name: (make, shape or (2, 4), words)
    for name, make, shape, words in [
        ("a function between", lambda: Refused(lambda net, x: net.b(torch.relu(net.a(x)))), (),
         BETWEEN.format("the call of 'a'", "the call of 'b'")),
        ("a function first", lambda: Refused(lambda net, x: net.b(net.a(2 * x))), (),
         BETWEEN.format("its begin", "the call of 'a'")),
        ("a function last", lambda: Refused(lambda net, x: net.b(net.a(x)).exp()), (),
         BETWEEN.format("the call of 'b'", "its end")),
        ("a function alone", lambda: T.Sequential(T.Linear(4, 4), Refused(lambda net, x: x * x)), (),
         "twin of Refused '1': " + BETWEEN.format("its begin", "its end")),
        ("two ways", lambda: Refused(lambda net, x: net.a(x) + net.b(x)), (),
         BETWEEN.format("the call of 'a'", "the call of 'b'")),
        ("a scaled way around", lambda: Refused(lambda net, x: x + 0.5 * net.b(net.a(x))), (),
         BETWEEN.format("the call of 'b'", "its end")),
        ("in place", lambda: Refused(lambda net, x: net.b(net.a(x).relu_())), (), OTHERS.format("training", "outputs")),
        ("a way around in place", lambda: networks.Block(T.Sequential(T.ReLU(inplace=True), T.Linear(4, 4))), (),
         OTHERS.format("training", "outputs")),
        ("detached", lambda: Refused(lambda net, x: net.b(net.a(x)) + x.detach()), (),
         OTHERS.format("training", "gradients of its input")),
        ("detached inside", lambda: T.Sequential(T.Tanh(), Refused(lambda net, x: net.b(net.a(x)) + x.detach())), (),
         OTHERS.format("training", "gradients of its input")),
        ("the mode", lambda: Refused(lambda net, x: net.b(net.a(x)) if net.training else net.a(net.b(x))), (),
         OTHERS.format("evaluation", "outputs")),
        ("unused", lambda: Refused(lambda net, x: net.a(x)), (),
         r"b\.weight, b\.bias of Refused belong to no layer that its forward calls"),
        ("two results", lambda: T.Sequential(T.Linear(4, 4), Refused(lambda net, x: (x, net.a(x)))), (),
         "twin of Refused '1': " + BETWEEN.format("the call of 'a'", "its end")),
        ("two arguments", networks.Both, (), "twin of Both: 'mean' is not called with one tensor alone"),
        ("no gradients", lambda: T.Sequential(T.Linear(4, 4), T.Sigmoid(), T.ReLU(inplace=True)), (),
         "PyTorch computes no gradients of Sequential"),
        ("a layer that only PyTorch has", lambda: T.Sequential(T.Linear(4, 4), T.Hardtanh()), (),
         "twin of Hardtanh '1': tinygrad_vg has no such module; of PyTorch's it has AvgPool2d, .*Tanh"),
        ("half", lambda: T.Linear(4, 4).half(), (), r"weight is torch\.float16, and twin takes float32 and float64"),
        ("complex", lambda: T.Linear(4, 4, dtype=torch.complex64), (), r"weight is torch\.complex64"),
        ("meta", lambda: T.Linear(4, 4, device="meta"), (), "weight has no numbers yet"),
        ("lazy", lambda: T.Sequential(T.LazyLinear(4)), (), r"0\.weight has no numbers yet: call the network once"),
        ("Embedding", lambda: T.Sequential(T.Embedding(4, 3)), (), "twin of Embedding '0': tinygrad_vg has no such"),
        ("attention", lambda: T.TransformerEncoderLayer(4, 2), (2, 3, 4), "twin of MultiheadAttention 'self_attn'"),
        ("old weight_norm", lambda: with_hook(T.Linear(4, 4)), (), "becomes a parameter by remove_weight_norm"),
        ("a script", lambda: T.Sequential(script(T.Linear(4, 4))), (), "write twin of the module itself"),
        ("weight_norm", lambda: T.Sequential(T.utils.parametrizations.weight_norm(T.Linear(4, 4))), (),
         "remove_parametrizations makes parameters"),
        ("DataParallel", lambda: T.DataParallel(T.Linear(4, 4)), (), r"write twin\(net\.module\)"),
        ("DataParallel inside", lambda: T.Sequential(T.DataParallel(T.Linear(4, 4))), (),
         r"DataParallel '0' is a wrapper around a network: write net\.0 = net\.0\.module"),
        ("compiled", lambda: torch.compile(T.Linear(4, 4)), (), r"write twin\(net\._orig_mod\)"),
        ("LayerNorm", lambda: T.LayerNorm(4, elementwise_affine=False), (), "write elementwise_affine=True"),
        ("LayerNorm of two axes", lambda: T.LayerNorm((2, 4)), (3, 2, 4), "over the last axis"),
        ("Softmax", lambda: T.Sequential(T.Linear(4, 4), T.Softmax()), (), "write dim=-1"),
        ("Softplus", lambda: T.Sequential(T.Linear(4, 4), T.Softplus(2.0)), (), "has no option beta"),
        ("Conv2d", lambda: T.Conv2d(4, 4, 3, groups=2), IMAGES, "has no option groups"),
        ("Conv2d, same", lambda: T.Conv2d(4, 4, 2, padding="same"), IMAGES, "pads both ends alike"),
        ("MaxPool2d", lambda: T.MaxPool2d(2, ceil_mode=True), IMAGES, "has no option ceil_mode"),
        ("AvgPool2d", lambda: T.AvgPool2d(2, padding=1, count_include_pad=False), IMAGES, "option count_include_pad"),
        ("GroupNorm", lambda: T.Sequential(T.Conv2d(4, 4, 3), T.GroupNorm(2, 4)), IMAGES, "twin of GroupNorm '1'"),
        ("GRU", lambda: T.GRU(4, 3, bidirectional=True), (6, 2, 4), "has no option bidirectional"),
        ("no network", lambda: np.ones(2), (), r"takes a torch\.nn\.Module, not ndarray"),
    ]
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("name", REFUSED)
def test_what_a_twin_cannot_be_is_refused(name: str) -> None:
    make, shape, words = REFUSED[name]
    with pytest.raises(TypeError, match=words):
        twin(make(), np.zeros(shape))


def test_the_shape_of_images_is_asked_for() -> None:
    net = T.Sequential(T.Conv2d(1, 2, 3), T.ReLU())
    with pytest.raises(ValueError, match=r"write twin\(net, x\) with a batch x; only its shape is used"):
        twin(net)
    with pytest.raises(ValueError, match=r"does not take .* shape \(3, 5\)"):
        twin(T.Linear(4, 2), np.zeros((1, 5)))
    assert len(twin(net, np.zeros((1, 1, 8, 8)))) == 2  # type: ignore[arg-type]
