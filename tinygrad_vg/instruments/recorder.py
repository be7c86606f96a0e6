"""The recorder: ∂C/∂b of every layer while a network trains."""

import math
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from tinygrad_vg.engine import ExtendedArray, HookHandle, Tensor, Walk, listen
from tinygrad_vg.instruments.history import History, positions
from tinygrad_vg.instruments.magnitude import array_of, log10_norm
from tinygrad_vg.instruments.retention import FRAMES, Kept, wanted
from tinygrad_vg.instruments.statistics import Statistics
from tinygrad_vg.nn import Linear, Module, Parameter, member_axis, members_of

_BLOCK_BYTES = 2**21  # gradients wait in blocks of about this size a layer, then become norms all at once


class GradientRecorder:
    """Records ∂C/∂b of every layer of a model in every backward inside its `with` block.

    It reads the gradients of the biases themselves, so what it records is what the optimizer gets, bit for bit, and
    the training goes on bit for bit as without it. A Linear without a bias is heard at its output: recorded is the
    gradient that a bias would have, ∂C/∂z summed over the batch and over the layer's uses. A step is one backward that
    reaches a layer. Layers are the modules with a `bias`, and the Linears without one, numbered in the order of
    `model.named_modules()`. The block may be entered again; steps are then counted on.

    Args:
        model: a network, or an ensemble of networks (`nn.stack`).
        every: record the backwards number 0, every, 2·every ...
        layers: the layers to record, by number (from the input side, 1 first) or by name; all if None.
        values: keep the vectors ∂C/∂b themselves too: `history.values`.
        statistics: measure at each recorded step what else the hooks of a layer can see, see below.
        on_nonfinite: "record" keeps NaN and inf as such; "raise" checks the gradient of every step, recorded or not,
            and stops the backward of the first that holds one.
        max_steps: how many steps to keep. When there are more, every second one is dropped and `every` doubles, so
            that those kept are always evenly spaced and a run may be of any length. None keeps all.

    The steps around the first NaN or inf are kept in addition (`History.first_nonfinite`); at those that `every`
    leaves out, `statistics` were not measured and are NaN. With `max_steps=10_000` the norms of 5 layers are 0.4 MB,
    and their values 4 to 8 bytes a neuron and step; an ensemble of R members takes R times that.

    The statistics, for each layer:

    * `log10_weight_norm`, log10‖∂C/∂W‖ of its `weight`.
    * `log10_rms` and `coherence`, from the gradient ∂C/∂z (B, out) of the layer's output. Its rows are summed in
      ∂C/∂b. That sum is taken as the mean over the samples of their δ, as it is for a cost averaged over the batch:
      δ of a sample is B times its row. For a cost summed over the batch, rms ‖δ‖ so is B times that of the samples'
      own costs; the coherence ‖mean δ‖ / rms ‖δ‖ is the same number. B counts all samples, also of further axes. The
      layer must add its bias last, as Linear does. If it is used several times in one backward, a sample's δ is the
      sum over the uses; it is not measured where their batches differ in size.
    * `saturation`, of the Sigmoid, Tanh or ReLU module that is applied to the layer's output: the share of tanh's
      outputs with |y| > 0.97 (the measure of Karpathy's makemore lectures), where the slope is below 6 % of its
      largest; of the sigmoid's with |2y − 1| > 0.97, which is the same share of the slope; of ReLU's zeros.
    * `log10_update`, log10(‖ΔW‖ / ‖W‖) of the layer's `weight` from this backward until the next one begins, or the
      block ends. Karpathy looks at the same ratio, of standard deviations, and wants about −3. Without a step of the
      optimizer in between it is −inf, and NaN until it is known.

    Statistics are measured on the forwards since the last backward.

    Raises:
        ValueError: if there is no layer whose parameters require gradients, a layer does not exist, or an argument is
            not one of those above.
        FloatingPointError: in the block, with `on_nonfinite="raise"`: it names the layer (the first on the way back)
            and the step. The history has that step.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(4, 1, rng=1))
    >>> with GradientRecorder(net, statistics=True) as recorder:
    ...     tg.nn.MSELoss()(net(np.ones((5, 3))), np.zeros((5, 1))).backward()
    >>> recorder.history.layers, recorder.history.log10_norm.shape
    ((1, 2), (1, 2))
    >>> bool(recorder.history.log10_norm[0, 1] == log10_norm(net[2].bias.grad))
    True
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
        max_steps: int | None = 10_000,
    ) -> None:
        _check(every, max_steps, on_nonfinite)
        found = [(name, module) for name, module in model.named_modules() if is_layer(module)]
        if not found:
            raise ValueError(f"{type(model).__name__} has no layer with a bias, or Linear, that requires gradients")
        numbers = range(1, len(found) + 1)
        where = positions(numbers if layers is None else layers, numbers, [name for name, _ in found])
        if not where:
            raise ValueError(f"layers chooses no layer: {layers!r}")
        self.layers = tuple(numbers[i] for i in where)
        self.names, self._modules = zip(*(found[i] for i in where), strict=True)
        self.biases = tuple(bias_of(module) for module in self._modules)
        self._members = members_of(self._modules[0])
        self._values = values
        self._raises = on_nonfinite == "raise"
        self._max_steps = max_steps
        self._make_blocks()
        self._statistics = Statistics(model, self._modules, self._rows, self._members) if statistics else None
        self._handles: list[HookHandle] = []
        self._outputs: list[tuple[int, Any]] = []  # layers without a bias, with weak references to what they put out
        self._step = -1  # the number of the last backward
        self._row: int | None = None  # where it stands in the blocks, if it does
        self._waiting: list[int] = []  # the steps whose gradients stand in the blocks
        empty, _ = self._measured(every)
        self._kept = Kept((empty,), 0, empty, every)

    def _make_blocks(self) -> None:
        forms = [bias_form(module) for module in self._modules]
        widest = max(math.prod(shape) * dtype.itemsize for shape, dtype in forms)
        self._rows = max(1, min(256, _BLOCK_BYTES // max(1, widest)))
        self._blocks = [np.full((self._rows, *shape), np.nan, dtype) for shape, dtype in forms]
        self._exponents = np.zeros((self._rows, len(forms)), int)  # of two, beside the blocks
        self._reached = np.ones((self._rows, len(forms)), bool)  # False: no gradient came here, so NaN means absent

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("this recorder is recording already; a model may have several recorders")
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
        self._end_step()

    @property
    def every(self) -> int:
        """How far apart the kept steps are now."""
        return self._kept.every

    @property
    def history(self) -> History:
        """Everything recorded so far. It may be read at any time."""
        return self._kept.and_then(*self._measured(self.every), self._max_steps).history

    def _on_output(self, i: int, module: Module, args: Any, z: Any) -> None:
        """A layer without a bias was called."""
        if isinstance(z, Tensor) and z.requires_grad:
            self._outputs = [(j, ref) for j, ref in self._outputs if ref() is not None]
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
                total = summed(walk.gradients[z], self._members)
                gradients[i] = gradients[i] + total if i in gradients else total
        if not gradients:
            return  # a backward through something else
        self._begin_step()
        if self._row is not None:
            if len(gradients) < len(self.biases):
                self._reached[self._row] = [i in gradients for i in range(len(self.biases))]
            for i, gradient in gradients.items():
                self._blocks[i][self._row] = array_of(gradient)
                if isinstance(gradient, ExtendedArray):
                    self._exponents[self._row, i] = gradient.exponent
        if self._statistics is not None:
            self._statistics.end_backward(walk, self._row if self._is_due else None)
        if self._raises:
            self._raise_if_not_finite(gradients)

    def _begin_step(self) -> None:
        self._end_step()
        if len(self._waiting) == self._rows:
            self._settle()
        self._step += 1
        self._is_due = self._step % self._kept.every == 0
        self._row = None
        # Until something is not finite every step has a row, for it might be one of the last before that.
        if self._is_due or self._kept.first_nonfinite is None:
            self._row = len(self._waiting)
            self._waiting.append(self._step)

    def _end_step(self) -> None:
        """The next step begins, or the block ends: what the optimizer has done is known now."""
        if self._statistics is not None and self._row is not None and self._waiting:
            self._statistics.end_step(self._row)

    def _raise_if_not_finite(self, gradients: dict[int, Any]) -> None:
        """Name the layer whose gradient was the first on the way back."""
        for i in sorted(gradients, reverse=True):
            if not np.isfinite(array := array_of(gradients[i])).all():
                what = "NaN" if np.isnan(array).any() else "infinite numbers"
                layer = f"layer {self.layers[i]} ({self.names[i]!r})"
                raise FloatingPointError(f"∂C/∂b of {layer} holds {what} at step {self._step}")

    def _settle(self) -> None:
        """Turn the waiting gradients into a part of the history, and make room."""
        self._kept = self._kept.and_then(*self._measured(self.every), self._max_steps)
        self._waiting.clear()
        for block in self._blocks:
            block.fill(np.nan)
        self._exponents.fill(0)
        self._reached.fill(True)
        if self._statistics is not None:
            self._statistics.clear()

    def _measured(self, every: int) -> tuple[History, int | None]:
        """The history of the steps in the blocks that may be kept, and the first of them that is not finite."""
        n, steps = len(self._waiting), np.array(self._waiting, int)
        reached = self._reached[:n]
        unit_axes = tuple(range(1, self._blocks[0].ndim))
        finite = np.stack([np.isfinite(block[:n]).all(axis=unit_axes) for block in self._blocks], axis=1)
        lost = (~finite & reached).any(axis=1)
        first = int(steps[lost.argmax()]) if lost.any() else None

        rows = wanted(steps, every, first)
        rows[-FRAMES:] = True
        rows = np.flatnonzero(rows)
        blocks, exponents = [block[rows] for block in self._blocks], self._exponents[rows]
        norms = np.stack([log10_norm(block, axis=-1) for block in blocks], axis=1)
        norms += exponents.reshape(*exponents.shape, *[1] * len(self._members)) * math.log10(2)
        recorded = {} if self._statistics is None else self._statistics.measured(rows, norms)
        if self._values:
            if exponents.any():
                with np.errstate(over="ignore"):
                    blocks = [
                        np.ldexp(block, exponents[:, i].reshape(-1, *[1] * len(unit_axes)))
                        for i, block in enumerate(blocks)
                    ]
            recorded["values"] = tuple(blocks)
        return History(steps[rows], self.layers, self.names, norms, **recorded), first


def _check(every: Any, max_steps: Any, on_nonfinite: Any) -> None:
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"every counts backwards, 1 or more, not {every!r}")
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
        raise ValueError(f"max_steps counts steps, 1 or more, or is None, not {max_steps!r}")
    if on_nonfinite not in ("record", "raise"):
        raise ValueError(f'on_nonfinite is "record" or "raise", not {on_nonfinite!r}')


def bias_of(module: Module) -> Parameter | None:
    """The module's own bias, if it has one that is trained."""
    bias = vars(module).get("bias")
    return bias if isinstance(bias, Parameter) and bias.requires_grad else None


def is_layer(module: Module) -> bool:
    """Whether a module has a gradient to record: that of its bias, or of a Linear's output if it has none."""
    return bias_of(module) is not None or (isinstance(module, Linear) and module.bias is None)


def bias_form(module: Any) -> tuple[tuple[int, ...], Any]:
    """The shape and dtype of a layer's bias, or of the one that it could have."""
    bias = bias_of(module)
    if bias is not None:
        return bias.shape, bias.dtype
    return (*members_of(module), module.out_features), module.weight.dtype


def summed(delta: Any, members: tuple[int, ...]) -> Any:
    """∂C/∂z (..., B, out) summed over all samples: (out,); of an ensemble, (..., R, B, out): (R, out)."""
    last = len(delta.shape) - 1
    kept = (member_axis(last + 1), last) if members else (last,)
    axes = tuple(axis for axis in range(last + 1) if axis not in kept)
    if isinstance(delta, ExtendedArray):
        return ExtendedArray(delta.mantissa.sum(axis=axes), delta.exponent)
    return array_of(delta).sum(axis=axes)
