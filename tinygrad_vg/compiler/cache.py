"""The cache: machine code on the disk, by the hash of its source. A second process does not compile it again.

The folder is `$TINYGRAD_VG_CACHE`, or `tinygrad_vg` in the user's folder for caches. A cache that cannot be written or
holds damaged files costs time and changes no result: `tg.load` compares every checksum.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_vg.storage import load, save

IMPORTED = ("elementary", "registers", "native")  # the modules that generated sources import


def folder() -> Path:
    """The folder of the cache; an empty `$TINYGRAD_VG_CACHE` switches it off."""
    if (given := os.environ.get("TINYGRAD_VG_CACHE")) is not None:
        return Path(given)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home)) / "tinygrad_vg" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "tinygrad_vg"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "tinygrad_vg"


def path_of(source: str) -> Path | None:
    """The file for a source. Its name is a hash of the source, its imports, the versions, and the processor."""
    import llvmlite.binding as llvm

    if os.environ.get("TINYGRAD_VG_CACHE") == "":
        return None
    native = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in IMPORTED)
    machine = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), sys.version, sys.platform
    parts = [source.encode(), native, version("numba").encode(), version("llvmlite").encode(), repr(machine).encode()]
    return folder() / f"{hashlib.blake2b(b'|'.join(parts), digest_size=16).hexdigest()}.npz"


def machine_code(source: str, names: list[str], make: Callable[[], list[tuple[str, bytes]]]) -> dict[str, int]:
    """The addresses of the functions in a source, by name.

    Args:
        source: the text.
        names: the names of its functions.
        make: a function that compiles them, and returns (symbol, object code) of each.
    """
    source = re.sub(r"  #.*", "", source)  # the user's lines are not part of the code
    path = path_of(source)
    kept: Any = None
    try:
        if path is not None and path.exists():
            kept = load(path)
            if str(kept["source"]) != source:
                raise ValueError("code of another source")
            return {name: address_in(str(kept[f"{name}.symbol"]), kept[f"{name}.code"].tobytes()) for name in names}
    except (OSError, ValueError, KeyError, RuntimeError):  # damaged, or not ours
        pass
    made = dict(zip(names, make(), strict=True))
    if path is not None:
        arrays: dict[str, Any] = {"source": np.array(source)}
        for name, (symbol, code) in made.items():
            arrays |= {f"{name}.symbol": np.array(symbol), f"{name}.code": np.frombuffer(code, np.uint8)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save(arrays, path)
        except OSError:
            pass  # no room, or no right to write: the next process compiles again
    return {name: address_in(symbol, code) for name, (symbol, code) in made.items()}


_ENGINES: list[Any] = []  # they own the memory of the code


def address_in(symbol: str, code: bytes) -> int:
    """The address of a function in object code, which stays in memory.

    Raises:
        ValueError: if the code has no such function.
    """
    import llvmlite.binding as llvm

    prepare()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    if not (address := engine.get_function_address(symbol)):
        raise ValueError(f"the code has no function {symbol}")
    return int(address)


@cache
def prepare() -> None:
    """Make LLVM ready.

    Numba's code names a function for memory that it allocates; generated code allocates none. Numba brings the function
    when it compiles something itself. Without it LLVM would find none of the other functions either, such as memset.
    """
    import ctypes

    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if llvm.address_of_symbol("NRT_MemInfo_call_dtor") is None:
        llvm.add_symbol("NRT_MemInfo_call_dtor", ctypes.cast(ctypes.pythonapi.Py_IncRef, ctypes.c_void_p).value)
