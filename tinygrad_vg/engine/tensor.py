"""Tensor: an array that remembers how it was computed.

NumPy passes every call with a Tensor among its arguments to `record(function, args, kwargs)`, through its two protocols
`__array_ufunc__` and `__array_function__`. `record` runs the function on the arrays and, if a Tensor requires
gradients, keeps a `Node` in the output.
"""

import threading
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
from numpy import ndarray

from tinygrad_vg.engine import functions as functions  # it fills the registry
from tinygrad_vg.engine import rules as rules
from tinygrad_vg.engine.arithmetic import Arithmetic
from tinygrad_vg.engine.arrays import as_array, check_floats, refuse
from tinygrad_vg.engine.extended import EXTENDED, ExtendedArray
from tinygrad_vg.engine.graph import PLAIN, Call, Edge, Node, Plain, added, owned, start_of, walk
from tinygrad_vg.engine.hooks import Hook, HookHandle
from tinygrad_vg.engine.instead import advising, of_tensors, refuse_array
from tinygrad_vg.engine.operations import OPERATIONS, undefined, why_no_gradient
from tinygrad_vg.engine.recording import changes, recording
from tinygrad_vg.engine.written import writes

ACCUMULATING = threading.RLock()  # held while a backward adds to the `.grad` of its leaves


