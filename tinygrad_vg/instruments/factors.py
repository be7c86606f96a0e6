"""Eq. 122 of Nielsen's chapter 5: the gradient of a bias as a product of factors of the chain rule.

On a chain of neurons, one in each layer, z_j = w_j a_{j−1} + b_j and a_j = σ(z_j),

    ∂C/∂b₁ = σ′(z₁) · w₂ σ′(z₂) · w₃ σ′(z₃) · ... · ∂C/∂a_L.

The values of the factors are computed by the rules of the recorded operations, applied to 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.engine import Tensor, between, cotangents, enable_grad, jvp, ops
from tinygrad_vg.nn import Activation
from tinygrad_vg.notation import subscripted

PRODUCTS = (np.multiply, np.matmul, ops.linear)  # the operations that multiply by a weight
SUMS = (np.add, ops.linear)  # the operations that compute z


@dataclass(frozen=True)
class Factor:
    """One factor of the chain rule.

    Attributes:
        label: the factor as the book writes it: "σ′(z₁)", "w₂", "∂C/∂a₄".
        value: its value.

    >>> print(Factor("w₂", 0.8))
    w₂ = 0.8
    """

    label: str
    value: float

    def __str__(self) -> str:
        return f"{self.label} = {self.value:.3g}"


@dataclass(frozen=True)
class Change:
    """The change of one quantity of the cascade.

    Attributes:
        label: the change as the book writes it: "Δz₂".
        value: its value for Δb₁ = 1, to first order.

    >>> Change("Δz₂", 0.25).value
    0.25
    """

    label: str
    value: float


@dataclass(frozen=True)
class Link:
    """One operation on the way from a bias to the cost, or one activation made of several."""

    source: Tensor
    output: Tensor
    activation: Any  # the nn.Activation, or its class; None for other operations
    layer: int  # the number of the output's layer; the layer of the bias is number 1

    @property
    def function(self) -> Any:
        return self.output.node.function if self.output.node else None

    @property
    def is_weight(self) -> bool:
        """Whether the link multiplies by a weight, and so leads to the next layer."""
        if self.activation is not None or self.output.node is None or self.function not in PRODUCTS:
            return False
        behind_weight = self.output.node.inputs[2:]  # the bias of a linear operation
        return not any(given is self.source for given in behind_weight)

    @property
    def value(self) -> float:
        """∂output/∂source."""
        return float(slope(self.output, self.source).item())

    @property
    def name(self) -> str:
        """The name of the output in the book: "a₁" or "z₁"."""
        return subscripted("a" if self.activation is not None else "z", self.layer)

    @property
    def factor(self) -> Factor | None:
        """The factor of Eq. 122 that the link is; None for one that passes the gradient on unchanged, as a sum does."""
        value = self.value
        if self.activation is not None:
            return Factor(f"{self.activation.symbol}′({subscripted('z', self.layer)})", value)
        if self.is_weight:
            return Factor(subscripted("w", self.layer), value)
        if value == 1.0:
            return None
        return Factor(self.output.node.operation.name if self.output.node else "", value)  # a difference: −1


def slope(output: Tensor, source: Tensor) -> Any:
    """∂output/∂source, an array of the source's shape, for an output that is an elementwise function of the source.

    >>> import tinygrad_vg as tg
    >>> z = tg.Tensor([0.0, 2.0], requires_grad=True)
    >>> slope(1.0 * tg.ops.sigmoid(z), z).round(3)
    array([0.25 , 0.105])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # the values of an exploded network may be infinite
        return np.asarray(cotangents(output, np.ones_like(output.data), of=[source])[source])


def slopes_at(activation: Any, z: Any) -> Any:
    """The slopes of an `nn.Activation`, or of its class, at an array z: an array of the same shape.

    The slope at NaN is NaN, also of relu, whose rule passes a gradient on there, as PyTorch's does.

    >>> from tinygrad_vg import nn
    >>> slopes_at(nn.Tanh, np.array([0.0])), slopes_at(nn.ReLU, np.array([np.nan, 2.0]))
    (array([1.]), array([nan,  1.]))
    """
    x = Tensor(z, requires_grad=True)
    function: Any = getattr(activation, "function" if isinstance(activation, type) else "forward")
    with enable_grad():
        return np.where(np.isnan(x.data), x.data, slope(function(x), x))


