"""Machine code on the disk: a second process compiles nothing, and whatever happens to the files costs time only."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tinygrad_vg import nn, optim
from tinygrad_vg.compiler.cache import IMPORTED

pytestmark = pytest.mark.skipif("numba" not in BACKENDS, reason="MACHINE_CODE=1 tests it")

ROOT = Path(tg.__file__).parent.parent
SCRIPT = """
import sys
import numpy as np
import tinygrad_vg as tg
from tinygrad_vg import nn, optim

net = nn.mlp([4, 5, 3], rng=0, dtype=np.float32)
sgd, cost = optim.SGD(net.parameters(), lr=0.1), nn.BCEWithLogitsLoss("batchmean")
x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
t = np.eye(3, dtype=np.float32)[np.arange(40) % 3]

@tg.compile(backend="numba")
def step(x, t):
    sgd.zero_grad()
    loss = cost(net(x), t)
    loss.backward()
    sgd.step()
    return loss

losses = [step(x[i : i + 4], t[i : i + 4]).data for i in range(5)]
losses.append(step.over(np.arange(40).reshape(10, 4), x, t).data)
print(b"".join(a.tobytes() for a in (*losses, *(p.data for p in net.parameters()))).hex())
"""


def run(folder, script=SCRIPT):
    """All results of a process with this folder as its cache, as text."""
    environment = {**os.environ, "TINYGRAD_VG_CACHE": str(folder), "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder that a first process has filled, and its results."""
    folder = tmp_path_factory.mktemp("cache") / "new"
    return folder, run(folder)


def test_a_second_process_compiles_nothing(first):
    folder, results = first
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    without = (
        "from tinygrad_vg.compiler import functions, products\nfunctions.object_code = products.object_code = None\n"
    )
    assert run(folder, without + SCRIPT) == results
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_numba_is_not_imported(first):
    """LLVM comes with Numba; the import of Numba itself would take a third of the wait for a first compiled step."""
    folder, results = first
    assert run(folder, SCRIPT + "import sys\nassert 'numba' not in sys.modules\n") == results


def test_the_modules_that_a_source_imports_are_part_of_its_name():
    """Machine code of an older elementary function is not taken for that of the present one."""
    compiled = tg.compile(lambda x: np.exp(x), backend="numba")
    for _ in range(2):
        compiled(np.ones(3))
    imported = re.findall(r"^from tinygrad_vg\.compiler\.(\w+) import", compiled.source, flags=re.MULTILINE)
    assert {*imported} <= {*IMPORTED}
    assert "rows" in imported


def test_code_that_calls_the_c_library_in_a_process_that_has_imported_numba(tmp_path):
    """An ensemble's sums are set to 0 by memset, which LLVM finds only if it finds all other functions."""
    members = "[nn.mlp([4, 40, 3], rng=i, dtype=np.float32) for i in range(8)]"
    script = SCRIPT.replace("nn.mlp([4, 5, 3], rng=0, dtype=np.float32)", f"nn.stack({members})")
    assert script != SCRIPT
    results = run(tmp_path, script)
    assert run(tmp_path, "import numba\n" + script) == results


def truncated(code):
    return code[: len(code) // 2]


def flipped(code):
    return code[: len(code) // 2] + bytes([code[len(code) // 2] ^ 1]) + code[len(code) // 2 + 1 :]


DAMAGES = {"truncated": truncated, "flipped": flipped, "text": lambda code: b"no archive"[: len(code) % 11]}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_cost_time_only(damage, first, tmp_path):
    folder, results = first
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(DAMAGES[damage](path.read_bytes()))
    assert run(tmp_path) == results
    if damage == "flipped":  # and they are whole again
        assert run(tmp_path) == results


def test_a_file_of_another_source_costs_time_only(first, tmp_path):
    folder, results = first
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) > 1
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        (tmp_path / name).write_bytes((folder / other).read_bytes())
    assert run(tmp_path) == results


@pytest.mark.parametrize("what", ["in a file", "read-only"])
def test_a_folder_that_cannot_be_written_costs_time_only(what, first, tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / {"in a file": "file/below", "read-only": "closed"}[what]
    if what == "read-only":
        folder.mkdir()
        folder.chmod(0o500)
    assert run(folder) == first[1]
    assert (tmp_path / "file").read_text() == ""


def test_an_empty_name_writes_nothing(first, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    assert run("") == first[1]
    assert [*tmp_path.rglob("*.npz")] == []


def files_of(folder, monkeypatch, function, *args):
    """The new files in a cache after two calls of a compiled function."""
    monkeypatch.setenv("TINYGRAD_VG_CACHE", str(folder))
    before = set(folder.iterdir()) if folder.exists() else set()
    compiled = tg.compile(function, backend="numba")
    results = [compiled(*args) for _ in range(3)]
    assert all(np.array_equal(r, results[-1]) for r in results[1:])
    return set(folder.iterdir()) - before


def times(factor):
    return lambda x: np.tanh(x) * factor


def test_another_source_is_another_file(tmp_path, monkeypatch):
    x = np.ones(5, np.float32)
    assert len(files_of(tmp_path, monkeypatch, times(2), x)) == 1
    assert not files_of(tmp_path, monkeypatch, times(2), x)
    assert len(files_of(tmp_path, monkeypatch, times(3), x)) == 1
    assert len(files_of(tmp_path, monkeypatch, times(2), x.astype(float))) == 1
    assert len(files_of(tmp_path, monkeypatch, times(2), np.ones(6, np.float32))) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"] * 4


def test_lines_of_the_users_file_are_no_part_of_the_code(tmp_path, monkeypatch):
    """Whoever adds a line above a step need not wait for its compilation again."""
    x = np.ones(5, np.float32)
    assert len(files_of(tmp_path, monkeypatch, lambda x: np.tanh(x) * 2, x)) == 1
    assert not files_of(tmp_path, monkeypatch, lambda x: np.tanh(x) * 2, x)


def test_code_of_another_source_is_not_run(tmp_path, monkeypatch):
    """A file that is whole, with functions of the same names, but of another plan."""
    x = np.ones(5, np.float32)
    (two,), (three,) = (files_of(tmp_path, monkeypatch, times(factor), x) for factor in (2, 3))
    three.write_bytes(two.read_bytes())
    compiled = tg.compile(times(3), backend="numba")
    assert [np.allclose(compiled(x), 3 * np.tanh(x)) for _ in range(3)] == [True] * 3


def test_one_file_serves_other_arrays(tmp_path, monkeypatch):
    """Addresses are no part of the code: networks of one form share a file, and have results of their own."""
    monkeypatch.setenv("TINYGRAD_VG_CACHE", str(tmp_path))
    for seed in range(3):
        net = nn.mlp([4, 5, 3], rng=seed)
        sgd = optim.SGD(net.parameters(), lr=0.1 + seed)
        other = nn.mlp([4, 5, 3], rng=seed)
        eager = optim.SGD(other.parameters(), lr=0.1 + seed)

        def step(x, net=net, sgd=sgd):
            sgd.zero_grad()
            np.sum(np.square(net(x))).backward()
            sgd.step()

        compiled = tg.compile(step, backend="numba")
        for x in np.random.default_rng(seed).normal(size=(4, 2, 4)):
            compiled(x)
            step(x, other, eager)
        assert len([*tmp_path.iterdir()]) == 1
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            assert np.allclose(p.data, q.data, rtol=1e-12)