def record(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function on the arrays of its arguments, and keep a `Node` of the call if a Tensor requires gradients.

    Returns:
        A Tensor. A function whose value has no derivative, such as a comparison, returns a plain array instead.

    Raises:
        TypeError: if the function has no rule, its rule does not cover the call, or an argument is an np.matrix or has
            a mask.
    """
    operation = OPERATIONS.get(function) or undefined(function)
    rules = operation.rules
    if kwargs or len(args) > len(rules):  # also true for every call of an operation without rules
        if operation.kind == "composite":
            return operation.kernel(*args, **operation.checked(args, kwargs))
        kwargs = operation.checked(args, kwargs)
    values: list[Any] = []
    edges: list[Edge] = []
    found = False
    for index, argument in enumerate(args):
        if isinstance(argument, Tensor):
            found = True
            values.append(argument._data)
            if argument._asks:
                rule = rules[index]
                if rule is not None:
                    edges.append((index, argument, rule))
        else:
            if type(argument) is not ndarray and isinstance(argument, ndarray):
                refuse(argument)
            values.append(argument)
    if not found and rules:  # the Tensors are in a list
        raise TypeError(f"{operation.name} takes Tensors as arguments, not in a list; put them together by np.stack")
    output = operation.kernel(*values, **kwargs)
    if not rules and not (recording.everything and operation.kind in ("constant", "random")):
        return output if recording.trace is None else recording.trace.looked(operation, output)
    output = output if isinstance(output, ndarray) else np.asarray(output)
    tensor = Tensor.__new__(Tensor)  # does what the constructor does, without its checks
    tensor._data = output
    tensor.grad = tensor.name = tensor.node = tensor.call = tensor.hooks = None
    tensor._asks = False
    if edges and recording.enabled:
        if output.dtype.kind != "f":
            raise TypeError(why_no_gradient(operation, output.dtype))
        tensor.node = Node(operation, args, values, kwargs, output, edges)
        tensor._asks = True
    elif recording.everything:
        tensor.node = Node(operation, args, values, kwargs, output, [])
    return tensor


@advising(of_tensors())
class Tensor(Arithmetic["Tensor"]):
    """An array that remembers how it was computed, and can be differentiated.

    A leaf is a tensor that no recorded operation has made.

    Several threads may record and differentiate at once, also on the same leaves: no addition to a `.grad` is lost. A
    thread that differentiates while another one trains needs a copy.deepcopy of the network, or a lock.

    Args:
        array: anything `np.asarray` takes. An array is not copied and keeps its dtype; Python floats become float64.
        requires_grad: whether `backward` computes the gradient for this tensor, of real floating-point numbers.
        name: shown in messages and pictures.

    Attributes:
        data: the array. It may be rebound, as optimizers do; do not change it in place between a forward and its
            backward. `t.data *= 2` there is noticed, and the backward raises RuntimeError. `t.data[0] = 1`,
            `out=t.data` and writes into a batch of your own are noticed only inside `tg.checked()`.
        grad: None, or on a leaf the sum of the gradients of all backwards so far, an array of the shape and dtype of
            `data` (after `backward(create_graph=True)` a Tensor, after `extended_range=True` an ExtendedArray).
        node: the `Node` that says how the tensor was computed; None for a leaf.
        call: the call of the module that returned the tensor, which `engine.calls` reads; None if no module did.
        hooks: the hooks that `register_hook` has registered; None or empty if there are none.

    Raises:
        TypeError: if `requires_grad` is set for an array that is not of real floating-point numbers.

    >>> import numpy as np, tinygrad_vg as tg
    >>> t = tg.Tensor([1.0, 2.0], requires_grad=True, name="t")
    >>> cost = np.sum(np.exp(t) * t)
    >>> cost.backward()
    >>> round(cost.item(), 4), t.grad.round(4), t.label
    (17.4964, array([ 5.4366, 22.1672]), "tensor 't'")
    >>> tg.Tensor.record(np.negative, (t,), {})  # what NumPy calls for np.negative(t)
    Tensor([-1., -2.], requires_grad=True)
    """

    __slots__ = ("_data", "grad", "_asks", "name", "node", "call", "hooks", "__weakref__")

    record = staticmethod(record)
    _data: Any  # the slots behind `data` and `requires_grad`: `record` uses them, and a property would cost it time
    _asks: bool
    grad: Any
    name: str | None
    node: Node | None
    call: Call | None
    hooks: dict[int, Hook] | None

    def __init__(self, array: Any, requires_grad: bool = False, name: str | None = None) -> None:
        data = as_array(array)
        if requires_grad:
            check_floats(data.dtype)
        self._data = data
        self.grad = None
        self._asks = requires_grad
        self.name = name
        self.node = None
        self.call = None
        self.hooks = None

    def _assign(self, array: Any) -> None:
        if array is self._data:  # `t.data *= 2` has written into it
            writes.add(array)
        self._data = array

    data = property(attrgetter("_data"), _assign)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are asked for.

        It may be set on a leaf; True raises TypeError if the leaf holds other numbers than floats. A tensor computed
        from tensors that require gradients requires them too; False raises ValueError there.
        """
        return self._asks

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            check_floats(self.data.dtype)
        elif self.node is not None and self.node.edges:
            raise ValueError(f"{self.label} was computed from tensors that require gradients; write .detach()")
        self._asks = bool(value)
        changes.count += 1

    def backward(self, gradient: Any = None, create_graph: bool = False, extended_range: bool = False) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf it was computed from.

        Args:
            gradient: the cotangent ∂C/∂(this tensor) to start from, an array of this tensor's shape. It is 1 by
                default, for a tensor of one element.
            create_graph: record the backward pass itself, so that gradients can be differentiated again.
            extended_range: store every gradient as an array times a power of two, so that none is too small or too
                large for its float type. `.grad` and hooks then get an ExtendedArray.

        Raises:
            ValueError: if this tensor has no graph, `gradient` is missing or of the wrong shape, both options are asked
                for, or the `.grad` of a leaf was set to another shape.
            TypeError: if the data of a leaf was set to other numbers than floats.

        >>> import tinygrad_vg as tg
        >>> t = tg.Tensor([1.0, 2.0], requires_grad=True)
        >>> (t * t).backward([1.0, 10.0])
        >>> t.grad
        array([ 2., 40.])
        """
        if create_graph and extended_range:
            raise ValueError("backward cannot be recorded and have extended range at once; choose one")
        create_graph = (create_graph or recording.trace is not None) and not extended_range
        start = cotangent(self, gradient, create_graph)
        if extended_range:
            totals = walk({self: ExtendedArray(np.array(start))}, EXTENDED)  # a copy, for `start` may be the caller's
        else:
            totals = walk({self: start}, RECORDED if create_graph else PLAIN)
        with ACCUMULATING:
            # A generator, so that only one old gradient is alive beside its new sum.
            sums = (g if leaf.grad is None else added(leaf, g) for leaf, g in totals.items())
            for leaf, g in zip(totals, owned(sums, [gradient]), strict=True):
                leaf.grad = g

    def register_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(gradient)` with this tensor's total gradient in every backward that reaches it.

        The hook gets a read-only array (with `create_graph` in a Tensor, with `extended_range` in an ExtendedArray). It
        returns None, or a gradient of the same shape, with which the backward then goes on: a list, an array or a
        Tensor is copied in the dtype of `data`. A hook that another hook removes in the same backward is not called.

        Returns:
            A handle: `handle.remove()`, or use it as a context manager.

        Raises:
            ValueError: if this tensor does not require gradients: the hook would never be called.
            TypeError: if `hook` is not callable.

        >>> import tinygrad_vg as tg
        >>> t = tg.Tensor(2.0, requires_grad=True)
        >>> with t.register_hook(lambda g: print("gradient", g)):
        ...     (t * t).backward()
        gradient 4.0
        """
        if not self.requires_grad:
            raise ValueError(f"{self.label} does not require gradients, so a hook on it would never be called")
        if self.hooks is None:
            self.hooks = {}
        return HookHandle(self.hooks, hook)

    def detach(self) -> "Tensor":
        """A tensor with the same array and no graph.

        >>> import tinygrad_vg as tg
        >>> (2 * tg.Tensor(1.0, requires_grad=True)).detach().requires_grad
        False
        """
        return Tensor(self.data, name=self.name)

    def item(self) -> float:
        """The value of a tensor of one element, as a Python number.

        Raises:
            ValueError: if the tensor has several elements.
        """
        array = self.data if recording.trace is None else recording.trace.refuse(".item()")
        return array.item()  # type: ignore[no-any-return]

    @property
    def label(self) -> str:
        """What error messages call this tensor."""
        if self.name:
            return f"tensor '{self.name}'"
        return f"the output of {self.node.operation.name}" if self.node else "a tensor"

    def __repr__(self) -> str:
        kind = type(self).__name__
        rows = np.array2string(self.data, separator=", ", prefix=f"{kind}(")
        name = f", name={self.name!r}" if self.name else ""
        return f"{kind}({rows}{', requires_grad=True' if self.requires_grad else ''}{name})"

    def __format__(self, spec: str) -> str:
        array = self.data if recording.trace is None else recording.trace.refuse("a text of a tensor")
        return format(array, spec) if spec else repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy or pickle the data and the name. Gradients and hooks are left out; a tensor with a graph is refused."""
        if self.node is not None:
            raise TypeError(f"{self.label} has a graph, which cannot be copied; copy its .detach()")
        return type(self), (self.data, self.requires_grad, self.name)

    # These conversions would drop the gradient silently. Each raises an error that says what to write instead.

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_array(recording.trace)

    def __float__(self) -> float:
        if recording.trace is not None:
            recording.trace.refuse("float() or int()")
        raise TypeError("turning a Tensor into a number would drop its gradient; write .item()")

    def __index__(self) -> int:
        raise TypeError("a Tensor cannot be an index; write .item() or .data")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be changed in place: the graph keeps the arrays of the forward pass; "
            "write t = np.where(mask, value, t), or change .data before it is used"
        )


def cotangent(tensor: Tensor, gradient: Any = None, recorded: bool = False) -> Any:
    """`start_of` a walk from this tensor; for a walk that is recorded, as a Tensor."""
    start = start_of(tensor, gradient)
    if not recorded:
        return start
    if not isinstance(gradient, Tensor):
        return Tensor(start)
    return gradient if gradient.dtype == start.dtype else gradient.astype(start.dtype)


class Recorded(Plain):
    """The mode of a walk that is recorded itself: gradients are Tensors, and rules are called on Tensors."""

    def seen(self, vertex: Any, node: Node) -> tuple[Any, ...]:
        """The output and the arguments, as Tensors.

        Raises:
            RuntimeError: if the data of one of them is no longer the array that the forward pass saw.
        """
        for now, then in ((vertex, node.output), *zip(node.inputs, node.values, strict=True)):
            if isinstance(now, Tensor) and now.data is not then:
                raise RuntimeError(
                    f"{now.label} was given new data after {node.operation.name} had used it; "
                    "call backward(create_graph=True) before the update"
                )
        return (vertex, *node.inputs)

    def shown(self, g: Any) -> Any:
        view = g.reshape(g.shape)  # recorded, as are the calls that a hook makes on it
        view.data.setflags(write=False)
        return view

    def replaced(self, replacement: Any, vertex: Any) -> Any:
        if not isinstance(replacement, Tensor):
            return Tensor(super().replaced(replacement, vertex))
        return replacement if replacement.dtype == vertex.dtype else replacement.astype(vertex.dtype)


RECORDED = Recorded()
