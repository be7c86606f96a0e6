"""The graph of recorded operations, and the walk back over it.

The gradient of a vertex is the *sum* over its consumers, so the walk may visit a vertex only after all its consumers.
In `b = a + a; c = b + b`, a visit of b after only one of c's two terms would pass on half of b's gradient. Every
consumer of a vertex is younger than the vertex; therefore the walk goes from the youngest operation to the oldest. It
does not recurse: a graph may be 200,000 operations deep, and a vertex with 2⁶⁰ paths to it is visited once.

This module does not import Tensor. `Vertex` states what a graph needs of one.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Protocol, TypeVar

import numpy as np

from tinygrad_vg.engine.arrays import as_array, check_floats
from tinygrad_vg.engine.hooks import LISTENERS, Gradient, Hook, Walk, call_hooks
from tinygrad_vg.engine.operations import Operation, Recordable, Rule
from tinygrad_vg.engine.recording import recording
from tinygrad_vg.engine.written import check, orders, writes

Edge = tuple[int, Any, Rule]  # the argument's index, the argument (a vertex), its rule

# The call of a module that returned a vertex: the module, its arguments, and the call inside that returned the same
# vertex, such as that of a Sequential's last module. It is a tuple because every call of a module makes one.
Call = tuple[Any, tuple[Any, ...], Any]


class Vertex(Protocol):
    """What a graph needs of a Tensor."""

    data: Any
    grad: Any
    node: "Node | None"
    hooks: "dict[int, Hook] | None"

    @property
    def requires_grad(self) -> bool: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def label(self) -> str: ...


V = TypeVar("V", bound=Vertex)


class Node:
    """How a vertex was computed: `output = operation.kernel(*values, **kwargs)`.

    A Node keeps the arrays that the forward pass saw, so a weight that is rebound later does not disturb its
    gradients. It does not refer to the vertex it made, only to that vertex's array: there is no reference cycle, and
    a graph is freed the moment its last vertex is dropped.

    Attributes:
        operation: the function's `Operation`.
        inputs: the arguments as they were given: Tensors, arrays, numbers ...
        values: the same arguments, with an array in place of each Tensor.
        kwargs: the options of the call.
        output: the array that the kernel returned.
        edges: (index, vertex, rule) for each argument that requires gradients.
        order: the number of nodes and of noticed writes before this one. It is larger than the order of any argument's
            node.
        checksums: of the arrays that it holds, if it was recorded inside `checked()`.

    >>> import tinygrad_vg as tg
    >>> (2 * tg.Tensor(1.0, requires_grad=True)).node.function
    <ufunc 'multiply'>
    """

    __slots__ = ("operation", "inputs", "values", "kwargs", "output", "edges", "order", "checksums")

    def __init__(
        self,
        operation: Operation,
        inputs: tuple[Any, ...],
        values: list[Any],
        kwargs: dict[str, Any],
        output: Any,
        edges: list[Edge],
    ) -> None:
        self.operation = operation
        self.inputs = inputs
        self.values = values
        self.kwargs = kwargs
        self.output = output
        self.edges = edges
        self.order = next(orders)
        note = recording.note
        self.checksums = note(self) if note is not None else None

    @property
    def function(self) -> Callable[..., Any]:
        """The function that was called."""
        return self.operation.function


class Plain:
    """The plain mode of a walk: gradients are arrays, and rules are called on the arrays that the forward pass saw.

    A mode is how a walk represents a gradient and applies a rule. The other modes, subclasses of this one, are
    `Recorded` (Tensors) and `Extended` (ExtendedArrays).

    Attributes:
        seen: `seen(vertex, node)` returns the output and the arguments that the rules are given. None stands for the
            node's arrays.
        apply: `apply(rule, arguments, kwargs)` returns the rule's result. None stands for a call of the rule.
    """

    seen: Callable[[Any, Node], tuple[Any, ...]] | None = None
    apply: Callable[[Rule, tuple[Any, ...], dict[str, Any]], Gradient] | None = None

    def fit(self, g: Gradient, value: Any) -> Gradient:
        """The gradient `g` of an argument, in the shape and dtype of the argument's array `value`."""
        return fit(g, value)

    def shown(self, g: Gradient) -> Gradient:
        """The gradient as a hook gets it: a read-only view, of which `owned` makes a copy for `.grad`."""
        view = g[...]
        view.setflags(write=False)
        return view

    def replaced(self, replacement: Any, vertex: Any) -> Gradient:
        """A hook's return value, as a gradient of this mode: an array of its own, in the tensor's dtype."""
        given = replacement.data if isinstance(replacement, Recordable) else replacement
        return np.array(as_array(given, vertex.data.dtype))


