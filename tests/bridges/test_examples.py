"""The examples in the docstrings of the bridge run, and without PyTorch it says how to install it."""

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest

from tinygrad_vg.bridges import torch as bridge
from tinygrad_vg.extras import install

FOLDER = Path(bridge.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


@pytest.mark.torch
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    """pytest leaves this folder out, since it would run them also where PyTorch is missing."""
    pytest.importorskip("torch")
    module = importlib.import_module(f"tinygrad_vg.bridges.torch.{name}")
    assert doctest.testmod(module).failed == 0


def test_without_pytorch_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python does where it is missing
    with pytest.raises(ModuleNotFoundError, match=re.escape(install("torch"))):
        bridge.twin(None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(install("torch"))):
        bridge.into(None, None)  # type: ignore[arg-type]
