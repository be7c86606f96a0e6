"""Tensor as an array: what it shares with NumPy, and where it speaks up instead of losing a gradient."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_vg as tg


@pytest.fixture
def t():
    return tg.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="t")


def test_arrays_are_shared_and_keep_their_dtype():
    array = np.zeros(3, np.float32)
    assert tg.Tensor(array).data is array
    assert tg.Tensor(1.0).dtype == np.float64
    assert tg.Tensor([1, 2]).dtype == np.int64


def test_python_numbers_do_not_widen_float32():
    t = tg.Tensor(np.ones(3, np.float32), requires_grad=True)
    assert (2.5 * t**2 / 3 - 1).dtype == np.float32


def test_shape_and_the_like(t):
    assert (t.shape, t.ndim, t.size, len(t)) == ((2, 3), 2, 6, 2)
    assert t.T.shape == t.mT.shape == t.transpose().shape == (3, 2)
    assert t.transpose(1, 0).shape == t.transpose((1, 0)).shape == (3, 2)
    assert t.reshape(3, 2).shape == t.reshape((3, 2)).shape == (3, 2)
    assert [row.shape for row in t] == [(3,), (3,)]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std"])
def test_methods_are_the_functions(t, name):
    assert np.array_equal(
        getattr(t, name)(axis=1, keepdims=True).data, getattr(np, name)(t.data, axis=1, keepdims=True)
    )
    assert getattr(t, name)().shape == ()


def test_operators_with_an_array_on_the_left(t):
    array = np.full((2, 3), 2.0)
    for y in (array + t, array - t, array * t, array / (t + 1), array**t, array % (t + 1), array @ t.T, 2.0 - t):
        assert isinstance(y, tg.Tensor)
        assert y.requires_grad


def test_comparisons_return_arrays(t):
    for truth in (t == 1, t != 1, t < 1, t <= 1, t > 1, t >= 1, np.isfinite(t), np.argmax(t), np.sign(t)):
        assert not isinstance(truth, tg.Tensor)
    assert {t: 1}[t] == 1  # hashed by identity, as keys and members of sets


def test_augmented_assignment_rebinds(t):
    before = t
    t += 1
    assert t is not before
    assert np.array_equal(before.data, np.arange(6.0).reshape(2, 3))


def test_assigning_a_tensor_into_an_array_is_refused(t):
    array = np.zeros((2, 3))
    with pytest.raises(TypeError, match="out="):
        array += t
    with pytest.raises(TypeError, match="drop its gradient"):
        array[:] = t


def test_numbers():
    t = tg.Tensor(2.5, requires_grad=True)
    assert t.item() == 2.5
    assert f"{t:.3f}" == "2.500"
    assert bool(t > 2)
    with pytest.raises(TypeError, match=r"write \.item\(\)"):
        float(t)
    with pytest.raises(TypeError, match="cannot be an index"):
        [0, 1][tg.Tensor(1)]


def test_repr(t):
    assert repr(t).endswith("requires_grad=True, name='t')")
    assert repr(tg.Tensor(1.0)) == "Tensor(1.)"


def test_detach_shares_data_and_forgets_history(t):
    d = (t * 2).detach()
    assert not d.requires_grad
    assert t.detach().data is t.data


def test_copies_carry_data_but_not_gradients_and_hooks(t):
    t.register_hook(print)
    t.grad = np.ones((2, 3))
    for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert np.array_equal(other.data, t.data)
        assert not np.shares_memory(other.data, t.data)
        assert (other.grad, other.name, other.requires_grad, other.hooks) == (None, "t", True, None)


def test_a_history_cannot_be_copied(t):
    with pytest.raises(TypeError, match=r"has a graph, which cannot be copied; copy its \.detach\(\)"):
        copy.deepcopy(t * 2)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex128])
def test_gradients_are_of_real_numbers(dtype):
    with pytest.raises(TypeError, match="real floating-point"):
        tg.Tensor(np.zeros(2, dtype), requires_grad=True)