PLAIN = Plain()


def walk(
    starts: dict[V, Gradient],
    mode: Plain = PLAIN,
    only: Container[V] | None = None,
    keep: Collection[V] = (),
    hooks: bool = True,
) -> dict[V, Gradient]:
    """The total gradients of the leaves of a graph, and of the vertices in `keep`.

    Args:
        starts: the vertices where the walk starts, each with its cotangent.
        mode: how gradients are represented and rules applied.
        only: the vertices to visit; all if None.
        keep: vertices other than leaves whose gradients are to be returned too.
        hooks: whether hooks and listeners are called; a picture's walk calls none.

    Returns:
        The gradients by vertex: first those in `keep`, consumers before their arguments, then those of the leaves.

    Raises:
        TypeError: if a rule returns something that is not a gradient.
        ValueError: if a hook returns a gradient of another shape.
        RuntimeError: if an array that the graph holds was written into, and the write was noticed.

    >>> import tinygrad_vg as tg
    >>> a = tg.Tensor(3.0, requires_grad=True)
    >>> walk({a * a: np.ones(())})[a].item()
    6.0
    """
    if hooks and recording.trace is not None:
        return recording.trace.walk(starts, mode, only, keep)  # type: ignore[no-any-return]
    if hooks and LISTENERS:
        return _told(starts, mode, only, keep)
    kept: dict[Any, Gradient] = {}
    return kept | _visit(starts, mode, only, keep, hooks, kept)


def _told(starts: dict[V, Gradient], mode: Plain, only: Container[V] | None, keep: Collection[V]) -> dict[V, Gradient]:
    """`walk`, with calls of the listeners before and after it."""
    under_way = Walk(starts, set(keep))
    try:
        for key, listener in tuple(LISTENERS.items()):
            if key in LISTENERS:  # another listener may just have removed it
                listener(under_way)
        totals = _visit(starts, mode, only, under_way.wanted, True, under_way.gradients)
        kept = {vertex: g for vertex, g in under_way.gradients.items() if vertex in keep}
        under_way.gradients |= totals
    finally:
        _end(under_way)
    return kept | totals


def _end(under_way: Walk) -> None:
    """Call all callbacks of the end, also if one of them raises; then the walk no longer holds them."""
    while under_way.callbacks:
        try:
            under_way.callbacks.pop(0)(under_way)
        finally:
            _end(under_way)


def _visit(
    starts: dict[Any, Gradient],
    mode: Plain,
    only: Container[Any] | None,
    wanted: Container[Any],
    hooks: bool,
    kept: dict[Any, Gradient],
) -> dict[Any, Gradient]:
    """Walk back; put the gradients of the wanted vertices into `kept`, and return those of the leaves."""
    gradients = dict(starts)  # the sums so far, of the vertices that have not been visited
    apply, seen = mode.apply, mode.seen
    youngest_first = [(-vertex.node.order, vertex, vertex.node) for vertex in gradients if vertex.node is not None]
    heapify(youngest_first)
    while youngest_first:
        _, vertex, node = heappop(youngest_first)
        g = gradients.pop(vertex)
        if hooks and vertex.hooks:
            g = call_hooks(vertex, g, mode)
        if vertex in wanted:
            kept[vertex] = g
        if writes.latest > node.order or node.checksums is not None:
            check(node)
        values, kwargs = node.values, node.kwargs
        arguments = (g, node.output, *values) if seen is None else (g, *seen(vertex, node))
        for index, source, rule in node.edges:
            if only is not None and source not in only:
                continue
            share = rule(*arguments, **kwargs) if apply is None else apply(rule, arguments, kwargs)
            value = values[index]
            try:
                if share.shape != value.shape or share.dtype is not value.dtype:
                    share = mode.fit(share, value)
            except AttributeError as error:
                raise TypeError(why_no_share(share, value, source)) from error
            if source in gradients:
                gradients[source] = gradients[source] + share
            else:
                gradients[source] = share
                made_by = source.node
                if made_by is not None:
                    heappush(youngest_first, (-made_by.order, source, made_by))
    for leaf, g in gradients.items():  # only leaves are left: no operation made them
        if hooks and leaf.hooks:
            gradients[leaf] = call_hooks(leaf, g, mode)
    return gradients


