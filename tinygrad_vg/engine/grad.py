"""Gradients as pure functions of a recorded graph: `grad` backward, `jvp` forward. They change no `.grad`."""

from collections.abc import Sequence
from typing import Any

from tinygrad_vg.engine.graph import PLAIN, owned, walk
from tinygrad_vg.engine.reading import between
from tinygrad_vg.engine.recording import recording
from tinygrad_vg.engine.tensor import RECORDED, Tensor, cotangent


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` with respect to each of `inputs`; no `.grad` is changed.

    Only the part of the graph between the two is visited. Inputs may be leaves or tensors computed from them.

    Args:
        outputs: a Tensor or a sequence of them.
        inputs: a Tensor or a sequence of them; each must require gradients and be used by the outputs.
        grad_outputs: for each output the cotangent to start from, of its shape; it is 1 by default, for outputs of
            one element.
        create_graph: record the gradients, so that they can be differentiated again.

    Returns:
        A tuple with one gradient per input, of its shape and dtype: arrays, or with `create_graph` Tensors.

    Raises:
        TypeError: if an output or input is not a Tensor.
        ValueError: if an input is not part of the outputs' graph, or a cotangent is missing or of wrong shape.

    >>> import tinygrad_vg as tg
    >>> x = tg.Tensor(3.0, requires_grad=True)
    >>> (slope,) = tg.grad(x**3, x, create_graph=True)
    >>> slope.item(), tg.grad(slope, x)[0].item()
    (27.0, 18.0)
    """
    roots = tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)
    targets = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    for kind, tensors in (("output", roots), ("input", targets)):
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"{kind} {i} must be a Tensor, not {type(tensor).__name__}; "
                    "to differentiate a gradient again, compute it with create_graph=True"
                )
    given = tuple(grad_outputs) if isinstance(grad_outputs, list | tuple) else (grad_outputs,) * len(roots)
    if len(given) != len(roots):
        raise ValueError(f"grad got {len(roots)} outputs and {len(given)} grad_outputs; it needs one for each")
    trace = recording.trace
    create_graph, is_asked = create_graph or trace is not None, create_graph
    starts: dict[Tensor, Any] = {}
    for root, gradient in zip(roots, given, strict=True):
        start = cotangent(root, gradient, create_graph)
        starts[root] = starts[root] + start if root in starts else start
    found = walk(starts, RECORDED if create_graph else PLAIN, only=between(starts, targets), keep=set(targets))
    for i, target in enumerate(targets):
        if target not in found:
            raise ValueError(
                f"input {i} ({target.label}) is not used by the outputs: its gradient would be 0 everywhere; "
                "make it with requires_grad=True, and compute the outputs from it"
            )
    gradients = tuple(owned((found[target] for target in targets), given))
    if trace is not None and not is_asked:
        trace.give_arrays(gradients)
    return gradients


def jvp(outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor], tangents: Any) -> tuple[Any, ...]:
    """The change of the outputs of a recorded graph when its inputs change by `tangents`, to first order: J v.

    The gradient g = Jᵀu is linear in the cotangent u, and the gradient of g with respect to u, with v as cotangent, is
    J v. Therefore forward mode needs no table of its own, and no input is perturbed.

    Args:
        outputs: a Tensor or a sequence of them.
        inputs: a Tensor or a sequence of them.
        tangents: v, an array for each input, of the input's shape.

    Returns:
        A tuple with one array per output, of its shape.

    Raises:
        TypeError: if an output or input is not a Tensor.
        ValueError: if an input is not part of the outputs' graph, or a tangent is missing or of another shape.

    >>> import tinygrad_vg as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> tg.jvp(x * x, x, [1.0, 10.0])
    (array([ 2., 40.]),)
    """
    roots = tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)
    targets = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    given = tuple(tangents) if isinstance(inputs, list | tuple) else (tangents,)
    if len(given) != len(targets):
        raise ValueError(f"jvp got {len(targets)} inputs and {len(given)} tangents; it needs one for each")
    any_values = [Tensor(root.data, requires_grad=True) for root in roots]
    gradients = grad(roots, targets, any_values, create_graph=True)
    return grad(gradients, any_values, list(given))
