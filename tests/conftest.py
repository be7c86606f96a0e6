"""All tests: machine code that they make is not kept in the user's cache."""

import os
import tempfile

os.environ.setdefault("TINYGRAD_VG_CACHE", tempfile.mkdtemp())
