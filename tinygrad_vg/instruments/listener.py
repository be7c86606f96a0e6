"""The listener: observes the calls and gradients of a model's layers while the model is used."""

import math
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import HookHandle, Tensor, Walk, Watch, is_grad_enabled, listen
from tinygrad_vg.instruments.dying import is_drawn
from tinygrad_vg.instruments.magnitude import array_of
from tinygrad_vg.instruments.signals import Chain, layers_of, weight_in
from tinygrad_vg.nn import Module, by_member, members_of


class Listener:
    """Observes the calls and gradients of a model's layers inside a `with` block.

    It notes the calls of the layers, and when a backward begins, it asks for the gradients at their outputs. Such a
    backward is "heard". A new pass through the model replaces the one before. Calls under `no_grad` are not noted.

    Attributes:
        layers: the modules that compute z, with their names.
        on_heard: None, or a function that is called at the end of each backward that was heard, with the number of the
            backward (from 0), its chain, the outputs of the chain's units and of the first unit of its tail, and
            whether the network is trained.
        wants: `wants(number)` is whether `on_heard` uses the backward with this number.
        backwards: the number of backwards that were heard.
        silent: the number of backwards in a row, up to the last, that brought no gradient to layer 1; (R,) for an
            ensemble.
        is_trained: whether the weights in the last backward were other than the initial ones.
        is_drawn: whether the weights satisfy the assumptions of the theory of dying ReLUs (`dying.is_drawn`).
    """

    def __init__(self, model: Module, layers: dict[Module, str] | None = None) -> None:
        self._model = model
        self.layers = layers_of(model) if layers is None else layers
        self._members = members_of(next(iter(self.layers)))
        self.on_heard: Callable[[int, Chain, list[Any], bool], None] | None = None
        self.wants: Callable[[int], bool] = lambda number: False
        self._heard: Chain | None = None
        self._first: Any = None  # a weak reference to the output of layer 1 in the last backward
        self._is_channels_first = False  # whether this output is (B, channels, ...)
        self._show: Callable[[Any], None] | None = None  # shows a compiled step's last backward, if it was not read yet
        self._watch: Watch | None = None  # what machine code checks in place of `take`
        self.backwards = 0
        self._nothing = np.zeros(self._members, int)
        self.silent: Any = self._nothing
        self.is_trained = False
        self.is_drawn = False
        # The calls of the last pass: the layer, a weak reference to z if it has a graph (so that the graph can be
        # freed), and the array of z.
        self._calls: list[tuple[Module, Any, Any]] = []
        self._output: Any = None  # a weak reference to the output of the model
        self._handles: list[HookHandle] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_hook(self._on_layer) for layer in self.layers]
        self._handles.append(self._model.register_forward_hook(self._on_model))
        self._handles.append(listen(self._on_backward))
        return self

    def __exit__(self, *exception: object) -> None:
        self._settle()
        for handle in self._handles:
            handle.remove()

    @property
    def heard(self) -> Chain | None:
        """The chain of the last backward that was heard; None before the first."""
        self._settle()
        return self._heard

    def _settle(self) -> None:
        """Hear the last backward of a compiled step, which was only counted by `take` or by machine code."""
        self._leave_watch()
        if self._show is not None:
            show, self._show, backwards = self._show, None, self.backwards
            self.backwards = backwards - 1
            show(lambda owner: owner is self)
            self.backwards = backwards

    def needs(self) -> Sequence[Any] | None:
        """The output of layer 1 (`engine.following.Follower`); None while the network is untrained, because each
        backward then tells whether it still is.

        Most backwards of a compiled step are never read, because another one follows. For them it is enough to know
        whether layer 1 has got a gradient.
        """
        first = self._first and self._first()
        return None if first is None or not self.is_trained else (first,)

    def take(self, gradients: Sequence[Any], show: Callable[[Callable[[Any], bool]], None]) -> bool:
        """Count a backward, and keep `show`, which is called if the backward is read before the next one."""
        self._leave_watch()
        self._show = None
        (gradient,) = gradients
        if self._members:
            gradient = by_member(gradient, self._members, self._is_channels_first)
        if self.wants(self.backwards) or not self._is_sound(gradient):
            return False
        self.silent = self._nothing
        self.backwards += 1
        self._show = show
        return True

    def room(self) -> Watch | None:
        """A watch over the gradient of layer 1; None if some backwards are kept in a history."""
        self._leave_watch()
        first = self._first and self._first()
        if self.on_heard is None and first is not None and (not self._members or first.shape[0] == self._members[0]):
            self._watch = Watch(math.prod(self._members))
        return self._watch

    def _leave_watch(self) -> None:
        """Count the backwards that machine code has watched, all with a gradient at layer 1."""
        watch, self._watch = self._watch, None
        if watch is not None and (runs := watch.close()):
            self.backwards += runs
            self.silent, self._show = self._nothing, watch.show

    def _on_layer(self, module: Module, inputs: tuple[Any, ...], z: Tensor) -> None:
        if is_grad_enabled():
            self._settle()
            if any(called is module for called, _, _ in self._calls):
                if not isinstance(inputs[0], Tensor) or inputs[0].node is None:
                    self._calls = []  # a layer that was called before gets data: this is another pass
                while self._calls and (reference := self._calls[0][1]) and reference() is None:
                    del self._calls[0]  # it belongs to a pass whose graph was freed
            self._calls.append((module, weakref.ref(z) if z.node is not None else None, z.data))
            self._output = None  # not yet

    def _on_model(self, model: Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.node is not None:
            self._output = weakref.ref(output)

    def chain(self) -> Chain:
        """The chain of the last pass. A layer whose graph was freed, or that needs no gradients, has only its z."""
        self._settle()
        chain = Chain(self.layers, self._members)
        for module, reference, array in self._calls:
            if (z := reference and reference()) is None:
                chain.add_unheard(module, array)
            elif not chain.add(module, z):
                chain = Chain(self.layers, self._members)
                chain.add(module, z)
        chain.end(self._output and self._output())
        return chain

    def _as_before(self) -> list[Tensor] | None:
        """The outputs of the units in this pass, if it has the same chain as the last backward; else None."""
        outputs: list[Tensor] = []
        units, below = iter(self._heard.units if self._heard else ()), None
        for module, reference, _ in self._calls:
            z, unit = reference and reference(), next(units, None)
            call = innermost_call(z)
            if unit is None or call is None or call[0] is not module:
                return None
            x = call[1][0]
            if unit.name is None:  # one module between two layers
                call = getattr(x, "call", None)
                if call is None or call[0] is not unit.module or call[2] is not None or call[1][0] is not below:
                    return None
                outputs.append(x)
                unit = next(units, None)
            elif below is not None and x is not below:
                return None
            if unit is None or unit.module is not module:
                return None
            outputs.append(z)
            below = z
        ends = self._output is not None and self._output() is below and next(units, None) is None
        return outputs if ends and self._heard and not self._heard.problem else None

    def _on_backward(self, walk: Walk) -> None:
        self._settle()
        outputs: list[Any] | None = self._as_before()  # nearly always in a training; then nothing has to be traced
        chain = self._heard if outputs is not None else self.chain()
        assert chain is not None
        if outputs is None:
            outputs = [unit.output for unit in chain.units]
        walk.want(output for output in outputs if output is not None)
        walk.at_end(partial(self._on_end, chain, outputs))

    def _on_end(self, chain: Chain, outputs: list[Any], walk: Walk) -> None:
        found = [walk.gradients.get(output) for output in outputs]
        if all(g is None for g in found) and (found or not chain.problem):
            return  # the backward of another graph
        shared = walk.shared()
        for unit, output, g in zip(chain.units, outputs, found, strict=True):
            if isinstance(g, np.ndarray):
                unit.gradient = g.copy() if g.base is not None or id(g) in shared else g
            else:
                unit.gradient = np.array(g.data) if isinstance(g, Tensor) else g
            if unit.name is not None and output is not None:
                # A weak reference: keeping old weights alive through the next step would cost 1 to 2 % of a training.
                weight = weight_in(output, unit.module)
                if not self.is_trained and isinstance(unit.weight, weakref.ref) and unit.weight() is not weight:
                    self.is_trained = True  # the weights were set by hand, and not by an optimizer
                unit.z, unit.weight = output.data, None if weight is None else weakref.ref(weight)
                unit.order = output.node.order
        ends = [unit.output for unit in chain.tail[:1]]
        self._first = weakref.ref(outputs[0]) if outputs and outputs[0] is not None else None
        self._is_channels_first = bool(chain.units) and chain.units[0].channels_first
        self.hear(chain)
        self.backwards += 1
        if self.on_heard is not None:
            self.on_heard(self.backwards - 1, chain, [*outputs, *ends], self.is_trained)

    def hear(self, chain: Chain) -> None:
        """Keep the chain of a backward, whose units have their gradients."""
        for unit in (*chain.units, *chain.tail):
            unit.output = None  # so that the graph is freed
        self._heard = chain
        self.is_trained = self.is_trained or self.is_moved(chain)
        self.is_drawn = not self.is_trained and chain.unit == "layer" and is_drawn(chain)
        if chain.units and (gradient := chain.units[0].gradient) is not None:
            rows = by_member(array_of(gradient), self._members, chain.units[0].channels_first)
            self.note_what_arrived(chain, rows)

    def is_moved(self, chain: Chain) -> bool:
        """Whether an optimizer has updated a weight of the chain's layers."""
        layers: list[Any] = [layer.module for layer in chain.layers]
        return any(layer.weight.is_trained for layer in layers)

    def note_what_arrived(self, chain: Chain, rows: Any) -> None:
        """Update `silent`, from the gradient of layer 1 with a row for each member."""
        if self._is_sound(rows):
            self.silent = self._nothing
            return
        self.silent = np.where(rows.any(axis=-1), 0, self.silent + 1)
        for layer in chain.layers:
            layer.note_weights()

    def _is_sound(self, rows: Any) -> bool:
        """Whether each member has a gradient that is finite and not 0.

        It is False also if only the squares overflow or underflow, which they do before the gradient itself.
        """
        if not self._members:
            return 0 < float(np.vdot(rows, rows)) < math.inf
        squares = np.einsum("ri,ri->r", rows, rows)
        return bool(np.all((squares > 0) & (squares < np.inf)))


def innermost_call(tensor: Tensor | None) -> Any:
    """(module, inputs, None) of the innermost call that returned a tensor; None if there was none."""
    call = tensor.call if tensor is not None else None
    while call is not None and call[2] is not None:
        call = call[2]
    return call
