"""Handing parts to executors: windows, executors that fail, the cost of a trial, and what is shown."""

import itertools
import pathlib
import sys
import time
import tracemalloc
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from tests.study.small import Here, assert_same, trial
from tinygrad_vg.study import Study, work
from tinygrad_vg.study.executors import Processes
from tinygrad_vg.study.monitor import Monitor
from tinygrad_vg.study.running import Running


def test_threads_give_the_same_bits(digits, tmp_path):
    trials = [trial(digits, epochs=1, lr=lr, members_at_once=1) for lr in (0.1, 0.2, 0.4)]
    Study(trials, tmp_path / "here").run(Here(), progress=False)
    with ThreadPoolExecutor(3) as pool:
        assert Study(trials, tmp_path / "threads").run(pool, progress=False).done == 3
    assert_same(tmp_path / "here", tmp_path / "threads")


class Refusing(Executor):
    def submit(self, function, *args):
        raise RuntimeError("cannot schedule new futures after shutdown")


class Losing(Executor):
    """An executor whose workers are lost, as Dask's after three tries."""

    def submit(self, function, *args):
        future = Future()
        future.set_exception(RuntimeError("KilledWorker"))
        return future


class Breaking(Executor):
    def submit(self, function, *args):
        future = Future()
        future.set_exception(BrokenProcessPool("it is broken"))
        return future


def test_an_executor_that_takes_nothing(digits, tmp_path):
    for executor, words in ((Refusing(), "cannot schedule"), (Breaking(), "it is broken")):
        with pytest.raises(RuntimeError, match=words) as raised:
            Study([trial(digits)], tmp_path).run(executor, progress=False)
        assert raised.value.__notes__ == ["0 of 1 trials are done"]


def test_a_lost_worker_is_a_failure(digits, tmp_path):
    outcome = Study([trial(digits), trial(digits, lr=0.1)], tmp_path).run(Losing(), progress=False)
    assert [failure.error for failure in outcome.failed] == ["RuntimeError: KilledWorker"] * 2
    assert "RuntimeError: KilledWorker" in outcome.failed[0].path.read_text()


class Idle(Processes):
    """A pool whose only worker was killed while it had nothing to do: the next task is refused."""

    def submit(self, function, *args):
        if not self.ended:
            raise BrokenProcessPool("a process was terminated abruptly")
        return Here().submit(function, *args)

    ended = 0

    def end(self):
        self.ended += 1


def test_a_worker_that_is_killed_while_it_waits_costs_nothing(digits, tmp_path):
    study, pool = Study([trial(digits, epochs=1)], tmp_path), Idle(1)
    study._store.prepare()
    outcome = Running(study._store, study.trials, "0" * 16).drive(pool, Monitor())
    assert (outcome.done, pool.ended) == (1, 2)


@pytest.mark.parametrize(
    ("executor", "error", "words"),
    [(0, ValueError, "1 or more, not 0"), ("all", TypeError, r"client.get_executor\(\)")],
)
def test_what_is_no_executor(digits, tmp_path, executor, error, words):
    with pytest.raises(error, match=words):
        Study([trial(digits)], tmp_path).run(executor, progress=False)
    assert not [*tmp_path.iterdir()]


def test_rich_is_named_if_it_is_missing(digits, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .*\[examples\].*progress=False"):
        Study([trial(digits)], tmp_path).run(Here())
    assert not [*tmp_path.iterdir()]


def test_the_live_table_shows_running_and_finished_parts(digits, tmp_path, monkeypatch, capsys):
    console = pytest.importorskip("rich.console").Console(width=80)
    from tinygrad_vg.study import monitor

    one, other = trial(digits, epochs=4), trial(digits, epochs=4, lr=0.1, sizes=(16, 5, 5, 10))
    third = trial(digits, epochs=1, lr=0.1)
    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0.0)
    study = Study([one, other, third], tmp_path)
    Study([third], tmp_path).run(Here(), progress=False)
    table = monitor.LiveTable(study._by_key, 3)
    for each in (one, third):
        study._store.note(each, 0, {"run": "r", "share": 0.5, "accuracy": 0.25, "decades": -1.26})
    study._store.note(other, 0, {"run": "another", "share": 0.5, "accuracy": 0.25, "decades": None})

    def shown(handled):
        table.show(handled, study._store, "r")
        console.print(table._live.renderable)
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    with table:
        head, *rows, line = shown(0)
        assert head == ["hidden", "seeds", "epoch", "accuracy", "decades", "time", "left"]
        assert sorted(row[:7] for row in rows) == [
            ["1", "3", "to", "4", "0/1", "25.00", "%"], ["1", "3", "to", "4", "2/4", "25.00", "%"]]  # fmt: skip
        assert {row[-1] for row in rows} == {"−1.3"}
        assert line == ["0", "of", "3", "parts", "are", "done"]
        study._store.forget(third, 0)  # it is finished
        study._store.note(one, 0, {"run": "r", "share": 0.75, "accuracy": 0.5, "decades": None})
        _, *rows, line = shown(1)
        last = study.result(third).accuracy[-1].mean()
        assert sorted(rows)[0] == ["1", "3", "to", "4", "1/1", f"{100 * last:.2f}", "%", "−1.3", "done"]
        assert sorted(rows)[1] == ["1", "3", "to", "4", "3/4", "50.00", "%", "−1.3", "0:00:00"]
        assert line == ["1", "of", "3", "parts", "are", "done,", "about", "0:00:00", "left"]
        study._store.forget(one, 0)  # it has failed
        assert len(shown(2)) == 3
    assert "hidden" not in capsys.readouterr().out  # it leaves nothing behind


class Cluster(ThreadPoolExecutor):
    """Eight workers, each of which takes two milliseconds for a trial. It notes how many trials wait at once."""

    def __init__(self):
        super().__init__(8)
        self.waiting = self.most = 0

    def submit(self, function, *args):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        future = super().submit(function, *args)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future):
        self.waiting -= 1


def _traced() -> int:
    """The bytes of all traced objects, without the table of interned strings: it is of the whole process, and doubles
    at any time, when `pathlib` adds a name."""
    kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    return sum(trace.size for trace in kept.traces)


@pytest.mark.long
def test_ten_thousand_trials_cost_little_and_leave_nothing_behind(digits, tmp_path, monkeypatch):
    held, calls = [], itertools.count(1)

    def simulated(directory, one, number, run, wait):
        time.sleep(0.002)
        if next(calls) % 1800 == 0 and tracemalloc.is_tracing():
            held.append(_traced())
        return work.DONE, ""

    monkeypatch.setattr(work, "run_part", simulated)
    n = 10_000
    study = Study([trial(digits, order_seed=i) for i in range(n)], tmp_path / "study")
    begin, own = time.perf_counter(), time.process_time()
    with Cluster() as cluster:
        outcome = study.run(cluster, progress=False)
    cost = (time.process_time() - own) / n
    print(f"{n} trials in {time.perf_counter() - begin:.1f} s: {1e3 * cost:.2f} ms of the processor each")
    assert outcome.done == n
    assert cost < 0.005
    assert cluster.most <= 1000
    tracemalloc.start()
    with Cluster() as cluster:
        study.run(cluster, progress=False)
    tracemalloc.stop()
    print("held, in MB:", *(f"{size / 1e6:.2f}" for size in held))
    assert len(held) >= 5
    assert max(held) < 1.2 * held[0]
