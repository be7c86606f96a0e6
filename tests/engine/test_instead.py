"""PyTorch's names that are missing here: the error says what to write, and what it says is the same thing."""

import copy
import math
import pickle
import re

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine.instead import MODULE, NN, OPTIMIZER, TENSOR, TORCH

RNG = np.random.default_rng(0)
ARRAY = RNG.uniform(0.1, 0.9, size=(3, 3)) + np.eye(3)
OTHER = RNG.uniform(1.1, 1.9, size=(3, 3))
ORDER = np.argsort(RNG.normal(size=(3, 3)), axis=0)
NAMES = {
    "np": np, "tg": tg, "nn": nn, "math": math, "rng": 0, "shape": (3, 3), "axis": 0, "axes": (1, 0), "n": 2,
    "low": 0.3, "high": 0.7, "start": 0, "mask": ORDER == 0, "indices": ORDER, "index": np.array([0, 2, 2]),
    "m": 0.5, "dtype": np.float32, "hook": lambda g: None,
}  # fmt: skip


def written(text):
    """The code of a text: up to the words behind it, which a comma outside of brackets or a semicolon begins."""
    return re.split(r"; |, (?:or|which|with|in|of|the|and|for) ", text)[0].replace("t itself", "t")


def done(text, array=ARRAY, other=OTHER):
    """The value of the code, or of t after the code, for fresh Tensors."""
    t = tg.Tensor(array, array.dtype.kind == "f")
    names = NAMES | {"t": t.copy(), "u": tg.Tensor(other.copy()), "v": tg.Tensor(other.T.copy())}
    try:
        value = eval(text, names)
    except SyntaxError:
        exec(text, names)
        value = names["t"]
    return value


def text_of(name):
    """What the error for this attribute of a Tensor says to write, or None."""
    with pytest.raises(AttributeError, match=f"^'Tensor' object has no attribute '{re.escape(name)}'") as error:
        getattr(tg.Tensor(1.0), name)
    return str(error.value).partition("; write ")[2] or None


@pytest.mark.parametrize("name", TENSOR)
def test_what_is_to_be_written_runs(name):
    assert done(written(text_of(name)), ARRAY / 2) is not None


@pytest.mark.parametrize(("name", "instead"), [
    ("exp", "np.exp(t)"), ("log", "np.log(t)"), ("sqrt", "np.sqrt(t)"), ("abs", "np.abs(t)"), ("tanh", "np.tanh(t)"),
    ("numpy", "t.data"), ("view", "t.reshape("), ("unsqueeze", "np.expand_dims("), ("matmul", "t @ u"), ("mm", "t @ u"),
    ("exp_", "t = np.exp(t)"), ("sigmoid", "tg.ops.sigmoid(t)"), ("add_", "t += u"), ("norm", "np.linalg.norm(t)"),
    ("requires_grad_", "t.requires_grad = True"), ("float", "t.astype(np.float32)"), ("arctan2", "np.arctan2(t, u)"),
])  # fmt: skip
def test_tensors(name, instead):
    assert text_of(name).startswith(instead)
    assert not hasattr(tg.Tensor(1.0), name)


@pytest.mark.parametrize("name", ["_exp", "__exp__", "expp", "ndarray", "float64", "save", "newaxis", "pi", "linalg"])
def test_other_names_are_python_s_own_error(name):
    assert text_of(name) is None


@pytest.mark.parametrize("name", MODULE)
def test_modules(name):
    net = nn.mlp([2, 3, 1], rng=0)
    with pytest.raises(AttributeError, match=rf"^'Sequential' object has no attribute '{name}'; write ") as error:
        getattr(net, name)
    code = str(error.value).partition("; write ")[2].split(", which")[0]
    names = {"net": net, "module": nn.Tanh(), "parameter": nn.Parameter(1.0), "function": repr}
    names["name"] = {"get_submodule": "0", "get_buffer": "mean"}.get(name, "0.weight")
    net.mean = nn.Buffer(0.0)
    if not re.search(r"dtype=|itself|hook|step", code):
        exec(code, names)


def test_optimizers():
    sgd = tg.optim.SGD([nn.Parameter(1.0)], lr=0.1)
    for name in OPTIMIZER:
        with pytest.raises(AttributeError, match=rf"^'SGD' object has no attribute '{name}'; write "):
            getattr(sgd, name)
    with pytest.raises(AttributeError, match=r"^'SGD' object has no attribute 'learning_rate'$"):
        sgd.learning_rate  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("name", ["__deepcopy__", "__getstate_x__", "_ipython_canary_method_should_not_exist_"])
@pytest.mark.parametrize("made", [lambda: tg.Tensor(1.0), lambda: nn.ReLU()], ids=["Tensor", "Module"])
def test_hasattr_and_protocols(made, name):
    value = made()
    if name == "__deepcopy__" and isinstance(value, nn.Module):
        return
    assert not hasattr(value, name)
    assert getattr(value, name, 5) == 5
    assert (
        repr(copy.deepcopy(value)) == repr(copy.copy(value)) == repr(pickle.loads(pickle.dumps(value))) == repr(value)
    )


@pytest.mark.parametrize(("module", "name"), [*((tg, name) for name in TORCH), *((nn, name) for name in NN)])
def test_names_of_torch_and_its_nn(module, name):
    own = rf"^module '{module.__name__}' has no attribute '{name}'; write "
    with pytest.raises(AttributeError, match=own) as error:
        getattr(module, name)
    assert name not in dir(module)
    for owner, function in re.findall(r"(np|tg\.\w+|rng|tg)\.(\w+)", str(error.value)):
        known = {"np": np, "rng": np.random.default_rng(0), "tg": tg}
        assert hasattr(known.get(owner) or getattr(tg, owner[3:]), function)


