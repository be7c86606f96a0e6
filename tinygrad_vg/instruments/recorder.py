"""The recorder: ∂C/∂b of every layer while a network trains."""

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.nn import Module, Parameter
from tinygrad_vg.storage import load, replacing, save

_BLOCK_BYTES = 2**21  # gradients wait in blocks of about this size a layer, then become norms all at once


@dataclass(frozen=True)
class History:
    """What a recorder has seen: log10‖∂C/∂b‖ in decades, of every recorded step, layer (and member).

    Attributes:
        steps: (S,) the number of each recorded backward, from 0.
        layers: the layers' numbers from the input side, 1 first.
        names: the layers' names in the model.
        log10_norm: (S, L), for an ensemble of R members (S, L, R). NaN and inf stand for gradients that held
            them; NaN also for a layer that a backward did not reach.

    A history is indexed like its `log10_norm`: `history[-1]`, `history[:, :-1]` (without the output layer).
    """

    steps: Any
    layers: tuple[int, ...]
    names: tuple[str, ...]
    log10_norm: Any

    def __getitem__(self, index: Any) -> "History":
        index = index if isinstance(index, tuple) else (index,)
        # An integer would drop its axis; as a slice of length 1 it keeps a history a history.
        cuts = [slice(i, i + 1 or None) if isinstance(i, int) else i for i in index]
        if not all(isinstance(cut, slice) for cut in cuts) or len(cuts) > np.ndim(self.log10_norm):
            raise TypeError(f"a history is indexed by integers and slices of (step, layer, member), not {index!r}")
        steps, layers = [*cuts, slice(None), slice(None)][:2]
        return History(self.steps[steps], self.layers[layers], self.names[layers], self.log10_norm[tuple(cuts)])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row for each step, layer and member: step, layer, name, member, log10_norm."""
        norms = self.log10_norm if self.log10_norm.ndim == 3 else self.log10_norm[..., None]
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["step", "layer", "name", "member", "log10_norm"])
            for (s, i, member), norm in np.ndenumerate(norms):
                rows.writerow([self.steps[s], self.layers[i], self.names[i], member, repr(float(norm))])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz` file that `History.load` reads back."""
        save(vars(self), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The history that `save` has written to `path`."""
        arrays = load(path)
        if arrays.keys() != cls.__dataclass_fields__.keys():
            raise ValueError(f"{os.fspath(path)} holds {sorted(arrays)}, not a history")
        layers, names = tuple(arrays["layers"].tolist()), tuple(arrays["names"].tolist())
        return cls(arrays["steps"], layers, names, arrays["log10_norm"])


class GradientRecorder:
    """Records ∂C/∂b of every layer of a model in every backward inside its `with` block.

    It listens on the biases themselves, so what it records is what the optimizer gets, bit for bit, and the
    training goes on bit for bit as without it. A step is one backward: a new one begins when a layer reports
    for the second time. Layers are the modules with a `bias`, numbered in the order of `model.named_modules()`.

    Args:
        model: a network, or an ensemble of networks (`nn.stack`).
        every: record the backwards number 0, every, 2·every ...

    Raises:
        ValueError: if no module has a bias that requires gradients, or `every` is not a positive integer.

    >>> import numpy as np, tinygrad_vg as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(4, 1, rng=1))
    >>> with GradientRecorder(net) as recorder:
    ...     tg.nn.MSELoss()(net(np.ones((5, 3))), np.zeros((5, 1))).backward()
    >>> recorder.history.layers, recorder.history.log10_norm.shape
    ((1, 2), (1, 2))
    >>> bool(recorder.history.log10_norm[0, 1] == log10_norm(net[2].bias.grad))
    True
    """

    def __init__(self, model: Module, every: int = 1) -> None:
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every counts backwards, 1 or more, not {every!r}")
        biased = [(name, bias) for name, module in model.named_modules() if (bias := bias_of(module)) is not None]
        if not biased:
            raise ValueError(f"{type(model).__name__} has no layer with a bias that requires gradients")
        self.every = every
        self.names = tuple(name for name, _ in biased)
        self.biases = tuple(bias for _, bias in biased)
        widest = max(bias.data.nbytes for bias in self.biases)
        self._rows = max(1, min(256, _BLOCK_BYTES // max(1, widest)))
        self._blocks = [np.full((self._rows, *bias.shape), np.nan, bias.dtype) for bias in self.biases]
        self._reported = [True] * len(biased)  # so that the first report begins a step
        self._step = -1  # the number of the backward under way
        self._kept = False  # whether it is one of those to record
        self._waiting: list[int] = []  # the steps whose gradients stand in the blocks
        self._steps: list[int] = []
        self._norms: list[Any] = []

    def __enter__(self) -> Self:
        self._handles = [bias.register_hook(self._listener(i)) for i, bias in enumerate(self.biases)]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _listener(self, i: int) -> Callable[[Any], None]:
        block, reported, waiting = self._blocks[i], self._reported, self._waiting

        def listen(gradient: Any) -> None:
            if reported[i]:
                self._begin_step()
            reported[i] = True
            if self._kept:
                block[len(waiting) - 1] = gradient if isinstance(gradient, np.ndarray) else gradient.data

        return listen

    def _begin_step(self) -> None:
        self._step += 1
        self._kept = self._step % self.every == 0
        if self._kept:
            if len(self._waiting) == self._rows:
                self._settle()
            self._waiting.append(self._step)
        self._reported[:] = [False] * len(self._reported)

    def _settle(self) -> None:
        """Turn the waiting gradients into norms."""
        n = len(self._waiting)
        self._norms.append(np.stack([log10_norm(block[:n], axis=-1) for block in self._blocks], axis=1))
        self._steps += self._waiting
        self._waiting.clear()
        for block in self._blocks:
            block[:n] = np.nan
        self._reported[:] = [True] * len(self._reported)  # the next report begins a step

    @property
    def history(self) -> History:
        """Everything recorded so far."""
        if self._waiting:
            self._settle()
        layers = tuple(range(1, len(self.names) + 1))
        members = self.biases[0].shape[:-1]
        norms = np.concatenate(self._norms) if self._norms else np.empty((0, len(layers), *members))
        return History(np.array(self._steps, int), layers, self.names, norms)


def bias_of(module: Module) -> Parameter | None:
    """The module's own bias, if it has one that is trained."""
    bias = vars(module).get("bias")
    return bias if isinstance(bias, Parameter) and bias.requires_grad else None
