"""Statistics for PyTorch: ∂C/∂W, the δ of the samples, saturation and the optimizer's steps, measured on the device."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.bridges.torch.activations import saturated_share
from tinygrad_vg.bridges.torch.norms import log10_norm, on_host
from tinygrad_vg.bridges.torch.places import Place, features_axis
from tinygrad_vg.instruments.statistics import Columns


class DeviceStatistics:
    """Measures what `tg.instruments.GradientRecorder` measures with `statistics=True`, for each recorded backward.

    Numbers remain on the device until `fetch`. A layer that is called several times in one backward has no
    `log10_rms` and `coherence`, nor have the projections of an attention.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._columns = Columns(0, len(places), ())
        self._where: Mapping[int, int] = {}
        self._begin: Callable[[], bool] = lambda: False
        self._last: tuple[int, Any] | None = None  # the layer called last, and a weak reference to its output
        self._found: dict[tuple[str, int], Any] = {}  # of the backward that runs: by name and position
        self._deltas: dict[int, int] = {}  # how many gradients have come to the outputs of each layer
        self._before: dict[int, Any] = {}  # the weights before the optimizer's step, by position
        self._row = 0
        self._pending: list[tuple[int, str, int, Any]] = []  # (row, name, position, number on the device)

    def columns_for(self, where: Mapping[int, int], rows: int) -> Columns:
        """The arrays for blocks of so many rows; `where` has the column of each recorded layer, by its position."""
        self._where = where
        self._columns = Columns(rows, len(where), ())
        return self._columns

    def listen(self, begin: Callable[[], bool]) -> list[Any]:
        """Register hooks on the weights, and return their handles; `begin` says whether a backward is recorded."""
        self._begin = begin
        return [
            place.weight.register_hook(partial(self._on_weight, i))
            for i, place in enumerate(self._places)
            if place.weight is not None
        ]

    def on_call(self, found: Sequence[int] | None, module: Any, inputs: Any, z: Any) -> None:
        """Note the call of a layer with the output z, or of an activation behind one."""
        if found is not None:
            if len(found) == 1:
                self._last = found[0], weakref.ref(z)
                z.register_hook(partial(self._on_delta, found[0]))
        elif self._last is not None and inputs and self._last[1]() is inputs[0]:
            share = saturated_share(module, z)
            if share is not None:
                self._found["saturation", self._last[0]] = share

    def _on_weight(self, i: int, gradient: Any) -> None:
        if self._begin():
            self._found["log10_weight_norm", i] = log10_norm(gradient.detach())

    def _on_delta(self, i: int, gradient: Any) -> None:
        if self._begin():
            self._deltas[i] = self._deltas.get(i, 0) + 1
            samples = gradient.numel() / max(1, gradient.shape[features_axis(self._places[i].module, gradient)])
            self._found["log10_rms", i] = log10_norm(gradient.detach()) + 0.5 * np.log10(max(1.0, samples))

    def begin_backward(self) -> None:
        """Begin a backward: the optimizer has made its step, if there was a backward before."""
        self.end_row()
        self._deltas = {}

    def end_backward(self, row: int, scale: Any) -> None:
        """Keep what was found in the backward of this row."""
        for (name, i), number in self._found.items():
            if i in self._where and not (name == "log10_rms" and self._deltas.get(i, 0) > 1):
                less = scale is not None and name != "saturation"
                self._pending.append((row, name, i, number - scale.log10() if less else number))
        self._found, self._row = {}, row
        for i in self._where:
            if (weight := self._places[i].weight) is not None:
                self._before[i] = weight.detach().clone()

    def end_row(self) -> None:
        """Measure the change of the weights, when the next backward begins or the block ends."""
        for i, old in self._before.items():
            moved = log10_norm(self._places[i].weight.detach() - old) - log10_norm(old)
            self._pending.append((self._row, "log10_update", i, moved))
        self._before = {}

    def fetch(self) -> None:
        """Read the numbers from the device into the arrays."""
        pending, self._pending = self._pending, []
        numbers = on_host([number for _, _, _, number in pending])
        for (row, name, i, _), number in zip(pending, numbers, strict=True):
            self._columns.arrays[name][row, self._where[i]] = number
