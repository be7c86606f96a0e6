"""The trace: one call of a step, recorded with forward, backward and update.

The engine records. A trace switches recording on for everything, notes the order of the nodes and the user's lines, and
keeps what the graph does not hold: the optimizers' steps, the backwards, and the calls of modules.
"""

import os
import sys
import threading
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

import tinygrad_vg
from tinygrad_vg.compiler.generators import generators_in, states_of
from tinygrad_vg.compiler.outside import Outside
from tinygrad_vg.compiler.places import Argument, Gradient, Held, Inside, Option, State
from tinygrad_vg.engine import Node, Tensor, record_everything
from tinygrad_vg.engine.constants import SHAPES_OF_DATA, TEXTS
from tinygrad_vg.engine.graph import walk
from tinygrad_vg.engine.recording import Switch, recording
from tinygrad_vg.engine.tensor import RECORDED
from tinygrad_vg.nn import Buffer, Module, Parameter
from tinygrad_vg.optim import Optimizer

PACKAGE = os.path.dirname(tinygrad_vg.__file__) + os.sep
LOCK = threading.RLock()  # one trace at a time: it changes how the class Tensor answers `.data`


class TraceError(TypeError):
    """A step does something that a later run could not repeat. The message names the line, and says what to write.

    >>> import numpy as np, tinygrad_vg as tg
    >>> try:
    ...     tg.compile(lambda x: x if x > 0 else -x)(np.array(1.0))
    ... except TraceError as error:
    ...     "write np.where" in str(error)
    True
    """


class SharedArrayError(Exception):
    """Two tensors have the same array. `args` holds the second one."""


class Backward(NamedTuple):
    """A backward in a trace: the vertices where it began, and the gradients of all that it reached, as Tensors."""

    starts: dict[Any, Any]
    gradients: dict[Any, Any]


class Everything(Container[Any]):
    """A container that contains everything."""

    def __contains__(self, _: object) -> bool:
        return True


