"""Backends: the ways to run a plan."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from tinygrad_vg.compiler import run_numpy
from tinygrad_vg.compiler.expand import COMMON, ELEMENTARY, PRODUCTS, expanded
from tinygrad_vg.compiler.passes import in_place, simplified
from tinygrad_vg.compiler.plan import Plan, Value
from tinygrad_vg.extras import install

BACKENDS = ("auto", "numpy", "numba")


class Lowered(NamedTuple):
    """A plan that can run.

    Attributes:
        function: `function(look, *arrays)` takes the arrays of the inputs, and returns those of the outputs. The next
            run writes into them again. `look` is None, or a function that is called with the outputs before any input
            changes.
        source: the text of the function.
        plan: the operations, with the place of each array.
        into: the outputs that the function writes into the array of a bound input.
        bytes: the size of the memory for all intermediate values.
    """

    function: Callable[..., Any]
    source: str
    plan: Plan
    into: dict[Value, Value]
    bytes: int


def chosen(backend: str) -> str:
    """The backend of a name: "auto" is "numba" if Numba is installed, else "numpy".

    Raises:
        ValueError: for an unknown name.
        ModuleNotFoundError: if Numba or SciPy is missing; the message names the extra that brings them.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is one of {', '.join(BACKENDS)}, not {backend!r}")
    missing = [name for name in ("numba", "scipy") if find_spec(name) is None]
    if backend == "auto":
        return "numpy" if missing else "numba"
    if backend == "numba" and missing:
        raise ModuleNotFoundError(
            f"backend='numba' needs {' and '.join(missing)}: {install('fast')} installs them; "
            "backend='numpy' needs nothing"
        )
    return backend


def lowered(
    backend: str,
    plan: Plan,
    inputs: list[Value],
    bound: dict[Value, Any],
    changed: dict[Value, Value],
    is_looked_at: bool,
    count: int,
) -> Lowered:
    """A plan as a function that runs.

    Args:
        backend: "numpy" or "numba".
        plan: the operations.
        inputs: the inputs whose arrays are the arguments of the function, in their order.
        bound: the inputs whose arrays are the same in every run.
        changed: outputs that are the new value of a bound input, and may be written into its array.
        is_looked_at: whether hooks are called before a run changes an input.
        count: the number of outputs that every run gives; the others are for hooks.
    """
    plan = simplified(expanded(plan, COMMON))
    if backend == "numba":
        from tinygrad_vg.compiler.run_numba import Machine

        machine = Machine(simplified(expanded(plan, PRODUCTS)), inputs, bound, changed, is_looked_at, count)
        return Lowered(machine, machine.source, machine.shown_plan, machine.into, machine.size)
    plan = simplified(expanded(plan, ELEMENTARY))
    into = in_place(plan, changed)
    function, source, writer = run_numpy.program(plan, inputs, bound, into, is_looked_at)
    return Lowered(function, source, writer.shown_plan, into, writer.size)
