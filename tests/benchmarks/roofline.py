"""The limit: how long the arithmetic and the traffic of a step take, if nothing else does.

Counted from the sizes are the products' operations, and the bytes that must move however a step is written. Measured in
the same run are how fast this machine multiplies and adds numbers in its registers, and copies as many bytes. A step
takes at least the longer of both times. No step will reach it: exp and log are not counted, and a product has to fetch
its numbers. How much that takes is said in a note: the time of the step's own products in NumPy, and nothing else.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from tests.benchmarks.jobs import UnavailableError, draw_job, mnist
from tests.benchmarks.ours import compiled, over
from tests.benchmarks.report import Result, Row, missing
from tests.benchmarks.timing import Spread, interleaved, ratio, timed
from tests.benchmarks.works import COMPILED, OVER, WORKS, Work

NAMES = ("A", "B", "D")
CHAINS = 10  # of multiplications that do not wait for each other; a processor needs eight, and has registers for them
TURNS, COPIES = 5_000_000, 200
SIDE, LARGE_TIMES = 512, 10  # of a large product
REGISTERS, LARGE, COPY, PRODUCTS = "in registers", "a large product", "copy", "products"


def shapes(sizes: list[int], batch: int) -> list[tuple[int, int, int]]:
    """A step's products, (m, k) by (k, n): forward, the weights' gradients, and back to all layers but the first."""
    layers = [*pairwise(sizes)]
    return [
        *((batch, n_in, n_out) for n_in, n_out in layers),
        *((n_out, batch, n_in) for n_in, n_out in layers),
        *((batch, n_out, n_in) for n_in, n_out in layers[1:]),
    ]


def flop(sizes: list[int], batch: int) -> int:
    """The operations of a step's products.

    >>> flop([3, 2, 1], batch=10)
    360
    """
    return sum(2 * m * k * n for m, k, n in shapes(sizes, batch))


def bytes_moved(sizes: list[int], batch: int) -> int:
    """The float32 numbers that a step must move: parameters read and written, the batch read, and each layer's output
    written and read once.

    >>> bytes_moved([3, 2, 1], batch=10)
    488
    """
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    return 4 * (2 * parameters + batch * (sizes[0] + sizes[-1]) + 2 * batch * sum(sizes[1:]))


def products(wanted: list[tuple[int, int, int]], times: int = 1):
    """A function that computes products of these shapes, several times."""
    rng = np.random.default_rng(0)
    factors = [
        (rng.random((m, k), dtype=np.float32), rng.random((k, n), dtype=np.float32), np.empty((m, n), np.float32))
        for m, k, n in wanted
    ]

    def run():
        for _ in range(times):
            for a, b, out in factors:
                np.matmul(a, b, out=out)

    return run


def in_registers():
    """A function that multiplies and adds numbers that stay in registers, and how many operations it does."""
    from tinygrad_vg.compiler.cache import machine_code
    from tinygrad_vg.compiler.llvm import object_code
    from tinygrad_vg.compiler.writer import INT, Writer, widest

    w = Writer("float32", widest())
    place, turns, term, factor = w.function("multiplied", 2, {})
    term, factor = w.spread(term, w.vector), w.spread(factor, w.vector)
    first = [w.builder.fmul(term, w.spread(w.number(float(i)), w.vector)) for i in range(CHAINS)]
    values = w.loop(INT(0), turns, 1, lambda _, values: [w.plus(term, value, factor) for value in values], first)
    for number, value in enumerate(values):
        w.write(value, place, INT(number * w.lanes))
    w.builder.ret_void()
    text, result = str(w.module), np.empty(CHAINS * w.lanes, np.float32)
    address = machine_code(text, ["multiplied"], lambda: (object_code(text), ["multiplied"]))["multiplied"]
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_float, ctypes.c_float)(address)
    return lambda: function(result.ctypes.data, TURNS, 0.5, 0.5), 2 * TURNS * CHAINS * w.lanes


def copies(size: int):
    """Copies that read and write `size` bytes in all, many times, between the same arrays, as the steps do it."""
    source, target = np.ones((2, size // 8), np.float32)

    def run():
        for _ in range(COPIES):
            np.copyto(target, source)

    return run


def measure(repeats: int) -> Result:
    title = "the longer time of a step's products at the peak and of its traffic, over our time"
    blocks = {}
    try:
        for name in NAMES:
            blocks |= {f"{name}, {what}": block for what, block in blocks_of(WORKS[name]).items()}
        blocks[REGISTERS], operations = in_registers()
        blocks[LARGE] = products([(SIDE, SIDE, SIDE)], LARGE_TIMES)
    except UnavailableError as error:
        return Result(title, notes=[missing("the limit", error)])
    for block in blocks.values():
        block()
    seconds = interleaved({name: timed(block) for name, block in blocks.items()}, repeats)
    peak = [operations / each for each in seconds[REGISTERS]]
    speeds = [f"{np.median(peak) / 1e9:.0f} GFLOP/s, of float32 numbers in registers"]
    speeds.append(
        f"{LARGE_TIMES * 2 * SIDE**3 / np.median(seconds[LARGE]) / 1e9:.0f} by BLAS, of {SIDE} x {SIDE} matrices"
    )
    rows, notes = [], [f"peak {'; '.join(speeds)}"]
    for name in NAMES:
        own = {what: seconds[f"{name}, {what}"] for what in (COMPILED, OVER, COPY, PRODUCTS)}
        shares, note = compared_with_limit(WORKS[name], peak, own)
        rows += [Row(f"{name}: share of the limit, {side}", share) for side, share in shares.items()]
        notes.append(f"{name}: {note}")
    return Result(title, rows, seconds, notes)


def blocks_of(work: Work) -> dict[str, Callable[[], object]]:
    job = draw_job(mnist(), work.sizes, work.batch, work.lr)
    return {
        COMPILED: partial(compiled(job).run, work.steps),
        OVER: partial(over(job).run, work.steps),
        COPY: copies(bytes_moved(work.sizes, work.batch)),
        PRODUCTS: products(shapes(work.sizes, work.batch), work.steps),
    }


def compared_with_limit(
    work: Work, peak: list[float], seconds: dict[str, list[float]]
) -> tuple[dict[str, Spread], str]:
    """Our shares of the limit, in each repeat, and a note that says where the limit comes from."""
    operations, moved = flop(work.sizes, work.batch), bytes_moved(work.sizes, work.batch)
    at_peak = [operations / each for each in peak]
    traffic = [each / COPIES for each in seconds[COPY]]
    limit = [max(pair) * work.steps for pair in zip(at_peak, traffic, strict=True)]
    shares = {side: ratio(limit, seconds[side]) for side in (COMPILED, OVER)}
    times = 1e6 * np.array([np.median(at_peak), np.median(seconds[PRODUCTS]) / work.steps, np.median(traffic)])
    return shares, (
        f"{operations / 1e6:.2f} MFLOP take {times[0]:.0f} µs at the peak, {times[1]:.0f} µs as products of their "
        f"shapes; {moved / 1e6:.2f} MB take {times[2]:.0f} µs"
    )
