"""Statistics of each layer beside ∂C/∂b: ∂C/∂W, the δ of the samples, saturation, and the optimizer's steps."""

import functools
import math
import operator
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine import HookHandle, Tensor, Walk
from tinygrad_vg.instruments.magnitude import array_of, decades_beside, log10_norm
from tinygrad_vg.nn import Activation, Module, Parameter, Recurrence, by_member, feature_axis

NAMES = ("log10_weight_norm", "log10_rms", "saturation", "log10_update")


class Columns:
    """The statistics of the rows in a recorder's blocks: an array (rows, L), or (rows, L, R), for each.

    >>> columns = Columns(rows=2, layers=1, members=())
    >>> columns.arrays["log10_rms"][0, 0] = 1.0
    >>> columns.measured([0], np.zeros((1, 1)))["coherence"]
    array([[0.1]])
    >>> columns.clear()
    >>> columns.arrays["log10_rms"][0, 0]
    np.float64(nan)
    """

    def __init__(self, rows: int, layers: int, members: tuple[int, ...]) -> None:
        self.arrays = {name: np.full((rows, layers, *members), np.nan) for name in NAMES}

    def measured(self, rows: Any, norms: Any) -> dict[str, Any]:
        """The statistics of some rows, by their names in a History; `norms` is the log10_norm of these rows.

        `Columns` has an example.
        """
        numbers = {name: array[rows] for name, array in self.arrays.items()}
        with np.errstate(invalid="ignore"):  # the coherence of samples that are all 0 is NaN
            return numbers | {"coherence": 10.0 ** (norms - numbers["log10_rms"])}

    def clear(self) -> None:
        """Clear all rows, so that they can be used again; `Columns` has an example."""
        for array in self.arrays.values():
            array.fill(np.nan)


class _Use:
    """One call of a layer on a batch."""

    __slots__ = ("is_saturated", "z")

    def __init__(self, z: Tensor) -> None:
        self.z = weakref.ref(z)  # weak, for a reference to z would keep the graph alive
        self.is_saturated: Any = None  # for each output of the activation after the layer, whether it is saturated


class Statistics(Columns):
    """Measures the statistics of a recorder: one row for each backward that has a row in the recorder's blocks."""

    def __init__(self, model: Module, layers: Sequence[Module], rows: int, members: tuple[int, ...]) -> None:
        super().__init__(rows, len(layers), members)
        self._layers = layers
        self._weights = [vars(layer).get("weight") for layer in layers]
        self._activations = [module for _, module in model.named_modules() if isinstance(module, Activation)]
        self._members = members
        self._before: dict[int, Any] = {}  # by layer, the weights before the optimizer's next step
        self._uses: list[list[_Use]] = [[] for _ in layers]  # for each layer, its calls since the last backward
        self._is_over = False  # whether a backward has ended since these calls

    def register(self) -> list[HookHandle]:
        """Register hooks on the layers and on the activations, and return their handles."""
        return [
            *(
                layer.register_forward_hook(partial(self._on_layer, i))
                for i, layer in enumerate(self._layers)
                if not isinstance(layer, Recurrence)  # its output is h_t, and not the z to which the bias is added
            ),
            *(module.register_forward_hook(self._on_activation) for module in self._activations),
        ]

    def _on_layer(self, i: int, module: Module, args: Any, z: Any) -> None:
        if isinstance(z, Tensor) and z.requires_grad:
            if self._is_over:
                self._is_over = False
                self._uses = [[] for _ in self._layers]
            self._uses[i] = [use for use in self._uses[i] if use.z() is not None]  # the graphs of others are gone
            self._uses[i].append(_Use(z))

    def _on_activation(self, module: Any, args: Any, y: Any) -> None:
        for uses in self._uses:
            if uses and uses[-1].z() is args[0]:
                uses[-1].is_saturated = module.saturated(y.data)

    def begin_backward(self, walk: Walk) -> None:
        """Ask for the gradients at the outputs of the layers."""
        walk.want(z for uses in self._uses for use in uses if (z := use.z()) is not None)

    def end_backward(self, walk: Walk, row: int | None) -> None:
        """Measure, at the end of a backward; `row` is None if the backward has no row."""
        self._is_over = True
        for i in range(len(self._layers)) if row is not None else ():
            self._measure(walk, row, i)

    def _measure(self, walk: Walk, row: Any, i: int) -> None:
        weight = self._weights[i]
        if isinstance(weight, Parameter):
            self._before[i] = weight.data.copy()  # a copy: optimizers rebind the array, but users may write into it
            if (gradient := walk.gradients.get(weight)) is not None:
                norms = log10_norm(array_of(gradient).reshape(*self._members, -1), axis=-1)
                self.arrays["log10_weight_norm"][row, i] = norms + decades_beside(gradient)
        uses = [use for use in self._uses[i] if use.z() in walk.gradients]
        deltas = [walk.gradients[use.z()] for use in uses]
        if not deltas or not array_of(deltas[0]).size or len({delta.shape for delta in deltas}) > 1:
            return
        delta = functools.reduce(operator.add, deltas)
        array = array_of(delta)
        is_first = self._layers[i].channels_first
        features = array.shape[feature_axis(array.ndim, self._members, is_first)]
        samples = array.size / (features * math.prod(self._members))
        norms = log10_norm(by_member(array, self._members, is_first), axis=-1) + decades_beside(delta)
        self.arrays["log10_rms"][row, i] = norms + 0.5 * math.log10(samples)
        known = [use.is_saturated for use in uses if use.is_saturated is not None]
        if known:
            shares = [by_member(s, self._members, is_first).mean(axis=-1) for s in known]
            self.arrays["saturation"][row, i] = sum(shares) / len(shares)

    def end_row(self, row: int) -> None:
        """Measure the change of the weights, when the next backward begins or the block ends."""
        with np.errstate(invalid="ignore", over="ignore"):  # weights that are not finite give NaN or inf
            for i, old in self._before.items():
                change = self._weights[i].data - old  # type: ignore[union-attr]
                shape = (*self._members, -1)
                moved = log10_norm(change.reshape(shape), axis=-1) - log10_norm(old.reshape(shape), axis=-1)
                self.arrays["log10_update"][row, i] = moved
        self._before.clear()
