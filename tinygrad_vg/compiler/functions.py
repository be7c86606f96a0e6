"""Functions of machine code: what LLVM, or Numba, makes of a source, or what the cache has kept of it."""

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
    """`native.steps` as a function; Numba compiles it."""
    address = machine_code("# native.steps", ["steps"], compiled_steps)["steps"]
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)


def compiled_steps() -> tuple[bytes, list[str]]:
    """The object code of `native.steps`, and its name in it."""
    from tinygrad_vg.compiler import native

    (result,) = native.steps.overloads.values()
    return result.library._get_compiled_object(), [result.fndesc.llvm_func_name]
