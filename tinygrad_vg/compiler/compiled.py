"""`compile`: a step that is recorded once and then runs as one function."""

import functools
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, overload

import numpy as np

from tinygrad_vg.compiler.arguments import Form, put_together
from tinygrad_vg.compiler.backends import chosen
from tinygrad_vg.compiler.guards import Guards
from tinygrad_vg.compiler.over import joined, rows_of, whole_step, with_steps
from tinygrad_vg.compiler.passes import simplified
from tinygrad_vg.compiler.places import Argument, Returned
from tinygrad_vg.compiler.plan import Plan, plan_of
from tinygrad_vg.compiler.program import Program
from tinygrad_vg.compiler.returned import Outcome, outcome_of
from tinygrad_vg.compiler.shown import Shown, is_looked_at
from tinygrad_vg.compiler.trace import SharedArrayError, Trace
from tinygrad_vg.engine import Tensor
from tinygrad_vg.engine.written import orders

MOST = 8  # programs of one function


class Compiled:
    """A step that is recorded once and then runs as one function; `compile` makes it.

    Attributes:
        programs: one for each form of the arguments, the last used first.

    >>> import numpy as np, tinygrad_vg as tg
    >>> @tg.compile(backend="numpy")
    ... def scaled(x):
    ...     return 2.0 * np.exp(x)
    >>> [scaled(np.zeros(2)).data.tolist() for _ in range(2)], len(scaled.programs)
    ([[2.0, 2.0], [2.0, 2.0]], 1)
    >>> [instruction.operation.name for instruction in scaled.plan.instructions]
    ['np.exp', 'np.multiply']
    >>> scaled.source.splitlines()[0]
    'def run(look, i0):'
    """

    def __init__(self, function: Callable[..., Any], backend: str) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.backend = chosen(backend)
        self.programs: list[Program] = []
        self.reasons: dict[str, None] = {}  # why a further program was made
        self.is_told = False

    def __repr__(self) -> str:
        name, count = getattr(self.function, "__name__", "a function"), len(self.programs)
        return f"<compiled {name}, backend {self.backend!r}, {count} program{'s' * (count != 1)}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found: list[Any] = []
        program = self.programs[0] if self.programs else None
        if program is None or program.lowered is None or program.why_not(args, kwargs, found) is not None:
            program, found = self._fitting(args, kwargs)
        return self.traced(args, kwargs) if program is None else program.run(found)

    def _fitting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Program | None, list[Any]]:
        """The program for these arguments, or None, and the arrays in the arguments."""
        for number, program in enumerate(self.programs):
            found: list[Any] = []
            why = program.why_not(args, kwargs, found)
            if why is not None:
                self.reasons[why] = None
            else:
                if number:
                    self.programs.insert(0, self.programs.pop(number))
                if program.lowered is None:
                    program.lower(self.backend)
                return program, found
        return None, []

    def over(self, batches: Any, *data: Any) -> Any:
        """Run the step for each row of an array of indices, `step(*(array[row] for array in data))`, in one call.

        Ctrl-C ends the call between two steps; the parameters are then those after the last complete step.

        Args:
            batches: whole numbers (steps, batch), or (steps,) for steps of one sample without a batch axis.
            data: arrays of the same length. Each step takes its rows of each array; the arrays are not copied.

        Returns:
            What the step returns, each array with a first axis that counts the steps.

        Raises:
            TypeError: if the indices are not whole numbers, or there are no data.
            ValueError: if the data differ in length.
            IndexError: if an index is out of range.

        >>> import numpy as np, tinygrad_vg as tg
        >>> w = tg.nn.Parameter(np.zeros(2))
        >>> sgd = tg.optim.SGD([w], lr=0.1)
        >>> @tg.compile(backend="numpy")
        ... def step(x):
        ...     sgd.zero_grad()
        ...     cost = np.sum(np.square(x - w)) / len(x)
        ...     cost.backward()
        ...     sgd.step()
        ...     return cost
        >>> step.over(np.array([[0, 1], [1, 2], [2, 0]]), np.ones((3, 2))).data.round(3)
        array([2.   , 1.28 , 0.819])
        """
        rows, arrays = rows_of(batches, data)
        results: list[Any] = []  # of one step or several, each array with an axis for the steps
        done = 0
        while done < len(rows):
            args = tuple([array.take(rows[done], axis=0) for array in arrays])
            program, found = self._fitting(args, {})
            part = program.over(rows[done:], arrays) if program is not None else None
            if part is None:
                with whole_step():
                    one = self.traced(args, {}) if program is None else program.run(found)
                part = 1, with_steps(one)
            done += part[0]
            results.append(part[1])
        return joined(results)

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function itself, and make a program of what it does.

        >>> import numpy as np, tinygrad_vg as tg
        >>> tripled = tg.compile(lambda x: 3.0 * x, backend="numpy")
        >>> tripled.traced((np.ones(2),), {}), len(tripled.programs)
        (array([3., 3.]), 1)
        """
        trace, form = Trace(), Form(args, kwargs)
        for program in self.programs:
            trace.expect(program.guards.leaves)
        names = names_of(self.function, len(form.found)) if form.is_simple else []
        arguments = [argument(trace, number, value, names) for number, value in enumerate(form.found)]
        new_args, new_kwargs = form.filled(arguments)
        try:
            result = trace.run(self.function, new_args, new_kwargs)
            outcome = outcome_of(trace, result, arguments)
            shown = Shown(trace) if is_looked_at(trace) else None
            wanted = [value for _, value in outcome.outputs] + (shown.ready + shown.asked if shown else [])
            plan = simplified(plan_of(trace, wanted))
            self._add(Program(plan, outcome, form, Guards(trace), trace, shown))
            if shown is not None:
                show_trace(trace, shown)
        except SharedArrayError as error:
            trace.undo()
            (tensor,) = error.args
            tensor._data = np.array(tensor._data)
            return self.traced(args, kwargs)
        except BaseException:
            trace.undo()
            raise
        return carried_out(outcome)

    def _add(self, program: Program) -> None:
        """Keep another program, and drop the one unused for the longest time if there are too many."""
        if len(self.programs) == MOST and not self.is_told:
            self.is_told = True
            warnings.warn(
                f"{getattr(self.function, '__name__', 'the step')} has {MOST} programs already, and each new one "
                f"replaces another; these were the reasons for new programs: {'; '.join(self.reasons)}",
                RuntimeWarning,
                stacklevel=4,
            )
        self.programs = [program, *self.programs][:MOST]

    @property
    def plan(self) -> Plan | None:
        """The plan of the program used last; None before the first call. `print` shows it as a table.

        From the second call on it is the plan that runs, with the place of each array.
        """
        if not self.programs:
            return None
        lowered = self.programs[0].lowered
        return self.programs[0].plan if lowered is None else lowered.plan

    @property
    def source(self) -> str | None:
        """The source code of the function that ran last; None before the second call, which generates it."""
        lowered = self.programs[0].lowered if self.programs else None
        return lowered.source if lowered is not None else None

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        """A compiled function in a class is a method, as a plain function is."""
        return self if owner is None else functools.partial(self, owner)


def names_of(function: Callable[..., Any], n: int) -> list[str]:
    """The names of a function's first n parameters."""
    code = getattr(function, "__code__", None)
    return list(code.co_varnames[: min(n, code.co_argcount)]) if code is not None else []


