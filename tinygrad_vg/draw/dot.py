"""The program that lays graphs out: the system's `dot`, or the executable of the package graphviz-pure."""

import shutil
import sysconfig

REMEDIES = (
    "install Graphviz (apt install graphviz, brew install graphviz, winget install graphviz), "
    "or without root: pip install graphviz-pure"
)


def find_engine() -> str | None:
    """The path of `dot`, else of `graphviz-pure`, else None."""
    # The programs of an environment are not on the PATH if its Python is called by its full path.
    here = sysconfig.get_path("scripts")
    return shutil.which("dot") or shutil.which("graphviz-pure") or shutil.which("graphviz-pure", path=here)
