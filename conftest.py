"""All tests: machine code that they make is not kept in the user's cache, and each module is loaded once."""

import os
import tempfile

os.environ.setdefault("TINYGRAD_VG_CACHE", tempfile.mkdtemp())

import tinygrad_vg  # noqa: F401  # else pytest, told to run one module's examples, loads this module a second time
