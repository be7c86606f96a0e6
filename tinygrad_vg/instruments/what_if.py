"""What if a network had another activation, initializer or depth? Its gradients' change, predicted and measured."""

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
from tinygrad_vg.tables import Sentence

_MEMBERS = 64  # the number of networks, with different random seeds, that a measurement averages over


@dataclass(frozen=True, repr=False)
class WhatIf(Sentence):
    """Rates before and after a change, in decades per layer, negative where gradients shrink towards the input.

    A rate is the mean over layers, samples and random networks. A sample without a gradient at layer 1, as by dead
    ReLUs, has no rate: it is left out and counted. The kind of a network is defined in `what_if`.

    Attributes:
        predicted_before, predicted_after: by mean-field theory, for the kind of the network and for the changed kind.
        measured_before, measured_after: measured on new random networks of both kinds.
        own: measured on the model itself; the median for an ensemble. A trained network may be far from random ones of
            its kind, and then the prediction says little about it.
        silent_before, silent_after, silent_own: the share of samples times networks without a gradient at layer 1, from
            0 to 1, in each of the three measurements. A measurement in which it is 1 is −∞.

    >>> rates = WhatIf(-0.7, -0.2, -0.75, -0.25, own=-0.8)
    >>> rates.measured_after, rates.measured
    (-0.25, 0.5)
    """

    predicted_before: float
    predicted_after: float
    measured_before: float
    measured_after: float
    own: float
    silent_before: float = 0.0
    silent_after: float = 0.0
    silent_own: float = 0.0

    @property
    def predicted(self) -> float:
        """The predicted change of the rate, in decades per layer.

        >>> round(WhatIf(-0.7, -0.2, -0.7, -0.25, own=-0.8).predicted, 3)
        0.5
        """
        return self.predicted_after - self.predicted_before

    @property
    def measured(self) -> float:
        """The measured change of the rate, in decades per layer."""
        return self.measured_after - self.measured_before

    def __str__(self) -> str:
        text = (
            f"from {decades(self.measured_before, 3)} to {decades(self.measured_after, 3)} decades a layer: "
            f"a change of {decades(self.measured, 3)}, predicted {decades(self.predicted, 3)}; "
            f"the model itself {decades(self.own, 3)}"
        )
        shares = (
            (self.silent_before, "before the change {} % of samples and draws have no gradient"),
            (self.silent_after, "after the change {} % of samples and draws have no gradient"),
            (self.silent_own, "the model itself has no gradient for {} % of samples"),
        )
        return "; ".join([text, *(words.format(f"{100 * share:.3g}") for share, words in shares if share)])


