"""The ledger for PyTorch: by how many decades the layers, and what lies between, change the gradient's norm."""

import math
import weakref
from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from typing import Any, Literal, Self

import numpy as np

from tinygrad_vg.bridges.torch.activations import flags_of
from tinygrad_vg.bridges.torch.backward import Backward, first_tensor, on_calls
from tinygrad_vg.bridges.torch.chain import SMALL, Chain, Unit
from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.norms import log10_norm, scale_of
from tinygrad_vg.bridges.torch.passes import Pass, accounts_of
from tinygrad_vg.bridges.torch.places import blocks_in, features_axis, is_layer, refuse_gates, suggestion, unwrapped
from tinygrad_vg.instruments.accounts import Account
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.ledger_rows import LedgerRows, causes_of, check_rows
from tinygrad_vg.instruments.reading import Reading

_VERSION = attrgetter("_version")  # counts what is written into a tensor
_UNREAD, _KEPT = 256, 2**24  # rows whose numbers wait on the device, and bytes of gradients in them


class Ledger(Reading):
    """Accounts for the gradients of a PyTorch network's last backward inside a `with` block: a row for each step.

    It is `tg.instruments.Ledger` for a `torch.nn.Module`: rows, table, `diagnose(ledger)`, and with `every` the history
    are the same. In each step, log10‖δ^l‖ − log10‖δ^{l+1}‖ = weights + activation, where `weights` is the change from
    the output of layer l+1 to its input, and `activation` the change by what lies between the layers. Sizes are per
    sample, for a cost that is a mean over the batch.

    Without `layers` the units are the Linears and convolutions, which must be called in a row, one after the other, as
    the graph of autograd tells. Modules between are named by their class, other operations by those of the graph. With
    `layers` the units are these modules, as blocks: of any class, in the order of their calls, and what happens inside
    is a block's own. The step to a block then says how many decades the block above takes. If the input of a block
    also goes around it, the gradient there is that of both ways.

    Norms are computed on the device in float64 and stay there until they are read: no step waits for the device, and no
    gradient is kept. On an accelerator a verdict does not say whose z or weights were not finite.

    Args:
        net: the network.
        layers: names of modules that are the units, such as ["blocks.0", "blocks.1"]; None for the layers.
        every: the number of backwards from one row of the history to the next; None for no history.
        neurons: whether to record which neurons are off, and which saturated, for all samples, behind each layer with a
            Sigmoid, Tanh or ReLU (on the CPU all activations that `tg.nn` has too).
        max_steps: the largest number of rows, as of `tg.instruments.Ledger`.
        scaler: the `torch.amp.GradScaler` that scales the loss; its scale is divided out.
        call: "each" gives each call of a layer that is called several times in one pass a number of its own; None
            refuses such a layer.
        trained: whether the network has been trained before. PyTorch does not tell. Without it `at_start` is True until
            the weights of the layers are changed.

    Raises:
        TypeError: if `net` is no `torch.nn.Module`.
        ValueError: if hooks do not see the gradients (`GradientRecorder`), or an argument is out of its range; in a
            pass, if the layers are not in a row, or one is called several times.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1))
    >>> with Ledger(net) as ledger:
    ...     net(torch.ones(5, 3)).mean().backward()
    >>> (row,) = ledger.rows
    >>> row.layer, row.parts[0].label, bool(row.activation < np.log10(1 / 4)), ledger.names, ledger.heard
    (1, 'Sigmoid', True, ('0', '2'), True)
    >>> bool(abs(row.weights + row.activation - row.total) < 1e-12), ledger.at_start, ledger.silent
    (True, True, 0)
    """

    def __init__(
        self,
        net: Any,
        *,
        layers: Iterable[str] | None = None,
        every: int | None = None,
        neurons: bool = False,
        max_steps: int | None = 10_000,
        scaler: Any = None,
        call: Literal["each"] | None = None,
        trained: bool = False,
    ) -> None:
        _check(every, neurons, max_steps, call)
        self._torch = pytorch()
        self._net, self.is_local = unwrapped(net)
        self._has_blocks = layers is not None
        if layers is None:
            refuse_gates(self._net)
            self._layers = {module: name for name, module in self._net.named_modules() if is_layer(module)}
            modules = {m for m in self._net.modules() if not [*m.children()]} - self._layers.keys()
        else:
            self._layers, modules = blocks_in(self._net, layers), set()
        self._kinds: dict[Any, Any] = dict.fromkeys(modules, self._on_module)
        self._kinds |= dict.fromkeys(self._layers, self._on_layer)
        if not self._layers:
            raise ValueError(f"{type(self._net).__name__} has no Linear or convolution, so it has no layers")
        self._weights = [weight for module in self._layers if (weight := getattr(module, "weight", None)) is not None]
        self._call, self._scaler, self._neurons = call, scaler, neurons
        self._rows = None if every is None else LedgerRows(every, max_steps)
        self._backward = Backward(self._on_end)
        self._handle: Any = None
        self._pass: Pass | None = None  # the pass that is going on
        self._reached: Pass | None = None  # the pass that the backward has reached
        self._heard: Pass | None = None  # the last pass whose backward has ended
        self._accounts: tuple[Account, ...] | None = None
        self._number, self._trained = -1, trained
        self._versions: Any = None  # of the weights in the first backward
        self._silent: Any = 0
        self._kept = 0
        self._activations: dict[Any, Any] = {}
        self._unread: list[tuple[int, Pass, bool]] = []

    def __enter__(self) -> Self:
        if self._handle is not None:
            raise RuntimeError("this ledger is listening already; make a second ledger for the network")
        self._handle = on_calls(self._on_call)
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()
        self._handle = self._pass = self._reached = None

    def _on_call(self, module: Any, inputs: Any, output: Any) -> None:
        kind = self._kinds.get(module)
        if kind is not None:
            kind(module, inputs, output)
        if module is self._net and self._pass is not None:
            self._pass.chain.close()
            self._pass = None

    def _on_layer(self, module: Any, inputs: Any, output: Any) -> None:
        z = output if type(output) is self._torch.Tensor else first_tensor(output)
        if z is None or z.grad_fn is None or self._backward.is_running():
            return  # under no_grad, or called again by a checkpoint
        x, mine, name = first_tensor(inputs), self._pass, self._layers[module]
        if mine is None or (module in mine.modules and not mine.chain.comes_from_here(x)):
            mine = self._pass = Pass(self._activations)  # another pass
        elif module in mine.modules and self._call is None:
            self._pass = None
            raise ValueError(
                f'{name!r} is called several times in one pass: call="each" gives each call a number of its own; or '
                "take the modules around it as blocks with layers="
            )
        units = mine.chain.units
        if units and (x is None or x.grad_fn is not units[-1].node):
            self._between(mine, name, x)
        mine.modules.add(module)
        unit = mine.chain.add_layer(name, module, z)
        if self._has_blocks:
            mine.output = weakref.ref(z)
        elif z.device.type == "cpu":
            unit.z = z.detach()
        z.register_hook(partial(self._on_gradient, mine, unit))

    def _between(self, mine: Pass, name: str, x: Any) -> None:
        """Add what lies between the last layer and x, the input of the next one, `name`."""
        is_new = self._reaches_block(mine, x) if self._has_blocks else x is not None and mine.chain.reach(x, True)
        if is_new is None or (x is None and not self._has_blocks):
            self._pass = None
            raise ValueError(self._not_in_a_row(mine.chain, name))
        if is_new:
            x.register_hook(partial(self._on_gradient, mine, mine.chain.units[-1]))

    def _reaches_block(self, mine: Pass, x: Any) -> bool:
        """Add a unit for what leads to x, the input of a block, if x is not the output of the block before."""
        is_same = x is None or x is mine.output() or x.grad_fn is mine.chain.units[-1].node
        if not is_same:
            mine.chain.add_operations("between blocks", x)
        return not is_same

    def _not_in_a_row(self, chain: Chain, name: str) -> str:
        last = chain.units[chain.last].name
        why = (
            f"its input also comes from before {last!r}" if chain.goes_around else "its input does not come from there"
        )
        return (
            f"the layers are not in a row: {name!r} is called after {last!r}, but {why}. Take blocks that follow one "
            f"another, with the ways around inside: Ledger(net, {suggestion(self._net)})"
        )

    def _on_module(self, module: Any, inputs: Any, output: Any) -> None:
        if (mine := self._pass) is None or not mine.chain.units or self._backward.is_running():
            return
        y, x = output if type(output) is self._torch.Tensor else first_tensor(output), first_tensor(inputs)
        if y is None or x is None or y.grad_fn is None:
            return
        layer = mine.chain.units[-1]
        is_new = x.grad_fn is not layer.node and mine.chain.reach(x, is_layer=False)
        if is_new is None:
            return
        if is_new:
            x.register_hook(partial(self._on_gradient, mine, mine.chain.units[-1]))
        y.register_hook(partial(self._on_gradient, mine, mine.chain.add_module(module, y)))
        if self._neurons and layer.name is not None and self._rows and self._rows.wants(self._number + 1):
            layer.flags = flags_of(module, y, features_axis(layer.module, y))

    def _on_gradient(self, mine: Pass, unit: Unit, gradient: Any) -> None:
        if self._backward.is_new():
            self._reached = mine
            self._backward.call_at_end()
        elif mine is not self._reached and (self._reached is None or mine.number > self._reached.number):
            self._reached = mine
        if gradient.numel() <= SMALL and not gradient.requires_grad:
            unit.gradient = gradient
        else:
            unit.hear(gradient)

    def _on_end(self) -> None:
        mine, self._reached = self._reached, None
        if mine is None:
            return
        if mine is self._pass:
            mine.chain.close()
            self._pass = None
        self._number += 1
        units = mine.chain.units
        if self._scaler is not None:
            mine.scale = scale_of(self._scaler, next(unit.heard for unit in units if unit.heard is not None).device)
        if units[0].heard is not None:
            self._note_what_arrived(mine, units[0])
        for unit in units:
            unit.z = None
        self._heard, self._accounts = mine, None
        if not self._trained:
            versions = [*map(_VERSION, self._weights)]
            self._versions = self._versions or versions
            self._trained = versions != self._versions
        if self._rows is not None and self._rows.wants(self._number):
            self._unread.append((self._number, mine, not self._trained))
            self._kept += sum(unit.bytes for unit in units)
            if len(self._unread) == _UNREAD or self._kept > _KEPT:
                self._fetch()

    def _note_what_arrived(self, mine: Pass, first: Unit) -> None:
        """Count the backwards without a gradient at layer 1, and look at weights and z if it is not sound."""
        gradient = first.gradient
        if gradient is not None and gradient.device.type == "cpu":
            size = self._torch.linalg.vector_norm(gradient).item()
            if 0 < size < math.inf:  # the commonest case; else the squares may have left the range of the type
                self._silent = 0
                return
        size = first.norm if gradient is None else log10_norm(gradient)
        if size.device.type != "cpu":
            self._silent = self._torch.where(size == -math.inf, self._silent + 1, 0)
            return
        self._silent = self._silent + 1 if size == -math.inf else 0
        if not self._has_blocks and not math.isfinite(size):
            mine.note_facts()

    @property
    def heard(self) -> bool:
        """Whether there are accounts: whether a backward has reached a pass inside the `with` block."""
        return self._heard is not None

    @property
    def at_start(self) -> bool:
        """Whether the weights are those of the first backward, and the network is not `trained`."""
        return not self._trained

    @property
    def silent(self) -> Any:
        """The number of backwards in a row, up to the last, without a gradient at layer 1."""
        return int(self._silent)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers or blocks, from the input to the output; before the first pass in the net's order."""
        if self._heard is None:
            return tuple(self._layers.values())
        return tuple(unit.name for unit in self._heard.chain.units if unit.name is not None)

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers, 1 ... L."""
        return tuple(range(1, len(self.names) + 1))

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The account of each layer and of each unit between layers, from the input side; to read it waits for the
        device.

        Raises:
            RuntimeError: if no backward was heard yet.
        """
        if self._heard is None:
            raise RuntimeError("the ledger has heard no backward: call the net and then backward in the `with` block")
        if self._accounts is None:
            (self._accounts,) = accounts_of([self._heard], "block" if self._has_blocks else "layer")
        return self._accounts

    @property
    def history(self) -> LedgerHistory:
        """The accounts kept so far, as copies. It may be read at any time; to read it waits for the device.

        Raises:
            RuntimeError: if the ledger was made without `every`.
        """
        if self._rows is None:
            raise RuntimeError("this ledger keeps only the last backward; Ledger(net, every=1) keeps a history")
        self._fetch()
        return self._rows.history(self._neurons)

    def _fetch(self) -> None:
        """Read what is still on the device into the rows."""
        unread, self._unread, self._kept = self._unread, [], 0
        found = accounts_of([mine for _, mine, _ in unread], "block" if self._has_blocks else "layer")
        for (number, mine, is_untrained), accounts in zip(unread, found, strict=True):
            if self._rows is not None and self._rows.wants(number):
                row = {"steps": number, "samples": accounts[0].samples, "causes": causes_of(accounts)} | mine.flags()
                row["norms"] = np.array([account.log10_over_batch for account in accounts])
                units = tuple((account.name, account.label, account.name is not None) for account in accounts)
                self._rows.keep(row, units, partial(tuple, accounts), is_untrained)


def _check(every: Any, neurons: Any, max_steps: Any, call: Any) -> None:
    check_rows(every, neurons, max_steps)
    if call not in (None, "each"):
        raise ValueError(f'call is "each" or None, not {call!r}')
