"""The tables of docs/functions.md, made of the registry: `python -m tests.engine.functions_page` writes them anew."""

import textwrap
from pathlib import Path

import numpy as np

import tinygrad_vg  # noqa: F401 - it fills the registry
from tinygrad_vg.engine import name_of
from tinygrad_vg.engine.operations import OPERATIONS
from tinygrad_vg.engine.refused import why_refused

PAGE = Path(__file__).parents[2] / "docs" / "functions.md"
TITLES = {
    "differentiable": "## With a rule of their own",
    "composite": "## Composed of others",
    "constant": "## Without a derivative: arrays",
    "plain": "## Without a derivative: shapes, types, text, and arrays whose shape depends on the values",
    "refused": "## Functions that take no Tensor",
}
TABLE = "| functions | reason |\n|---|---|\n"


def functions():
    """All functions of NumPy that can be called on a Tensor: what is not loaded yet has to be imported first."""
    import numpy.char
    import numpy.fft
    import numpy.polynomial
    import numpy.strings  # noqa: F401
    from numpy.testing import overrides

    return {*overrides.get_overridable_numpy_array_functions(), *overrides.get_overridable_numpy_ufuncs()}


def accounts():
    """For each public function, by name: the kind of its operation, and the reason if it takes no Tensor."""
    found = {}
    for function in functions():
        name = name_of(function)
        if name.startswith("np.") and "._" not in name:
            operation, reason = OPERATIONS.get(function), why_refused(function, name)
            found[name] = (operation.kind, None) if operation else ("refused", reason)
    return found


def tables():
    """The sections of the page that list the functions."""
    found, lines = accounts(), []
    for kind, title in TITLES.items():
        names = sorted(name for name in found if found[name][0] == kind)
        lines.append(title)
        if kind != "refused":
            lines.append(textwrap.fill(", ".join(names), 118, break_on_hyphens=False))
            continue
        reasons = sorted({found[name][1] for name in names}, key=lambda r: [n for n in names if found[n][1] == r])
        rows = (f"| {', '.join(n for n in names if found[n][1] == reason)} | {reason} |" for reason in reasons)
        lines.append(TABLE + "\n".join(rows))
    return "\n\n".join(lines) + "\n"


def read():
    """What the page says of each function: the kind, and the reason."""
    found, kind = {}, None
    kinds = {title: kind for kind, title in TITLES.items()}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        kind = kinds.get(line, kind)
        if kind == "refused" and line.startswith("| np."):
            names, reason = line.strip("| ").split(" | ")
            found |= dict.fromkeys(names.split(", "), (kind, reason))
        elif kind in ("differentiable", "composite", "constant", "plain") and line.startswith("np."):
            found |= dict.fromkeys(line.rstrip(",").split(", "), (kind, None))
    return found


def is_there(name):
    """Whether this version of NumPy has a function."""
    owner = np
    for part in name.split(".")[1:]:
        owner = getattr(owner, part, None)
    return owner is not None


if __name__ == "__main__":
    text, _, _ = PAGE.read_text(encoding="utf-8").partition(TITLES["differentiable"])
    PAGE.write_text(text + tables(), encoding="utf-8")
