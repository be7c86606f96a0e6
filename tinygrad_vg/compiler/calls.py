"""Calls of functions for products, in generated functions: of BLAS's gemm, and of `products.py`, by their addresses."""

from typing import Any

from tinygrad_vg.compiler.registers import Register, array, call_at, int8, int32, int64, variable


def gemm(
    address: Any, ta: int, tb: int, m: int, n: int, k: int,
    alpha: Register, a: Any, lda: int, b: Any, ldb: int, beta: Register, c: Any, ldc: int,
) -> None:  # fmt: skip
    """C = α A B + β C as BLAS has it, column by column; a, b and c are addresses, ta and tb 0 or 1 for transposed.

    BLAS is called as Fortran calls it: with the address of each argument.
    """
    flags = [variable(int8(ord("T" if is_transposed else "N"))) for is_transposed in (ta, tb)]
    sizes = [variable(int32(size)) for size in (m, n, k)]
    matrices = [(array(x, alpha.kind), variable(int32(distance))) for x, distance in ((a, lda), (b, ldb), (c, ldc))]
    first, second, result = matrices
    call_at(address, *flags, *sizes, variable(alpha), *first, *second, variable(beta), *result)


def product(address: Any, a: Any, b: Any, c: Any, m: int, n: int, k: int,
            down: int, right: int, step: int, alpha: Register, beta: Register) -> None:  # fmt: skip
    """C = α A B + β C by a function of `products.py`; a, b and c are addresses."""
    call_at(address, *map(int64, (a, b, c, m, n, k, down, right, step)), alpha, beta)


dots = sums = product
