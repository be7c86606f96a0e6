"""Generated text: the source of a plan as functions of loops and of products, which become machine code.

Each loop is a function, `loop_1(...)` (`registers.py`); loops with the same text share one function. `run_0(table)`
calls the loops and the products in their order; the table has the addresses of all arrays. An operation without
generated code runs as a NumPy call, and `run_0`, `run_2` ... are the parts between such calls.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_vg.compiler.copies import copies_of, covers
from tinygrad_vg.compiler.layout import Access, Group, Lying, chosen, contiguous, is_sum
from tinygrad_vg.compiler.passes import DESCENT
from tinygrad_vg.compiler.plan import Instruction, Value
from tinygrad_vg.compiler.templates import ROWS, expression


class Text:
    """Writes the source of a plan.

    Attributes:
        loops: the name of each loop function, by its text.
        parts: the lines of each part of `run`; a Group between them is a NumPy call.
        places: the place of each array in the table.
    """

    def __init__(self, groups: list[Group], found: dict[Value, Access], outputs: set[Value], pause: int) -> None:
        self.found = found
        self.loops: dict[str, str] = {}
        self.parts: list[list[str] | Group] = []
        self.places: dict[Value, int] = {}
        self.readers: dict[Value, set[int]] = {}
        for number, group in enumerate(groups):
            for i in group.instructions:
                for value in i.reads:
                    self.readers.setdefault(value, set()).add(number)
        for value in outputs:
            self.readers.setdefault(value, set()).add(-1)
        self.viewed = {access.root for value, access in found.items() if access.root is not value}
        self.pause = len(groups)  # the number of the part before which hooks are called
        for number, group in enumerate(groups):
            if number == pause:
                self.pause = len(self.parts)
            if group.kind == "call":
                self.parts.append(group)
                continue
            if not self.parts or isinstance(self.parts[-1], Group) or number == pause:
                self.parts.append([])
            part: Any = self.parts[-1]
            written = {"rows": self.rows, "copies": self.copies, "product": self.product}.get(group.kind)
            part += self.loop(group, number) if written is None else written(group)

    def place(self, value: Value) -> int:
        """The index of a root in the table."""
        return self.places.setdefault(value, len(self.places))

    def is_stored(self, value: Value, number: int) -> bool:
        """Whether the value is needed outside the loop number `number`, which makes it."""
        return (
            bool(self.readers.get(value, set()) - {number})
            or value in self.viewed
            or self.found[value].root is not value
        )

    # Loops.

    def loop(self, group: Group, number: int) -> list[str]:
        """The call of a loop, whose text goes into `loops`."""
        names: dict[Value, str] = {}  # of arrays, by root
        scalars: dict[Value, str] = {}
        before: list[str] = []
        body: list[str] = []
        after: list[str] = []

        def array(value: Value) -> str:
            return names.setdefault(self.found[value].root, f"a{len(names)}")

        def read(value: Value) -> str:
            if value not in scalars:
                scalars[value] = f"x{len(scalars)}"
                body.append(f"{scalars[value]} = {array(value)}[{self.index(value, group)}]")
            return scalars[value]

        for i in group.instructions:
            if is_sum(i):
                sums = self.sum(i, array(i.out), read(i.reads[0]), group)
                before, body, after = before + sums[0], body + sums[1], after + sums[2]
                continue
            text = expression(i, read)
            scalars[i.out] = f"x{len(scalars)}"
            body.append(f"{scalars[i.out]} = {text}  # {i.operation.name}")
            if self.is_stored(i.out, number):
                body.append(f"{array(i.out)}[{self.index(i.out, group)}] = {scalars[i.out]}")
        heads = self.heads(group)
        return [self.called([*before, *heads, *("    " * len(heads) + line for line in body), *after], names, group)]

    def called(self, lines: list[str], names: dict[Value, str], group: Group) -> str:
        """The call of a function with these lines and arrays, whose text goes into `loops`."""
        given = [f"{name}: {kind_of(root)}" for root, name in names.items()]
        text = f"({', '.join(given)}):\n" + "".join(f"    {line}\n" for line in lines)
        name = self.loops.setdefault(text, f"loop_{len(self.loops) + 1}")
        listed = ", ".join(f"table[{self.place(root)}]" for root in names)
        return f"{name}({listed})  # {', '.join(dict.fromkeys(i.line for i in group.instructions))}"

    def rows(self, group: Group) -> list[str]:
        """The call of a loop over rows."""
        (i,) = group.instructions
        *lead, n = i.reads[0].shape
        names: dict[Value, str] = {}
        given = []
        for value in (i.out, *i.reads):
            root, offset, strides = self.found[value]
            has_row = value.ndim > len(lead) if value is i.out else value.dtype.kind == "f"  # and indices have none
            count = value.ndim - has_row
            begin = place(strides[:count], offset, len(lead) - count)
            given.append(f"{names.setdefault(root, f'a{len(names)}')}.since({begin})")
        heads = axes(lead)
        call = f"{ROWS[i.operation.function]}({', '.join(given)}, {n})  # {i.operation.name}"
        return [self.called([*heads, "    " * len(heads) + call], names, group)]

    def heads(self, group: Group) -> list[str]:
        """The lines that begin the loops over a group's shape."""
        first = len(group.shape) - group.merged
        heads = axes(group.shape[:first])
        if group.merged or not heads:
            heads.append("    " * first + f"for i in indices({int(np.prod(group.shape[first:], dtype=np.int64))}):")
        return heads

    def index(self, value: Value, group: Group) -> str:
        """The index of a value's element in a loop."""
        access, first = self.found[value], len(group.shape) - group.merged
        lead = len(group.shape) - len(value.shape)
        terms = [
            times(f"i{lead + axis}", stride)
            for axis, (n, stride) in enumerate(zip(value.shape, access.strides, strict=True))
            if lead + axis < first and n != 1 and stride
        ]
        if any(n != 1 for n in value.shape[max(0, first - lead) :]):
            terms.append("i")
        return " + ".join([*terms, *([str(access.offset)] if access.offset or not terms else [])])

    def sum(self, i: Instruction, name: str, term: str, group: Group) -> tuple[list[str], list[str], list[str]]:
        """The lines of a sum before, in and after its loops."""
        (a,) = i.reads
        over = i.kwargs.get("axis")
        over = tuple(range(a.ndim)) if over is None else over if isinstance(over, tuple) else (over,)
        summed = {axis % a.ndim for axis in over}
        mean = f" / {float(np.prod([a.shape[axis] for axis in summed]))}" if i.operation.function is np.mean else ""
        if len(summed) == a.ndim:  # one number; floats are added up in float64
            kind = "float64" if i.out.dtype.kind == "f" else "int64"
            return [f"total = variable({kind}(0))"], [f"total[0] += {term}"], [f"{name}[0] = total[0]{mean}"]
        strides = iter(contiguous(tuple(n for axis, n in enumerate(a.shape) if axis not in summed)))
        index = " + ".join(times(f"i{axis}", next(strides)) for axis in range(a.ndim) if axis not in summed)
        each = f"for j in indices({int(np.prod(i.out.shape, dtype=np.int64))}):"
        divided = [each, f"    {name}[j] = {name}[j]{mean}"] if mean else []
        return [each, f"    {name}[j] = 0.0"], [f"{name}[{index}] += {term}"], divided

    def copies(self, group: Group) -> list[str]:
        """The call of a function that copies arrays into parts of another one."""
        (i,) = group.instructions
        names = {self.found[i.out].root: "a0"}
        lines = [] if covers(i) else [f"for j in indices({int(np.prod(i.out.shape))}):", "    a0[j] = 0.0"]
        for source, offset, strides in copies_of(i):
            root, begin, distances = self.found[source]
            name, heads = names.setdefault(root, f"a{len(names)}"), axes(source.shape)
            copy = f"a0[{place(strides, offset)}] = {name}[{place(distances, begin)}]"
            lines += [*heads, "    " * len(heads) + f"{copy}  # {i.operation.name}"]
        return [self.called(lines, names, group)]

    # Products.

    def product(self, group: Group) -> list[str]:
        """The calls of a function for a product of matrices, or of stacks of matrices.

        BLAS, whose function is gemm, stores matrices column by column: C = A B stored by rows is Cᵀ = Bᵀ Aᵀ for BLAS.
        """
        (i,) = group.instructions
        kind = i.out.dtype.name
        a, b = i.args[-2:]
        alpha, beta = f"{kind}(1.0)", f"{kind}(0.0)"
        if i.operation is DESCENT:
            alpha, beta = f"-{self.number(i.args[2], kind)}", self.number(i.args[1], kind)
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = Value((*lead, a.shape[-2], b.shape[-1]), i.out.dtype)
        self.found[out] = Access(self.found[i.out].root, self.found[i.out].offset, contiguous(out.shape))
        (m, n), k = out.shape[-2:], a.shape[-1]
        heads = axes(lead)
        parts = []
        for value in (b, a, out):
            access = self.found[value]
            missing = len(lead) - len(value.shape[:-2])
            terms = [
                f"i{missing + axis} * {stride * value.dtype.itemsize}"
                for axis, (count, stride) in enumerate(zip(value.shape[:-2], access.strides, strict=False))
                if count != 1
            ]
            offset = [str(access.offset * value.dtype.itemsize)] if access.offset else []
            address = " + ".join([f"table[{self.place(access.root)}]", *terms, *offset])
            parts.append((address, *transposed(value, access)))
        (pb, tb, ldb), (pa, ta, lda), (pc, _, ldc) = parts
        lying = Lying(self.found[a].strides[-2:], self.found[b].strides[-2:])
        is_update, sizes = i.operation is DESCENT, (m, n, k, *lying.distances)
        name = chosen(m, n, k, lying, i.out.dtype.itemsize, is_update)
        if name is None:
            function = Function("gemm", kind)
            given = f"{tb}, {ta}, {n}, {m}, {k}, {alpha}, {pb}, {ldb}, {pa}, {lda}, {beta}, {pc}, {ldc}"
        else:
            function = Function(name, kind, sizes, is_update)
            given = f"{pa}, {pb}, {pc}, {', '.join(map(str, sizes))}, {alpha}, {beta}"
        number = self.place(FUNCTIONS.setdefault(function, Value((), i.out.dtype)))
        call = f"{function.name}(table[{number}], {given})"
        return [*heads, "    " * len(heads) + call + f"  # {i.line}"]

    def number(self, factor: Any, kind: str) -> str:
        """A factor of a descent: a constant, or an array of one number."""
        if isinstance(factor, Value):
            access = self.found[factor]
            return f"array(table[{self.place(access.root)}], {kind})[{access.offset}]"
        return f"{kind}({float(factor)!r})"

    def text(self) -> str:
        """The whole source."""
        lines = [
            f"from tinygrad_vg.compiler.{module} import *" for module in ("elementary", "registers", "rows", "calls")
        ]
        for text, name in self.loops.items():
            lines += ["", "@loop", f"def {name}{text}"]
        for number, part in enumerate(self.parts):
            if not isinstance(part, Group):
                lines += ["", "", f"def run_{number}(table: int64):", *(f"    {line}" for line in part)]
        return "\n".join(lines) + "\n"


