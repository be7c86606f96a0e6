"""What a step returns is what it computed when it ran, whatever it has changed since."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tinygrad_vg import nn, optim

BEFORE = {
    "itself": lambda w: w.detach(), "row": lambda w: w[0], "column": lambda w: w[:, 1], "transposed": lambda w: w.T,
    "reshaped": lambda w: w.reshape(-1), "view of a view": lambda w: w.T[1:], "copy": lambda w: 1 * w,
    "turned": lambda w: np.flip(w, 0), "element": lambda w: w[1, 1],
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_taken_of_a_parameter_before_its_update(dtype, momentum, backend):
    """Views too: compiled steps write into the array of the parameter."""
    found = []
    for around in (lambda step: step, tg.compile(backend=backend)):
        w = nn.Parameter(np.arange(6, dtype=dtype).reshape(2, 3))
        sgd = optim.SGD([w], lr=0.1, momentum=momentum)

        def step(x, w=w, sgd=sgd):
            sgd.zero_grad()
            before = [take(w) for take in BEFORE.values()]
            np.sum(np.square(w * x)).backward()
            sgd.step()
            return before, [take(w) for take in BEFORE.values()]

        step = around(step)
        found.append([step(np.full((2, 3), 1 + n, dtype)) for n in range(4)])
    for (before, after), (before_too, after_too) in zip(*found, strict=True):
        for name, a, b in zip([*BEFORE, *BEFORE], [*before, *after], [*before_too, *after_too], strict=True):
            assert a.data.dtype == b.data.dtype
            np.testing.assert_allclose(a.data, b.data, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", BEFORE)
def test_each_of_them_alone(name, backend):
    """Nothing else keeps the step from writing into the parameter."""
    w = nn.Parameter(np.arange(6.0).reshape(2, 3))
    sgd = optim.SGD([w], lr=0.1)

    @tg.compile(backend=backend)
    def step(x):
        sgd.zero_grad()
        before = BEFORE[name](w)
        np.sum(np.square(w) * x).backward()
        sgd.step()
        return before

    for _ in range(4):
        expected = np.array(BEFORE[name](w).data)
        assert np.array_equal(step(np.ones((2, 3))).data, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_share_no_memory(backend):
    """Neither with each other, nor with arguments, parameters and later results: the caller may write into them."""
    w = nn.Parameter(np.ones((2, 3)))

    @tg.compile(backend=backend)
    def step(x):
        y = w * x
        return y, y.T, x, x[0], y, w.T, np.zeros_like(x)

    x, seen = np.ones((2, 3)), []
    for _ in range(4):
        results = [r.data if isinstance(r, tg.Tensor) else r for r in step(x)]
        assert [r.shape for r in results] == [(2, 3), (3, 2), (2, 3), (3,), (2, 3), (3, 2), (2, 3)]
        assert not any(np.shares_memory(r, other) for r in results for other in (x, w.data, *seen))
        for r in results:
            r += 1000  # writeable, and nobody's but ours
        seen += results
        assert x.tolist() == w.data.tolist() == [[1.0] * 3] * 2
    assert np.unique([r.max() for r in seen]).tolist() in ([1000.0, 1001.0], [1001.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_structure_is_returned(backend):
    """Tuples, lists, dicts, numbers, None, constants and parameters, as the step itself returns them."""
    w = nn.Parameter(np.ones(3))

    def step(x):
        y = w * x
        return {"y": y, "list": [x > 0, None, 3, "text"], "w": w, "constant": np.arange(3), "in": (y, (np.sum(y),))}

    compiled = tg.compile(step, backend=backend)
    for x in np.random.default_rng(0).normal(size=(3, 3)):
        one, two = step(x), compiled(x)
        assert one.keys() == two.keys()
        assert one["w"] is two["w"] is w
        assert two["list"][1:] == [None, 3, "text"]
        pairs = [(one["y"], two["y"]), (one["list"][0], two["list"][0]), (one["constant"], two["constant"])]
        for a, b in [*pairs, (one["in"][0], two["in"][0]), (one["in"][1][0], two["in"][1][0])]:
            assert type(a) is type(b)
            assert np.allclose(*(t.data if isinstance(t, tg.Tensor) else t for t in (a, b)), rtol=1e-12)
