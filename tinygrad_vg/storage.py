"""Arrays on disk, in `.npz` files without pickle, or in `.safetensors` files: loading a file cannot run code.

`replacing` writes a temporary file beside the old one, flushes it to the disk and renames it. If the program is killed
or the power fails, the old file or the new one is there, never a part of one. A process that is killed while it writes
leaves its temporary file, `.name.TOKEN.suffix`, behind; a write of the same file more than an hour later removes it.
"""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_vg.safetensors_file import packed, unpacked

ABANDONED = 3600.0  # seconds since the last write, after which a temporary file has no writer
MOST_UNPACKED = 1 << 30  # bytes that a compressed file may unpack to by default
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")  # suffixes of what torch.save writes
INSTEAD = "in PyTorch write safetensors.torch.save_file(net.state_dict(), 'net.safetensors'), and load that file"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to. It is renamed to `path` at the end, or removed after an exception.

    File systems rename atomically: readers find the old file or the new one, never a part of one, also after a power
    failure. Each writer has its own temporary file: if two threads or processes write at once, the file of the last one
    remains. An existing file keeps its mode. If `path` is a symbolic link, its target is replaced. Temporary files of
    killed processes are removed when an hour old.

    Raises:
        OSError: if the file cannot be written. An existing file is unchanged then.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/table.csv") as temporary:
    ...         _ = temporary.write_text("a,b")
    ...     Path(f"{folder}/table.csv").read_text()
    'a,b'
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f".{path.stem}.{os.urandom(8).hex()}{path.suffix}")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    # The temporary file is readable by the same users as the old one, and writable.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else mode | stat.S_IWUSR))
    try:
        yield temporary
        with open(temporary, "rb+") as file:  # Windows flushes only files that are open for writing
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_names(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` that killed processes have left.

    They are known by name and age. A process number in the name would not help: numbers are used again, and have no
    meaning on another machine or in another container that shares the folder.
    """
    ours = re.compile(rf"\.{re.escape(path.stem)}\.[0-9a-f]{{16}}{re.escape(path.suffix)}")
    with contextlib.suppress(OSError):  # another process was faster, or the rights are missing
        for name in filter(ours.fullmatch, os.listdir(path.parent)):
            status = os.lstat(path.parent / name)
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > ABANDONED:
                os.unlink(path.parent / name)


def flush_names(folder: Path) -> None:
    """Flush a folder to the disk, where the system can: a rename changes the folder."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder_file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse; the file has been renamed all the same
            os.fsync(folder_file)
    finally:
        os.close(folder_file)


def save(arrays: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write named arrays, such as a `state_dict()`, to an `.npz` or a `.safetensors` file; missing folders are made.

    A `.safetensors` file (extra `safetensors`) is read by PyTorch too: `safetensors.torch.load_file(path)`. It holds
    integers, bools, and floats of 16 to 64 bits.

    Raises:
        TypeError: if a name is not a string, an array has a mask, or `arrays` is not a mapping.
        ValueError: if the path has another suffix, a name holds a NUL, or an array holds Python objects, or what a
            .safetensors file cannot hold.
        OSError: if the file cannot be written.
        ModuleNotFoundError: if the path ends in .safetensors, and the package is missing.

    >>> import tempfile, tinygrad_vg as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(tg.nn.Linear(2, 1, rng=0).state_dict(), f"{folder}/model.npz")
    ...     sorted(tg.load(f"{folder}/model.npz"))
    ['bias', 'weight']
    """
    suffix = Path(path).suffix
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"arrays are saved as .npz files or .safetensors; {os.fspath(path)!r} has another suffix")
    plain = checked(arrays)
    if suffix == ".safetensors":
        content = packed(plain)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return
    import zipfile  # here and not above: with its compressors it takes a tenth of the import time of this package

    # This is what np.savez does, but np.savez cannot save an array called "file".
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in plain.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def checked(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays as NumPy's, if they and their names can be saved.

    Raises:
        TypeError, ValueError: as `save` does.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"save takes arrays by name, such as net.state_dict(), not {type(arrays).__name__}")
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"names of arrays must be strings, not {name!r}: load could not return another name")
        if "\0" in name:
            raise ValueError(f"the name {name!r} holds a NUL, and zip archives cut names off there")
        if isinstance(arrays[name], np.ma.MaskedArray):
            raise TypeError(f"{name!r} is a masked array, and files hold no masks; save its .filled(value)")
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise ValueError(f"{name!r} holds Python objects, which would need pickle; save numbers or strings")
    return plain


def load(path: str | os.PathLike[str], max_bytes: int = MOST_UNPACKED) -> dict[str, Any]:
    """The arrays of an `.npz` or a `.safetensors` file, by name.

    All checksums of an .npz file are compared; .safetensors files have none. Numbers in bfloat16, which NumPy lacks,
    are loaded as float32. The names in a file that PyTorch's `state_dict()` has given are those that
    `load_state_dict` takes, if both networks have the same structure.

    Args:
        path: the file. If its suffix is not .safetensors, it is an .npz file.
        max_bytes: the largest size of all arrays together if the file is compressed, as `np.savez_compressed` does it;
            1 GiB by default. Three megabytes can unpack to three gigabytes. A file that is not compressed has no limit.

    Raises:
        OSError: if the file cannot be read; FileNotFoundError if it does not exist.
        ValueError: if it is not such a file, is damaged, holds Python objects or anything else but arrays, or unpacks
            to more than `max_bytes`.
        ModuleNotFoundError: if the path ends in .safetensors, and the package of the extra `safetensors` is missing.

    >>> import tempfile, numpy as np, tinygrad_vg as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", x=np.arange(3))
    ...     tg.load(f"{folder}/a.npz")
    {'x': array([0, 1, 2])}
    """
    suffix = Path(path).suffix
    if suffix in PICKLES:
        raise ValueError(f"{os.fspath(path)} is a pickle by its suffix, and loading one can run code: {INSTEAD}")
    with open(path, "rb") as file:
        try:
            return unpacked(file.read()) if suffix == ".safetensors" else arrays_in(file, max_bytes)
        except ModuleNotFoundError:
            raise
        except TooLargeError as error:
            raise ValueError(f"{os.fspath(path)} {error}") from None
        except Exception as error:  # NumPy and zipfile raise five kinds of exceptions for a damaged file
            kind = ".safetensors file" if suffix == ".safetensors" else ".npz file of plain arrays"
            raise ValueError(f"{os.fspath(path)} is not a whole {kind}: {error}") from error


class TooLargeError(ValueError):
    """A compressed file that unpacks to more than it may."""


def arrays_in(file: Any, max_bytes: int) -> dict[str, Any]:
    """The arrays of an open .npz file.

    Raises:
        TooLargeError: if it is compressed and unpacks to more than `max_bytes`.
        Exception: of several kinds, if it is damaged.
    """
    import zipfile

    if not zipfile.is_zipfile(file):
        raise ValueError("it is not a zip archive, or only a part of one")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        check_members(members, file)
        unpacked_bytes = sum(member.file_size for member in members)  # no entry unpacks to more than this says
        if unpacked_bytes > max(max_bytes, file.seek(0, os.SEEK_END)):
            raise TooLargeError(f"unpacks to {unpacked_bytes:,} bytes, more than max_bytes={max_bytes}; "
                           f"if that is right, load it with max_bytes={unpacked_bytes}")  # fmt: skip
        return {member.filename.removesuffix(".npy"): read(archive, member) for member in members}


def check_members(members: list[Any], file: Any) -> None:
    """Raise ValueError if an entry is not an array, a name is there twice, or the archive counts other entries."""
    names = [member.filename for member in members]
    if strange := [name for name in names if not name.endswith(".npy")]:
        raise ValueError(f"it holds entries that are no array: {strange}")
    if len(set(names)) < len(names):
        raise ValueError("a name is there twice")
    if any(not member.orig_filename.isascii() and not member.flag_bits & 0x800 for member in members):
        raise ValueError("a name is not marked as UTF-8")
    if any(member.compress_type not in (0, 8) for member in members):  # others unpack without a bound on the memory
        raise ValueError("an entry is neither stored nor deflated, as NumPy's are")
    file.seek(-22, os.SEEK_END)  # the record that ends an archive without a comment
    end = file.read()
    if end.startswith(b"PK\5\6") and int.from_bytes(end[10:12], "little") != min(len(names), 0xFFFF):
        raise ValueError(f"its directory has {len(names)} entries, but its last record counts another number")


def read(archive: Any, member: Any) -> Any:
    """The array of one entry of an archive. The entry is read to its end, where zipfile compares the checksum."""
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{member.filename} is longer than its array")
    return array
