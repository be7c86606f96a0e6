"""Statistics of each layer beside its ∂C/∂b: ∂C/∂W, the samples' δ, saturation, and the optimizer's steps."""

import functools
import math
import operator
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray, HookHandle, Tensor, Walk, current_walk
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.nn import Activation, Module, Parameter, by_member

NAMES = ("log10_weight_norm", "log10_rms", "saturation", "log10_update")


def array_of(gradient: Any) -> Any:
    """The array in what a hook is given, without an ExtendedArray's exponent."""
    if isinstance(gradient, ExtendedArray):
        return gradient.mantissa
    return gradient.data if isinstance(gradient, Tensor) else gradient


class _Use:
    """What is known of one pass of a batch through a layer."""

    __slots__ = ("delta", "is_saturated")

    def __init__(self) -> None:
        self.delta: Any = None  # ∂C/∂z
        self.is_saturated: Any = None  # of each output of the activation behind the layer


class Statistics:
    """What the layers' outputs, their gradients and the optimizer's steps tell, row by row of the recorder's blocks."""

    def __init__(self, model: Module, layers: Sequence[Module], rows: int, members: tuple[int, ...]) -> None:
        self._layers = layers
        self._weights = [vars(layer).get("weight") for layer in layers]
        self._activations = [module for _, module in model.named_modules() if isinstance(module, Activation)]
        self._members = members
        self._numbers = {name: np.full((rows, len(layers), *members), np.nan) for name in NAMES}
        self._before: dict[int, Any] = {}  # weights before the step of the optimizer that is to come
        self._handles: list[HookHandle] = []  # on the outputs of the forwards since the last backward
        self._walk: Walk | None = None
        self.forget()

    def register(self) -> list[HookHandle]:
        """Put hooks on the layers, their weights, and the activations."""
        return [
            *(layer.register_forward_hook(partial(self._on_layer, i)) for i, layer in enumerate(self._layers)),
            *(module.register_forward_hook(self._on_activation) for module in self._activations),
            *(
                weight.register_hook(partial(self._on_weight, i))
                for i, weight in enumerate(self._weights)
                if isinstance(weight, Parameter) and weight.requires_grad
            ),
        ]

    def forget(self) -> None:
        """Forget the forwards, and take the hooks off their outputs."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._latest: list[tuple[Any, _Use] | None] = [None] * len(self._layers)  # of each layer: its output, its use
        self._is_over = False  # whether a backward has come since
        self._begin()

    def _begin(self) -> None:
        """A backward begins: nothing has been heard of it yet."""
        self._walk = current_walk()
        self._heard: list[dict[_Use, None]] = [{} for _ in self._layers]  # of each layer the uses it has come through
        self._weight_gradients: dict[int, Any] = {}

    # What the hooks hear.

    def _on_layer(self, i: int, module: Module, args: Any, z: Any) -> None:
        if not (isinstance(z, Tensor) and z.requires_grad):
            return
        if self._is_over:
            self.forget()
        use = _Use()
        self._handles.append(z.register_hook(partial(self._on_delta, i, use)))
        self._latest[i] = weakref.ref(z), use  # a reference that counted would keep the graph alive

    def _on_activation(self, module: Any, args: Any, y: Any) -> None:
        for latest in self._latest:
            if latest is not None and latest[0]() is args[0]:
                latest[1].is_saturated = module.saturated(y.data)

    def _on_delta(self, i: int, use: _Use, delta: Any) -> None:
        if self._walk is not current_walk():
            self._begin()
        use.delta = delta
        self._heard[i][use] = None

    def _on_weight(self, i: int, gradient: Any) -> None:
        if self._walk is not current_walk():
            self._begin()
        self._weight_gradients[i] = gradient

    # What is made of it.

    def end_backward(self, row: int | None) -> None:
        """The backward is over: measure, if it has a row."""
        if row is not None and self._walk is not None:
            for i in range(len(self._layers)):
                self._measure(row, i)
        self._is_over = True
        self._begin()

    def _measure(self, row: int, i: int) -> None:
        weight, gradient = self._weights[i], self._weight_gradients.get(i)
        if isinstance(weight, Parameter):
            self._before[i] = weight.data.copy()  # optimizers rebind the array, but others may write into it
        if gradient is not None:
            norms = log10_norms(array_of(gradient).reshape(*self._members, -1))
            self._numbers["log10_weight_norm"][row, i] = norms + decades_beside(gradient)
        uses = [*self._heard[i]]
        deltas = [use.delta for use in uses]
        if not deltas or not array_of(deltas[0]).size or len({delta.shape for delta in deltas}) > 1:
            return
        delta = functools.reduce(operator.add, deltas)
        array = array_of(delta)
        samples = array.size / (array.shape[-1] * math.prod(self._members))
        norms = log10_norms(by_member(array, self._members)) + decades_beside(delta)
        self._numbers["log10_rms"][row, i] = norms + 0.5 * math.log10(samples)
        known = [use.is_saturated for use in uses if use.is_saturated is not None]
        if known:
            self._numbers["saturation"][row, i] = sum(by_member(s, self._members).mean(axis=-1) for s in known) / len(
                known
            )

    def end_step(self, row: int) -> None:
        """The next step begins: the optimizer has moved the weights."""
        with np.errstate(invalid="ignore", over="ignore"):  # weights that are not finite give NaN and inf
            for i, old in self._before.items():
                change = self._weights[i].data - old  # type: ignore[union-attr]
                shape = (*self._members, -1)
                moved = log10_norms(change.reshape(shape)) - log10_norms(old.reshape(shape))
                self._numbers["log10_update"][row, i] = moved
        self._before.clear()

    def measured(self, rows: Any, norms: Any) -> dict[str, Any]:
        """Some rows as arrays of a History, beside their log10_norm."""
        numbers = {name: array[rows] for name, array in self._numbers.items()}
        with np.errstate(invalid="ignore"):  # samples of 0 have no coherence: NaN
            return numbers | {"coherence": 10.0 ** (norms - numbers["log10_rms"])}

    def clear(self) -> None:
        """Make all rows ready to be used again."""
        for array in self._numbers.values():
            array.fill(np.nan)


def decades_beside(gradient: Any) -> float:
    """The decades that an ExtendedArray has beside its array, 0 for others."""
    return gradient.exponent * math.log10(2) if isinstance(gradient, ExtendedArray) else 0.0


def log10_norms(x: Any) -> Any:
    """log10_norm over the last axis, in a fraction of the time where the squares stay in the range of float64."""
    if x.dtype != np.longdouble:
        wide = x.astype(np.float64, copy=False)
        squares = np.einsum("...i,...i->...", wide, wide)
        if np.all((squares > 1e-200) & (squares < 1e200)):
            return 0.5 * np.log10(squares)
    return log10_norm(x, axis=-1)
