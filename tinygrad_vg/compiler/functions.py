"""Functions of machine code: what LLVM makes of a source, or what the cache has kept of it."""

import ctypes
import re
from functools import cache
from typing import Any

from tinygrad_vg.compiler.cache import machine_code
from tinygrad_vg.compiler.llvm import object_code


def functions_of(source: str) -> dict[str, Any]:
    """The functions `run_0`, `run_1` ... of a source, as functions of the table's address."""
    names = re.findall(r"^def (run_\d+)\(", source, flags=re.MULTILINE)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64)
    addresses = machine_code(source, names, lambda: traced(source, names))
    return {name: kind(address) for name, address in addresses.items()}


def traced(source: str, names: list[str]) -> tuple[bytes, list[str]]:
    """The functions of a source, each called once with registers: their object code, and their names in it."""
    from llvmlite import ir

    from tinygrad_vg.compiler.registers import written

    made: dict[str, Any] = {}
    exec(compile(source, "<plan>", "exec"), made)
    module = ir.Module("plan")
    for name in names:
        written(module, made[name])
    return object_code(str(module)), names


@cache
def many_steps() -> Any:
    """`steps.steps` as a function of a job's address."""
    from tinygrad_vg.compiler.steps import text

    source = text()
    address = machine_code(source, ["steps"], lambda: (object_code(source), ["steps"]))["steps"]
    return ctypes.CFUNCTYPE(None, ctypes.c_int64)(address)
