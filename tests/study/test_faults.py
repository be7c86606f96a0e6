"""Faults of real processes: nothing finished is lost, the results are the bits of a run without faults, and no process
stays behind."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.study.small import assert_same, write_digits

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes are there"),
]

# Spawned workers import the script, and so have its changes: each epoch takes a while, is noted, and is followed by a
# checkpoint. A part with the learning rate 0.3 kills its worker.
SCRIPT = """
import os, sys, time
from tests.study.small import trial
from tinygrad_vg.study import Study, training, work

work.CHECKPOINT_SECONDS, work.LOOK_SECONDS = 0.0, 0.05
plain = training.Training.epoch

def epoch(self, number, *args):
    with open("epochs.log", "a") as log:
        log.write(f"{self.trial.lr} {self.seeds[0]} {number}\\n")
    open(f"main-{os.getppid()}", "a").close()
    if self.trial.lr == 0.3 and number == 1:
        os.kill(os.getpid(), 9)
    time.sleep(0.05)
    return plain(self, number, *args)

training.Training.epoch = epoch

if __name__ == "__main__":
    directory, rates, epochs, *limit = sys.argv[1:]
    if limit:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]),) * 2)
    trials = [trial("digits", lr=float(lr), epochs=int(epochs), members_at_once=1, batch=4) for lr in rates.split()]
    outcome = Study(trials, directory).run(2, progress=False)
    print(outcome)
    sys.exit(3 if outcome.interrupted else 4 if outcome.failed else 0)
