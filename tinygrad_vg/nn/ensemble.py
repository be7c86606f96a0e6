"""Ensembles: R networks that differ in their random seed, trained at once as one network with a member axis.

The size of a gradient depends on the seed of the initial weights, so one network shows one sample of a distribution.
`stack` puts R networks of the same form into one: each parameter has a leading axis of length R, the member axis, and
each network is a member of the ensemble.
"""

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from tinygrad_vg.nn.module import Module, state_of
from tinygrad_vg.nn.parameter import Buffer, Parameter

M = TypeVar("M", bound=Module)


def stack(models: Iterable[M]) -> M:
    """An ensemble: the same module with the parameters and buffers of all models stacked along a new first axis.

    A weight becomes (R, out, in), a bias (R, out). The ensemble takes a batch (B, in) and returns (R, B, out). The
    losses sum over the members, so each member's gradient, and with it the member's whole training, equals that of the
    network alone, to rounding. Attributes other than parameters and buffers are taken from the first model.

    A layer of your own with parameters or buffers must apply them by `beside_batch` and set `takes_members = True`. A
    module whose class has `members = ()` gets the number of members: its attribute becomes (R,).

    Raises:
        ValueError: if there is no model, or two models differ in the type of a module, or in the name, shape, dtype
            or `requires_grad` of a parameter or buffer.
        TypeError: if a module has parameters or buffers of its own and does not set `takes_members = True`.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nets = nn.stack([nn.Linear(3, 2, rng=seed) for seed in range(4)])
    >>> nets(np.zeros((5, 3))).shape
    (4, 5, 2)
    """
    models = list(models)
    if not models:
        raise ValueError("stack needs at least one model")
    for name, module in models[0].named_modules():
        if not takes_members(module) and any(isinstance(part, Parameter | Buffer) for _, part in module._parts()):
            raise TypeError(_REFUSAL.format(kind=type(module).__name__, name=name or "the model itself"))
    parts = [state_of(model) for model in models]
    kinds: list[dict[str, Any]] = [facts_of(part) for part in parts]
    for kind, model in zip(kinds, models, strict=True):
        kind |= {name or "the model": type(module).__name__ for name, module in model.named_modules()}
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            differing = [f"{name}: {kinds[0].get(name)} and {kind.get(name)}"
                         for name in {**kinds[0], **kind} if kinds[0].get(name) != kind.get(name)]  # fmt: skip
            raise ValueError(f"models 0 and {i} cannot be stacked, they differ in {'; '.join(differing)}")
    ensemble = copy.deepcopy(models[0])
    for name, tensor in state_of(ensemble).items():
        tensor.data = np.stack([part[name].data for part in parts])
        if isinstance(tensor, Parameter):
            tensor.is_trained = any(part[name].is_trained for part in parts)  # type: ignore[attr-defined]
            tensor.members = len(models)
    tell(ensemble, (len(models),))
    return ensemble


def tell(model: Module, members: tuple[int, ...]) -> None:
    """Set `members` of the modules whose class has `members = ()`, such as Flatten, to (R,)."""
    for _, module in model.named_modules():
        if getattr(type(module), "members", None) == ():
            module.members = members


def facts_of(state: dict[str, Any]) -> dict[str, Any]:
    """The facts that must be the same for the parameters and buffers of all models."""
    frozen = {True: (), False: ("requires_grad=False",)}
    return {name: (p.shape, p.dtype, *frozen[p.requires_grad or isinstance(p, Buffer)]) for name, p in state.items()}


def unstack(model: M, i: int) -> M:
    """Member i of an ensemble, as a module of its own with copies of its parameters and buffers.

    Raises:
        IndexError: if there is no member i.
        ValueError: if the model is not an ensemble: its parameters and buffers do not have a first axis of one length.

    >>> from tinygrad_vg import nn
    >>> nets = nn.stack([nn.Linear(3, 2, rng=seed) for seed in range(4)])
    >>> nn.unstack(nets, 1).weight.shape
    (2, 3)
    """
    state = state_of(model)
    lengths = {name: tensor.shape[:1] for name, tensor in state.items()}
    single = [
        f"{name} has {tensor.shape}"
        for name, tensor in state.items()
        if isinstance(tensor, Parameter) and tensor.ndim < 2
    ]
    if len(set(lengths.values())) > 1 or single:
        raise ValueError(
            f"every array of an ensemble begins with the member axis, of the same length; here {single or lengths}"
        )
    member = copy.deepcopy(model)
    for tensor in state_of(member).values():
        tensor.data = np.array(tensor.data[i])
        if isinstance(tensor, Parameter):
            tensor.members = 0
    tell(member, ())
    return member


