"""Reader of IDX files, the format of MNIST and of data sets modelled on it.

An IDX file is a header followed by the elements in C order, every number big endian. The header
is two zero bytes, one byte for the type of the elements, one byte for the number of dimensions,
and one unsigned 32-bit size per dimension.
"""

import gzip
import lzma
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from tinygrad_vg.storage import MOST_UNPACKED

# In order of preference, for unpacking tools often leave the compressed file beside the plain one.
SUFFIXES = ("", ".gz", ".xz")

# The files of a directory are chosen by name, not by content: a damaged IDX file must raise an error, and by its
# content it would look like a file of another kind and be left out silently. The name must end in the type (and a
# compression), which leaves out "…-ubyte.xz.sha256" and unfinished downloads. Names with a leading dot are left out:
# macOS archives contain such "._…" files.
_IDX_NAME = re.compile(r"(?P<name>(?!\.).*idx[0-9]+-[a-z]+)(\.gz|\.xz)?")

_ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

_GZIP_MAGIC = b"\x1f\x8b"
_XZ_MAGIC = b"\xfd7zXZ\x00"
_XZ_FOOTER = b"YZ"
_CHUNK_BYTES = 1 << 20


def load_idx(path: str | os.PathLike[str], max_bytes: int = MOST_UNPACKED) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Load one IDX file as an array, or every IDX file of a directory as a dictionary of arrays.

    A file may be plain or compressed with gzip or xz. Its array has the shape that its header
    states, the NumPy type of its elements (uint8, int8, int16, int32, float32 or float64) in the
    byte order of this machine, and memory of its own that may be written to.

    In a directory the IDX files are those whose names end in "idx", a number, "-" and a type
    (as in train-images-idx3-ubyte), and then possibly in .gz or .xz; other files are ignored.
    The keys are the names without .gz and .xz, sorted. Where the same name is there more than
    once, the plain file is taken before the .gz, and the .gz before the .xz.

    `max_bytes` limits the size of the array of a compressed file, by default to 1 GiB: a small file can unpack to a
    thousand times its size. The size of a plain file is not limited.

    Raises FileNotFoundError for a path that does not exist or a directory without IDX files, and
    ValueError for a file that is not IDX, is damaged, holds fewer or more bytes than its header
    announces, or would unpack to more than `max_bytes`. The message names the file, what was
    expected and what was found.

    >>> import pathlib, tempfile
    >>> from tinygrad_vg import datasets
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "pair-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     datasets.load_idx(path)
    array([7, 9], dtype=uint8)
    """
    path = Path(path)
    if not path.is_dir():
        return read_file(path, max_bytes)
    files: dict[str, Path] = {}
    # Sorted, "…-ubyte" precedes "…-ubyte.gz" and that "…-ubyte.xz": the order of SUFFIXES.
    for file in sorted(path.iterdir(), key=lambda entry: entry.name):
        match = _IDX_NAME.fullmatch(file.name)
        if match and file.is_file():
            files.setdefault(match["name"], file)
    if not files:
        raise FileNotFoundError(
            f"{path}: expected a directory with IDX files (named as in train-images-idx3-ubyte, "
            f"possibly with .gz or .xz), found none; give a file's own path to read it under any name"
        )
    return {name: read_file(files[name], max_bytes) for name in sorted(files)}


def read_file(path: Path, max_bytes: int = MOST_UNPACKED) -> NDArray[Any]:
    """Read one IDX file; see `load_idx` for what is accepted, returned and raised."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected an IDX file, found nothing there; check the path")
    with path.open("rb") as raw:
        # The compression is found by the content, not by the suffix: browsers and servers unpack or rename files, and
        # many have a wrong suffix. An IDX file starts with two zero bytes, as no compressed file does.
        start = raw.read(len(_XZ_MAGIC))
        raw.seek(0)
        compression = "gzip" if start.startswith(_GZIP_MAGIC) else "xz" if start == _XZ_MAGIC else None
        if compression is None:
            return _read_stream(raw, path, None)
        try:
            with gzip.GzipFile(fileobj=raw) if compression == "gzip" else lzma.LZMAFile(raw) as unpacked:
                array = _read_stream(cast(BinaryIO, unpacked), path, max_bytes)
            if compression == "xz":
                _check_xz_end(raw)
            return array
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a complete {compression} stream, found a truncated or corrupt one "
                f"({error}); copy or download the file again"
            ) from error


def _check_xz_end(raw: BinaryIO) -> None:
    # gzip raises for foreign bytes after its stream; lzma ignores them, so this looks for the end mark.
    raw.seek(-len(_XZ_FOOTER), os.SEEK_END)
    if raw.read() != _XZ_FOOTER:
        raise lzma.LZMAError("foreign bytes after the end of the stream")


def _read_stream(stream: BinaryIO, path: Path, most: int | None) -> NDArray[Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _ELEMENT_TYPES:
        raise ValueError(
            f"{path}: expected an IDX file, whose first bytes are 00 00, a type out of "
            f"{bytes(_ELEMENT_TYPES).hex(' ')} and the number of dimensions, "
            f"found {magic.hex(' ') or 'no bytes at all'}"
        )
    element, dimensions = _ELEMENT_TYPES[magic[2]], magic[3]
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(
            f"{path}: expected {4 * dimensions:,} bytes for the sizes of {dimensions} dimensions, "
            f"found {len(sizes):,}; the file is truncated, copy or download it again"
        )
    shape = struct.unpack(f">{dimensions}I", sizes)
    expected = math.prod(shape) * element.itemsize
    if most is not None and expected > most:
        raise ValueError(
            f"{path}: expected at most {most:,} bytes of data from a compressed file, found a header "
            f"that announces {expected:,}, for shape {shape} of {element.name}; if that is right, "
            f"load it with max_bytes={expected}"
        )
    data = bytearray()
    # In pieces, because read(expected) would allocate as much memory as the header claims. To the end of the stream,
    # because checksums are compared only there; but no further than one surplus byte.
    while len(data) <= expected and (chunk := stream.read(_CHUNK_BYTES)):
        data += chunk
    if len(data) != expected:
        raise ValueError(
            f"{path}: expected {expected:,} bytes of data for shape {shape} of {element.name}, found "
            f"{f'{len(data):,}; the file is truncated' if len(data) < expected else 'more; the file is too long'}, "
            f"copy or download it again"
        )
    try:
        array: NDArray[Any] = np.ndarray(shape, element, data)
    except ValueError as error:
        # There are more dimensions than NumPy supports, or the array is empty and its other sizes overflow.
        raise ValueError(f"{path}: expected a shape that NumPy can hold, found {shape} ({error})") from error
    return array.astype(element.newbyteorder("="), copy=False)