def argument(trace: Trace, number: int, value: Any, names: list[str]) -> Tensor:
    """An argument as a Tensor of the trace.

    Raises:
        ValueError: for a Tensor with a graph.
    """
    is_tensor = isinstance(value, Tensor)
    if is_tensor and value.node is not None:
        raise ValueError(f"argument {number} of a compiled step has a graph, which ends here: pass its .detach()")
    name = names[number] if number < len(names) else f"argument {number}"
    tensor = trace.input(Argument(number, name), (value._data if is_tensor else np.asarray(value)).view())
    tensor._asks = is_tensor and value._asks
    trace.arguments[tensor] = is_tensor
    return tensor


def show_trace(trace: Trace, shown: Shown) -> None:
    """Call the hooks with what a trace has computed. They see the parameters as they were before the step."""
    new = {parameter: parameter._data for parameter in trace.moved}
    for parameter in new:
        parameter._data = trace.leaves[parameter]
    ready = [tensor._data for tensor in shown.ready]
    shown.show(
        [t._data for t in shown.arguments], ready, [partial(np.array, t._data) for t in shown.asked], next(orders)
    )
    for parameter, array in new.items():
        parameter._data = array


def carried_out(outcome: Outcome) -> Any:
    """Set parameters, gradients and states to what a trace has computed, and return its result."""
    returned = []
    for place, value in outcome.outputs:
        array = np.array(value._data if isinstance(value, Tensor) else value)
        if isinstance(place, Returned):
            returned.append(Tensor(array) if place.is_tensor else array)
        else:
            place.set(array)
    for state, number in outcome.counts:
        state.set(number)
    for tensor in outcome.dropped:
        tensor.grad = None
    left = iter(returned)
    return put_together(outcome.structure, lambda leaf: next(left))


