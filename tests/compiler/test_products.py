"""Products of small matrices by our own machine code are the products, for every way in which the factors may lie."""

import ctypes

import numpy as np
import pytest

from tests.compiler.backends import BACKENDS
from tinygrad_vg.compiler.layout import Lying, chosen

SHAPES = [(10, 30, 784), (1, 8, 1), (3, 9, 2), (7, 11, 9), (5, 784, 10), (3, 784, 1000), (13, 17, 23), (4, 12, 8)]
machine_code = pytest.mark.skipif("numba" not in BACKENDS, reason="machine code is tested with MACHINE_CODE=1")


def product(name, lying, a, b, c, alpha, beta, width=32):
    """C, as the machine code makes it of matrices that lie as `lying` says; for these sizes, and for all, it is one."""
    from tinygrad_vg.compiler.products import WHOLE, address_of

    number = {"float32": ctypes.c_float, "float64": ctypes.c_double}[c.dtype.name]
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * WHOLE, number, number)
    sizes = *c.shape, a.size // c.shape[0], *lying.distances
    is_update = (alpha, beta) != (1.0, 0.0)
    found = []
    for known in ((), True), (sizes, is_update):
        found.append(c.copy())
        function = kind(address_of(name, c.dtype.name, *known, width))
        function(a.ctypes.data, b.ctypes.data, found[-1].ctypes.data, *sizes, alpha, beta)
    assert len({result.tobytes() for result in found}) == 1
    return found[0]


@machine_code
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("way", ["ab", "aB", "Ab"], ids=["by rows", "B transposed", "A transposed"])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (-0.5, 0.25)], ids=["product", "update"])
@pytest.mark.parametrize("width", [32, 64])
def test_products(dtype, way, alpha, beta, width):
    """With vectors of either width: where the processor has no wide ones, LLVM makes two narrow ones of each."""
    rng = np.random.default_rng(0)
    done = 0
    for m, n, k in SHAPES:
        a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        lying = Lying((1, m) if "A" in way else (k, 1), (1, k) if "B" in way else (n, 1))
        name = chosen(m, n, k, lying, a.itemsize, beta != 0)
        if name is None or (name == "sums" and n * a.itemsize < width):
            continue
        c = rng.normal(size=(m, n)).astype(dtype) if beta else np.full((m, n), np.nan, dtype)
        given_a, given_b = (np.ascontiguousarray(x.T if letter in way else x) for x, letter in ((a, "A"), (b, "B")))
        found = product(name, lying, given_a, given_b, c, alpha, beta, width)
        expected = alpha * (a.astype(float) @ b) + (beta * c if beta else 0)
        size = (np.abs(a).astype(float) @ np.abs(b)).max()
        np.testing.assert_allclose(found, expected, atol=8 * np.finfo(dtype).eps * size)
        done += 1
    assert done or ("B" in way and beta)  # BLAS computes all of these


@machine_code
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormal_numbers_and_nan(dtype):
    """Nothing is flushed to 0, and NaN and inf stay what they are."""
    tiny = np.finfo(dtype).smallest_subnormal
    a, b = np.full((2, 8), tiny, dtype), np.ones((8, 9), dtype)
    found = product("sums", Lying((8, 1), (9, 1)), a, b, np.zeros((2, 9), dtype), 1.0, 0.0)
    assert np.all(found == 8 * tiny)
    found = product("dots", Lying((8, 1), (1, 8)), a, np.ones((9, 8), dtype), np.zeros((2, 9), dtype), 1.0, 0.0)
    assert np.all(found == 8 * tiny)
    a[1, 3] = np.nan
    found = product("sums", Lying((8, 1), (9, 1)), a, b, np.zeros((2, 9), dtype), 1.0, 0.0)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@machine_code
def test_vectors_are_no_wider_than_a_row():
    from tinygrad_vg.compiler.products import width_for
    from tinygrad_vg.compiler.writer import widest

    assert [width_for("sums", "float32", (10, n, 99, 99, 1, n)) for n in (8, 15, 16)] == [32, 32, widest()]
    assert [width_for("dots", "float32", (99, 99, k, k, 1, k)) for k in (8, 15, 16)] == [32, 32, widest()]
    assert width_for("sums", "float64", (10, 8, 10, 10, 1, 8)) == widest()
    assert width_for("dots", "float32", ()) == 32  # of rows of any length


def test_what_blas_computes():
    def name(m, n, k, a, b, is_update=False):
        return chosen(m, n, k, Lying(a, b), 4, is_update)

    assert name(10, 30, 784, (784, 1), (1, 784)) == "dots"
    assert name(10, 30, 784, (784, 1), (1, 784), is_update=True) is None
    assert name(30, 784, 10, (1, 30), (784, 1), is_update=True) == "sums"
    assert name(10, 4, 784, (784, 1), (4, 1)) is None  # rows too short for a loop along them
    assert name(10, 30, 4, (4, 1), (1, 4)) is None
    assert name(10, 30, 10, (1, 10), (1, 10)) is None  # both transposed
    assert name(100, 100, 1000, (1000, 1), (1, 1000)) is None  # many rows on all sides
    assert name(100, 100, 1000, (1000, 1), (100, 1)) is None
    assert name(30, 784, 1000, (1, 30), (784, 1), is_update=True) == "sums"
    assert name(10, 1000, 1000, (1000, 1), (1, 1000)) is None  # beyond the cache
