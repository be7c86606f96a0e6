"""What if: how the gradients would go with another activation, initializer or depth; predicted, then measured."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.instruments.ledger import Ledger
from tinygrad_vg.instruments.signals import dry_run
from tinygrad_vg.instruments.theory import mean_field_of
from tinygrad_vg.nn import Linear, Module, Sequential, stack
from tinygrad_vg.notation import decades

_MEMBERS = 64  # seeds that a measurement takes; the geometric mean's standard error falls with their root


@dataclass(frozen=True)
class WhatIf:
    """Decades a layer, from the output to layer 1, negative where gradients shrink; means over layers and seeds.

    Attributes:
        predicted_before, predicted_after: mean-field theory, of the network's kind and of the changed one.
        measured_before, measured_after: of fresh networks of both kinds.
    """

    predicted_before: float
    predicted_after: float
    measured_before: float
    measured_after: float

    @property
    def predicted(self) -> float:
        """The predicted change in decades a layer."""
        return self.predicted_after - self.predicted_before

    @property
    def measured(self) -> float:
        """The measured change in decades a layer."""
        return self.measured_after - self.measured_before

    def __str__(self) -> str:
        return (
            f"from {decades(self.measured_before, 3)} to {decades(self.measured_after, 3)} decades a layer: "
            f"a change of {decades(self.measured, 3)}, predicted {decades(self.predicted, 3)}"
        )


def what_if(
    model: Module,
    images: Any,
    *,
    activation: Callable[[], Module] | None = None,
    initializer: Callable[..., Any] | None = None,
    depth: int | None = None,
    rng: Any = None,
) -> WhatIf:
    """Change one thing or several of a network's kind, and see what becomes of its gradients at the start.

    A network's kind is what theory knows of it: the widths, the activation, and the spread of each layer's weights
    and biases. The networks measured are drawn anew from the kind, before and after the change.

    Args:
        model: Linears in a row with one activation between each two, whatever module holds them; of one network or an
            ensemble.
        images: (B, in) inputs, few are enough; the prediction is about single samples.
        activation: the class of another activation, or a function without arguments that makes one.
        initializer: another one for the weights, such as `nn.init.kaiming_normal_`: called as (weight, rng=...).
        depth: another number of Linears: hidden layers like the last one are added, or left out from the top.
        rng: a `np.random.Generator` to draw from, or a seed.

    Raises:
        ValueError: if nothing is changed, the model is no such network, or `depth` is less than 2.

    >>> from tinygrad_vg import nn
    >>> rng = np.random.default_rng(0)
    >>> net = nn.mlp([30] * 7, rng=rng)
    >>> answer = what_if(net, rng.normal(size=(10, 30)), activation=nn.Tanh, rng=0)
    >>> 0.3 < answer.predicted < 0.6, abs(answer.measured - answer.predicted) < 0.03
    (True, True)
    """
    if activation is None and initializer is None and depth is None:
        raise ValueError("what_if needs a change: activation=, initializer= or depth=")
    chain, _ = dry_run(model, np.asarray(images)[:1])
    linears: list[Any] = [layer.module for layer in chain.layers]
    between = [units[0].activation for _, units, _ in chain.steps() if len(units) == 1 and units[0].activation]
    if not len(between) == len(linears) - 1 > 0:
        raise ValueError("what_if takes Linears in a row with one activation between each two")
    if len(labels := {units[0].label for _, units, _ in chain.steps()}) > 1:
        raise ValueError(
            f"what_if takes a network with one kind of activation, this one has {', '.join(sorted(labels))}"
        )
    if depth is not None and depth < 2:
        raise ValueError(f"depth counts the Linears, 2 or more, not {depth}")
    field = mean_field_of(model, images)
    kind = [
        (linear.in_features, linear.out_features, weight_std, bias_std)
        for linear, weight_std, bias_std in zip(linears, field.weight_std, field.bias_std, strict=True)
    ]
    rng = np.random.default_rng(rng)
    own = between[0] if isinstance(between[0], type) else partial(copy.deepcopy, between[0])
    before = _sample(kind, own, None, rng)
    after = _sample(_of_depth(kind, depth or len(kind)), activation or own, initializer, rng)
    return WhatIf(
        _predict(before, images), _predict(after, images), _measure(before, images, rng), _measure(after, images, rng)
    )


def _of_depth(kind: list[tuple[int, int, float, float]], depth: int) -> list[tuple[int, int, float, float]]:
    """The layers' kinds, hidden ones added like the last or left out, for `depth` of them."""
    *hidden, top = kind
    _, width, weight_std, bias_std = hidden[-1]
    more = [(width, width, weight_std, bias_std)] * (depth - len(kind))
    hidden = (hidden + more)[: depth - 1]
    return [*hidden, (hidden[-1][1], *top[1:])]


def _sample(kind: Any, activation: Callable[[], Module], initializer: Any, rng: "np.random.Generator") -> Sequential:
    """An ensemble of fresh networks of this kind."""

    def network() -> Sequential:
        modules: list[Module] = []
        for n_in, n_out, weight_std, bias_std in kind:
            linear = Linear(n_in, n_out, rng=rng)
            linear.weight.data = linear.weight.data * weight_std  # drawn with variance 1/n_in
            if linear.bias is not None:
                linear.bias.data = linear.bias.data * bias_std  # drawn with variance 1
            if initializer is not None:
                initializer(linear.weight, rng=rng)
            modules += [linear, activation()]
        return Sequential(*modules[:-1])

    return stack([network() for _ in range(_MEMBERS)])


def _predict(nets: Sequential, images: Any) -> float:
    return float(mean_field_of(nets, images).decades_per_layer.mean())


def _measure(nets: Sequential, images: Any, rng: "np.random.Generator") -> float:
    """Decades a layer of one sample's gradient, from a random direction at the output."""
    rates = []
    for image in images:
        with Ledger(nets) as ledger:
            output = nets(image[None])
            output.backward(rng.normal(size=output.shape))
        rates.append((ledger.log10_norm[0] - ledger.log10_norm[-1]) / (len(ledger.layers) - 1))
    return float(np.mean(rates))
