"""Tensor: an array that remembers how it was computed.

NumPy hands every call that holds a Tensor to `record(function, args, kwargs)`, through its two protocols
`__array_ufunc__` and `__array_function__`. `record` runs the function on the arrays and, if a Tensor asks for
gradients, keeps a `Node`. Nothing else is needed to know how an output came about.
"""

import itertools
import operator
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, cast

import numpy as np

from tinygrad_vg.backward import Hook, HookHandle, backward, recording
from tinygrad_vg.rules import CONSTANT, SPELLED, TABLE, Entry, Rule, refuse_options


class Tensor:
    """An array that remembers how it was computed, and can be differentiated.

    Args:
        array: anything `np.asarray` takes. An array is not copied and keeps its dtype; Python floats become
            float64.
        requires_grad: ask for the gradient of what is computed from this tensor. Only real floating-point
            arrays have one.
        name: shown in messages and drawings.

    Attributes:
        data: the array. It may be rebound, as optimizers do; do not change it in place between a forward and
            its backward.
        grad: None, or on a leaf the sum of the gradients of all backwards so far, an array of the shape and
            dtype of `data` (after `backward(create_graph=True)` a Tensor, after `backward(extended_range=True)`
            an ExtendedArray).
        node: how the tensor was computed, a `Node`; None for a leaf.

    Raises:
        TypeError: if gradients are asked for an array that is not of real floating-point numbers.

    >>> import numpy as np, tinygrad_vg as tg
    >>> t = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> np.sum(np.exp(t) * t).backward()
    >>> t.grad.round(4)
    array([ 5.4366, 22.1672])
    """

    __slots__ = ("data", "grad", "requires_grad", "name", "node", "_hooks", "__weakref__")

    version = 0  # a Parameter's counts how often an optimizer has written into its array
    data: Any
    grad: Any
    requires_grad: bool
    name: str | None
    node: "Node | None"
    _hooks: dict[int, Hook] | None

    def __init__(self, array: Any, requires_grad: bool = False, name: str | None = None) -> None:
        data = np.asarray(array)
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"only arrays of real floating-point numbers have gradients, not {data.dtype}")
        self.data = data
        self.grad = None
        self.requires_grad = requires_grad
        self.name = name
        self.node = None
        self._hooks = None

    # The gradient.

    def backward(self, gradient: Any = None, create_graph: bool = False, extended_range: bool = False) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf it was computed from.

        Args:
            gradient: the cotangent to start from, an array of this tensor's shape; 1 for one element.
            create_graph: record the backward pass itself, so that gradients can be differentiated again.
            extended_range: give every gradient a power of two beside its array, so that none is too small or
                too large for its float type; `.grad` and hooks then get an ExtendedArray.

        Raises:
            ValueError: if this tensor has no graph, `gradient` is missing or of the wrong shape, or both options
                are asked for.
        """
        backward(self, gradient, create_graph, extended_range)

    def register_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(gradient)` with this tensor's total gradient in every backward that reaches it.

        The hook gets an array (with `create_graph` a Tensor), not to be changed in place. It returns None, or
        a replacement of the same shape, which is what the walk then goes on with.

        Returns:
            A handle: `handle.remove()`, or use it as a context manager.

        Raises:
            ValueError: if this tensor does not ask for gradients: the hook would never be called.

        >>> import tinygrad_vg as tg
        >>> t = tg.Tensor(2.0, requires_grad=True)
        >>> with t.register_hook(lambda g: print("gradient", g)):
        ...     (t * t).backward()
        gradient 4.0
        """
        if not self.requires_grad:
            raise ValueError(f"{self.label} does not require gradients, so a hook on it would never be called")
        if self._hooks is None:
            self._hooks = {}
        return HookHandle(self._hooks, hook)

    def detach(self) -> "Tensor":
        """A tensor with the same array and no history."""
        return Tensor(self.data, name=self.name)

    def seed(self, gradient: Any = None, create_graph: bool = False) -> Any:
        """The cotangent that a walk from this tensor starts with: `gradient`, checked, or 1 for a single element."""
        if not self.requires_grad:
            raise ValueError(f"{self.label} has no gradient: nothing it was computed from requires one")
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(
                    f"{self.label} has shape {self.shape}: only a tensor of one element has a gradient by itself; "
                    "sum it, or pass the cotangent of each element as gradient"
                )
            seed = np.asarray(1, self.data.dtype).reshape(self.data.shape)
        else:
            seed = gradient.data if isinstance(gradient, Tensor) else np.asarray(gradient, self.data.dtype)
            if seed.shape != self.data.shape:
                raise ValueError(f"the gradient of {self.label} must have shape {self.shape}, not {seed.shape}")
        if not create_graph:
            return seed
        return gradient if isinstance(gradient, Tensor) else Tensor(seed)

    # What arrays have.

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self.data.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        return self.data.size  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype  # type: ignore[no-any-return]

    @property
    def T(self) -> "Tensor":
        return record(np.transpose, (self,), {})

    @property
    def mT(self) -> "Tensor":
        return record(np.swapaxes, (self, -1, -2), {})

    def item(self) -> float:
        """The one element, as a Python number."""
        return self.data.item()  # type: ignore[no-any-return]

    @property
    def label(self) -> str:
        """How messages speak of this tensor."""
        if self.name:
            return f"tensor '{self.name}'"
        return f"the output of {name_of(self.node.function)}" if self.node else "a tensor"

    def __repr__(self) -> str:
        kind = type(self).__name__
        rows = np.array2string(self.data, separator=", ", prefix=f"{kind}(")
        name = f", name={self.name!r}" if self.name else ""
        return f"{kind}({rows}{', requires_grad=True' if self.requires_grad else ''}{name})"

    def __format__(self, spec: str) -> str:
        return format(self.data, spec) if spec else repr(self)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copying and pickling carry the data; gradients and hooks stay behind, a history cannot come along."""
        if self.node is not None:
            raise TypeError(f"{self.label} has a history, which cannot be copied; copy its .detach()")
        return type(self), (self.data, self.requires_grad, self.name)

    # Where a gradient would be lost without a word, an error says what to write.

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "turning a Tensor into an array would drop its gradient; "
            "write .data for the array, or np.stack([...]) to put Tensors together"
        )

    def __float__(self) -> float:
        raise TypeError("turning a Tensor into a number would drop its gradient; write .item()")

    def __index__(self) -> int:
        raise TypeError("a Tensor cannot be an index; write .item() or .data")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be changed in place: the graph keeps the arrays of the forward pass; "
            "write t = np.where(mask, value, t), or change .data before it is used"
        )

    # NumPy's two protocols.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise TypeError(
                f"{name_of(ufunc)}.{method} of a Tensor is not supported; "
                "write it with np.sum, np.prod, np.cumsum, broadcasting or indexing"
            )
        return record(ufunc, inputs, kwargs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return record(function, args, kwargs)

    # Operators are NumPy's functions. There are no in-place ones: Python then rebinds `t += 1` to `t = t + 1`.

    __hash__ = object.__hash__

    # fmt: off
    def __pos__(self) -> "Tensor": return record(np.positive, (self,), {})
    def __neg__(self) -> "Tensor": return record(np.negative, (self,), {})
    def __abs__(self) -> "Tensor": return record(np.absolute, (self,), {})
    def __add__(self, other: Any) -> "Tensor": return record(np.add, (self, other), {})
    def __radd__(self, other: Any) -> "Tensor": return record(np.add, (other, self), {})
    def __sub__(self, other: Any) -> "Tensor": return record(np.subtract, (self, other), {})
    def __rsub__(self, other: Any) -> "Tensor": return record(np.subtract, (other, self), {})
    def __mul__(self, other: Any) -> "Tensor": return record(np.multiply, (self, other), {})
    def __rmul__(self, other: Any) -> "Tensor": return record(np.multiply, (other, self), {})
    def __truediv__(self, other: Any) -> "Tensor": return record(np.divide, (self, other), {})
    def __rtruediv__(self, other: Any) -> "Tensor": return record(np.divide, (other, self), {})
    def __mod__(self, other: Any) -> "Tensor": return record(np.remainder, (self, other), {})
    def __rmod__(self, other: Any) -> "Tensor": return record(np.remainder, (other, self), {})
    def __pow__(self, other: Any) -> "Tensor": return record(np.power, (self, other), {})
    def __rpow__(self, other: Any) -> "Tensor": return record(np.power, (other, self), {})
    def __matmul__(self, other: Any) -> "Tensor": return record(np.matmul, (self, other), {})
    def __rmatmul__(self, other: Any) -> "Tensor": return record(np.matmul, (other, self), {})
    def __floordiv__(self, other: Any) -> Any: return record(np.floor_divide, (self, other), {})
    def __rfloordiv__(self, other: Any) -> Any: return record(np.floor_divide, (other, self), {})
    def __eq__(self, other: object) -> Any: return record(np.equal, (self, other), {})
    def __ne__(self, other: object) -> Any: return record(np.not_equal, (self, other), {})
    def __lt__(self, other: Any) -> Any: return record(np.less, (self, other), {})
    def __le__(self, other: Any) -> Any: return record(np.less_equal, (self, other), {})
    def __gt__(self, other: Any) -> Any: return record(np.greater, (self, other), {})
    def __ge__(self, other: Any) -> Any: return record(np.greater_equal, (self, other), {})
    def __getitem__(self, index: Any) -> "Tensor": return record(operator.getitem, (self, index), {})

    # Methods, only those that arrays have; each is the NumPy function of its name.

    def sum(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.sum, (self,), {"axis": axis, **kw})
    def mean(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.mean, (self,), {"axis": axis, **kw})
    def max(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.max, (self,), {"axis": axis, **kw})
    def min(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.min, (self,), {"axis": axis, **kw})
    def prod(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.prod, (self,), {"axis": axis, **kw})
    def var(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.var, (self,), {"axis": axis, **kw})
    def std(self, axis: Any = None, **kw: Any) -> "Tensor": return record(np.std, (self,), {"axis": axis, **kw})
    def astype(self, dtype: Any) -> "Tensor": return record(np.ndarray.astype, (self, dtype), {})
    # fmt: on

    def reshape(self, *shape: Any) -> "Tensor":
        return record(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {})

    def transpose(self, *axes: Any) -> "Tensor":
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return record(np.transpose, (self, order), {})


_orders = itertools.count()


class Node:
    """How a tensor was computed: `output = function(*values, **kwargs)`.

    A Node keeps the arrays that the forward pass saw, so a weight that is rebound later does not disturb its
    gradients. It does not refer to the tensor it made, only to that tensor's array: no reference cycle, and
    a graph is freed the moment its last tensor is dropped.

    `edges` has an (index, tensor, rule) for each argument that asks for gradients. `order` counts the nodes ever made:
    an operation's is larger than those of its arguments.
    """

    __slots__ = ("function", "inputs", "values", "kwargs", "output", "edges", "order")

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: tuple[Any, ...],
        values: list[Any],
        kwargs: dict[str, Any],
        output: Any,
        edges: list[tuple[int, "Tensor", Rule]],
    ) -> None:
        self.function = function
        self.inputs = inputs
        self.values = values
        self.kwargs = kwargs
        self.output = output
        self.edges = edges
        self.order = next(_orders)

    def checked_inputs(self, output: "Tensor") -> tuple[Any, ...]:
        """The inputs as Tensors, for a backward that is recorded.

        Raises:
            RuntimeError: if the data of one is no longer the array that the forward pass saw.
        """
        for now, seen in ((output, self.output), *zip(self.inputs, self.values, strict=True)):
            if isinstance(now, Tensor) and now.data is not seen:
                raise RuntimeError(
                    f"{now.label} was given new data after {name_of(self.function)} had used it; "
                    "backward(create_graph=True) has to come before the update"
                )
        return self.inputs


def name_of(function: Callable[..., Any]) -> str:
    """The name a reader knows a function by: "np.sum", "np.linalg.norm", "sigmoid"."""
    name = getattr(function, "__name__", repr(function))
    if getattr(np, name, None) is function:
        return f"np.{name}"
    package, *path = (getattr(function, "__module__", None) or "").split(".")
    return ".".join(["np", *path, name]) if package == "numpy" else name


def record(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Tensor":
    """Run a function of the table on the arrays of its arguments, and remember it if gradients are asked for.

    A function whose value has no derivative, such as a comparison, returns a plain array instead.

    Raises:
        TypeError: if the function has no rule, or its rule does not cover the call.
    """
    entry = TABLE.get(function)
    if entry is None:
        return cast(Tensor, run_unlisted(function, args, kwargs))
    if kwargs or len(args) > len(entry.rules):
        check_options(entry, function, args, kwargs)
    values: list[Any] = []
    edges: list[tuple[int, Tensor, Rule]] = []
    found = False
    for index, argument in enumerate(args):
        if isinstance(argument, Tensor):
            found = True
            values.append(argument.data)
            if argument.requires_grad:
                rule = entry.rules[index]
                if rule is not None:
                    edges.append((index, argument, rule))
        else:
            values.append(argument)
    if not found:  # the function was called with a list of them
        raise TypeError(f"{name_of(function)} takes Tensors as arguments, not in a list; put them together by np.stack")
    output = entry.function(*values, **kwargs)
    if not isinstance(output, np.ndarray):
        output = np.asarray(output)
    node = None
    if edges and recording.enabled:
        if output.dtype.kind != "f":
            raise TypeError(
                f"{name_of(function)} makes {output.dtype} of a Tensor that requires gradients, which only real "
                "floating-point numbers have; pass its .data if it is a constant"
            )
        node = Node(function, args, values, kwargs, output, edges)
    tensor: Tensor = Tensor.__new__(Tensor)  # as the constructor does, without its checks
    tensor.data = output
    tensor.grad = None
    tensor.requires_grad = node is not None
    tensor.name = None
    tensor.node = node
    tensor._hooks = None
    return tensor


def check_options(entry: Entry, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise TypeError for a call that the function's rules do not cover."""
    for option, value in kwargs.items():
        if isinstance(value, Tensor):
            raise TypeError(
                f"{name_of(function)} got a Tensor as {option}=; gradients follow positional arguments only: "
                "pass it by position, or its .data if it is a constant"
            )
    for position, argument in enumerate(args[len(entry.rules) :], len(entry.rules) + 1):
        if isinstance(argument, Tensor):
            raise TypeError(
                f"{name_of(function)} has no rule for a Tensor as argument {position}; "
                "pass its .data if it is a constant"
            )
    entry.check(name_of(function), args, kwargs)


