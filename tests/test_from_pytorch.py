"""docs/from_pytorch.md: each row of its tables runs, on our side everywhere and on PyTorch's where it is installed."""

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.bridges.torch import into

PAGE = Path(__file__).parent.parent / "docs" / "from_pytorch.md"
OURS, THEIRS = {}, {}
ABSENT = ("Conv1d", "Embedding", "GroupNorm", "MultiheadAttention")


def ours(title):
    """Enter a function that checks our side of the row of this title."""
    return lambda case: OURS.setdefault(title, case)


def theirs(title):
    """Enter a function of `torch` that checks PyTorch's side."""
    return lambda case: THEIRS.setdefault(title, case)


def leaf(array):
    return tg.Tensor(array, requires_grad=True)


def warned(function):
    """The result of a function that warns."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        result = function()
    assert heard
    return result


@ours("functions")
def _():
    assert np.sum(np.exp(leaf(np.zeros((2, 3)))), axis=0, keepdims=True).shape == (1, 3)


@theirs("functions")
def _(torch):
    assert torch.exp(torch.zeros(2, 3)).sum(dim=0, keepdim=True).shape == (1, 3)


@ours("`np.exp(t)` of what requires gradients")
def _():
    assert np.exp(leaf(0.0)).requires_grad


@theirs("`np.exp(t)` of what requires gradients")
def _(torch):
    with pytest.raises(RuntimeError, match="requires grad"):
        np.exp(torch.zeros(2, requires_grad=True))


@ours("`tg.Tensor(1.0).dtype`")
def _():
    assert tg.Tensor(1.0).dtype == np.float64
    assert tg.Tensor(np.float32(1.0)).dtype == np.float32


@theirs("`tg.Tensor(1.0).dtype`")
def _(torch):
    assert torch.tensor(1.0).dtype == torch.float32


@ours("`t.data`, `t.grad`")
def _():
    t = leaf([1.0, 2.0])
    np.sum(t * t).backward()
    assert type(t.data) is type(t.grad) is np.ndarray
    t.grad = None
    np.sum(t * t).backward(create_graph=True)
    assert isinstance(t.grad, tg.Tensor)


@theirs("`t.data`, `t.grad`")
def _(torch):
    t = torch.ones(2, requires_grad=True)
    t.sum().backward()
    assert isinstance(t.data, torch.Tensor)
    assert isinstance(t.grad, torch.Tensor)


@ours("`t > 0`, `np.argmax(t)`")
def _():
    assert isinstance(leaf([1.0, 2.0]) > 0, np.ndarray)
    assert isinstance(np.argmax(leaf([1.0, 2.0])), np.integer)


@theirs("`t > 0`, `np.argmax(t)`")
def _(torch):
    assert isinstance(torch.ones(2) > 0, torch.Tensor)
    assert isinstance(torch.argmax(torch.ones(2)), torch.Tensor)


@ours("`t += 1`")
def _():
    before = t = leaf([1.0])
    t += 1
    assert (t.item(), before.item()) == (2.0, 1.0)


@theirs("`t += 1`")
def _(torch):
    before = t = torch.ones(1)
    t += 1
    assert before is t
    t = torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        t += 1


@ours("`p -= lr * p.grad` of a Parameter")
def _():
    p = nn.Parameter(1.0)
    before = p.data
    with tg.no_grad():
        p -= 0.5
    assert (before, p.item()) == (1.0, 0.5)
    with pytest.raises(RuntimeError, match="no_grad"):
        p -= 0.5


@theirs("`p -= lr * p.grad` of a Parameter")
def _(torch):
    p = torch.nn.Parameter(torch.tensor(1.0))
    before = p.data
    with torch.no_grad():
        p -= 0.5
    assert before == p.item() == 0.5
    with pytest.raises(RuntimeError, match="in-place"):
        p -= 0.5


@ours("`t.exp()`, `t.numpy()`, `t.view(-1)`")
def _():
    for name, instead in [("exp", r"np\.exp\(t\)"), ("numpy", r"t\.data"), ("view", r"t\.reshape")]:
        with pytest.raises(AttributeError, match=f"write {instead}"):
            getattr(leaf([1.0]), name)


@theirs("`t.exp()`, `t.numpy()`, `t.view(-1)`")
def _(torch):
    assert torch.zeros(2, 1).exp().view(-1).numpy().tolist() == [1.0, 1.0]


@ours("`t[0] = 1`")
def _():
    with pytest.raises(TypeError, match=r"np\.where"):
        leaf([1.0, 2.0])[0] = 1


@theirs("`t[0] = 1`")
def _(torch):
    t = torch.zeros(2)
    t[0] = 1
    assert t[0] == 1


@ours("`float(t)`")
def _():
    with pytest.raises(TypeError, match=r"\.item\(\)"):
        float(leaf(1.0))


@theirs("`float(t)`")
def _(torch):
    assert warned(lambda: float(torch.tensor(1.0, requires_grad=True))) == 1.0


@ours("`requires_grad=True` of integers")
def _():
    with pytest.raises(TypeError, match="floating-point"):
        tg.Tensor([1, 2], requires_grad=True)


@theirs("`requires_grad=True` of integers")
def _(torch):
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1], requires_grad=True)


@ours("a device")
def _():
    assert not hasattr(leaf(1.0), "to")


@theirs("a device")
def _(torch):
    assert hasattr(torch.ones(1), "to")


@ours("a second `backward()` of the same graph")
def _():
    t = leaf(3.0)
    square = t * t
    square.backward()
    square.backward()
    assert t.grad == 12.0


@theirs("a second `backward()` of the same graph")
def _(torch):
    t = torch.tensor(3.0, requires_grad=True)
    square = t * t
    square.backward()
    with pytest.raises(RuntimeError, match="second time"):
        square.backward()


@ours("`.grad` of what was computed")
def _():
    square = leaf(3.0) * 1.0
    cost = square * square
    cost.backward()
    assert square.grad is None
    assert tg.grad(cost, square) == (6.0,)


@theirs("`.grad` of what was computed")
def _(torch):
    square = torch.tensor(3.0, requires_grad=True) * 1.0
    (square * square).backward()
    assert warned(lambda: square.grad) is None


@ours("`grad` of an input that has no part in the output")
def _():
    with pytest.raises(ValueError, match="is not used by the outputs"):
        tg.grad(leaf(1.0) * 2, leaf(1.0))


@theirs("`grad` of an input that has no part in the output")
def _(torch):
    x, other = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(x.sum(), other)
    assert torch.autograd.grad(x.sum(), other, allow_unused=True) == (None,)


@ours("the slope of the sigmoid at z = 40")
def _():
    z = leaf(40.0)
    tg.ops.sigmoid(z).backward()
    assert f"{z.grad:.1e}" == "4.2e-18"


@theirs("the slope of the sigmoid at z = 40")
def _(torch):
    z = torch.tensor(40.0, dtype=torch.float64, requires_grad=True)
    torch.sigmoid(z).backward()
    assert z.grad == 0


@ours("two equal maxima along an axis")
def _():
    t = leaf([[1.0, 1.0]])
    np.sum(np.max(t, axis=1)).backward()
    assert t.grad.tolist() == [[0.5, 0.5]]


@theirs("two equal maxima along an axis")
def _(torch):
    t = torch.ones(1, 2, requires_grad=True)
    t.max(dim=1).values.sum().backward()
    assert sorted(t.grad[0].tolist()) == [0.0, 1.0]


@ours("a weight is updated between forward and backward")
def _():
    p = nn.Parameter(3.0)
    square = p * p
    p.grad = np.array(1.0)
    tg.optim.SGD([p], lr=1.0).step()
    p.grad = None
    square.backward()
    assert (p.item(), p.grad) == (2.0, 6.0)


@theirs("a weight is updated between forward and backward")
def _(torch):
    p = torch.nn.Parameter(torch.tensor(3.0))
    square = p * p
    p.grad = torch.tensor(1.0)
    torch.optim.SGD([p], lr=1.0).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        square.backward()


@ours("a hook that writes into its gradient")
def _():
    t = leaf([1.0, 2.0])
    t.register_hook(lambda g: g.fill(0))
    with pytest.raises(ValueError, match="read-only"):
        np.sum(t * t).backward()


@theirs("a hook that writes into its gradient")
def _(torch):
    t = torch.ones(2, requires_grad=True)
    t.register_hook(lambda g: g.mul_(5))
    (t * t).sum().backward()
    assert t.grad.tolist() == [10.0, 10.0]


@ours("a gradient below 1e-308")
def _():
    t = leaf(1.0)
    (t * 1e-200 * 1e-200).backward(extended_range=True)
    assert abs(tg.instruments.log10_norm(t.grad) + 400) < 1e-9


@theirs("a gradient below 1e-308")
def _(torch):
    t = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (t * 1e-200 * 1e-200).backward()
    assert t.grad == 0


@ours("initial weights and biases of `Linear(n, m)`")
def _():
    layer = nn.Linear(400, 400, rng=0)
    assert abs(layer.weight.data.std() * 20 - 1) < 0.05
    assert abs(layer.bias.data.std() - 1) < 0.2


@theirs("initial weights and biases of `Linear(n, m)`")
def _(torch):
    layer = torch.nn.Linear(400, 400)
    for values in (layer.weight, layer.bias):
        assert 0.9 / 20 < values.abs().max() <= 1 / 20


@ours("dtype of parameters")
def _():
    assert nn.Linear(2, 1).weight.dtype == np.float64
    assert nn.Linear(2, 1, dtype=np.float32).weight.dtype == np.float32


@theirs("dtype of parameters")
def _(torch):
    assert torch.nn.Linear(2, 1).weight.dtype == torch.float32


@ours("float64 input into a float32 layer")
def _():
    assert nn.Linear(2, 1, dtype=np.float32)(np.ones((3, 2))).dtype == np.float64


@theirs("float64 input into a float32 layer")
def _(torch):
    with pytest.raises(RuntimeError, match="dtype"):
        torch.nn.Linear(2, 1)(torch.ones(3, 2, dtype=torch.float64))


@ours("float32 input into a float64 layer")
def _():
    node = nn.Linear(2, 1)(np.ones((3, 2), np.float32)).node
    assert node.output.dtype == node.values[0].dtype == np.float64


@theirs("float32 input into a float64 layer")
def _(torch):
    with pytest.raises(RuntimeError, match="dtype"):
        torch.nn.Linear(2, 1, dtype=torch.float64)(torch.ones(3, 2))


@ours("a dtype in the place of `bias`")
def _():
    with pytest.raises(TypeError, match=r"write dtype=np\.float32"):
        nn.Linear(2, 3, np.float32)


@theirs("a dtype in the place of `bias`")
def _(torch):
    assert torch.nn.Linear(2, 3, torch.float32).bias is not None


@ours("random numbers")
def _():
    first, second = nn.Linear(2, 1, rng=0), nn.Linear(2, 1, rng=np.random.default_rng(0))
    assert np.array_equal(first.weight.data, second.weight.data)


@theirs("random numbers")
def _(torch):
    torch.manual_seed(0)
    first = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(first, torch.rand(3))


@ours("the same seed for two layers")
def _():
    with pytest.warns(UserWarning, match="same random numbers"):
        net = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=0))
    assert np.array_equal(net[0].weight.data, net[1].weight.data)


@theirs("the same seed for two layers")
def _(torch):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    assert not torch.equal(net[0].weight, net[1].weight)


@ours("`reduction=`")
def _():
    output, target = tg.Tensor(np.ones((2, 3))), np.zeros((2, 3))
    costs = [nn.MSELoss(reduction)(output, target).item() for reduction in ("sum", "mean", "batchmean")]
    assert costs == [6.0, 1.0, 3.0]
    assert nn.MSELoss("none")(output, target).shape == (2, 3)


@theirs("`reduction=`")
def _(torch):
    output, target = torch.ones(2, 3), torch.zeros(2, 3)
    assert [torch.nn.MSELoss(reduction=name)(output, target) for name in ("sum", "mean")] == [6.0, 1.0]
    assert torch.nn.MSELoss(reduction="none")(output, target).shape == (2, 3)
    with pytest.raises(ValueError, match="batchmean"):
        torch.nn.MSELoss(reduction="batchmean")(output, target)


@ours("`MSELoss` of (3, 1) and a target (3,)")
def _():
    with pytest.raises(ValueError, match="shape"):
        nn.MSELoss()(tg.Tensor(np.ones((3, 1))), np.zeros(3))


@theirs("`MSELoss` of (3, 1) and a target (3,)")
def _(torch):
    each = torch.nn.MSELoss(reduction="none")
    assert warned(lambda: each(torch.ones(3, 1), torch.zeros(3))).shape == (3, 3)


@ours("`CrossEntropyLoss` of more axes")
def _():
    logits, target = tg.Tensor(np.zeros((2, 5, 3))), np.zeros((2, 5), int)
    with pytest.raises(ValueError, match="axis"):
        nn.CrossEntropyLoss()(logits, target)
    assert tg.ops.cross_entropy(logits, target).shape == (2, 5)


@theirs("`CrossEntropyLoss` of more axes")
def _(torch):
    cost = torch.nn.CrossEntropyLoss(reduction="none")
    assert cost(torch.zeros(2, 3, 5), torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5)


@ours("several networks at once")
def _():
    assert nn.stack([nn.Linear(2, 1) for _ in range(3)])(np.ones((5, 2))).shape == (3, 5, 1)


@theirs("several networks at once")
def _(torch):
    layers = [torch.nn.Linear(2, 1) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)

    def call(parameters, buffers):
        return torch.func.functional_call(layers[0], (parameters, buffers), (torch.ones(5, 2),))

    assert torch.vmap(call)(parameters, buffers).shape == (3, 5, 1)


@ours("`state_dict()`")
def _():
    layer = nn.Linear(2, 1, rng=0)
    assert not np.shares_memory(layer.state_dict()["weight"], layer.weight.data)


@theirs("`state_dict()`")
def _(torch):
    layer = torch.nn.Linear(2, 1)
    assert layer.state_dict()["weight"].data_ptr() == layer.weight.data_ptr()


@ours("files")
def _(path):
    tg.save({"a": np.ones(2)}, path / "a.npz")
    assert tg.load(path / "a.npz")["a"].tolist() == [1.0, 1.0]


@theirs("files")
def _(torch):
    assert "pickle_module" in inspect.signature(torch.save).parameters


@ours("a network's class")
def _():
    class Net(nn.Module):
        def __init__(self):
            self.parts = [nn.Linear(2, 2), nn.Tanh()]

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    assert [name for name, _ in Net().named_parameters()] == ["parts.0.weight", "parts.0.bias"]


@theirs("a network's class")
def _(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = [torch.nn.Linear(2, 2)]

    class WithoutSuper(torch.nn.Module):
        def __init__(self):
            self.part = torch.nn.Linear(2, 2)

    assert [*Net().parameters()] == []
    with pytest.raises(AttributeError, match="before Module"):
        WithoutSuper()


@ours("a residual block")
def _():
    assert nn.Residual(nn.ReLU())(np.array([-1.0, 2.0])).tolist() == [-1.0, 4.0]


@theirs("a residual block")
def _(torch):
    assert not hasattr(torch.nn, "Residual")


@ours("axes in the arguments of modules")
def _():
    assert nn.Softmax(axis=-1)(np.zeros((2, 4))).tolist() == [[0.25] * 4] * 2
    assert nn.Flatten(start_axis=1)(np.zeros((2, 3, 4))).shape == (2, 12)
    with pytest.raises(ValueError, match="counts from the end"):
        nn.Softmax(axis=1)


@theirs("axes in the arguments of modules")
def _(torch):
    assert torch.nn.Softmax(dim=1)(torch.zeros(2, 4)).tolist() == [[0.25] * 4] * 2
    assert torch.nn.Flatten(start_dim=1)(torch.zeros(2, 3, 4)).shape == (2, 12)


@ours("`Softplus()` of z = 25")
def _():
    z = leaf(25.0)
    nn.Softplus()(z).backward()
    assert nn.Softplus()(25.0) - 25 == pytest.approx(np.exp(-25), rel=1e-3)  # 25 has no more digits in float64
    assert 1 - z.grad == pytest.approx(np.exp(-25), rel=1e-4)


@theirs("`Softplus()` of z = 25")
def _(torch):
    z = torch.tensor(25.0, dtype=torch.float64, requires_grad=True)
    y = torch.nn.Softplus()(z)
    y.backward()
    assert (y.item(), z.grad.item()) == (25.0, 1.0)


@ours("`LayerNorm(shape)`")
def _():
    assert [name for name, _ in nn.LayerNorm(3).named_parameters()] == ["weight", "bias"]
    with pytest.raises(TypeError, match="length of the last axis"):
        nn.LayerNorm((2, 3))


@theirs("`LayerNorm(shape)`")
def _(torch):
    assert [*torch.nn.LayerNorm((2, 3), elementwise_affine=False).parameters()] == []


@ours("`Conv2d`")
def _():
    assert not {"groups", "dilation", "padding_mode"} & {*inspect.signature(nn.Conv2d).parameters}


@theirs("`Conv2d`")
def _(torch):
    assert {"groups", "dilation", "padding_mode"} < {*inspect.signature(torch.nn.Conv2d).parameters}


@ours("recurrent layers")
def _():
    assert not {"bidirectional", "dropout", "proj_size"} & {*inspect.signature(nn.LSTM).parameters}


@theirs("recurrent layers")
def _(torch):
    layer = torch.nn.LSTM(3, 4, 2, bidirectional=True, dropout=0.1, proj_size=2)
    assert {"weight_hr_l0", "weight_hh_l0_reverse"} < {*layer.state_dict()}


@ours("`Conv1d`, `Embedding`, `GroupNorm`, `MultiheadAttention`")
def _():
    assert not any(hasattr(nn, name) for name in ABSENT)


@theirs("`Conv1d`, `Embedding`, `GroupNorm`, `MultiheadAttention`")
def _(torch):
    assert all(hasattr(torch.nn, name) for name in ABSENT)


@ours("`optimizer.step()`")
def _():
    p = nn.Parameter(1.0)
    before = p.data
    p.grad = np.array(1.0)
    tg.optim.SGD([p], lr=0.5).step()
    assert (before, p.data) == (1.0, 0.5)


@theirs("`optimizer.step()`")
def _(torch):
    p = torch.nn.Parameter(torch.tensor(1.0))
    before = p.data
    p.grad = torch.tensor(1.0)
    torch.optim.SGD([p], lr=0.5).step()
    assert before == p.data == 0.5


@ours("`SGD(params)`")
def _():
    with pytest.raises(TypeError, match="lr"):
        tg.optim.SGD([nn.Parameter(1.0)])


@theirs("`SGD(params)`")
def _(torch):
    assert torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]).defaults["lr"] == 0.001


@ours("batches")
def _():
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30)
    found = [*tg.datasets.batches(x, y, size=10, rng=np.random.default_rng(0))]
    assert all(np.array_equal(a, x[b]) for a, b in found)
    assert [len(b) for _, b in found] == [10, 10, 10]


@theirs("batches")
def _(torch):
    (batch,) = next(iter(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(30, 2)), 10)))
    assert batch.shape == (10, 2)


@ours("the shapes in a network")
def _():
    assert [row[2] for row in nn.summary(nn.mlp([3, 4, 2]), np.ones((5, 3))).rows] == ["(5, 4)", "(5, 4)", "(5, 2)"]


@theirs("the shapes in a network")
def _(torch):
    assert not hasattr(torch.nn, "summary")


@ours("compile")
def _():
    p = nn.Parameter(1.0)
    sgd = tg.optim.SGD([p], lr=0.25)

    @tg.compile(backend="numpy")
    def step():
        sgd.zero_grad()
        (p * p).backward()
        sgd.step()

    step(), step()
    assert p.item() == 0.25


@theirs("compile")
def _(torch):
    assert callable(torch.compile(torch.nn.Linear(2, 1)))


@ours("Python looks at a value in a compiled function")
def _():
    @tg.compile(backend="numpy")
    def positive(t):
        return t if t > 0 else -t

    with pytest.raises(tg.compiler.TraceError, match=Path(__file__).name):
        positive(np.array(1.0))


@theirs("Python looks at a value in a compiled function")
def _(torch):
    assert inspect.signature(torch.compile).parameters["fullgraph"].default is False  # True would refuse a break


@ours("the weights")
def _(path):
    tg.save(nn.Linear(2, 1, rng=0).state_dict(), path / "net.npz")  # a .safetensors file: tests/test_safetensors.py
    assert sorted(tg.load(path / "net.npz")) == ["bias", "weight"]


@theirs("the weights")
def _(torch):
    net, our_net = torch.nn.Linear(2, 1), nn.Linear(2, 1, rng=0)
    into(net, our_net)
    assert np.allclose(net.weight.detach().numpy(), our_net.weight.data)


NAMES = ["0.weight_hh_l0", "0.weight_ih_l0", "1.running_mean", "1.weight", "2.bias", "2.weight"]


@ours("names in `state_dict()`")
def _():
    net = nn.Sequential(nn.GRU(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    assert [name for name in sorted(net.state_dict()) if name in NAMES] == NAMES


@theirs("names in `state_dict()`")
def _(torch):
    net = torch.nn.Sequential(torch.nn.GRU(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    assert [name for name in sorted(net.state_dict()) if name in NAMES] == NAMES


@ours("`mlp([784, 30, 10])`")
def _():
    assert [type(part).__name__ for part in nn.mlp([784, 30, 10])] == ["Linear", "Sigmoid", "Linear"]


@theirs("`mlp([784, 30, 10])`")
def _(torch):
    assert not hasattr(torch.nn, "mlp")


def are_nielsens(weight, bias):
    return abs(weight.std() - 400**-0.5) < 0.001 and abs(bias.std() - 1) < 0.2


@ours("Nielsen's initial weights")
def _():
    layer = nn.Linear(400, 100, rng=0)
    assert are_nielsens(layer.weight.data, layer.bias.data)


@theirs("Nielsen's initial weights")
def _(torch):
    layer, generator = torch.nn.Linear(400, 100), torch.Generator().manual_seed(0)
    assert not are_nielsens(layer.weight, layer.bias)
    torch.nn.init.normal_(layer.weight, std=400**-0.5, generator=generator)
    torch.nn.init.normal_(layer.bias, generator=generator)
    assert are_nielsens(layer.weight, layer.bias)


@ours("the cost per sample")
def _():
    cost = nn.BCEWithLogitsLoss("batchmean")(leaf(np.zeros((5, 3))), np.ones((5, 3)))
    assert cost.item() == pytest.approx(3 * np.log(2))


@theirs("the cost per sample")
def _(torch):
    x = torch.zeros(5, 3)
    cost = torch.nn.BCEWithLogitsLoss(reduction="sum")(x, torch.ones(5, 3)) / len(x)
    assert cost.item() == pytest.approx(3 * np.log(2))


@ours("an activation of one's own")
def _():
    class Sine(nn.Activation):
        function = staticmethod(np.sin)
        symbol = "sin"

    assert nn.Activation.of(Sine()(leaf([0.0]))).symbol == "sin"


@theirs("an activation of one's own")
def _(torch):
    assert not hasattr(torch.nn, "Activation")


def cube(a):
    return a**3


@ours("a function that the framework lacks")
def _():
    operation = tg.differentiable(lambda g, y, a: g * 3 * a**2)(cube)
    x = leaf(2.0)
    operation(x).backward()
    assert x.grad == 12.0


@theirs("a function that the framework lacks")
def _(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return cube(a)

        @staticmethod
        def backward(ctx, g):
            (a,) = ctx.saved_tensors
            return g * 3 * a**2

    x = torch.tensor(2.0, requires_grad=True)
    Cube.apply(x).backward()
    assert x.grad == 12.0


@ours("the gradient of a layer's output")
def _():
    x = leaf([1.0, 2.0])
    z = 2 * x
    (g,) = tg.grad(np.sum(z * z), z)
    assert g.tolist() == [4.0, 8.0]


@theirs("the gradient of a layer's output")
def _(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    z = 2 * x
    z.retain_grad()
    (z * z).sum().backward()
    assert z.grad.tolist() == [4.0, 8.0]


TITLES = re.findall(r"^\| (.+?) \| .+ \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.M)


def test_every_row_has_a_case_on_both_sides():
    assert [title for title in TITLES if title != "what"] == [*OURS] == [*THEIRS]


@pytest.mark.parametrize("title", OURS)
def test_our_side(title, tmp_path):
    case = OURS[title]
    case(tmp_path) if inspect.signature(case).parameters else case()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("title", THEIRS)
def test_pytorchs_side(title):
    THEIRS[title](pytest.importorskip("torch"))