def chain_factors(cost: Tensor, bias: Tensor) -> list[Factor]:
    """The factors of ∂cost/∂bias in the order of Eq. 122; their product is the gradient, to rounding.

    Args:
        cost: a tensor of one element, computed from `bias` along one path of tensors of one element each. The path
            leads through Linear layers, or through products and sums, with at most one activation between two of them.
            An activation is a module, or the function of one of `nn`'s activations (σ, tanh, relu, softplus).
        bias: the tensor at which the path begins. Its layer is number 1.

    Returns:
        σ′(z₁), w₂, σ′(z₂), ..., and ∂C/∂a_L as the last factor. It is ∂C/∂z_L if there is no activation after the last
        layer, as for a cost of logits.

    Raises:
        ValueError: if there is no path, or more than one, or the path leads through tensors of several elements.

    >>> import tinygrad_vg as tg
    >>> b1, w2, b2 = (tg.Tensor(value, requires_grad=True) for value in (0.5, -2.0, 1.0))
    >>> a1 = tg.ops.sigmoid(0.8 * 0.3 + b1)
    >>> a2 = tg.ops.sigmoid(w2 * a1 + b2)
    >>> for factor in chain_factors((1.0 - a2) ** 2, b1):
    ...     print(factor)
    σ′(z₁) = 0.219
    w₂ = -2
    σ′(z₂) = 0.242
    ∂C/∂a₂ = -1.18
    """
    links = links_of(cost, bias)
    top, name = (links[-1].output, links[-1].name) if links else (bias, "b₁")
    end = Factor(f"∂C/∂{name}", np.asarray(cotangents(cost, of=[top])[top]).item())
    return [*(factor for link in links if (factor := link.factor)), end]


def cascade(cost: Tensor, bias: Tensor) -> list[Change]:
    """The cascade Δb₁ → Δz₁ → Δa₁ → Δz₂ → ... → ΔC of Eqs. 114-121, for Δb₁ = 1, to first order.

    The values are forward-mode derivatives (`tg.jvp`); no number is perturbed. The last value is ∂cost/∂bias.

    Args:
        cost, bias: as for `chain_factors`.

    Raises:
        ValueError: as `chain_factors` does.

    >>> import tinygrad_vg as tg
    >>> b = tg.Tensor(0.0, requires_grad=True)
    >>> [(change.label, change.value) for change in cascade(8 * tg.ops.sigmoid(0.0 + b), b)]
    [('Δb₁', 1.0), ('Δz₁', 1.0), ('Δa₁', 0.25), ('ΔC', 2.0)]
    """
    ends = {link.name: link.output for link in links_of(cost, bias)}  # the last sum of a layer is z
    moved = jvp([*ends.values(), cost], bias, np.ones(bias.shape, bias.dtype))
    changes = [Change(f"Δ{name}", float(value.item())) for name, value in zip([*ends, "C"], moved, strict=True)]
    return [Change("Δb₁", 1.0), *changes]


def links_of(cost: Tensor, bias: Tensor) -> list[Link]:
    """The links from the bias to the last activation, or to the last layer's z if there is no activation.

    The operations after these links are a part of the cost, which need not be a chain.

    Raises:
        ValueError: as `chain_factors` does.

    >>> import tinygrad_vg as tg
    >>> b = tg.Tensor(0.0, requires_grad=True)
    >>> [link.name for link in links_of(8 * tg.ops.sigmoid(0.0 + b), b)]
    ['z₁', 'a₁']
    """
    links = list(_path(cost, bias))
    last = max((i for i, link in enumerate(links) if link.activation is not None), default=None)
    if last is None:
        last = max((i for i, link in enumerate(links) if link.is_weight or link.function in SUMS), default=-1)
    return links[: last + 1]


def _path(cost: Tensor, bias: Tensor) -> Iterator[Link]:
    """The links from the bias towards the cost, as far as a single way leads through tensors of one element.

    If the way forks after the last activation, the links end there.

    Raises:
        ValueError: if there is no way, or it forks, or becomes wider, before the last activation.
    """
    on_the_way = between([cost], [bias])
    if cost not in on_the_way or cost.size != 1:
        raise ValueError(f"there is no path from {bias.label} to a cost of one element")
    users: dict[Tensor, list[Tensor]] = {}
    activations: dict[Tensor, Tensor] = {}  # the output of each activation that was called, by its input
    for tensor in on_the_way:
        for _, source, _ in tensor.node.edges if tensor.node is not None else ():
            if source in on_the_way:
                users.setdefault(source, []).append(tensor)
        if call := Activation.call_of(tensor):
            activations |= {given: tensor for given in call.inputs if isinstance(given, Tensor)}
    tensor, layer = bias, 1
    while tensor is not cost:
        above = [activations[tensor]] if tensor in activations else users[tensor]
        if len(above) > 1 or above[0].size != 1 or tensor.size != 1:
            if any(Activation.of(output) for output in _all_above(tensor, users)):
                wide = next((each for each in (tensor, *above) if each.size != 1), None)
                raise ValueError(
                    "Eq. 122 needs one path of single numbers from the bias to the cost; here it "
                    f"{f'forks at {tensor.label}' if wide is None else f'is {wide.shape} wide at {wide.label}'}: "
                    "use instruments.Ledger for wide layers"
                )
            return
        link = Link(tensor, above[0], Activation.of(above[0]), layer)
        if link.is_weight:
            layer += 1
            link = Link(tensor, above[0], None, layer)
        yield link
        tensor = above[0]


def _all_above(tensor: Tensor, users: dict[Tensor, list[Tensor]]) -> set[Tensor]:
    """All tensors that are computed from a tensor."""
    reached: set[Tensor] = set()
    unseen = [tensor]
    while unseen:
        for output in users.get(unseen.pop(), ()):
            if output not in reached:
                reached.add(output)
                unseen.append(output)
    return reached
