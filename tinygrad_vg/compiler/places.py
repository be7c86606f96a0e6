"""Places: the sources of a step's arrays before a run, and their destinations after it."""

from dataclasses import dataclass
from typing import Any

from tinygrad_vg.engine import Tensor
from tinygrad_vg.nn import Parameter
from tinygrad_vg.optim import Optimizer

# What machine code moves in each of many runs: rows of data to an argument, numbers of an optimizer, results, counts of
# steps, gradients to followers. Or what it checks: gradients in float32 and float64.
GIVEN, NUMBER, RESULT, COUNT, FOLLOWED, WATCHED32, WATCHED64 = range(7)


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
