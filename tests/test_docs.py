"""The documents: every public name says what it is, the reference has it, and the file of the study guide runs.

`mkdocs build --strict -f .mkdocs.yml` finds broken links, and pages that no part of the site names.
"""

import codeop
import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGES = {
    "tinygrad_vg.bridges.torch", "tinygrad_vg.compiler", "tinygrad_vg.datasets", "tinygrad_vg.draw",
    "tinygrad_vg.engine", "tinygrad_vg.engine.ops", "tinygrad_vg.instruments", "tinygrad_vg.nn", "tinygrad_vg.nn.init",
    "tinygrad_vg.optim", "tinygrad_vg.optim.lr_scheduler", "tinygrad_vg.plots", "tinygrad_vg.study",
}  # fmt: skip
ALIASES = {"tinygrad_vg.engine.Hook", "tinygrad_vg.study.Report"}  # types of functions; no object has their docstring


def names(package):
    """The public names of a module: its `__all__`, or else the functions that it defines itself."""
    module = importlib.import_module(package)
    own = [name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == package]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


PUBLIC = [f"{package}.{name}" for package in sorted(PACKAGES) for name in names(package)]
PUBLIC += ["tinygrad_vg.load", "tinygrad_vg.save"]


def test_these_are_all_packages_with_public_names():
    listed = {path.parent for path in (ROOT / "tinygrad_vg").rglob("*.py") if "__all__ = [" in path.read_text("utf-8")}
    folders = {Path(ROOT, *package.split(".")) for package in {*PACKAGES, "tinygrad_vg"}}
    assert listed <= folders


def documented():
    """The public names with the object that has the docstring; of a class its public members too."""
    for path in PUBLIC:
        package, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(package), name)
        if path not in ALIASES:
            yield path, value
        if inspect.isclass(value) and path not in ALIASES:
            own = [name for name in vars(value) if not name.startswith("_")]
            attributes = re.findall(r"^ +(\w+): ", value.__doc__ or "", re.M)  # the class has their docstrings
            for member in (name for name in own if name not in attributes):
                inner = getattr(value, member, None)  # None: absent, and only there to say what to write instead
                if inspect.isroutine(inner) or isinstance(inner, property | functools.cached_property):
                    yield f"{path}.{member}", inner


@pytest.mark.parametrize(("path", "value"), [*documented()], ids=[path for path, _ in documented()])
def test_a_public_name_has_a_docstring_that_begins_with_a_sentence(path, value):
    summary, *_ = (inspect.getdoc(value) or "").split("\n\n")
    assert summary, f"{path} has no docstring"
    assert summary[-1] in ".:", f"{path}: the first paragraph of its docstring is no sentence: {summary!r}"


def test_the_reference_has_every_package():
    """A name that a module of the package has too, such as mnist in datasets/, has an entry beside the package."""
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")]
    shown = [name for page in pages for name in re.findall(r"^::: ([\w.]+)$", page, re.M)]
    modules = [path for path in PUBLIC if Path(ROOT, *path.split(".")).with_suffix(".py").exists()]
    hidden = [f"{path}.{path.rpartition('.')[2]}" for path in modules if path not in PACKAGES]
    assert sorted(shown) == sorted([*PACKAGES, *hidden, "tinygrad_vg.storage.load", "tinygrad_vg.storage.save"])


def test_the_package_itself_has_names_of_the_pages_only():
    shown = {getattr(importlib.import_module(package), name) for package in PACKAGES for name in names(package)}
    for name in {*names("tinygrad_vg")} - {"load", "save"}:
        value = getattr(importlib.import_module("tinygrad_vg"), name)
        assert value.__name__ in PACKAGES if inspect.ismodule(value) else value in shown


@pytest.mark.long
def test_the_file_of_the_study_guide_runs(tmp_path):
    (code,) = re.findall(r"```py\n(.*?)```", (DOCS / "study.md").read_text(encoding="utf-8"), re.S)
    (tmp_path / "study.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, "study.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert run.returncode == 0, run.stderr
    assert re.search(
        r"^4 of 4 trials are done\n784-30-30-10 Sigmoid, images=500, lr=0.1, epochs=2: accuracy", run.stdout, re.M
    )
    assert len((tmp_path / "runs" / "depth.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4 * 2 * 2


def unfit_for_the_prompt(code):
    """The line of a block at which Python's prompt raises SyntaxError, with the error; None if it takes the block.

    Up to Python 3.12 the prompt reads lines: an empty one ends an indented block, and nothing else does.
    """
    lines = []
    for line in [*code.splitlines(), ""]:  # the last is the Enter after a block that ends with an indented line
        lines.append(line)
        try:
            if codeop.compile_command("\n".join(lines), symbol="single") is not None:
                lines = []
        except SyntaxError as error:
            return f"{line!r}: {error}"
    return "unfinished" if any(lines) else None


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_the_blocks_can_be_pasted_at_the_prompt(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert {block: error for block in blocks if (error := unfit_for_the_prompt(block))} == {}


def test_the_prompt_takes_no_line_directly_after_an_indented_block():
    assert "z = 1" in unfit_for_the_prompt("with x:\n    y\nz = 1\n")
    assert "def g" in unfit_for_the_prompt("class C:\n    def f(self): ...\n\n    def g(self): ...\n")
    assert unfit_for_the_prompt("with x:\n    y\n\nz = 1\n") is None


def test_extras_are_installed_from_the_folder_as_the_package_is_in_no_index():
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        assert "tinygrad_vg[" not in page.read_text(encoding="utf-8"), page.name


def test_the_table_of_claims_is_numbered_and_each_row_names_what_shows_it():
    page = (DOCS / "claims.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in re.findall(r"^\| (\d.*)\|$", page, re.M)]
    assert [number for number, *_ in rows] == [str(i + 1) for i in range(len(rows))]
    for number, _, shown, figure in rows:
        files = re.findall(r"`([\w/]+\.py)`", shown)
        assert files or shown.startswith(("text", "the same")), number
        assert all((ROOT / "examples" / file).exists() or (ROOT / file).exists() for file in files), number
        assert figure or shown.startswith("text"), number