"""

RATES, EPOCHS = "0.1 0.5", "45"  # two trials in two parts each


class Started:
    """The script in a session of its own, so that /proc tells which processes belong to it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "script.py", *arguments], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.running = folder / arguments[0] / "running"

    def members(self) -> list[int]:
        """The processes of the session that are alive."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if session == str(self.process.pid) and state != "Z":
                found.append(int(path.parent.name))
        return found

    def wait_for_parts(self, n: int = 1) -> list[dict]:
        """What n running parts say of themselves; fewer if the script has ended."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            notes = []
            for path in self.running.glob("*.json"):
                try:
                    notes.append(json.loads(path.read_text()))
                except (FileNotFoundError, ValueError):
                    continue
            alive = self.members()
            notes = [note for note in notes if note["share"] and note["pid"] in alive]  # a killed run leaves some
            if len(notes) >= n:
                return notes
            time.sleep(0.01)
        return []

    def end(self) -> tuple[str, int]:
        """What it says and its status. At the end none of its processes is alive."""
        output, _ = self.process.communicate(timeout=240)
        deadline = time.monotonic() + 20
        while self.members():
            assert time.monotonic() < deadline, self.members()
            time.sleep(0.02)
        return output, self.process.returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, the script, and the results of a run without faults in `undisturbed`."""
    folder = tmp_path_factory.mktemp("faults")
    write_digits(folder / "digits")
    (folder / "script.py").write_text(SCRIPT)
    output, code = Started(folder, "undisturbed", RATES, EPOCHS).end()
    assert code == 0, output
    return folder


@pytest.fixture
def start(folder):
    started = []

    def start(*arguments):
        (folder / "epochs.log").unlink(missing_ok=True)
        started.append(Started(folder, *arguments))
        return started[-1]

    yield start
    for each in started:
        for pid in each.members():
            os.kill(pid, signal.SIGKILL)
        each.process.communicate()


def finished(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.glob("trials/*/part-??.npz")}


def test_kill_9_at_random_points(folder, start):
    """The main process is killed twelve times: while it starts, or at any point of the trainings."""
    rng, kept, trained = random.Random(0), {}, 0
    for i in range(12):
        started = start("killed", RATES, EPOCHS)
        if i % 3:
            started.wait_for_parts()
            time.sleep(rng.uniform(0, 0.4))
        else:
            time.sleep(rng.uniform(0, 1.5))
        assert started.process.poll() is None, "the trainings are too short to be killed twelve times"
        started.process.kill()
        started.end()
        trained += (folder / "epochs.log").exists()
        before, kept = kept, finished(folder / "killed")
        assert before.items() <= kept.items()
    assert trained >= 6
    output, code = start("killed", RATES, EPOCHS).end()
    assert code == 0, output
    assert kept.items() <= finished(folder / "killed").items()
    assert_same(folder / "undisturbed", folder / "killed")


def test_a_worker_is_killed(folder, start):
    started = start("worker", RATES, EPOCHS)
    for _ in range(2):  # a third could be of a part that ran in both pools, and such a part fails
        notes = started.wait_for_parts(2)
        assert notes, "the trainings are too short to kill a worker twice"
        time.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):  # it was of the pool before
            os.kill(notes[0]["pid"], signal.SIGKILL)
    output, code = started.end()
    assert code == 0, output
    assert output == "2 of 2 trials are done\n"
    assert_same(folder / "undisturbed", folder / "worker")


def test_a_part_that_kills_each_worker_fails_alone(folder, start):
    output, code = start("deadly", f"0.3 {RATES}", EPOCHS).end()
    assert code == 4, output
    assert output.startswith("2 of 3 trials are done; 2 parts failed:\n"), output
    assert output.count("the system killed its worker in 3 pools, perhaps because memory was short") == 2
    assert output.count("lr=0.3") == 2
    begun = (folder / "epochs.log").read_text().splitlines()
    assert all(1 <= begun.count(f"0.3 {seed} 1") <= 3 for seed in (3, 4))  # or the other one had killed its pool
    for path in (folder / "deadly").glob("trials/*/*.error.txt"):
        assert '"lr": 0.3' in (path.parent / "settings.json").read_text()
    assert_same(folder / "undisturbed", folder / "deadly")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_soon_and_loses_less_than_an_epoch(folder, start, number):
    name = f"signal {number}"
    started = start(name, RATES, EPOCHS)
    started.wait_for_parts(2)
    time.sleep(0.5)
    begin = time.monotonic()
    # Ctrl-C reaches all processes of a terminal, SIGTERM the one that it is sent to.
    (os.killpg if number == signal.SIGINT else os.kill)(started.process.pid, number)
    output, code = started.end()
    assert code == 3, output
    assert output == "Interrupted: 0 of 2 trials are done; the next run goes on from the checkpoints\n"
    assert time.monotonic() - begin < 20
    begun = (folder / "epochs.log").read_text().splitlines()
    output, code = start(name, RATES, EPOCHS).end()
    assert code == 0, output
    again = (folder / "epochs.log").read_text().splitlines()
    assert len({*begun} & {*again}) <= 2  # of each running part the epoch that was not at its end
    assert len({*begun} | {*again}) == 4 * int(EPOCHS)
    assert_same(folder / "undisturbed", folder / name)


def test_the_third_signal_ends_workers_that_do_not_listen(folder, start):
    started = start("deaf", RATES, EPOCHS)
    notes = started.wait_for_parts(2)
    for note in notes:
        os.kill(note["pid"], signal.SIGSTOP)  # not even signals reach it
    for _ in range(3):
        assert started.process.poll() is None
        os.killpg(started.process.pid, signal.SIGINT)
        time.sleep(0.5)  # two at once would count as one
    output, code = started.end()
    assert code == 3, output
    output, code = start("deaf", RATES, EPOCHS).end()
    assert code == 0, output
    assert_same(folder / "undisturbed", folder / "deaf")


def test_two_processes_share_the_work(folder, start):
    both = [start("shared", RATES, EPOCHS) for _ in range(2)]
    for each in both:
        output, code = each.end()
        assert code == 0, output
        assert output == "2 of 2 trials are done\n"
    begun = (folder / "epochs.log").read_text().splitlines()
    assert len(begun) == len({*begun}) == 4 * int(EPOCHS)
    assert all((folder / f"main-{each.process.pid}").exists() for each in both)
    assert_same(folder / "undisturbed", folder / "shared")


def test_files_that_cannot_be_written(folder, start):
    """No file may be longer than 2,000 bytes: as on a full disk, the settings have room and the results have not."""
    output, code = start("full", RATES, EPOCHS, "2000").end()
    assert code == 4, output
    assert output.startswith("0 of 2 trials are done; 4 parts failed:\n")
    assert output.count("OSError: [Errno 27] File too large") == 4
    assert finished(folder / "full") == {}
    assert not [*(folder / "full").rglob(".part*")]
    output, code = start("full", RATES, EPOCHS).end()
    assert code == 0, output
    assert_same(folder / "undisturbed", folder / "full")


def test_a_script_without_its_last_condition(folder, tmp_path):
    """Each worker would start workers; Python refuses, and the message says what is wrong with the script."""
    script = SCRIPT.replace('if __name__ == "__main__":', "if True:")
    (tmp_path / "script.py").write_text(script)
    started = Started(tmp_path, "unconditional", RATES, EPOCHS)
    output, code = started.end()
    assert code == 1
    assert output.strip().splitlines()[-2].endswith('call run() in a script, under `if __name__ == "__main__":`')