def start_of(vertex: Vertex, gradient: Any = None) -> Any:
    """The cotangent that a walk from this vertex starts with: the one given, or 1 for a single element.

    Raises:
        ValueError: if the vertex has no graph, or `gradient` is missing or of another shape than the vertex.
    """
    if not vertex.requires_grad:
        raise ValueError(f"{vertex.label} has no gradient: nothing it was computed from requires gradients")
    data = vertex.data
    if gradient is not None:
        start = as_array(gradient.data if isinstance(gradient, Recordable) else gradient, data.dtype)
        if start.shape != data.shape:
            raise ValueError(f"the gradient of {vertex.label} must have shape {data.shape}, not {start.shape}")
        return start
    if data.size != 1:
        raise ValueError(
            f"{vertex.label} has shape {data.shape}: only a tensor of one element has a gradient by default; "
            "sum it, or pass the cotangent of each element as gradient"
        )
    one = np.ones(data.shape, data.dtype)
    one.flags.writeable = False  # so that a compiled step can rely on its value
    return one


def fit(g: Any, value: Any) -> Any:
    """Sum a gradient over the axes along which its argument was broadcast, and cast it to the argument's dtype.

    An element that broadcasting used n times along an axis has the sum of n gradients.

    >>> fit(np.ones((5, 2)), np.zeros(2))
    array([5., 5.])

    Raises:
        TypeError: if the argument is not an array of floating-point numbers, whose gradient would be rounded to 0.
    """
    if g.dtype is not value.dtype:
        check_floats(value.dtype)
    if g.shape != value.shape:
        lead = g.ndim - value.ndim
        axes = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(value.shape) if n == 1)
        if lead >= 0:
            lengths, g = g.shape[lead:], np.sum(g, axis=axes)
            kept = (1 if n == 1 else length for n, length in zip(value.shape, lengths, strict=True))
            g = np.reshape(g, value.shape if g.size == value.size else tuple(kept))
        g = np.broadcast_to(g, value.shape)  # a rule may return a shape that broadcasts to the argument's
    return g if g.dtype == value.dtype else g.astype(value.dtype)


def why_no_share(share: Any, value: Any, source: Vertex) -> str:
    """The message for a rule's result that cannot be fitted to its argument."""
    if isinstance(value, np.ndarray | np.generic):
        return f"the rule for the gradient of {source.label} returned {share!r}"
    return f"the data of {source.label} is no array but {value!r}; write .data = np.asarray(...)"


def added(leaf: Vertex, g: Any) -> Any:
    """The sum of the leaf's gradient so far and a further one, in the further one's dtype.

    Raises:
        ValueError: if `.grad` was set to another shape, which would broadcast in the sum.
    """
    before = leaf.grad
    if np.shape(before) != g.shape:
        raise ValueError(
            f"the .grad of {leaf.label} was set to shape {np.shape(before)}, and the tensor has shape {leaf.shape}; "
            "write .grad = None to start anew"
        )
    total = before + g
    return total.astype(g.dtype) if isinstance(total, np.ndarray) and total.dtype is not g.dtype else total


def owned(gradients: Iterable[Gradient], given: Iterable[Gradient]) -> Iterator[Gradient]:
    """Each gradient as an array of its own, or as a Tensor with an array of its own.

    It copies gradients that are views, that occur earlier among `gradients`, or that belong to the caller (`given`).
    """
    seen = {id(array): array for array in map(_array_in, given)}
    for g in gradients:
        array = _array_in(g)
        if isinstance(array, np.ndarray):
            if array.base is not None or id(array) in seen:
                g = np.array(g) if array is g else np.positive(g)  # of a Tensor, and recorded
            seen[id(array := _array_in(g))] = array
        elif isinstance(g, np.generic):
            g = np.array(g)
        yield g


def _array_in(g: Any) -> Any:
    return g.data if isinstance(g, Recordable) else g
