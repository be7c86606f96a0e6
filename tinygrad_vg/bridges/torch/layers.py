"""The layers of PyTorch that tinygrad_vg has too, and how each is made."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_vg import nn
from tinygrad_vg.bridges.torch.installed import pytorch

Maker = Callable[[Any, int], nn.Module]


def refuse_options(module: Any, usual: dict[str, Any]) -> None:
    """Raise TypeError if an option of a module of PyTorch has another value than the one that tinygrad_vg computes."""
    for option, value in usual.items():
        if (given := getattr(module, option)) != value:
            kind = type(module).__name__
            raise TypeError(f"{kind} of tinygrad_vg has no option {option}, and is PyTorch's with {option}={value!r}; "
                            f"this {kind} has {option}={given!r}")  # fmt: skip


def linear(m: Any, axes: int) -> nn.Module:
    return nn.Linear(m.in_features, m.out_features, m.bias is not None, rng=unseeded())


def conv2d(m: Any, axes: int) -> nn.Module:
    refuse_options(m, {"groups": 1, "dilation": (1, 1), "padding_mode": "zeros"})
    padding = {"valid": (0, 0), "same": tuple(k // 2 for k in m.kernel_size)}.get(m.padding, m.padding)
    if m.padding == "same" and any(k % 2 == 0 for k in m.kernel_size):
        raise TypeError(f"Conv2d of tinygrad_vg pads both ends alike, and padding='same' does not for {m.kernel_size}")
    return nn.Conv2d(m.in_channels, m.out_channels, m.kernel_size, m.stride, padding, m.bias is not None,
                     rng=unseeded())  # fmt: skip


def max_pool2d(m: Any, axes: int) -> nn.Module:
    refuse_options(m, {"dilation": 1, "ceil_mode": False, "return_indices": False})
    return nn.MaxPool2d(m.kernel_size, m.stride, m.padding)


def avg_pool2d(m: Any, axes: int) -> nn.Module:
    refuse_options(m, {"ceil_mode": False, "divisor_override": None})
    if m.padding not in (0, (0, 0)):
        refuse_options(m, {"count_include_pad": True})
    return nn.AvgPool2d(m.kernel_size, m.stride, m.padding)


def layer_norm(m: Any, axes: int) -> nn.Module:
    if len(m.normalized_shape) != 1:
        raise TypeError(f"LayerNorm of tinygrad_vg is over the last axis, not over {m.normalized_shape}")
    if m.weight is None or m.bias is None:
        raise TypeError(
            "LayerNorm of tinygrad_vg has a weight and a bias: write elementwise_affine=True and bias=True in PyTorch; "
            "the initial weights 1 and biases 0 compute the same"
        )
    return nn.LayerNorm(m.normalized_shape[0], m.eps)


def batch_norm(m: Any, axes: int) -> nn.Module:
    kind: type[nn.BatchNorm1d | nn.BatchNorm2d] = getattr(nn, type(m).__name__)
    return kind(m.num_features, m.eps, m.momentum, m.affine, m.track_running_stats)


def softplus(m: Any, axes: int) -> nn.Module:
    refuse_options(m, {"beta": 1.0})
    return nn.Softplus()


def softmax(m: Any, axes: int) -> nn.Module:
    kind = getattr(nn, type(m).__name__)
    if m.dim is None:
        raise TypeError(f"{type(m).__name__}(dim=None) guesses its axis: write dim=-1, the last axis")
    return kind(m.dim if m.dim < 0 else m.dim - axes)  # type: ignore[no-any-return]


def recurrent(m: Any, axes: int) -> nn.Module:
    refuse_options(m, {"bidirectional": False, "proj_size": 0, "dropout": 0.0})
    options = {"nonlinearity": m.nonlinearity} if type(m).__name__ == "RNN" else {}
    kind = getattr(nn, type(m).__name__)
    return kind(  # type: ignore[no-any-return]
        m.input_size, m.hidden_size, m.num_layers, bias=m.bias, batch_first=m.batch_first, rng=unseeded(), **options
    )


def cell(m: Any, axes: int) -> nn.Module:
    options = {"nonlinearity": m.nonlinearity} if type(m).__name__ == "RNNCell" else {}
    kind = getattr(nn, type(m).__name__)
    return kind(m.input_size, m.hidden_size, m.bias, rng=unseeded(), **options)  # type: ignore[no-any-return]


def alike(m: Any, axes: int) -> nn.Module:
    """A module without options."""
    return getattr(nn, type(m).__name__)()  # type: ignore[no-any-return]


MAKERS: dict[str, Maker] = {
    "Linear": linear,
    "Conv2d": conv2d,
    "LayerNorm": layer_norm,
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d"), batch_norm),
    **dict.fromkeys(("RNN", "LSTM", "GRU"), recurrent),
    **dict.fromkeys(("RNNCell", "LSTMCell", "GRUCell"), cell),
    **dict.fromkeys(("Sigmoid", "Tanh", "ReLU", "SELU", "SiLU", "Identity"), alike),
    "LeakyReLU": lambda m, axes: nn.LeakyReLU(m.negative_slope),
    "ELU": lambda m, axes: nn.ELU(m.alpha),
    "GELU": lambda m, axes: nn.GELU(m.approximate),
    "Softplus": softplus,
    **dict.fromkeys(("Softmax", "LogSoftmax"), softmax),
    "MaxPool2d": max_pool2d,
    "AvgPool2d": avg_pool2d,
    "Flatten": lambda m, axes: nn.Flatten(m.start_dim, m.end_dim),
    "Dropout": lambda m, axes: nn.Dropout(m.p),
}


def unseeded() -> "np.random.Generator":
    """A generator for the initial weights of a layer, which are replaced."""
    return np.random.default_rng(0)


def is_layer(module: Any) -> bool:
    """Whether a module is of one of these classes of PyTorch itself, and not of a subclass."""
    kind = type(module)
    return kind.__name__ in MAKERS and kind is getattr(pytorch().nn, kind.__name__)


class Shared:
    """The tensors of a network of PyTorch, each with the one that holds its numbers here.

    Args:
        net: the network of PyTorch.
        is_trained: what the parameters say of themselves.
    """

    def __init__(self, net: Any, is_trained: bool) -> None:
        self._is_trained = is_trained
        self._names = {id(tensor): name for name, tensor in reversed(tensors_of(net).items())}  # its first name
        self._ours: dict[int, Any] = {}

    def made(self, module: Any, axes: int) -> nn.Module:
        """Our module with the numbers of a layer of PyTorch; a parameter of two layers is one here too.

        Raises:
            TypeError: if the module has an option or a parameter that ours has not.
        """
        ours = MAKERS[type(module).__name__](module, axes)
        theirs = dict(own(module))
        mine: dict[str, Any] = {
            name: held for name, held in vars(ours).items() if isinstance(held, nn.Parameter | nn.Buffer)
        }
        if theirs.keys() != mine.keys():
            raise TypeError(
                f"this {type(module).__name__} has the parameters and buffers {sorted(theirs)} in place of "
                f"{sorted(mine)}; make a {type(module).__name__} without the others"
            )
        for name, tensor in theirs.items():
            if id(tensor) not in self._ours:
                self._ours[id(tensor)] = self._filled(mine[name], tensor)
            setattr(ours, name, self._ours[id(tensor)])
        return ours

    def _filled(self, held: Any, tensor: Any) -> Any:
        """A parameter or buffer with a copy of the numbers, and with the name, of a tensor of PyTorch."""
        held.data = tensor.detach().cpu().numpy().copy(order="C")
        held.name = self._names[id(tensor)]
        if isinstance(held, nn.Parameter):
            held.requires_grad = tensor.requires_grad
            held.is_trained = self._is_trained
        return held


def own(module: Any) -> Iterable[tuple[str, Any]]:
    """The parameters and buffers of a module of PyTorch itself, without those of modules inside, by name."""
    yield from module.named_parameters(recurse=False, remove_duplicate=False)
    yield from module.named_buffers(recurse=False, remove_duplicate=False)


def tensors_of(net: Any) -> dict[str, Any]:
    """The parameters and buffers of a network of PyTorch by all their names; a shared one has several."""
    names: dict[str, Any] = {}
    for given in (net.named_parameters, net.named_buffers):
        names |= dict(given(remove_duplicate=False))
    return names


def check_numbers(tensor: Any, name: str) -> None:
    """Raise TypeError if the numbers of a tensor of PyTorch are in half precision or complex, or there are none."""
    torch = pytorch()
    if tensor.is_meta or type(tensor).__name__.startswith("Uninitialized"):
        raise TypeError(f"{name} has no numbers yet: call the network once, or move it from the device 'meta'")
    if tensor.dtype not in (torch.float32, torch.float64) and (tensor.is_floating_point() or tensor.is_complex()):
        raise TypeError(
            f"{name} is {tensor.dtype}, and twin takes float32 and float64: write twin(copy.deepcopy(net).float()), or "
            "twin(net.float()), which converts net itself"
        )
