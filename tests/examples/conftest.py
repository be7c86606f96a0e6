"""The scripts of examples/ as modules."""

import importlib
import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def script(monkeypatch):
    """Import a script by name. What it sets in the environment for its workers ends with the test."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def shown(script, monkeypatch, tmp_path, capsys):
    """Run a script's main() with options, and return what it printed; its picture must be there."""

    def shown(name, *options):
        monkeypatch.setattr("sys.argv", [f"{name}.py", "--out", str(tmp_path), *options])
        script(name).main()
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        return capsys.readouterr().out

    return shown
