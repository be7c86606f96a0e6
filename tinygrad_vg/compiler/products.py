"""Products: small matrix products as machine code, which take a third of BLAS's time on a mini-batch of ten.

BLAS first copies its matrices into blocks; with few rows in a batch the copy takes longer than the product. There are
two functions, in LLVM's language, for matrices of any size. Both compute C = A B with 4 or 8 numbers at a time:

    dots    C_ij is the dot product of two rows, for up to 4 × 3 of them at once: each number that is read is used
            often;
    sums    the rows of C are sums of the rows of B, up to 4 rows of B for 2 rows of C at once.

`sums` also computes C = α A B + β C, the update of a weight. As in BLAS, a product adds in an order of its own.
`layout.chosen` says which products they compute.
"""

from functools import cache
from typing import Any

from tinygrad_vg.compiler.cache import machine_code, prepare
from tinygrad_vg.compiler.layout import NEAR
from tinygrad_vg.compiler.writer import INT, Body, Writer

NAMES = ("dots", "sums")
WHOLE = 9  # whole numbers that a function takes: the addresses of A, B and C; m, n, k; `Lying.distances`


def dots(w: Writer) -> None:
    """C = A B, for matrices whose k numbers lie in a row."""
    a, b, c, m, n, k, down, _, right, _, _ = w.function("dots", WHOLE)
    whole = w.builder.sub(k, w.builder.srem(k, INT(w.lanes)))

    def tile(i: Any, rows: int, j: Any, columns: int) -> None:
        left = [w.place(a, i, p, down) for p in range(rows)]
        upper = [w.place(b, j, q, right) for q in range(columns)]

        def added(kind: Any) -> Body:
            def body(at: Any, values: list[Any]) -> list[Any]:
                xs, ys = ([w.read(row, at, kind) for row in side] for side in (left, upper))
                pairs = [(x, y) for x in xs for y in ys]
                return [w.plus(value, x, y) for value, (x, y) in zip(values, pairs, strict=True)]

            return body

        vectors = w.loop(INT(0), whole, w.lanes, added(w.vector), [w.zero(w.vector)] * (rows * columns))
        numbers = w.loop(whole, k, 1, added(w.number), [w.total(vector) for vector in vectors])
        for number, value in enumerate(numbers):
            p, q = divmod(number, columns)
            w.write(value, w.place(c, i, p, n), w.builder.add(j, INT(q)))

    def tiles(i: Any, rows: int) -> None:
        w.tiled(INT(0), n, (3, 1), lambda j, columns: tile(i, rows, j, columns))

    w.tiled(INT(0), m, (4, 2, 1), tiles)
    w.builder.ret_void()


def sums(w: Writer) -> None:
    """C = α A B + β C, for a matrix B whose n numbers lie in a row; β = 0 takes nothing of C, not even NaN."""
    given = w.function("sums", WHOLE)
    _, _, _, m, n, k, *_ = given
    # As many rows of B at a time as stay in the cache, but 4 at least.
    near = w.builder.sdiv(INT(NEAR // w.size), n)
    near = w.builder.select(w.builder.icmp_signed("<", near, INT(4)), INT(4), near)

    def stretch(number: Any, _: list[Any]) -> list[Any]:
        begin = w.builder.mul(number, near)
        end = w.builder.add(begin, near)
        end = w.builder.select(w.builder.icmp_signed("<", end, k), end, k)

        def tiles(i: Any, rows: int) -> None:
            w.tiled(begin, end, (4, 2, 1), lambda at, depth: added_rows(w, given, i, rows, at, depth))

        w.tiled(INT(0), m, (2, 1), tiles)
        return []

    w.loop(INT(0), w.builder.sdiv(w.builder.sub(w.builder.add(k, near), INT(1)), near), 1, stretch)
    w.builder.ret_void()


def added_rows(w: Writer, given: list[Any], i: Any, rows: int, at: Any, depth: int) -> None:
    """Add to the rows of C from i on the rows of B from `at` on, with their factors."""
    a, b, c, _, n, _, down, right, step, alpha, beta = given
    b_rows = [w.place(b, at, d, step) for d in range(depth)]
    c_rows = [w.place(c, i, p, n) for p in range(rows)]
    columns = [w.builder.mul(w.builder.add(at, INT(d)), right) for d in range(depth)]
    numbers = [
        [w.builder.fmul(alpha, w.read(w.place(a, i, p, down), column, w.number)) for column in columns]
        for p in range(rows)
    ]

    def added(start: str, kind: Any) -> Body:
        factors = [[w.spread(x, kind) for x in row] for row in numbers]
        scale = w.spread(beta, kind)

        def body(j: Any, _: list[Any]) -> list[Any]:
            ys = [w.read(row, j, kind) for row in b_rows]
            values = [w.zero(kind) if start == "zero" else w.read(row, j, kind) for row in c_rows]
            for row, value, xs in zip(c_rows, values, factors, strict=True):
                value = w.builder.fmul(scale, value) if start == "scaled" else value
                for x, y in zip(xs, ys, strict=True):
                    value = w.plus(value, x, y)
                w.write(value, row, j)
            return []

        return body

    def along(start: str) -> None:
        whole = w.builder.sub(n, w.builder.srem(n, INT(w.lanes)))
        w.loop(INT(0), whole, w.lanes, added(start, w.vector))
        w.loop(whole, n, 1, added(start, w.number))

    with w.builder.if_else(w.builder.icmp_signed("==", at, INT(0))) as (first, later):
        with first, w.builder.if_else(w.builder.fcmp_ordered("==", beta, w.zero(w.number))) as (fresh, kept):
            with fresh:
                along("zero")
            with kept:
                along("scaled")
        with later:
            along("added")


@cache
def address_of(name: str, kind: str) -> int:
    """The address of a function, for "float32" or "float64"."""
    w = Writer(kind)
    dots(w)
    sums(w)
    text = str(w.module)
    return machine_code(text, [*NAMES], lambda: object_code(text))[name]


def object_code(text: str) -> list[tuple[str, bytes]]:
    """(symbol, object code) of the functions in a text of LLVM."""
    import llvmlite.binding as llvm

    prepare()
    target = llvm.Target.from_default_triple()
    processor, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=processor, features=features, opt=3, jit=True)
    module = llvm.parse_assembly(text)
    module.verify()
    code = machine.emit_object(module)
    return [(name, code) for name in NAMES]
