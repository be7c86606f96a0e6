"""mnist returns the shipped digits in Nielsen's splits, and other data sets stored in the same way."""

import gzip
import hashlib
import importlib
import lzma
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_vg import datasets

mnist_module = importlib.import_module("tinygrad_vg.datasets.mnist")
Split = tuple[NDArray[np.floating[Any]], NDArray[np.int64]]

SHIPPED = Path(datasets.__file__).parent / "files"
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Unpack the shipped files without the library's own reader."""
    return {name: lzma.decompress((SHIPPED / f"{name}.xz").read_bytes()) for name in SHA256}


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return {split: datasets.mnist(split) for split in ["train", "validation", "test"]}


def write(path: Path, array: NDArray[Any], code: int = 0x08, suffix: str = "") -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()
    path.with_name(path.name + suffix).write_bytes(PACKERS[suffix](content))


def write_set(directory: Path, train: int, test: int, suffix: str = "") -> None:
    """Write four files in which image i is 2 x 3 pixels filled with i and has the label i % 10."""
    for prefix, count in [("train", train), ("t10k", test)]:
        numbers = np.arange(count, dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None], (count, 2, 3))
        write(directory / f"{prefix}-images-idx3-ubyte", images, suffix=suffix)
        write(directory / f"{prefix}-labels-idx1-ubyte", numbers % 10, suffix=suffix)


