"""Products: small matrix products as machine code, which take a third of BLAS's time on a mini-batch of ten.

BLAS first copies its matrices into blocks; with few rows in a batch the copy takes longer than the product. There are
two functions, in LLVM's language. Both compute C = A B with 4 to 16 numbers at a time:

    dots    C_ij is the dot product of two rows, for up to 10 × 2 of them at once: each number that is read is used
            often;
    sums    the rows of C are sums of the rows of B, for up to 6 rows and two vectors of C at once: C is read and
            written once for 64 rows of B.

`sums` also computes C = α A B + β C, the update of a weight. As in BLAS, a product adds in an order of its own. The
sizes of a plan's products are known: LLVM writes code for them alone, which is faster and computes the same bits.
`layout.chosen` says which products they compute.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from tinygrad_vg.compiler.cache import machine_code
from tinygrad_vg.compiler.layout import FEW
from tinygrad_vg.compiler.llvm import object_code
from tinygrad_vg.compiler.writer import FLOATS, INT, NARROW, WIDE, Body, Writer, widest

DEEP = 64  # rows of B that `sums` adds up at a time; more of them leave the cache before they are used again
WHOLE = 9  # whole numbers that a function takes: the addresses of A, B and C; m, n, k; `Lying.distances`


def dots(w: Writer, known: dict[int, float]) -> None:
    """C = A B, for matrices whose k numbers lie in a row."""
    a, b, c, m, n, k, down, _, right, _, _ = w.function("dots", WHOLE, known)
    in_vectors = w.whole("sub", k, w.whole("srem", k, INT(w.lanes)))
    last = w.whole("sub", k, INT(w.lanes))  # where a last vector begins, which may have numbers of the one before it
    in_all = w.choice(">=", last, INT(0), k, in_vectors)

    def tile(i: Any, rows: int, j: Any, columns: int) -> None:
        left = [w.place(a, i, p, down) for p in range(rows)]
        upper = [w.place(b, j, q, right) for q in range(columns)]

        def added(read: Callable[[Any, Any], Any]) -> Body:
            def body(at: Any, values: list[Any]) -> list[Any]:
                xs, ys = ([read(row, at) for row in side] for side in (left, upper))
                pairs = [(x, y) for x in xs for y in ys]
                return [w.plus(value, x, y) for value, (x, y) in zip(values, pairs, strict=True)]

            return body

        def rest(row: Any, at: Any) -> Any:
            return w.since(w.builder.sub(at, last), w.read(row, last, w.vector), w.zero(w.vector))

        values = [w.zero(w.vector)] * (rows * columns)
        values = w.loop(INT(0), in_vectors, w.lanes, added(lambda row, at: w.read(row, at, w.vector)), values)
        values = w.loop(in_vectors, in_all, w.lanes, added(rest), values)
        values = w.totals(values)
        values = w.loop(in_all, k, 1, added(lambda row, at: w.read(row, at, w.number)), values)
        for number, value in enumerate(values):
            p, q = divmod(number, columns)
            w.write(value, w.place(c, i, p, n), w.builder.add(j, INT(q)))

    def tiles(i: Any, rows: int) -> None:
        w.tiled(INT(0), n, (2, 1), lambda j, columns: tile(i, rows, j, columns))

    w.tiled(INT(0), m, (10, 5, 2, 1) if w.width == WIDE else (5, 2, 1), tiles)  # as many as there are registers for
    w.builder.ret_void()


def sums(w: Writer, known: dict[int, float]) -> None:
    """C = α A B + β C, for a matrix B whose rows are at least a vector long; β = 0 takes nothing of C, not even NaN."""
    a, b, c, m, n, k, down, right, step, alpha, beta = w.function("sums", WHOLE, known)
    # Few rows of B stay in the cache, and C is gone through row by row. Of many rows a strip of columns stays there.
    width = w.choice("<=", k, INT(FEW), n, INT(8 * w.lanes))

    def part(first: Any, last: Any) -> None:
        kept = w.choice("==", first, INT(0), beta, w.number(1.0))
        places = w.place(a, first, 0, right), w.place(b, first, 0, step), c
        given = [*places, n, w.whole("sub", last, first), down, right, step, alpha, kept]
        w.blocks(n, width, lambda begin, end: strip(w, given, m, begin, end))

    w.blocks(k, INT(DEEP), part)
    w.builder.ret_void()


def strip(w: Writer, given: list[Any], m: Any, begin: Any, end: Any) -> None:
    """All m rows of C, in the columns from `begin` to `end`."""

    def tiles(i: Any, rows: int) -> None:
        widths = 2 * w.lanes, w.lanes
        done = w.tiled(begin, end, widths, lambda j, width: summed(w, given, i, rows, j, width // w.lanes))
        j = w.whole("sub", end, INT(w.lanes))  # of a last vector, which may have numbers of the one before it

        def last(_: Any, values: list[Any]) -> list[Any]:
            summed(w, given, i, rows, j, 1, w.whole("sub", done, j))
            return values

        w.loop(done, end, w.lanes, last)

    w.tiled(INT(0), m, (6, 4, 2, 1), tiles)


def summed(w: Writer, given: list[Any], i: Any, rows: int, j: Any, count: int, lane: Any = None) -> None:
    """Some rows of C from i on, and of each `count` vectors from j on; what is before the lane stays as it is."""
    a, b, c, n, k, down, right, step, alpha, beta = given
    left = [w.place(a, i, p, down) for p in range(rows)]
    c_rows = [w.place(c, i, p, n) for p in range(rows)]
    columns = [w.builder.add(j, INT(w.lanes * q)) for q in range(count)]

    def added(at: Any, values: list[Any]) -> list[Any]:
        row, along = w.place(b, at, 0, step), w.builder.mul(at, right)
        ys = [w.read(row, column, w.vector) for column in columns]
        xs = [w.spread(w.read(place, along, w.number), w.vector) for place in left]
        pairs = [(x, y) for x in xs for y in ys]
        return [w.plus(value, x, y) for value, (x, y) in zip(values, pairs, strict=True)]

    values = w.loop(INT(0), k, 1, added, [w.zero(w.vector)] * (rows * count))
    places = [(row, column) for row in c_rows for column in columns]
    factor, scale = w.spread(alpha, w.vector), w.spread(beta, w.vector)
    with w.builder.if_else(w.builder.fcmp_ordered("==", beta, w.zero(w.number))) as (fresh, kept):
        with fresh:  # a number that is there already is computed again, with the same result
            for value, place in zip(values, places, strict=True):
                w.write(w.builder.fmul(factor, value), *place)
        with kept:
            for value, place in zip(values, places, strict=True):
                old = w.read(*place, w.vector)
                new = w.plus(w.builder.fmul(scale, old), factor, value)
                w.write(new if lane is None else w.since(lane, new, old), *place)


def width_for(name: str, kind: str, sizes: tuple[int, ...]) -> int:
    """The bytes of a vector: the most that this processor has, and no more than the rows have that are read."""
    length = sizes[2 if name == "dots" else 1] if sizes else 0
    return widest() if length * FLOATS[kind][1] >= WIDE else NARROW


@cache
def address_of(
    name: str, kind: str, sizes: tuple[int, ...] = (), is_update: bool = True, width: int | None = None
) -> int:
    """The address of a function.

    Args:
        name: "dots" or "sums".
        kind: "float32" or "float64".
        sizes: m, n, k and the three distances; with them LLVM writes code for these sizes alone, else for all sizes.
        is_update: whether α and β may be other numbers than 1 and 0.
        width: the bytes of a vector; None for those of `width_for`.
    """
    w = Writer(kind, width or width_for(name, kind, sizes))
    known: dict[int, float] = dict(enumerate(sizes, WHOLE - 6))
    (dots if name == "dots" else sums)(w, known if is_update else {**known, WHOLE: 1.0, WHOLE + 1: 0.0})
    text = str(w.module)
    return machine_code(text, [name], lambda: (object_code(text), [name]))[name]
