"""The main job, small: its files, its tables, its errors, and what Ctrl-C leaves."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
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


def notes(out):
    """The notes of a run about what it trains; they may be gone at any time."""
    found = []
    for path in out.glob("study/running/[!.]*.json"):
        with suppress(FileNotFoundError):
            found.append(json.loads(path.read_text()))
    return found


def has_epoch(out):
    """Whether a training, or descent, that is running has come to the end of an epoch."""
    return any(note["accuracy"] is not None for note in notes(out))


OPTIONS = ("--depths", "1", "2", "--epochs", "8", "--members", "3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_data):
    """A run of eight epochs, and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    result = run(folder, "--data", str(small_data), *OPTIONS, columns=200)
    assert result.returncode == 0, result.stderr
    return result, folder / "runs" / "mnist_depth"


@pytest.fixture(scope="module")
def second(tmp_path_factory, small_data):
    """The same with another number of workers, on a terminal of 60 columns."""
    folder = tmp_path_factory.mktemp("second")
    result = run(folder, "--data", str(small_data), *OPTIONS, "--out", "another", "--workers", "1", columns=60)
    assert result.returncode == 0, result.stderr
    return result, folder / "another"


@pytest.mark.long
def test_another_data_set_from_start_to_end(finished):
    result, out = finished
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
    _, out = finished
    history = History.load(out / "history.npz", prefix="training_2_")
    assert np.array_equal(history.log10_norm, tg.load(out / "history.npz")["training_2_log10_norm"])
    assert (history.layers, history.names) == ((1, 2, 3), ("0", "2", "4"))
    with pytest.raises(ValueError, match=r"prefixes are .*'descent_2_', 'initial_1_'"):
        History.load(out / "history.npz")


@pytest.mark.long
def test_runs_with_the_same_seed_are_equal(finished, second):
    """In every byte, though the folder and the number of workers differ."""
    (_, out), (_, another) = finished, second
    files = sorted(path.name for path in out.iterdir() if path.is_file())
    assert files == sorted(path.name for path in another.iterdir() if path.is_file())
    assert len(files) == 8
    for name in files:
        if name != "history.npz":  # a zip archive has the time of its writing
            assert (out / name).read_bytes() == (another / name).read_bytes(), name
    ours, other = tg.load(out / "history.npz"), tg.load(another / "history.npz")
    assert ours.keys() == other.keys()
    assert all(np.array_equal(ours[name], other[name], equal_nan=name.endswith("norm")) for name in ours)


def test_every_file_says_where_it_comes_from(finished, small_data):
    _, out = finished
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


@pytest.mark.long
def test_no_word_is_broken_or_lost_at_60_columns(finished, second):
    """The words of the tables and of the text are those of a terminal of 200 columns."""
    tables = [result.stdout for result, _ in (finished, second)]
    assert max(map(len, tables[1].splitlines())) <= 60
    words = [sorted(text.replace("runs/mnist_depth/", "another/").split()) for text in tables]
    assert words[0] == words[1]


@pytest.mark.long
def test_the_same_command_again_trains_nothing_and_another_one_only_what_is_new(second, tmp_path, small_data):
    _, another = second
    files = {path: path.read_bytes() for path in another.iterdir() if path.suffix in (".csv", ".png")}
    parts = {path: path.stat().st_mtime_ns for path in another.rglob("part-*.npz")}
    options = "--data", str(small_data), "--members", "3", "--epochs", "8", "--out", str(another)
    one = run(tmp_path, *options, "--depths", "1")
    assert one.returncode == 0, one.stderr
    assert {row["depth"] for row in table(another / "results.csv")} == {"1"}
    again = run(tmp_path, *options, "--depths", "1", "2")
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in files} == files
    assert {path: path.stat().st_mtime_ns for path in another.rglob("part-*.npz")} == parts


