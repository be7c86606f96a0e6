"""The walk back: from an output to everything it was computed from, consumers first.

A tensor's gradient is the *sum* over its consumers, so a tensor may be visited only when all of them have
been: in `b = a + a; c = b + b`, visiting b after only one of c's two terms would hand a half of its gradient.
So the walk goes from the youngest operation to the oldest: whoever consumes a tensor is younger than it. Nothing
recurses: a graph may be 200,000 operations deep, and a tensor reached along 2⁶⁰ paths is still visited once.
"""

import itertools
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vg.extended import ExtendedArray

if TYPE_CHECKING:
    from tinygrad_vg.tensor import Tensor

Gradient = Any  # an array, with create_graph=True a Tensor, with extended_range=True an ExtendedArray
Hook = Callable[[Gradient], Gradient | None]


class _Recording(threading.local):
    enabled = True


recording = _Recording()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this context (or a function it decorates) nothing is recorded in this thread.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     (t * t).requires_grad
    False
    """
    before, recording.enabled = recording.enabled, False
    try:
        yield
    finally:
        recording.enabled = before


_keys = itertools.count()


class HookHandle:
    """Takes a hook off again: call `remove()`, or use the handle as a context manager."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        if not callable(hook):
            raise TypeError(f"a hook is a function, not {hook!r}")
        self._hooks = hooks
        self._key = next(_keys)  # a number: the handle as key would be a cycle, and the hook outlive its tensor
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook off; doing so twice is harmless."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> "HookHandle":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def walk(
    seeds: dict["Tensor", Gradient],
    create_graph: bool = False,
    only: Container["Tensor"] | None = None,
    keep: Container["Tensor"] = (),
    hooks: bool = True,
) -> dict["Tensor", Gradient]:
    """The total gradient of each leaf that the seeds depend on, and of the tensors in `keep`: consumers before sources.

    With `only`, edges to tensors outside that set are left out. A seed that is an ExtendedArray makes all
    gradients below it ExtendedArrays. With `hooks=False` nobody is told: a picture of a graph must not be recorded.
    """
    gradients = dict(seeds)  # the sums so far, of what has not been visited yet
    kept = {}
    youngest_first = [(-tensor.node.order, tensor, tensor.node) for tensor in gradients if tensor.node is not None]
    heapify(youngest_first)
    while youngest_first:
        _, tensor, node = heappop(youngest_first)
        g = gradients.pop(tensor)
        if hooks and tensor._hooks:
            g = call_hooks(tensor, tensor._hooks, g)
        if tensor in keep:
            kept[tensor] = g
        values, kwargs = node.values, node.kwargs
        seen = (tensor, *node.checked_inputs(tensor)) if create_graph else (node.output, *values)
        arguments = (g, *seen)
        extended = isinstance(g, ExtendedArray)
        for index, source, rule in node.edges:
            if only is not None and source not in only:
                continue
            share = g.through(rule, *seen, **kwargs) if extended else rule(*arguments, **kwargs)
            value = values[index]
            try:
                if share.shape != value.shape or share.dtype is not value.dtype:
                    share = fit(share, value)
            except AttributeError as error:
                raise TypeError(f"the rule that gives {source.label} its gradient answered {share!r}") from error
            if source in gradients:
                gradients[source] = gradients[source] + share
            else:
                gradients[source] = share
                made_by = source.node
                if made_by is not None:
                    heappush(youngest_first, (-made_by.order, source, made_by))
    for leaf, g in gradients.items():  # what no operation made
        if hooks and leaf._hooks:
            gradients[leaf] = call_hooks(leaf, leaf._hooks, g)
    return kept | gradients


def below(roots: Iterable["Tensor"]) -> list["Tensor"]:
    """The roots and all that they were computed from, as far as it asks for gradients; each once."""
    found = dict.fromkeys(roots)
    unseen = list(found)
    while unseen:
        node = unseen.pop().node
        if node is not None:
            for _, source, _ in node.edges:
                if source not in found:
                    found[source] = None
                    unseen.append(source)
    return list(found)


def fit(g: Gradient, value: Any) -> Gradient:
    """Sum a gradient over the axes along which its argument was broadcast; give it the argument's dtype.

    A value used n times along an axis receives n shares, and its gradient is their sum.
    """
    if isinstance(g, ExtendedArray):
        return ExtendedArray(fit(g.mantissa, value), g.exponent).rescaled()
    if g.shape != value.shape:
        lead = g.ndim - value.ndim
        axes = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(value.shape) if n == 1)
        g = np.reshape(np.sum(g, axis=axes), value.shape) if lead >= 0 else g
        g = np.broadcast_to(g, value.shape)  # a rule may answer with less than the full shape
    return g if g.dtype == value.dtype else g.astype(value.dtype)


