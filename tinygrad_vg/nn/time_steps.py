"""The time steps of a recurrent network, read from a recorded graph."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg.engine import Tensor, ancestors, calls, ops
from tinygrad_vg.nn.cells import Recurrence


class TimeStep(NamedTuple):
    """The tensors of one time step of a cell, or of one layer of a recurrent layer.

    Attributes:
        h: h_t, (..., B, hidden_size).
        before: h_{t−1}, a Tensor, or an array before the first step.
        product: W_hh h_{t−1} + b_hh, by which the gradient comes back to h_{t−1}.
        weight: the Parameter W_hh, or whatever Tensor stands for it.
        c: c_t of an LSTM; else None.
        kept: z ⊙ h_{t−1} of a gated recurrent unit; else None.

    >>> from tinygrad_vg import nn
    >>> rnn = nn.RNN(3, 4, rng=0)
    >>> *_, last = time_steps(rnn, [rnn(np.ones((6, 5, 3)))[0]])
    >>> last.h.shape, last.weight is rnn.weight_hh_l0, last.c
    ((5, 4), True, None)
    """

    h: Tensor
    before: Any
    product: Tensor
    weight: Any
    c: Tensor | None
    kept: Tensor | None


def time_steps(module: Recurrence, outputs: Iterable[Tensor]) -> list[TimeStep]:
    """The steps of a cell or recurrent layer from which the outputs were computed, the first step first.

    If the module was called for several sequences, these are the steps of the last one. A sequence begins at a step
    whose h_{t−1} does not depend on this module, or is detached. For a module with several layers these are the steps
    of the highest layer.

    >>> import numpy as np
    >>> from tinygrad_vg import nn
    >>> rnn = nn.RNN(3, 4, rng=0)
    >>> output, h_n = rnn(np.ones((6, 5, 3)))
    >>> len(time_steps(rnn, [output])), len(time_steps(rnn, [output[1]]))
    (6, 6)
    """
    found = [h for h in ancestors(outputs) if _before(module, h)]
    steps: list[TimeStep] = []
    h = _last(found)
    while h is not None and (step := _step(module, h)) is not None:
        steps.append(step)
        before = step.before
        if not isinstance(before, Tensor) or before.node is None:
            break
        if _before(module, before):
            h = before
        else:  # something between two steps, or the end of a sequence before this one
            earlier = (h for h in ancestors([before]) if _before(module, h))
            h = _last([h for h in earlier if (of := _step(module, h)) is not None and of.weight is step.weight])
    return steps[::-1]


def _last(tensors: list[Tensor]) -> Tensor | None:
    return max(tensors, key=lambda tensor: tensor.node.order if tensor.node else -1, default=None)


def _before(module: Recurrence, h: Tensor) -> tuple[Any, ...]:
    """(h_{t−1},) if a tensor is an h_t of this module; else ()."""
    own = (call.inputs for call in calls(h)[:1] if call.module is module)
    return next((inputs[1:] for inputs in own if len(inputs) == 2), ())


def _step(module: Recurrence, h: Tensor) -> TimeStep | None:
    """The step that returned h; None if its product was not recorded."""
    x, before = calls(h)[0].inputs
    product = c = kept = None
    unseen, seen = [h], {h}
    while unseen:
        tensor = unseen.pop()
        if tensor.node is None:
            continue
        if tensor is not h and any(call.module is module for call in calls(tensor)):
            if tensor.node.function is ops.linear:
                product = tensor
            else:
                c = tensor
            continue
        if tensor.node.function is np.multiply and any(given is before for given in tensor.node.inputs):
            kept = tensor
        sources = [source for _, source, _ in tensor.node.edges if source is not x and source is not before]
        unseen += [source for source in sources if source not in seen]
        seen.update(sources)
    if product is None or product.node is None:
        return None
    return TimeStep(h, before, product, product.node.inputs[1], c, kept)