@pytest.mark.long
def test_an_interrupted_run_goes_on_to_the_same_results(tmp_path, small_data, begin):
    """It is interrupted by Ctrl-C when a training has an epoch, and then killed."""
    options = ("--data", str(small_data), "--depths", "2", "--epochs", "3000", "--members", "2", "--workers", "1")
    whole = run(tmp_path, *options, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process, _ = begin(*options, "--out", "stopped")
    wait_until(lambda: has_epoch(tmp_path / "stopped"), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    (epochs,) = re.findall(r"goes on from what is kept in stopped/: training, 2 hidden: (\d+) of 3000 epochs", errors)
    assert 0 < int(epochs) < 3000
    process, _ = begin(*options, "--out", "stopped")
    wait_until(lambda: notes(tmp_path / "stopped"), process)
    process.kill()
    process.communicate()
    last = run(tmp_path, *options, "--out", "stopped")
    assert last.returncode == 0, last.stderr
    assert (tmp_path / "stopped" / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()
    one, two = (tg.load(tmp_path / name / "history.npz") for name in ("whole", "stopped"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name], equal_nan=name.endswith("norm")) for name in one)


@pytest.mark.long
def test_ctrl_c_shows_what_there_is(tmp_path, small_data):
    options = ("--data", str(small_data), "--depths", "1", "2", "--epochs", "100000")
    process = subprocess.Popen(
        command(*options), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out = tmp_path / "runs" / "mnist_depth"
    wait_until(lambda: has_epoch(out), process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    epochs = [int(n) for n in re.findall(r"training, \d hidden: (\d+) of 100000 epochs", errors)]
    assert epochs
    assert len(table(out / "results.csv")) == 4 * sum(epochs)
    assert "No training came to its end" in output
    assert (out / "ladder.png").exists()


@pytest.mark.long
def test_a_report_is_beside_the_results(second, tmp_path, small_data):
    pytest.importorskip("jinja2")
    _, another = second
    result = run(tmp_path, "--data", str(small_data), *OPTIONS, "--out", str(another), "--report")
    assert result.returncode == 0, result.stderr
    page = (another / "report.html").read_text(encoding="utf-8")
    assert len(page) < 3e6
    assert "report.html" in result.stdout
    assert "Study: 2 of 2 trainings are finished" in page  # the descents are not among them
    assert "Pairs of depths" in page
    assert "all 800 steps" in page


@pytest.mark.long
def test_the_workers_of_a_cluster_train_the_same(finished, tmp_path, small_data):
    distributed = pytest.importorskip("distributed")
    _, out = finished
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with cluster:
        result = run(tmp_path, "--data", str(small_data), *OPTIONS, "--dask", cluster.scheduler_address)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "mnist_depth" / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


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
def test_two_runs_in_one_folder_share_the_work(finished, small_data, begin):
    _, out = finished
    runs = [begin("--data", str(small_data), *OPTIONS, "--workers", "1") for _ in range(2)]
    for process, _ in runs:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert (runs[0][1] / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


def test_a_folder_that_cannot_be_had_is_told_at_the_start(tmp_path, small_data):
    (tmp_path / "runs").write_text("")
    result = run(tmp_path, "--data", str(small_data))
    assert result.returncode == 2
    assert re.match(r"mnist_depth.py: .*Not a directory: .*runs/mnist_depth", result.stderr.splitlines()[-1])
    assert "Traceback" not in result.stderr


@pytest.mark.long
def test_ctrl_c_again_and_while_pictures_are_drawn(tmp_path, small_data, begin):
    """Whenever it comes after the first result, it says that results are kept."""
    process, out = begin("--data", str(small_data), "--depths", "1", "2", "--epochs", "100000")
    wait_until(lambda: has_epoch(out), process)
    for _ in range(100):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.15)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "kept in runs/mnist_depth/" in errors
    assert "Traceback" not in errors
    assert not [path for path in out.iterdir() if path.suffix in (".png", ".svg") and path.stat().st_size < 5000]
