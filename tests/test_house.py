"""The house itself: who may import whom, what importing costs, and that README, CI and pyproject agree."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tinygrad_vg"
REQUIRED = {"numpy", "graphviz"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def imports(path, everywhere):
    """The modules that a file imports; with `everywhere` also inside functions, and those that are for typing only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(name):
    """The part of the house that a module's dotted name lies in: "engine", "nn", "instruments" ..."""
    names = name.split(".")
    if names[0] == "examples":
        return "examples"
    if names[0] != "tinygrad_vg" or len(names) == 1:
        return None
    return names[1]


def dotted(path):
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


# What everything else is built on.
BELOW = {"extras", "tables", "notation", "engine", "safetensors_file", "storage", "datasets", "nn", "optim"}
ABOVE = {"compiler", "instruments", "draw", "plots", "study", "bridges", "examples"}
FORBIDDEN = {
    "extras": ABOVE | BELOW - {"extras"},
    "tables": ABOVE | BELOW - {"tables"},
    "notation": ABOVE | BELOW - {"notation"},
    "engine": ABOVE | BELOW - {"engine"},
    "safetensors_file": ABOVE | BELOW - {"safetensors_file", "extras"},
    "storage": ABOVE | {"nn", "optim", "datasets"},
    "datasets": ABOVE | {"engine", "nn", "optim"},
    "nn": ABOVE | {"optim", "datasets"},
    "optim": ABOVE | {"datasets"},
    "compiler": ABOVE - {"compiler"} | {"datasets"},
    "instruments": ABOVE - {"instruments"},
    "draw": ABOVE - {"instruments", "draw"},
    "plots": ABOVE - {"instruments", "plots"} | {"optim", "datasets"},
    "study": {"examples", "bridges"},
    "bridges": ABOVE - {"instruments", "bridges"} | {"optim", "datasets"},  # nothing but a user's program imports them
    "__main__": ABOVE | BELOW,  # it looks at files, and runs examples in a process of their own
}
ALIASES = {"tinygrad_vg.instruments.plots": {"plots"}}  # a module under its earlier name: what it may import besides


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_layers_import_downwards_only(path):
    name = dotted(path)
    own = part(name)
    if own is None:  # the package's __init__ re-exports everything
        return
    reached = {part(name) for name in imports(path, everywhere=True)}
    assert not reached & (FORBIDDEN[own] - ALIASES.get(name, set()))


def test_nobody_imports_an_alias():
    for path in modules():
        assert not ALIASES.keys() & {*imports(path, everywhere=True)}, path


def test_there_are_no_import_cycles():
    known = {dotted(path): path for path in modules()}
    graph = {
        name: {i for i in imports(path, everywhere=True) if i in known and i != name} for name, path in known.items()
    }
    for name in graph:  # a package's __init__ runs before its modules, but only re-exports them
        graph[name] = {i for i in graph[name] if known[i].name != "__init__.py" or i.startswith(name)}
    done = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert graph.keys() - done == set()


# Who builds on the engine and on nn, and sees of them what is public.
BUILT_ON_TOP = {"instruments", "draw", "plots", "study", "bridges"}
PUBLIC_PACKAGES = {"tinygrad_vg.engine", "tinygrad_vg.nn"}


@pytest.mark.parametrize("path", [path for path in modules() if part(dotted(path)) in BUILT_ON_TOP], ids=dotted)
def test_instruments_and_pictures_use_public_names_only(path):
    """Of engine and nn they import what stands in `__all__`, and no module inside."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        package = ".".join(node.module.split(".")[:2])
        if package in PUBLIC_PACKAGES:
            assert node.module == package, f"{node.module} is inside {package}"
            names = {alias.name for alias in node.names}
            assert names <= {*importlib.import_module(package).__all__}
        assert not any(alias.name.startswith("_") for alias in node.names)


@pytest.mark.parametrize("path", [path for path in modules() if part(dotted(path)) in BUILT_ON_TOP], ids=dotted)
def test_private_names_stay_in_their_file(path):
    """An attribute with an underscore is one's own, or belongs to a class of the same file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    own |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in attributes:
        if node.attr.startswith("_") and not node.attr.startswith("__"):
            assert node.attr in own, f"line {node.lineno}: {node.attr}"