def test_other_names_of_the_package():
    with pytest.raises(AttributeError, match=r"^module 'tinygrad_vg.nn' has no attribute 'Liner'$"):
        nn.Liner  # noqa: B018
    with pytest.raises(AttributeError, match=r"^module 'tinygrad_vg' has no attribute 'tensr'$"):
        tg.tensr  # noqa: B018


def test_an_error_inside_a_property_is_not_hidden():
    class Broken(nn.Module):
        @property
        def cuda(self):
            return self.device

    with pytest.raises(AttributeError, match=r"^'Broken' object has no attribute 'device'$"):
        Broken().cuda  # noqa: B018
    t = tg.Tensor([1.0])
    t.data = [1.0]
    with pytest.raises(AttributeError, match="'list' object has no attribute 'ndim'"):
        t.ndim  # noqa: B018
    with pytest.raises(AttributeError, match=r"^'Tensor' object has no attribute '_data'$"):
        tg.Tensor.__new__(tg.Tensor).shape  # noqa: B018


@pytest.mark.parametrize("kind", [tg.Tensor, nn.Parameter, nn.Module, nn.Linear, tg.optim.SGD])
def test_attributes_that_are_there_are_read_the_fast_way(kind):
    """Python has a fast way for classes without `__getattr__` and `__getattribute__` of their own."""
    assert not hasattr(kind, "__getattr__")
    assert kind.__getattribute__ is object.__getattribute__


def test_no_completion_offers_what_is_missing():
    for value in (tg.Tensor(1.0), nn.ReLU(), tg.optim.SGD([nn.Parameter(1.0)], lr=0.1)):
        assert not {"exp", "cuda", "add_param_group"} & {*dir(value)}
        assert all(hasattr(value, name) for name in dir(value) if name not in ("mT", "__abstractmethods__"))
    assert {"sum", "data", "backward"} <= {*dir(tg.Tensor(1.0))}
    assert {"weight", "forward"} <= {*dir(nn.Linear(1, 1))}


def test_a_class_of_the_user_may_have_such_a_name():
    class Own(nn.Module):
        def __init__(self):
            self.half = 0.5

        def to(self, place):
            return place

    assert (Own().half, Own().to("there")) == (0.5, "there")
    assert {"half", "to"} <= {*dir(Own())}
    with pytest.raises(AttributeError, match=r"type object 'Tensor' has no attribute 'exp'; write np\.exp\(t\)"):
        tg.Tensor.exp  # noqa: B018


# Methods of PyTorch whose NumPy function is another one, or gives another value: what the function is called is said.
# Those for devices need one.
OTHERWISE = {"cuda", "pin_memory", "frexp", "diff", "histogram", "cov", "corrcoef", "unique", "nonzero", "argwhere"}


def torchs_methods(torch):
    """The names of PyTorch's methods that NumPy has as a function, and a Tensor here has not."""
    return [n for n in dir(torch.Tensor) if not n.startswith("_") and callable(getattr(np, n, None))
            and not hasattr(tg.Tensor(1.0), n)]  # fmt: skip


@pytest.mark.torch
def test_every_method_of_pytorch_that_numpy_has_is_named():
    torch = pytest.importorskip("torch")
    names = torchs_methods(torch)
    assert len(names) > 100
    silent = {name for name in names if text_of(name) is None}
    of_integers = {name for name in names if name.startswith("bitwise") or name in ("gcd", "lcm", "bincount")}
    no_rule = {"i0", "nextafter", "put"}  # NumPy's take no Tensor
    others = {"indices", "resize", "cdouble"}  # another thing in NumPy
    assert silent <= of_integers | no_rule | others


def value_of(torch, name, array, other):
    """PyTorch's value of a method without argument, or with one; None if it takes neither."""
    t, u = torch.from_numpy(array.copy()), torch.from_numpy(other.copy())
    for args in ((), (u,)):
        try:
            result = getattr(t, name)(*args)
        except (TypeError, RuntimeError):
            continue
        return result[0] if isinstance(result, tuple) else result
    return None


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's own, of some methods
def test_what_is_to_be_written_gives_pytorchs_value():
    torch = pytest.importorskip("torch")
    compared = set()
    for name in dir(torch.Tensor):
        if name.startswith("_") or name.endswith("_") or hasattr(tg.Tensor, name) or name in OTHERWISE:
            continue
        text = text_of(name)
        if text is None or re.search(r"\.\.\.|\b(shape|low|high|mask|index|indices|axis|dtype|n|m)\b", text):
            continue
        for array, other in [(ARRAY, OTHER), (np.arange(1, 10).reshape(3, 3), np.full((3, 3), 2))]:
            theirs = value_of(torch, name, array, other)
            if not isinstance(theirs, torch.Tensor) or theirs.dtype.is_complex:
                continue
            try:
                with np.errstate(all="ignore"):
                    ours = done(written(text), array, other)
            except TypeError:
                continue
            ours = ours[0] if isinstance(ours, tuple | list) else ours
            ours = ours.data if isinstance(ours, tg.Tensor) else ours
            assert np.shape(ours) == tuple(theirs.shape), name
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-12, err_msg=name)
            compared.add(name)
            break
    assert len(compared) > 100, sorted(compared)
