"""The function of many steps, and what it calls, for Numba."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from tinygrad_vg.compiler.places import COUNT, FOLLOWED, GIVEN, NUMBER, RESULT, WATCHED32

f32, f64, i64 = np.float32, np.float64, np.int64


@intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:
    """An address as a pointer that `carray` takes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def call(context: Any, address: Any, *arguments: Any) -> Any:
    """Call the function without a result at an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(address, types.BaseTuple.from_types(arguments)), code


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
        call(function, source, source, spare, 1, 1, n, n, 1, n, f32(1.0), f32(0.0))
        return f32(0.0) < carray(pointer(spare), 1, f32)[0] < f32(np.inf)
    call(function, source, source, spare, 1, 1, n, n, 1, n, f64(1.0), f64(0.0))
    return 0.0 < carray(pointer(spare), 1, f64)[0] < np.inf


@njit(types.void(types.int64), error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[untyped-decorator]
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
            elif kind == NUMBER:
                copy(source + step * n, target, n)
        call(first, table)
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
            call(second, table)
        for i in range(size):
            kind, source, target, n = table_of_moves[i]
            if kind == RESULT:
                copy(source, target + step * n, n)
            elif kind == COUNT:
                copy(source + step * n, target, n)