def shared_factors(groups: list[Group], found: dict[Value, Access]) -> set[Value]:
    """The roots of the factors that all products of a stack read.

    Products read faster what begins at a multiple of 64 bytes. The copy takes longer than one product gains, but less
    than the products of several members gain together.
    """
    products = (i for group in groups if group.kind == "product" for i in group.instructions)
    factors = (value for i in products for value in i.args[-2:] if value.ndim < i.out.ndim)
    return {found[value].root for value in factors}


class Function(NamedTuple):
    """A function for products: BLAS's gemm, or one of `products.py` for these sizes."""

    name: str
    kind: str
    sizes: tuple[int, ...] = ()
    is_update: bool = False


FUNCTIONS: dict[Function, Value] = {}  # with the value that stands for the function's address in a table


def kind_of(root: Value) -> str:
    """The kind of an array's numbers in a loop."""
    return "boolean" if root.dtype == bool else str(root.dtype.name)


def axes(shape: Iterable[int]) -> list[str]:
    """The lines that begin the loops over the axes of a shape."""
    return ["    " * axis + f"for i{axis} in indices({n}):" for axis, n in enumerate(shape)]


def place(strides: tuple[int, ...], offset: int, first: int = 0) -> str:
    """The index of an element, by the indices of loops over axes, the first of them number `first`."""
    terms = [times(f"i{first + axis}", stride) for axis, stride in enumerate(strides)]
    return " + ".join([*terms, *([str(offset)] if offset or not terms else [])])


def times(index: str, stride: int) -> str:
    """An index times a stride."""
    return index if stride == 1 else f"{index} * {stride}"


def transposed(value: Value, access: Access) -> tuple[int, int]:
    """(whether BLAS must transpose a matrix, the distance of its rows)."""
    (rows, columns), (down, right) = value.shape[-2:], access.strides[-2:]
    if right == 1 or columns == 1:
        return 0, max(1, columns, down if rows > 1 else columns)
    return 1, max(1, rows, right)
