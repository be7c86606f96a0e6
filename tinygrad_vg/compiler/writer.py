"""The writer: functions of loops and vectors in LLVM's language, for products of matrices."""

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir

INT, INT32 = ir.IntType(64), ir.IntType(32)
FLOATS = {"float32": (ir.FloatType(), 4), "float64": (ir.DoubleType(), 8)}  # with their bytes
NARROW, WIDE = 32, 64  # bytes of a vector; wide ones need AVX-512, which comes with twice as many registers

ON_KNOWN = {"sub": operator.sub, "srem": operator.mod, "<=": operator.le, ">=": operator.ge, "==": operator.eq}
Body = Callable[[Any, list[Any]], Iterable[Any]]


class Writer:
    """Writes the functions for one kind of numbers and vectors of so many bytes, with LLVM's builder."""

    def __init__(self, kind: str, width: int) -> None:
        self.number, self.size = FLOATS[kind]
        self.width, self.lanes = width, width // self.size
        self.vector = ir.VectorType(self.number, self.lanes)
        self.module = ir.Module(f"products_{kind}")
        self.builder = ir.IRBuilder()

    def function(self, name: str, whole: int, known: dict[int, float]) -> list[Any]:
        """Begin a function of so many whole numbers and of two numbers α and β.

        Returns:
            Its arguments; those that are known, by their numbers, as constants.
        """
        kind = ir.FunctionType(ir.VoidType(), [INT] * whole + [self.number] * 2)
        function = ir.Function(self.module, kind, name)
        self.builder = ir.IRBuilder(function.append_basic_block())
        return [a if n not in known else ir.Constant(a.type, known[n]) for n, a in enumerate(function.args)]

    def whole(self, name: str, a: Any, b: Any) -> Any:
        """The result of an operation of two whole numbers, which is known if they are: then it takes no instruction."""
        if is_known(a, b):
            return INT(ON_KNOWN[name](a.constant, b.constant))
        return getattr(self.builder, name)(a, b)

    def choice(self, sign: str, a: Any, b: Any, first: Any, second: Any) -> Any:
        """`first` if the comparison of two whole numbers is true, else `second`."""
        if is_known(a, b):
            return first if ON_KNOWN[sign](a.constant, b.constant) else second
        return self.builder.select(self.builder.icmp_signed(sign, a, b), first, second)

    def loop(self, begin: Any, end: Any, step: int, body: Body, values: Sequence[Any] = ()) -> list[Any]:
        """`for i in range(begin, end, step): values = body(i, values)`; the last values."""
        if is_known(begin, end) and begin.constant >= end.constant:
            return [*values]
        b, before = self.builder, self.builder.block
        head, inside, after = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        phis = [b.phi(value.type) for value in (INT(0), *values)]
        b.cbranch(b.icmp_signed("<", phis[0], end), inside, after)
        b.position_at_end(inside)
        new = [b.add(phis[0], INT(step)), *body(phis[0], phis[1:])]
        for phi, first, later in zip(phis, (begin, *values), new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, b.block)
        b.branch(head)
        b.position_at_end(after)
        return phis[1:]

    def tiled(self, begin: Any, end: Any, steps: Iterable[int], body: Callable[[Any, int], None]) -> Any:
        """Go from begin to end in the largest of some steps, then in the next one, and so on; where it ends."""
        for step in steps:
            left = self.whole("sub", end, begin)
            stop = self.whole("sub", end, self.whole("srem", left, INT(step)))
            self.loop(begin, stop, step, in_steps(body, step))
            begin = stop
        return begin

    def blocks(self, end: Any, size: Any, body: Callable[[Any, Any], None]) -> None:
        """Go from 0 to `end` in blocks of some size: `body(begin, end)`."""
        if is_known(end, size) and end.constant <= size.constant:
            body(INT(0), end)
            return
        b = self.builder

        def block(number: Any, _: list[Any]) -> list[Any]:
            begin = b.mul(number, size)
            stop = b.add(begin, size)
            body(begin, b.select(b.icmp_signed("<", stop, end), stop, end))
            return []

        self.loop(INT(0), b.sdiv(b.sub(b.add(end, size), INT(1)), size), 1, block)

    def place(self, base: Any, row: Any, more: int, distance: Any) -> Any:
        """The address of the row `row + more` of a matrix."""
        b = self.builder
        return b.add(base, b.mul(b.mul(b.add(row, INT(more)), distance), INT(self.size)))

    def at(self, row: Any, column: Any, kind: Any) -> Any:
        """A pointer to a number, or to a vector that begins there."""
        address = self.builder.add(row, self.builder.mul(column, INT(self.size)))
        return self.builder.inttoptr(address, kind.as_pointer())

    def read(self, row: Any, column: Any, kind: Any) -> Any:
        return self.builder.load(self.at(row, column, kind), align=self.size)

    def write(self, value: Any, row: Any, column: Any) -> None:
        self.builder.store(value, self.at(row, column, value.type), align=self.size)

    def plus(self, total: Any, a: Any, b: Any) -> Any:
        """total + a b, rounded once where the processor can."""
        return self.builder.fadd(total, self.builder.fmul(a, b, flags=("contract",)), flags=("contract",))

    def spread(self, number: Any, kind: Any) -> Any:
        """A number, or a vector of it."""
        if not isinstance(kind, ir.VectorType):
            return number
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, number, INT32(0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, kind.count), None))

    def moved(self, vectors: list[Any], lanes: list[int]) -> Any:
        """A vector of some of the numbers of two vectors, by their places."""
        return self.builder.shuffle_vector(*vectors, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))

    def since(self, lane: Any, new: Any, old: Any) -> Any:
        """A vector with the numbers of `new` from a lane on, and those of `old` before it."""
        kind = ir.VectorType(INT, self.lanes)
        lanes = ir.Constant(kind, [*range(self.lanes)])
        return self.builder.select(self.builder.icmp_signed(">=", lanes, self.spread(lane, kind)), new, old)

    def totals(self, vectors: list[Any]) -> list[Any]:
        """The sum of the numbers of each vector.

        In each step the second half of a vector is added to the first one, for two vectors by one instruction: their
        halves become one vector.
        """
        if len(vectors) > self.lanes:
            return self.totals(vectors[: self.lanes]) + self.totals(vectors[self.lanes :])
        left, width = vectors, self.lanes
        while width > 1:
            half = width // 2
            if len(left) % 2:
                left = [*left, ir.Constant(self.vector, ir.Undefined)]
            first = [part * width + i for part in range(2 * self.lanes // width) for i in range(half)]
            second = [lane + half for lane in first]
            pairs = [left[i : i + 2] for i in range(0, len(left), 2)]
            left = [self.builder.fadd(self.moved(pair, first), self.moved(pair, second)) for pair in pairs]
            width = half
        return [self.builder.extract_element(left[0], INT32(i)) for i in range(len(vectors))]

    def zero(self, kind: Any) -> Any:
        return ir.Constant(kind, 0.0 if kind is self.number else None)


@cache
def widest() -> int:
    """The bytes of this processor's vectors."""
    import llvmlite.binding as llvm

    return WIDE if llvm.get_host_cpu_features().get("avx512f") else NARROW


def is_known(*numbers: Any) -> bool:
    """Whether numbers are known when the function is written."""
    return all(isinstance(number, ir.Constant) for number in numbers)


def in_steps(body: Callable[[Any, int], None], step: int) -> Body:
    """A body that gets the step of its loop, and has no values."""

    def stepped(i: Any, _: list[Any]) -> list[Any]:
        body(i, step)
        return []

    return stepped
