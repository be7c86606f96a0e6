"""The backends that are tested: machine code takes minutes, and is tested with `MACHINE_CODE=1`, as `.ci/run` does."""

import os
from importlib.util import find_spec

if os.environ.get("MACHINE_CODE"):
    assert all(map(find_spec, ["numba", "scipy"])), "MACHINE_CODE=1 tests Numba: pip install -e '.[fast]'"
    BACKENDS = ["numpy", "numba"]
else:
    BACKENDS = ["numpy"]
