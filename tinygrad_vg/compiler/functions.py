"""Functions of machine code: the source that Numba compiles, or what the cache has kept of it."""

import ctypes
import re
from functools import cache
from typing import Any

from tinygrad_vg.compiler.cache import machine_code


def functions_of(source: str) -> dict[str, Any]:
    """The functions `run_0`, `run_1` ... of a source, as functions of the table's address."""
    names = re.findall(r"^def (run_\d+)\(", source, flags=re.MULTILINE)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    addresses = machine_code(source, names, lambda: object_code(source, names))
    return {name: kind(address) for name, address in addresses.items()}


def object_code(source: str, names: list[str]) -> list[tuple[str, bytes]]:
    """(symbol, object code) of functions of a whole number, compiled by Numba."""
    from numba import types

    from tinygrad_vg.compiler import native

    made: dict[str, Any] = dict(vars(native))
    exec(compile(source, "<plan>", "exec"), made)
    found = []
    for name in names:
        function = native.alone(types.void(types.int64))(made[name])
        (result,) = function.overloads.values()
        found.append((result.fndesc.llvm_func_name, result.library._get_compiled_object()))
    return found


@cache
def many_steps() -> Any:
    """`native.steps` as a function."""
    source = "# native.steps"
    address = machine_code(source, ["steps"], lambda: object_code(source, ["steps"]))["steps"]
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
