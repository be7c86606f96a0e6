"""What the files of a `History` may hold."""

import math
from typing import Any

import numpy as np

QUANTITIES = ("log10_norm", "log10_weight_norm", "log10_rms", "coherence", "saturation", "log10_update")


def misfit(arrays: dict[str, Any], values: list[str], layers: int) -> str | None:
    """A message about the first loaded array that does not fit the others; None if all fit."""
    lengths = arrays["log10_norm"].shape
    if len(lengths) not in (2, 3):
        return f"log10_norm has the shape {lengths}, not (steps, layers) or (steps, layers, members)"
    count = len(arrays["layers"]) if arrays["layers"].ndim == 1 else -1
    wanted = {"steps": (lengths[:1], "iu"), "layers": (lengths[1:2], "iu"), "names": (lengths[1:2], "U"),
              "first_nonfinite": ((), "iu")} | dict.fromkeys(QUANTITIES, (lengths, "fiu"))  # fmt: skip
    for name in wanted.keys() & arrays.keys():
        shape, kinds = wanted[name]
        if arrays[name].shape != shape or arrays[name].dtype.kind not in kinds:
            what = {"iu": "whole numbers", "U": "strings", "fiu": "numbers"}[kinds]
            return f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}, not {what} of shape {shape}"
    if layers != count:
        return "a layer is there twice"
    if values and len(values) != count:
        return f"there are values of {len(values)} layers, not of {count}"
    rest = (lengths[0], *lengths[2:])
    for name in values:
        if arrays[name].shape[:-1] != rest or arrays[name].dtype.kind not in "fiu":
            return f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}, not numbers of shape {(*rest, 'n')}"
    return None


def plain(value: Any) -> Any:
    """A value as JSON can hold it: lists, finite numbers, and strings for NaN and infinities."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