def call_hooks(tensor: "Tensor", hooks: dict[int, Hook], g: Gradient) -> Gradient:
    """Hand the total gradient to the tensor's hooks, in the order of their registration."""
    if isinstance(g, np.generic):
        g = np.asarray(g)
    for hook in tuple(hooks.values()):
        replacement = hook(g)
        if replacement is not None:
            if np.shape(replacement) != tensor.shape:
                raise ValueError(
                    f"a hook on {tensor.label} returned a gradient of shape {np.shape(replacement)}; "
                    f"the tensor has shape {tensor.shape}"
                )
            g = ExtendedArray(replacement) if isinstance(g, ExtendedArray) else replacement
    return g


def owned(gradients: Iterable[Gradient], given: Iterable[Gradient]) -> Iterator[Gradient]:
    """Gradients that their receivers may change in place: rules share arrays, return views and what they are given."""
    seen = {id(g): g for g in given}
    for g in gradients:
        if isinstance(g, np.ndarray):
            if g.base is not None or id(g) in seen:
                g = np.array(g)
            seen[id(g)] = g
        elif isinstance(g, np.generic):
            g = np.array(g)
        yield g


def backward(tensor: "Tensor", gradient: Any, create_graph: bool, extended_range: bool) -> None:
    """Add ∂tensor/∂leaf to the `.grad` of every leaf; see `Tensor.backward`."""
    if create_graph and extended_range:
        raise ValueError("backward cannot be recorded and have extended range at once; choose one")
    seed = tensor.seed(gradient, create_graph)
    totals = walk({tensor: ExtendedArray(seed) if extended_range else seed}, create_graph)
    sums = (g if leaf.grad is None else leaf.grad + g for leaf, g in totals.items())  # one at a time: the old one goes
    for leaf, g in zip(totals, owned(sums, [gradient]), strict=True):
        leaf.grad = g


def grad(
    outputs: "Tensor | Sequence[Tensor]",
    inputs: "Tensor | Sequence[Tensor]",
    grad_outputs: Any = None,
    create_graph: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` with respect to each of `inputs`, touching no `.grad`.

    Only the part of the graph between the two is visited. Inputs may be leaves or anything on the way.

    Args:
        outputs: a Tensor or a sequence of them.
        inputs: a Tensor or a sequence of them; each must ask for gradients and be used by the outputs.
        grad_outputs: for each output the cotangent to start from, of its shape; may be left out for outputs
            of one element, where it is 1.
        create_graph: record the gradients, so that they can be differentiated in their turn.

    Returns:
        A tuple with one gradient per input, of its shape and dtype: arrays, or with `create_graph` Tensors.

    Raises:
        TypeError: if an output or input is no Tensor.
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
            if not hasattr(tensor, "requires_grad"):
                raise TypeError(
                    f"{kind} {i} is no Tensor but {type(tensor).__name__}; "
                    "a gradient that is to be differentiated again needs create_graph=True"
                )
    given = tuple(grad_outputs) if isinstance(grad_outputs, list | tuple) else (grad_outputs,) * len(roots)
    if len(given) != len(roots):
        raise ValueError(f"grad got {len(roots)} outputs and {len(given)} grad_outputs; it needs one for each")
    seeds: dict[Tensor, Gradient] = {}
    for root, gradient in zip(roots, given, strict=True):
        seed = root.seed(gradient, create_graph)
        seeds[root] = seeds[root] + seed if root in seeds else seed
    found = walk(seeds, create_graph, only=on_the_way(seeds, targets), keep=set(targets))
    for i, target in enumerate(targets):
        if target not in found:
            raise ValueError(
                f"input {i} ({target.label}) does not take part in the outputs: "
                "its gradient would be 0 everywhere; was it made with requires_grad=True, and used?"
            )
    return tuple(owned((found[target] for target in targets), given))


def jvp(outputs: "Tensor | Sequence[Tensor]", inputs: "Tensor | Sequence[Tensor]", tangents: Any) -> tuple[Any, ...]:
    """How the outputs of a recorded graph move when its inputs move along `tangents`: forward-mode products J v.

    The gradient g = Jᵀu is linear in the cotangent u, and its own gradient in u, with v as cotangent, is J v: so the
    table of vector-Jacobian products serves for forward mode too, and nothing is perturbed.

    Args:
        outputs: a Tensor or a sequence of them.
        inputs: a Tensor or a sequence of them.
        tangents: for each input an array of its shape.

    Returns:
        A tuple with one array per output, of its shape.

    Raises:
        ValueError: as `grad` does; also if a tangent is missing.

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
    cotangents = [root.detach() for root in roots]  # any values do
    for cotangent in cotangents:
        cotangent.requires_grad = True
    gradients = grad(roots, targets, cotangents, create_graph=True)
    return grad(gradients, cotangents, list(given))


def on_the_way(roots: Iterable["Tensor"], targets: Iterable["Tensor"]) -> set["Tensor"]:
    """The tensors below the roots through which a target is reached, the targets among them."""
    users: dict[Tensor, list[Tensor]] = {}
    for tensor in below(roots):
        if tensor.node is not None:
            for _, source, _ in tensor.node.edges:
                users.setdefault(source, []).append(tensor)
    reached: set[Tensor] = set()
    unseen = list(targets)
    while unseen:
        tensor = unseen.pop()
        if tensor not in reached:
            reached.add(tensor)
            unseen += users.get(tensor, ())
    return reached
