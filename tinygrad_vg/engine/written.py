"""Writes into an array that a graph holds, after which the graph's gradients would be wrong.

There are two ways to notice a write. `t.data *= 2` assigns the same array to `data` again; this is always noticed,
because the setter takes almost no time. Other writes leave no trace, and to look for them takes more than a hundredth
of a step. So they are noticed only inside `checked()`, where every array that a graph holds gets a checksum.
"""

import dis
import inspect
import itertools
import weakref
import zlib
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_vg.engine.recording import Switch

orders = itertools.count()  # numbers nodes, and the writes between them


class Writes:
    """The writes that were noticed.

    Attributes:
        latest: the time of the last write; a younger node need not be checked.
        arrays: by the id of the array that owns the memory, and by the array's own id: a weak reference to the array,
            which removes the entry when the array is freed, and the time of the last write, in a list of one number.
    """

    def __init__(self) -> None:
        self.latest = -1
        self.arrays: dict[int, dict[int, tuple[weakref.ref[Any], list[int]]]] = {}

    def add(self, array: Any) -> None:
        """Note a write into this array."""
        if isinstance(array, np.ndarray):
            self.now(self.watch([array]))

    def now(self, when: list[int]) -> None:
        """Note a write into the arrays for which `watch` returned this list."""
        self.latest = when[0] = next(orders)

    def watch(self, arrays: Iterable[Any]) -> list[int]:
        """Prepare for repeated writes into some arrays; return the argument for `now`."""
        when = [-1]
        for array in arrays:
            self._watch(array, when)
        return when

    def _watch(self, array: Any, when: list[int]) -> None:
        owner, key = owner_of(array), id(array)
        of_owner = self.arrays.setdefault(owner, {})

        def forget(_: Any) -> None:
            of_owner.pop(key, None)
            if not of_owner:
                self.arrays.pop(owner, None)

        of_owner[key] = weakref.ref(array, forget), when

    def keep(self, when: list[int], arrays: Iterable[Any]) -> None:
        """Keep the time of the last write into arrays after those that were watched in their place are gone."""
        for array in arrays:
            if (entry := self.arrays.get(owner_of(array), {}).get(id(array))) is not None:
                entry[1][0] = max(entry[1][0], when[0])

    def since(self, order: int, array: Any) -> bool:
        """Whether this array's memory was written into after that time."""
        for ref, when in [*self.arrays.get(owner_of(array), {}).values()]:
            if when[0] > order and (other := ref()) is not None and np.may_share_memory(array, other):
                return True
        return False


def owner_of(array: Any) -> int:
    """The id of the object that owns an array's memory."""
    return id(array if array.base is None else array.base)


writes = Writes()


def was_written(array: Any, since: int) -> bool:
    """Whether a write into an array was noticed after the node of this order was recorded.

    >>> import tinygrad_vg as tg
    >>> from tinygrad_vg.engine import was_written
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> y = w * w
    >>> w.data *= 2
    >>> was_written(w.data, y.node.order)
    True
    """
    return writes.latest > since and writes.since(since, array)


def checked() -> Switch:
    """Inside this context every array that a graph keeps gets a checksum, and a backward compares it.

    It finds every kind of write into an array between forward and backward: `w.data[0] = 1`, `np.add(..., out=w.data)`,
    a batch buffer that is filled again, an index array that is shuffled. The backward then raises RuntimeError. Use it
    to find an error: every array is read once more, so a step takes two to three times as long. The forward has to be
    inside the context, the backward need not be.

    Outside of it only `t.data *= 2` is noticed. An array that no rule reads, such as a summand, may be written into.

    >>> import numpy as np, tinygrad_vg as tg
    >>> w, x = tg.Tensor([1.0, 2.0], requires_grad=True, name="w"), np.array([3.0, 4.0])
    >>> with tg.checked():
    ...     cost = np.sum(w * x)
    >>> x[0] = 5.0
    >>> try:
    ...     cost.backward()
    ... except RuntimeError as error:
    ...     print(str(error).partition(", and")[0])
    argument 2 of np.multiply, an array of shape (2,), was written into after the forward
    """
    return Switch("note", checksums)


def checksums(node: Any) -> list[int]:
    """A checksum for each array that a node holds."""
    return [zlib.crc32(np.ascontiguousarray(array).ravel().view(np.uint8).data) for _, array in _arrays(node)]


def check(node: Any) -> None:
    """Raise RuntimeError if an array that the node holds was written into after its forward."""
    for place, array in _arrays(node) if writes.latest > node.order else ():
        if writes.since(node.order, array) and _read(node, place):
            raise RuntimeError(_why(node, place, array))
    if node.checksums is not None:
        for (place, array), then, now in zip(_arrays(node), node.checksums, checksums(node), strict=True):
            if then != now and _read(node, place):
                raise RuntimeError(_why(node, place, array))


def _arrays(node: Any) -> Iterator[tuple[int, Any]]:
    """The arrays of a node that can be written into, with the place of the argument, or -1 for the output."""
    for place, value in (*enumerate(node.values), (-1, node.output)):
        for array in value if isinstance(value, tuple | list) else (value,):  # an index may hold several
            if isinstance(array, np.ndarray) and array.dtype != object:
                yield place, array


def _read(node: Any, place: int) -> bool:
    """Whether a rule of the node's edges uses the argument at this place, or the output. The rule of a sum, for
    example, uses no summand.
    """
    for _, _, rule in node.edges:
        code = rule.__code__ if isinstance(rule, FunctionType) else None
        if code is None or code.co_flags & inspect.CO_VARARGS:
            return True  # such a rule may use anything
        name = code.co_varnames[place + 2]  # behind g and y
        used = [i.argval for i in dis.get_instructions(code) if i.opname.startswith("LOAD")]
        if any(name == names or (isinstance(names, tuple) and name in names) for names in used):
            return True
    return False


def _why(node: Any, place: int, array: Any) -> str:
    """The message: which array it was, and what to write instead."""
    name = node.operation.name
    given = getattr(node.inputs[place], "label", None) if place >= 0 else f"the output of {name}"
    what = f"the data of {given}" if given else f"argument {place + 1} of {name}, an array of shape {array.shape},"
    where = f", an argument of {name}," if given and place >= 0 else ""
    return (
        f"{what}{where} was written into after the forward, and the gradient needs its old values; "
        + ("write t.data = 2 * t.data for t.data *= 2" if given else "give the forward a copy")
        + ", or write after the backward"
    )
