"""Layout: the place of each value's elements in memory, and the instructions that run in one loop."""

import operator
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from tinygrad_vg.compiler.passes import DESCENT
from tinygrad_vg.compiler.plan import VIEWS, Instruction, Plan, Value
from tinygrad_vg.engine.arrays import is_basic

FLOATS = ("float32", "float64")
FEW = 32  # rows; BLAS is up to twice as fast where a product has more of them on all sides
NEAR = 2**18  # bytes that stay in a processor's second cache
LONGEST = 2**12  # numbers of a row of which dot products are computed


def is_real(kinds: Iterable[Any]) -> bool:
    """Whether generated functions read and write numbers of these dtypes; in another byte order they do not."""
    return all(d.isnative and d.name in (*FLOATS, "bool", "int64", "int32") for d in map(np.dtype, kinds))


class Access(NamedTuple):
    """The place of a value's elements: in the array of `root`, from `offset` on, `strides` elements apart."""

    root: Value
    offset: int
    strides: tuple[int, ...]


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an array in C order, in elements."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def accesses(plan: Plan, into: dict[Value, Value]) -> dict[Value, Access]:
    """The access of every value. A view has the root of the value that it shows; every other value is a root itself."""
    found = {value: Access(value, 0, contiguous(value.shape)) for value in plan.inputs}
    for i in plan.instructions:
        view = view_of(i, found)
        found[i.out] = view or Access(into.get(i.out, i.out), 0, contiguous(i.out.shape))
    return found


def view_of(i: Instruction, found: dict[Value, Access]) -> Access | None:
    """The access of a view, found by making the same view of an array of bytes; None if the value is not a view."""
    if i.operation.function not in VIEWS or not isinstance(i.args[0], Value) or len(i.reads) > 1:
        return None
    if i.operation.function is operator.getitem and not is_basic(i.args[1]):
        return None
    root, offset, strides = found[i.args[0]]
    memory = np.zeros(max(1, int(np.prod(root.shape, dtype=np.int64))), np.int8)
    given = np.lib.stride_tricks.as_strided(memory[offset:], i.args[0].shape, strides)
    view = np.asarray(i.operation.kernel(given, *i.args[1:], **i.kwargs))
    if not np.may_share_memory(view, memory):
        return None
    begin = view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    return Access(root, begin, view.strides)


class Lying(NamedTuple):
    """How the (m, k) matrix A and the (k, n) matrix B lie: the distances of their rows and columns, in elements."""

    a: tuple[int, ...]
    b: tuple[int, ...]

    @property
    def distances(self) -> tuple[int, ...]:
        """What the functions are told: the distances of A's rows and columns, and of B's rows, or its columns if they
        are what lies in a row."""
        return *self.a, self.b[0] if self.b[1] == 1 else self.b[1]


def chosen(m: int, n: int, k: int, lying: Lying, size: int, is_update: bool) -> str | None:
    """The function for a product of numbers of `size` bytes; None for a product that BLAS takes.

    >>> chosen(10, 30, 784, Lying((784, 1), (1, 784)), 4, False), chosen(30, 784, 10, Lying((1, 30), (784, 1)), 4, True)
    ('dots', 'sums')

    With many rows of few numbers BLAS is faster:

    >>> chosen(1000, 30, 30, Lying((30, 1), (1, 30)), 4, False)
    """
    if lying.b[1] == 1 and n >= 8:
        return "sums" if min(m, k) <= FEW else None
    is_in_rows = lying.b[0] == lying.a[1] == 1 and 8 <= k <= LONGEST
    is_small = min(m, n) <= FEW and n * k * size <= 4 * NEAR and (k > FEW or m <= 4 * FEW)
    return "dots" if is_in_rows and is_small and not is_update else None


Kind = Literal["loop", "rows", "copies", "product", "call"]


