"""`python -m tinygrad_vg` lists the examples, the documentation and the extras; with a name it runs that example."""

import ast
import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import tinygrad_vg as tg

PACKAGE = Path(__file__).parent
EXAMPLES, DOCS, PROJECT = (PACKAGE.parent / name for name in ("examples", "docs", "pyproject.toml"))
HERE = EXAMPLES.joinpath("mnist_depth.py").is_file()  # a copy of the repository, and not an installed package alone
ELSEWHERE = (
    "The examples and the documentation are not installed with the package. They are in the folders examples/ and "
    "docs/ of the repository and of the source distribution. In the folder that has them, `python -m tinygrad_vg NAME` "
    "runs the example NAME."
)


def summary(path: Path) -> str:
    """The first sentence of a script's docstring; an empty text for a file that is no script.

    >>> summary(Path(__file__))
    '`python -m tinygrad_vg` lists the examples, the documentation and the extras; with a name it runs that example.'
    """
    text = path.read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    return " ".join(first.split()) if '\nif __name__ == "__main__":' in text else ""


def scripts() -> dict[str, str]:
    """What each example shows, by the example's name."""
    found = {path.stem: summary(path) for path in sorted(EXAMPLES.glob("*.py"))} if HERE else {}
    return {name: text for name, text in found.items() if text}


def pages() -> dict[str, str]:
    """The titles of the pages of the documentation, by their paths."""
    return {f"docs/{path.name}": path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            for path in sorted(DOCS.glob("*.md"))} if HERE else {}  # fmt: skip


def extras() -> dict[str, list[str]]:
    """The distributions that each extra brings, by the extra's name, as pyproject.toml or the installation says."""
    if HERE:
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        needs = {extra: [distribution(need) for need in of_extra]
                 for extra, of_extra in project["optional-dependencies"].items()}  # fmt: skip
    else:
        needs = {}
        for need in metadata.requires("tinygrad_vg") or ():
            if found := re.search(r"extra == ['\"](\w+)['\"]", need):
                needs.setdefault(found.group(1), []).append(distribution(need))
    return {extra: unfolded(extra, needs) for extra in needs}


def distribution(need: str) -> str:
    """The name in a requirement, with the extra if it is one of this package.

    >>> distribution("numba>=0.61"), distribution("tinygrad_vg[fast]; extra == 'bench'")
    ('numba', 'tinygrad_vg[fast]')
    """
    found = re.match(r"tinygrad[_-]vg\[\w+\]|[\w.-]+", need)
    assert found is not None
    return found.group().replace("-vg[", "_vg[")


def unfolded(extra: str, needs: dict[str, list[str]]) -> list[str]:
    """The distributions of an extra, with those of the extras that it names.

    >>> unfolded("bench", {"fast": ["numba", "scipy"], "bench": ["tinygrad_vg[fast]", "torch"]})
    ['numba', 'scipy', 'torch']
    """
    names: list[str] = []
    for need in needs[extra]:
        inner = re.fullmatch(r"tinygrad_vg\[(\w+)\]", need)
        names += unfolded(inner.group(1), needs) if inner else [need]
    return names


def missing(names: list[str]) -> list[str]:
    """The distributions that are not installed. Versions are not compared."""
    found = []
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(name)
    return found


def listing() -> str:
    """What there is, as text for the terminal."""
    state = {extra: missing(names) for extra, names in extras().items()}
    words = {extra: f"missing: {', '.join(gaps)}" if gaps else "installed" for extra, gaps in state.items()}
    parts = [f"tinygrad_vg {tg.__version__}, {PACKAGE}"]
    if HERE:
        first = "Examples, the main job is mnist_depth. `python -m tinygrad_vg NAME` runs one; --help has its options:"
        parts += [filled(first), table(scripts()), "Documentation:", table(pages())]
    else:
        parts.append(filled(ELSEWHERE))
    install = "-e '.[EXTRA]'" if HERE else "'tinygrad_vg[EXTRA]'"
    return "\n\n".join([*parts, f"Extras, which pip install {install} brings:", table(words)])


def table(rows: dict[str, str]) -> str:
    """Names and texts, a row for each."""
    width = 4 + max(map(len, rows))
    return "\n".join(filled(f"  {name:{width - 2}}{text}", " " * width) for name, text in rows.items())


def filled(text: str, indent: str = "") -> str:
    """The text in lines of whole words, as wide as the terminal."""
    columns = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def run(name: str, options: list[str]) -> None:
    """Run an example in an interpreter of its own, as its variables for NumPy's threads must be set before NumPy."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *options]
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]  # it uses this copy of the package
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    if os.name == "nt":  # there `execv` returns to the shell before the example ends
        sys.exit(subprocess.call(command))
    sys.stdout.flush()
    os.execv(sys.executable, command)


def show(text: str) -> None:
    """Print a text. A reader that goes before its end, as `head` does, wants no more of it, and no traceback."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more when it ends
        sys.exit(141)  # as the shell has it of a program that SIGPIPE ends


def main() -> None:
    name, *options = sys.argv[1:] or [""]
    if sys.stdout:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # not every terminal can show ∂
    if name in ("", "-h", "--help"):
        show(listing())
    elif name.removesuffix(".py") in scripts():
        run(name.removesuffix(".py"), options)
    elif HERE:
        sys.exit(filled(f"tinygrad_vg: there is no example {name!r}: write one of {', '.join(scripts())}"))
    else:
        sys.exit(filled(f"tinygrad_vg: {name!r} cannot be run. {ELSEWHERE}"))


if __name__ == "__main__":
    main()
