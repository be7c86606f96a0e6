"""Places: the sources of a step's arrays before a run, and their destinations after it."""

from dataclasses import dataclass
from typing import Any

from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn import Parameter
from tinygrad_vg.optim import Optimizer

# What machine code moves in each of many runs: rows of data to an argument, results, gradients to followers. Or what it
# checks: gradients in float32 and float64.
GIVEN, RESULT, FOLLOWED, WATCHED32, WATCHED64 = 0, 1, 2, 3, 4


@dataclass(frozen=True, eq=False)
class Argument:
    """The array with this number among the arguments of the step."""

    number: int
    name: str


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that never changes."""

    name: str


@dataclass(frozen=True, eq=False)
class Returned:
    """An array that the step returns, as a Tensor if `is_tensor`."""

    is_tensor: bool
    name: str = "returned"


@dataclass(frozen=True, eq=False)
class Held:
    """The `data` of a tensor that the step uses: of a parameter, a buffer, or another tensor."""

    tensor: Tensor

    @property
    def key(self) -> tuple[Any, ...]:
        return "data", id(self.tensor)

    @property
    def name(self) -> str:
        return self.tensor.name or type(self.tensor).__name__.lower()

    def get(self) -> Any:
        return self.tensor._data

    def set(self, array: Any) -> None:
        self.tensor._data = array
        if isinstance(self.tensor, Parameter):
            self.tensor.is_trained = True


@dataclass(frozen=True, eq=False)
class Gradient:
    """The `.grad` of a tensor."""

    tensor: Tensor

    @property
    def key(self) -> tuple[Any, ...]:
        return "grad", id(self.tensor)

    @property
    def name(self) -> str:
        return f"{self.tensor.name or type(self.tensor).__name__.lower()}.grad"

    def get(self) -> Any:
        return self.tensor.grad

    def set(self, array: Any) -> None:
        self.tensor.grad = array


@dataclass(frozen=True, eq=False)
class State:
    """An array in the state that an optimizer keeps for a parameter."""

    optimizer: Optimizer
    parameter: Parameter
    name: str

    @property
    def key(self) -> tuple[Any, ...]:
        return "state", id(self.optimizer), id(self.parameter), self.name

    def get(self) -> Any:
        return self.optimizer.state.get(self.parameter, {}).get(self.name)

    def set(self, array: Any) -> None:
        self.optimizer.state.setdefault(self.parameter, {})[self.name] = array


@dataclass(frozen=True, eq=False)
class Option:
    """A number of an optimizer's group, or of one parameter of the group if it depends on the count of that parameter's
    steps.
    """

    optimizer: Optimizer
    group: int
    dtype: Any
    parameter: Parameter | None
    name: str

    @property
    def owner(self) -> tuple[Any, ...]:
        return id(self.optimizer), self.group, self.dtype, id(self.parameter)

    def all(self) -> dict[str, Any]:
        """The numbers of the group, or of the parameter, as they are now."""
        numbers = self.optimizer.numbers_of(self.group, self.dtype)
        if self.parameter is None:
            return numbers
        return self.optimizer.at_step(numbers, self.optimizer.state.get(self.parameter, {}))


Inside = Held | Gradient | State  # places that are there before a run and after it


class Numbers:
    """The numbers of optimizers that a program reads: 0-d arrays, which are brought up to date before each run.

    Args:
        options: an option of each group, or parameter, whose numbers the step uses, with all its numbers in the trace.
        used: each option with the array that the program reads for it.
    """

    def __init__(self, options: list[tuple[Option, dict[str, Any]]], used: list[tuple[Option, Any]]) -> None:
        self.groups = []
        for option, numbers in options:
            arrays = {o.name: a for o, a in used if o.owner == option.owner}
            fixed = {name: value for name, value in numbers.items() if isinstance(value, bool)}
            counts = [name for name, value in numbers.items() if type(value) is int]
            self.groups.append((option, numbers.keys(), fixed, counts, arrays))
        self.last: list[Any] = [None] * len(self.groups)
        self.counts = [
            (number, State(option.optimizer, option.parameter, name), name)
            for number, (option, _, _, counts, _) in enumerate(self.groups)
            for name in counts
            if option.parameter is not None
        ]

    def changed(self) -> str | None:
        """Bring the values up to date. Return the reason why the program is no longer right, or None."""
        for number, (option, names, fixed, _, arrays) in enumerate(self.groups):
            now = option.all()
            if now is self.last[number]:
                continue
            if now.keys() != names or any(now[name] != value for name, value in fixed.items()):
                return "the options of the optimizer"
            for name, array in arrays.items():
                array[...] = now[name]
            self.last[number] = now
        return None

    def count(self) -> None:
        """Count a step in the states that have a count."""
        for number, state, name in self.counts:
            state.set(self.last[number][name])
