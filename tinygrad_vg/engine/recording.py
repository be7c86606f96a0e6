"""Which calls are recorded: those that need gradients, none, or all. Each thread has its own state."""

import functools
import inspect
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Recording(threading.local):
    """The state of this thread.

    Attributes:
        enabled: whether calls that need gradients are recorded.
        everything: whether all other calls are recorded too.
        note: None, or a function that is called with each new Node, as in `checked` and in a trace.
        trace: None, or the trace (`tinygrad_vg.compiler`) of a step, which also records the walk back and the update.
        entered: the switches whose contexts this thread has entered, the innermost last.
    """

    enabled = True
    everything = False
    note: Callable[[Any], Any] | None = None
    trace: Any = None

    def __init__(self) -> None:  # called once in each thread
        self.entered: list[Switch] = []


class Changes:
    """Counts the changes that may alter what a module computes: changes of attributes, hooks and `requires_grad`.

    A compiled step compares the count, and looks for the change only if the count differs.
    """

    count = 0


changes = Changes()


class Switch:
    """A context in which one attribute of `recording` has a given value; also a decorator.

    It may be entered any number of times, also inside itself. The innermost open context decides, so the state is
    restored even if two generators are closed in the order in which they were opened.
    """

    __slots__ = ("attribute", "value")

    def __init__(self, attribute: str, value: Any) -> None:
        self.attribute = attribute
        self.value = value

    def __enter__(self) -> None:
        recording.entered.append(self)
        setattr(recording, self.attribute, self.value)

    def __exit__(self, *exception: object) -> None:
        entered = recording.entered
        for i in reversed(range(len(entered))):
            if entered[i] is self:
                del entered[i]
                break
        values = [switch.value for switch in entered if switch.attribute == self.attribute]
        setattr(recording, self.attribute, values[-1] if values else getattr(Recording, self.attribute))

    def __call__(self, function: F) -> F:
        """The function with its body in this context; a generator or coroutine with each step from yield to yield.

        Raises:
            TypeError: if it is not a function, or is an asynchronous generator function.
        """
        if not callable(function):
            raise TypeError(f"the decorator takes a function, not {function!r}")
        if inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} makes an asynchronous generator, which the decorator cannot follow; "
                "write `with tg.no_grad():` inside it, around code without a yield"
            )

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from Steps(function(*args, **kwargs), self))

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await Steps(function(*args, **kwargs), self)

        if inspect.isgeneratorfunction(function):
            return cast(F, generator)
        return cast(F, coroutine if inspect.iscoroutinefunction(function) else plain)


class Steps(Generator[Any, Any, Any]):
    """A generator or coroutine whose steps run in a context. While it is suspended the context is not active."""

    def __init__(self, steps: Any, context: Switch) -> None:
        self.steps = steps
        self.context = context

    def send(self, value: Any) -> Any:
        with self.context:
            return self.steps.send(value)

    def throw(self, *exception: Any) -> Any:
        with self.context:
            return self.steps.throw(*exception)

    def __await__(self) -> "Steps":
        return self


recording = Recording()


def no_grad() -> Switch:
    """Record nothing in this thread inside this context, or inside a function that it decorates.

    If a generator yields inside `with no_grad():`, recording stays off in the code that called the generator.
    `@no_grad()` above a generator or a coroutine switches recording off for its own steps only.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     (t * t).requires_grad
    False
    """
    return Switch("enabled", False)


def enable_grad() -> Switch:
    """Record calls in this thread inside this context, also inside a `no_grad`.

    >>> import tinygrad_vg as tg
    >>> t = tg.Tensor(2.0, requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     (t * t).requires_grad
    True
    """
    return Switch("enabled", True)


def is_grad_enabled() -> bool:
    """Whether calls in this thread are recorded: False inside `no_grad`.

    >>> import tinygrad_vg as tg
    >>> with tg.no_grad():
    ...     tg.is_grad_enabled()
    False
    """
    return recording.enabled


def record_everything() -> Switch:
    """Inside this context also record calls that have no gradient, such as comparisons and operations on data.

    A graph recorded in this way holds every array that depends on a Tensor, and can be run again on other arrays.

    >>> import numpy as np, tinygrad_vg as tg
    >>> with record_everything():
    ...     positive = tg.Tensor([-1.0, 2.0]) > 0
    >>> positive.node.operation.kernel(np.array([3.0, -4.0]), *positive.node.values[1:])
    array([ True, False])
    """
    return Switch("everything", True)
