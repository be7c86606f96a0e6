"""The main job, small: its files, its tables, its errors, and what Ctrl-C leaves."""

import csv
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg

SCRIPT = Path(__file__).parents[2] / "examples" / "mnist_depth.py"
pytest.importorskip("rich")
pytest.importorskip("matplotlib")


def command(*options):
    return [sys.executable, "-W", "error", str(SCRIPT), *options]


def run(folder, *options):
    return subprocess.run(command(*options), cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
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


def test_another_data_set_from_start_to_end(tmp_path, small_data):
    result = run(tmp_path, "--data", str(small_data), "--depths", "1", "2", "--epochs", "8", "--members", "3")
    assert result.returncode == 0, result.stderr
    assert "runs/mnist_depth" in result.stdout
    out = tmp_path / "runs" / "mnist_depth"
    for name in ("ladder.png", "ladder.svg", "learning_speed.png", "learning_speed.svg"):
        assert (out / name).stat().st_size > 5000
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 8
    last = [float(row["validation_accuracy"]) for row in rows if (row["depth"], row["epoch"]) == ("1", "8")]
    assert min(last) > 0.9  # three easy classes
    history = tg.load(out / "history.npz")
    assert history["training_2_log10_norm"].shape[1:] == (3, 3)
    assert history["descent_2_log10_norm"].shape == (500, 3, 3)
    assert history["initial_1_log10_norm"].shape == (1, 2, 200)
    assert np.isfinite(history["training_2_log10_norm"]).all()
    # The printed table is made of the same numbers.
    assert f"{100 * np.mean(last):.2f} ± {100 * np.std(last, ddof=1):.2f}" in result.stdout


def test_runs_with_the_same_seed_are_equal(tmp_path, small_data):
    options = ("--data", str(small_data), "--depths", "1", "--epochs", "2", "--members", "2", "--workers", "1")
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        assert run(tmp_path / folder, *options).returncode == 0
        files.append((tmp_path / folder / "runs" / "mnist_depth" / "results.csv").read_bytes())
    assert files[0] == files[1]


def test_ctrl_c_keeps_what_is_done(tmp_path, small_data):
    options = ("--data", str(small_data), "--depths", "1", "2", "3", "--epochs", "100000")
    process = subprocess.Popen(
        command(*options), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    history = tmp_path / "runs" / "mnist_depth" / "history.npz"
    deadline = time.monotonic() + 90
    while not (history.exists() and {f"descent_{k}_steps" for k in (1, 2, 3)} <= tg.load(history).keys()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(2)  # the descents are done: what runs now is training
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted. What was done is kept in runs/mnist_depth/" in errors
    epochs = [int(n) for n in re.findall(r"(\d+) of 100000 epochs", errors)]
    assert epochs
    with open(tmp_path / "runs" / "mnist_depth" / "results.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * sum(epochs)
    assert "training_3_steps" in tg.load(history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depths", "0"], "'0' is not a positive whole number"),
        (["--depths", "two"], "'two' is not a positive whole number"),
        (["--members", "-1"], "--members"),
        (["--data", "missing"], "missing/train-images-idx3-ubyte"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_arguments_get_one_line(tmp_path, options, message):
    result = run(tmp_path, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
