"""Small data and trials, executors that are simple, and what two studies have in common."""

import struct
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.study import Trial


def write_digits(folder: Path, n: int = 200, side: int = 4) -> str:
    """A directory of four IDX files: n images of each split, whose brightest pixel tells the class."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        labels = np.arange(n, dtype=np.uint8) % 10
        images = rng.integers(0, 120, (n, side * side), dtype=np.uint8)
        images[np.arange(n), labels] = 255
        header = struct.pack(">4B3I", 0, 0, 8, 3, n, side, side)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, n) + labels.tobytes())
    return str(folder)


def trial(data: str, **settings) -> Trial:
    """A trial of 167 training images, in 17 steps an epoch, the last one of 7 images."""
    settings = {"sizes": (16, 5, 10), "epochs": 3, "seeds": (3, 4), "every": 5, "lr": 0.5} | settings
    return Trial(data=data, **settings)


class Here(Executor):
    """Runs each task at once, in this thread."""

    def __init__(self):
        self.tasks = []

    def submit(self, function, *args):
        self.tasks.append(args)
        future = Future()
        future.set_result(function(*args))
        return future


def contents(directory) -> dict[str, dict[str, np.ndarray]]:
    """All arrays of all finished parts, by trial and part."""
    paths = [path for path in sorted(Path(directory).glob("trials/*/part-*.npz")) if "checkpoint" not in path.name]
    return {f"{path.parent.name}/{path.name}": tg.load(path) for path in paths}


def assert_same(directory, other) -> None:
    """The finished parts of two directories are the same bits."""
    one, two = contents(directory), contents(other)
    assert one.keys() == two.keys()
    for name, arrays in one.items():
        assert arrays.keys() == two[name].keys()
        for key, array in arrays.items():
            assert array.dtype == two[name][key].dtype
            assert array.tobytes() == two[name][key].tobytes(), (name, key)
