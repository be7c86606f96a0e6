"""The ledger: by how many decades the weights of each layer and each activation change the gradient's norm.

`accounts.py` has the formula of a step, `signals.py` puts the layers in a chain, and `listener.py` observes a model in
use.
"""

from typing import Any, Self

import numpy as np

from tinygrad_vg.engine import Tensor
from tinygrad_vg.instruments.accounts import Account, accounts_of, bias_norm
from tinygrad_vg.instruments.bounds import Split, split_of
from tinygrad_vg.instruments.collector import Collector
from tinygrad_vg.instruments.dying import Dying, dying_of
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.ledger_rows import check_rows
from tinygrad_vg.instruments.listener import Listener
from tinygrad_vg.instruments.reading import Reading
from tinygrad_vg.instruments.recurrence import TimeListener, recorded_steps, recurrence_of
from tinygrad_vg.instruments.signals import Chain, recorded
from tinygrad_vg.nn import Module


class Ledger(Reading):
    """Accounts for the gradients of a model's last backward inside a `with` block: one row for each step.

    The layers are the model's Linears and Conv2ds in the order of their calls; the model may be of any class. Layer 1
    is at the input, and a layer that is called several times in one pass has a number for each call. A module between
    two layers is named by its class, an operation outside of modules by its function. A module with a way around its
    own layers, such as Residual, counts as one part between layers. For an ensemble (`nn.stack`) there is one number
    for each member.

    Magnitudes are per sample. δ^l holds the gradients at the outputs of layer l for all B samples of a batch. A cost
    that is a mean over the batch divides them by B, so that B·δ^l of a sample is the gradient of that sample's own
    cost. ‖δ^l‖ in tables and pictures is the root mean square of ‖B·δ^l‖ over the samples; it does not depend on the
    size of the batch. A `GradientRecorder` records ‖∂C/∂b‖, the norm of the mean of the same vectors, which is smaller
    where samples disagree; `log10_bias_norm` gives it here too.

    Each backward replaces the accounts. The ledger keeps one gradient for each unit and one z for each layer, and
    computes norms when they are read. It accounts for the last pass through the model, even if a backward goes through
    several passes. Calls under `no_grad` do not count. Gradients that come from another path, such as that of an
    auxiliary cost, are attributed to the part where the two paths join. The ledger does not change the training by a
    single bit.

    In a model with a cell or recurrent layer (`nn.RNNCell`, `nn.LSTM`, ...) the layers are the time steps of its last
    sequence, and δ^t is ∂C/∂h_t (`recurrence.py`). Linears around it have no rows. In a module with several layers the
    steps are those of the highest layer. If the model has several recurrent modules, give the ledger one of them:
    `Ledger.of(model.lstm, cost)` takes the cost of the whole model.

    With `every` the ledger also keeps a `history` of its accounts: the backwards number 0, every, 2·every ... A
    backward has no row if its layers are not in a row, or are not those of the first row.

    Args:
        model: a module with at least one Linear or Conv2d: one network, or an ensemble.
        every: the number of backwards from one row of the history to the next; None for no history.
        neurons: whether to record which neurons were off, and which were saturated, at all samples of the batch. This
            takes 2 bytes for each neuron (and member) and row.
        spectra: whether to record stable ranks and alignments of the weights. This takes about 0.1 to 0.3 ms for each
            row and layer of 30 × 30 or 30 × 784 weights, 1 ms for 100 × 100, 10 ms for 300 × 300, with one BLAS thread.
        max_steps: the largest number of rows. When there are more, every second row is dropped and `every` doubles, so
            that the rows remain evenly spaced in a training of any length. None keeps all.

    Raises:
        ValueError: if there is no layer, there are several recurrent modules, or an argument is out of its range; when
            the accounts are read, if the layers are not in a row.

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
    >>> ledger.heard, ledger.at_start, ledger.dying, int(ledger.silent)
    (True, True, None, 0)
    >>> ledger.layers, ledger.names, [z.shape for z in ledger.outputs], ledger.log10_norm.shape, len(ledger.chain.units)
    ((1, 2), ('0', '2'), [(5, 4), (5, 1)], (2,), 3)
    >>> [account.label for account in ledger.accounts], ledger.rows[0] is not row, len(ledger.table().lines)
    (['Linear', 'Sigmoid', 'Linear'], True, 4)
    """

    def __init__(
        self,
        model: Module,
        every: int | None = None,
        *,
        neurons: bool = False,
        spectra: bool = False,
        max_steps: int | None = 10_000,
    ) -> None:
        check_rows(every, neurons or spectra, max_steps)
        self.model = model
        self._recurrence = recurrence_of(model)
        if self._recurrence and (neurons or spectra):
            raise ValueError("neurons and spectra belong to layers, and the rows of this model are time steps")
        self._listener = TimeListener(model, self._recurrence) if self._recurrence else Listener(model)
        self._collector: Collector | None = None
        if every is not None:
            self._collector = Collector(every, neurons, spectra, max_steps)
            self._listener.on_heard, self._listener.wants = self._collector.hear, self._collector.wants
        self._read: tuple[int, tuple[Account, ...]] | None = None  # the number of a backward, and its accounts

    @classmethod
    def of(cls, model: Module, cost: Tensor) -> Self:
        """The ledger of a recorded cost. No `.grad` is changed, and no hook is called.

        The gradients are computed in extended range, so that none underflows.

        Raises:
            ValueError: if the cost was not computed by one call of this model, or has several elements; see also
                `Ledger`.

        >>> import numpy as np, tinygrad_vg as tg
        >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4, rng=0), tg.nn.Sigmoid(), tg.nn.Linear(4, 1, rng=1))
        >>> [row.layer for row in Ledger.of(net, np.sum(net(np.ones((5, 3)))))]
        [1]
        """
        ledger = cls(model)
        chains = [recorded_steps(module, name, cost) for module, name in ledger._recurrence.items()]
        ledger._listener.hear(chains[0] if chains else recorded(model, cost))
        return ledger

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.__exit__(*exception)

    @property
    def heard(self) -> bool:
        """Whether there are accounts: whether a backward has reached the last pass inside the `with` block."""
        return self._listener.heard is not None

    @property
    def at_start(self) -> bool:
        """Whether the accounts are of an untrained network: `Parameter.is_trained` is False for all its layers, and all
        had the same weights in earlier backwards."""
        return not self._listener.is_trained

    @property
    def dying(self) -> Dying | None:
        """How many random draws of this network are born dead; None if they are few, if the network has been trained,
        or if the theory does not apply (`dying_of`)."""
        return dying_of(self.chain) if self._listener.is_drawn else None

    @property
    def silent(self) -> Any:
        """The number of backwards in a row, up to the last, without a gradient at layer 1; (R,) for an ensemble."""
        return self._listener.silent

    @property
    def history(self) -> LedgerHistory:
        """The accounts kept so far, as copies. It may be read at any time, also inside the `with` block.

        Raises:
            RuntimeError: if the ledger was made without `every`.
            ValueError: if no backward has a row because the layers are not in a row.
        """
        if self._collector is None:
            raise RuntimeError("this ledger keeps only the last backward; Ledger(model, every=1) keeps a history")
        return self._collector.history()

    @property
    def chain(self) -> Chain:
        """The chain of layers of the last backward that was heard; before the first, the chain of the last pass."""
        return self._listener.heard or self._listener.chain()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers, from the input to the output; before the first pass in the model's order."""
        names = tuple(unit.name or "" for unit in self.chain.layers)
        return names or tuple(self._listener.layers.values())

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers, 1 ... L."""
        return tuple(range(1, len(self.names) + 1))

    @property
    def outputs(self) -> tuple[Any, ...]:
        """z^l, the output of each layer in that pass, (..., B, out)."""
        return tuple(unit.z for unit in self.chain.layers)

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The account of each layer and of each unit between layers, from the input side.

        Raises:
            RuntimeError: if no backward was heard yet.
            ValueError: if the layers are not in a row.
        """
        chain, backwards = self._heard_chain(), self._listener.backwards
        if self._read is None or self._read[0] != backwards:
            self._read = backwards, accounts_of(chain)
        return self._read[1]

    def _heard_chain(self) -> Chain:
        """The chain of the last backward that was heard; it raises as `accounts` does."""
        chain = self._listener.heard
        if chain is None:
            raise RuntimeError(
                "the ledger has heard no backward: call the model and then backward inside the `with` block "
                "(a new call of the model replaces the one before)"
            )
        if chain.problem:
            raise ValueError(chain.problem)
        return chain

    @property
    def log10_bias_norm(self) -> Any:
        """(L,) log10‖∂C/∂b^l‖ of each layer in decades, what a `GradientRecorder` records; (L, R) for an ensemble.

        It is the norm of the sum of δ^l over the samples, also for a layer without a bias; of a layer called several
        times, that of one call. It is NaN where it was not computed.

        Raises:
            RuntimeError, ValueError: as `accounts`.

        >>> import numpy as np, tinygrad_vg as tg
        >>> net = tg.nn.mlp([3, 4, 1], rng=0)
        >>> cost = np.mean(net(np.ones((5, 3))))
        >>> cost.backward()
        >>> ledger = Ledger.of(net, cost)
        >>> of_biases = [np.log10(np.linalg.norm(net[i].bias.grad)) for i in (0, 2)]
        >>> np.allclose(ledger.log10_bias_norm, of_biases)
        True
        >>> np.allclose(ledger.log10_norm, of_biases)  # the five samples are the same
        True
        """
        chain = self._heard_chain()
        return np.array([bias_norm(layer, chain.members) for layer in chain.layers])

    def split(self) -> tuple[Split, ...]:
        """Each row compared with its bounds: weights = spectral + alignment, activation = cap + saturation.

        Raises:
            RuntimeError: if no backward was heard yet, the weights have been updated since, or a layer has no matrix of
                weights.

        >>> import numpy as np, tinygrad_vg as tg
        >>> net = tg.nn.mlp([3, 4, 1], rng=0)
        >>> (split,) = Ledger.of(net, np.sum(net(np.ones((5, 3))))).split()
        >>> round(split.cap, 3), bool(split.alignment < 1e-12 and split.saturation < 0)
        (-0.602, True)
        """
        return tuple(split_of(row, high) for row, (_, _, high) in zip(self.rows, self.chain.steps(), strict=True))
