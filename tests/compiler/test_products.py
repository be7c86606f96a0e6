"""Products of small matrices as generated loops are the products, for every way in which the factors may lie."""

import itertools

import numpy as np
import pytest

from tests.compiler.backends import BACKENDS
from tinygrad_vg.compiler.products import Shape, written

SHAPES = [(10, 30, 784), (1, 8, 1), (3, 9, 2), (7, 11, 9), (5, 784, 10), (2, 40, 7000), (13, 17, 23), (4, 12, 8)]
WAYS = {"ab": "A and B by rows", "aB": "B transposed", "Ab": "A transposed"}


def product(text, kind, m, n, c, *args):
    """C as the function of this text computes it, without Numba: the text is Python."""
    names = {kind: {"f32": np.float32, "f64": np.float64}[kind]}
    exec(f"def function{text}", names)
    function = names["function"]
    if "numba" in BACKENDS:
        from tinygrad_vg.compiler import native

        function = native.product(function)
    function(*args[:2], c, *args[2:])
    return c.reshape(m, n)


@pytest.mark.parametrize(("kind", "dtype"), [("f32", np.float32), ("f64", np.float64)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_update", [False, True], ids=["product", "update"])
def test_products(kind, dtype, way, is_update):
    rng = np.random.default_rng(0)
    done = 0
    for m, n, k in SHAPES if "numba" in BACKENDS else SHAPES[1:5]:
        a, b, c = (rng.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n), (m, n)))
        strides_a, strides_b = ((1, m) if "A" in way else (k, 1)), ((1, k) if "B" in way else (n, 1))
        text = written(Shape(m, n, k, strides_a, strides_b, kind), *(("alpha", "beta") if is_update else ("", "")))
        if text is None:
            continue
        flat_a, flat_b = (a.T if "A" in way else a).ravel(), (b.T if "B" in way else b).ravel()
        factors = (dtype(-0.5), dtype(0.25)) if is_update else ()
        expected = a.astype(float) @ b
        if is_update:
            expected = 0.25 * c - 0.5 * expected
        size = (np.abs(a).astype(float) @ np.abs(b)).max()
        found = product(text, kind, m, n, c.ravel(), flat_a, flat_b, *factors)
        np.testing.assert_allclose(found, expected, atol=8 * np.finfo(dtype).eps * size)
        done += 1
    assert done or ("B" in way and is_update)  # the one that BLAS takes always


def test_what_blas_takes():
    def taken(m, n, k, strides_a, strides_b):
        return written(Shape(m, n, k, strides_a, strides_b, "f32"), "", "") is None

    assert taken(10, 4, 784, (784, 1), (4, 1))  # rows too short for a loop along them
    assert taken(10, 30, 4, (4, 1), (1, 4))
    assert taken(10, 30, 10, (1, 10), (1, 10))  # both transposed
    assert taken(1000, 1000, 1000, (1000, 1), (1, 1000))  # beyond the cache
    assert not taken(10, 30, 784, (784, 1), (1, 784))


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_each_element_is_computed_once(kind):
    """With ones for factors each element of C is k, exactly."""
    for m, n, k in itertools.product((1, 2, 5), (8, 10), (1, 3, 8, 9)):
        ones = np.ones(m * k + k * n, {"f32": np.float32, "f64": np.float64}[kind])
        text = written(Shape(m, n, k, (k, 1), (n, 1), kind), "", "")
        assert np.all(product(text, kind, m, n, np.full(m * n, np.nan, ones.dtype), ones, ones) == k)
