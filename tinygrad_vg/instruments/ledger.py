"""The ledger: what each layer's weights and each activation take from the gradient on its way back, in decades.

From layer l+1 to layer l the gradient makes one step, δ^l = σ′(z^l) ⊙ u with u = (W^{l+1})ᵀ δ^{l+1}, and its norm
changes by

    log‖δ^l‖ − log‖δ^{l+1}‖ = [log‖u‖ − log‖δ^{l+1}‖] + [log‖σ′(z^l) ⊙ u‖ − log‖u‖]
            total           =          weights        +          activation

which is exact, and the steps telescope to the whole way. Here δ^l is the gradient at the output of layer l and u the
gradient at the input of layer l+1, as the walk back hands them to hooks, so nothing is computed a second time, and
whatever lies between two layers (activations, normalisation, residual blocks) has its part in the same way.
"""

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import ExtendedArray, HookHandle, Tensor, cotangents
from tinygrad_vg.instruments.chain import outputs_in_graph, units_of, why_no_layers
from tinygrad_vg.instruments.ledger_table import LedgerTable, Part, Split, cause_of
from tinygrad_vg.instruments.ledger_table import Row as Row
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.nn import Identity, Linear, Module, Parameter, ReLU, Sigmoid, Tanh

_CAPS = {Sigmoid: math.log10(1 / 4), Tanh: 0.0, ReLU: 0.0, Identity: 0.0}  # decades of the largest slope
_SEALED = (Sigmoid, Tanh, ReLU)  # no gradient of a batch goes through these to a leaf as it is