@dataclass(eq=False)
class Group:
    """Instructions that run together.

    Attributes:
        kind: "loop" over the elements of one shape, a function of "rows", "copies" into a new array, a matrix
            "product", or a "call" of NumPy.
        shape: the shape over whose elements a loop runs.
        merged: how many of the last axes of the shape share one index, because each array has all of them in their
            order, or none of them.
        is_late: whether the group runs after the hooks were called.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    merged: int = 0
    is_late: bool = False
    instructions: list[Instruction] = field(default_factory=list)


def is_sum(i: Instruction) -> bool:
    """Whether an instruction adds up elements of its argument; a mean does so, and divides by their number."""
    if i.operation.function not in (np.sum, np.mean) or not len(i.args) == len(i.reads) == 1:
        return False
    return i.kwargs.keys() <= {"axis", "keepdims"} and is_real([i.reads[0].dtype, i.out.dtype])


def grouped(
    plan: Plan,
    found: dict[Value, Access],
    elementwise: Callable[[Instruction], bool],
    kinds: dict[Kind, Callable[..., bool]],
    late: Container[Value] = (),
) -> list[Group]:
    """The instructions in groups. An elementwise instruction joins the first loop of its shape after its arguments.

    Args:
        plan: the instructions.
        found: the access of every value.
        elementwise: whether an instruction can be part of a loop.
        kinds: for a kind of groups whether an instruction is of that kind; one of no kind is a call.
        late: the values that are computed after the hooks were called, in groups of their own.
    """
    groups: list[Group] = []
    behind: dict[Value, int] = {}  # the number of the group that makes a root
    for i in plan.instructions:
        if view_of(i, found):
            continue
        needed = max((behind.get(found[v].root, -1) for v in i.reads), default=-1)
        if is_sum(i) or elementwise(i):
            shape = i.reads[0].shape if is_sum(i) else i.out.shape
            merged = 0 if is_sum(i) else min((mergeable(v, found[v], shape) for v in i.reads), default=len(shape))
            form: tuple[Kind, tuple[int, ...], int, bool] = ("loop", shape, merged, i.out in late)
            inside = is_inside(i, groups, needed, found)
            first = needed if inside else needed + 1
            for number in range(max(0, first), len(groups)):
                group = groups[number]
                if (
                    (group.kind, group.shape, group.merged, group.is_late) == form
                    and not is_sum(i)
                    and not any(map(is_sum, group.instructions))
                ):
                    break
            else:
                number = len(groups)
                groups.append(Group(*form))
        else:
            number = len(groups)
            kind: Kind = next((kind for kind, is_of in kinds.items() if is_of(i, found)), "call")
            groups.append(Group(kind, is_late=i.out in late))
        groups[number].instructions.append(i)
        behind[found[i.out].root] = max(number, behind.get(found[i.out].root, -1))
    return groups


def is_inside(i: Instruction, groups: list[Group], needed: int, found: dict[Value, Access]) -> bool:
    """Whether an instruction may be in the loop that computes its arguments: it reads each element right after it was
    computed.
    """
    if needed < 0 or groups[needed].kind != "loop":
        return False
    made = {j.out for j in groups[needed].instructions}
    roots = {found[v].root for v in made}
    return all(v in made or found[v].root not in roots for v in i.reads) and all(
        v.shape == groups[needed].shape for v in i.reads if v in made
    )


def mergeable(value: Value, access: Access, shape: tuple[int, ...]) -> int:
    """How many of the last axes of a loop over `shape` can share an index: the value's elements lie in their order, or
    all of these axes have the same element.

    >>> def axes(*shape):
    ...     value = Value(shape, np.dtype("float32"))
    ...     return mergeable(value, Access(value, 0, contiguous(shape)), (16, 10, 30))
    >>> axes(16, 10, 30), axes(10, 30), axes(30), axes(16, 1, 1), axes()
    (3, 2, 1, 2, 3)
    """
    count = 0
    for length in range(1, len(shape) + 1):
        axes = range(-1, -1 - min(length, value.ndim), -1)
        is_one = all(value.shape[axis] == 1 for axis in axes)
        has_all = value.shape[-length:] == shape[-length:] and len(axes) == length
        if is_one or (has_all and access.strides[-length:] == contiguous(shape[-length:])):
            count = length
    return count


def is_product(i: Instruction, found: dict[Value, Access]) -> bool:
    """Whether BLAS can compute a product of these matrices as they lie."""
    if i.operation.function not in (np.matmul, DESCENT.function) or i.kwargs:
        return False
    if i.out.dtype.name not in ("float32", "float64"):
        return False
    factors = i.args[-2:]
    if not all(isinstance(a, Value) and a.ndim > 1 and a.dtype == i.out.dtype and 0 not in a.shape for a in factors):
        return False
    return all(lies_well(a, found[a]) for a in factors)


def lies_well(value: Value, access: Access) -> bool:
    (rows, columns), (down, right) = value.shape[-2:], access.strides[-2:]
    if right == 1 or columns == 1:
        return rows == 1 or (down >= columns and (columns > 1 or down >= 1))
    return (down == 1 or rows == 1) and right >= rows


def replaced(
    groups: list[Group], changed: dict[Value, Value], found: dict[Value, Access], outputs: Iterable[Any]
) -> dict[Value, Value]:
    """The outputs that may be written into the array of the input that they replace: the input is not read later.

    An output that is the input itself, or a view of it, is read at the end.
    """
    kept = {found[value].root for value in outputs if isinstance(value, Value)}
    made = {i.out: number for number, group in enumerate(groups) for i in group.instructions}
    into = {}
    for new, old in changed.items():
        number = made.get(new)
        if number is None or new.shape != old.shape or old in kept:
            continue
        here = groups[number]
        later = (v for group in groups[number + 1 :] for i in group.instructions for v in i.reads)
        same = (v for i in here.instructions for v in i.reads if v is not old)
        is_descent = here.instructions[0].operation is DESCENT
        is_same_place = here.merged == len(here.shape) if here.kind == "loop" else is_descent
        if is_same_place and not any(found[v].root is old for v in (*later, *same)):
            into[new] = old
    return into
