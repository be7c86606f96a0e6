"""The numbers of optimizers that a compiled step reads, in the next run and in the runs after it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_vg.compiler.places import Option, State


@dataclass
class Ahead:
    """What changes from step to step in the optimizers, for some steps that run in one call.

    Attributes:
        numbers: (the values in each step, the 0-d array that the program reads).
        counts: (the values after each step, a 0-d array for the present value, the state with this count).
    """

    numbers: list[tuple[Any, Any]] = field(default_factory=list)
    counts: list[tuple[Any, Any, State]] = field(default_factory=list)

    def settle(self) -> None:
        """Set the counts to those of the last complete step."""
        for _, present, state in self.counts:
            state.set(int(present))


class Numbers:
    """The numbers of optimizers that a program reads: 0-d arrays, which are brought up to date before each run.

    Args:
        options: an option of each group, or parameter, whose numbers the step uses, with all its numbers in the trace.
        used: each option with the array that the program reads for it.
    """

    def __init__(self, options: list[tuple[Option, dict[str, Any]]], used: list[tuple[Option, Any]]) -> None:
        self.groups: list[Any] = []
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

    def ahead(self, n: int) -> Ahead | None:
        """What changes in the next n steps; None if it depends on more than the counts of steps.

        `changed` has been called for the first of them.
        """
        ahead, known = Ahead(), dict[Any, Any]()
        for number, (option, _, _, counts, arrays) in enumerate(self.groups):
            if option.parameter is None:
                continue
            states = [State(option.optimizer, option.parameter, name) for name in counts]
            begin = {state.name: state.get() for state in states}
            key = (*option.owner[:3], *arrays, *begin.values())  # parameters of the same age share their columns
            if key not in known:
                known[key] = self.columns(number, begin, n)
            if (columns := known[key]) is None:
                return None
            values, steps = columns
            ahead.numbers += [(values[name], array) for name, array in arrays.items()]
            ahead.counts += [(steps[s.name], np.array(begin[s.name], np.int64), s) for s in states]
        return ahead

    def columns(self, number: int, counts: dict[str, Any], n: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The numbers of a parameter in each of the next n steps, and its counts after each; None as in `ahead`."""
        option, names, fixed, _, arrays = self.groups[number]
        if None in counts.values():
            return None  # the first step begins to count
        values = {name: np.empty(n, array.dtype) for name, array in arrays.items()}
        steps = {name: np.empty(n, np.int64) for name in counts}
        of_group = option.optimizer.numbers_of(option.group, option.dtype)
        for i in range(n):
            now = option.optimizer.at_step(of_group, counts)
            is_as_before = now == self.last[number] if i == 0 else now.keys() == names
            if not is_as_before or any(now[name] != value for name, value in fixed.items()):
                return None
            counts = {name: now[name] for name in counts}
            for name, column in (*values.items(), *steps.items()):
                column[i] = now[name]
        return values, steps
