"""`neurons`: a picture of the strongest path of Eq. 122 through a network, and of Nielsen's bars of ∂C/∂b."""

import math
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.draw import style
from tinygrad_vg.draw.diagram import Diagram
from tinygrad_vg.draw.samples import is_mean, own_part
from tinygrad_vg.engine import ExtendedArray, Tensor, cotangents
from tinygrad_vg.instruments.paths import Path, strongest_path
from tinygrad_vg.instruments.signals import recorded
from tinygrad_vg.nn import Module

if TYPE_CHECKING:
    from graphviz import Digraph


def neurons(
    model: Module,
    cost: Tensor,
    *,
    first: int = 0,
    sample: int = 0,
    rankdir: str = "TB",
) -> "Digraph":
    """A picture of the strongest path through a network, neuron by neuron, for one sample.

    All numbers are those of one sample x and of its own cost Cₓ. If the cost C is a mean over B samples, Cₓ is what x
    adds to it, times B; otherwise Cₓ is what x adds to it. A dashed grey line leads from Cₓ to C. The legend has the
    values of both; Cₓ only if C is a sum or mean over samples, or such a loss, times a constant. A sample that is
    learned already has a small Cₓ.

    The gradient ∂Cₓ/∂b of a neuron in layer 1 is a sum over all paths from it to the cost; each path contributes the
    product of its factors w σ′(z) (Eq. 122). The path drawn has the product of the largest magnitude of all paths from
    all neurons of layer 1. Its edges have their factors; below the picture stand the product, and the sum over all
    paths. Neurons off the path are folded ("+29"). Each neuron has the number |∂Cₓ/∂b| = |∂Cₓ/∂z|, and a bar. All bars
    have the same linear scale, as in Nielsen's diagram; a neuron with a short bar learns slowly.

    Args:
        model: Linears in a row, with at most one activation between each two.
        cost: the cost of one call of the model, on a batch or a single sample.
        first: the number of neurons of each layer, from the first one on, that are drawn besides those on the path;
            Nielsen's diagram has 6.
        sample: the number of the sample in the batch, counted from 0.
        rankdir: the direction of the data: "TB" down, "LR" to the right, "BT" up, "RL" to the left.

    Returns:
        A `graphviz.Digraph`. As long as no parameter of the model has a `.grad`, its numbers are "–", and only the
        first neurons of each layer are drawn.

    Raises:
        TypeError: if `cost` is not a Tensor, or `first` or `sample` not a whole number.
        ValueError: if the cost is of another model or an ensemble, other modules lie between the layers, or the batch
            has no such sample.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(2, 30, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(30, 1, rng=1))
    >>> cost = np.sum(net(np.ones((1, 2))))
    >>> cost.backward()
    >>> "+29" in tg.draw.neurons(net, cost).source
    True
    """
    _check(cost, first, sample)
    chain = recorded(model, cost, gradients=False)
    if chain.members:
        raise ValueError("a path has one network's weights: take a member of this ensemble by tg.nn.unstack")
    if others := [unit.label for unit in chain.layers if unit.channels_first]:
        raise ValueError(f"a path leads through single neurons, and {others[0]} has channels of images")
    layers = chain.layers
    batch = len(layers[0].z) if layers[0].z.ndim == 2 else 1
    if not -batch <= sample < batch:
        raise ValueError(f"there is no sample {sample} in a batch of {batch}")
    computed = style.has_gradient(model.parameters())
    widths = [layer.z.shape[-1] for layer in layers]
    diagram = Diagram(rankdir, widths)
    if not computed:
        diagram.draw_unknown(max(first, 1))
        style.legend(diagram.picture, "–: not computed: no parameter has a .grad, call backward.")
        return diagram.picture
    totals = cotangents(cost)
    mean = batch > 1 and is_mean(cost, batch)
    path = strongest_path(chain, totals, sample).scaled(batch if mean else 1)
    outputs: list[Any] = [layer.output for layer in layers]
    sizes = [_size(totals[z], sample) * (batch if mean else 1) for z in outputs]
    diagram.draw(path, sizes, first, batch, mean)
    own = own_part(cost, outputs[-1], range(batch)[sample], batch) if batch > 1 else None
    value = "" if own is None else f"Cₓ = {style.three_digits(own * (batch if mean else 1))}, "
    value += f"C = {style.three_digits(cost.item())}"
    style.legend(
        diagram.picture, *_notes(path, math.prod(widths[1:]) == 1, range(batch)[sample], batch, mean), f"{value}."
    )
    return diagram.picture


def _check(cost: Any, first: Any, sample: Any) -> None:
    if not isinstance(cost, Tensor):
        raise TypeError(f"neurons draws the cost of a model, a Tensor, not {type(cost).__name__}")
    for name, count in (("first", first), ("sample", sample)):
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise TypeError(f"{name} is a number of neurons or samples, counted from 0, not {count!r}")
    if first < 0:
        raise ValueError(f"first counts neurons, 0 or more, not {first}")


def _notes(path: Path, is_only: bool, sample: int, batch: int, mean: bool) -> list[str]:
    cost = "Cₓ" if batch > 1 else "C"
    notes = ["Yellow: the path with the largest product of factors (Eq. 122),"]
    if is_only:
        notes.append(f"the only one from its neuron of layer 1: its product is ∂{cost}/∂b₁.")
    else:
        notes.append(f"one of the many whose sum is ∂{cost}/∂b₁.")
    if not math.isfinite(path.product[1]):
        notes = ["No path stands out: all products are 0, or not finite."]
    notes.append(f"Bars: |∂{cost}/∂b| of each neuron, on one linear scale.")
    if batch > 1:
        notes.append(f"All numbers are of sample {sample} of {batch}, counted from 0, and of its own cost Cₓ:")
        notes.append(f"the cost C is the mean of {batch} such costs." if mean else "its part of the cost C.")
    return notes


def _size(gradient: ExtendedArray, sample: int) -> Any:
    """|∂C/∂z| of a layer for one sample, (out,)."""
    rows = np.abs(np.asarray(gradient, np.float64))
    return rows[sample] if rows.ndim == 2 else rows
