"""The measurements of `python -m tests.benchmarks` run, on networks too small for their figures to mean anything."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

import tinygrad_vg as tg
from tests.benchmarks import compiling, footprint, growth, recording, recording_torch, roofline, works
from tests.benchmarks.report import Result, markdown, table
from tests.benchmarks.works import BY_HAND, COMPILED, ON_NUMPY, OURS, SCAN, WORKS

needs_numba = pytest.mark.skipif(not find_spec("numba"), reason="Numba is not installed")
SMALL = replace(WORKS["A"], sizes=[784, 4, 10], batch=4, steps=8, peers={}, eager={}, compiled={})


def shown(result: Result) -> str:
    """The result in both forms."""
    return table({"X": result}) + markdown({"X": result})


def values(result: Result) -> dict[str, float | None]:
    return {row.compared: row.value and row.value.median for row in result.rows}


@needs_numba
def test_a_work():
    result = works.measure(SMALL, repeats=3)
    assert {f"{OURS} / {BY_HAND}", f"{BY_HAND} / {COMPILED}", f"{BY_HAND} / {ON_NUMPY}"} <= values(result).keys()
    assert all(value for compared, value in values(result).items() if SCAN not in compared)
    assert COMPILED in shown(result)


@pytest.mark.long
def test_a_work_without_numba_says_so(monkeypatch, capsys):
    monkeypatch.setattr("tinygrad_vg.compiler.backends.find_spec", lambda name: None)
    result = works.measure(SMALL, repeats=3)
    assert values(result)[f"{BY_HAND} / {COMPILED}"] is None
    assert values(result)[f"{BY_HAND} / {ON_NUMPY}"]
    assert any(note.startswith(f"{COMPILED} was not measured") for note in result.notes)
    assert "numba" in capsys.readouterr().err


@pytest.fixture
def short_recording(monkeypatch):
    monkeypatch.setattr(recording, "PAIRS", 2)
    monkeypatch.setattr(recording, "STEPS", 3)
    monkeypatch.setattr(recording, "NETS", {"[5, 4, 3]": [5, 4, 3]})


@pytest.mark.usefixtures("short_recording")
def test_recording(monkeypatch):
    monkeypatch.setattr(tg, "compile", lambda step: step)  # which instruments see, whatever a compiled one shows
    result = recording.measure()
    assert len(result.rows) == 4
    assert all(row.value for row in result.rows)


@pytest.mark.usefixtures("short_recording")
def test_recording_is_not_measured_where_the_recorder_sees_nothing(monkeypatch):
    def once_only(step):
        calls = iter([step])
        return lambda *batch: next(calls, lambda *batch: None)(*batch)

    monkeypatch.setattr(tg, "compile", once_only)
    result = recording.measure()
    assert [row.value is None for row in result.rows] == [False, False, True, True]
    assert "saw nothing" in shown(result)


def test_recording_in_pytorch(monkeypatch):
    monkeypatch.setattr(recording_torch, "PAIRS", 2)
    monkeypatch.setattr(recording_torch, "STEPS", 3)
    monkeypatch.setattr(recording_torch, "NETS", {"[5, 4, 3]": [5, 4, 3]})
    result = recording_torch.measure()
    assert len(result.rows) == len(recording_torch.BARS)
    if find_spec("torch"):
        assert all(row.value for row in result.rows)
    else:
        assert "recording in PyTorch was not measured" in shown(result)


@needs_numba
def test_waiting_for_the_first_compiled_step():
    seconds, calls = compiling.waited()
    assert 0 < seconds < 60
    assert calls <= 3


@needs_numba
def test_the_limit(monkeypatch):
    monkeypatch.setattr(roofline, "NAMES", ("A",))
    monkeypatch.setattr(roofline, "WORKS", {"A": SMALL})
    monkeypatch.setattr(roofline, "COPIES", 2)
    result = roofline.measure(repeats=2)
    assert all(value > 0 for value in values(result).values())
    assert "GFLOP/s" in shown(result)


def test_the_growth_of_the_main_job(monkeypatch):
    grown = [(1, 4, 1), (1, 4, 2), (1, 6, 1)]
    small = {"DEPTHS": (1,), "MEMBERS": (1, 2), "WIDTHS": (4, 6), "WIDTH": 4, "JOB_MEMBERS": 2, "OF_WIDTHS": 1}
    for name, value in (small | {"GROWN": grown, "STEPS": 10, "REPEATS": 1}).items():
        monkeypatch.setattr(growth, name, value)
    monkeypatch.setattr(growth, "SIDES", {"eager": works.ours, "compiled": works.OWN[ON_NUMPY][""]})
    text = shown(growth.measure())
    assert "compiled\n" in text
    assert "2 members of each depth, compiled" in text


@needs_numba
def test_the_memory_of_a_compiled_step(monkeypatch):
    monkeypatch.setattr(footprint, "PEAK_NETS", {"small": [784, 4, 10]})
    monkeypatch.setattr(footprint, "STEPS", 10)
    assert 0 < footprint.arena("small") <= footprint.peak("small") - footprint.bytes_given("small")
    assert footprint.growth("compiled") is None or footprint.growth("compiled") < 50
