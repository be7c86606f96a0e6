"""The recorder: ∂C/∂b of every layer while a network trains."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

import numpy as np

from tinygrad_vg.engine import ExtendedArray, HookHandle
from tinygrad_vg.instruments.history import FRAMES, History, Kept, positions, wanted
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.instruments.statistics import Statistics, array_of
from tinygrad_vg.nn import Module, Parameter

_BLOCK_BYTES = 2**21  # gradients wait in blocks of about this size a layer, then become norms all at once


class GradientRecorder:
    """Records ∂C/∂b of every layer of a model in every backward inside its `with` block.

    It listens on the biases themselves, so what it records is what the optimizer gets, bit for bit, and the
    training goes on bit for bit as without it. A step is one backward: a new one begins when a layer reports
    for the second time. Layers are the modules with a `bias`, numbered in the order of `model.named_modules()`.
    The block may be entered again; steps are then counted on.

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
        ValueError: if no module has a bias that requires gradients, a layer does not exist, or an argument is not
            one of those above.
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
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every counts backwards, 1 or more, not {every!r}")
        if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
            raise ValueError(f"max_steps counts steps, 1 or more, or is None, not {max_steps!r}")
        if on_nonfinite not in ("record", "raise"):
            raise ValueError(f'on_nonfinite is "record" or "raise", not {on_nonfinite!r}')
        found = [(name, module, bias_of(module)) for name, module in model.named_modules()]
        biased = [(name, module, bias) for name, module, bias in found if bias is not None]
        if not biased:
            raise ValueError(f"{type(model).__name__} has no layer with a bias that requires gradients")
        numbers = range(1, len(biased) + 1)
        chosen = numbers if layers is None else layers
        where = positions(chosen, numbers, [name for name, _, _ in biased])
        if not where:
            raise ValueError(f"layers chooses no layer: {layers!r}")
        self.layers = tuple(numbers[i] for i in where)
        self.names, modules, self.biases = zip(*(biased[i] for i in where), strict=True)
        self._members = self.biases[0].shape[:-1]
        self._values = values
        self._raises = on_nonfinite == "raise"
        self._max_steps = max_steps

        widest = max(bias.data.nbytes for bias in self.biases)
        self._rows = max(1, min(256, _BLOCK_BYTES // max(1, widest)))
        self._blocks = [np.full((self._rows, *bias.shape), np.nan, bias.dtype) for bias in self.biases]
        self._exponents = np.zeros((self._rows, len(modules)), int)  # of two, beside the blocks
        self._reached = np.ones((self._rows, len(modules)), bool)  # NaN is no gradient where this is False
        self._statistics = Statistics(model, modules, self._rows, self._members) if statistics else None
        self._handles: list[HookHandle] = []
        self._step = -1  # the number of the backward under way
        self._due = self._heard = False  # whether it is one of those to record; whether it is in the blocks
        self._row = 0  # where it stands there
        self._reported = [True] * len(modules)  # so that the first report begins a step
        self._nothing = [False] * len(modules)
        self._waiting: list[int] = []  # the steps whose gradients stand in the blocks
        empty, _ = self._measured(every)
        self._kept = Kept((empty,), 0, empty, every)

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("this recorder is recording already; a model may have several recorders")
        self._handles = [bias.register_hook(self._listener(i)) for i, bias in enumerate(self.biases)]
        if self._statistics is not None:
            self._handles += self._statistics.register()
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._end_step()
        if self._statistics is not None:
            self._statistics.forget()

    @property
    def every(self) -> int:
        """How far apart the kept steps are now."""
        return self._kept.every

    @property
    def history(self) -> History:
        """Everything recorded so far. It may be read at any time."""
        return self._kept.and_then(*self._measured(self.every), self._max_steps).history

    def _listener(self, i: int) -> Callable[[Any], None]:
        block, reported, more = self._blocks[i], self._reported, self._statistics is not None or self._raises

        def listen(gradient: Any) -> None:
            if reported[i]:
                self._begin_step()
            reported[i] = True
            if self._heard:
                block[self._row] = gradient if type(gradient) is np.ndarray else self._array(gradient, i)
            if more:
                self._look_closer(i, gradient)

        return listen

    def _begin_step(self) -> None:
        if self._statistics is not None or False in self._reported:
            self._end_step()
        if len(self._waiting) == self._rows:
            self._settle()
        self._step += 1
        self._due = self._step % self._kept.every == 0
        # Until something is not finite every step is listened to, for it might be one of the last before that.
        self._heard = self._due or self._kept.first_nonfinite is None
        if self._heard:
            self._row = len(self._waiting)
            self._waiting.append(self._step)
        self._reported[:] = self._nothing

    def _array(self, gradient: Any, i: int) -> Any:
        """The array in a Tensor or an ExtendedArray, whose exponent is noted."""
        if isinstance(gradient, ExtendedArray):
            self._exponents[self._row, i] = gradient.exponent
        return array_of(gradient)

    def _look_closer(self, i: int, gradient: Any) -> None:
        """What only some recorders do when a layer has its gradient."""
        if self._statistics is not None:
            self._statistics.end_layer(i, self._row if self._due else None)
        if self._raises and not np.isfinite(array := array_of(gradient)).all():
            what = "NaN" if np.isnan(array).any() else "infinite numbers"
            layer = f"layer {self.layers[i]} ({self.names[i]!r})"
            raise FloatingPointError(f"∂C/∂b of {layer} holds {what} at step {self._step}")

    def _end_step(self) -> None:
        """What is known only when the next step begins."""
        if self._heard and self._waiting:
            if False in self._reported:
                self._reached[self._row] = self._reported
            if self._statistics is not None:
                self._statistics.end_step(self._row)

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
        reached = self._reached[:n].copy()
        if n and self._heard:
            reached[-1] = self._reported  # the step may be under way
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


def bias_of(module: Module) -> Parameter | None:
    """The module's own bias, if it has one that is trained."""
    bias = vars(module).get("bias")
    return bias if isinstance(bias, Parameter) and bias.requires_grad else None
