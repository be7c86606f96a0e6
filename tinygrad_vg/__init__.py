"""tinygrad_vg: automatic differentiation on NumPy that shows how gradients vanish and explode."""

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_vg import engine, nn, optim
from tinygrad_vg.engine import (
    ExtendedArray,
    GradcheckError,
    Tensor,
    checked,
    defvjp,
    differentiable,
    enable_grad,
    grad,
    gradcheck,
    is_grad_enabled,
    jvp,
    no_grad,
    ops,
)  # fmt: skip
from tinygrad_vg.storage import load, save

if TYPE_CHECKING:  # type checkers and editors read these lines; at run time __getattr__ imports the modules
    from tinygrad_vg import datasets as datasets
    from tinygrad_vg import draw as draw
    from tinygrad_vg import instruments as instruments
    from tinygrad_vg import plots as plots
    from tinygrad_vg import study as study
    from tinygrad_vg.compiler import compile as compile

__version__ = "0.1.0"

__all__ = [
    "ExtendedArray", "GradcheckError", "Tensor", "checked", "compile", "datasets", "defvjp", "differentiable", "draw",
    "enable_grad", "engine", "grad", "gradcheck", "instruments", "is_grad_enabled", "jvp", "load", "nn", "no_grad",
    "ops", "optim", "plots", "save", "study",
]  # fmt: skip

# These modules are imported when they are first used, so that importing the package costs little more than NumPy.
_ON_FIRST_USE = ("datasets", "draw", "instruments", "plots", "study")


def __getattr__(name: str) -> Any:
    if name == "compile":
        from tinygrad_vg.compiler import compile

        return compile
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"{__name__}.{name}")
    from tinygrad_vg.engine.instead import TORCH

    instead = f"; write {TORCH[name]}" if name in TORCH else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{instead}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
