"""PyTorch itself, imported when a function of the bridge is called."""

import importlib
import sys
from typing import Any

from tinygrad_vg.extras import install


def pytorch() -> Any:
    """The module `torch`.

    Raises:
        ModuleNotFoundError: if PyTorch is missing; the message names the extra that brings it.
    """
    if (loaded := sys.modules.get("torch")) is not None:  # hooks ask many times a step
        return loaded
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"tinygrad_vg.bridges.torch needs PyTorch: {install('torch')} installs it") from error
