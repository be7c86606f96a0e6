"""The program that lays graphs out: the system's `dot`, or the executable of the package graphviz-pure."""

import functools
import shutil
import sysconfig
from pathlib import Path

REMEDIES = (
    "install Graphviz (apt install graphviz, brew install graphviz, winget install graphviz), "
    "or without root: pip install graphviz-pure"
)


def find_engine() -> str | None:
    """The path of `dot`, else of `graphviz-pure`, else None."""
    # An environment's programs are not on the PATH when its Python is called by its full name.
    here = sysconfig.get_path("scripts")
    return shutil.which("dot") or shutil.which("graphviz-pure") or shutil.which("graphviz-pure", path=here)


@functools.cache
def point_graphviz_at_an_engine() -> None:
    """Let the package graphviz run graphviz-pure where the system has no `dot`, for Jupyter, `.pipe`, `.render`."""
    import graphviz.backend.dot_command as command

    engine = find_engine()
    if engine is not None and Path(engine).stem != "dot" and str(command.DOT_BINARY) == "dot":
        command.DOT_BINARY = Path(engine)
