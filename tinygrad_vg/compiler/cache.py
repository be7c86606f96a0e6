"""The cache: machine code on the disk, by the hash of its source. A second process does not compile it again.

The folder is `$TINYGRAD_VG_CACHE`, or `tinygrad_vg` in the user's folder for caches. A cache that cannot be written or
holds damaged files costs time and changes no result: `tg.load` compares every checksum.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_vg.compiler.llvm import addresses_in
from tinygrad_vg.storage import load, save

IMPORTED = ("calls", "elementary", "llvm", "registers", "rows")  # the modules that make a source into code


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
    imported = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in IMPORTED)
    machine = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), sys.version, sys.platform
    parts = [source.encode(), imported, version("llvmlite").encode(), repr(machine).encode()]
    return folder() / f"{hashlib.blake2b(b'|'.join(parts), digest_size=16).hexdigest()}.npz"


def machine_code(source: str, names: list[str], make: Callable[[], tuple[bytes, list[str]]]) -> dict[str, int]:
    """The addresses of the functions in a source, by name.

    Args:
        source: the text.
        names: the names of its functions.
        make: a function that compiles them, and returns the object code, and the name of each function in it.
    """
    source = re.sub(r"  #.*", "", source)  # the user's lines are not part of the code
    path = path_of(source)
    try:
        if path is not None and path.exists():
            kept: Any = load(path)
            if str(kept["source"]) != source:
                raise ValueError("code of another source")
            return dict(zip(names, addresses_in(kept["code"].tobytes(), kept["symbols"].tolist()), strict=True))
    except (OSError, ValueError, KeyError, RuntimeError):  # damaged, or not ours
        pass
    code, symbols = make()
    if path is not None:
        arrays = {"source": np.array(source), "code": np.frombuffer(code, np.uint8), "symbols": np.array(symbols)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save(arrays, path)
        except OSError:
            pass  # no room, or no right to write: the next process compiles again
    return dict(zip(names, addresses_in(code, symbols), strict=True))
