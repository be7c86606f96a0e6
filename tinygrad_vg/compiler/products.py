"""Products: the source of small matrix products as loops, which take a third of BLAS's time on a mini-batch.

BLAS copies its matrices into blocks first; with 10 rows in a batch the copy costs more than the product. Numbers that
lie in a row are computed 4 or 8 at a time by LLVM. Each function computes C = α A B + β C for one shape, in one of two
ways:

    dots    C_ij is the dot product of two rows, for 4 × 3 of them at once: each number that is read is used often;
    sums    the rows of C are sums of the rows of B, 4 rows of B for 2 rows of C at once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

NEAR = 2**18  # bytes that stay in a processor's second cache
LONGEST = 2**12  # a row whose dot products are computed at once
TILE = (4, 3)  # rows of A and columns of B in `dots`: 12 sums fit in 16 registers, with the factors
DEPTH, ROWS = 4, 2  # rows of B and of C in `sums`


class Shape(NamedTuple):
    """A product of an (m, k) and a (k, n) matrix, with the distances of rows and columns in elements; C is in C order.

    `kind` is the type of the numbers, "f32" or "f64".
    """

    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    kind: str

    @property
    def size(self) -> int:
        """The bytes of a number."""
        return int(self.kind[1:]) // 8


def written(shape: Shape, alpha: str, beta: str) -> str | None:
    """The text of a function of a, b and c, and of alpha and beta if C is changed; None for a product that BLAS takes.

    >>> print(written(Shape(2, 2, 8, (8, 1), (1, 8), "f32"), "", ""))
    (a, b, c):
        for i in range(0, 2, 2):
            for j in range(0, 2, 2):
                s00 = s01 = s10 = s11 = f32(0.0)
                for l in range(8):
                    a0 = a[(i + 0) * 8 + l]
                    a1 = a[(i + 1) * 8 + l]
                    b0 = b[(j + 0) * 8 + l]
                    b1 = b[(j + 1) * 8 + l]
                    s00 += a0 * b0
                    s01 += a0 * b1
                    s10 += a1 * b0
                    s11 += a1 * b1
                c[(i + 0) * 2 + j + 0] = s00
                c[(i + 0) * 2 + j + 1] = s01
                c[(i + 1) * 2 + j + 0] = s10
                c[(i + 1) * 2 + j + 1] = s11
    """
    if shape.b[1] == 1 and shape.n >= 8:
        return "\n".join(sums(shape, bool(alpha)))
    if (
        shape.b[0] == shape.a[1] == 1
        and 8 <= shape.k <= LONGEST
        and not alpha
        and shape.n * shape.k * shape.size < NEAR * 4
    ):
        return "\n".join(dots(shape))
    return None


def blocks(n: int, step: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, step) of the whole steps in n, and of the rest."""
    whole = n // step * step
    if whole:
        yield 0, whole, step
    if n > whole:
        yield whole, n, n - whole


def dots(shape: Shape) -> Iterator[str]:
    """The lines of a product whose factors have their k numbers in a row."""
    m, n, k, (down, _), (_, right), kind = shape
    yield "(a, b, c):"
    for begin, end, rows in blocks(m, TILE[0]):
        yield f"    for i in range({begin}, {end}, {rows}):"
        for first, last, columns in blocks(n, TILE[1]):
            pairs = [(p, q) for p in range(rows) for q in range(columns)]
            yield f"        for j in range({first}, {last}, {columns}):"
            yield f"            {' = '.join(f's{p}{q}' for p, q in pairs)} = {kind}(0.0)"
            yield f"            for l in range({k}):"
            yield from (f"                a{p} = a[(i + {p}) * {down} + l]" for p in range(rows))
            yield from (f"                b{q} = b[(j + {q}) * {right} + l]" for q in range(columns))
            yield from (f"                s{p}{q} += a{p} * b{q}" for p, q in pairs)
            yield from (f"            c[(i + {p}) * {n} + j + {q}] = s{p}{q}" for p, q in pairs)


def sums(shape: Shape, is_update: bool) -> Iterator[str]:
    """The lines of a product whose factor B has its n numbers in a row."""
    m, n, k, *_ = shape
    alpha, old = ("alpha * ", "beta * ") if is_update else ("", "")
    yield "(a, b, c, alpha, beta):" if is_update else "(a, b, c):"
    near = NEAR // (n * shape.size) // DEPTH * DEPTH  # so many rows of B stay in the cache
    if k <= max(near, DEPTH):
        for begin, end, rows in blocks(m, ROWS):
            yield f"    for i in range({begin}, {end}, {rows}):"
            first = min(DEPTH, k)
            yield from added(shape, rows, range(first), alpha, f"{old}c[(i + {{}}) * {n} + j] + " if old else "", 2)
            yield from run_of_rows(shape, rows, first, k - first, alpha, "", 2)
        return
    yield f"    for i in range({m * n}):"
    yield f"        c[i] = {'beta * c[i]' if is_update else f'{shape.kind}(0.0)'}"
    for low, high, step in blocks(k, max(near, DEPTH)):
        yield f"    for far in range({low}, {high}, {step}):"
        for begin, end, rows in blocks(m, ROWS):
            yield f"        for i in range({begin}, {end}, {rows}):"
            yield from run_of_rows(shape, rows, 0, step, alpha, "far + ", 3)


def run_of_rows(shape: Shape, rows: int, first: int, count: int, alpha: str, far: str, depth: int) -> Iterator[str]:
    """The lines that add `count` rows of B, from the row `first` on, to some rows of C."""
    for low, high, step in blocks(count, DEPTH):
        yield f"{'    ' * depth}for l in range({far}{first + low}, {far}{first + high}, {step}):"
        places = [f"(l + {d})" for d in range(step)]
        yield from added(shape, rows, places, alpha, f"c[(i + {{}}) * {shape.n} + j] + ", depth + 1)


def added(shape: Shape, rows: int, places: Sequence[object], alpha: str, start: str, depth: int) -> Iterator[str]:
    """The lines that set some rows of C to `start` plus the rows of B at these places."""
    (down, right), (step, _) = shape.a, shape.b
    inset = "    " * depth
    for p in range(rows):
        yield from (f"{inset}f{p}{d} = {alpha}a[(i + {p}) * {down} + {at} * {right}]" for d, at in enumerate(places))
    yield f"{inset}for j in range({shape.n}):"
    for p in range(rows):
        terms = " + ".join(f"f{p}{d} * b[{at} * {step} + j]" for d, at in enumerate(places))
        yield f"{inset}    c[(i + {p}) * {shape.n} + j] = {start.format(p)}{terms}"
