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
from tinygrad_vg.compiler.over import joined, rows_of, stacked
from tinygrad_vg.compiler.passes import simplified
from tinygrad_vg.compiler.places import Argument, Returned
from tinygrad_vg.compiler.plan import Plan, plan_of
from tinygrad_vg.compiler.program import Program
from tinygrad_vg.compiler.returned import Outcome, outcome_of
from tinygrad_vg.compiler.shown import Shown, is_looked_at
from tinygrad_vg.compiler.trace import Trace
from tinygrad_vg.engine import Tensor

MOST = 8  # programs of one function


class Compiled:
    """A step that is recorded once and then runs as one function; `compile` makes it.

    Attributes:
        programs: one for each form of the arguments, the last used first.
    """

    def __init__(self, function: Callable[..., Any], backend: str) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.backend = chosen(backend)
        self.programs: list[Program] = []
        self.reasons: dict[str, None] = {}  # why a further program was made
        self.is_told = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        program, found = self.fitting(args, kwargs)
        return self.traced(args, kwargs) if program is None else program.run(found)

    def fitting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Program | None, list[Any]]:
        """The program that is right for these arguments, and the arrays in them; None if there is none."""
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
        """Run the step for each row of an array of indices, `step(*(array[row] for array in data))`, as one call.

        Args:
            batches: whole numbers (steps, batch), or (steps,) for steps of one sample without an axis for it.
            data: arrays of one length. They stay where they are; each step takes its rows of each of them.

        Returns:
            What the step returns, each array with a first axis that counts the steps.

        Raises:
            TypeError, ValueError, IndexError: if indices and data do not go together.

        Ctrl-C ends it between two steps; the parameters are then those of the last step.

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
        results = []
        for number, row in enumerate(rows):
            args = tuple([array.take(row, axis=0) for array in arrays])
            program, found = self.fitting(args, {})
            if program is not None and (rest := program.over(rows[number:], arrays)) is not None:
                return joined(results, rest)
            results.append(self.traced(args, {}) if program is None else program.run(found))
        return stacked(results)

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function itself, and make a program of what it does."""
        trace = Trace()
        for program in self.programs:
            trace.expect(program.guards.leaves)
        form = Form(args, kwargs)
        wrapped = [wrapper(trace, number, value) for number, value in enumerate(form.found)]
        new_args, new_kwargs = form.filled(wrapped)
        try:
            result = trace.run(self.function, new_args, new_kwargs)
            outcome = outcome_of(trace, result, wrapped)
        except BaseException:
            trace.undo()
            raise
        shown = Shown(trace) if is_looked_at(trace) else None
        wanted = [value for _, value in outcome.outputs] + ([*shown.ready, *shown.asked] if shown is not None else [])
        program = Program(simplified(plan_of(trace, wanted)), outcome, form, Guards(self.function, trace), trace, shown)
        if len(self.programs) == MOST and not self.is_told:
            self.is_told = True
            warnings.warn(f"{self.__name__} has {MOST} programs, and each further one takes the place of the one not used "
                          f"for longest; what was new: {'; '.join(self.reasons)}", RuntimeWarning, stacklevel=3)  # fmt: skip
        self.programs = [program, *self.programs][:MOST]
        if shown is not None:
            show_trace(trace, shown)
        return carried_out(outcome)

    @property
    def plan(self) -> Plan | None:
        """The plan of the program used last; None before the first call. It prints as a table."""
        return self.programs[0].plan if self.programs else None

    @property
    def source(self) -> str | None:
        """The text of the function used last; None before the second call, which makes it."""
        lowered = self.programs[0].lowered if self.programs else None
        return lowered.source if lowered is not None else None

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        """As a method."""
        return self if owner is None else functools.partial(self, owner)


def wrapper(trace: Trace, number: int, value: Any) -> Tensor:
    """An argument as a Tensor of the trace."""
    is_tensor = isinstance(value, Tensor)
    if is_tensor and value.node is not None:
        raise ValueError(f"argument {number} of a compiled step has a graph, which ends here: pass its .detach()")
    array = value._data if is_tensor else np.asarray(value)
    tensor = trace.input(Argument(number, f"argument {number}"), array.view())
    tensor._asks = is_tensor and value._asks
    trace.arguments[tensor] = is_tensor
    return tensor


def show_trace(trace: Trace, shown: Shown) -> None:
    """Show to hooks what a trace has computed; they find the parameters as they were before the step."""
    new = {parameter: parameter._data for parameter in trace.moved}
    for parameter in new:
        parameter._data = trace.leaves[parameter]
    try:
        ready = [tensor._data for tensor in shown.ready]
        shown.show([t._data for t in shown.arguments], ready, [partial(np.array, t._data) for t in shown.asked])
    except BaseException:
        trace.undo()
        raise
    for parameter, array in new.items():
        parameter._data = array


def carried_out(outcome: Outcome) -> Any:
    """Make what a trace has computed real, and return its result."""
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
    """Record a step once, then run it as one function."""
    if function is None:
        return lambda function: Compiled(function, backend)
    return Compiled(function, backend)
