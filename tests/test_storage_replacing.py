"""Writing is all or nothing, whoever else writes, and leaves a file's mode and links as they were."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import storage


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=["OSError", "KeyboardInterrupt"])
@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "new file"])
def test_a_failure_while_writing_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, old: bool
) -> None:
    path = tmp_path / "a.npz"
    if old:
        tg.save({"a": np.zeros(3)}, path)
    written = []

    def write_half(file: Any, array: Any, **_: Any) -> None:
        file.write(array.tobytes()[: array.nbytes // 2])
        written.append(file)
        raise failure

    monkeypatch.setattr(np.lib.format, "write_array", write_half)
    with pytest.raises(type(failure)):
        tg.save({"a": np.ones(3)}, path)
    assert len(written) == 1
    assert files(tmp_path) == (["a.npz"] if old else [])
    assert not old or tg.load(path)["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("failure", [RuntimeError("no"), KeyboardInterrupt()], ids=["error", "KeyboardInterrupt"])
def test_replacing_is_all_or_nothing(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "new" / "table.csv"

    def write(text: str, then: BaseException | None = None) -> None:
        with storage.replacing(path) as temporary:
            assert temporary.suffix == path.suffix  # NumPy and Matplotlib go by it
            assert temporary.parent == path.parent  # a rename is one step within a folder
            assert temporary.read_bytes() == b""  # it is there: nobody else can take its name
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "old"
            if then is not None:
                raise then

    write("old")
    with pytest.raises(type(failure)):
        write("half", failure)
    assert path.read_text() == "old"
    write("new")
    assert path.read_text() == "new"
    assert files(path.parent) == ["table.csv"]


@pytest.mark.parametrize("use", ["threads", "processes"])
def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path, use: str) -> None:
    """Each has a temporary of its own, and each reader finds the whole file of one of them."""
    path = tmp_path / "a.npz"
    if use == "threads":
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(write_and_read, [path] * 4, range(4)))
    else:
        code = (
            "import runpy, sys, pathlib; names = runpy.run_path(sys.argv[1]); "
            "names['write_and_read'](pathlib.Path(sys.argv[2]), int(sys.argv[3]))"
        )
        writers = [subprocess.Popen([sys.executable, "-c", code, __file__, str(path), str(i)]) for i in range(2)]
        found = [writer.wait() == 0 for writer in writers]
    assert all(found)
    assert files(tmp_path) == ["a.npz"]


def write_and_read(path: Path, number: int) -> bool:
    for _ in range(40):
        tg.save({"a": np.full(1000, number), "b": np.full((5, 7), number)}, path)
        loaded = tg.load(path)
        numbers = {*loaded["a"].tolist(), *loaded["b"].ravel().tolist()}
        assert loaded["a"].shape == (1000,)
        assert len(numbers) == 1
    return True


def test_two_writers_at_once_have_two_temporaries(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with storage.replacing(path) as first, storage.replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # its block ended last
    assert files(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with storage.replacing(path) as temporary:
        assert temporary.stat().st_mode & 0o077 & ~mode == 0  # nobody reads it meanwhile who might not read the old one
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_new_file_has_the_mode_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("")
    with storage.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
@pytest.mark.parametrize("dangling", [False, True])
def test_a_symbolic_link_stays_one(tmp_path: Path, dangling: bool) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.npz", tmp_path / "link.npz"
    link.symlink_to(Path("folder") / "target.npz")
    if not dangling:
        tg.save({"a": np.zeros(1)}, target)
    tg.save({"a": np.ones(1)}, link)
    assert link.is_symlink()
    assert tg.load(target)["a"] == 1
    assert files(tmp_path / "folder") == ["target.npz"]


def test_what_a_killed_process_has_left_is_removed_an_hour_later(tmp_path: Path) -> None:
    path, hour = tmp_path / "a[1].npz", 3600
    code = (
        "import os, sys; from tinygrad_vg import storage\n"
        "with storage.replacing(sys.argv[1]) as temporary: temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode != 0
    (left,) = files(tmp_path)
    others = {".b.0123456789abcdef.npz", ".a[1].0123456789ABCDEF.npz", ".a[1].0123.npz", ".a[1].0123456789abcdef.csv",
              "a[1].0123456789abcdef.npz", ".a1.0123456789abcdef.npz"}  # fmt: skip
    for name in others:
        (tmp_path / name).write_text("of somebody else")
    (tmp_path / ".a[1].fedcba9876543210.npz").mkdir()
    mine = {left, *others, ".a[1].fedcba9876543210.npz"}
    for age, there in ((hour - 60, mine), (hour + 60, mine - {left})):
        for name in files(tmp_path):
            os.utime(tmp_path / name, (time.time() - age,) * 2)
        tg.save({"a": np.ones(1)}, path)
        assert {*files(tmp_path)} == {*there, "a[1].npz"}


def test_the_file_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power failure a name may not stand for a file that is not there yet."""
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), real_fsync(number)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), real_replace(a, b)))
    tg.save({"a": np.ones(1)}, tmp_path / "a.npz")
    assert done == ["fsync", "replace", "fsync"][: 3 if hasattr(os, "O_DIRECTORY") else 2]
