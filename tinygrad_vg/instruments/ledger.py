"""The ledger: what each layer's weights and each activation take from the gradient on its way back, in decades.

`accounts.py` has the formula of a step; `signals.py` hears what passes the layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.instruments.accounts import Account, Row, accounts_of, rows_of, taken
from tinygrad_vg.instruments.ledger_table import LedgerTable
from tinygrad_vg.instruments.listener import Listener
from tinygrad_vg.instruments.signals import Chain, Unit, recorded
from tinygrad_vg.nn import Module


@dataclass(frozen=True, eq=False)
class Split:
    """A row's two halves against their bounds, in decades: floats, or (R,) for an ensemble.

    Attributes:
        layer: as in the row.
        spectral: log10‖W^{l+1}‖₂, the most that the weights can give.
        alignment: weights − spectral, ≤ 0: how far δ^{l+1} is from the direction that the weights stretch most.
        cap: log10 max|σ′|, −0.602 for a sigmoid; the caps of several activations add. NaN if one is not known.
        saturation: activation − cap, ≤ 0: how far the slopes are below their bound.
    """

    layer: int
    spectral: Any
    alignment: Any
    cap: float
    saturation: Any


class Ledger:
    """Keeps the accounts of a model's last backward inside its `with` block.

    Layers are the model's Linears, in the order of their calls, whatever class holds them; they are numbered from the
    input side, 1 first, and a layer that is used several times in a row has a number for each use. What lies between
    two layers is known by its class, or where no module was called by its operation. A module with a way around its own
    layers, such as Residual, is one such part. With a batch, δ^l holds all its samples, and ‖δ^l‖ is the root of the
    sum of squares over samples and neurons; for one sample it is the vector's norm. For an ensemble (`nn.stack`) all
    numbers are one for each member.

    Each backward replaces the accounts, so that memory holds one gradient a unit and one z a layer; norms are taken
    when asked for. The accounts follow the model's last pass: a new one takes the hooks off the one before it, so in
    one backward through several passes only the samples of the last are counted. What is called under `no_grad` does
    not count. Where gradients join from another path, as that of an auxiliary cost, they belong to the part they join
    in. Training is bit for bit as without a ledger.

    Args:
        model: a module with at least one Linear, of one network or an ensemble.

    Raises:
        ValueError: if there is no Linear; when the accounts are read, if the layers do not stand in a row.

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
        self._listener = Listener(model)
        self._read: tuple[int, tuple[Account, ...]] | None = None  # the accounts, and of which backward

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
        ledger._listener.take(recorded(model, cost))
        return ledger

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.__exit__(*exception)

    @property
    def heard(self) -> bool:
        """Whether a backward was heard, so that there are accounts."""
        return self._listener.heard is not None

    @property
    def at_start(self) -> bool:
        """Whether the accounts are of a network that nobody has trained yet: none of its layers is trained
        (`Parameter.is_trained`), and none had other weights in an earlier backward that was heard."""
        return not self._listener.is_trained

    @property
    def silent(self) -> Any:
        """How many backwards in a row, the last one among them, brought no gradient to layer 1; (R,) of an ensemble."""
        return self._listener.silent

    @property
    def chain(self) -> Chain:
        """The layers of the backward that the accounts are of, or else of the last pass."""
        return self._listener.heard or self._listener.chain()

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names in the model, from the input side; before the first pass in the order of attributes."""
        names = tuple(unit.name or "" for unit in self.chain.layers)
        return names or tuple(self._listener.layers.values())

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers' numbers, 1 ... L."""
        return tuple(range(1, len(self.names) + 1))

    @property
    def outputs(self) -> tuple[Any, ...]:
        """z^l of each layer in that backward's pass, (..., B, out): what the layer put out."""
        return tuple(unit.z for unit in self.chain.layers)

    @property
    def accounts(self) -> tuple[Account, ...]:
        """What was heard of each layer and of what lies between, from the input side.

        Raises:
            RuntimeError: if no backward was heard yet.
            ValueError: if the layers do not stand in a row.
        """
        heard, backwards = self._listener.heard, self._listener.backwards
        if heard is None:
            raise RuntimeError(
                "the ledger has heard no backward: inside its `with` block, call the model and then backward "
                "(the hooks of a call end with the next call)"
            )
        if self._read is None or self._read[0] != backwards:
            self._read = backwards, accounts_of(heard)
        return self._read[1]

    @property
    def log10_norm(self) -> Any:
        """(L,) log10‖δ^l‖ of each layer in decades, (L, R) for an ensemble; NaN where it was not computed."""
        return np.array([account.log10_norm for account in self.accounts if account.name is not None])

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row for each step, that to layer 1 first: layers 1 ... L−1.

        Raises:
            RuntimeError: if no backward was heard yet.
            ValueError: if the layers do not stand in a row.
        """
        return rows_of(self.accounts)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def split(self) -> tuple[Split, ...]:
        """Each row against its bounds: weights = spectral + alignment, activation = cap + saturation.

        Raises:
            RuntimeError: if no backward was heard yet, or the weights have been updated since.
        """
        return tuple(_split(row, high) for row, (_, _, high) in zip(self.rows, self.chain.steps(), strict=True))

    def table(self, width: int = 100) -> LedgerTable:
        """The rows as a table for people, at most `width` columns wide where that is possible."""
        if not self.heard:
            return LedgerTable((), np.nan, width, f"{len(self.layers)} layers; no backward heard yet")
        return LedgerTable(self.rows, self.log10_norm[-1], width)

    def __str__(self) -> str:
        return str(self.table())

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        return self.table(min(100, options.max_width)).texts()

    def _repr_html_(self) -> str:
        return self.table().html()


def _split(row: Row, above: Unit) -> Split:
    weight = above.weights
    if weight is None:
        raise RuntimeError(
            f"layer {row.layer + 1} has other weights than in the call that the rows are of; "
            "ask for split() between backward and the optimizer's step"
        )
    finite = np.isfinite(weight).all(axis=(-2, -1))  # of others no norm can be had
    sizes = np.linalg.norm(np.where(finite[..., None, None], weight, 0).astype(np.float64), 2, axis=(-2, -1))
    with np.errstate(divide="ignore"):  # weights of 0: −inf
        spectral = np.where(finite, np.log10(sizes), np.nan)
    bound = spectral if spectral.ndim else float(spectral)
    return Split(row.layer, bound, taken(spectral, row.weights), row.cap, row.activation - row.cap)
