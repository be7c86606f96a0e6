"""Extras: the command that installs what a function needs beyond NumPy and graphviz."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of a checkout; in an installed package the folder of all packages


def install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml, for messages about a missing package.

    In a checkout it installs from there, for no package index need know this project.

    >>> install("fast").startswith("pip install "), install("fast").endswith('[fast]"')
    (True, True)
    """
    if not (ROOT / "pyproject.toml").is_file():
        return f'pip install "tinygrad_vg[{extra}]"'
    return f'pip install -e "{"." if Path.cwd() == ROOT else ROOT}[{extra}]"'
