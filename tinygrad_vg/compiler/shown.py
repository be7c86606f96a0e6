"""Hooks of a compiled step: they and the listeners are called after each run, before it changes anything."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_vg.compiler.trace import Backward, Trace, TraceError
from tinygrad_vg.engine import Tensor, Walk
from tinygrad_vg.engine.graph import PLAIN
from tinygrad_vg.engine.hooks import LISTENERS
from tinygrad_vg.nn import Module

Signature = tuple[bool, frozenset[int], frozenset[int]]


def signature_of(modules: Iterable[Module], tensors: Iterable[Tensor]) -> Signature:
    """Whether there are listeners, and which modules and tensors of a step have hooks."""
    with_hooks = frozenset(id(module) for module in modules if module._forward_hooks)
    return bool(LISTENERS), with_hooks, frozenset(id(tensor) for tensor in tensors if tensor.hooks)


def is_looked_at(trace: Trace) -> bool:
    """Whether a hook or listener has to be called for a trace."""
    return any(signature_of(trace.modules, [*trace.leaves, *hooked(trace)]))


def hooked(trace: Trace) -> list[Tensor]:
    """The tensors with hooks that backwards have reached and that are not leaves."""
    backwards = (event for event in trace.events if isinstance(event, Backward))
    return [vertex for event in backwards for vertex in event.gradients if vertex.node is not None and vertex.hooks]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The Tensors in an argument or result of a module, also those in tuples and lists, as an LSTM's states are."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


def is_weight(vertex: Tensor) -> bool:
    """Whether a leaf is a weight and no bias: it has more axes than one, that of the members aside."""
    return vertex.ndim > (2 if getattr(vertex, "members", 0) else 1)


class Shown:
    """The events of a step for which hooks or listeners are called: calls of modules with hooks, and backwards.

    Attributes:
        tensors: inputs and outputs of modules with hooks, whose data are shown.
        gradients: for each backward the gradients of leaves and, if there are hooks, of outputs of modules, by vertex.
        later: the gradients of weights that an optimizer updates. The step itself needs no array of them, so they are
            computed when somebody asks for them.
    """

    def __init__(self, trace: Trace) -> None:
        self.events = [event for event in trace.events if isinstance(event, Backward) or event[0]._forward_hooks]
        calls = [event for event in self.events if not isinstance(event, Backward)]
        self.arguments = list(trace.arguments)
        self.arrays = {tensor for tensor, is_tensor in trace.arguments.items() if not is_tensor}
        self.tensors: dict[Tensor, None] = {}
        for _, args, output in calls:
            unseen = [t for t in tensors_in([*args, output]) if t.node is not None]
            while unseen:  # and all below them: instruments differentiate through what modules have computed in between
                tensor = unseen.pop()
                if tensor not in self.tensors:
                    self.tensors[tensor] = None
                    inputs = tensor.node.inputs if tensor.node is not None else ()
                    unseen += [t for t in inputs if isinstance(t, Tensor) and t.node is not None]
        # The oldest first: in each run they get their ages anew, in this order.
        self.tensors = dict.fromkeys(sorted(self.tensors, key=lambda tensor: tensor.node.order))  # type: ignore[union-attr]
        self.gradients: list[dict[Tensor, Tensor]] = []
        self.later: list[dict[Tensor, Tensor]] = []
        for event in self.events:
            if isinstance(event, Backward):
                kept = {v: g for v, g in event.gradients.items() if v.node is None or v.hooks or (calls and v.call)}
                later = {v: g for v, g in kept.items() if v in trace.moved and is_weight(v)}
                self.gradients.append({v: g for v, g in kept.items() if v not in later})
                self.later.append(later)

    @property
    def ready(self) -> list[Tensor]:
        """The Tensors of the trace whose arrays `show` takes."""
        return [*self.tensors, *(g for kept in self.gradients for g in kept.values())]

    @property
    def asked(self) -> list[Tensor]:
        """The Tensors of the trace that are computed when somebody asks for them."""
        return [g for kept in self.later for g in kept.values()]

    def show(
        self,
        given: list[Any],
        arrays: list[Any],
        later: Sequence[Callable[[], Any]],
        order: float,
        among: Callable[[Any], bool] = lambda owner: True,
    ) -> None:
        """Call hooks and listeners, in the order in which the step itself would.

        Args:
            given: the arrays of the arguments.
            arrays: the arrays of `ready`. They may be written into later, so arrays that hooks may keep are copied.
            later: a function for each of `asked`, which returns its array.
            order: the time of the run, as the `order` of a Node.
            among: the hooks are called for whose owner it returns True.

        Raises:
            TraceError: if a hook returns a replacement.
        """
        left, functions = iter(arrays), iter(later)
        for tensor, array in zip(self.arguments, given, strict=True):
            tensor._data = array
        for tensor in self.tensors:
            tensor._data = np.array(next(left))
            if tensor.call is not None:
                tensor.hooks = None  # a hook on a module may register them anew
        for number, tensor in enumerate(self.tensors):
            node: Any = tensor.node  # instruments read there what a module has used
            node.output, node.order = tensor._data, order + number / len(self.tensors)
            node.values = [
                source._data if isinstance(source, Tensor) else value
                for source, value in zip(node.inputs, node.values, strict=True)
            ]
        ready = iter([{vertex: next(left) for vertex in kept} for kept in self.gradients])
        others = iter([{vertex: next(functions) for vertex in kept} for kept in self.later])
        for event in self.events:
            if isinstance(event, Backward):
                self.show_backward(event, Gradients(next(ready), next(others)), among)
            else:
                self.show_call(*event, among)

    def show_call(self, module: Module, args: tuple[Any, ...], output: Any, among: Callable[[Any], bool]) -> None:
        """Call the forward hooks of a module."""
        hooks = module._forward_hooks or {}
        given = tuple(t._data if isinstance(t, Tensor) and t in self.arrays else t for t in args)
        for key, hook in tuple(hooks.items()):
            if key in hooks and among(owner_of(hook)) and hook(module, given, output) is not None:
                raise TraceError(f"a hook on {type(module).__name__} returned a replacement, which a compiled step "
                                 "cannot use: its hooks are called after the run")  # fmt: skip

    def show_backward(self, event: Backward, gradients: "Gradients", among: Callable[[Any], bool]) -> None:
        """Call the listeners and the hooks on tensors."""
        walk = ShownWalk({vertex: np.asarray(start._data) for vertex, start in event.starts.items()}, set())
        try:
            for key, listener in tuple(LISTENERS.items()):
                if key in LISTENERS and among(owner_of(listener)):
                    listener(walk)
            if missing := [vertex for vertex in walk.wanted if vertex in event.gradients and vertex not in gradients]:
                raise TraceError(f"a listener asks for the gradient of {missing[0].label}, which is not the output of "
                                 "a module: a compiled step does not keep it")  # fmt: skip
            for vertex in [v for v in event.gradients if v in gradients]:  # in the order of the step itself
                for key, hook in tuple((vertex.hooks or {}).items()):
                    if not (key in vertex.hooks and among(owner_of(hook))):
                        continue
                    if hook(PLAIN.shown(np.array(gradients[vertex]))) is not None:
                        raise TraceError(f"a hook on {vertex.label} returned a replacement, which a compiled step "
                                         "cannot use: its hooks are called after the run")  # fmt: skip
            for vertex in [v for v in gradients if v.node is not None and v not in walk.wanted]:
                del gradients[vertex]
            walk.gradients = gradients
        finally:
            while walk.callbacks:
                walk.callbacks.pop(0)(walk)


def owner_of(hook: Any) -> Any:
    """The object whose method a hook or listener is; None for a function."""
    return getattr(hook, "__self__", None)


class Gradients(dict[Any, Any]):
    """Gradients by vertex. Some are computed when somebody asks for them."""

    def __init__(self, ready: dict[Any, Any], later: dict[Any, Callable[[], Any]]) -> None:
        super().__init__(ready | later)
        self._later = later

    def __getitem__(self, vertex: Any) -> Any:
        if vertex in self._later:
            self[vertex] = self._later.pop(vertex)()
        return super().__getitem__(vertex)

    def get(self, vertex: Any, default: Any = None) -> Any:
        return self[vertex] if vertex in self else default  # noqa: SIM401 - `get` of a dict does not compute

    def values(self) -> Any:
        return [self[vertex] for vertex in self]

    def items(self) -> Any:
        return [(vertex, self[vertex]) for vertex in self]


class ShownWalk(Walk):
    """A backward of a compiled step, as listeners see it: the next run writes into its gradients."""

    __slots__ = ()

    def shared(self) -> set[int]:
        return {id(g) for g in dict.values(self.gradients)}
