"""Arrays on disk: they come back as they were, nothing is executed, and a file is there whole or not at all."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, storage

ARRAYS: dict[str, Any] = {
    "float64": np.linspace(0, 1, 7),
    "float32": np.float32([[np.nan, -np.inf], [-0.0, 1e-45]]),
    "int": np.arange(6).reshape(1, 2, 3),
    "bool": np.array([True, False]),
    "str": np.array(["σ", ""]),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(2.5),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10.0)[::3],
    "big-endian": np.arange(3, dtype=">f8"),
    "tuple": (1, 2, 3),
}


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_round_trip(tmp_path: Path, array: Any) -> None:
    tg.save({"name": array}, tmp_path / "a.npz")
    loaded, expected = tg.load(tmp_path / "a.npz")["name"], np.asarray(array)
    assert loaded.dtype == expected.dtype
    assert loaded.shape == expected.shape
    assert loaded.tobytes() == expected.tobytes()  # bytes, so that NaN equals itself


@pytest.mark.parametrize("name", ["0.weight", "größe", "a/b", "with space", "file", "args", "kwds", "allow_pickle"])
def test_any_name_comes_back(tmp_path: Path, name: str) -> None:
    """An attribute of a module may be called as an argument of np.savez is."""
    tg.save({name: np.arange(3.0), "other": np.zeros(2)}, tmp_path / "a.npz")
    loaded = tg.load(tmp_path / "a.npz")
    assert loaded.keys() == {name, "other"}
    assert loaded[name].tolist() == [0, 1, 2]


def test_a_model_comes_back(tmp_path: Path) -> None:
    def model(seed: int) -> nn.Module:
        rng = np.random.default_rng(seed)
        return nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Tanh(), nn.Linear(4, 2, dtype=np.float32, rng=rng))

    saved, loaded, x = model(0), model(1), np.ones((5, 3))
    tg.save(saved.state_dict(), tmp_path / "model.npz")
    loaded.load_state_dict(tg.load(tmp_path / "model.npz"))
    assert np.array_equal(loaded(x).data, saved(x).data)
    assert list(tg.load(tmp_path / "model.npz")) == list(saved.state_dict())


def test_no_arrays_are_a_file_too(tmp_path: Path) -> None:
    tg.save({}, tmp_path / "a.npz")
    assert tg.load(tmp_path / "a.npz") == {}


@pytest.mark.parametrize("convert", [str, Path, os.fspath], ids=["str", "Path", "fspath"])
def test_missing_folders_are_made_and_nothing_else(tmp_path: Path, convert: Callable[[Path], Any]) -> None:
    path = convert(tmp_path / "new" / "newer" / "a.npz")
    tg.save({"a": np.ones(2)}, path)
    assert tg.load(path)["a"].tolist() == [1, 1]
    assert files(tmp_path / "new" / "newer") == ["a.npz"]


@pytest.mark.parametrize("name", ["a.npy", "a", "a.npz.gz", "a.pt", ".npz"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"saved as \.npz files") as caught:
        tg.save({"a": np.ones(2)}, tmp_path / "folder" / name)
    assert name in str(caught.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ({5: np.ones(2)}, TypeError, "strings, not 5"),
        ({"1": np.ones(2), 1: np.zeros(2)}, TypeError, "strings, not 1"),
        ({None: np.ones(2)}, TypeError, "strings, not None"),
        ({b"a": np.ones(2)}, TypeError, "strings, not b'a'"),
        ({"a\0b": np.ones(2)}, ValueError, "NUL"),
        ([np.ones(2)], TypeError, "arrays by name"),
    ],
    ids=["int", "int like a string", "None", "bytes", "NUL", "list"],
)
def test_what_would_come_back_by_another_name_is_not_saved(
    tmp_path: Path, arrays: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        tg.save(arrays, tmp_path / "a.npz")
    assert files(tmp_path) == []


# No pickle.


@pytest.mark.parametrize("nested", [False, True], ids=["object", "in a structure"])
def test_objects_are_not_saved(tmp_path: Path, nested: bool) -> None:
    objects = np.array([(None,)], dtype=[("field", object)]) if nested else np.array([None, 1])
    with pytest.raises(ValueError, match="'bad' holds Python objects"):
        tg.save({"good": np.ones(2), "bad": objects}, tmp_path / "a.npz")
    assert files(tmp_path) == []


def test_a_tensor_is_not_saved_without_a_word(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"\.data"):
        tg.save({"weight": nn.Linear(2, 1).weight}, tmp_path / "a.npz")
    assert files(tmp_path) == []


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed], ids=["plain", "compressed"])
def test_a_file_with_a_pickle_is_refused_unopened(tmp_path: Path, write: Callable[..., None]) -> None:
    trap = np.empty(1, object)
    trap[0] = Trap(tmp_path / "executed")
    write(tmp_path / "a.npz", good=np.ones(2), bad=trap)
    with pytest.raises(ValueError, match=r"a\.npz"):
        tg.load(tmp_path / "a.npz")
    assert files(tmp_path) == ["a.npz"]


def test_a_pickle_called_npz_is_refused_unopened(tmp_path: Path) -> None:
    trap = np.empty(1, object)
    trap[0] = Trap(tmp_path / "executed")
    trap.dump(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz"):
        tg.load(tmp_path / "a.npz")
    assert files(tmp_path) == ["a.npz"]


# Files that are not whole.


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.npz"):
        tg.load(tmp_path / "a.npz")


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    """With its name, and without leaving it open: that would be a ResourceWarning."""
    path = tmp_path / "cut.npz"
    tg.save({"a": np.arange(500.0), "b": np.ones((20, 20))}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.npz is not a whole"):
        tg.load(path)


def test_no_flipped_bit_changes_what_is_loaded(tmp_path: Path) -> None:
    """Each bit of a file: it is refused, or nothing that was asked for has changed, as where a date stands."""
    path, arrays = (
        tmp_path / "flipped.npz",
        {"weights": np.arange(6, dtype=np.int16).reshape(2, 3), "größe": np.ones(2)},
    )
    tg.save(arrays, path)
    whole, refusals = path.read_bytes(), []
    with path.open("r+b", buffering=0) as file:
        for bit in range(8 * len(whole)):
            place = bit // 8
            file.seek(place)
            file.write(bytes([whole[place] ^ 1 << bit % 8]))
            try:
                loaded = tg.load(path)
            except ValueError as error:
                refusals.append(str(error))
            else:
                assert loaded.keys() == arrays.keys(), bit
                assert all(loaded[name].dtype == array.dtype for name, array in arrays.items()), bit
                assert all(np.array_equal(loaded[name], array) for name, array in arrays.items()), bit
            file.seek(place)
            file.write(whole[place : place + 1])
    words = "flipped.npz is not a whole", "flipped.npz unpacks to"  # so it seems, where the bit is one of a size
    assert all(any(word in refusal for word in words) for refusal in refusals)
    assert len(refusals) > 4 * len(whole)


def test_a_member_that_is_longer_than_its_array_is_refused(tmp_path: Path) -> None:
    """The checksum stands behind the member's last byte: what is not read to its end is not checked."""
    header = io.BytesIO()
    np.lib.format.write_array(header, np.arange(3.0))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + b"more")
    with pytest.raises(ValueError, match=r"a\.npy is longer than its array"):
        tg.load(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_no_arrays_or_come_twice_are_refused(tmp_path: Path) -> None:
    tg.save({"a": np.ones(2)}, tmp_path / "a.npz")
    content = zipfile.ZipFile(tmp_path / "a.npz").read("a.npy")
    for name, words in [("notes.txt", r"no array: \['notes\.txt'\]"), ("a.npy", "a name is there twice")]:
        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("a.npy", content)
            archive.writestr(name, content)
        with pytest.raises(ValueError, match=words):
            tg.load(tmp_path / "b.npz")


@pytest.mark.parametrize(("entries", "counted"), [(0, 0), (3, 3), (0xFFFE, 0xFFFE), (0xFFFF, 0xFFFF), (70_000, 0xFFFF)])
def test_an_archive_has_as_many_entries_as_its_last_record_counts(entries: int, counted: int) -> None:
    """Which has two bytes for it, and 65,535 for more."""
    members = [zipfile.ZipInfo(f"{i}.npy") for i in range(entries)]
    for count, is_right in ((counted, True), (counted - 1 if counted else 1, False)):
        record = io.BytesIO(b"PK\5\6" + bytes(6) + count.to_bytes(2, "little") + bytes(10))
        if is_right:
            storage.check_members(members, record)
        else:
            with pytest.raises(ValueError, match=f"its directory has {entries} entries"):
                storage.check_members(members, record)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed], ids=["plain", "compressed"])
