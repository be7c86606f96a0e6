"""The main job, small: its files, its tables, its errors, and what Ctrl-C leaves."""

import csv
import os
import re
import runpy
import signal
import struct
import subprocess
import sys
import time
from datetime import datetime, timedelta
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


def test_on_terminals_that_are_narrow_or_know_no_greek_and_without_docstrings(tmp_path, small_data):
    options = ("--data", str(small_data), "--depths", "2", "--epochs", "1", "--members", "1", "--quick")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "40"}
    arguments = [sys.executable, "-OO", *command(*options)[1:]]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert b"runs/mnist_depth/" in result.stdout
    assert max(map(len, result.stdout.decode("ascii").splitlines()[:-1])) <= 40


@pytest.fixture
def begin(tmp_path):
    """Start a run in a group of its own, and name its folder; what still runs at the end of the test is ended."""
    started = []

    def begin(*options):
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command(*options), cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        started.append(process)
        return process, tmp_path / "runs" / "mnist_depth"

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_until(there, process):
    deadline = time.monotonic() + 60
    while not there():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_runs_do_not_write_to_one_folder(tmp_path, small_data, begin):
    options = ("--data", str(small_data), "--depths", "1", "--epochs", "100000")
    process, out = begin(*options)
    wait_until((out / "results.csv").exists, process)
    second = run(tmp_path, "--data", str(small_data), "--depths", "1", "--epochs", "1")
    assert second.returncode == 2
    assert "another run writes to runs/mnist_depth/: wait for its end, or start this one elsewhere" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    process.send_signal(signal.SIGTERM)  # ends it as Ctrl-C does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted. What was done is kept in runs/mnist_depth/" in errors
    assert (out / "learning_speed.png").exists()
    third = run(tmp_path, "--data", str(small_data), "--depths", "1", "--epochs", "1")
    assert third.returncode == 0, third.stderr
    (earlier,) = (tmp_path / "runs").glob("mnist_depth-before-*")
    assert {path.name for path in earlier.iterdir()} >= {"results.csv", "history.npz", "ladder.png"}


@pytest.mark.parametrize("how", ["runs is a file", "an earlier one of the same second"])
def test_a_folder_that_cannot_be_had_is_told_at_the_start(tmp_path, small_data, how):
    if how == "runs is a file":
        (tmp_path / "runs").write_text("")
        result = run(tmp_path, "--data", str(small_data))
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        return
    (tmp_path / "runs" / "mnist_depth").mkdir(parents=True)
    (tmp_path / "runs" / "mnist_depth" / "history.npz").write_text("of an earlier run that was killed")
    now = datetime.now()
    for i in range(120):
        (tmp_path / "runs" / f"mnist_depth-before-{now + timedelta(seconds=i):%Y%m%d-%H%M%S}").mkdir()
    result = run(tmp_path, "--data", str(small_data), "--depths", "1", "--epochs", "1", "--members", "1")
    assert result.returncode == 0, result.stderr
    (earlier,) = (tmp_path / "runs").glob("mnist_depth-before-*-again")
    assert (earlier / "history.npz").read_text() == "of an earlier run that was killed"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_what_there_is_is_drawn_when_the_system_ends_a_worker(tmp_path, small_data, begin):
    process, out = begin("--data", str(small_data), "--depths", "1", "--epochs", "100000", "--workers", "2")
    wait_until((out / "results.csv").exists, process)  # the descent: its worker has nothing more to do
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[-1]), signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].endswith("lost: training, 1; kept: descent, 1")
    assert "At the start" in output
    assert (out / "ladder.png").exists()


def test_ctrl_c_again_and_while_pictures_are_drawn(tmp_path, small_data, begin):
    """Whenever it comes after the first result, it says that results are kept."""
    process, out = begin("--data", str(small_data), "--depths", "1", "2", "--epochs", "100000")
    wait_until((out / "results.csv").exists, process)
    for _ in range(100):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.15)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "kept in runs/mnist_depth/" in errors
    assert "Traceback" not in errors
    assert not [path for path in out.iterdir() if path.suffix in (".png", ".svg") and path.stat().st_size < 5000]
    assert "descent_1_steps" in tg.load(out / "history.npz") or "descent_2_steps" in tg.load(out / "history.npz")


def test_pictures_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    example = runpy.run_path(str(SCRIPT), run_name="example")
    example["OUT"].mkdir(parents=True)
    (example["OUT"] / "ladder.png").write_text("of before")

    def half(figure, path, **_):
        Path(path).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(KeyboardInterrupt):
        example["draw"]({})
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close("all")  # this is the process of all tests
    assert {path.name: path.read_text() for path in example["OUT"].iterdir()} == {"ladder.png": "of before"}


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