class Trace:
    """What one call of a step does.

    Attributes:
        nodes: the recorded calls with the user's line of each, the oldest first.
        sources: the place of each array that no call has made, by the id of the array.
        events: the module calls (module, arguments, output) and backwards, in their order.
        moved: the new array, as a Tensor, of each parameter that an optimizer or `p -= ...` has updated and of each
            buffer that a module has set.
        states: the new entries of the states of optimizers, as Tensors or numbers.
        leaves: the tensors that the step uses and no call has made, each with its array before the step.
        grads: the `.grad` of each leaf before the step first used it.
        modules: the modules that were called.
        optimizers: the optimizers whose `step` was called.
        before: the `.grad` before the step of tensors that an earlier trace has used.
        zero: the tensors whose `.grad` was set to None before the step first used them.
        arguments: the arguments, each with whether it was given as a Tensor.
        plain: the ids of the gradients that are arrays outside of a trace.
        groups: the groups, or parameters, whose numbers a step of an optimizer used, with these numbers.
        outside: the objects that the function uses from outside.
        made: the Tensors that the step itself has made of arrays or numbers, by id; they are constants.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[Node, str]] = []
        self.sources: dict[int, Argument | Inside | Option] = {}
        self.events: list[tuple[Module, tuple[Any, ...], Any] | Backward] = []
        self.moved: dict[Parameter | Buffer, Tensor] = {}
        self.states: dict[tuple[Optimizer, Parameter], dict[str, Any]] = {}
        self.leaves: dict[Tensor, Any] = {}
        self.grads: dict[Tensor, Any] = {}
        self.modules: dict[Module, None] = {}
        self.optimizers: dict[Optimizer, None] = {}
        self.made: dict[int, Tensor] = {}
        self.options: dict[Any, Tensor] = {}
        self.before: dict[Tensor, Any] = {}
        self.zero: set[Tensor] = set()
        self.arguments: dict[Tensor, bool] = {}
        self.plain: set[int] = set()
        self.groups: dict[Any, tuple[Option, dict[str, Any]]] = {}
        self.held: list[Any] = []  # so that no id is used twice

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function once, and note what it does.

        Raises:
            TraceError: if the step does something that a later run could not repeat.
        """
        self.outside = Outside(function)
        for given in (*args, *kwargs.values()):
            if not isinstance(given, Tensor):
                self.outside.follow("an argument", given)
        generators = generators_in([*self.outside.objects.values(), *args, *kwargs.values()])
        before = states_of(generators)
        result = self.called_once(function, args, kwargs)
        for state, now, generator in zip(before, states_of(generators), ["np.random", *generators], strict=True):
            drawn = [i for node, _ in self.nodes if node.operation.kind == "random" for i in node.values]
            if state != now and not any(value is generator for value in drawn):
                raise TraceError(
                    f"the step has drawn random numbers from {generator}, and every run would use the same ones: draw "
                    "them outside and pass them as an argument, or use tinygrad_vg.engine.random.uniform"
                )
        return result

    def called_once(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the function, called with everything recorded."""
        with LOCK, ExitStack() as on:
            on.enter_context(record_everything())
            on.enter_context(Switch("note", self.note))
            on.enter_context(Switch("trace", self))
            on.enter_context(guarded_data(self))
            return function(*args, **kwargs)

    def input(self, source: Argument | Inside | Option, array: Any) -> Tensor:
        """A Tensor for an array that comes from outside."""
        self.sources[id(array)] = source
        self.held.append(array)
        return Tensor(array)

    # What the engine, the modules and the optimizers report to the trace.

    def expect(self, tensors: Iterable[Tensor]) -> None:
        """Note the `.grad` of these tensors before the step, which may set it to None."""
        self.before |= {tensor: tensor.grad for tensor in tensors}

    def undo(self) -> None:
        """Restore each tensor to its state before the step, after an exception has ended the step."""
        for tensor, array in self.leaves.items():
            tensor._data, tensor.grad = array, self.grads[tensor]
        for tensor, gradient in self.before.items():
            tensor.grad = gradient

    def looked(self, operation: Any, output: Any) -> Any:
        """Return the result of a call that is not a Tensor, if it is the same in every run; else raise TraceError."""
        if operation.function in SHAPES_OF_DATA:
            self.refuse(operation.name, "its shape depends on the values; write np.where for a choice")
        if operation.function in TEXTS:
            self.refuse(operation.name)
        return output

    def note(self, node: Node) -> None:
        """Note a recorded call."""
        refuse_shapes_of_data(self, node)
        for given, value in zip(node.inputs, node.values, strict=True):
            if isinstance(given, Tensor) and given.node is None:
                self.leaf(given, value)
        self.nodes.append((node, users_line()))

    def leaf(self, tensor: Tensor, array: Any) -> None:
        """Note the use of a tensor that no call has made.

        Raises:
            SharedArrayError: if it has the same array as another tensor, so that the trace could not tell them apart.
        """
        if id(tensor) in self.made:
            return
        known = self.sources.get(id(array))
        if isinstance(known, Held) and known.tensor is not tensor and tensor._data is array:
            raise SharedArrayError(tensor)
        if id(array) not in self.sources and tensor not in self.leaves:
            self.leaves[tensor] = array
            self.sources[id(array)] = Held(tensor)
            self.grads[tensor] = tensor.grad
            if isinstance(tensor.grad, np.ndarray):
                self.sources[id(tensor.grad)] = Gradient(tensor)

    def zeroing(self, parameters: Iterable[Tensor]) -> None:
        """Note that the `.grad` of these tensors is about to be set to None."""
        for parameter in parameters:
            if parameter not in self.leaves:
                self.zero.add(parameter)
                self.before.setdefault(parameter, parameter.grad)

    def called(self, module: Module, args: tuple[Any, ...], output: Any) -> None:
        """Note the call of a module."""
        self.modules[module] = None
        self.events.append((module, args, output))

    def assigned(self, held: Parameter | Buffer, value: Tensor) -> None:
        """Note that a buffer or parameter has a new array, from which later calls compute."""
        self.leaf(held, held._data)
        self.moved[held] = value
        held._data = value._data

    def give_arrays(self, gradients: Iterable[Tensor]) -> None:
        """Note that these gradients of `tg.grad` are plain arrays outside of a trace."""
        self.plain.update(map(id, gradients))

    def walk(
        self, starts: dict[Any, Any], mode: Any, only: Container[Any] | None, keep: Collection[Any]
    ) -> dict[Any, Any]:
        """Record a backward. The hooks are called after the run."""
        if mode is not RECORDED:
            self.refuse("backward(extended_range=True)")
        gradients = walk(starts, RECORDED, only, Everything(), hooks=False)  # type: ignore[arg-type]
        self.events.append(Backward(starts, gradients))
        self.held.append(gradients)
        return {vertex: g for vertex, g in gradients.items() if vertex.node is None or vertex in keep}

    def step(self, optimizer: Optimizer) -> None:
        """Record the step of an optimizer, by its pure `update`."""
        self.optimizers[optimizer] = None
        with tinygrad_vg.no_grad():
            for i, group in enumerate(optimizer.param_groups):
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.update(optimizer, i, parameter)

    def update(self, optimizer: Optimizer, i: int, parameter: Parameter) -> None:
        """One parameter's part of a step."""
        p = parameter._data
        self.leaf(parameter, p)
        g = parameter.grad if isinstance(parameter.grad, Tensor) else Tensor(parameter.grad)
        before = self.states.get((optimizer, parameter)) or optimizer.state.get(parameter, {})
        of_group = optimizer.numbers_of(i, p.dtype)
        numbers = optimizer.at_step(of_group, before)
        owner = None if numbers is of_group else parameter
        if owner is not None and (optimizer, i, p.dtype, owner) in self.groups:
            raise TraceError(f"{type(optimizer).__name__} counts its steps: call its step() once in a compiled step")
        self.groups[optimizer, i, p.dtype, owner] = Option(optimizer, i, p.dtype, owner, ""), numbers
        options = {name: self.option(optimizer, i, p.dtype, owner, name, value) for name, value in numbers.items()}
        state = {
            name: self.input(State(optimizer, parameter, name), value) if isinstance(value, np.ndarray) else value
            for name, value in before.items()
        }
        new, after = optimizer.update(Tensor(p), g, state, options)
        for name, value in after.items():
            if not isinstance(value, Tensor) and numbers.get(name) != value:
                raise TraceError(f"{type(optimizer).__name__}.update returned {value!r} as the state {name!r}; a trace "
                                 "takes Tensors, and numbers that at_step returned by the same name")  # fmt: skip
        self.moved[parameter] = new
        self.states[optimizer, parameter] = {
            name: numbers[name] if is_number(numbers.get(name)) else value for name, value in after.items()
        }
        parameter._data = new._data

    def option(self, optimizer: Optimizer, i: int, dtype: Any, owner: Parameter | None, name: str, value: Any) -> Any:
        """A number of an optimizer as an input; other options are constants."""
        if not is_number(value):
            return value
        key = optimizer, i, dtype, owner, name
        if key not in self.options or owner is not None:
            self.options[key] = self.input(Option(*key), np.array(value, dtype))
        return self.options[key]

    def reached(self, tensor: Tensor) -> bool:
        """Whether a backward has reached a tensor."""
        return any(isinstance(event, Backward) and tensor in event.gradients for event in self.events)

    def refuse(self, what: str, instead: str = "") -> NoReturn:
        """Raise TraceError for something that the next run would not repeat."""
        instead = instead or "return the tensor from the step and look at it outside, or write np.where for a choice"
        raise TraceError(
            f"{users_line()}: a compiled step records computations, and {what} gives Python a value of this one "
            f"run; {instead}"
        )


def is_number(value: Any) -> bool:
    """Whether an option is a number that a step computes with."""
    return isinstance(value, float | np.ndarray | np.floating) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def refuse_shapes_of_data(trace: Trace, node: Node) -> None:
    """Raise TraceError for a call whose output may have another shape in the next run."""
    by_mask = node.operation.name == "getitem" and getattr(node.values[1], "dtype", None) == np.dtype(bool)
    if node.function in SHAPES_OF_DATA or (by_mask and isinstance(node.inputs[1], Tensor)):
        what = "an index of booleans" if by_mask else node.operation.name
        trace.refuse(what, "its shape depends on the values; write np.where(mask, t, 0)")


def users_line() -> str:
    """The line of the user's code that is running, as file:line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


@contextmanager
def guarded_data(trace: Trace) -> Iterator[None]:
    """Inside this context `t.data` raises TraceError if the user's code reads it in this thread's trace."""
    plain, make = cast(Any, Tensor.data), Tensor.__init__

    def is_users() -> bool:
        return recording.trace is trace and not sys._getframe(2).f_code.co_filename.startswith(PACKAGE)

    def read(tensor: Tensor) -> Any:
        if is_users():
            trace.refuse(".data", "compute with the tensor itself, and return it to look at it outside")
        return tensor._data

    def write(tensor: Tensor, array: Any) -> None:
        if is_users():
            trace.refuse("`.data = ...`", "write `with tg.no_grad(): p += ...`, or buffer.assign(value), or return it")
        plain.fset(tensor, array)

    def noted(tensor: Tensor, *args: Any, **kwargs: Any) -> None:
        make(tensor, *args, **kwargs)
        if recording.trace is trace:
            trace.made[id(tensor)] = tensor

    Tensor.data, Tensor.__init__ = property(read, write), noted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.data, Tensor.__init__ = plain, make  # type: ignore[method-assign]
