"""The main job, small: its files, its tables, its errors, and what Ctrl-C leaves."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import History

SCRIPT = Path(__file__).parents[2] / "examples" / "mnist_depth.py"
pytest.importorskip("rich")
pytest.importorskip("matplotlib")


def command(*options):
    return [sys.executable, "-W", "error", str(SCRIPT), *options]


def run(folder, *options, columns=80):
    environment = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(command(*options), cwd=folder, capture_output=True, text=True, timeout=120, env=environment)


def table(path):
    """The rows of results.csv, without the lines about its origin."""
    with open(path, newline="", encoding="utf-8") as file:
        return [*csv.DictReader(line for line in file if not line.startswith("#"))]


OPTIONS = ("--depths", "1", "2", "--epochs", "8", "--members", "3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_data):
    """A run of eight epochs, its folder, and its second run in another folder, on a terminal of 60 columns."""
    folder = tmp_path_factory.mktemp("finished")
    first = run(folder, "--data", str(small_data), *OPTIONS, columns=200)
    second = run(folder, "--data", str(small_data), *OPTIONS, "--out", "another", "--workers", "1", columns=60)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    return first, folder / "runs" / "mnist_depth", second, folder / "another"


@pytest.mark.long
def test_another_data_set_from_start_to_end(finished):
    result, out, _, _ = finished
    assert "runs/mnist_depth" in result.stdout
    for name in ("accuracy", "ladder", "learning_speed"):
        for suffix in ("png", "svg"):
            assert (out / f"{name}.{suffix}").stat().st_size > 5000
    rows = table(out / "results.csv")
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
    assert "Depth does not help" in result.stdout  # all is learned with one hidden layer
    assert "96.48" not in result.stdout  # the book's
    assert ".07 .31" not in result.stdout


def test_history_load_reads_what_the_job_wrote(finished):
    _, out, _, _ = finished
    history = History.load(out / "history.npz", prefix="training_2_")
    assert np.array_equal(history.log10_norm, tg.load(out / "history.npz")["training_2_log10_norm"])
    assert (history.layers, history.names) == ((1, 2, 3), ("0", "2", "4"))
    with pytest.raises(ValueError, match=r"prefixes are .*'descent_2_', 'initial_1_'"):
        History.load(out / "history.npz")


def test_runs_with_the_same_seed_are_equal(finished):
    """In every byte, though the folder and the number of workers differ."""
    _, out, _, another = finished
    files = sorted(path.name for path in out.iterdir())
    assert files == sorted(path.name for path in another.iterdir())
    assert len(files) == 8
    for name in files:
        if name != "history.npz":  # a zip archive has the time of its writing
            assert (out / name).read_bytes() == (another / name).read_bytes(), name
    ours, other = tg.load(out / "history.npz"), tg.load(another / "history.npz")
    assert ours.keys() == other.keys()
    assert all(np.array_equal(ours[name], other[name], equal_nan=name.endswith("norm")) for name in ours)


def test_every_file_says_where_it_comes_from(finished, small_data):
    _, out, _, _ = finished
    about = json.loads(str(tg.load(out / "history.npz")["about"]))
    assert about["tinygrad_vg"] == tg.__version__
    assert about["NumPy"] == np.__version__
    assert about["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert about["command"].startswith("mnist_depth.py --depths 1 2 --members 3 --epochs 8 --seed 0 --data ")
    assert about["data"] == f"{small_data}: 1000 images to train, 200 to validate"
    lines = (out / "results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[: len(about)] == [f"# {name}: {text}" for name, text in about.items()]
    image = pytest.importorskip("PIL.Image")
    for name in ("accuracy", "ladder", "learning_speed"):
        with image.open(out / f"{name}.png") as picture:
            assert about.items() <= picture.text.items()
        drawing = (out / f"{name}.svg").read_text(encoding="utf-8")
        assert all(f"{key}: {text}" in drawing for key, text in about.items())


def test_no_word_is_broken_or_lost_at_60_columns(finished):
    """The words of the tables and of the text are those of a terminal of 200 columns."""
    wide, _, narrow, _ = finished
    tables = [re.sub(r"^.*(?:━|\d:\d\d).*$", "", result.stdout, flags=re.M) for result in (wide, narrow)]
    assert max(map(len, tables[1].splitlines())) <= 60
    words = [sorted(text.replace("runs/mnist_depth/", "another/").split()) for text in tables]
    assert words[0] == words[1]


@pytest.mark.long
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
    assert len(table(tmp_path / "runs" / "mnist_depth" / "results.csv")) == 4 * sum(epochs)
    assert "training_3_steps" in tg.load(history)


@pytest.mark.long
def test_on_terminals_that_are_narrow_or_know_no_greek_and_without_docstrings(tmp_path, small_data):
    options = ("--data", str(small_data), "--depths", "2", "--epochs", "1", "--members", "1", "--quick")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "40"}
    arguments = [sys.executable, "-OO", *command(*options)[1:]]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert b"runs/mnist_depth_quick/" in result.stdout  # and not the folder of a full run
    assert not (tmp_path / "runs" / "mnist_depth").exists()
    assert b"--quick: 2 hidden layers in place of" in result.stdout
    lines = result.stdout.decode("ascii").splitlines()
    assert max(len(line) for line in lines if len(line.split()) > 1) <= 40  # a path is one word, which is not broken


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


@pytest.mark.long
def test_two_runs_do_not_write_to_one_folder(tmp_path, small_data, begin):
    options = ("--data", str(small_data), "--depths", "1", "--epochs", "100000")
    process, out = begin(*options)
    wait_until((out / "results.csv").exists, process)
    second = run(tmp_path, "--data", str(small_data), "--depths", "1", "--epochs", "1")
    assert second.returncode == 2
    assert "another run writes to runs/mnist_depth/: wait for its end, or write --out and another" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    process.send_signal(signal.SIGTERM)  # ends it as Ctrl-C does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted. What was done is kept in runs/mnist_depth/" in errors
    assert (out / "ladder.png").exists()
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


@pytest.mark.long
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
    assert "‖∂C/∂b‖ at the start" in output
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
