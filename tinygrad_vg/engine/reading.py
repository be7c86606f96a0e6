"""Functions that read a recorded graph, for instruments and pictures. They change no `.grad` and call no hook."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg.engine.extended import EXTENDED, ExtendedArray
from tinygrad_vg.engine.graph import Node, V, walk
from tinygrad_vg.engine.operations import Rule
from tinygrad_vg.engine.tensor import Tensor, cotangent


class ModuleCall(NamedTuple):
    """A call of a module: the module, and the arguments of the call. `calls` returns such calls.

    >>> import tinygrad_vg as tg
    >>> (call,) = calls(tg.nn.Linear(2, 1, rng=0)(np.ones((5, 2))))
    >>> call.module, call.inputs[0].shape
    (Linear(2, 1), (5, 2))
    """

    module: Any
    inputs: tuple[Any, ...]


def calls(tensor: Tensor) -> list[ModuleCall]:
    """The calls of modules that returned a tensor, the innermost first.

    The call of a module that returned its input unchanged, such as Identity, has no inputs here.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.mlp([2, 3, 1], rng=0)
    >>> [type(call.module).__name__ for call in calls(net(np.ones((1, 2))))]
    ['Linear', 'Sequential']
    """
    found, call = [], tensor.call
    while call is not None:
        module, inputs, call = call
        found.append(ModuleCall(module, inputs))
    return found[::-1]


def ancestors(roots: Iterable[V]) -> list[V]:
    """The roots and all vertices that they were computed from and that require gradients, each once.

    >>> import tinygrad_vg as tg
    >>> a = tg.Tensor(2.0, requires_grad=True, name="a")
    >>> [tensor.label for tensor in ancestors([a * a])]
    ['the output of np.multiply', "tensor 'a'"]
    """
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


def between(roots: Iterable[V], targets: Iterable[V]) -> set[V]:
    """The vertices in the graph of the roots that were computed from a target, and the targets themselves.

    >>> import tinygrad_vg as tg
    >>> a, b = (tg.Tensor(2.0, requires_grad=True, name=name) for name in "ab")
    >>> sorted(tensor.label for tensor in between([a * np.exp(b)], [a]))
    ["tensor 'a'", 'the output of np.multiply']
    """
    users: dict[V, list[V]] = {}
    for vertex in ancestors(roots):
        if vertex.node is not None:
            for _, source, _ in vertex.node.edges:
                users.setdefault(source, []).append(vertex)
    reached: set[V] = set()
    unseen = list(targets)
    while unseen:
        vertex = unseen.pop()
        if vertex not in reached:
            reached.add(vertex)
            unseen += users.get(vertex, ())
    return reached


def cotangents(cost: Tensor, gradient: Any = None, of: Iterable[Tensor] | None = None) -> dict[Tensor, ExtendedArray]:
    """∂cost/∂t for the tensors t of a recorded graph, in extended range, so that none of them underflows.

    Args:
        cost: a recorded tensor.
        gradient: the cotangent to start from, of the cost's shape; 1 for a cost of one element.
        of: the tensors t; all of the graph if None. Only the operations between them and the cost are visited.

    Returns:
        The gradients by tensor, youngest first. Tensors in `of` that the cost does not depend on are left out.

    Raises:
        ValueError: if the cost has no graph, or `gradient` is missing or of another shape.

    >>> import tinygrad_vg as tg
    >>> a = tg.Tensor(3.0, requires_grad=True)
    >>> float(cotangents(a * a)[a])
    6.0
    """
    starts = {cost: ExtendedArray(cotangent(cost, gradient))}
    if of is None:
        return walk(starts, EXTENDED, keep=set(ancestors([cost])), hooks=False)
    wanted = set(of)
    return walk(starts, EXTENDED, only=between([cost], wanted), keep=wanted, hooks=False)


def share(node: Node, edge: tuple[int, Any, Rule], g: ExtendedArray) -> ExtendedArray:
    """The part of the gradient `g` at a node's output that one edge passes on, in the shape of the edge's argument.

    >>> import tinygrad_vg as tg
    >>> a = tg.Tensor(3.0, requires_grad=True)
    >>> square = a * a
    >>> [float(share(square.node, edge, ExtendedArray(1.0))) for edge in square.node.edges]
    [3.0, 3.0]
    """
    index, _, rule = edge
    return EXTENDED.fit(EXTENDED.apply(rule, (g, node.output, *node.values), node.kwargs), node.values[index])


def local_derivative(node: Node, rule: Rule) -> Any:
    """The derivative of a recorded operation with respect to one of its arguments: that argument's rule applied to 1.

    For an elementwise function the result holds its slopes, for a function of single numbers its derivative.

    >>> import tinygrad_vg as tg
    >>> y = tg.ops.sigmoid(tg.Tensor([0.0, 2.0], requires_grad=True))
    >>> ((_, _, rule),) = y.node.edges
    >>> local_derivative(y.node, rule).round(3)
    array([0.25 , 0.105])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # the values of an exploded network may be infinite
        return rule(np.ones_like(node.output), node.output, *node.values, **node.kwargs)
