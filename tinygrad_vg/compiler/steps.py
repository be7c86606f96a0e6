"""The function of many steps, in machine code: a job's runs (`jobs.Job`), and what goes in and out of each of them."""

from collections.abc import Iterator
from typing import Any, no_type_check

from llvmlite import ir

from tinygrad_vg.compiler.places import COUNT, FOLLOWED, GIVEN, NUMBER, RESULT, WATCHED32
from tinygrad_vg.compiler.registers import (
    Array,
    Register,
    array,
    call_at,
    copy,
    end_here,
    float32,
    float64,
    indices,
    int64,
    variable,
    when,
    written,
)


@no_type_check  # int64 is no type but a kind of registers
def steps(job: int64) -> None:
    """Run the functions of a job for each of its steps, with the arrays that go in and out."""
    first, second, spare, table, moves, size, batches, rows, begin, end = (job[i] for i in range(10))
    batch, all_moves = array(batches, int64), array(moves, int64)
    for step in indices(end, begin):
        for kind, source, target, n in each(all_moves, size):
            with when(kind == GIVEN):
                for row in indices(rows):
                    copy(source + batch[step * rows + row] * n, target + row * n, n)
            with when(kind == NUMBER):
                copy(source + step * n, target, n)
        call_at(first, table)
        for kind, source, target, n in each(all_moves, size):
            with when(kind >= WATCHED32), when(~is_sound(kind, source, target, n, spare)):
                job[9] = step
                end_here()
        for kind, source, target, n in each(all_moves, size):
            with when(kind == FOLLOWED):
                ends = array(target, int64)
                copy(source, ends[0], n)
                ends[0] += n
        with when(second != 0):
            call_at(second, table)
        for kind, source, target, n in each(all_moves, size):
            with when(kind == RESULT):
                copy(source, target + step * n, n)
            with when(kind == COUNT):
                copy(source + step * n, target, n)


def each(moves: Array, size: Register) -> Iterator[tuple[Register, ...]]:
    """The moves of a job, one after the other."""
    for i in indices(size):
        row = moves.since(i * 4)
        yield tuple(row[column] for column in range(4))


def is_sound(kind: Register, source: Register, function: Register, n: Register, spare: Register) -> Register:
    """Whether the sum of squares of n numbers is finite and not 0: a dot product by `products.dots`, which writes it to
    the address `spare`.
    """
    answer = variable(int64(0))
    for number in float32, float64:
        with when((kind == WATCHED32) == (number is float32)):
            sizes = map(int64, (1, 1, n, n, 1, n))
            call_at(function, source, source, spare, *sizes, number(1.0), number(0.0))
            total = array(spare, number)[0]
            answer[0] = (total > 0.0) & (total < float("inf"))
    return answer[0] != 0


def text() -> str:
    """The function in LLVM's language."""
    module: Any = ir.Module("steps")
    written(module, steps)
    return str(module)
