"""Arrays on disk, without pickle: a file that is loaded cannot run code, one that is cut off is never seen."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to, renamed to it if all went well and removed if not.

    Renaming is one step for the file system: readers find the old file or the new, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(arrays: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write named arrays, such as a `state_dict()`, to an `.npz` file; missing folders are made.

    Raises:
        ValueError: if the path does not end in .npz, or an array holds Python objects.

    >>> import tempfile, tinygrad_vg as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(tg.nn.Linear(2, 1, rng=0).state_dict(), f"{folder}/model.npz")
    ...     sorted(tg.load(f"{folder}/model.npz"))
    ['bias', 'weight']
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"arrays are saved as .npz files; {os.fspath(path)!r} has another suffix")
    if not isinstance(arrays, Mapping):
        raise TypeError(f"save takes arrays by name, such as net.state_dict(), not {type(arrays).__name__}")
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise ValueError(f"{name!r} holds Python objects, which would need pickle; save numbers or strings")
    import zipfile  # with its compressors a tenth of the time that importing this package takes

    # As np.savez does, which could not take an array called "file".
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in plain.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays of an `.npz` file, by name.

    Raises:
        OSError: if the file cannot be read, FileNotFoundError if there is none.
        ValueError: if it is not an .npz file, or holds Python objects.
    """
    import zipfile

    with open(path, "rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no zip archive, or only a part of one")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[f"{name}.npy"] for name in archive.files}
        except Exception as error:  # NumPy and zipfile raise five kinds for the same thing
            raise ValueError(f"{os.fspath(path)} is not a whole .npz file of plain arrays: {error}") from error
