"""Trial: the settings of one training, with the seeds of its ensemble."""

import hashlib
import inspect
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, fields
from functools import cache, cached_property
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

from tinygrad_vg import nn, optim
from tinygrad_vg.nn import Activation, init

COSTS = {"BCEWithLogitsLoss": "batchmean", "CrossEntropyLoss": "mean"}  # with the reduction: a mean over samples
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Trial:
    """The settings of one training: a multilayer perceptron, its data, its optimizer, and the seeds of its ensemble.

    A trial is trained once for each seed. Seeds are trained together, `members_at_once` of them as one ensemble
    (`tg.nn.stack`); such a group is a part of the trial. Parts may be trained by different processes. The results of a
    part depend on nothing but the settings: they are the same bits in any process, of the same versions of Python,
    NumPy and Numba, on the same kind of processor, with one BLAS thread. Another `members_at_once` changes the results
    by rounding.

    In each epoch the training images are taken in the next order `rng.permutation(n)`, where `rng` is
    `np.random.default_rng(order_seed)`. All trials with the same data and the same `order_seed` see the same batches.

    Args:
        sizes: the numbers of inputs, of neurons of each layer, and of outputs: (784, 30, 10).
        activation: the name of an activation of `tg.nn`; names are taken in any case, "ReLU" or "relu".
        init: the name of an initializer of `tg.nn.init` without its underscore, for the weights. None: those of Linear.
        data: "mnist", or a directory with four IDX files named as MNIST's. It is kept as an absolute path.
        images: how many training images are used. None: all.
        validation_images: how many validation images are used. None: all, but not more than `images`.
        optimizer: the name of an optimizer of `tg.optim`.
        lr: the learning rate.
        momentum: for SGD and RMSprop.
        weight_decay: λ of λ/2n Σw² beside the mean cost, over n training images. It is for weights, not for biases.
        cost: "BCEWithLogitsLoss", Nielsen's cross-entropy of sigmoid outputs; or "CrossEntropyLoss", of a softmax.
            Either is a mean over the samples of a batch.
        batch: the number of samples in a batch.
        epochs: how many times all training images are used.
        seeds: the seed of each network.
        order_seed: the seed of the order of the images.
        every: the gradients of the steps 0, every, 2·every ... of each epoch are recorded.
        dtype: "float32" or "float64".
        members_at_once: how many seeds are trained together.

    Raises:
        TypeError: for a setting of another type.
        ValueError: for a setting out of its range, or a name that does not exist.

    >>> trial = Trial((784, 30, 10), lr=0.5, seeds=range(3), members_at_once=2)
    >>> trial.parts
    ((0, 1), (2,))
    >>> trial.label
    '784-30-10 Sigmoid, lr=0.5, members_at_once=2'
    >>> trial == Trial(**trial.settings)
    True
    """

    sizes: tuple[int, ...]
    _: KW_ONLY
    activation: str = "Sigmoid"
    init: str | None = None
    data: str = "mnist"
    images: int | None = None
    validation_images: int | None = None
    optimizer: str = "SGD"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    cost: str = "BCEWithLogitsLoss"
    batch: int = 10
    epochs: int = 30
    seeds: tuple[int, ...] = (0,)
    order_seed: int = 0
    every: int = 50
    dtype: str = "float32"
    members_at_once: int = 8

    def __post_init__(self) -> None:
        plain: dict[str, Any] = {name: _wholes(name, getattr(self, name)) for name in ("sizes", "seeds")}
        plain |= {name: _number(name, getattr(self, name)) for name in ("lr", "momentum", "weight_decay")}
        for name, least in {"batch": 1, "epochs": 1, "order_seed": 0, "every": 1, "members_at_once": 1}.items():
            plain[name] = _whole(name, getattr(self, name), least)
        for name in ("images", "validation_images"):
            plain[name] = None if getattr(self, name) is None else _whole(name, getattr(self, name), 1)
        for name, names in _choices().items():
            plain[name] = _name(name, getattr(self, name), names)
        plain["init"] = None if self.init is None else _name("init", self.init, _initializers())
        plain["data"] = self.data if self.data == "mnist" else os.path.abspath(self.data)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Raise ValueError for settings that do not go together."""
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(
                f"sizes has the inputs first and the outputs last, such as (784, 30, 10), not {self.sizes}"
            )
        if self.data == "mnist" and (self.sizes[0], self.sizes[-1]) != (784, 10):
            raise ValueError(
                f"MNIST has 784 pixels and 10 classes, and sizes is {self.sizes}: write (784, ..., 10), or name a "
                "directory with other data"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names each network once, such as range(4), not {self.seeds}")
        takes = inspect.signature(getattr(optim, self.optimizer)).parameters
        if self.momentum and "momentum" not in takes:
            raise ValueError(f"{self.optimizer} has no momentum, and momentum is {self.momentum}: leave it out")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, as JSON can hold them."""
        return {name: [*value] if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @cached_property
    def key(self) -> str:
        """A hash of all settings, 16 hexadecimal digits: the name of the trial's directory.

        >>> Trial((784, 30, 10)).key == Trial([784, 30, 10], lr=0.1).key
        True
        """
        text = json.dumps(self.settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """The seeds of each part."""
        step = self.members_at_once
        return tuple(self.seeds[i : i + step] for i in range(0, len(self.seeds), step))

    @property
    def label(self) -> str:
        """A short text: sizes, activation, and the settings that are not the default ones; the seeds are left out.

        `Study.label` also has the settings that tell the trials of a study apart.
        """
        return self.told(self._unusual)

    @property
    def _unusual(self) -> list[str]:
        """The names of the settings that are not the default ones, but for the seeds."""
        return [f.name for f in fields(self) if getattr(self, f.name) != f.default and f.name != "seeds"]

    def told(self, names: Iterable[str]) -> str:
        """A short text: sizes, activation, and the settings of these names.

        >>> Trial((784, 30, 10), seeds=range(4)).told(["lr", "epochs", "seeds"])
        '784-30-10 Sigmoid, lr=0.1, epochs=30, seeds 0 to 3'
        """
        values = {name: getattr(self, name) for name in names if name not in ("sizes", "activation")}
        texts = [f"seeds {span(value)}" if name == "seeds" else f"{name}={value}" for name, value in values.items()]
        return ", ".join([f"{'-'.join(map(str, self.sizes))} {self.activation}", *texts])

    def __reduce__(self) -> tuple[Any, ...]:
        return self._of, (self.settings,)

    @classmethod
    def _of(cls, settings: dict[str, Any]) -> Self:
        return cls(**settings)


def labels(trials: Sequence[Trial]) -> dict[str, str]:
    """The label of each trial, by its key; it names each setting in which the trials differ, also a default one.

    >>> trials = [Trial((784, 30, 10), lr=lr) for lr in (0.1, 0.5)]
    >>> [*labels(trials).values()]
    ['784-30-10 Sigmoid, lr=0.1', '784-30-10 Sigmoid, lr=0.5']
    """
    names = differing(trials)
    return {trial.key: label_beside(trial, names) for trial in trials}


def differing(trials: Sequence[Trial]) -> set[str]:
    """The names of the settings in which trials differ.

    >>> differing([Trial((784, 30, 10), lr=lr) for lr in (0.1, 0.5)])
    {'lr'}
    """
    first, names = trials[0].settings, set[str]()
    for trial in trials:
        names |= {name for name, value in trial.settings.items() if value != first[name]}
    return names


def label_beside(trial: Trial, differing: set[str]) -> str:
    """The label of a trial beside others, from which it differs in these settings.

    >>> label_beside(Trial((784, 30, 10)), {"lr"})
    '784-30-10 Sigmoid, lr=0.1'
    """
    return trial.told(f.name for f in fields(trial) if f.name in {*trial._unusual, *differing})


def span(seeds: Sequence[int]) -> str:
    """
    >>> span([0, 1, 2]), span([3]), span([1, 5])
    ('0 to 2', '3', '1, 5')
    """
    first, last = seeds[0], seeds[-1]
    if len(seeds) > 1 and tuple(seeds) == tuple(range(first, last + 1)):
        return f"{first} to {last}"
    return ", ".join(map(str, seeds))


@cache
def _choices() -> dict[str, list[str]]:
    """The names that a setting may have."""
    activations = [name for name, kind in vars(nn).items() if inspect.isclass(kind) and issubclass(kind, Activation)]
    optimizers = [name for name, kind in vars(optim).items() if inspect.isclass(kind) and kind is not optim.Optimizer]
    names = {"activation": [name for name in activations if name != "Activation"], "optimizer": optimizers}
    return names | {"cost": [*COSTS], "dtype": [*DTYPES]}


@cache
def _initializers() -> list[str]:
    """The initializers that sample, and so differ from seed to seed."""
    sampling = [name for name, value in vars(init).items() if name.endswith("_") and inspect.isfunction(value)]
    return [name[:-1] for name in sampling if "rng" in inspect.signature(getattr(init, name)).parameters]


def _name(setting: str, value: Any, names: list[str]) -> str:
    known = {name.lower(): name for name in names}
    if not isinstance(value, str) or value.lower() not in known:
        raise ValueError(f"{setting} is one of {', '.join(sorted(names))}, not {value!r}")
    return known[value.lower()]


def _whole(setting: str, value: Any, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{setting} is a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{setting} is a whole number from {least}, not {value}")
    return int(value)


def _wholes(setting: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
        raise TypeError(f"{setting} is a tuple of whole numbers, not {values!r}")
    return tuple(_whole(f"each of {setting}", value, 0) for value in values)


def _number(setting: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{setting} is a number, not {value!r}")
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{setting} is a number from 0, not {value}")
    return float(value)
