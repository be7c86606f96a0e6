"""State: what a part of a trial has reached after some epochs, in memory and in a file.

A checkpoint and a finished part are files of the same form; the finished part has all epochs.
"""

import json
import platform
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np

import tinygrad_vg
from tinygrad_vg.instruments.history import History, join
from tinygrad_vg.storage import load, save
from tinygrad_vg.study.trial import Trial


@dataclass(frozen=True, eq=False)
class State:
    """A part of a trial after E epochs, with R members.

    Attributes:
        accuracy: (E, R) the share of validation images that are classified correctly, after each epoch.
        cost: (E, R) the mean cost of the validation images.
        history: the recorded gradients, whose steps count through all epochs.
        weights: `state_dict()` of the ensemble.
        optimizer: `state_dict()` of the optimizer.
        versions: what has trained it: versions of tinygrad_vg, NumPy, Numba and Python; several if they have changed.
    """

    accuracy: Any
    cost: Any
    history: History
    weights: dict[str, Any]
    optimizer: dict[str, Any]
    versions: tuple[dict[str, str | None], ...]

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.accuracy)

    def save(self, path: Path, trial: Trial, number: int) -> None:
        """Write an `.npz` file, which `load` reads.

        Raises:
            OSError: if the file cannot be written.
        """
        arrays: dict[str, Any] = {
            "settings": np.array(json.dumps(trial.settings)),
            "part": np.array(number),
            "versions": np.array(json.dumps(self.versions)),
            "accuracy": self.accuracy,
            "cost": self.cost,
            "groups": np.array(json.dumps(self.optimizer["param_groups"])),
        }
        arrays |= {f"history.{name}": array for name, array in self.history.arrays().items()}
        arrays |= {f"weights.{name}": array for name, array in self.weights.items()}
        for i, state in self.optimizer["state"].items():
            arrays |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        save(arrays, path)

    @classmethod
    def load(cls, path: Path, trial: Trial, number: int) -> Self:
        """Read a file that `save` has written for this part of the trial.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is damaged, or belongs to another trial or part.
        """
        arrays = load(path)
        try:
            if json.loads(str(arrays["settings"])) != trial.settings or int(arrays["part"]) != number:
                raise ValueError(f"it belongs to another trial, {arrays['settings']}, or to another part")
            state: dict[int, dict[str, Any]] = {}
            for name, value in _under("optimizer.", arrays).items():
                i, _, own = name.partition(".")
                state.setdefault(int(i), {})[own] = value
            return cls(
                accuracy=arrays["accuracy"],
                cost=arrays["cost"],
                history=_history(_under("history.", arrays)),
                weights=_under("weights.", arrays),
                optimizer={"state": state, "param_groups": json.loads(str(arrays["groups"]))},
                versions=tuple(json.loads(str(arrays["versions"]))),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is not part {number} of the trial {trial.label}: {error}") from error


def _under(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _history(arrays: dict[str, Any]) -> History:
    first = arrays.pop("first_nonfinite", None)
    layers, names = tuple(arrays.pop("layers").tolist()), tuple(arrays.pop("names").tolist())
    return History(layers=layers, names=names, first_nonfinite=None if first is None else int(first), **arrays)


def after(histories: list[History]) -> History:
    """One history of several that follow each other, whose steps count on."""
    first = [history.first_nonfinite for history in histories if history.first_nonfinite is not None]
    return replace(join(histories), first_nonfinite=min(first, default=None))


def shifted(history: History, steps: int) -> History:
    """The history with its steps counted from `steps`."""
    first = None if history.first_nonfinite is None else history.first_nonfinite + steps
    return replace(history, steps=history.steps + steps, first_nonfinite=first)


def beside(histories: list[History]) -> History:
    """One history of the members of several parts, of the steps that all of them have.

    A part keeps further steps before its first NaN or inf; other parts need not have those.
    """
    common = histories[0].steps
    for history in histories[1:]:
        common = np.intersect1d(common, history.steps)
    cut = [history.rows(np.searchsorted(history.steps, common)) for history in histories]
    first = [history.first_nonfinite for history in histories if history.first_nonfinite is not None]
    norms = np.concatenate([history.log10_norm for history in cut], axis=2)
    return History(common, cut[0].layers, cut[0].names, norms, first_nonfinite=min(first, default=None))


def versions() -> dict[str, str | None]:
    """The versions that may change the bits of a result."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = None
    return {"tinygrad_vg": tinygrad_vg.__version__, "numpy": np.__version__, "numba": numba,
            "python": platform.python_version()}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Result:
    """A finished trial: its parts, joined along their members. E epochs, R members, L layers, S recorded steps.

    Attributes:
        trial: its settings; member i has the seed `trial.seeds[i]`.
        accuracy: (E, R) the share of validation images that are classified correctly, after each epoch.
        cost: (E, R) the mean cost of the validation images, after each epoch.
        history: the recorded gradients, (S, L, R), whose steps count through all epochs. Of the steps that are kept
            beside a first NaN or inf it has only those that all parts have kept.
        weights: `state_dict()` of the ensemble of all members; `unstack` takes a member of it.
        versions: the versions of tinygrad_vg, NumPy, Numba and Python that have trained it.

    >>> import tempfile, tinygrad_vg as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     study = tg.study.Study(tg.study.Trial((784, 5, 10), images=100, epochs=3, seeds=(0, 1)), folder)
    ...     _ = study.run(1, progress=False)
    ...     result = study.result(study.trials[0])
    >>> result.accuracy.shape, result.weights["0.weight"].shape
    ((3, 2), (2, 5, 784))
    """

    trial: Trial
    accuracy: Any
    cost: Any
    history: History
    weights: dict[str, Any]
    versions: tuple[dict[str, str | None], ...]

    def __repr__(self) -> str:
        epochs, members = self.accuracy.shape
        return f"Result({self.trial.label!r}, epochs={epochs}, members={members})"


def joined(trial: Trial, parts: list[State]) -> Result:
    """The parts of a trial, joined, up to the epoch that all of them have."""
    epochs = min(part.epochs for part in parts)
    distinct = {json.dumps(each): each for part in parts for each in part.versions}
    return Result(
        trial,
        np.concatenate([part.accuracy[:epochs] for part in parts], axis=1),
        np.concatenate([part.cost[:epochs] for part in parts], axis=1),
        beside([part.history for part in parts]),
        {name: np.concatenate([part.weights[name] for part in parts]) for name in parts[0].weights},
        tuple(distinct.values()),
    )
