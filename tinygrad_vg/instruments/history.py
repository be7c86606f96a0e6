"""The history: the numbers that a recorder has recorded, which can be sliced, saved and exported."""

import csv
import importlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from tinygrad_vg.instruments.history_files import QUANTITIES, misfit, plain
from tinygrad_vg.instruments.history_table import table_of
from tinygrad_vg.instruments.spikes import Spike, spikes_in
from tinygrad_vg.storage import load, replacing, save

# The arrays [step, layer(, member)].


@dataclass(frozen=True, eq=False, repr=False)
class History:
    """The numbers that a recorder has recorded, for each backward and layer, and for each member of an ensemble.

    A step of a history is one recorded backward. With S steps, L layers and R members the arrays have the shape (S, L),
    or (S, L, R) for an ensemble. Magnitudes are in decades (log10), in which the norm 0 is −inf. NaN and inf mark
    gradients that held NaN or inf. NaN also marks a number that could not be measured, because the backward did not
    reach the layer or the layer has no such quantity. A quantity that the recorder was not asked for is None.

    Attributes:
        steps: (S,) the number of each recorded backward, from 0, in rising order.
        layers: the numbers of the layers from the input side, 1 first.
        names: the names of the layers in the model.
        log10_norm: log10‖∂C/∂b‖.
        log10_weight_norm: with `statistics=True`: log10‖∂C/∂W‖.
        log10_rms: with `statistics=True`: log10 of the root mean square of ‖δ‖ over the samples of the batch, where
            ∂C/∂b is the mean of the samples' δ. Adding log10 of `coherence` gives `log10_norm`.
        coherence: with `statistics=True`: ‖mean δ‖ / rms ‖δ‖, from 0 (the samples cancel) to 1 (they agree).
        saturation: with `statistics=True`: the share of (sample, neuron) pairs whose activation is saturated.
        log10_update: with `statistics=True`: log10(‖ΔW‖ / ‖W‖), where ΔW is the change of the weights between this
            backward and the next.
        values: with `values=True`: ∂C/∂b itself, an array (S, out) or (S, R, out) for each layer.
        first_nonfinite: the number of the first backward that gave NaN or inf; None if there was none. This backward
            and up to 10 backwards just before it always have a row each:

                at = np.searchsorted(history.steps, history.first_nonfinite)
                history[max(0, at - 10) : at + 1]

    A history is indexed like its `log10_norm`, by integers and slices of (step, layer, member). The result is a
    history: `history[-1]`, `history[:, :-1]` (without the output layer), `history[:, :, 0]` (the first member). An
    integer keeps its axis, with length 1. `history.select(1, "4")` selects layers by number or name.

    >>> history = History(np.arange(3), (1, 2), ("0", "2"), np.array([[-2.0, -1.0], [-2.5, -1.2], [-3.0, -1.5]]))
    >>> history[-1, :-1].log10_norm, history.select("2").layers
    (array([[-3.]]), (2,))
    """

    steps: Any
    layers: tuple[int, ...]
    names: tuple[str, ...]
    log10_norm: Any
    log10_rms: Any = None
    coherence: Any = None
    saturation: Any = None
    log10_update: Any = None
    values: tuple[Any, ...] | None = None
    first_nonfinite: int | None = None
    log10_weight_norm: Any = None

    def __repr__(self) -> str:
        return str(table_of(self))

    def _repr_html_(self) -> str:
        return table_of(self)._repr_html_()

    def __getitem__(self, index: Any) -> "History":
        index = index if isinstance(index, tuple) else (index,)
        lengths = self.log10_norm.shape
        if len(index) > len(lengths) or not all(isinstance(i, slice | int | np.integer) for i in index):
            axes = "(step, layer, member)" if len(lengths) == 3 else "(step, layer)"
            raise TypeError(f"a history is indexed by integers and slices of {axes}, not {index!r}")
        cuts = []
        for i, n, axis in zip(index, lengths, ("step", "layer", "member"), strict=False):
            if not isinstance(i, slice):
                if not -n <= i < n:
                    raise IndexError(f"there is no {axis} at position {i}: the history has {n}")
                i = slice(int(i) % n, int(i) % n + 1)  # an integer would drop its axis
            cuts.append(i)
        steps, layers, *members = [*cuts, slice(None), slice(None)][: max(2, len(cuts))]
        return self._cut(steps, [*range(len(self.layers))[layers]], *members)

    def select(self, *layers: int | str) -> "History":
        """The history of these layers, in the model's order.

        Args:
            layers: numbers, counted from the input side, 1 first, or names.

        Raises:
            ValueError: if there is no such layer.

        >>> history = History(np.arange(1), (1, 2), ("0", "2"), np.array([[-2.0, -1.0]]))
        >>> history.select("2").log10_norm
        array([[-1.]])
        """
        return self._cut(slice(None), positions(layers, self.layers, self.names))

    def rows(self, which: Any) -> "History":
        """The history of some rows, a copy; `which` is an array of positions or of bools.

        >>> history = History(np.arange(3), (1,), ("0",), np.array([[-2.0], [-2.5], [-3.0]]))
        >>> history.rows(history.log10_norm[:, 0] < -2).steps
        array([1, 2])
        """
        return self._cut(np.asarray(which), slice(None))

    def spikes(self) -> tuple[Spike, ...]:
        """Sudden rises of ‖∂C/∂b‖: by more than a decade over the median of the ten recorded steps before, and by more
        than five times their spread. Each `Spike` says which layer rose first.

        >>> levels = np.zeros((30, 3))
        >>> levels[20, 1], levels[21] = 2.0, 3.0
        >>> history = History(np.arange(30), (1, 2, 3), ("0", "2", "4"), levels)
        >>> [(spike.step, spike.layer, spike.decades, spike.layers) for spike in history.spikes()]
        [(20, 2, 2.0, (2, 1, 3))]
        """
        return spikes_in(self.steps, self.layers, self.log10_norm)

    def _cut(self, steps: Any, layers: Any, members: slice = slice(None)) -> "History":
        rest = (members,) * (self.log10_norm.ndim - 2)
        where = range(len(self.layers))[layers] if isinstance(layers, slice) else layers
        cut = {name: array[steps][(slice(None), layers, *rest)] for name, array in self._recorded().items()}
        if self.values is not None:
            cut["values"] = tuple(self.values[i][steps][(slice(None), *rest)] for i in where)
        numbers, names = tuple(self.layers[i] for i in where), tuple(self.names[i] for i in where)
        return History(self.steps[steps], numbers, names, first_nonfinite=self.first_nonfinite, **cut)

    def _recorded(self) -> dict[str, Any]:
        """The arrays [step, layer(, member)] that were recorded, by name."""
        arrays = {name: getattr(self, name) for name in QUANTITIES}
        return {name: array for name, array in arrays.items() if array is not None}

    def arrays(self, prefix: str = "") -> dict[str, Any]:
        """All recorded numbers as named arrays for `tg.save`. The `values` are named "values_1", "values_2" ...

        Each name begins with the prefix. With prefixes, one file holds several histories, and `load` reads each.

        >>> sorted(History(np.arange(1), (1,), ("0",), np.zeros((1, 1))).arrays(prefix="start_"))
        ['start_layers', 'start_log10_norm', 'start_names', 'start_steps']
        """
        arrays = {"steps": self.steps, "layers": np.array(self.layers, int), "names": np.array(self.names, str)}
        arrays |= self._recorded()
        if self.values is not None:
            arrays |= {f"values_{layer}": array for layer, array in zip(self.layers, self.values, strict=True)}
        if self.first_nonfinite is not None:
            arrays["first_nonfinite"] = np.array(self.first_nonfinite)
        return {prefix + name: array for name, array in arrays.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz` file, without pickle, which `History.load` reads.

        Raises:
            ValueError: if the path does not end in .npz.
            OSError: if the file cannot be written.

        >>> import tempfile
        >>> history = History(np.arange(1), (1,), ("0",), np.array([[-2.0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     history.save(f"{folder}/history.npz")
        ...     History.load(f"{folder}/history.npz").layers
        (1,)
        """
        save(self.arrays(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], prefix: str = "") -> Self:
        """Read a history that `save` has written to `path`, or one of several that `arrays(prefix)` has named.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it does not hold a history with this prefix, or the arrays do not fit together. The message
                has the prefixes that there are.

        `History.save` has an example.
        """
        arrays = load(path)
        prefixes = sorted(name.removesuffix("log10_norm") for name in arrays if name.endswith("log10_norm"))
        if prefix not in prefixes and any(prefixes):
            raise ValueError(f"{os.fspath(path)} holds no history with the prefix {prefix!r}, but several with others: "
                             f"History.load(path, prefix={prefixes[-1]!r}); the prefixes are {prefixes}")  # fmt: skip
        longer = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)  # other histories
        arrays = {name.removeprefix(prefix): arrays[name] for name in arrays
                  if name.startswith(prefix) and not name.startswith(longer)}  # fmt: skip
        missing = {"steps", "layers", "names", "log10_norm"} - arrays.keys()
        layers = () if missing else tuple(arrays["layers"].ravel().tolist())
        values = {f"values_{layer}": None for layer in layers}
        if missing or arrays.keys() - {field.name for field in fields(cls)} - values.keys():
            raise ValueError(f"{os.fspath(path)} holds {sorted(arrays)}, not a history")
        if reason := misfit(arrays, [name for name in values if name in arrays], len(values)):
            raise ValueError(f"{os.fspath(path)} is not a history: its arrays do not fit together: {reason}")
        arrays |= {"layers": layers, "names": tuple(arrays["names"].tolist())}
        if values.keys() & arrays.keys():
            arrays["values"] = tuple(arrays.pop(name) for name in values)
        if "first_nonfinite" in arrays:
            arrays["first_nonfinite"] = int(arrays["first_nonfinite"])
        return cls(**arrays)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file with a row for each step, layer and member.

        The columns are step, layer, name, member and each recorded quantity, except `values`. All digits are written;
        numbers that are not finite are written as nan, inf and -inf.

        Raises:
            OSError: if the file cannot be written.

        >>> import pathlib, tempfile
        >>> history = History(np.arange(1), (1,), ("0",), np.array([[-2.0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     history.to_csv(f"{folder}/history.csv")
        ...     pathlib.Path(folder, "history.csv").read_text(encoding="utf-8").split()
        ['step,layer,name,member,log10_norm', '0,1,0,0,-2.0']
        """
        table = self._table()
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(table)
            rows.writerows(zip(*table.values(), strict=True))

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with the rows and columns of `to_csv`.

        Raises:
            ModuleNotFoundError: if pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("to_dataframe needs pandas: pip install pandas") from error
        return pandas.DataFrame(self._table())

    def _table(self) -> dict[str, list[Any]]:
        """The columns of `to_csv`, by name."""
        steps, layers, members = np.indices((*self.log10_norm.shape, 1)[:3]).reshape(3, -1)
        columns = {
            "step": self.steps[steps].tolist(),
            "layer": [self.layers[i] for i in layers],
            "name": [self.names[i] for i in layers],
            "member": members.tolist(),
        }
        return columns | {name: array.ravel().tolist() for name, array in self._recorded().items()}

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON object with a nested list for each recorded attribute.

        JSON has no numbers for NaN and ±inf. They are written as the strings "NaN", "Infinity" and "-Infinity", which
        Python's `float` and JavaScript's `Number` convert back.

        Raises:
            OSError: if the file cannot be written.

        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     History(np.arange(1), (1,), ("0",), np.array([[-2.0]])).to_json(f"{folder}/history.json")
        ...     print(pathlib.Path(folder, "history.json").read_text(encoding="utf-8"), end="")
        {"steps": [0], "layers": [1], "names": ["0"], "log10_norm": [[-2.0]]}
        """
        recorded = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: plain(value) for name, value in recorded.items() if value is not None}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(lists, allow_nan=False) + "\n", encoding="utf-8")


def join(parts: Sequence[History]) -> History:
    """One history with the rows of all parts, in the order of their steps. The parts must have the same layers."""
    order = np.argsort(np.concatenate([part.steps for part in parts]), kind="stable")
    numbers: dict[str, Any] = {
        name: np.concatenate([part._recorded()[name] for part in parts])[order] for name in parts[0]._recorded()
    }
    if parts[0].values is not None:
        columns = zip(*[part.values or () for part in parts], strict=True)
        numbers["values"] = tuple(np.concatenate(column)[order] for column in columns)
    steps = np.concatenate([part.steps for part in parts])[order]
    return History(steps, parts[0].layers, parts[0].names, **numbers)


def positions(chosen: int | str | Iterable[int | str], numbers: Sequence[int], names: Sequence[str]) -> list[int]:
    """The positions of the chosen layers among all layers, which have these numbers and names; rising.

    Raises:
        ValueError: if there is no such layer.
    """
    chosen = [chosen] if isinstance(chosen, int | str) else [*chosen]
    for layer in chosen:
        if layer not in (names if isinstance(layer, str) else numbers):
            known = ", ".join(f"{number} ({name!r})" for number, name in zip(numbers, names, strict=True))
            raise ValueError(f"there is no layer {layer!r}; layers are chosen by number or name: {known}")
    return [i for i in range(len(numbers)) if numbers[i] in chosen or names[i] in chosen]