MEMBER_AXIS = re.compile(r"ndim == 3|ndim > 2|ndim - 3|axes - 3|shape\[:-2\]")
WHERE_MEMBERS_ARE_COUNTED = {
    "tinygrad_vg.nn.ensemble",  # members_of, member_axis, by_member, beside_batch
    "tinygrad_vg.engine.ops",  # one product for all members, where they share an input
    "tinygrad_vg.engine.kernels",
    "tinygrad_vg.engine.convolution",  # products with the patches that members share, or have each
    "tinygrad_vg.compiler.expand",  # the same product
    "tinygrad_vg.compiler.generated",  # stacks of matrices, one after the other
}


def test_one_file_says_which_axis_counts_members():
    found = {dotted(path) for path in modules() if MEMBER_AXIS.search(path.read_text(encoding="utf-8"))}
    assert found == WHERE_MEMBERS_ARE_COUNTED


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_what_an_extra_brings_is_imported_only_where_it_is_used(path):
    top = {name.split(".")[0] for name in imports(path, everywhere=False)}
    # A subclass needs its base at the top; `canvas` imports that module when the first picture is drawn.
    own = {"graphviz"} if dotted(path) == "tinygrad_vg.draw.picture" else set()
    compilers = "calls", "elementary", "registers", "rows", "steps", "writer"
    if dotted(path) in [f"tinygrad_vg.compiler.{name}" for name in compilers]:  # imported to compile alone
        own = {"numba", "llvmlite"}
    assert top <= set(sys.stdlib_module_names) | {"numpy", "tinygrad_vg"} | own


