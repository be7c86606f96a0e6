"""Studies on a scheduler of Dask's with two worker processes on the loopback interface."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.study.small import assert_same, write_digits

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes are there"),
]

SCRIPT = """
import json, os, signal, sys, threading, time
from pathlib import Path
from distributed import Client, LocalCluster, WorkerPlugin
from tests.study.small import trial
from tinygrad_vg.study import Study

class Slow(WorkerPlugin):  # also of the workers that follow those which are killed
    def setup(self, worker):
        from tinygrad_vg.study import training, work
        work.CHECKPOINT_SECONDS, work.LOOK_SECONDS = 0.0, 0.05
        plain = training.Training.epoch

        def epoch(self, number, *args):
            with open("epochs.log", "a") as log:
                log.write(f"{self.trial.lr} {self.seeds[0]} {number}\\n")
            time.sleep(0.1)
            return plain(self, number, *args)

        training.Training.epoch = epoch

def notes():
    found = []
    for path in Path("dask/running").glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (FileNotFoundError, ValueError):
            continue
    return [note for note in found if note["share"] and Path(f"/proc/{note['pid']}").exists()]

def wait_for_parts(n):
    while len(notes()) < n:
        time.sleep(0.01)

def kill_workers(killed):
    for _ in range(2):
        wait_for_parts(2)
        pid = notes()[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        time.sleep(1)

def terminate():
    wait_for_parts(2)
    os.kill(os.getpid(), signal.SIGTERM)

def main():
    what = sys.argv[1]
    if what == "many":
        trials = [trial("digits", lr=0.1 + 0.01 * i, epochs=1, seeds=(i % 3,), batch=4) for i in range(64)]
    else:
        trials = [trial("digits", lr=lr, epochs=40, seeds=range(4), members_at_once=1, batch=4) for lr in (0.1, 0.5)]
    cluster = LocalCluster(n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster) as client:
        study = Study(trials, "dask")
        pids = client.run(os.getpid)
        if what != "many":
            client.register_plugin(Slow())
        killed = []
        if what == "killed":
            threading.Thread(target=kill_workers, args=(killed,), daemon=True).start()
        if what == "terminated":
            threading.Thread(target=terminate, daemon=True).start()
            outcome = study.run(client.get_executor(), progress=False)
            assert outcome.interrupted and outcome.done == 0, outcome
            assert not [*Path("dask/running").iterdir()]
        outcome = study.run(client.get_executor(), progress=False)
        assert len(pids) == 2 and os.getpid() not in pids.values()
    print(json.dumps({"text": str(outcome), "killed": len(killed)}))
    assert Study(trials, "pool").run(2, progress=False).done == len(trials)

if __name__ == "__main__":
    main()
"""


def run(folder: Path, what: str) -> dict:
    write_digits(folder / "digits")
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "script.py", what], cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def test_sixty_four_trials_are_the_bits_of_the_pool(tmp_path):
    assert run(tmp_path, "many")["text"] == "64 of 64 trials are done"
    assert_same(tmp_path / "dask", tmp_path / "pool")


def test_workers_are_killed_that_hold_a_part(tmp_path):
    said = run(tmp_path, "killed")
    assert said == {"text": "2 of 2 trials are done", "killed": 2}
    assert_same(tmp_path / "dask", tmp_path / "pool")


def test_a_signal_ends_the_parts_on_the_cluster_and_a_run_goes_on(tmp_path):
    assert run(tmp_path, "terminated")["text"] == "2 of 2 trials are done"
    assert_same(tmp_path / "dask", tmp_path / "pool")
    begun = (tmp_path / "epochs.log").read_text().splitlines()
    assert {*begun} >= {f"{lr} {seed} {epoch}" for lr in (0.1, 0.5) for seed in range(4) for epoch in range(40)}
    assert len(begun) <= 2 * 4 * 40 + 2  # of each running part the epoch that was not at its end
