"""MNIST, the handwritten digits of LeCun, Cortes and Burges, in three splits as flat vectors.

The folder `files` beside this module holds the four files and their licence.
"""

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_vg.datasets.idx import SUFFIXES, read_file

_SHIPPED = Path(__file__).parent / "files"
_SHA256 = {
    "train-images-idx3-ubyte.xz": "037499b299a624dbc1fbbc308c6f8e085ec08df9e241f7296a73ace16d7355e4",
    "train-labels-idx1-ubyte.xz": "0b691ea7422403e7bd1bfc7f2ac58334416a723a3d2941e5352eba5099dd3280",
    "t10k-images-idx3-ubyte.xz": "31f8666c3e0dee34c8f6c14aefae6b7b8e72c2efc030a9e4a857d8ccea2fa970",
    "t10k-labels-idx1-ubyte.xz": "415b72b2ab3860ef01e17a0991178c2a62102b84a9ac8a6f2d0caf48f2f66f09",
}
_FILE_OF_SPLIT = {"train": "train", "validation": "train", "test": "t10k"}


def mnist(
    split: str,
    directory: str | os.PathLike[str] | None = None,
    dtype: DTypeLike = np.float32,
) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
    """The images and labels of one split of MNIST, or of another data set in the same four files.

    The splits are those of Nielsen's book "Neural Networks and Deep Learning", in file order:
    "train" is the first 50,000 of the 60,000 training images, "validation" the last 10,000 of
    them, "test" the 10,000 test images.

    The images have shape (n, 784), one flattened 28 x 28 image per row, row by row from the
    top left; in general (n, rows * columns). A pixel is its byte divided by 256, from 0 (paper)
    to 255/256 (ink). Every such value is exact in float16, float32 and float64, so `dtype`, which
    must be a floating type, changes the memory used but no pixel. The labels are int64, shape
    (n,), each the digit 0 to 9. Both arrays are new in every call and may be written to.

    `directory` names another directory with four IDX files of the names MNIST uses, plain, .gz
    or .xz, such as Fashion-MNIST or KMNIST:

    - train-images-idx3-ubyte, train-labels-idx1-ubyte
    - t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte

    There "validation" is the last sixth of the training images, rounded down, and "train" the rest,
    which for 60,000 images is the split above.

    The files that are shipped are compared with their SHA-256 when they are first read.

    Raises ValueError for an unknown split, for a damaged file, for images that are not 3-D uint8
    or labels that are not 1-D uint8, and where the numbers of images and labels differ;
    FileNotFoundError for a file that is missing; TypeError for a `dtype` that is not floating.

    >>> from tinygrad_vg import datasets
    >>> images, labels = datasets.mnist("test")
    >>> images.shape, images.dtype, float(images.max())
    ((10000, 784), dtype('float32'), 0.99609375)
    >>> labels[:5]
    array([7, 2, 1, 0, 4])
    """
    if split not in _FILE_OF_SPLIT:
        known = ", ".join(map(repr, _FILE_OF_SPLIT))
        raise ValueError(f"mnist has no split {split!r}; choose one of {known}")
    pixel_type = np.dtype(dtype)
    if not np.issubdtype(pixel_type, np.floating):
        # An integer type would turn every pixel into 0.
        raise TypeError(
            f"mnist cannot return pixels as {pixel_type}, because they are fractions from 0 to 255/256; "
            f"choose a floating dtype such as float32"
        )
    prefix = _FILE_OF_SPLIT[split]
    pixels, digits = _shipped(prefix) if directory is None else _read_pair(Path(directory), prefix)
    boundary = len(pixels) - len(pixels) // 6
    if split == "train":
        pixels, digits = pixels[:boundary], digits[:boundary]
    elif split == "validation":
        pixels, digits = pixels[boundary:], digits[boundary:]
    count, rows, columns = pixels.shape
    images = pixels.reshape(count, rows * columns).astype(pixel_type)
    images /= 256
    return images, digits.astype(np.int64)


@functools.cache
def _shipped(prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes of the shipped files, compared with their SHA-256: unpacked once in a process, for it takes a second
    and the bytes 55 MB."""
    for name, digest in _SHA256.items():
        if name.startswith(prefix):
            found = hashlib.sha256(_find(_SHIPPED, name).read_bytes()).hexdigest()
            if found != digest:
                raise ValueError(
                    f"{_SHIPPED / name}: expected the file shipped with tinygrad_vg, with SHA-256 {digest}, "
                    f"found {found}; install tinygrad_vg again"
                )
    return _read_pair(_SHIPPED, prefix)


def _read_pair(directory: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images_file = _find(directory, f"{prefix}-images-idx3-ubyte")
    labels_file = _find(directory, f"{prefix}-labels-idx1-ubyte")
    images = _read_bytes(images_file, "images", dimensions=3)
    labels = _read_bytes(labels_file, "labels", dimensions=1)
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_file}: expected {len(images):,} labels, one for each image of {images_file.name}, "
            f"found {len(labels):,}; take both files from the same data set"
        )
    return images, labels


def _find(directory: Path, name: str) -> Path:
    for suffix in SUFFIXES:
        file = directory / f"{name}{suffix}"
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"{directory / name}: expected this file, plain or with .gz or .xz, found "
        f"{'none of them' if directory.is_dir() else f'no directory {directory}'}; "
        f"name a directory with the four files of MNIST, or none for the files shipped with the package"
    )


def _read_bytes(file: Path, content: str, dimensions: int) -> NDArray[np.uint8]:
    array = read_file(file)
    if array.ndim != dimensions or array.dtype != np.uint8:
        raise ValueError(
            f"{file}: expected {content}, a {dimensions}-D array of uint8, "
            f"found a {array.ndim}-D array of {array.dtype}; check that the file has the right name"
        )
    return array
