"""How runs end that do not go well: what is done is kept, the reason is told, and no process stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rich")

# Tasks wait for files, not for clocks: so a test knows what has begun.
SCRIPT = """
import os, sys, time
from pathlib import Path
from tinygrad_vg.study import run_tasks

def begun(name):
    Path(f"{name}.tmp").write_text(str(os.getpid()))
    os.rename(f"{name}.tmp", name)

def wait(name):
    while not Path(name).exists():
        time.sleep(0.01)

def good(report):
    return "good"

def bad(report):
    wait("slow")
    raise ValueError("no such thing")

def slow(report):
    begun("slow")
    while not report(0.5):
        time.sleep(0.01)
    return "what there is"

def deaf(report):
    begun("deaf")
    time.sleep(1000)

def leaves(report):
    sys.exit(3)

def dies(report):
    wait("first saved")
    os.kill(os.getpid(), 9)

class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")

def odd(report):
    raise Odd(1, 2)

def saved(results):
    begun("first saved")
    if "full" in sys.argv:
        begun(f"call {len(results)}")
        if len(results) < 3 or "for ever" in sys.argv:
            raise OSError("disk full")
    Path("saved").write_text(repr(sorted(results.items())))

if __name__ == "__main__":
    names = sys.argv[1].split()
    tasks = {name: (globals()[name.strip("[/]123")], ()) for name in names}
    print("RESULT", *run_tasks(tasks, 2, saved))
"""


@pytest.fixture
def start(tmp_path):
    """Start the script in a group of its own; what is left of it at the end of the test is ended."""
    (tmp_path / "script.py").write_text(SCRIPT)
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "script.py", *arguments],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.01)


def end(process):
    """What it says, and its status. Its pipes are closed: whoever had inherited them has ended too."""
    output, errors = process.communicate(timeout=60)
    return output, errors, process.returncode


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_after_an_error_the_others_hand_in_what_they_have(start, tmp_path):
    _, errors, code = end(start("good slow bad"))
    assert code == 1
    last = errors.strip().splitlines()[-2:]
    assert last[0] == "ValueError: no such thing"
    assert last[1].startswith("in task bad; kept: ")
    assert {*last[1].partition("kept: ")[2].split("; ")} == {"good", "slow"}
    assert (tmp_path / "saved").read_text() == "[('good', 'good'), ('slow', 'what there is')]"


def test_a_process_that_the_system_ends(start, tmp_path):
    _, errors, code = end(start("good dies slow"))
    assert code == 1
    assert "BrokenProcessPool" in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("the system killed a worker, perhaps because memory was short; lost: ")
    lost, kept = last.partition("lost: ")[2].split("; kept: ")
    assert {*lost.split("; ")} == {"dies", "slow"}
    assert kept == "good"
    assert (tmp_path / "saved").read_text() == "[('good', 'good')]"


@pytest.mark.parametrize(
    ("name", "words"), [("leaves", "RuntimeError: SystemExit: 3"), ("odd", "RuntimeError: Odd: 1 and 2")]
)
def test_errors_that_cannot_travel_come_as_ones_that_can(start, name, words):
    _, errors, code = end(start(name))
    assert code == 1
    assert errors.strip().splitlines()[-2:] == [words, f"in task {name}; kept: nothing"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["at times", "for ever"])
def test_what_could_not_be_saved_is_tried_again_at_the_end(start, tmp_path, how):
    output, errors, code = end(start("good1 good2", "full", how))
    assert (tmp_path / "call 2").exists()
    assert code == 1
    assert "OSError: disk full" in errors
    output, errors, code = end(start("good1 good2 good3", "full", how))
    if how == "at times":
        assert code == 0, errors
        assert output.splitlines()[-1].endswith("False")
        assert "good3" in (tmp_path / "saved").read_text()
    else:
        assert code == 1
        assert not (tmp_path / "saved").exists()


def test_names_are_shown_as_they_are(start):
    output, errors, code = end(start("[/]good [good]"))
    assert code == 0, errors
    assert "[/]good" in output
    assert "[good]" in output


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_asks_for_an_end(start, tmp_path, number):
    process = start("slow good")
    wait_for(tmp_path / "slow", tmp_path / "first saved")
    process.send_signal(number)
    output, errors, code = end(process)
    assert code == 0, errors
    assert "'slow': 'what there is'" in output
    assert output.strip().endswith("True")


@pytest.mark.long
def test_the_third_ctrl_c_ends_those_that_do_not_listen(start, tmp_path):
    process = start("good deaf")
    wait_for(tmp_path / "deaf", tmp_path / "first saved")
    os.kill(int((tmp_path / "deaf").read_text()), signal.SIGSTOP)  # not even signals reach it
    for i in range(3):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        time.sleep(0.3)  # two at once would count as one
        assert process.poll() is None or i == 2
    output, errors, code = end(process)
    assert code == 0, errors
    assert output.strip().endswith("RESULT {'good': 'good'} True")
    assert not is_alive(int((tmp_path / "deaf").read_text()))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_no_worker_outlives_the_main_process(start, tmp_path):
    process = start("deaf slow")
    wait_for(tmp_path / "deaf", tmp_path / "slow")
    pids = [int((tmp_path / name).read_text()) for name in ("deaf", "slow")]
    assert all(map(is_alive, pids))
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