def beside_batch(parameter: Any, x: Any, positions: int = 0) -> Any:
    """A parameter with one entry per feature, in a shape that broadcasts correctly with x of shape (..., B, n).

    In an ensemble the parameter is (R, n). NumPy would broadcast it along the rows of a batch, and combine sample i
    with member i if B is R or 1. This function returns (R, 1, n), which combines each member's row with the member's
    whole batch. The parameter (n,) of a single network is returned unchanged, and so is any parameter for a single
    sample x (n,). A layer with one number keeps it in the shape (1,).

    `positions` is the number of axes of x after that of the features, such as the two of an image.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> class Scale(nn.Module):
    ...     takes_members = True
    ...     def __init__(self, n):
    ...         self.factor = nn.Parameter(np.ones(n))
    ...     def forward(self, x):
    ...         return x * nn.beside_batch(self.factor, x)
    >>> nn.stack([Scale(3) for _ in range(5)])(np.ones((5, 3))).shape
    (5, 5, 3)
    """
    if positions:
        parameter = np.expand_dims(parameter, tuple(range(-positions, 0)))
    if parameter.ndim > 1 + positions and x.ndim > 1 + positions:
        parameter = np.expand_dims(parameter, -2 - positions)
    return parameter


def members_of(layer: Module) -> tuple[int, ...]:
    """(R,) for a layer of an ensemble of R networks, () for a layer of a single network.

    >>> from tinygrad_vg import nn
    >>> nn.members_of(nn.stack([nn.Linear(3, 2) for _ in range(4)])), nn.members_of(nn.Linear(3, 2))
    ((4,), ())
    """
    own = vars(layer)
    bias = own.get("bias")
    if isinstance(bias, Parameter):
        return bias.shape[:-1]
    weight = next(part for name, part in own.items() if name.startswith("weight"))  # an LSTM's is weight_ih_l0
    return weight.shape[: -1 - getattr(weight, "input_axes", 1)]  # type: ignore[no-any-return]


def member_axis(axes: int, channels_first: bool = False) -> int:
    """The position of the member axis among the axes of an output of an ensemble: (..., R, B, n), or (R, n).

    Where `channels_first` is true the output is (R, B, n, ...): images of n channels.

    >>> member_axis(3), member_axis(2), member_axis(4), member_axis(5, channels_first=True)
    (0, 0, 1, 0)
    """
    return 0 if channels_first else max(0, axes - 3)


def feature_axis(axes: int, members: tuple[int, ...], channels_first: bool = False) -> int:
    """The position of the axis that counts features, or channels, among the axes of an output: (..., B, n).

    Where `channels_first` is true the output is (B, n, ...), or (R, B, n, ...) for an ensemble.

    >>> feature_axis(2, ()), feature_axis(4, (), channels_first=True), feature_axis(5, (3,), channels_first=True)
    (1, 1, 2)
    """
    return len(members) + 1 if channels_first else axes - 1


def by_member(array: Any, members: tuple[int, ...], channels_first: bool = False) -> Any:
    """An output of an ensemble, (..., R, B, n), as a matrix with a row for each member; of one network, as a vector.

    >>> import numpy as np
    >>> by_member(np.zeros((4, 5, 2)), (4,)).shape, by_member(np.zeros((5, 2)), ()).shape
    ((4, 10), (10,))
    """
    if not members:
        return array.reshape(-1)
    return np.moveaxis(array, member_axis(array.ndim, channels_first), 0).reshape(*members, -1)


_REFUSAL = (
    "{kind} ({name}) has parameters or buffers of its own and does not set takes_members: with a stacked p of (R, n), "
    "x * p would mix members with samples. Write nn.beside_batch(p, x) for p in its forward, and takes_members = True "
    "in its class"
)


def takes_members(module: Module) -> bool:
    """`takes_members` of the class that defines the module's `forward`, or of a subclass of it that sets it again."""
    for kind in type(module).__mro__:
        if "takes_members" in vars(kind):
            return bool(vars(kind)["takes_members"])
        if "forward" in vars(kind):
            return False
    return False