@pytest.mark.parametrize(
    "name", ["bridges.torch", "compiler", "datasets", "draw", "engine", "instruments", "nn", "optim", "plots", "study"]
)
def test_all_names_what_a_package_offers(name):
    """Nothing is public that is not in it."""
    tree = ast.parse((PACKAGE / name.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(importlib.import_module(f"tinygrad_vg.{name}").__all__) == sorted(imported)


MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_BODY = 330, 40


def test_files_are_short():
    long = {dotted(path) for path in modules() if len(path.read_text("utf-8").splitlines()) > MOST_LINES_OF_A_FILE}
    assert long == set()


def bodies(path):
    """The functions of a file with the number of their lines, without docstring and blank lines."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            begin = node.body[0].end_lineno if ast.get_docstring(node) else node.body[0].lineno - 1
            yield f"{dotted(path)}.{node.name}", sum(map(bool, map(str.strip, lines[begin : node.end_lineno])))


def test_bodies_are_short():
    long = {name for path in modules() for name, lines in bodies(path) if lines > MOST_LINES_OF_A_BODY}
    assert long == set()


def test_signature_docstring_and_blank_lines_are_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    body = '    """D\n\n    D."""\n\n    # why\n    a = 1\n\n    return a\n'
    (tmp_path / "some.py").write_text(f"def f(\n    a,\n):\n{body}\n\ndef g(): return 2\n")
    assert [*bodies(tmp_path / "some.py")] == [("some.f", 3), ("some.g", 1)]


def test_importing_costs_numpy_only():
    code = "import sys, tinygrad_vg; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) & {"matplotlib", "graphviz", "rich", "pandas", "scipy", "torch", "safetensors", "numba"} == set()


def test_plots_are_loaded_on_first_use_and_keep_their_earlier_name():
    code = """
import sys, tinygrad_vg as tg, tinygrad_vg.instruments
assert "plots" in dir(tg) and "tinygrad_vg.plots" not in sys.modules
assert tg.plots.ladder is sys.modules["tinygrad_vg.plots"].ladder
from tinygrad_vg.instruments import plots
import tinygrad_vg.instruments.plots
assert plots.__all__ == tg.plots.__all__ and all(getattr(plots, n) is getattr(tg.plots, n) for n in plots.__all__)
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_required_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.match(r"[\w-]+", need).group() for need in project["dependencies"]} == REQUIRED


def test_a_package_says_its_licences_and_brings_what_its_tests_read():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["license"] == "MIT AND CC-BY-SA-3.0"  # the code, the data
    assert all((ROOT / name).is_file() for name in pyproject["project"]["license-files"])
    assert {".ci", "README.md", "docs", "examples", "tests"} <= {
        *pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    }


def commands():
    """The README's commands: the lines of its `sh` blocks."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", readme, re.S) for line in block.splitlines()]


def test_readme_ci_and_pyproject_agree_on_the_commands():
    job, tests, benchmarks = commands()
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert tests in ci.splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    used = re.findall(r'"\.\[(\w+)\]"', "".join(commands()))
    assert used == ["examples", "test", "bench"]
    assert set(used) <= extras.keys()
    script = re.search(r"python (examples/\S+)$", job).group(1)
    assert (ROOT / script).is_file()
    package = re.search(r"python -m (\S+)$", benchmarks).group(1)
    assert (ROOT / package.replace(".", "/") / "__main__.py").is_file()
    (torch,) = (need for need in extras["bench"] if need.startswith("torch"))
    assert set(re.findall(r"torch==\S+", ci)) == {torch}
    for command in commands():
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_readme_example_prints_what_the_readme_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    exec(compile(example, "README.md", "exec"), {})
    assert f"It prints `{capsys.readouterr().out.strip()}`" in readme


@pytest.mark.long
def test_the_blocks_of_the_guide_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for i, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.S)):
            exec(compile(block, f"{page.name}, block {i}", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        if page.name == "start.md":
            shown = [block.splitlines() for block in re.findall(r"```text\n(.*?)```", text, re.S)]
            assert len(shown) == 3
            for lines in shown:
                begin = [said(line)[0] for line in printed].index(said(lines[0])[0])
                for there, here in zip(printed[begin : begin + len(lines)], lines, strict=True):
                    (words, numbers), (same, near) = said(there), said(here)
                    assert words == same
                    assert numbers == pytest.approx(near, abs=0.01)  # the last digits depend on the BLAS
    assert names


def said(line):
    """The words of a line, and its numbers."""
    numbers = re.findall(r"[−+]?[\d,]*\.?\d+", line)
    return re.findall(r"[^\W\d]+", line), [float(n.replace("−", "-").replace(",", "")) for n in numbers]


def test_pictures_and_files_that_the_readme_shows_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / target).exists(), target


def test_docs_name_no_missing_script():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for script in re.findall(r"(?:examples|tests)/[\w/]+\.py", page.read_text(encoding="utf-8")):
            assert (ROOT / script).exists(), f"{page.name} names {script}"


def test_docs_link_to_pages_that_exist():
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([\w/.-]+\.\w+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


WHERE = re.compile(r"^\| (.+?) \| `(tinygrad_vg/[\w/]+\.py):(\d+)` \| `(.+)` \|$", re.M)


def test_the_design_page_names_the_right_lines():
    """Its table "Where is it?": question, file and line, and a text that the line contains."""
    rows = WHERE.findall((ROOT / "docs" / "design.md").read_text(encoding="utf-8"))
    assert len(rows) >= 5
    for question, file, line, text in rows:
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        found = [number for number, content in enumerate(lines, 1) if text in content]
        assert int(line) in found, f"docs/design.md: {question!r}: `{text}` is in {file}:{found}, not in line {line}"


def test_the_page_of_files_names_every_file_once_and_no_other():
    named = re.findall(r"^\| `([\w/]+\.py)` \|", (ROOT / "docs" / "files.md").read_text(encoding="utf-8"), re.M)
    files = [p for p in modules() if p.name != "__init__.py" and dotted(p) not in ALIASES]
    assert sorted(named) == sorted(p.relative_to(PACKAGE).as_posix() for p in files)


def test_instruments_and_pictures_know_no_single_activation():
    """They read the facts of `nn.Activation`, so that an activation of one's own works in all of them."""
    from tinygrad_vg import nn

    activations = {f"tinygrad_vg.nn.{kind.__name__}" for kind in nn.Activation.__subclasses__()}
    for path in modules():
        if part(dotted(path)) in ("instruments", "draw", "plots"):
            assert not activations & {*imports(path, everywhere=True)}, path