def what_if(
    model: Module,
    images: Any,
    *,
    activation: Callable[[], Module] | None = None,
    initializer: Callable[..., Any] | None = None,
    depth: int | None = None,
    rng: Any = None,
) -> WhatIf:
    """Predict and measure how the gradients at initialization change with another activation, initializer or depth.

    The theory uses the widths, the activation, and the standard deviations of each layer's weights and biases; these
    are the kind of a network. New random networks are sampled and measured, of the kind of the model and of the
    changed kind.

    Args:
        model: Linears in a row with one activation between two neighbours; one network or an ensemble, of any class.
        images: (B, in) inputs. A few are enough, because the prediction is about single samples.
        activation: the class of another activation, or a function without arguments that makes a module.
        initializer: another initializer of the weights, such as `nn.init.kaiming_normal_`; called as
            `initializer(weight, rng=rng)`.
        depth: another number of Linears. Copies of the last hidden layer are added, or the last hidden layers removed.
        rng: a `np.random.Generator` to sample from, or a random seed.

    Raises:
        TypeError: if `activation` is a module or a name and not a class.
        ValueError: if nothing is changed, the model is not such a network, or `depth` is less than 2.

    >>> from tinygrad_vg import nn
    >>> rng = np.random.default_rng(0)
    >>> net = nn.mlp([30] * 7, rng=rng)
    >>> answer = what_if(net, rng.normal(size=(10, 30)), activation=nn.Tanh, rng=0)
    >>> 0.3 < answer.predicted < 0.6, abs(answer.measured - answer.predicted) < 0.03
    (True, True)
    """
    if activation is None and initializer is None and depth is None:
        raise ValueError("what_if needs a change: activation=, initializer= or depth=")
    if activation is not None and (isinstance(activation, Module) or not callable(activation)):
        raise TypeError(f"what_if takes the class of an activation, such as nn.Tanh, and not {activation!r}")
    chain, _ = dry_run(model, np.asarray(images)[:1])
    linears: list[Any] = [layer.module for layer in chain.layers]
    between = [units[0].activation for _, units, _ in chain.steps() if len(units) == 1 and units[0].activation]
    if not len(between) == len(linears) - 1 > 0:
        raise ValueError("what_if takes Linears in a row with one activation between two neighbours")
    if len(labels := {units[0].label for _, units, _ in chain.steps()}) > 1:
        raise ValueError(
            f"what_if takes a network with activations of one class; this one has {', '.join(sorted(labels))}"
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
    # The last one is of a copy: the model's own gradients are left alone.
    rates = [_measure(nets, images, rng) for nets in (before, after, copy.deepcopy(model))]
    silent_before, silent_after, silent_own = (float(np.mean(np.isneginf(of_nets))) for of_nets in rates)
    return WhatIf(
        predicted_before=_predict(before, images),
        predicted_after=_predict(after, images),
        measured_before=float(_mean(np.ravel(rates[0]))),
        measured_after=float(_mean(np.ravel(rates[1]))),
        own=float(np.median(_mean(rates[2]))),
        silent_before=silent_before,
        silent_after=silent_after,
        silent_own=silent_own,
    )


def _of_depth(kind: list[tuple[int, int, float, float]], depth: int) -> list[tuple[int, int, float, float]]:
    """The kind with `depth` Linears: copies of the last hidden layer are added, or the last ones removed."""
    *hidden, top = kind
    _, width, weight_std, bias_std = hidden[-1]
    more = [(width, width, weight_std, bias_std)] * (depth - len(kind))
    hidden = (hidden + more)[: depth - 1]
    return [*hidden, (hidden[-1][1], *top[1:])]


def _sample(kind: Any, activation: Callable[[], Module], initializer: Any, rng: "np.random.Generator") -> Sequential:
    """An ensemble of new random networks of this kind."""

    def network() -> Sequential:
        modules: list[Module] = []
        for n_in, n_out, weight_std, bias_std in kind:
            linear = Linear(n_in, n_out, rng=rng)
            linear.weight.data = linear.weight.data * weight_std  # Linear has sampled N(0, 1/n_in)
            if linear.bias is not None:
                linear.bias.data = linear.bias.data * bias_std  # Linear has sampled N(0, 1)
            if initializer is not None:
                initializer(linear.weight, rng=rng)
            modules += [linear, activation()]
        return Sequential(*modules[:-1])

    return stack([network() for _ in range(_MEMBERS)])


def _predict(nets: Sequential, images: Any) -> float:
    return float(mean_field_of(nets, images).decades_per_layer.mean())


def _measure(nets: Module, images: Any, rng: "np.random.Generator") -> Any:
    """The rates of the gradients of single samples, for random cotangents at the output: (B,), or (B, R).

    A rate is −∞ where no gradient arrives.
    """
    rates = []
    for image in images:
        with Ledger(nets) as ledger:
            output = nets(image[None])
            output.backward(rng.normal(size=output.shape))
        rates.append((ledger.log10_norm[0] - ledger.log10_norm[-1]) / (len(ledger.layers) - 1))
    return np.array(rates)


def _mean(rates: Any) -> Any:
    """The mean over the first axis of the rates that are not −∞; −∞ where all are."""
    arrives = ~np.isneginf(rates)
    total = np.sum(np.where(arrives, rates, 0.0), axis=0)
    return np.where(arrives.any(axis=0), total / np.maximum(arrives.sum(axis=0), 1), -np.inf)
