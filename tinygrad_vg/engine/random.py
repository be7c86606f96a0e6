"""Random numbers as recorded operations, so that a compiled step draws new ones in each run."""

from typing import Any

import numpy as np

from tinygrad_vg.engine.operations import enter
from tinygrad_vg.engine.recording import recording
from tinygrad_vg.engine.tensor import record


def _uniform(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    return (
        generator.random(shape, dtype) if dtype in (np.float32, np.float64) else generator.random(shape).astype(dtype)
    )


def uniform(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
    """Numbers from [0, 1), an array; inside a compiled step, or `record_everything`, a recorded Tensor.

    Args:
        generator: the generator that draws the numbers.
        shape, dtype: those of the result.

    >>> import numpy as np
    >>> uniform(np.random.default_rng(0), (2,)).round(3)
    array([0.637, 0.27 ])
    """
    if recording.everything:
        return record(_uniform, (generator, shape, np.dtype(dtype)), {})
    return _uniform(generator, shape, np.dtype(dtype))


enter(_uniform, kind="random")
