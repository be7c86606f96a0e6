"""Batches: each row once, in the same order in all arrays."""

import sys

import numpy as np
import pytest

from tinygrad_vg import datasets, extras

X, Y = np.arange(46.0).reshape(23, 2), np.arange(23)


@pytest.mark.parametrize("size", [1, 5, 23, 100, np.int64(4)])
@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["in order", "shuffled"])
def test_each_row_comes_once_with_its_target(size, rng):
    found = [*datasets.batches(X, Y, size=size, rng=rng)]
    assert [len(y) for _, y in found[:-1]] == [size] * (len(found) - 1)
    assert 0 < len(found[-1][1]) <= size
    x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
    assert np.array_equal(x, X[y])
    assert np.array_equal(np.sort(y), Y)
    assert np.array_equal(y, Y) == (rng is None)


def test_epochs_have_orders_of_their_own_and_a_generator_repeats_them():
    def orders(rng):
        return [tuple(int(i) for (y,) in datasets.batches(Y, size=5, rng=rng) for i in y) for _ in range(3)]

    assert orders(np.random.default_rng(0)) == orders(np.random.default_rng(0))
    assert len({*orders(np.random.default_rng(0))}) == 3


def test_batches_are_copies():
    for (x,) in datasets.batches(X, size=5):
        assert not np.shares_memory(x, X)


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda: datasets.batches(X, Y[:-1], size=5), ValueError, "one length, not of 23, 22"),
    (lambda: datasets.batches(X, size=0), ValueError, "size .* above 0, not 0"),
    (lambda: datasets.batches(X, size=2.5), ValueError, "size .* above 0, not 2.5"),
    (lambda: datasets.batches(size=5), TypeError, "one array or more"),
    (lambda: datasets.batches([[1.0]], size=5), TypeError, r"np\.asarray"),
    (lambda: datasets.batches(X, size=5, rng=7), TypeError, r"same order .*rng = np\.random\.default_rng\(7\)"),
])  # fmt: skip
def test_refused_at_the_call(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_bar(capsys):
    pytest.importorskip("rich")
    assert len([*datasets.batches(X, Y, size=5, progress=True)]) == 5
    assert "batches" in capsys.readouterr().out


def test_a_bar_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ModuleNotFoundError, match="Rich") as error:
        datasets.batches(X, size=5, progress=True)
    assert extras.install("examples") in str(error.value)


@pytest.mark.torch
def test_the_same_batches_as_a_data_loader():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    ours, theirs = [*datasets.batches(X, Y, size=5)], [*torch.utils.data.DataLoader(data, 5)]
    for (x, y), (a, b) in zip(ours, theirs, strict=True):
        assert np.array_equal(x, a)
        assert np.array_equal(y, b)