def test_shipped_files_are_the_originals(files: dict[str, bytes]) -> None:
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == SHA256


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.xz", "t10k-labels-idx1-ubyte.xz"])
def test_shipped_files_are_compared_with_their_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file that is whole and another: no checksum inside it can tell."""
    for file in SHIPPED.glob("t10k-*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(mnist_module, "_SHIPPED", tmp_path)
    mnist_module._shipped.cache_clear()
    assert len(datasets.mnist("test")[0]) == 10000
    array = np.array(datasets.load_idx(tmp_path / name))
    array.flat[5000] += 1
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    (tmp_path / name).write_bytes(lzma.compress(content, preset=0))
    mnist_module._shipped.cache_clear()
    with pytest.raises(ValueError, match=f"{name}: expected the file shipped with .* install tinygrad_vg again"):
        datasets.mnist("test")
    assert len(datasets.mnist("test", tmp_path)[0]) == 10000  # a directory of one's own may hold what it likes


def test_the_licence_notice_is_shipped() -> None:
    notice = (SHIPPED / "README.md").read_text(encoding="utf-8")
    uri = "https://creativecommons.org/licenses/by-sa/3.0/"  # which the licence itself asks for
    assert f"Creative Commons Attribution-ShareAlike 3.0, {uri}" in notice
    for name, digest in SHA256.items():
        assert f"{digest}  {name}" in notice


@pytest.mark.parametrize(("split", "count"), [("train", 50000), ("validation", 10000), ("test", 10000)])
def test_shapes_and_types(splits: dict[str, Split], split: str, count: int) -> None:
    images, labels = splits[split]
    assert (images.shape, images.dtype.name) == ((count, 784), "float32")
    assert (labels.shape, labels.dtype.name) == ((count,), "int64")
    assert (images.min(), images.max()) == (0, 255 / 256)
    assert images.flags.carray
    assert labels.flags.carray


def test_splits_are_the_files_in_order(splits: dict[str, Split], files: dict[str, bytes]) -> None:
    for prefix, parts in [("train", ["train", "validation"]), ("t10k", ["test"])]:
        image_bytes = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"], np.uint8, offset=16)
        label_bytes = np.frombuffer(files[f"{prefix}-labels-idx1-ubyte"], np.uint8, offset=8)
        start = 0
        for images, labels in (splits[part] for part in parts):
            stop = start + len(labels)
            np.testing.assert_array_equal(images * 256, image_bytes.reshape(-1, 784)[start:stop])
            np.testing.assert_array_equal(labels, label_bytes[start:stop])
            start = stop
        assert start == len(label_bytes)


@pytest.mark.parametrize(
    ("split", "counts"),
    [
        ("train", [4932, 5678, 4968, 5101, 4859, 4506, 4951, 5175, 4842, 4988]),
        ("validation", [991, 1064, 990, 1030, 983, 915, 967, 1090, 1009, 961]),
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_label_counts(splits: dict[str, Split], split: str, counts: list[int]) -> None:
    assert np.bincount(splits[split][1]).tolist() == counts


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, "float32"])
def test_every_pixel_is_exact(tmp_path: Path, dtype: Any) -> None:
    write_set(tmp_path, train=0, test=256)
    images, _ = datasets.mnist("test", directory=tmp_path, dtype=dtype)
    assert images.dtype == np.dtype(dtype)
    assert [Fraction(float(pixel)) for pixel in images[:, 0]] == [Fraction(byte, 256) for byte in range(256)]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_small_set_of_its_own(tmp_path: Path, suffix: str) -> None:
    write_set(tmp_path, train=20, test=7, suffix=suffix)
    expected = {"train": range(17), "validation": range(17, 20), "test": range(7)}
    for split, numbers in expected.items():
        images, labels = datasets.mnist(split, str(tmp_path))
        np.testing.assert_array_equal(images * 256, np.repeat(np.array(numbers)[:, None], 6, axis=1))
        assert labels.tolist() == [number % 10 for number in numbers]


def test_compressions_may_be_mixed_and_plain_is_preferred(tmp_path: Path) -> None:
    write_set(tmp_path, train=12, test=0, suffix=".gz")
    labels = tmp_path / "train-labels-idx1-ubyte"
    for value, suffix in enumerate(PACKERS):
        write(labels, np.full(12, value, np.uint8), suffix=suffix)
    for preferred, suffix in enumerate(PACKERS):
        assert datasets.mnist("train", tmp_path)[1].tolist() == [preferred] * 10
        labels.with_name(labels.name + suffix).unlink()


@pytest.mark.parametrize("train", [0, 5])
def test_too_few_images_to_validate(tmp_path: Path, train: int) -> None:
    write_set(tmp_path, train=train, test=1)
    assert datasets.mnist("train", tmp_path)[0].shape == (train, 6)
    assert datasets.mnist("validation", tmp_path)[0].shape == (0, 6)


def test_rows_are_laid_end_to_end(tmp_path: Path) -> None:
    write_set(tmp_path, train=1, test=1)
    write(tmp_path / "t10k-images-idx3-ubyte", np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    assert (datasets.mnist("test", tmp_path)[0] * 256).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_every_call_returns_fresh_arrays(tmp_path: Path) -> None:
    write_set(tmp_path, train=6, test=1)
    for array in datasets.mnist("train", tmp_path):
        array[:] = 3
    images, labels = datasets.mnist("train", tmp_path)
    assert images[:, 0].tolist() == [0, 1 / 256, 2 / 256, 3 / 256, 4 / 256]
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match="no split 'valid'; choose one of 'train', 'validation', 'test'"):
        datasets.mnist("valid")


@pytest.mark.parametrize("dtype", [np.uint8, int, bool, complex])
def test_pixels_need_a_floating_type(dtype: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot return pixels as .* choose a floating dtype"):
        datasets.mnist("test", dtype=dtype)


@pytest.mark.parametrize("name", SHA256)
def test_missing_file(tmp_path: Path, name: str) -> None:
    write_set(tmp_path, train=6, test=1)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: expected this file, .* found none of them"):
        datasets.mnist("train" if name.startswith("train") else "test", tmp_path)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte: .* found no directory .*absent"):
        datasets.mnist("test", tmp_path / "absent")


def test_numbers_of_images_and_labels_differ(tmp_path: Path) -> None:
    write_set(tmp_path, train=6, test=4)
    write(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(3, np.uint8))
    with pytest.raises(
        ValueError,
        match="t10k-labels-idx1-ubyte: expected 4 labels, one for each image of "
        "t10k-images-idx3-ubyte, found 3; take both",
    ):
        datasets.mnist("test", tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "code", "text"),
    [
        ("images-idx3", np.zeros((4, 6), np.uint8), 0x08, "images, a 3-D .*, found a 2-D array of uint8"),
        ("images-idx3", np.zeros((4, 2, 3), np.int8), 0x09, "images, a 3-D .*, found a 3-D array of int8"),
        ("labels-idx1", np.zeros((4, 1), np.uint8), 0x08, "labels, a 1-D .*, found a 2-D array of uint8"),
        ("labels-idx1", np.zeros(4, ">i4"), 0x0C, "labels, a 1-D .*, found a 1-D array of int32"),
    ],
)
def test_other_arrays(tmp_path: Path, name: str, array: NDArray[Any], code: int, text: str) -> None:
    write_set(tmp_path, train=6, test=4)
    write(tmp_path / f"t10k-{name}-ubyte", array, code)
    with pytest.raises(ValueError, match=f"t10k-{name}-ubyte: expected {text}; check that"):
        datasets.mnist("test", tmp_path)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, train=6, test=4, suffix=".gz")
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz: expected a complete gzip stream"):
        datasets.mnist("test", tmp_path)
