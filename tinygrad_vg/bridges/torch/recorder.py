"""The recorder for PyTorch: ∂C/∂b of every layer while a network trains."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, Self

from tinygrad_vg.bridges.torch.backward import Backward, first_tensor, on_calls
from tinygrad_vg.bridges.torch.fresh import FreshGradients, fresh_gradients
from tinygrad_vg.bridges.torch.norms import first_nonfinite, scale_of
from tinygrad_vg.bridges.torch.places import features_axis, places_in, unwrapped
from tinygrad_vg.bridges.torch.statistics import DeviceStatistics
from tinygrad_vg.bridges.torch.unread import UnreadRows
from tinygrad_vg.instruments.blocks import Blocks, block_size, check
from tinygrad_vg.instruments.history import History, positions
from tinygrad_vg.instruments.telling import Recording, Teller
from tinygrad_vg.instruments.verdict import Diagnosis


class GradientRecorder(Recording):
    """Records ∂C/∂b of every layer of a PyTorch network in the backwards inside its `with` block.

    It is `tg.instruments.GradientRecorder` for a `torch.nn.Module`: `history` is a `History`, which verdicts and
    pictures read. The loop and the network remain as they are, and the training does not change by a single bit.

    The layers are the modules with a `bias` that requires gradients (Linear, convolutions, normalizations, your own),
    Linears and convolutions without a bias, and the two projections of `MultiheadAttention` with biases, "in_proj" and
    "out_proj". They are numbered in the order of their calls in the first recorded backward, 1 at the input; an
    Embedding has no bias, and layer 1 is what follows it. Where a layer has a bias, the recorder takes the gradient
    that the backward adds to `bias.grad`: in a backward with fresh gradients it equals `bias.grad` bit for bit. Where
    there is none, it is ∂C/∂z summed over batch and positions, equal to what a bias would get up to the order of one
    sum. When gradients accumulate, each backward has a row of its own.

    Gradients stay on their device and are read in blocks of up to 256 backwards, so that no step waits for the device.

    Where each backward begins with fresh gradients, as after PyTorch's `zero_grad()`, only a hook on layer 1 is needed,
    and ∂C/∂b is read from `bias.grad` when the backward has ended. Where they accumulate, each bias has a hook.

    Args:
        net: the network.
        every: record the backwards number 0, every, 2·every ... Other backwards are only counted, where they reach
            layer 1. A layer without a bias has NaN if its forward pass was before the end of the backward before; and
            so have all layers in a row, if gradients were fresh before and accumulate there for the first time. When
            there are more than `max_steps` rows, every second one is dropped and `every` doubles; None keeps all.
        layers: the layers to record, by number or name; all if None.
        values: whether to keep the vectors ∂C/∂b too, in `history.values`.
        statistics: whether to measure the statistics of `tg.instruments.GradientRecorder`.
        on_nonfinite: "record", or "raise", which checks every backward and waits for the device each time.
        on_verdict: a function that is called with a `Diagnosis` when its state or severity changes.
        scaler: the `torch.amp.GradScaler` that scales the loss; its scale is divided out of what is recorded.
        call: "sum" records a layer that is called several times in one backward by the sum of ∂C/∂b over the calls,
            which is its `bias.grad`; None refuses such a layer.
        trained: whether the network has been trained before. PyTorch does not tell; a trained network has no forecast.

    The first recorded backward with NaN or inf, and the 10 recorded ones before it, are always kept.

    Attributes:
        is_local: whether the network is in a `DistributedDataParallel`: what is recorded are the gradients of this
            process, before they are averaged.

    Raises:
        TypeError: if `net` is no `torch.nn.Module`.
        ValueError: if there is no layer, an argument is out of its range, or hooks do not see the gradients: compiled
            or scripted modules, FSDP, DataParallel, recurrent modules (their gates). In a backward, if a layer was
            called several times without `call="sum"`.
        FloatingPointError: in a backward, with `on_nonfinite="raise"`.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1))
    >>> with GradientRecorder(net) as recorder:
    ...     torch.nn.functional.mse_loss(net(torch.ones(5, 3)), torch.zeros(5, 1)).backward()
    >>> recorder.layers, recorder.names, recorder.history.log10_norm.shape, recorder.every, recorder.at_start
    ((1, 2), ('0', '2'), (1, 2), 1, True)
    >>> bool(abs(recorder.history.log10_norm[0, 1] - net[2].bias.grad.norm().log10()) < 1e-6)
    True
    """

    def __init__(
        self,
        net: Any,
        every: int = 1,
        *,
        layers: int | str | Iterable[int | str] | None = None,
        values: bool = False,
        statistics: bool = False,
        on_nonfinite: Literal["record", "raise"] = "record",
        on_verdict: Callable[[Diagnosis], object] | None = None,
        max_steps: int | None = 10_000,
        scaler: Any = None,
        call: Literal["sum"] | None = None,
        trained: bool = False,
    ) -> None:
        check(every, max_steps, on_nonfinite)
        if call not in (None, "sum"):
            raise ValueError(f'call is "sum" or None, not {call!r}')
        self._net, self.is_local = unwrapped(net)
        self._places = [*places_in(self._net)]
        if not self._places:
            raise ValueError(f"{type(net).__name__} has no Linear, convolution or bias that requires gradients")
        self._chosen, self._call, self._trained, self._scaler = layers, call, trained, scaler
        self._teller = None if on_verdict is None else Teller(on_verdict)
        self._raises = on_nonfinite == "raise"
        self._options: dict[str, Any] = {"every": every, "values": values, "max_steps": max_steps}
        self._statistics = DeviceStatistics(self._places) if statistics else None
        self._handles: list[Any] = []
        self._is_listening = False  # to what is recorded, and not only to layer 1
        self._fresh: FreshGradients | None = None
        self._backward = Backward(self._on_end)
        self._number = -1  # of the last backward
        self._near = 0  # the number of the next backward of which more is to do than to count it
        self._is_counted = False  # whether the backward that runs has reached a parameter
        self._gradients: dict[int, Any] = {}  # its ∂C/∂b, by the positions of the places
        self._calls: list[int] = []  # before the first backward: the positions of the places in the order of calls
        self._arrived: list[int] = []  # which of these calls got a gradient
        self._unread = UnreadRows()
        self._arrange([*range(len(self._places))])

    def _arrange(self, order: list[int], is_known: bool = False) -> None:
        """Number the layers in this order of their positions, which is that of their calls if `is_known`."""
        names, numbers = [self._places[i].name for i in order], range(1, len(order) + 1)
        where = positions(numbers if self._chosen is None else self._chosen, numbers, names)
        if not where:
            raise ValueError(f"layers={self._chosen!r} selects no layer")
        self.layers, self.names = tuple(numbers[i] for i in where), tuple(names[i] for i in where)
        self._anchor = self._places[order[0]].anchor
        self._where = {order[i]: column for column, i in enumerate(where)}  # by position, the column in the history
        forms = [self._places[i].form for i in self._where]
        columns = None if self._statistics is None else self._statistics.columns_for(self._where, block_size(forms))
        self._blocks = Blocks(self.layers, self.names, forms, (), **self._options, columns=columns)
        self._by_module: dict[Any, list[int]] = {}  # of the places whose calls are looked at
        for i, place in enumerate(self._places):
            if not is_known or (i in self._where and (place.bias is None or self._statistics)):
                self._by_module.setdefault(place.module, []).append(i)

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("this recorder is recording already; make a second recorder for the network")
        self._listen()
        return self

    def __exit__(self, *exception: object) -> None:
        self._unlisten()
        if self._fresh is not None:
            self._fresh.forget()
        self._gradients, self._calls, self._arrived = {}, [], []
        if self._statistics is not None:
            self._statistics.end_row()

    def _listen(self) -> None:
        """Register the hooks for the next backward: one on layer 1, if it is not recorded or read from `.grad`."""
        needs_hooks = self._is_wanted() and (self._fresh is None or not self._fresh.is_ready)
        is_plain = self._statistics is None and (self._fresh is None or self._fresh.is_decided)
        self._near = -(-(self._number + 1) // self.every) * self.every - 1 if is_plain else 0
        if self._handles and needs_hooks == self._is_listening:
            return
        self._unlisten()
        self._is_listening = needs_hooks
        if not needs_hooks:
            self._handles = [self._anchor.register_hook(self._on_first)]
            return
        for i, place in enumerate(self._places):
            if place.bias is not None and (i in self._where or self._number < 0):
                self._handles.append(place.bias.register_hook(partial(self._on_bias, i)))
            else:
                self._handles.append(place.anchor.register_hook(self._on_anchor))
        self._handles += [on_calls(self._on_call)] if self._by_module else []
        self._handles += self._statistics.listen(self._begin) if self._statistics is not None else []

    def _unlisten(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def every(self) -> int:
        """The present number of backwards from one row to the next."""
        return self._blocks.every

    @property
    def history(self) -> History:
        """The history of all that has been recorded. It may be read at any time; to read it waits for the device."""
        self._fetch()
        return self._blocks.history

    @property
    def at_start(self) -> bool:
        """Whether the first backward of a network that is not `trained` has been recorded, and no other."""
        return self._number == 0 and not self._trained

    def _is_wanted(self) -> bool:
        """Whether the next backward is looked at."""
        return self._raises or self._blocks.is_spaced(self._number + 1)

    def _on_call(self, module: Any, inputs: Any, output: Any) -> None:
        found = self._by_module.get(module)
        if found is None and self._statistics is None:
            return
        z = first_tensor(output)
        if z is None:
            return
        for i in found or ():
            if self._number < 0:
                z.register_hook(partial(self._on_arrival, len(self._calls)))
                self._calls.append(i)
            if self._places[i].bias is None:
                z.register_hook(partial(self._on_output, i))
        if self._statistics is not None:
            self._statistics.on_call(found, module, inputs, z)

    def _begin(self) -> bool:
        """Note that a hook was called in a backward; return whether the gradients of this backward are collected."""
        if self._backward.is_new():
            self._gradients, self._arrived, self._is_counted = {}, [], False
            if self._fresh is not None:
                self._fresh.look()
            if self._statistics is not None:
                self._statistics.begin_backward()
            if self._is_listening:
                self._backward.call_at_end()
        return self._is_listening

    def _on_first(self, gradient: Any) -> None:
        """Count a backward that reaches layer 1; one that is recorded is counted at its end."""
        if self._number + 1 < self._near and self._anchor.grad is None:
            self._number += 1
            return
        if self._fresh is not None:
            self._fresh.look()
        elif self._statistics is not None:
            self._statistics.begin_backward()
        if self._is_wanted():
            self._backward.then(self._on_fresh_end)
            return
        self._number += 1
        if self._fresh is not None and self._fresh.can_be_read:
            self._backward.then(self._go_on)
        else:
            self._listen()

    def _go_on(self) -> None:
        """Note the gradients when a backward has ended, and listen to the next one."""
        if self._fresh is not None:
            self._fresh.note()
        self._listen()

    def _on_fresh_end(self) -> None:
        if self._fresh is not None:
            found, together = self._fresh.take()
            self._number += 1
            self._keep(partial(self._fresh.parts, found, together), together)
        self._listen()
        self._tell()

    def _on_bias(self, i: int, gradient: Any) -> None:
        self._on_anchor(gradient)
        # A copy, for .grad may take the tensor over, and change it.
        self._gradients[i] = (gradient.detach() if gradient.requires_grad else gradient).clone()

    def _on_anchor(self, gradient: Any) -> None:
        self._begin()
        self._is_counted = True  # backwards that reach no parameter are of gradients with respect to other things

    def _on_output(self, i: int, gradient: Any) -> None:
        if self._begin():
            kept = features_axis(self._places[i].module, gradient)
            total = gradient.detach().movedim(kept, -1).reshape(-1, gradient.shape[kept]).sum(dim=0)
            self._gradients[i] = self._gradients[i] + total if i in self._gradients else total

    def _on_arrival(self, call: int, gradient: Any) -> None:
        if self._begin():
            self._arrived.append(call)

    def _on_end(self) -> None:
        gradients, self._gradients = self._gradients, {}
        if not self._is_counted:
            return
        if self._number < 0:
            self._put_in_order()
        self._number += 1
        own = {self._where[i]: gradient for i, gradient in gradients.items() if i in self._where}
        bad = first_nonfinite(own, self.layers, self.names) if self._raises else ""
        self._keep(lambda: own, next(iter(own.values()), None), bad)
        self._go_on()
        self._tell()
        if bad:
            raise FloatingPointError(f"∂C/∂b of {bad} in backward {self._number}")

    def _tell(self) -> None:
        if self._teller is not None and self._blocks.is_spaced(self._number):
            self._teller.tell(self.history, self.at_start)

    def _put_in_order(self) -> None:
        """Number the layers in the order of their calls, when the first backward has ended."""
        called = [self._calls[call] for call in sorted(self._arrived)]
        self._calls, self._arrived = [], []
        self._arrange([*dict.fromkeys([*called, *range(len(self._places))])], is_known=True)
        for i in called if self._call is None else ():
            if called.count(i) > 1 and i in self._where:
                raise ValueError(
                    f'{self._places[i].name!r} was called {called.count(i)} times in one backward: call="sum" records '
                    "the sum of ∂C/∂b over its calls, which is what its bias.grad has; or leave it out with layers="
                )
        self._unlisten()  # from the calls that were needed for the order
        if not (self._raises or self._statistics is not None or self.is_local):
            places = [self._places[i] for i in self._where]
            self._fresh = fresh_gradients(places, self._anchor)

    def _keep(self, gradients: Callable[[], dict[int, Any]], some: Any, bad: str = "") -> None:
        """Begin a row for the backward, if it is to be kept; its numbers remain on the device.

        Args:
            gradients: a function that returns ∂C/∂b by the columns of the history.
            some: a tensor on the device; None if the backward has reached no layer.
            bad: which layer is not finite.
        """
        if self._blocks.is_full:
            self._fetch()
            self._blocks.make_room()
        if not (self._blocks.is_spaced(self._number) or bad):
            return
        self._blocks.begin(self._number, has_row=True)
        scale = None if self._scaler is None else scale_of(self._scaler, None if some is None else some.device)
        self._unread.add(self._blocks.row or 0, gradients, scale)
        if self._statistics is not None:
            self._statistics.end_backward(self._blocks.row or 0, scale)

    def _fetch(self) -> None:
        """Read what is still on the device, and write it into the blocks."""
        if self._statistics is not None:
            self._statistics.fetch()
        self._unread.write_into(self._blocks, len(self.layers))