def run_unlisted(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function that is spelled in others, or whose value is constant; refuse all the rest."""
    name = name_of(function)
    if spelled := SPELLED.get(function):
        refuse_options(name, kwargs, spelled.__code__.co_varnames[: spelled.__code__.co_argcount])
        return spelled(*args, **kwargs)
    if function in CONSTANT:
        refuse_options(name, kwargs.keys() & {"out", "where"}, ())
        plain = {option: value.data if isinstance(value, Tensor) else value for option, value in kwargs.items()}
        return function(*[a.data if isinstance(a, Tensor) else a for a in args], **plain)
    raise TypeError(
        f"the gradient of {name} is not defined; add it with "
        f"tinygrad_vg.defvjp({name}, lambda g, y, a: ...), one rule for each array argument, "
        "or pass .data if it is a constant"
    )


def differentiable(*rules: Rule | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function of arrays an operation: on Tensors it is recorded, on arrays it just runs.

    Args:
        rules: for each array argument in order `rule(g, y, *args, **kwargs)`, or None; see `defvjp`.

    >>> import tinygrad_vg as tg
    >>> @tg.differentiable(lambda g, y, a: 3 * g * a * a)
    ... def cube(a):
    ...     return a * a * a
    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad.item()
    12.0
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError("write @differentiable(rule, ...) above a function: the rules come in brackets")

        @wraps(function)
        def operation(*args: Any, **kwargs: Any) -> Any:
            for argument in args:
                if isinstance(argument, Tensor):
                    return record(operation, args, kwargs)
            if kwargs and any(isinstance(value, Tensor) for value in kwargs.values()):
                return record(operation, args, kwargs)
            return function(*args, **kwargs)

        TABLE[operation] = Entry(function, rules)
        return operation

    return decorate
