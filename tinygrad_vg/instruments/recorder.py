"""The recorder: ∂C/∂b of every layer while a network trains."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from tinygrad_vg.engine import HookHandle, Room, Tensor, Walk, listen
from tinygrad_vg.instruments.biases import bias_form, layers_in, summed, warn_of_order
from tinygrad_vg.instruments.blocks import Blocks, block_size, check
from tinygrad_vg.instruments.history import History, positions
from tinygrad_vg.instruments.magnitude import array_of
from tinygrad_vg.instruments.statistics import Statistics
from tinygrad_vg.instruments.telling import Recording, Teller
from tinygrad_vg.instruments.verdict import Diagnosis
from tinygrad_vg.nn import Module, Parameter, members_of


class GradientRecorder(Recording):
    """Records ∂C/∂b of every layer of a model in every backward inside its `with` block.

    The recorder reads the gradients of the biases themselves: it records exactly the arrays that the optimizer gets,
    and it does not change the training by a single bit. For a Linear or Conv2d without a bias it records the gradient
    that a bias would have, ∂C/∂z summed over the batch, the positions in the images and the layer's calls.

    The layers are the modules with a `bias`, the Linears and Conv2ds without one, and the layers of recurrent modules.
    For a recurrent layer the recorder records ∂C/∂b_ih, the sum of ∂C/∂z over the time steps (a `Ledger` has ∂C/∂h of
    each step), and leaves it out with `bias=False`. Layers are numbered in the order of `model.named_modules()`; a
    warning says if the model calls them in another order, so that layer 1 is not at the input. The recorder counts the
    backwards that reach a layer, from 0, also if the `with` block is entered again; the history has a row for each one
    that is kept.

    Args:
        model: a network, or an ensemble of networks (`nn.stack`).
        every: record the backwards number 0, every, 2·every ...
        layers: the layers to record, by number (1 at the input) or by name; all if None.
        values: whether to keep the vectors ∂C/∂b too, in `history.values`.
        statistics: whether to measure the statistics below at each recorded backward.
        on_nonfinite: "record" records NaN and inf as they are; "raise" checks every backward, recorded or not, and
            raises FloatingPointError at the first NaN or inf.
        on_verdict: a function that is called with a `Diagnosis` at the first recorded backward, and whenever its state
            or severity changes. To judge a recorded backward takes about a millisecond; `every` makes that rare.
        max_steps: the largest number of rows. When there are more, every second row is dropped and `every` doubles,
            so that the rows remain evenly spaced in a training of any length. None keeps all.

    The first backward with NaN or inf (`History.first_nonfinite`) and the 10 backwards before it are always kept; those
    that are not a multiple of `every` have NaN for their statistics. With `max_steps=10_000` the norms of 5 layers take
    0.4 MB, and the values take 4 to 8 bytes for each neuron and row; an ensemble of R members takes R times as much.

    The statistics are measured for each layer but the recurrent ones, on the calls since the last backward:

    * `log10_weight_norm`: log10‖∂C/∂W‖ of the layer's `weight`.
    * `log10_rms` and `coherence`: from the gradient ∂C/∂z (B, out) at the layer's output, whose rows add up to ∂C/∂b.
      For a cost averaged over the batch, ∂C/∂b is the mean of the samples' δ; so the δ of a sample is B times its row.
      (For a cost summed over the batch rms ‖δ‖ is too large by the factor B; the coherence ‖mean δ‖ / rms ‖δ‖ is
      right.) B counts all samples, along further axes too. The layer must add its bias last, as Linear does. If the
      layer is called several times in one backward, the δ of a sample is the sum over the calls; nothing is measured if
      the batches of the calls differ in size.
    * `saturation`: the share of saturated outputs of the activation module that is applied to the layer's output.
      An output is saturated if the slope is below 6 % of its largest value (`nn.Activation.saturated`): for tanh
      |y| > 0.97, the measure of Karpathy's makemore lectures, for the sigmoid |2y − 1| > 0.97, for ReLU y = 0.
    * `log10_update`: log10(‖ΔW‖ / ‖W‖) of the layer's `weight`, from this backward until the next one begins or the
      block ends. (Karpathy recommends about −3 for the ratio of the standard deviations.) It is −inf if the optimizer
      made no step, and NaN until it is known.

    Raises:
        ValueError: if there is no layer whose parameters require gradients, a chosen layer does not exist, or another
            argument is out of its range.
        FloatingPointError: in a backward, with `on_nonfinite="raise"`. The message names the layer nearest to the
            output that has NaN or inf, and the number of the backward. The history has a row for this backward.

    >>> import numpy as np, tinygrad_vg as tg
    >>> from tinygrad_vg.instruments import log10_norm
    >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(4, 1, rng=1))
    >>> with GradientRecorder(net, statistics=True) as recorder:
    ...     tg.nn.MSELoss()(net(np.ones((5, 3))), np.zeros((5, 1))).backward()
    >>> recorder.history.layers, recorder.history.log10_norm.shape
    ((1, 2), (1, 2))
    >>> bool(recorder.history.log10_norm[0, 1] == log10_norm(net[2].bias.grad)), recorder.every, recorder.at_start
    (True, 1, True)
    >>> recorder.history.coherence.round(6)  # all samples are the same here
    array([[1., 1.]])
    """

    def __init__(
        self,
        model: Module,
        every: int = 1,
        *,
        layers: int | str | Iterable[int | str] | None = None,
        values: bool = False,
        statistics: bool = False,
        on_nonfinite: Literal["record", "raise"] = "record",
        on_verdict: Callable[[Diagnosis], object] | None = None,
        max_steps: int | None = 10_000,
    ) -> None:
        check(every, max_steps, on_nonfinite)
        found = [*layers_in(model)]
        if not found:
            raise ValueError(
                f"{type(model).__name__} has no Linear, Conv2d or layer with a bias that requires gradients"
            )
        numbers = range(1, len(found) + 1)
        where = positions(numbers if layers is None else layers, numbers, [name for name, _, _ in found])
        if not where:
            raise ValueError(f"layers={layers!r} selects no layer")
        self.layers = tuple(numbers[i] for i in where)
        self.names, self._modules, self.biases = zip(*(found[i] for i in where), strict=True)
        self._members = members_of(self._modules[0])
        self._raises = on_nonfinite == "raise"
        self._teller = None if on_verdict is None else Teller(on_verdict)
        forms = [bias_form(module, bias) for module, bias in zip(self._modules, self.biases, strict=True)]
        self._statistics: Statistics | None = None
        if statistics:
            self._statistics = Statistics(model, self._modules, block_size(forms), self._members)
        self._blocks = Blocks(self.layers, self.names, forms, self._members, every=every, values=values,
                              max_steps=max_steps, columns=self._statistics)  # fmt: skip
        self._handles: list[HookHandle] = []
        self._outputs: list[tuple[int, Any]] = []  # calls of layers without a bias: (layer, weak reference to z)
        self._backward = -1  # the number of the last backward
        self._room: Room | None = None  # the rows that a compiled step writes itself
        self.began_untrained = True  # whether the first backward was of a network as its initializers left it

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("this recorder is recording already; make a second recorder for the model")
        self._handles = [listen(self._on_backward)]
        for i, (module, bias) in enumerate(zip(self._modules, self.biases, strict=True)):
            if bias is None:
                self._handles.append(module.register_forward_hook(partial(self._on_output, i)))
        if self._statistics is not None:
            self._handles += self._statistics.register()
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._leave_room()
        self._end_row()

    @property
    def every(self) -> int:
        """The present number of backwards from one row to the next."""
        self._leave_room()
        return self._blocks.every

    @property
    def history(self) -> History:
        """The history of all that has been recorded. It may be read at any time, also inside the `with` block."""
        self._leave_room()
        return self._blocks.history

    @property
    def at_start(self) -> bool:
        """Whether the first backward of an untrained network has been recorded, and no other."""
        self._leave_room()
        return self._backward == 0 and self.began_untrained

    def needs(self) -> Sequence[Any] | None:
        """The biases, whose gradients are enough for a recorder without statistics (`engine.following.Follower`)."""
        looks_closer = self._statistics is not None or self._teller is not None or self._raises
        return None if looks_closer or any(bias is None for bias in self.biases) else self.biases

    def take(self, gradients: Sequence[Any], show: Any) -> bool:
        """Record a backward with these gradients of the biases, and return True (`engine.following.Follower`).

        The first backward also tells in which order the gradients arrive, and whether the network is untrained: there
        the recorder asks for its listener to be called.

        >>> import tinygrad_vg as tg
        >>> recorder = GradientRecorder(tg.nn.Linear(3, 2, rng=0))
        >>> recorder.take([np.array([30.0, 40.0])], show=lambda among: print(among(recorder))), len(recorder.needs())
        True
        (True, 1)
        """
        if self._backward < 0:
            show(lambda owner: owner is self)
            return True
        self._begin_row({})
        if self._blocks.row is not None:
            self._blocks.put_all(gradients)
        return True

    def room(self) -> Room | None:
        """Memory for the next rows (`engine.following.Follower`); None if not all of the next backwards get a row.

        >>> import tinygrad_vg as tg
        >>> recorder = GradientRecorder(tg.nn.Linear(3, 2, rng=0))
        >>> [array.shape for array in recorder.room().arrays]
        [(512, 2)]
        """
        self._leave_room()
        self._blocks.make_room()
        if self._blocks.is_sound or self._blocks.every == 1:
            self._room = self._blocks.room()
        return self._room

    def _leave_room(self) -> None:
        """Count the rows that a compiled step has written."""
        room, self._room = self._room, None
        if room is not None and (count := room.close()):
            self._blocks.begin_all(range(self._backward + 1, self._backward + 1 + count))
            self._backward += count

    def _on_output(self, i: int, module: Module, args: Any, z: Any) -> None:
        """Note a call of a layer without a bias."""
        if isinstance(z, Tensor) and z.requires_grad:
            self._outputs = [(j, ref) for j, ref in self._outputs if ref() is not None and ref() is not z]
            self._outputs.append((i, weakref.ref(z)))

    def _on_backward(self, walk: Walk) -> None:
        walk.want(z for _, reference in self._outputs if (z := reference()) is not None)
        if self._statistics is not None:
            self._statistics.begin_backward(walk)
        walk.at_end(self._on_end)

    def _on_end(self, walk: Walk) -> None:
        gradients = {i: walk.gradients[bias] for i, bias in enumerate(self.biases) if bias in walk.gradients}
        for i, reference in self._outputs:
            if (z := reference()) in walk.gradients:
                total = summed(walk.gradients[z], self._members, self._modules[i].channels_first)
                gradients[i] = gradients[i] + total if i in gradients else total
        if not gradients:
            return  # the backward of another graph
        self._begin_row(walk.gradients)
        if self._blocks.row is not None:
            if len(gradients) < len(self.biases):
                self._blocks.note_reached([i in gradients for i in range(len(self.biases))])
            for i, gradient in gradients.items():
                self._blocks.put(i, gradient)
        if self._statistics is not None:
            self._statistics.end_backward(walk, self._blocks.row if self._is_spaced else None)
        if self._teller is not None and self._is_spaced:
            self._teller.tell(self.history, self.at_start)
        if self._raises:
            self._raise_if_not_finite(gradients)

    def _begin_row(self, gradients: Mapping[Any, Any]) -> None:
        """Count a backward, and reserve a row in the blocks if it may be kept."""
        self._leave_room()
        self._end_row()
        self._blocks.make_room()
        self._backward += 1
        if self._backward == 0:
            parts = [part for module in self._modules for part in vars(module).values()]
            self.began_untrained = not any(isinstance(part, Parameter) and part.is_trained for part in parts)
            warn_of_order(self.names, self.biases, gradients)
        self._is_spaced = self._blocks.is_spaced(self._backward)
        # Until the first NaN or inf every backward has a row: it may be one of the 10 before that.
        self._blocks.begin(self._backward, has_row=self._is_spaced or self._blocks.is_sound)

    def _end_row(self) -> None:
        """Complete the last row: the next backward begins or the block ends, so the optimizer has made its step."""
        if self._statistics is not None and self._blocks.row is not None:
            self._statistics.end_row(self._blocks.row)

    def _raise_if_not_finite(self, gradients: dict[int, Any]) -> None:
        """Raise for the layer nearest to the output whose gradient is not finite."""
        for i in sorted(gradients, reverse=True):
            if not np.isfinite(array := array_of(gradients[i])).all():
                what = "NaN" if np.isnan(array).any() else "infinite numbers"
                layer = f"layer {self.layers[i]} ({self.names[i]!r})"
                raise FloatingPointError(f"∂C/∂b of {layer} holds {what} in backward {self._backward}")
