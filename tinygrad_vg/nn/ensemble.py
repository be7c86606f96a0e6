"""Ensembles: a question about gradients is a question about a distribution, and seeds are one more leading axis."""

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from tinygrad_vg.nn.module import Module

M = TypeVar("M", bound=Module)


def stack(models: Iterable[M]) -> M:
    """The same module with the parameters of all models stacked along a new first axis.

    A weight becomes (R, out, in), a bias (R, out). A batch (B, in) goes in, (R, B, out) comes out, and the
    losses sum over the members: each member's gradient, and so its whole training, is its own, to rounding.
    What a model keeps besides parameters is taken from the first.

    Raises:
        ValueError: if there is no model, or two differ in a module's type or a parameter's name, shape or dtype.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> nets = nn.stack([nn.Linear(3, 2, rng=seed) for seed in range(4)])
    >>> nets(np.zeros((5, 3))).shape
    (4, 5, 2)
    """
    models = list(models)
    if not models:
        raise ValueError("stack needs at least one model")
    parts = [dict(model.named_parameters()) for model in models]
    kinds: list[dict[str, Any]] = [{name: (p.shape, p.dtype) for name, p in part.items()} for part in parts]
    for kind, model in zip(kinds, models, strict=True):
        kind |= {name or "the model": type(module).__name__ for name, module in model.named_modules()}
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            differing = [f"{name}: {kinds[0].get(name)} and {kind.get(name)}"
                         for name in {**kinds[0], **kind} if kinds[0].get(name) != kind.get(name)]  # fmt: skip
            raise ValueError(f"models 0 and {i} cannot be stacked, they differ in {'; '.join(differing)}")
    ensemble = copy.deepcopy(models[0])
    for name, parameter in ensemble.named_parameters():
        parameter.data = np.stack([part[name].data for part in parts])
    return ensemble


def unstack(model: M, i: int) -> M:
    """Member i of an ensemble, as a module of its own with copies of its parameters.

    Raises:
        IndexError: if there is no member i.
    """
    member = copy.deepcopy(model)
    for parameter in member.parameters():
        parameter.data = parameter.data[i].copy()
    return member
