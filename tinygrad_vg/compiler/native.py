"""The parts of generated code: elementary functions that vectorize, and BLAS products. It needs Numba and SciPy.

The functions are exact to a few units in the last place over the whole range of their floats, subnormal numbers too,
and pass NaN on. Numba's own call the C library once for each element; these are sums and products, which LLVM computes
for 8 or 16 elements at a time. Their polynomials and rational functions are those of Cephes (S. Moshier, 1989).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic, register_jitable

from tinygrad_vg.compiler.places import FOLLOWED, GIVEN, RESULT, WATCHED32

f32, f64, i32, i64 = np.float32, np.float64, np.int32, np.int64


class Separate(CompilerBase):  # type: ignore[misc]
    """Compiles functions whose arrays do not overlap, so that LLVM need not check it."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


# No fast math: it would reassociate sums and drop subnormal numbers.
loop = njit(error_model="numpy", pipeline_class=Separate)


def alone(signature: Any) -> Any:
    """A decorator for a function that is only called by its address."""
    return njit(signature, error_model="numpy", pipeline_class=Separate, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@intrinsic  # type: ignore[untyped-decorator]
def float32_of_bits(context: Any, x: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), code


@intrinsic  # type: ignore[untyped-decorator]
def float64_of_bits(context: Any, x: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), code


@register_jitable  # type: ignore[untyped-decorator]
def exp32(x: Any) -> Any:
    """eˣ = 2ⁿ eʳ with |r| ≤ ½ ln 2. The power of two comes in two factors, for it may be subnormal."""
    x = f32(-104.0) if x < f32(-104.0) else x
    x = f32(88.8) if x > f32(88.8) else x
    n = np.floor(x * f32(1.44269504088896341) + f32(0.5))
    r = (x - n * f32(0.693359375)) - n * f32(-2.12194440e-4)
    p = f32(1.9875691500e-4) * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    y = p * (r * r) + r + f32(1.0)
    k = i32(n)
    half = k >> i32(1)
    first = float32_of_bits((half + i32(127)) << i32(23))
    return y * first * float32_of_bits((k - half + i32(127)) << i32(23))


@register_jitable  # type: ignore[untyped-decorator]
def exp64(x: Any) -> Any:
    """The same in float64, with eʳ as a rational function."""
    x = -746.0 if x < -746.0 else x
    x = 709.79 if x > 709.79 else x
    n = np.floor(x * 1.4426950408889634073599 + 0.5)
    r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6
    z = r * r
    p = r * ((1.26177193074810590878e-4 * z + 3.02994407707441961300e-2) * z + 9.99999999999999999910e-1)
    q = (3.00198505138664455042e-6 * z + 2.52448340349684104192e-3) * z + 2.27265548208155028766e-1
    q = q * z + 2.00000000000000000009e0
    y = 1.0 + 2.0 * (p / (q - p))
    k = i64(i32(n))
    half = k >> i64(1)
    first = float64_of_bits((half + i64(1023)) << i64(52))
    return y * first * float64_of_bits((k - half + i64(1023)) << i64(52))


@register_jitable  # type: ignore[untyped-decorator]
def log1p_of_unit32(x: Any) -> Any:
    """log(1 + x) for 0 ≤ x ≤ 1, as 2 artanh(s) with s = x/(2 + x) ≤ 1/3."""
    s = x / (f32(2.0) + x)
    z = s * s
    p = f32(1 / 15) * z + f32(1 / 13)
    p = p * z + f32(1 / 11)
    p = p * z + f32(1 / 9)
    p = p * z + f32(1 / 7)
    p = p * z + f32(1 / 5)
    p = p * z + f32(1 / 3)
    return f32(2.0) * (s + s * (z * p))


@register_jitable  # type: ignore[untyped-decorator]
def log1p_of_unit64(x: Any) -> Any:
    """The same in float64."""
    s = x / (2.0 + x)
    z = s * s
    p = z / 33 + 1 / 31
    p = p * z + 1 / 29
    p = p * z + 1 / 27
    p = p * z + 1 / 25
    p = p * z + 1 / 23
    p = p * z + 1 / 21
    p = p * z + 1 / 19
    p = p * z + 1 / 17
    p = p * z + 1 / 15
    p = p * z + 1 / 13
    p = p * z + 1 / 11
    p = p * z + 1 / 9
    p = p * z + 1 / 7
    p = p * z + 1 / 5
    p = p * z + 1 / 3
    return 2.0 * (s + s * (z * p))


@register_jitable  # type: ignore[untyped-decorator]
def tanh32(x: Any) -> Any:
    """tanh x: a polynomial near 0, where the quotient of exponentials would lose digits."""
    z = x * x
    p = f32(-5.70498872745e-3) * z + f32(2.06390887954e-2)
    p = p * z + f32(-5.37397155531e-2)
    p = p * z + f32(1.33314422036e-1)
    p = p * z + f32(-3.33332819422e-1)
    near = x + x * (z * p)
    far = f32(1.0) - f32(2.0) / (exp32(f32(2.0) * abs(x)) + f32(1.0))
    return near if abs(x) < f32(0.625) else (far if x > f32(0.0) else -far)


@register_jitable  # type: ignore[untyped-decorator]
def tanh64(x: Any) -> Any:
    """The same in float64, with a rational function near 0."""
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    near = x + x * (z * (p / q))
    far = 1.0 - 2.0 / (exp64(2.0 * abs(x)) + 1.0)
    return near if abs(x) < 0.625 else (far if x > 0.0 else -far)


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


def elementary(kind: Any, exp: Any, log1p_of_unit: Any, tanh: Any) -> dict[str, Any]:
    """The functions of networks for one kind of floats. In a loop equal parts of them, such as exp(−|z|), are one."""
    zero, one = kind(0.0), kind(1.0)

    def maximum(a: Any, b: Any) -> Any:
        return a if a >= b or a != a else b

    def minimum(a: Any, b: Any) -> Any:
        return a if a <= b or a != a else b

    def sigmoid(z: Any) -> Any:
        e = exp(-abs(z))
        return (one if z >= zero else e) / (one + e)

    def sigmoid_slope(z: Any) -> Any:
        e = exp(-abs(z))
        h = one + e
        return e / (h * h)

    def relu(z: Any) -> Any:
        return zero if z < zero else z

    def softplus(z: Any) -> Any:
        return (zero if z < zero else z) + log1p_of_unit(exp(-abs(z)))

    def sigmoid_error(z: Any, t: Any) -> Any:
        e = exp(-abs(z))
        p, q = (one, e) if z >= zero else (e, one)
        return (p - t * p - t * q) / (p + q)

    def binary_cross_entropy_with_logits(z: Any, t: Any) -> Any:
        return (zero if z < zero else z) - z * t + log1p_of_unit(exp(-abs(z)))

    made = [maximum, minimum, sigmoid, sigmoid_slope, relu, softplus, sigmoid_error, binary_cross_entropy_with_logits]
    functions = {function.__name__: register_jitable(function) for function in made}
    return functions | {"exp": exp, "tanh": tanh}


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


boolean = np.bool_
globals().update({f"{name}_f32": f for name, f in elementary(f32, exp32, log1p_of_unit32, tanh32).items()})
globals().update({f"{name}_f64": f for name, f in elementary(f64, exp64, log1p_of_unit64, tanh64).items()})
