"""Statistics of each layer beside its ∂C/∂b: the samples' δ, saturation, and the optimizer's steps."""

import functools
import math
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_vg.engine import ExtendedArray, HookHandle, Tensor
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.nn import Module, Parameter, ReLU, Sigmoid, Tanh
from tinygrad_vg.nn.module import ForwardHook

# When an activation with output y is saturated: its slope is below 1 − 0.97² = 6 % of its largest.
_SATURATED: dict[type[Module], Callable[[Any], Any]] = {
    Sigmoid: lambda y: np.abs(y - 0.5) > 0.485,
    Tanh: lambda y: np.abs(y) > 0.97,
    ReLU: lambda y: y == 0,
}


def array_of(gradient: Any) -> Any:
    """The array in what a hook is given, without an ExtendedArray's exponent."""
    if isinstance(gradient, ExtendedArray):
        return gradient.mantissa
    return gradient.data if isinstance(gradient, Tensor) else gradient


class _Use:
    """What the hooks have heard of one pass of a batch through a layer."""

    __slots__ = ("delta", "activation")

    def __init__(self) -> None:
        self.delta: Any = None  # ∂C/∂z
        self.activation: tuple[Callable[[Any], Any], Any] | None = None  # what is saturated, and the output


class Statistics:
    """What the layers' outputs, their gradients and the optimizer's steps tell, row by row of the recorder's blocks."""

    def __init__(self, model: Module, layers: Sequence[Module], rows: int, members: tuple[int, ...]) -> None:
        self._layers = layers
        self._activations = [
            (module, saturated)
            for _, module in model.named_modules()
            for kind, saturated in _SATURATED.items()
            if isinstance(module, kind)
        ]
        self._members = members
        self._rms, self._saturation, self._update = np.full((3, rows, len(layers), *members), np.nan)
        self._weights: dict[int, Any] = {}  # before the step of the optimizer that is to come
        self._handles: list[HookHandle] = []  # on the outputs of the forwards since the last backward
        self._latest: list[tuple[Any, _Use] | None] = []  # of each layer: its output, and its use
        self._heard: list[dict[_Use, None]] = []  # of each layer: the uses that this backward has come through
        self.forget()

    def register(self) -> list[HookHandle]:
        """Put hooks on the layers and on the activations."""
        handles = [layer.register_forward_hook(self._on_layer(i)) for i, layer in enumerate(self._layers)]
        return handles + [module.register_forward_hook(self._on_activation(s)) for module, s in self._activations]

    def forget(self) -> None:
        """Forget the forwards, and take the hooks off their outputs."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._latest = [None] * len(self._layers)
        self._heard = [{} for _ in self._layers]
        self._walked = False  # whether a backward has come since

    def _on_layer(self, i: int) -> ForwardHook:
        def listen(module: Module, args: Any, z: Any) -> None:
            if not (isinstance(z, Tensor) and z.requires_grad):
                return
            if self._walked:
                self.forget()
            use = _Use()

            def receive(delta: Any) -> None:
                self._walked = True
                use.delta = delta
                self._heard[i][use] = None

            self._handles.append(z.register_hook(receive))
            self._latest[i] = weakref.ref(z), use  # a reference that counted would keep the graph alive

        return listen

    def _on_activation(self, saturated: Callable[[Any], Any]) -> ForwardHook:
        def listen(module: Module, args: Any, y: Any) -> None:
            for latest in self._latest:
                if latest is not None and latest[0]() is args[0]:
                    latest[1].activation = saturated, y.data

        return listen

    def end_layer(self, i: int, row: int | None) -> None:
        """A backward has been through all uses of a layer: measure, if it has a row."""
        uses, self._heard[i] = [*self._heard[i]], {}
        if row is None:
            return
        weight = vars(self._layers[i]).get("weight")
        if isinstance(weight, Parameter):
            self._weights[i] = weight.data.copy()  # optimizers rebind the array, but others may write into it
        deltas = [use.delta for use in uses]
        if not deltas or not array_of(deltas[0]).size or len({delta.shape for delta in deltas}) > 1:
            return
        delta = functools.reduce(operator.add, deltas)
        array = array_of(delta)
        samples = array.size / (array.shape[-1] * math.prod(self._members))
        self._rms[row, i] = log10_norms(self._by_member(array)) + 0.5 * math.log10(samples)
        if isinstance(delta, ExtendedArray):
            self._rms[row, i] += delta.exponent * math.log10(2)
        shares = [f(self._by_member(y)).mean(axis=-1) for f, y in (u.activation for u in uses if u.activation)]
        if shares:
            self._saturation[row, i] = sum(shares) / len(shares)

    def end_step(self, row: int) -> None:
        """The next step begins: the optimizer has moved the weights."""
        with np.errstate(invalid="ignore", over="ignore"):  # weights that are not finite give NaN and inf
            for i, old in self._weights.items():
                change = vars(self._layers[i])["weight"].data - old
                shape = (*self._members, -1)
                self._update[row, i] = log10_norms(change.reshape(shape)) - log10_norms(old.reshape(shape))
        self._weights.clear()

    def measured(self, rows: Any, norms: Any) -> dict[str, Any]:
        """Some rows as arrays of a History, beside their log10_norm."""
        rms, saturation, update = (array[rows] for array in (self._rms, self._saturation, self._update))
        with np.errstate(invalid="ignore"):  # samples of 0 have no coherence: NaN
            coherence = 10.0 ** (norms - rms)
        return {"log10_rms": rms, "coherence": coherence, "saturation": saturation, "log10_update": update}

    def clear(self) -> None:
        """Make all rows ready to be used again."""
        for array in (self._rms, self._saturation, self._update):
            array.fill(np.nan)

    def _by_member(self, array: Any) -> Any:
        """(..., R, B, out), or without an ensemble (..., out), as (R, n) or (n,)."""
        if not self._members:
            return array.reshape(-1)
        return np.moveaxis(array, max(0, array.ndim - 3), 0).reshape(*self._members, -1)


def log10_norms(x: Any) -> Any:
    """log10_norm over the last axis, in a fraction of the time where the squares stay in the range of float64."""
    if x.dtype != np.longdouble:
        wide = x.astype(np.float64, copy=False)
        squares = np.einsum("...i,...i->...", wide, wide)
        if np.all((squares > 1e-200) & (squares < 1e200)):
            return 0.5 * np.log10(squares)
    return log10_norm(x, axis=-1)
