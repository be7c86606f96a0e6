"""The compiler: a training step, or any function of tensors, recorded once and then run as one function.

A trace (`trace.py`) is one call of the step, recorded by the engine. A plan (`plan.py`) is the list of its operations,
which passes (`expand.py`, `passes.py`) make shorter. A backend (`run_numpy.py`, `run_numba.py`) makes a function of it.
A program (`program.py`) is that function with the guards (`guards.py`) that say when it is right.
"""

from tinygrad_vg.compiler.compiled import Compiled, compile
from tinygrad_vg.compiler.trace import TraceError

__all__ = ["Compiled", "TraceError", "compile"]
