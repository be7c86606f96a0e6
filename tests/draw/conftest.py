"""Both programs that lay graphs out: whoever runs these tests has at least the second."""

import importlib
import os
import shutil
import sysconfig
from collections.abc import Iterator

import pytest

ENGINES = ("dot", "graphviz-pure")
SAVE = importlib.import_module("tinygrad_vg.draw.save")  # as `tinygrad_vg.draw.save` the function hides the module


def path_of(engine: str) -> str:
    """The program of this name; without the system's dot the test is skipped, or fails where REQUIRE_DOT is set."""
    path = shutil.which(engine) or shutil.which(engine, path=sysconfig.get_path("scripts"))
    if path is None and engine == "dot" and not os.environ.get("REQUIRE_DOT"):
        pytest.skip("this machine has no dot; CI installs it and sets REQUIRE_DOT, so that it is tested there")
    assert path, f"{engine} is missing: CI installs dot by apt, and graphviz-pure comes with the extra 'test'"
    return path


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The path of a program, and for the time of the test the only one that `draw.save` finds."""
    path = path_of(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAVE, "find_engine", lambda: path)
        yield path
