"""Files that are damaged: 12,000 flipped bits and cuts, and nothing is lost in silence."""

import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import History

State = dict[str, Any]


def state() -> State:
    return nn.Sequential(nn.Linear(3, 2, rng=0), nn.Tanh(), nn.Linear(2, 1, dtype=np.float32, rng=1)).state_dict()


def history() -> History:
    numbers = np.random.default_rng(0).normal(size=(2, 2))
    values = (np.ones((2, 2)), np.ones((2, 1)))
    return History(np.arange(2), (1, 2), ("0", "größe"), numbers, coherence=numbers, values=values, first_nonfinite=1)


def idx(array: Any) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5), dtype=np.uint8)


def write_compressed(path: Path) -> None:
    np.savez_compressed(path, **state())


def load_images(path: Path) -> State:
    return {"images": tg.datasets.load_idx(path)}


# How each is written and read back as named arrays, and whether the format has checksums.
FORMATS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], State], bool]] = {
    "state dict": ("a.npz", lambda path: tg.save(state(), path), tg.load, True),
    "compressed by NumPy": ("a.npz", write_compressed, tg.load, True),
    "history": ("a.npz", lambda path: history().save(path), lambda path: History.load(path).arrays(), True),
    "idx": ("a", lambda path: path.write_bytes(idx(IMAGES)), load_images, False),
    "idx.gz": ("a.gz", lambda path: path.write_bytes(gzip.compress(idx(IMAGES), mtime=0)), load_images, True),
    "idx.xz": ("a.xz", lambda path: path.write_bytes(lzma.compress(idx(IMAGES), preset=0)), load_images, True),
}
ATTACKS = 2000  # on each, half of them cuts as far as the file is long enough


def attacks(size: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Every cut of a short file, as many as are wanted of a long one; the rest flipped bits, each at most once."""
    cuts = [("cut", int(at)) for at in rng.permutation(size)[: ATTACKS // 2]]
    return cuts + [("flip", int(bit)) for bit in rng.permutation(8 * size)[: ATTACKS - len(cuts)]]


def equal(loaded: State, wanted: State) -> bool:
    return loaded.keys() == wanted.keys() and all(
        loaded[name].dtype == array.dtype and loaded[name].shape == array.shape and np.array_equal(loaded[name], array)
        for name, array in wanted.items()
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_refused_by_name_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    """As where a date stands. IDX that is not compressed has no checksums: there only cuts are always noticed."""
    name, write, read, has_checksums = FORMATS[kind]
    path = tmp_path / name
    write(path)
    whole, wanted = path.read_bytes(), read(path)
    refusals = []
    planned = attacks(len(whole), np.random.default_rng(0))
    assert len(planned) == ATTACKS
    for attack, at in planned:
        damaged = bytearray(whole)
        if attack == "cut":
            del damaged[at:]
        else:
            damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            loaded = read(path)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert attack == "flip", at
            assert equal(loaded, wanted) or not has_checksums, at
    assert all(refusal.startswith(str(path)) for refusal in refusals)
    assert len(refusals) > (0.4 * ATTACKS if has_checksums else len(whole))
