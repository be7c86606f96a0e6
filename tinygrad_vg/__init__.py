"""tinygrad_vg: automatic differentiation on NumPy that shows how gradients vanish and explode."""

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_vg import engine as engine
from tinygrad_vg import nn as nn
from tinygrad_vg import optim as optim
from tinygrad_vg.engine import ExtendedArray as ExtendedArray
from tinygrad_vg.engine import GradcheckError as GradcheckError
from tinygrad_vg.engine import Tensor as Tensor
from tinygrad_vg.engine import defvjp as defvjp
from tinygrad_vg.engine import differentiable as differentiable
from tinygrad_vg.engine import enable_grad as enable_grad
from tinygrad_vg.engine import grad as grad
from tinygrad_vg.engine import gradcheck as gradcheck
from tinygrad_vg.engine import is_grad_enabled as is_grad_enabled
from tinygrad_vg.engine import jvp as jvp
from tinygrad_vg.engine import no_grad as no_grad
from tinygrad_vg.engine import ops as ops
from tinygrad_vg.storage import load as load
from tinygrad_vg.storage import save as save

if TYPE_CHECKING:  # type checkers and editors read these lines; at run time __getattr__ imports the modules
    from tinygrad_vg import datasets as datasets
    from tinygrad_vg import draw as draw
    from tinygrad_vg import instruments as instruments
    from tinygrad_vg import plots as plots
    from tinygrad_vg import study as study

__version__ = "0.1.0"

# These modules are imported when they are first used, so that importing the package costs little more than NumPy.
_ON_FIRST_USE = ("datasets", "draw", "instruments", "plots", "study")


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_FIRST_USE})
