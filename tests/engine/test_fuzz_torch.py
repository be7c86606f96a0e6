"""The same random programs in PyTorch, in float64: values, gradients, gradients of gradients, jvp, extended range."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.engine.programs import OURS, program
from tinygrad_vg.engine.operations import OPERATIONS

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

PROGRAMS, BLOCKS = 2_000, 20


def reduced(function):
    """A reduction with NumPy's options; of all axes where there are none."""

    def reduce(x, axis, keepdims):
        axes = tuple(range(x.ndim)) if axis is None else axis
        return function(x, axes, keepdims)

    return reduce


def variance(x, axes, keepdims):
    mean = torch.mean(x, axes, keepdim=True)
    return torch.mean((x - mean) ** 2, axes, keepdim=keepdims)


def prod(x, axes, keepdims):
    if isinstance(axes, int):
        return torch.prod(x, axes, keepdim=keepdims)
    return torch.prod(x).reshape((1,) * x.ndim if keepdims else ())


def cumsum(x, axis):
    return torch.cumsum(torch.atleast_1d(x), axis)  # NumPy makes a list of one sum of a number


def cross_entropy(x, y):
    return -torch.sum(torch.sigmoid(y) * torch.log_softmax(x, -1), -1)


def index(x, index):
    return x[torch.as_tensor(index) if isinstance(index, np.ndarray) else index]


def where(x, y, mask):
    return torch.where(torch.as_tensor(mask), x, y)


def flip(x, axis):
    return torch.flip(x, (axis,)) if x.ndim else x


# fmt: off
THEIRS = {
    "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "arctan": torch.arctan, "arcsinh": torch.arcsinh,
    "exp": torch.exp, "exp2": torch.exp2, "expm1": torch.expm1, "sinh": torch.sinh, "cosh": torch.cosh,
    "square": torch.square, "negative": torch.neg, "sigmoid": torch.sigmoid,
    "softplus": lambda x: torch.logaddexp(x, 0 * x),
    "inverse": lambda x: 1 / (1 + x * x), "log": lambda x: torch.log(1 + x * x), "log1p": lambda x: torch.log1p(x * x),
    "root": lambda x: torch.sqrt(1 + x * x), "arcsin": lambda x: torch.arcsin(0.9 * torch.tanh(x)),
    "scaled": lambda x: 0.3 * x - 1,
    "relu": torch.relu, "absolute": torch.abs, "clip": lambda x: torch.clamp(x, -0.7, 0.9),
    "add": torch.add, "subtract": torch.sub, "multiply": torch.mul, "divide": lambda x, y: x / (1 + y * y),
    "arctan2": lambda x, y: torch.arctan2(x, 1 + y * y), "hypot": lambda x, y: torch.hypot(x, 1 + y * y),
    "power": lambda x, y: (1 + x * x) ** torch.tanh(y), "logaddexp": torch.logaddexp, "logaddexp2": torch.logaddexp2,
    "matmul": torch.matmul, "linear": lambda x, y: torch.matmul(x, y.mT) if x.ndim > 1 else torch.matmul(y, x),
    "bce": lambda x, y: torch.logaddexp(x, 0 * x) - x * torch.sigmoid(y), "cross-entropy": cross_entropy,
    "maximum": torch.maximum, "minimum": torch.minimum,
    "sum": reduced(torch.sum), "mean": reduced(torch.mean), "max": reduced(torch.amax), "min": reduced(torch.amin),
    "prod": reduced(prod), "var": reduced(variance), "std": reduced(lambda *args: torch.sqrt(0.1 + variance(*args))),
    "cumsum": cumsum, "flip": flip, "log_softmax": lambda x: torch.log_softmax(x, -1),
    "transpose": lambda x: x.permute(tuple(range(x.ndim)[::-1])), "reshape": torch.reshape,
    "broadcast": lambda x, n: torch.broadcast_to(x, (n, *x.shape)),
    "expand_dims": lambda x, axis: torch.unsqueeze(x, axis),
    "take": index, "roll": lambda x, shift, axis: torch.roll(x, shift, axis),
    "concatenate": lambda x, y, axis: torch.cat([x, y], axis), "stack": lambda x, y, axis: torch.stack([x, y], axis),
    "where": where,
}
# fmt: on


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def close(ours, theirs):
    """Equal to rounding, on the scale of the largest."""
    theirs = theirs.numpy(force=True)
    scale = 1 + np.max(np.abs(theirs), initial=0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * scale)


def gradients(total, leaves):
    """Of PyTorch's total; 0 for what takes no part."""
    if not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(total, leaves, create_graph=True, materialize_grads=True)


def compare(seed):
    p, rng = program(seed), np.random.default_rng([seed, 3])
    ours = [tg.Tensor(a, requires_grad=True) for a in p.leaves]
    theirs = [torch.tensor(a, requires_grad=True) for a in p.leaves]
    values, twins = p.run(ours, OURS), p.run(theirs, THEIRS)
    for one, other in zip(values, twins, strict=True):
        assert one.shape == tuple(other.shape)
        close(one.data, other)
    cost = sum(np.sum(values[i]) * weight for i, weight in p.weights.items())
    twin = sum(torch.sum(twins[i]) * weight for i, weight in p.weights.items())

    cost.backward(create_graph=True)
    first, twin_first = [leaf.grad for leaf in ours], gradients(twin, theirs)
    used = [i for i, g in enumerate(first) if g is not None]
    for i, g in enumerate(twin_first):
        close(np.zeros(g.shape) if first[i] is None else first[i].data, g)

    along = [rng.normal(size=a.shape) for a in p.leaves]
    projected = sum(np.sum(first[i] * along[i]) for i in used)
    twin_projected = sum(torch.sum(g * torch.tensor(v)) for g, v in zip(twin_first, along, strict=True))
    close(tg.jvp(cost, [ours[i] for i in used], [along[i] for i in used])[0], twin_projected)

    for leaf in ours:
        leaf.grad = None
    if projected.requires_grad:
        projected.backward()
    for leaf, g in zip(ours, gradients(twin_projected, theirs), strict=True):
        close(np.zeros(g.shape) if leaf.grad is None else leaf.grad, g)
        leaf.grad = None

    (cost * 2.0**-600 * 2.0**-600).backward(extended_range=True)  # below all floats
    for i in used:
        g = ours[i].grad
        close(np.asarray(tg.engine.ExtendedArray(g.mantissa, g.exponent + 1200)), twin_first[i])


def test_the_two_tables_have_the_same_names():
    assert THEIRS.keys() == OURS.keys()


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_programs_are_differentiated_as_pytorch_does(block):
    for seed in range(10_000 + block, 10_000 + PROGRAMS, BLOCKS):
        try:
            compare(seed)
        except AssertionError as error:
            error.add_note(f"program {seed}")
            raise


def test_a_wrong_rule_would_be_noticed(monkeypatch):
    (rule,) = OPERATIONS[np.arcsinh].rules
    monkeypatch.setattr(OPERATIONS[np.arcsinh], "rules", (lambda *args: 1.000001 * rule(*args),))
    seeds = [seed for seed in range(100) if any(step.name == "arcsinh" for step in program(seed).steps)]
    wrong = 0
    for seed in seeds:
        try:
            compare(seed)
        except AssertionError:
            wrong += 1
    assert wrong > len(seeds) / 4  # in the others it leads nowhere
