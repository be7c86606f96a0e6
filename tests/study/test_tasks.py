"""Tasks in processes, in scripts of their own: what they run has to be found again by fresh processes."""

import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rich")

SCRIPT = """
import sys, time
from pathlib import Path
from tinygrad_vg.study import run_tasks

def square(x, report):
    report(0.5)
    return x * x

def slow(x, report):
    for i in range(10_000):
        if report(i / 10_000):
            return "ended early"
        time.sleep(0.01)

def failing(x, report):
    raise ValueError(f"task {x} cannot be done")

def saved(results):
    Path("saved.txt").write_text(repr(sorted(results.items(), key=str)))

if __name__ == "__main__":
    functions = {"square": square, "slow": slow, "failing": failing}
    tasks = {(name, i): (functions[name], (i,)) for i, name in enumerate(sys.argv[1:])}
    print("RESULT", *run_tasks(tasks, 2, saved))
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def command(*names):
    return [sys.executable, "-W", "error", "script.py", *names]


def test_all_results_come_back_by_key(script):
    done = subprocess.run(command(*["square"] * 5), cwd=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expected = {("square", i): i * i for i in range(5)}
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    found, interrupted = eval(line.removeprefix("RESULT ").rpartition(" ")[0]), line.endswith("True")
    assert found == expected
    assert not interrupted
    assert "square, 4" in done.stdout  # its bar
    assert eval((script / "saved.txt").read_text()) == sorted(expected.items())


def test_ctrl_c_ends_early_with_what_there_is(script):
    process = subprocess.Popen(
        command("square", "slow", "slow", "slow"), cwd=script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (script / "saved.txt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # a slow one has begun
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "('square', 0): 0" in output
    assert "ended early" in output
    assert output.strip().endswith("True")


@pytest.mark.long
def test_an_error_of_a_task_ends_the_others(script):
    start = time.monotonic()
    done = subprocess.run(command("slow", "failing", "slow"), cwd=script, capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert "ValueError: task 1 cannot be done" in done.stderr
    assert time.monotonic() - start < 60  # a slow one alone takes 100 seconds