class _Call:
    """One pass through the model: the hooks on its tensors, and what they hear in the backward that comes last."""

    __slots__ = ("at", "gradients", "handles", "lowest", "outputs", "weights")

    def __init__(self, units: int) -> None:
        self.at = -1  # the unit that ran last
        self.handles: list[HookHandle] = []
        self.weights: list[Any] = [None] * units  # of each layer a weak reference and a version; of a graph the arrays
        self.outputs: list[Any] = [None] * units  # z of each layer
        self.gradients: list[Any] = [None] * units  # at the output of each unit
        self.lowest = -1  # the layer heard last

    def remove_hooks(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles.clear()


class Ledger:
    """Keeps the accounts of a model's last backward inside its `with` block.

    The model is a chain: a Sequential, in which nested ones are taken apart. Every Linear of the chain is a layer,
    numbered from the input side, 1 first; any other module is a unit between layers, known by its class, also if it
    has layers inside (Residual). With a batch, δ^l holds all its samples, and ‖δ^l‖ is the root of the sum of
    squares over samples and neurons; for one sample it is the vector's norm. For an ensemble (`nn.stack`) all
    numbers are one for each member.

    Each backward replaces the accounts, so that memory holds one gradient a unit and one z a layer; norms are taken
    when asked for.
    The accounts follow the model's last call: a new call takes the hooks off the one before it, so in one backward
    through several calls only the samples of the last are counted. What is called under `no_grad` does not count.
    Where gradients join from another path, as that of an auxiliary cost, they belong to the part they join in.
    Training is bit for bit as without a ledger.

    Args:
        model: a Sequential with at least one Linear, of one network or an ensemble.

    Raises:
        ValueError: if there is no Linear, or the layers stand in a module whose own `forward` puts them in order.

    >>> import numpy as np, tinygrad_vg as tg
    >>> rng = np.random.default_rng(0)
    >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=rng), tg.nn.Sigmoid(), tg.nn.Linear(4, 1, rng=rng))
    >>> with Ledger(net) as ledger:
    ...     tg.nn.MSELoss()(net(np.ones((5, 3))), np.zeros((5, 1))).backward()
    >>> (row,) = ledger
    >>> row.layer, row.parts[0].label
    (1, 'Sigmoid')
    >>> bool(abs(row.weights + row.activation - row.total) < 1e-15)
    True
    >>> bool(row.activation < np.log10(1 / 4))
    True
    """

    def __init__(self, model: Module) -> None:
        self.model = model
        self._units = list(units_of(model))
        self._is_layer = [isinstance(module, Linear) for _, module in self._units]
        self._ends = [i for i, is_layer in enumerate(self._is_layer) if is_layer]
        if not self._ends:
            raise ValueError(why_no_layers(model, self._units))
        self.layers = tuple(range(1, len(self._ends) + 1))
        self.names = tuple(self._units[i][0] for i in self._ends)
        self._members: tuple[int, ...] = self._units[self._ends[0]][1].weight.shape[:-2]  # type: ignore[attr-defined]
        self._call = _Call(len(self._units))
        self._last: _Call | None = None  # the call whose backward the accounts are of
        self._norms: Any = None  # (units, members) of that backward, once asked for

    @classmethod
    def of(cls, model: Module, cost: Tensor) -> Self:
        """The accounts of a cost that is recorded already: no `.grad` is touched, no hook is called.

        The walk has extended range, so no δ is lost below the floats.

        Raises:
            ValueError: if the graph is not that of one call of this model, or the cost has several elements; see also
                `Ledger`.

        >>> import numpy as np, tinygrad_vg as tg
        >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(4, 1, rng=1))
        >>> [row.layer for row in Ledger.of(net, np.sum(net(np.ones((5, 3)))))]
        [1]
        """
        ledger = cls(model)
        call = ledger._last = ledger._call
        places: dict[Tensor, list[int]] = {}  # the output of an Identity is that of the unit before it, too
        for place, tensor in outputs_in_graph([module for _, module in ledger._units], cost).items():
            places.setdefault(tensor, []).append(place)
            if ledger._is_layer[place] and tensor.node is not None:
                call.outputs[place] = tensor.data
                call.weights[place] = tensor.node.values[1]
        totals = cotangents(cost, keep=places)
        for tensor, where in places.items():
            for place in where:
                call.gradients[place] = totals[tensor]
        return ledger

    def __enter__(self) -> Self:
        places: dict[Module, list[int]] = {}  # one module may stand in several
        for i, (_, module) in enumerate(self._units):
            places.setdefault(module, []).append(i)
        listeners = [self._listener(i) for i in range(len(self._units))]
        self._handles = [
            module.register_forward_hook(self._watcher(where, listeners))
            for module, where in places.items()
            if any(self._listens_at_output(i) for i in where)
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._call.remove_hooks()

    def _listens_at_output(self, place: int) -> bool:
        """Whether a unit's own output gets a hook: of what lies between two layers the last is heard by the next."""
        between = self._ends[0] < place < self._ends[-1]
        return self._is_layer[place] or (between and not self._is_layer[place + 1])

    def _watcher(self, places: list[int], listeners: Sequence[Callable[[Any], None]]) -> Callable[..., None]:
        first, *later = places
        is_layer = self._is_layer[first]
        bottom = self._ends[0]  # what its weights pass on goes to the data
        at_input = [is_layer and not self._is_layer[i - 1] for i in range(len(self._units))]
        at_output = [self._listens_at_output(i) for i in range(len(self._units))]

        # What follows runs for every layer in every step of a training: it does no more than it must.
        def watch(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            if not getattr(output, "requires_grad", False):
                return
            call, place = self._call, first
            if place <= call.at:
                place = next((i for i in later if i > call.at), -1)
                if place < 0:  # this does not go on from where the last call is: a new one begins
                    call.remove_hooks()
                    call = self._call = _Call(len(self._units))
                    place = first
            call.at = place
            if is_layer:
                call.outputs[place] = output.data
            if is_layer and place > bottom:
                weight = module.weight
                # Weak: to keep a step's weights alive through the next would cost 1 to 2 % of the training.
                call.weights[place] = weakref.ref(weight.data), weight.version
                if at_input[place] and inputs and getattr(inputs[0], "requires_grad", False):
                    call.handles.append(inputs[0].register_hook(listeners[place - 1]))
            if at_output[place]:
                call.handles.append(output.register_hook(listeners[place]))

        return watch

    def _listener(self, place: int) -> Callable[[Any], None]:
        # An array that the user handed in, or that a leaf may get as its .grad, could change before the rows are read,
        # and is copied: what comes through modules that are not sealed, and the first of a backward.
        exposed = type(self._units[place][1]) not in _SEALED
        batched = 3 if self._members else 2  # axes of a gradient that is no single sample's

        def listen(gradient: Any) -> None:
            if isinstance(gradient, np.ndarray) and (exposed or gradient.ndim < batched):
                gradient = gradient.copy()
            self._call.gradients[place] = gradient

        def listen_at_layer(gradient: Any) -> None:
            call = self._call
            first = place >= call.lowest  # a backward comes from the output down: this is another one
            if first:
                call.gradients = [None] * len(call.weights)
                self._last, self._norms = call, None
            if isinstance(gradient, np.ndarray) and (first or gradient.ndim < batched):
                gradient = gradient.copy()
            call.gradients[place] = gradient
            call.lowest = place

        return listen_at_layer if self._is_layer[place] else listen

    # What the accounts say.

    @property
    def log10_norm(self) -> Any:
        """(L,) log10‖δ^l‖ of each layer in decades, (L, R) for an ensemble; NaN where it was not computed."""
        return self._levels()[self._ends]

    @property
    def heard(self) -> bool:
        """Whether a backward was heard, so that there are accounts."""
        return self._last is not None

    @property
    def outputs(self) -> tuple[Any, ...]:
        """z^l of each layer in the last call, (..., B, out): what the layer put out; None for what has not run."""
        call = self._last or self._call
        return tuple(call.outputs[place] for place in self._ends)

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row for each step, that to layer 1 first: layers 1 ... L−1.

        Raises:
            RuntimeError: if no backward was heard yet.
        """
        norms, last = self._levels(), self._last
        assert last is not None  # or _levels would have raised
        rows = []
        for layer, (low, high) in enumerate(pairwise(self._ends), 1):
            missing = any(gradient is None for gradient in last.gradients[low : high + 1])
            floor = _smallest_normal(last.gradients[low])
            causes = tuple(
                "not computed" if missing else cause_of(way, high - low, floor)
                for way in norms[low : self._ends[-1] + 1].reshape(self._ends[-1] + 1 - low, -1).T.tolist()
            )
            between = range(high - 1, low, -1)
            rows.append(
                Row(
                    layer=layer,
                    name=self.names[layer - 1],
                    log10_norm=_number(norms[low]),
                    weights=_step(norms[high], norms[high - 1]),
                    activation=_step(norms[high - 1], norms[low]),
                    total=_step(norms[high], norms[low]),
                    parts=tuple(Part(type(self._units[i][1]).__name__, _step(norms[i], norms[i - 1])) for i in between),
                    cause=causes if self._members else causes[0],
                )
            )
        return tuple(rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def split(self) -> tuple[Split, ...]:
        """Each row against its bounds: weights = spectral + alignment, activation = cap + saturation.

        Raises:
            RuntimeError: if no backward was heard yet, or the weights have been updated since.
        """
        splits = []
        for row, (low, high) in zip(self.rows, pairwise(self._ends), strict=True):
            weight = self._weight(high)
            if weight is None:
                raise RuntimeError(
                    f"layer {row.layer + 1} has other weights than in the call that the rows are of; "
                    "ask for split() between backward and the optimizer's step"
                )
            finite = np.isfinite(weight).all(axis=(-2, -1))  # of others no norm can be had
            sizes = np.linalg.norm(np.where(finite[..., None, None], weight, 0).astype(np.float64), 2, axis=(-2, -1))
            with np.errstate(divide="ignore"):  # weights of 0: −inf
                spectral = np.where(finite, np.log10(sizes), np.nan)
            cap = sum((_CAPS.get(type(module), math.nan) for _, module in self._units[low + 1 : high]), 0.0)
            splits.append(Split(row.layer, _number(spectral), _step(spectral, row.weights), cap, row.activation - cap))
        return tuple(splits)

    def _weight(self, place: int) -> Any:
        """The array of a layer's weights in the call that the accounts are of; None if it is another one now."""
        weight: Parameter = self._units[place][1].weight  # type: ignore[attr-defined]
        kept = self._last.weights[place] if self._last else None
        if isinstance(kept, tuple):
            array, version = kept[0](), kept[1]
            return array if array is weight.data and version == weight.version else None
        return weight.data if kept is None else kept

    def _levels(self) -> Any:
        """log10 of the norm of the gradient at the output of each unit: (units,), for an ensemble (units, R)."""
        if self._last is None:
            raise RuntimeError(
                "the ledger has heard no backward: inside its `with` block, call the model and then backward "
                "(the hooks of a call end with the next call)"
            )
        if self._norms is None:
            self._norms = np.stack([self._norm(gradient) for gradient in self._last.gradients])
        return self._norms

    def _norm(self, gradient: Any) -> Any:
        if gradient is None:
            return np.full(self._members, np.nan)
        if not self._members:
            return log10_norm(gradient)
        axes = len(gradient.shape)
        member_axis = max(0, axes - 3)  # (R, B, out), any axes in front; for a single sample (R, out)
        return log10_norm(gradient, tuple(axis for axis in range(axes) if axis != member_axis))

    # How they are shown.

    def table(self, width: int = 100) -> LedgerTable:
        """The rows as a table for people, at most `width` columns wide where that is possible."""
        if self._last is None:
            return LedgerTable((), math.nan, width, f"{len(self.layers)} layers; no backward heard yet")
        return LedgerTable(self.rows, self.log10_norm[-1], width)

    def __str__(self) -> str:
        return str(self.table())

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        return self.table(min(100, options.max_width)).texts()

    def _repr_html_(self) -> str:
        return self.table().html()


def _number(values: Any) -> Any:
    """An array of members, or the float of one network."""
    return values if np.ndim(values) else float(values)


def _step(before: Any, after: Any) -> Any:
    """after − before, in decades; where nothing arrived, nothing is taken."""
    with np.errstate(invalid="ignore"):  # inf − inf
        return _number(np.where(np.isneginf(before) & np.isneginf(after), 0.0, np.subtract(after, before)))


def _smallest_normal(gradient: Any) -> float:
    """log10 of the smallest normal number of the gradient's type; extended range has none."""
    if gradient is None or isinstance(gradient, ExtendedArray):
        return -math.inf
    return math.log10(np.finfo(gradient.dtype).tiny)
