"""Arrays as the bytes of a `.safetensors` file, the format in which weights are passed on between frameworks.

Such a file is a header, which names each array with its dtype, its shape and its place, and the numbers of all arrays
one after the other (https://github.com/huggingface/safetensors). Loading it cannot run code. It has no checksums.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_vg.extras import install

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def packed(arrays: Mapping[str, Any]) -> bytes:
    """The bytes of a file with these arrays.

    Raises:
        ValueError: if a dtype has no place in such a file, or a name is that of the file's own entry.
        ModuleNotFoundError: if the package safetensors is missing.
    """
    library = package("safetensors.numpy")
    known = {np.dtype(code).newbyteorder("=") for code in DTYPES.values()}
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in known:
            raise ValueError(f"{name!r} is {array.dtype}, which .safetensors files do not hold; save it as .npz")
        if name == "__metadata__":
            raise ValueError("'__metadata__' cannot be the name of an array in a .safetensors file; save it as .npz")
    # The library reads the memory of an array from its first number on, whatever its strides are.
    whole = {name: np.array(array, array.dtype.newbyteorder("="), order="C") for name, array in arrays.items()}
    return bytes(library.save(whole))


def unpacked(content: bytes) -> dict[str, Any]:
    """The arrays of a file. Those in bfloat16, which NumPy lacks, are float32; no number changes by that.

    Raises:
        ValueError: if the content is not that of a whole file, or an array is in a dtype of less than two bytes.
        ModuleNotFoundError: if the package safetensors is missing.
    """
    library = package("safetensors")
    try:
        entries = library.deserialize(content)
    except library.SafetensorError as error:
        raise ValueError(str(error)) from error
    return {name: array_of(name, entry["dtype"], entry["shape"], entry["data"]) for name, entry in entries}


def array_of(name: str, dtype: str, shape: list[int], data: Any) -> Any:
    """The array of an entry.

    >>> array_of("weight", "BF16", [2], bytes([0x80, 0x3F, 0x49, 0x40]))
    array([1.      , 3.140625], dtype=float32)
    """
    if dtype == "BF16":  # the upper half of a float32
        halves = np.frombuffer(data, "<u2").astype(np.uint32)
        return (halves << 16).view(np.float32).reshape(shape)
    if dtype not in DTYPES:
        raise ValueError(f"{name!r} is {dtype}, which NumPy does not have; save it in float32")
    array = np.frombuffer(data, DTYPES[dtype])
    return array.astype(array.dtype.newbyteorder("=")).reshape(shape)


def package(name: str) -> Any:
    """A module of the package safetensors.

    Raises:
        ModuleNotFoundError: if it is missing; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f".safetensors files need the package safetensors: {install('safetensors')} installs it"
        ) from error
