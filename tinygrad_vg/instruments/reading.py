"""A reading: what a ledger's accounts show, whoever filled them: rows, norms, a table, a verdict's data."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_vg.instruments.accounts import Account, Row, rows_of
from tinygrad_vg.instruments.dying import Dying
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.ledger_table import LedgerTable


class Reading:
    """The accounts of a network's last backward, as a `Ledger` shows them. A subclass listens, and gives `heard`,
    `accounts`, `names`, `silent`, `at_start` and `history`.

    >>> import tinygrad_vg as tg
    >>> net = tg.nn.mlp([3, 4, 1], rng=0)
    >>> reading: Reading = tg.instruments.Ledger.of(net, np.sum(net(np.ones((5, 3)))))
    >>> reading.heard, reading.names, len(reading.accounts), reading.at_start, reading.dying, int(reading.silent)
    (True, ('0', '2'), 3, True, None, 0)
    """

    @property
    def heard(self) -> bool:
        """Whether there are accounts."""
        raise NotImplementedError

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The account of each layer and of each unit between layers, from the input side."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers, from the input to the output."""
        raise NotImplementedError

    @property
    def silent(self) -> Any:
        """The number of backwards in a row, up to the last, without a gradient at layer 1."""
        raise NotImplementedError

    @property
    def at_start(self) -> bool:
        """Whether the accounts are of an untrained network."""
        raise NotImplementedError

    @property
    def history(self) -> LedgerHistory:
        """The accounts kept so far."""
        raise NotImplementedError

    @property
    def dying(self) -> Dying | None:
        """How many random draws of this network are born dead; None if that is not known."""
        return None

    def scalars(self) -> dict[str, float]:
        """The last row of the history as named numbers, for a tracker of experiments; medians for an ensemble.

        Returns:
            As `LedgerHistory.scalars`; an empty dict before the first row.

        Raises:
            RuntimeError, ValueError: as `history`.

        >>> import tinygrad_vg as tg
        >>> net = tg.nn.mlp([3, 4, 1], rng=0)
        >>> with tg.instruments.Ledger(net, every=1) as ledger:
        ...     np.sum(net(np.ones((5, 3)))).backward()
        >>> [*ledger.scalars()], ledger.history.steps
        (['delta/1', 'delta/2', 'weights/1', 'activation/1', 'total/1'], array([0]))
        """
        return self.history.scalars()

    @property
    def log10_norm(self) -> Any:
        """(L,) log10‖δ^l‖ per sample of each layer, (L, R) for an ensemble; NaN where it was not computed."""
        return np.array([account.log10_norm for account in self.accounts if account.name is not None])

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row for each step of the gradient: the steps to the layers 1 ... L−1.

        Raises:
            RuntimeError: if no backward was heard yet.
            ValueError: if the layers are not in a row.
        """
        return rows_of(self.accounts)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def table(self, width: int = 100) -> LedgerTable:
        """The rows as a table of text, at most `width` columns wide where that is possible."""
        if not self.heard:
            count = len(self.names)
            words = "no backward heard yet (call the model and backward inside the `with` block)"
            return LedgerTable((), np.nan, width, f"{count} layer{'s' * (count > 1)}; {words}")
        return LedgerTable(self.rows, self.log10_norm[-1], width, silent=self.silent)

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        try:
            words = self.table().summary
        except (ValueError, RuntimeError) as error:  # an account that cannot be made; to look at it is no mistake
            words = str(error)
        return f"<{type(self).__name__} of {len(self.names)} layers: {words}>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        return self.table(min(100, options.max_width)).texts()

    def _repr_html_(self) -> str:
        return self.table().html()
