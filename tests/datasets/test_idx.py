"""load_idx reads back every IDX file that can be written, and says what is wrong with the others."""

import gzip
import io
import lzma
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from tinygrad_vg import datasets

TYPE_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0),
    ".xz": partial(lzma.compress, preset=0),
}
COUNT = np.arange(6, dtype=np.int16).reshape(2, 3)

deterministic = settings(derandomize=True, database=None, deadline=None, max_examples=60)


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def idx_bytes(array: NDArray[Any]) -> bytes:
    elements = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return header(TYPE_CODES[array.dtype.name], *array.shape) + elements


def load(path: Path) -> NDArray[Any]:
    array = datasets.load_idx(path)
    assert isinstance(array, np.ndarray)
    return array


def message(path: Path, content: bytes) -> str:
    """Load a file of this content, which must fail naming the file, and return the message."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected") as caught:
        datasets.load_idx(path)
    assert str(caught.value).startswith(f"{path}: expected ")
    return str(caught.value)


def arrays() -> st.SearchStrategy[NDArray[Any]]:
    shapes = st_numpy.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    types = st.sampled_from(sorted(TYPE_CODES)).map(np.dtype)
    return st.tuples(types, shapes).flatmap(lambda pair: st_numpy.arrays(*pair))


@pytest.mark.parametrize("suffix", PACKERS)
@deterministic
@given(array=arrays())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, suffix: str, array: NDArray[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / f"round-trip{suffix}"
    path.write_bytes(PACKERS[suffix](idx_bytes(array)))
    loaded = load(path)
    assert loaded.shape == array.shape
    assert loaded.dtype == array.dtype
    assert loaded.dtype.isnative
    assert loaded.tobytes() == array.tobytes()  # bytes, so that NaN equals itself
    assert loaded.flags.writeable


@pytest.mark.parametrize("name", TYPE_CODES)
def test_every_type_keeps_its_extreme_values(tmp_path: Path, name: str) -> None:
    dtype = np.dtype(name)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    array = np.array([limits.min, 0, 1, limits.max], dtype)
    (tmp_path / "x").write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(load(tmp_path / "x"), array, strict=True)


def test_elements_are_big_endian_in_c_order(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes([0, 0, 0x0B, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0x01, 0x02, 0xFF, 0xFE]))
    assert load(tmp_path / "x").tolist() == [[258], [-2]]


def test_as_many_dimensions_as_numpy_has(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(header(0x08, *[1] * 64) + b"\x05")
    assert load(tmp_path / "x").shape == (1,) * 64


@pytest.mark.parametrize("suffix", PACKERS)
def test_content_decides_on_the_compression(tmp_path: Path, suffix: str) -> None:
    for wrong in PACKERS:
        path = tmp_path / f"x{wrong}"
        path.write_bytes(PACKERS[suffix](idx_bytes(COUNT)))
        np.testing.assert_array_equal(datasets.load_idx(str(path)), COUNT)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    content = idx_bytes(COUNT)
    (tmp_path / "x.gz").write_bytes(PACKERS[".gz"](content[:15]) + PACKERS[".gz"](content[15:]))
    np.testing.assert_array_equal(load(tmp_path / "x.gz"), COUNT)


def test_directory(tmp_path: Path) -> None:
    for name, suffix in [("b-idx2-short.xz", ".xz"), ("a.idx2-short", ""), ("c-idx2-short.gz", ".gz")]:
        (tmp_path / name).write_bytes(PACKERS[suffix](idx_bytes(COUNT)))
    others = ["README.md", "b-idx2-short.xz.sha256", "._a-idx2-short", "b-idx2-short.part", "idx.txt"]
    for name in others:
        (tmp_path / name).write_text("not an IDX file")
    (tmp_path / "d-idx2-short").mkdir()
    loaded = datasets.load_idx(tmp_path)
    assert isinstance(loaded, dict)
    assert list(loaded) == ["a.idx2-short", "b-idx2-short", "c-idx2-short"]
    for array in loaded.values():
        np.testing.assert_array_equal(array, COUNT, strict=True)


def test_directory_prefers_plain_then_gzip(tmp_path: Path) -> None:
    for value, suffix in enumerate(PACKERS):
        content = PACKERS[suffix](idx_bytes(np.array([value], np.uint8)))
        (tmp_path / f"a-idx1-ubyte{suffix}").write_bytes(content)
    for preferred, suffix in enumerate(PACKERS):
        assert datasets.load_idx(tmp_path) == {"a-idx1-ubyte": np.array([preferred])}
        (tmp_path / f"a-idx1-ubyte{suffix}").unlink()


def test_directory_does_not_hide_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "a-idx1-ubyte").write_bytes(b"junk")
    with pytest.raises(ValueError, match="a-idx1-ubyte: expected an IDX file"):
        datasets.load_idx(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent: expected an IDX file, found nothing there"):
        datasets.load_idx(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"expected a directory with IDX files .* found none"):
        datasets.load_idx(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found no bytes at all"),
        (b"\0\0\x08", "found 00 00 08"),
        (b"PK\x03\x04 and so on", "found 50 4b 03 04"),
        (b"\0\0\x0a\x01", "found 00 00 0a 01"),
        (b"\x01\x00\x08\x01", "found 01 00 08 01"),
    ],
)
@pytest.mark.parametrize("suffix", PACKERS)
def test_foreign_file(tmp_path: Path, suffix: str, content: bytes, found: str) -> None:
    text = message(tmp_path / f"x{suffix}", PACKERS[suffix](content))
    assert "whose first bytes are 00 00, a type out of 08 09 0b 0c 0d 0e" in text
    assert text.endswith(found)


@pytest.mark.parametrize("suffix", PACKERS)
def test_wrong_number_of_bytes(tmp_path: Path, suffix: str) -> None:
    path, content = tmp_path / f"images{suffix}", header(0x08, 60000, 28, 28) + bytes(1234)
    assert (
        f"images{suffix}: expected 47,040,000 bytes of data for shape (60000, 28, 28) of uint8, "
        f"found 1,234; the file is truncated" in message(path, PACKERS[suffix](content))
    )
    text = message(path, PACKERS[suffix](idx_bytes(COUNT) + b"x"))
    assert "expected 12 bytes of data for shape (2, 3) of int16, found more; the file is too long" in text
    text = message(path, PACKERS[suffix](idx_bytes(COUNT)[:9]))
    assert "expected 8 bytes for the sizes of 2 dimensions, found 5; the file is truncated" in text


@pytest.mark.parametrize("suffix", PACKERS)
def test_truncation_anywhere_is_noticed(tmp_path: Path, suffix: str) -> None:
    whole = PACKERS[suffix](idx_bytes(COUNT))
    for length in range(len(whole)):
        message(tmp_path / "x", whole[:length])


@pytest.mark.parametrize(("suffix", "kind"), [(".gz", "gzip"), (".xz", "xz")])
def test_corrupt_compression(tmp_path: Path, suffix: str, kind: str) -> None:
    whole = PACKERS[suffix](idx_bytes(np.arange(1000, dtype=np.float64)))
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(byte ^ 0x55 for byte in whole[middle : middle + 8]) + whole[middle + 8 :]
    for content in [damaged, whole[:middle], whole + b"junk"]:
        text = message(tmp_path / f"x{suffix}", content)
        assert f"expected a complete {kind} stream, found a truncated or corrupt one (" in text
        assert text.endswith("copy or download the file again")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, suffix: str) -> None:
    path, whole = tmp_path / "x", PACKERS[suffix](idx_bytes(COUNT))
    unharmed = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with suppress(ValueError):
            np.testing.assert_array_equal(load(path), COUNT, strict=True)
            unharmed += 1  # such as the time in a gzip header
    assert unharmed < len(whole) // 2


@pytest.mark.parametrize("suffix", PACKERS)
def test_absurd_sizes_take_no_memory(tmp_path: Path, suffix: str) -> None:
    announces_much = PACKERS[suffix](header(0x0E, *[2**32 - 1] * 3) + bytes(100))
    holds_much = PACKERS[suffix](header(0x08, 10) + bytes(32 << 20))
    tracemalloc.start()
    try:
        text = message(tmp_path / "x", announces_much)
        size = 8 * (2**32 - 1) ** 3
        if suffix:
            assert "expected at most 1,073,741,824 bytes of data from a compressed file, found a header that " in text
            assert text.endswith(f"load it with max_bytes={size}")
        else:
            assert f"expected {size:,} bytes of data" in text
            assert "found 100; the file is truncated" in text
        assert "expected 10 bytes of data for shape (10,) of uint8, found more; the file is too long" in message(
            tmp_path / "x", holds_much
        )
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(1,) * 65, (0, *[2**32 - 1] * 3)])
def test_shapes_beyond_numpy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = header(0x08, *shape) + bytes(0 if 0 in shape else 1)
    assert f"expected a shape that NumPy can hold, found {shape} (" in message(tmp_path / "x", content)


class Counted(io.BytesIO):
    """A file that knows how far it has been read."""

    furthest = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return content


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_bomb_is_not_unpacked_to_its_end(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims ten bytes and holds 64 million: the eleventh is one too many."""
    bomb = Counted(PACKERS[suffix](header(0x08, 10) + bytes(1 << 26)))
    (tmp_path / "x").write_bytes(bomb.getvalue())
    monkeypatch.setattr(Path, "open", lambda *_: bomb)
    with pytest.raises(ValueError, match=r"expected 10 bytes .* found more; the file is too long"):
        datasets.load_idx(tmp_path / "x")
    size = (tmp_path / "x").stat().st_size
    assert size < 1 << 16 or bomb.furthest <= size // 3


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_unpacks_to_more_than_allowed_is_refused_by_its_header(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a-idx1-ubyte").write_bytes(PACKERS[suffix](idx_bytes(np.arange(100, dtype=np.uint8))))
    for path in (tmp_path, tmp_path / "a-idx1-ubyte"):
        assert len(datasets.load_idx(path, max_bytes=100)) in (1, 100)
        if suffix:
            with pytest.raises(ValueError, match=r"at most 99 bytes .* announces 100, .* with max_bytes=100$"):
                datasets.load_idx(path, max_bytes=99)
        else:  # as large as it is
            assert len(datasets.load_idx(path, max_bytes=99)) in (1, 100)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_is_read_to_its_end_also_where_a_piece_ends_with_the_array(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are the checksums, and the bytes that are too many."""
    monkeypatch.setattr("tinygrad_vg.datasets.idx._CHUNK_BYTES", COUNT.nbytes)
    path, pack = tmp_path / f"count{suffix}", PACKERS[suffix]
    path.write_bytes(pack(idx_bytes(COUNT)))
    assert np.array_equal(load(path), COUNT)
    assert "too long" in message(path, pack(idx_bytes(COUNT) + b"x"))
    if suffix:
        damaged = bytearray(pack(idx_bytes(COUNT)))
        damaged[-8 if suffix == ".gz" else -20] ^= 1
        assert "truncated or corrupt" in message(path, bytes(damaged))
