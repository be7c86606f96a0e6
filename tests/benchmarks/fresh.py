"""A value computed in a Python process of its own, where nothing has been imported or allocated before."""

import json
import os
import subprocess
import sys
from typing import Any


def in_a_fresh_process(expression: str, **environment: str) -> Any:
    """The value of an expression that begins with a module of this package, as in `footprint.growth()`.

    `environment` is added to that of this process.
    """
    module = expression.partition(".")[0]
    code = f"import json; from tests.benchmarks import {module}; print(json.dumps({expression}))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, stdout=subprocess.PIPE, check=True, env={**os.environ, **environment})
    return json.loads(done.stdout)
