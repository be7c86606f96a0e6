"""`python -m tinygrad_vg`: what it lists, and how it runs an example."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tinygrad_vg.__main__ as command

ROOT = Path(__file__).parents[1]


def test_it_lists_all_scripts_pages_and_extras_with_a_line_each(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    lines = {line.split()[0]: line for line in command.listing().splitlines() if line.startswith("  ")}
    with_main = [path.stem for path in (ROOT / "examples").glob("*.py") if "def main" in path.read_text("utf-8")]
    assert {"mnist_depth", "gradient_graph"} <= {*with_main} <= lines.keys()
    assert "chapter" not in lines  # a module that scripts share
    assert lines["mnist_depth"].endswith("Does depth help? Nielsen's chapter 5.1 on the real MNIST, with a gradient "
                                         "recorder running.")  # fmt: skip
    assert lines["docs/numbers.md"].endswith("The numbers, and how they were measured")
    assert {"examples", "fast", "test", "bench", "docs", "dev"} <= lines.keys()


def test_words_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    wide = command.listing()
    monkeypatch.setenv("COLUMNS", "60")
    assert sorted(command.listing().split()) == sorted(wide.split())
    assert max(map(len, command.listing().splitlines()[1:])) <= 60  # the first line has the path


def test_what_an_extra_lacks_is_named(monkeypatch):
    def version(name):
        if name in ("numba", "rich"):
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(command.metadata, "version", version)
    text = command.listing()
    assert re.search(r"^  fast +missing: numba$", text, re.M)
    assert re.search(r"^  examples +missing: numba, rich$", text, re.M)  # the extra fast is a part of it
    assert re.search(r"^  docs +installed$", text, re.M)


def run(folder, *words, **environment):
    arguments = [sys.executable, "-m", "tinygrad_vg", *words]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env=os.environ | environment,
                          timeout=60, encoding="utf-8")  # fmt: skip


def test_it_runs_an_example_with_its_options_and_its_status(tmp_path):
    help_ = run(tmp_path, "mnist_depth", "--help", PYTHONPATH=str(ROOT), PYTHONIOENCODING="utf-8")
    assert help_.returncode == 0, help_.stderr
    assert "mnist_depth.py" in help_.stdout
    wrong = run(tmp_path, "mnist_depth.py", "--lr", "fast", PYTHONPATH=str(ROOT))
    assert wrong.returncode == 2
    assert "--lr: 'fast' is not a positive number" in wrong.stderr
    unknown = run(tmp_path, "mnist_dept", PYTHONPATH=str(ROOT))
    assert unknown.returncode == 1
    assert "there is no example 'mnist_dept': write one of another_activation, " in " ".join(unknown.stderr.split())


def test_without_the_examples_it_says_where_they_are(tmp_path):
    """As where a wheel is installed: the package alone."""
    shutil.copytree(ROOT / "tinygrad_vg", tmp_path / "site" / "tinygrad_vg", ignore=shutil.ignore_patterns("files"))
    site = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONIOENCODING": "utf-8"}
    listed = run(tmp_path, **site)
    assert listed.returncode == 0, listed.stderr
    assert "The examples and the documentation are not installed with the package." in " ".join(listed.stdout.split())
    refused = run(tmp_path, "mnist_depth", **site)
    assert refused.returncode == 1
    assert "'mnist_depth' cannot be run. The examples and" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("needs", [["numba>=0.61; extra == 'fast'", "numpy>=2.0", "tinygrad-vg[fast]; extra == 'all'"]])
def test_an_installed_package_knows_its_extras(monkeypatch, needs):
    monkeypatch.setattr(command, "HERE", False)
    monkeypatch.setattr(command.metadata, "requires", lambda name: needs)
    assert command.extras() == {"fast": ["numba"], "all": ["numba"]}


def test_a_reader_may_go_before_the_end():
    """As in `python -m tinygrad_vg | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with open(writer, "wb") as closed:
        ended = subprocess.run([sys.executable, "-m", "tinygrad_vg", "-h"], stdout=closed, stderr=subprocess.PIPE,
                               env=environment, timeout=60)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (141, b"")