def test_files_of_numpy_are_read(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "a.npz", a=np.arange(5.0), größe=np.ones(2))
    loaded = tg.load(tmp_path / "a.npz")
    assert loaded["a"].tolist() == [0, 1, 2, 3, 4]
    assert loaded["größe"].tolist() == [1, 1]


@pytest.mark.parametrize("content", [b"hello", b"PK\x03\x04 and no more"], ids=["text", "a zip's first bytes"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz is not a whole"):
        tg.load(tmp_path / "other.npz")


def test_masks_are_not_saved_because_they_would_be_lost(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'a' is a masked array, and files hold no masks; save its \.filled"):
        tg.save({"a": np.ma.masked_invalid([1.0, np.nan])}, tmp_path / "a.npz")
    assert files(tmp_path) == []


# Bombs.


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what its directory says: no entry gives more. The limit is for what compression adds."""
    path, array = tmp_path / "a.npz", np.zeros(100_000)
    np.savez_compressed(path, a=array, b=array)
    assert path.stat().st_size < 5000
    assert tg.load(path).keys() == {"a", "b"}
    size = 2 * (array.nbytes + 128)
    assert tg.load(path, max_bytes=size)["b"].shape == array.shape
    opened: list[str] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, name: opened.append(name))
    with pytest.raises(ValueError, match=rf"a\.npz unpacks to {size:,} bytes, .* with max_bytes={size}$"):
        tg.load(path, max_bytes=size - 1)
    assert opened == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_what_unpacks_without_a_bound_is_refused(tmp_path: Path, method: int) -> None:
    """Four bytes of bzip2 can be a hundred thousand, whatever the directory says. NumPy writes no such files."""
    tg.save({"a": np.ones(2)}, tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", method) as archive:
        archive.writestr("a.npy", zipfile.ZipFile(tmp_path / "a.npz").read("a.npy"))
    with pytest.raises(ValueError, match="neither stored nor deflated"):
        tg.load(tmp_path / "b.npz")


def test_the_limit_is_a_gigabyte_and_none_for_what_is_not_compressed(tmp_path: Path) -> None:
    tg.save({"a": np.arange(1000.0)}, tmp_path / "a.npz")
    assert len(tg.load(tmp_path / "a.npz", max_bytes=0)["a"]) == 1000  # as large as it is
    np.savez_compressed(tmp_path / "b.npz", **{str(i): np.zeros(100, np.uint8) for i in range(17)})
    content = bytearray((tmp_path / "b.npz").read_bytes())
    entry = content.find(b"PK\x01\x02")
    while entry > 0:  # what the directory says, as that of a real bomb does
        content[entry + 24 : entry + 28] = ((1 << 26) + 128).to_bytes(4, "little")
        entry = content.find(b"PK\x01\x02", entry + 1)
    (tmp_path / "b.npz").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"b\.npz unpacks to {17 * ((1 << 26) + 128):,} bytes, more than max_bytes=1073741824"
    ):
        tg.load(tmp_path / "b.npz")


def test_a_single_array_is_not_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(2))
    with pytest.raises(ValueError, match=r"a\.npy is not a whole \.npz file"):
        tg.load(tmp_path / "a.npy")
