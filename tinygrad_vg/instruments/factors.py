"""Eq. 122 of Nielsen's chapter 5: the gradient of a bias, taken apart into the factors of the chain rule.

On a chain of neurons, one to a layer, z_j = w_j a_{j−1} + b_j and a_j = σ(z_j),

    ∂C/∂b₁ = σ′(z₁) · w₂ σ′(z₂) · w₃ σ′(z₃) · ... · ∂C/∂a_L.

The factors are not looked up in the network: they are the rules of the recorded operations applied to one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_vg.engine import Node, Tensor, between, grad, jvp, local_derivative, name_of, ops
from tinygrad_vg.notation import subscripted

ACTIVATIONS = {ops.sigmoid: "σ", np.tanh: "tanh", ops.relu: "relu", ops.softplus: "softplus"}


@dataclass(frozen=True)
class Factor:
    """One factor of the chain rule: `label` as the book writes it ("σ′(z₁)", "w₂", "∂C/∂a₄"), and its `value`."""

    label: str
    value: float

    def __str__(self) -> str:
        return f"{self.label} = {self.value:.3g}"


@dataclass(frozen=True)
class Change:
    """One quantity of the cascade: `label` ("Δz₂"), and `value`, its change for each unit of Δb."""

    label: str
    value: float


@dataclass(frozen=True)
class _Step:
    """One operation on the way from a bias to the cost."""

    source: Tensor
    output: Tensor
    node: Node
    index: int  # which argument of the operation the source is
    rule: Any
    layer: int  # the layer that the output belongs to, from 1 at the bias

    @property
    def is_activation(self) -> bool:
        return self.node.function in ACTIVATIONS

    @property
    def is_weight(self) -> bool:
        """Whether the step goes through a weight: the layer's number rises by one."""
        return self.node.function in (ops.linear, np.matmul, np.multiply) and not (
            self.node.function is ops.linear and self.index == 2
        )


def chain_factors(cost: Tensor, bias: Tensor) -> list[Factor]:
    """The factors of ∂cost/∂bias in the order of Eq. 122; their product is the gradient, to rounding.

    Args:
        cost: a tensor of one element, recorded from `bias` along one path of tensors of one element each. Linear
            layers, or products and sums written out; σ, tanh, relu or softplus between them, or nothing.
        bias: where the path begins; layers are counted from it, 1 first.

    Returns:
        σ′(z₁), w₂, σ′(z₂), ..., and last ∂C/∂a_L: whatever the cost does with the last activation. (Without
        one it is ∂C/∂z_L, as for a cost that takes logits.)

    Raises:
        ValueError: if there is no path, more than one, or one through tensors of several elements.

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
    steps = chain(cost, bias)
    factors = []
    for step in steps:
        value = float(np.sum(local_derivative(step.node, step.rule)))
        if step.is_activation:
            factors.append(Factor(f"{ACTIVATIONS[step.node.function]}′({subscripted('z', step.layer)})", value))
        elif step.is_weight:
            factors.append(Factor(subscripted("w", step.layer), value))
        elif value != 1.0:  # a sum passes the gradient on as it is; a difference turns its sign
            factors.append(Factor(name_of(step.node.function), value))
    top, name = (steps[-1].output, top_name(steps)) if steps else (bias, "b₁")
    (last,) = grad(cost, top)
    return [*factors, Factor(f"∂C/∂{name}", last.item())]


def cascade(cost: Tensor, bias: Tensor) -> list[Change]:
    """The cascade Δb₁ → Δz₁ → Δa₁ → Δz₂ → ... → ΔC of Eqs. 114-121, for Δb₁ = 1 to first order.

    Each value is a forward-mode product (`tg.jvp`), nothing is perturbed. The last is ∂cost/∂bias.

    Args, raises: as for `chain_factors`.

    >>> import tinygrad_vg as tg
    >>> b = tg.Tensor(0.0, requires_grad=True)
    >>> [(change.label, change.value) for change in cascade(8 * tg.ops.sigmoid(0.0 + b), b)]
    [('Δb₁', 1.0), ('Δz₁', 1.0), ('Δa₁', 0.25), ('ΔC', 2.0)]
    """
    steps = chain(cost, bias)
    ends: dict[str, Tensor] = {}
    for step in steps:
        ends[subscripted("a" if step.is_activation else "z", step.layer)] = step.output  # the last sum of a layer is z
    moved = jvp([*ends.values(), cost], bias, np.ones(bias.shape, bias.dtype))
    changes = [Change(f"Δ{name}", float(value.item())) for name, value in zip([*ends, "C"], moved, strict=True)]
    return [Change("Δb₁", 1.0), *changes]


def top_name(steps: list[_Step]) -> str:
    return subscripted("a" if steps[-1].is_activation else "z", steps[-1].layer)


def chain(cost: Tensor, bias: Tensor) -> list[_Step]:
    """The operations from the bias to the last activation, or to the last layer's z if it has none.

    What follows belongs to the cost, which need not be a chain.
    """
    steps = list(path(cost, bias))
    last = max((i for i, step in enumerate(steps) if step.is_activation), default=None)
    if last is None:
        # No activation: the chain ends with the last sum of a layer.
        sums = (np.add, ops.linear)
        last = max((i for i, step in enumerate(steps) if step.is_weight or step.node.function in sums), default=-1)
    return steps[: last + 1]


def path(cost: Tensor, bias: Tensor) -> Iterator[_Step]:
    """The operations from the bias towards the cost, as long as there is one way and it is one number wide.

    It may stop before the cost where the way forks; a fork below an activation is refused.
    """
    on_the_way = between([cost], [bias])
    if cost not in on_the_way or cost.size != 1:
        raise ValueError(f"there is no path from {bias.label} to a cost of one element")
    users: dict[Tensor, list[tuple[Tensor, Node, int, Any]]] = {}
    for tensor in on_the_way:
        if tensor.node is not None:
            for index, source, rule in tensor.node.edges:
                if source in on_the_way:
                    users.setdefault(source, []).append((tensor, tensor.node, index, rule))
    tensor, layer = bias, 1
    while tensor is not cost:
        if len(users[tensor]) > 1 or users[tensor][0][0].size != 1 or tensor.size != 1:
            if any(t.node is not None and t.node.function in ACTIVATIONS for t in after(tensor, users)):
                raise ValueError(
                    "chain_factors needs one path of single numbers from the bias to the cost; here it "
                    f"{'forks' if tensor.size == 1 else f'is {tensor.shape} wide'} at {tensor.label}: "
                    "use instruments.Ledger for wide layers"
                )
            return
        output, node, index, rule = users[tensor][0]
        step = _Step(tensor, output, node, index, rule, layer)
        if step.is_weight:
            layer += 1
            step = _Step(tensor, output, node, index, rule, layer)
        yield step
        tensor = output


def after(tensor: Tensor, users: dict[Tensor, list[tuple[Tensor, Node, int, Any]]]) -> set[Tensor]:
    """Everything that is computed from a tensor."""
    reached: set[Tensor] = set()
    unseen = [tensor]
    while unseen:
        for output, *_ in users.get(unseen.pop(), ()):
            if output not in reached:
                reached.add(output)
                unseen.append(output)
    return reached
