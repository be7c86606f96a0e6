"""The limit: how long the arithmetic and the traffic of a step take, if nothing else does.

Counted from the sizes are the products' operations, and the bytes that must move however a step is written. Measured in
the same run are how fast this machine multiplies large matrices, and copies as many bytes. A step takes at least the
longer of both times. Small products are slower than large ones everywhere, and exp and log are not counted: no
step will reach the limit.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from tests.benchmarks.jobs import UnavailableError, draw_job, mnist
from tests.benchmarks.ours import compiled, over
from tests.benchmarks.report import Result, Row, missing
from tests.benchmarks.timing import interleaved, spread, timed
from tests.benchmarks.works import COMPILED, OVER, WORKS

NAMES = ("A", "B", "D")
SIDE = 512  # of the matrices whose product gives the peak
LARGE, COPIES = "a large product", 200


def flop(sizes: list[int], batch: int) -> int:
    """The operations of a step's products: forward, the weights' gradients, and back through all layers but the first.

    >>> flop([3, 2, 1], batch=10)
    360
    """
    weights = [n_in * n_out for n_in, n_out in pairwise(sizes)]
    return 2 * batch * (3 * sum(weights) - weights[0])


def bytes_moved(sizes: list[int], batch: int) -> int:
    """The float32 numbers that a step must move: parameters read and written, the batch read, and each layer's output
    written and read once.

    >>> bytes_moved([3, 2, 1], batch=10)
    488
    """
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    return 4 * (2 * parameters + batch * (sizes[0] + sizes[-1]) + 2 * batch * sum(sizes[1:]))


def large_product():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, SIDE, SIDE), dtype=np.float32)
    return partial(np.matmul, a, b, out=np.empty_like(a))


def copies(size: int):
    """Copies that read and write `size` bytes in all, many times, between the same arrays, as the steps do it."""
    source, target = np.ones((2, size // 8), np.float32)

    def run():
        for _ in range(COPIES):
            np.copyto(target, source)

    return run


def measure(repeats: int) -> Result:
    title = "the longer time of a step's products at the peak and of its traffic, over our time"
    blocks = {LARGE: large_product()}
    try:
        for name in NAMES:
            work = WORKS[name]
            job = draw_job(mnist(), work.sizes, work.batch, work.lr)
            blocks[f"{name}, {COMPILED}"] = partial(compiled(job).run, work.steps)
            blocks[f"{name}, {OVER}"] = partial(over(job).run, work.steps)
            blocks[f"{name}, copy"] = copies(bytes_moved(work.sizes, work.batch))
    except UnavailableError as error:
        return Result(title, notes=[missing("the limit", error)])
    for block in blocks.values():
        block()
    seconds = interleaved({name: timed(block) for name, block in blocks.items()}, repeats)
    peak = [2 * SIDE**3 / each for each in seconds[LARGE]]
    rows, notes = [], [f"peak {np.median(peak) / 1e9:.0f} GFLOP/s, of a product of {SIDE} x {SIDE} matrices in float32"]
    for name in NAMES:
        work = WORKS[name]
        operations, moved = flop(work.sizes, work.batch), bytes_moved(work.sizes, work.batch)
        products = [operations / each for each in peak]
        traffic = [each / COPIES for each in seconds[f"{name}, copy"]]
        limit = list(map(max, products, traffic))
        for side in (COMPILED, OVER):
            ours = [each / work.steps for each in seconds[f"{name}, {side}"]]
            shares = [a / b for a, b in zip(limit, ours, strict=True)]
            rows.append(Row(f"{name}: share of the limit, {side}", spread(shares)))
        notes.append(
            f"{name}: {operations / 1e6:.2f} MFLOP, {1e6 * np.median(products):.0f} µs; {moved / 1e6:.2f} MB, "
            f"{1e6 * np.median(traffic):.0f} µs at {moved / np.median(traffic) / 1e9:.0f} GB/s"
        )
    return Result(title, rows, seconds, notes)
