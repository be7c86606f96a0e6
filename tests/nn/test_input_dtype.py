"""Float32 images in a float64 network: they are converted once, exactly, and not in every product."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tinygrad_vg import nn

LAYERS = {
    "Linear": (lambda dtype: nn.Linear(4, 3, dtype=dtype, rng=0), (5, 4)),
    "Conv2d": (lambda dtype: nn.Conv2d(2, 3, 2, dtype=dtype, rng=0), (5, 2, 4, 4)),
    "GRUCell": (lambda dtype: nn.GRUCell(4, 3, dtype=dtype, rng=0), (5, 4)),
    "RNN": (lambda dtype: nn.RNN(4, 3, dtype=dtype, rng=0), (6, 5, 4)),
    "ensemble": (lambda dtype: nn.stack([nn.Linear(4, 3, dtype=dtype, rng=i) for i in range(2)]), (5, 4)),
}


def output_of(layer, x):
    output = layer(x)
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("kind", [np.asarray, tg.Tensor], ids=["array", "Tensor"])
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_the_result_is_that_of_the_converted_images(make, shape, kind):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    layer, twin = make(np.float64), make(np.float64)
    output, other = output_of(layer, kind(x)), output_of(twin, kind(x.astype(np.float64)))
    assert output.dtype == np.float64
    assert np.array_equal(output.data, other.data)
    np.sum(output * output).backward()
    np.sum(other * other).backward()
    for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
        assert p.grad.dtype == np.float64
        assert np.array_equal(p.grad, q.grad)


def test_no_product_has_two_dtypes():
    """NumPy would convert the images in the forward and again in the backward."""
    x = np.ones((5, 4), np.float32)
    node = nn.Linear(4, 3, rng=0)(x).node
    assert {value.dtype for value in node.values} == {np.dtype(np.float64)}
    same = np.ones((5, 4))
    assert nn.Linear(4, 3, rng=0)(same).node.values[0] is same


@pytest.mark.parametrize("given", [np.ones((2, 4), np.uint8), np.ones((2, 4), bool), [[1.0, 2.0, 3.0, 4.0]]])
def test_bytes_and_lists_too(given):
    x = np.asarray(given, np.float64)
    assert np.array_equal(nn.Linear(4, 3, rng=0)(given).data, nn.Linear(4, 3, rng=0)(x).data)


def test_a_gradient_of_the_images_has_their_dtype():
    x = tg.Tensor(np.ones((2, 4), np.float32), requires_grad=True)
    np.sum(nn.Linear(4, 3, rng=0)(x)).backward()
    assert x.grad.dtype == np.float32


def test_nothing_is_rounded():
    """Float64 images in a float32 network give float64, as in NumPy."""
    assert nn.Linear(4, 3, dtype=np.float32, rng=0)(np.ones((2, 4))).dtype == np.float64
    assert nn.Linear(4, 3, dtype=np.float32, rng=0)(np.ones((2, 4), np.int64)).dtype == np.float64
    assert nn.Linear(4, 3, dtype=np.float32, rng=0)(np.ones((2, 4), np.uint8)).dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(backend):
    net, twin = nn.mlp([4, 3, 2], rng=0), nn.mlp([4, 3, 2], rng=0)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    compiled = tg.compile(lambda x: net(x), backend=backend)
    for _ in range(3):
        np.testing.assert_allclose(compiled(x).data, twin(x).data, rtol=1e-14)
