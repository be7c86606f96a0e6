"""The directory of a study: what is foreign or damaged is named, nothing is deleted, and two runs go together."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.study.small import Here, assert_same, trial
from tinygrad_vg.study import Study, work
from tinygrad_vg.study.store import held


def files(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A finished study of one trial in two parts; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    assert Study([trial(digits, epochs=1, members_at_once=1)], folder).run(Here(), progress=False).done == 1
    return folder


@pytest.fixture
def study(finished, digits, tmp_path):
    for path in finished.rglob("*"):
        copy = tmp_path / path.relative_to(finished)
        copy.mkdir(parents=True) if path.is_dir() else copy.write_bytes(path.read_bytes())
    return Study([trial(digits, epochs=1, members_at_once=1)], tmp_path)


def test_what_is_finished_is_not_trained_again(study):
    executor, before = Here(), files(study.directory)
    assert study.run(executor, progress=False).done == 1
    assert executor.tasks == []
    assert files(study.directory) == before


def test_a_list_may_grow(study, digits):
    more = Study([*study.trials, trial(digits, epochs=1, lr=0.1)], study.directory)
    executor = Here()
    assert more.run(executor, progress=False).done == 2
    assert [args[1] for args in executor.tasks] == [more.trials[1]]
    assert len(study.results()) == 2
    assert len(more.results()) == 4


@pytest.mark.parametrize(
    "name", ["notes.txt", "trials/notes.txt", "running/notes.txt", "trials/KEY/part-0.npz", "trials/KEY/notes.txt"]
)
def test_a_foreign_file_is_named(study, name):
    path = study.directory / name.replace("KEY", study.trials[0].key)
    path.write_text("mine")
    before = files(study.directory)
    with pytest.raises(ValueError, match="does not belong in the directory of a study") as raised:
        study.run(Here(), progress=False)
    assert str(path) in str(raised.value)
    assert files(study.directory) == before


@pytest.mark.parametrize(
    "name", [".study.0123456789abcdef.json", "trials/KEY/.part-00.checkpoint.0123456789abcdef.npz"]
)
def test_what_a_killed_process_leaves_is_not_foreign(study, name):
    (study.directory / name.replace("KEY", study.trials[0].key)).write_text("half")
    assert study.run(Here(), progress=False).done == 1


def test_a_directory_of_something_else_is_refused(digits, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"is no study: it has no study.json, and holds thesis.tex"):
        Study([trial(digits)], tmp_path).run(Here(), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_format_is_refused(study):
    (study.directory / "study.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match=r"study.json says .*format.: 2.*reads the format 1"):
        study.run(Here(), progress=False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("study.json", lambda old: old[:5]),
        ("trials/KEY/settings.json", lambda old: old[:-5]),
        ("trials/KEY/settings.json", lambda old: old.replace(b"0.5", b"0.7")),
        ("trials/KEY/part-00.npz", lambda old: old[:-100]),
        ("trials/KEY/part-01.npz", lambda old: b""),
        ("trials/KEY/part-01.npz", lambda old: old[:2000] + bytes([old[2000] ^ 1]) + old[2001:]),
    ],
)
def test_a_damaged_file_is_named(study, name, change):
    path = study.directory / name.replace("KEY", study.trials[0].key)
    path.write_bytes(change(path.read_bytes()))
    before = files(study.directory)
    with pytest.raises(ValueError, match=str(path)):
        study.run(Here(), progress=False)
    if path.suffix == ".npz":
        for reading in (study.results, lambda: study.result(study.trials[0])):
            with pytest.raises(ValueError, match=str(path)):
                reading()
    assert files(study.directory) == before


def test_a_part_of_another_trial_is_refused(study, digits):
    place = study.directory / "trials" / study.trials[0].key
    (place / "part-01.npz").write_bytes((place / "part-00.npz").read_bytes())
    with pytest.raises(ValueError, match=r"part-01.npz is not part 1 of the trial .*belongs to another trial"):
        study.run(Here(), progress=False)


def test_a_damaged_checkpoint_is_named_and_kept(digits, tmp_path):
    study = Study([trial(digits)], tmp_path)
    place = tmp_path / "trials" / study.trials[0].key
    study._store.prepare()
    place.mkdir(parents=True)
    (place / "part-00.checkpoint.npz").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"part-00.checkpoint.npz is not a whole .npz file"):
        study.run(Here(), progress=False)
    assert (place / "part-00.checkpoint.npz").read_bytes() == b"half"


def test_reading_before_the_end(digits, tmp_path):
    study = Study([trial(digits, seeds=range(3), members_at_once=1, epochs=1)], tmp_path)
    assert len(study.results()) == 0
    with pytest.raises(ValueError, match=r"is not finished: 3 of its 3 parts are missing; run the study"):
        study.result(study.trials[0])
    with pytest.raises(ValueError, match="is not one of this study"):
        study.result(trial(digits, lr=7.0))


def test_an_error_is_recorded_and_the_others_go_on(digits, tmp_path):
    bad, good = trial(digits, sizes=(17, 5, 10), epochs=1), trial(digits, epochs=1)
    outcome = Study([bad, good], tmp_path).run(Here(), progress=False)
    assert (outcome.done, outcome.trials, len(outcome.failed), outcome.interrupted) == (1, 2, 1, False)
    assert outcome.failed[0].trial == bad
    assert "16 pixels and 10 classes, and sizes is (17, 5, 10): write (16, ..., 10)" in outcome.failed[0].error
    text = outcome.failed[0].path.read_text()
    assert text.startswith("Traceback")
    assert text.strip().endswith(outcome.failed[0].error)
    first, second, third = str(outcome).splitlines()
    assert first == "1 of 2 trials are done; 1 part failed:"
    assert second == f"  {bad.label}, seeds 3 to 4: {outcome.failed[0].error}"
    assert third == f"    traceback: {outcome.failed[0].path}"


def test_on_a_full_disk_nothing_finished_is_lost(digits, tmp_path, monkeypatch):
    """Checkpoints fail silently, the finished part fails loudly, and the next run makes up for it."""
    one, two = trial(digits, epochs=2), trial(digits, epochs=2, lr=0.1)
    study = Study([one, two], tmp_path)
    Study([one], tmp_path).run(Here(), progress=False)
    before = files(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(work, "CHECKPOINT_SECONDS", 0.0)
        (tmp_path / "trials" / two.key).mkdir()
        settings = tmp_path / "trials" / two.key / "settings.json"
        settings.write_text(json.dumps(two.settings))  # there was room for it
        outcome = study.run(Here(), progress=False)
    assert outcome.done == 1
    assert outcome.failed[0].error == "OSError: [Errno 28] No space left on device"
    after = files(tmp_path)
    assert before.items() <= after.items()
    assert {Path(name).name for name in after.keys() - before.keys()} == {"settings.json", "part-00.lock"}
    assert study.run(Here(), progress=False).done == 2


@pytest.mark.parametrize(("seconds", "checkpoints"), [(0.0, 0), (100.0, 2)], ids=["no time passes", "time passes"])
def test_a_clock_that_is_set_changes_nothing(digits, tmp_path, monkeypatch, seconds, checkpoints):
    """The clock is set forth and back by thirty years at each look; only the monotonic clock counts."""
    looks, passed, kept = iter(range(10**9)), iter(range(10**9)), []
    Study([trial(digits)], tmp_path / "still").run(Here(), progress=False)
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(looks))
    monkeypatch.setattr(time, "monotonic", lambda: seconds * next(passed))
    monkeypatch.setattr(work, "_keep", lambda *args, keep=work._keep: kept.append(args) or keep(*args))
    assert Study([trial(digits)], tmp_path / "jumping").run(Here(), progress=False).done == 1
    assert len(kept) == checkpoints
    assert_same(tmp_path / "still", tmp_path / "jumping")


def test_a_part_that_another_process_trains_is_waited_for(digits, tmp_path):
    one = trial(digits, epochs=1)
    study = Study([one], tmp_path)
    study._store.prepare()
    place = study._store.place(one, 0)
    place.settle()
    trained, release = threading.Event(), threading.Event()

    def other():
        with held(place.lock, lambda: None):
            trained.set()
            release.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert trained.wait(60)
    run = threading.Thread(target=lambda: study.run(Here(), progress=False))
    run.start()
    run.join(0.5)
    assert run.is_alive()
    assert not place.finished.exists()
    release.set()
    run.join(60)
    thread.join(60)
    assert place.finished.exists()


def test_a_study_refuses_what_is_no_list_of_trials(digits, tmp_path):
    one = trial(digits)
    with pytest.raises(ValueError, match=r"the trial 16-5-10 .* is there twice"):
        Study([one, one], tmp_path)
    with pytest.raises(ValueError, match="a study has no trials"):
        Study([], tmp_path)
    with pytest.raises(TypeError, match="a study is made of Trials, not of 3"):
        Study([one, 3], tmp_path)
    assert repr(Study([one], tmp_path)) == f"Study(1 trials, {str(tmp_path)!r})"
