"""Threads that differentiate at the same time."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.engine import tensor


@pytest.fixture
def _hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("mode", [{}, {"create_graph": True}, {"extended_range": True}], ids=["plain", "rec", "ext"])
def test_threads_that_share_a_leaf_lose_no_gradient(mode):
    leaf, threads, times = tg.Tensor(np.zeros(3), requires_grad=True), 8, 150
    start = Barrier(threads)

    def work():
        start.wait()
        for _ in range(times):
            np.sum(leaf * 1.0).backward(**mode)

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
    grad = leaf.grad.data if isinstance(leaf.grad, tg.Tensor) else np.asarray(leaf.grad)
    assert grad.tolist() == [threads * times] * 3


def test_gradients_are_added_under_a_lock(monkeypatch):
    """The test above meets a lost addition by chance only."""
    held = []

    class Lock:
        def __enter__(self):
            held.append(leaf.grad)

        def __exit__(self, *exception):
            held.append(leaf.grad)

    leaf = tg.Tensor(1.0, requires_grad=True)
    monkeypatch.setattr(tensor, "ACCUMULATING", Lock())
    (2 * leaf).backward()
    assert held == [None, 2]
