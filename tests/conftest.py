"""All tests: machine code that they make is not kept in the user's cache, and each module is loaded once.

What is there before the first test, some million objects of modules and of tests, is no garbage: without it a search
for garbage takes a millisecond and not half a second. No test fails because the machine is slow.
"""

import gc
import os
import tempfile

from hypothesis import settings

os.environ.setdefault("TINYGRAD_VG_CACHE", tempfile.mkdtemp())

# Else pytest loads a module whose examples it runs a second time, and a function of the module's name is hidden by it.
from tinygrad_vg import compiler, datasets, draw, instruments, plots, study  # noqa: F401

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