@overload
def compile(function: Callable[..., Any], *, backend: str = "auto") -> Compiled: ...
@overload
def compile(function: None = None, *, backend: str = "auto") -> Callable[[Callable[..., Any]], Compiled]: ...
def compile(function: Callable[..., Any] | None = None, *, backend: str = "auto") -> Any:
    """Record a training step, or any function of tensors, once, and then run it as one function; a decorator.

    The first call with arguments of a form (shapes, dtypes, other values) runs the function itself and records what it
    does: forward, `backward()`, `optimizer.step()`. Later calls run the recorded plan on other arrays. Each call checks
    whether the plan still holds: it compares attributes of modules, hooks, `requires_grad`, options, and the numbers,
    arrays and modules that the function's own code uses from outside. If no plan holds, the call records another one;
    up to 8 are kept.

    Args:
        function: takes arrays and Tensors, also in tuples, lists and dicts. Arguments of other types are compared with
            those of the first call. It returns Tensors, arrays, a structure of them, or nothing.
        backend: "numpy" runs a list of NumPy calls; "numba" runs a generated function as machine code and needs the
            extra `fast`; "auto" is "numba" if it is installed, else "numpy".

    Returns:
        The function with attributes `plan`, `source`, `programs` and a method `over`; see `Compiled`.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: for another backend.
        ModuleNotFoundError: if Numba or SciPy is missing; the message names the extra.
        TraceError: in a call, if the function does something that a plan cannot repeat: it turns a tensor into a Python
            number, sets `.data`, draws random numbers by NumPy, or a hook returns a replacement. Parameters, gradients
            and optimizers are then unchanged.

    The results of a call have no graph. If the step sets a `.grad` to None before the backward and an optimizer uses
    it, `.grad` is None after the step. The step writes into the arrays of the parameters that it updates.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.mlp([4, 5, 3], rng=0)
    >>> sgd, cost = tg.optim.SGD(net.parameters(), lr=0.1), tg.nn.MSELoss()
    >>> @tg.compile(backend="numpy")
    ... def step(x, t):
    ...     sgd.zero_grad()
    ...     loss = cost(net(x), t)
    ...     loss.backward()
    ...     sgd.step()
    ...     return loss
    >>> x, t = np.ones((6, 4)), np.zeros((6, 3))
    >>> first, *others, last = [step(x, t).item() for _ in range(20)]
    >>> last < first, len(step.programs)
    (True, 1)
    """
    if function is None:
        return lambda function: compile(function, backend=backend)
    if not callable(function):
        raise TypeError(f"tg.compile takes a function, not {type(function).__name__}: write tg.compile(step)")
    return Compiled(function, backend)
