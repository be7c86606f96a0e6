"""The scripts of examples/ as modules."""

import importlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def script(monkeypatch):
    """Import a script by name. What it sets in the environment for its workers ends with the test."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(EXAMPLES)
    before = dict(os.environ)
    yield importlib.import_module
    os.environ.clear()  # and not another `os.environ`: libraries that are imported meanwhile keep that one
    os.environ.update(before)


@pytest.fixture
def shown(script, monkeypatch, tmp_path, capsys):
    """Run a script's main() with options, and return what it printed; its picture must be there."""

    def shown(name, *options):
        monkeypatch.setattr("sys.argv", [f"{name}.py", "--out", str(tmp_path), *options])
        script(name).main()
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        return capsys.readouterr().out

    return shown


@pytest.fixture
def arguments(script):
    """The arguments of a command line; what pictures the test has drawn is closed at its end."""
    job = script("mnist_depth")
    yield lambda *words: job.arguments(job.options(None), words)
    pytest.importorskip("matplotlib.pyplot").close("all")


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """Another IDX data set: 1,200 images of 4 × 5 pixels in three classes, the class in the brightest rows."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for prefix, n in (("train", 1200), ("t10k", 200)):
        labels = rng.integers(0, 3, n).astype(np.uint8)
        images = rng.integers(0, 60, (n, 4, 5)).astype(np.uint8)
        images[np.arange(n), labels] += 150
        header = struct.pack(">HBB3I", 0, 8, 3, n, 4, 5)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, n) + labels.tobytes())
    return folder
