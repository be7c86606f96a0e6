"""What to write here for PyTorch's methods of a Tensor: the errors for a missing attribute say it.

A value of a table is an expression or an assignment, in which `t` is the Tensor; behind a comma or ";" more words
may follow.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import numpy as np

from tinygrad_vg.engine.operations import OPERATIONS

C = TypeVar("C", bound=type)
_ON_THE_CPU = "t itself; every array is in the memory of the CPU"
_LINALG = ("cholesky", "det", "norm", "qr", "slogdet", "svd")
_OPS = ("gelu", "log_softmax", "relu", "selu", "sigmoid", "silu", "softmax", "softplus")
_SIGNS = {
    "add": "+", "sub": "-", "subtract": "-", "mul": "*", "multiply": "*", "div": "/", "divide": "/", "true_divide": "/",
    "floor_divide": "//", "remainder": "%", "pow": "**",
}  # fmt: skip
_MORE_SIGNS = {
    "matmul": "@", "mm": "@", "mv": "@", "bmm": "@", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=",
}  # fmt: skip
_FLOATS = {"half": "np.float16", "float": "np.float32", "double": "np.float64"}
_INTEGERS = {
    "bool": "bool", "char": "np.int8", "byte": "np.uint8", "short": "np.int16", "int": "np.int32", "long": "np.int64",
}  # fmt: skip

TENSOR: dict[str, str] = {
    **{name: f"t {sign} u" for name, sign in (_SIGNS | _MORE_SIGNS).items()},
    **{f"{name}_": f"t {sign}= u, of a Parameter inside `with tg.no_grad():`" for name, sign in _SIGNS.items()},
    **{name: f"t.astype({dtype})" for name, dtype in _FLOATS.items()},
    **{name: f"t.data.astype({dtype}), for it has no gradient" for name, dtype in _INTEGERS.items()},
    **{name: f"np.linalg.{name}(t)" for name in _LINALG},
    **{name: f"tg.ops.{name}(t)" for name in _OPS},
    **dict.fromkeys(("cpu", "cuda", "contiguous", "pin_memory", "device", "get_device"), _ON_THE_CPU),
    # What it is.
    "numpy": "t.data, the array itself",
    "tolist": "t.data.tolist()",
    "dim": "t.ndim",
    "ndimension": "t.ndim",
    "numel": "t.size, which is a number and not a method",
    "nelement": "t.size, which is a number and not a method",
    "nbytes": "t.data.nbytes",
    "itemsize": "t.dtype.itemsize",
    "element_size": "t.dtype.itemsize",
    "stride": "t.data.strides, in bytes",
    "type": "t.astype(dtype), or t.dtype",
    "to": "t.astype(dtype); every array is in the memory of the CPU, so there is no device to choose",
    "type_as": "t.astype(u.dtype)",
    "is_floating_point": 't.dtype.kind == "f"',
    # Gradients.
    "requires_grad_": "t.requires_grad = True",
    "detach_": "t = t.detach()",
    "grad_fn": "t.node",
    "is_leaf": "t.node is None",
    "retain_grad": "t.register_hook(hook), or tg.grad(cost, t)",
    "register_post_accumulate_grad_hook": "t.register_hook(hook)",
    # Shapes.
    "clone": "t.copy()",
    "view": "t.reshape(shape)",
    "view_as": "t.reshape(u.shape)",
    "reshape_as": "t.reshape(u.shape)",
    "unflatten": "t.reshape(shape)",
    "unsqueeze": "np.expand_dims(t, axis)",
    "permute": "t.transpose(axes)",
    "t": "t.T",
    "adjoint": "t.mT",
    "swapdims": "t.swapaxes(0, 1)",
    "movedim": "np.moveaxis(t, 0, 1)",
    "expand": "np.broadcast_to(t, shape)",
    "expand_as": "np.broadcast_to(t, u.shape)",
    "repeat_interleave": "t.repeat(n, axis)",
    "chunk": "np.array_split(t, n)",
    "tensor_split": "np.array_split(t, n)",
    "unbind": "[*t]",
    # Choices.
    "gather": "np.take_along_axis(t, indices, axis)",
    "take_along_dim": "np.take_along_axis(t, indices, axis)",
    "index_select": "t.take(index, axis)",
    "select": "t[n]",
    "narrow": "t[start : start + n]",
    "where": "np.where(mask, t, u)",
    "masked_fill": "np.where(mask, 0.0, t)",
    "masked_select": "t[mask]",
    "scatter_add": "t + tg.ops.scatter(u, index, t.shape)",
    "index_add": "t + tg.ops.scatter(u, index, t.shape)",
    "topk": "np.sort(t, axis)[..., ::-1][..., :n]",
    # Functions.
    "clamp": "t.clip(low, high)",
    "clamp_min": "np.maximum(t, low)",
    "clamp_max": "np.minimum(t, high)",
    "rsqrt": "1 / np.sqrt(t)",
    "neg": "-t",
    "logit": "np.log(t / (1 - t))",
    "logsumexp": "np.log(np.sum(np.exp(t - m), axis)) + m, with m = np.max(t.data)",
    "cummax": "np.maximum.accumulate(t, axis)",
    "cummin": "np.minimum.accumulate(t, axis)",
    "inverse": "np.linalg.inv(t)",
    "matrix_power": "np.linalg.matrix_power(t, n)",
    "solve": "np.linalg.solve(t, u)",
    "pinverse": "np.linalg.pinv(t)",
    "logdet": "np.linalg.slogdet(t)[1]",
    "dist": "np.linalg.norm(t - u)",
    "ger": "np.outer(t, u)",
    "lerp": "t + n * (u - t)",
    "addmm": "t + u @ v",
    "addcmul": "t + u * v",
    "erf": "2 * tg.ops.normal_cdf(math.sqrt(2) * t) - 1",
    # In place.
    "zero_": "nn.init.zeros_(t), or t.data = np.zeros_like(t.data)",
    "fill_": "nn.init.constant_(t, low), or t.data = np.full_like(t.data, low)",
    "normal_": "nn.init.normal_(t, rng=rng)",
    "uniform_": "nn.init.uniform_(t, rng=rng)",
    "copy_": "t.data = np.array(u.data)",
    "masked_fill_": "t = np.where(mask, 0.0, t)",
    "index_fill_": "t = np.where(mask, 0.0, t)",
}

MODULE: dict[str, str] = {
    **dict.fromkeys(("cpu", "cuda"), "net itself; it computes on the CPU, and there is no other device"),
    **{
        name: f"dtype={dtype} where its layers are made; a network keeps the dtype that they were given"
        for name, dtype in _FLOATS.items()
    },
    "to": "dtype= where its layers are made; it computes on the CPU, and there is no device to choose",
    "type": "dtype= where its layers are made",
    "children": "[child for _, child in net.named_children()]",
    "modules": "[module for _, module in net.named_modules()]",
    "apply": "for _, module in net.named_modules(): function(module)",
    "add_module": "net.name = module",
    "register_module": "net.name = module",
    "register_parameter": "net.name = parameter",
    "get_submodule": "dict(net.named_modules())[name]",
    "get_parameter": "dict(net.named_parameters())[name]",
    "get_buffer": "dict(net.named_buffers())[name]",
    "requires_grad_": "for p in net.parameters(): p.requires_grad = False",
    "compile": "tg.compile(step), of a step with forward, backward and update",
    "register_forward_pre_hook": "net.register_forward_hook(hook), which is called with the arguments too",
    "register_full_backward_hook": "net.register_forward_hook(hook), and in it output.register_hook(...)",
    "register_backward_hook": "net.register_forward_hook(hook), and in it output.register_hook(...)",
}

# What to write for functions of the module torch, which `tg.name` asks for.
TORCH: dict[str, str] = {
    **dict.fromkeys(("tensor", "as_tensor", "from_numpy"), "tg.Tensor(array, requires_grad=True), or the array itself"),
    **dict.fromkeys(("cat", "concat"), "np.concatenate([t, u], axis)"),
    **{
        name: f"np.{name}(...), which takes Tensors"
        for name in (
            "abs",
            "argmax",
            "cos",
            "einsum",
            "exp",
            "log",
            "matmul",
            "max",
            "mean",
            "min",
            "outer",
            "sin",
            "sqrt",
            "stack",
            "sum",
            "tanh",
            "where",
        )
    },
    **{name: f"np.{name}(shape), an array" for name in ("ones", "zeros", "full", "empty")},
    **{name: f"np.{name}(t)" for name in ("ones_like", "zeros_like")},
    "arange": "np.arange(n)",
    "linspace": "np.linspace(low, high, n)",
    "eye": "np.eye(n)",
    "randn": "rng.normal(size=shape), with rng = np.random.default_rng(0)",
    "rand": "rng.random(shape), with rng = np.random.default_rng(0)",
    "randint": "rng.integers(low, high, size=shape), with rng = np.random.default_rng(0)",
    "randperm": "rng.permutation(n), with rng = np.random.default_rng(0)",
    "manual_seed": "rng=0 where a layer is made, or rng = np.random.default_rng(0) for several",
    "set_grad_enabled": "with tg.no_grad():, or with tg.enable_grad():",
    "inference_mode": "with tg.no_grad():",
    "autograd": "tg.grad(cost, tensors)",
    "func": "tg.grad, tg.jvp",
    "float32": "np.float32",
    "float64": "np.float64",
    "float16": "np.float16",
    "int64": "np.int64",
    "long": "np.int64",
    "device": "nothing; every array is in the memory of the CPU",
    "cuda": "nothing; every array is in the memory of the CPU",
    "utils": "tg.datasets.batches for torch.utils.data.DataLoader",
    **{name: f"tg.ops.{name}(t), or the module of tg.nn" for name in _OPS},
}

# What to write for names of the module torch.nn.
NN: dict[str, str] = {
    "functional": "tg.ops.relu(t), and a module such as tg.nn.CrossEntropyLoss()(z, target) for a loss",
    "BCELoss": "tg.nn.BCEWithLogitsLoss(), which takes z, so that the network has no Sigmoid at its end",
    "ModuleDict": "tg.nn.ModuleList([...]), or an attribute for each module",
    "GroupNorm": "tg.nn.LayerNorm, or tg.nn.BatchNorm2d for images",
}

OPTIMIZER: dict[str, str] = {
    "add_param_group": 'a new optimizer of [{"params": parameters, "lr": 0.1}, ...], a dict for each group',
    "register_step_post_hook": "the call after optimizer.step()",
    "register_step_pre_hook": "the call before optimizer.step()",
}


class Absent:
    """An attribute that a class does not have: reading it raises AttributeError with what to write instead.

    A `__getattr__` would say the same, but with it Python no longer reads any attribute of the class the fast way.
    """

    __slots__ = ("instead", "name")

    def __init__(self, name: str, instead: str) -> None:
        self.name = name
        self.instead = instead

    def __get__(self, value: Any, owner: type) -> NoReturn:
        what = f"type object {owner.__name__!r}" if value is None else f"{owner.__name__!r} object"
        raise AttributeError(f"{what} has no attribute {self.name!r}; write {self.instead}")


def advising(table: Mapping[str, str]) -> Callable[[C], C]:
    """A decorator of a class: of the names of the table those that the class lacks get an error that says more.

    `dir` does not list them, so that no completion offers them.

    >>> @advising({"cuda": "nothing"})
    ... class Net:
    ...     pass
    >>> hasattr(Net(), "cuda"), "cuda" in dir(Net())
    (False, False)
    """

    def advised(kind: C) -> C:
        absent = {name for name in table if not hasattr(kind, name)}
        for name in absent:
            setattr(kind, name, Absent(name, table[name]))

        def listed(self: Any) -> list[str]:
            return [name for name in object.__dir__(self) if name not in absent or hasattr(self, name)]

        kind.__dir__ = listed  # type: ignore[assignment]
        return kind

    return advised


def refuse_array(trace: Any) -> NoReturn:
    """Raise TypeError for a Tensor that NumPy turns into an array; in the trace of a compiled step its TraceError."""
    if trace is not None:
        trace.refuse(
            "an array made of a Tensor, or indexed by one,",
            "write step(x[rows]) in place of x[rows] inside, step.over(batches, x) for many steps, or np.stack([...]) "
            "to put Tensors together",
        )
    raise TypeError(
        "turning a Tensor into an array would drop its gradient; "
        "write .data for the array, or np.stack([...]) to put Tensors together"
    )


def of_tensors() -> dict[str, str]:
    """The table of a Tensor, with the functions of NumPy that have rules, and the methods that change their Tensor."""
    table = dict(TENSOR)
    for name, function in vars(np).items():
        if callable(function) and not isinstance(function, type) and function in OPERATIONS:
            others = ", u" * (function.nin - 1) if isinstance(function, np.ufunc) else ", ..."
            table.setdefault(name, f"np.{name}(t{others})")
    in_place = {f"{name}_": f"t = {instead}; a Tensor is not changed in place" for name, instead in table.items()}
    return in_place | table
