"""A message about a missing package has a command that works where the reader is: in a checkout, or elsewhere."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import tinygrad_vg as tg
from tinygrad_vg import extras
from tinygrad_vg.compiler import backends

ROOT = Path(__file__).parent.parent
SOURCES = [path for folder in ("tinygrad_vg", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert extras.install("fast") == 'pip install -e ".[fast]"'
    monkeypatch.chdir(tmp_path)
    assert extras.install("fast") == f'pip install -e "{ROOT}[fast]"'


def test_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    assert extras.install("examples") == 'pip install "tinygrad_vg[examples]"'


def test_the_command_reaches_pip_in_one_piece():
    """Brackets are patterns in some shells, so they are in quotes."""
    *command, what = shlex.split(extras.install("fast"))
    assert command == ["pip", "install", "-e"]
    assert what.endswith("[fast]")


def test_every_extra_that_is_named_exists_and_no_command_is_written_by_hand():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"install\(['\"](\w+)['\"]\)", text))
        if path.name != "extras.py":
            assert not re.search(r"pip install [^\n]*\[", text), path
    assert {"fast", "examples"} <= named <= known.keys()


def test_the_messages_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(extras.install("examples"))):
        tg.plots.axes.new_axes()
    with pytest.raises(ModuleNotFoundError, match=re.escape(extras.install("examples"))):
        tg.study.tasks._progress()
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(extras.install("fast"))):
        tg.compile(lambda x: x, backend="numba")
