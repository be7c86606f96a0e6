"""The graph: how arrays came about, and the walk back over it, consumers first.

A vertex's gradient is the *sum* over its consumers, so a vertex may be visited only when all of them have been: in
`b = a + a; c = b + b`, visiting b after only one of c's two terms would hand on a half of its gradient. So the walk
goes from the youngest operation to the oldest: whoever consumes a vertex is younger than it. Nothing recurses: a graph
may be 200,000 operations deep, and a vertex reached along 2⁶⁰ paths is still visited once.

This module knows no Tensor, only what a graph needs of one: `Vertex`.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Protocol, TypeVar

import numpy as np

from tinygrad_vg.engine.arrays import as_array, check_floats
from tinygrad_vg.engine.hooks import LISTENERS, Gradient, Hook, Walk, call_hooks
from tinygrad_vg.engine.operations import Operation, Recordable, Rule
from tinygrad_vg.engine.recording import recording
from tinygrad_vg.engine.written import WRITTEN, check, checksums, orders

Edge = tuple[int, Any, Rule]  # which argument of the operation, the vertex that it is, the rule that leads there


# The call of a module that put a vertex out: the module, its arguments, and the call inside that had put out the same
# vertex before, as that of a Sequential's last module. A tuple, for every call of every module makes one.
Call = tuple[Any, tuple[Any, ...], Any]


class Vertex(Protocol):
    """What a graph needs of a Tensor."""

    data: Any
    grad: Any
    node: "Node | None"
    hooks: "dict[int, Hook] | None"

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
        values: the same with an array in place of each Tensor.
        kwargs: the options.
        output: the array that was made.
        edges: an (index, vertex, rule) for each argument that asks for gradients.
        order: an operation's is larger than those of its arguments.
        checksums: of the arrays it holds, if it was recorded inside `checked()`.
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
        self.checksums = checksums(self) if recording.checked else None

    @property
    def function(self) -> Callable[..., Any]:
        """The function that was called."""
        return self.operation.function


class Plain:
    """The plain way to walk: gradients are arrays, and rules are called on the arrays that the forward pass saw.

    A walk asks its mode for everything that depends on what a gradient is; other modes override what differs.

    Attributes:
        seen: `seen(vertex, node)` are output and arguments as the rules shall see them; None: the node's arrays.
        apply: `apply(rule, arguments, kwargs)` is the rule's answer; None: the rule is simply called.
    """

    seen: Callable[[Any, Node], tuple[Any, ...]] | None = None
    apply: Callable[[Rule, tuple[Any, ...], dict[str, Any]], Gradient] | None = None

    def fit(self, g: Gradient, value: Any) -> Gradient:
        """The gradient in the shape and dtype of the argument that it belongs to."""
        return fit(g, value)

    def shown(self, g: Gradient) -> Gradient:
        """The gradient as a hook gets it: a read-only view, of which `owned` makes a copy for `.grad`."""
        view = g[...]
        view.setflags(write=False)
        return view

    def replaced(self, replacement: Any, vertex: Any) -> Gradient:
        """What a hook has returned, as a gradient: an array of its own, in the tensor's dtype."""
        given = replacement.data if isinstance(replacement, Recordable) else replacement
        return np.array(as_array(given, vertex.data.dtype))


PLAIN = Plain()


def walk(
    seeds: dict[V, Gradient],
    mode: Plain = PLAIN,
    only: Container[V] | None = None,
    keep: Collection[V] = (),
    hooks: bool = True,
) -> dict[V, Gradient]:
    """The total gradient of each leaf below the seeds, and of the vertices in `keep`: consumers before sources.

    Args:
        seeds: the gradients to start from.
        mode: what a gradient is, and so how rules are applied.
        only: the vertices to visit; all if None.
        keep: vertices whose gradients are wanted although they are no leaves.
        hooks: False if nobody shall be told: a picture of a graph must not be recorded.

    Raises:
        TypeError: if a rule answers with what is no gradient.
        ValueError: if a hook returns a gradient of another shape.
        RuntimeError: if an array that the graph holds was written into, and it was noticed.
    """
    if hooks and LISTENERS:
        return _told(seeds, mode, only, keep)
    kept: dict[Any, Gradient] = {}
    return kept | _visit(seeds, mode, only, keep, hooks, kept)


def _told(seeds: dict[V, Gradient], mode: Plain, only: Container[V] | None, keep: Collection[V]) -> dict[V, Gradient]:
    """The same, with those who listen."""
    under_way = Walk(seeds, set(keep))
    for key, listener in tuple(LISTENERS.items()):
        if key in LISTENERS:  # no other listener has just taken it off
            listener(under_way)
    try:
        totals = _visit(seeds, mode, only, under_way.wanted, True, under_way.gradients)
        kept = {vertex: g for vertex, g in under_way.gradients.items() if vertex in keep}
        under_way.gradients |= totals
    finally:
        for callback in under_way.callbacks:
            callback(under_way)
    return kept | totals


def _visit(
    seeds: dict[Any, Gradient],
    mode: Plain,
    only: Container[Any] | None,
    wanted: Container[Any],
    hooks: bool,
    kept: dict[Any, Gradient],
) -> dict[Any, Gradient]:
    """Walk; put the gradients of what is wanted into `kept`, and return those of the leaves."""
    gradients = dict(seeds)  # the sums so far, of what has not been visited yet
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
        if WRITTEN or node.checksums is not None:
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
    for leaf, g in gradients.items():  # what no operation made
        if hooks and leaf.hooks:
            gradients[leaf] = call_hooks(leaf, g, mode)
    return gradients


def fit(g: Any, value: Any) -> Any:
    """Sum a gradient over the axes along which its argument was broadcast; give it the argument's dtype.

    A value used n times along an axis receives n shares, and its gradient is their sum.

    Raises:
        TypeError: if the argument holds other numbers than floats: its gradient would be rounded to 0.
    """
    if g.dtype is not value.dtype:
        check_floats(value.dtype)
    if g.shape != value.shape:
        lead = g.ndim - value.ndim
        axes = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(value.shape) if n == 1)
        g = np.reshape(np.sum(g, axis=axes), value.shape) if lead >= 0 else g
        g = np.broadcast_to(g, value.shape)  # a rule may answer with less than the full shape
    return g if g.dtype == value.dtype else g.astype(value.dtype)


def why_no_share(share: Any, value: Any, source: Vertex) -> str:
    """Why what a rule answered cannot be fitted to its argument."""
    if isinstance(value, np.ndarray | np.generic):
        return f"the rule that gives {source.label} its gradient answered {share!r}"
    return f"the data of {source.label} is no array but {value!r}; write .data = np.asarray(...)"


def added(leaf: Vertex, g: Any) -> Any:
    """The leaf's gradient so far plus a further one, in its dtype.

    Raises:
        ValueError: if somebody has given the leaf a gradient of another shape, which the sum would take.
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
    """Each gradient as an array of its own: copies those that are views, or stand here or among the given before."""
    seen = {id(g): g for g in given}
    for g in gradients:
        if isinstance(g, np.ndarray):
            if g.base is not None or id(g) in seen:
                g = np.array(g)
            seen[id(g)] = g
        elif isinstance(g, np.generic):
            g = np.array(g)
        yield g
