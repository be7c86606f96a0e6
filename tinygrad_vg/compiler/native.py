"""The parts of generated code besides loops: products, and the function of many steps. It needs Numba and SciPy."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from tinygrad_vg.compiler.places import FOLLOWED, GIVEN, RESULT, WATCHED32

f32, f64, i32, i64 = np.float32, np.float64, np.int32, np.int64


def alone(signature: Any) -> Any:
    """A decorator for a function that is only called by its address."""
    return njit(signature, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


# What BLAS computes. A generated function gets the address of gemm with its arrays: an address in its code could not be
# kept on the disk.


@intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:
    """An address as a pointer that `carray` takes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def gemm(
    context: Any, address: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any,
    alpha: Any, a: Any, lda: Any, b: Any, ldb: Any, beta: Any, c: Any, ldc: Any,
) -> Any:  # fmt: skip
    """C = α A B + β C as BLAS has it, column by column; a, b and c are addresses, ta and tb 0 or 1 for transposed."""
    signature = types.void(address, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scalar = ir.FloatType() if signature.args[6] == types.float32 else ir.DoubleType()
        char, integer = ir.IntType(8), ir.IntType(32)

        def kept(value: Any, kind: Any) -> Any:
            place = cgutils.alloca_once(builder, kind)
            builder.store(value, place)
            return place

        def flag(value: Any) -> Any:
            return kept(builder.select(cgutils.is_not_null(builder, value), char(ord("T")), char(ord("N"))), char)

        def whole(value: Any) -> Any:
            return kept(builder.trunc(value, integer), integer)

        def number(value: Any) -> Any:
            return kept(value, scalar)

        def array(value: Any) -> Any:
            return builder.inttoptr(value, scalar.as_pointer())

        kinds = [None, flag, flag, whole, whole, whole, number, array, whole, array, whole, number, array, whole]
        given = [kind(value) for kind, value in zip(kinds[1:], args[1:], strict=True)]  # type: ignore[misc]
        function = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return signature, code


@intrinsic  # type: ignore[untyped-decorator]
def product(context: Any, address: Any, a: Any, b: Any, c: Any, m: Any, n: Any, k: Any,
            down: Any, right: Any, step: Any, alpha: Any, beta: Any) -> Any:  # fmt: skip
    """C = α A B + β C by a function of `products.py`; a, b and c are addresses."""
    signature = types.void(address, a, b, c, m, n, k, down, right, step, alpha, beta)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [value.type for value in args[1:]])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return signature, code


dots = sums = product


@intrinsic  # type: ignore[untyped-decorator]
def call(context: Any, function: Any, spare: Any, argument: Any) -> Any:
    """Call a compiled function of one whole number by its address; its empty result goes to the address `spare`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [cgutils.voidptr_t, cgutils.voidptr_t, ir.IntType(64)])
        place = builder.inttoptr(args[1], cgutils.voidptr_t)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [place, place, args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def copy(context: Any, source: Any, target: Any, n: Any) -> Any:
    """Copy n bytes from one address to another."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (builder.inttoptr(address, cgutils.voidptr_t) for address in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@register_jitable  # type: ignore[untyped-decorator]
def is_sound(kind: Any, source: Any, function: Any, n: Any, spare: Any) -> Any:
    """Whether the sum of squares of n numbers is finite and not 0; it is a dot product by `products.dots`."""
    if kind == WATCHED32:
        product(function, source, source, spare, 1, 1, n, n, 1, n, f32(1.0), f32(0.0))
        return f32(0.0) < carray(pointer(spare), 1, f32)[0] < f32(np.inf)
    product(function, source, source, spare, 1, 1, n, n, 1, n, f64(1.0), f64(0.0))
    return 0.0 < carray(pointer(spare), 1, f64)[0] < np.inf


def steps(address: Any) -> None:
    """Run the functions of a job for each of its steps, with the arrays that go in and out (`jobs.Job`)."""
    job = carray(pointer(address), 10, i64)
    first, second, spare, table, moves, size, batches, rows, begin, end = job
    table_of_moves = carray(pointer(moves), (size, 4), i64)
    indices = carray(pointer(batches), end * rows, i64)
    for step in range(begin, end):
        for i in range(size):
            kind, source, target, n = table_of_moves[i]
            if kind == GIVEN:
                for row in range(rows):
                    copy(source + indices[step * rows + row] * n, target + row * n, n)
        call(first, spare, table)
        for i in range(size):
            kind, source, target, n = table_of_moves[i]
            if kind >= WATCHED32 and not is_sound(kind, source, target, n, spare):
                job[9] = step
                return
        for i in range(size):
            kind, source, target, n = table_of_moves[i]
            if kind == FOLLOWED:
                end_of_rows = carray(pointer(target), 1, i64)
                copy(source, end_of_rows[0], n)
                end_of_rows[0] += n
        if second != 0:
            call(second, spare, table)
        for i in range(size):
            kind, source, target, n = table_of_moves[i]
            if kind == RESULT:
                copy(source, target + step * n, n)
