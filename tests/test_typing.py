"""A user's program has types that mypy knows: `net(x)` is a Tensor, and a layer's weight a Parameter."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.typing import users_program

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "tests" / "typing" / "users_program.py"


def test_the_program_runs(capsys):
    assert 0 < users_program.main() < 2
    assert "Linear(4, 8)" in capsys.readouterr().out


def checked(path):
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.long
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is in the extra dev; .ci/run checks the same file by it")
def test_mypy_passes_it_and_finds_a_mistake(tmp_path):
    done = checked(PROGRAM)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "wrong.py"
    wrong.write_text(PROGRAM.read_text(encoding="utf-8").replace("loss.backward()", "loss.exp()"), encoding="utf-8")
    done = checked(wrong)
    assert done.returncode == 1
    assert '"Tensor" has no attribute "exp"' in done.stdout
