"""Functions of rows: what generated functions compute of the last axis of an array, such as softmax.

`y` is the row of the result, or an array of one number; `z` is a row of n numbers. The formulas are those of
`engine/ops.py`, with sums in float64. NaN and infinite numbers give what they give there.
"""

from collections.abc import Callable

from tinygrad_vg.compiler.elementary import exp, log1p, maximum
from tinygrad_vg.compiler.registers import Array, Register, float64, indices, int64, variable, where


def largest(z: Array, n: int) -> tuple[Register, Register]:
    """The largest number, and its index; of several the first. NaN counts as the largest, as in NumPy."""
    top, first = variable(z[0]), variable(int64(n))
    for i in indices(n):
        top[0] = maximum(top[0], z[i])
    for i in indices(n):
        is_largest = (z[i] == top[0]) | (z[i] != z[i])
        first[0] = where(is_largest & (first[0] == n), i, first[0])
    return top[0], first[0]


def logs(z: Array, n: int) -> Callable[[Register], Register]:
    """log softmax(z), as a function of the index."""
    top, first = largest(z, n)
    others = variable(float64(0.0))
    for i in indices(n):
        others[0] += where(i == first, 0.0, exp(z[i] - top))
    rest = z.kind(log1p(others[0]))
    return lambda i: (z[i] - top) - rest


def log_softmax(y: Array, z: Array, n: int) -> None:
    log = logs(z, n)
    for i in indices(n):
        y[i] = log(i)


def softmax(y: Array, z: Array, n: int) -> None:
    log = logs(z, n)
    for i in indices(n):
        y[i] = exp(log(i))


def softmax_error(y: Array, z: Array, target: Array, n: int) -> None:
    softmax(y, z, n)
    total, others = variable(float64(0.0)), variable(float64(0.0))
    for i in indices(n):
        total[0] += target[i]
        others[0] += where(y[i] > 0.5, 0.0, y[i])
    all_targets, below_half = z.kind(total[0]), z.kind(others[0])
    for i in indices(n):
        p, t = y[i], target[i]
        y[i] = p * (all_targets - t) - t * where(p > 0.5, below_half, 1.0 - p)


def cross_entropy(y: Array, z: Array, target: Array, n: int) -> None:
    """The target is a row of probabilities, or the index of a class."""
    log, total = logs(z, n), variable(float64(0.0))
    for i in indices(n):
        if target.kind.is_float:
            total[0] += where(target[i] != 0.0, target[i] * log(i), 0.0)
        else:
            total[0] += where(i == target[0], log(i), 0.0)
    y[0] = -total[0]


def argmax(y: Array, z: Array, n: int) -> None:
    y[0] = largest(z, n)[1]
