"""What is set by hand on a tensor later is refused with the constructor's words, or has its shape and dtype."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn, optim

NO_FLOATS = "only arrays of real floating-point numbers"


@pytest.mark.parametrize("array", [np.array([[1, 2]]), np.array([[True, False]])], ids=["integers", "booleans"])
def test_weights_set_to_integers_have_no_gradient(array):
    """It would be rounded to 0, and the weight never move."""
    layer = nn.Linear(2, 1, rng=0)
    layer.weight.data = array
    cost = np.sum(layer(np.ones((3, 2))))
    with pytest.raises(TypeError, match=f"{NO_FLOATS} have gradients, not {array.dtype}"):
        cost.backward()
    layer.weight.grad = np.ones((1, 2))
    with pytest.raises(TypeError, match=f"{NO_FLOATS} are trained, not {array.dtype}"):
        optim.SGD([layer.weight], lr=0.1).step()


@pytest.mark.parametrize("array", [[1, 2], [True, False], [1j, 2]], ids=["integers", "booleans", "complex"])
def test_gradients_cannot_be_asked_of_them_later(array):
    t = tg.Tensor(array)
    with pytest.raises(TypeError, match=f"{NO_FLOATS} have gradients, not"):
        t.requires_grad = True
    assert not t.requires_grad


@pytest.mark.parametrize("data", [[3.0, 4.0], 3.0], ids=["list", "float"])
def test_data_that_is_no_array_is_named(data):
    t = tg.Tensor(np.ones(np.shape(data)), requires_grad=True, name="t")
    t.data = data
    with pytest.raises(TypeError, match=r"the data of tensor 't' is no array but .*; write \.data = np\.asarray"):
        np.sum(2 * t).backward()


def test_what_is_no_leaf_keeps_asking_for_gradients():
    x = tg.Tensor([3.0], requires_grad=True)
    h = 2 * x
    with pytest.raises(ValueError, match=r"the output of np.multiply was computed from .*; write \.detach\(\)"):
        h.requires_grad = False
    np.sum(h * x).backward()
    assert x.grad == 12


def test_leaves_are_frozen_and_freed():
    x, y = tg.Tensor([3.0]), tg.Tensor([2.0], requires_grad=True)
    x.requires_grad, y.requires_grad = True, False
    (x * y).backward()
    assert x.grad == 2
    assert y.grad is None


@pytest.mark.parametrize("gradient", [np.ones((2, 2)), np.ones(1), 1.0], ids=["larger", "smaller", "number"])
def test_a_gradient_of_another_shape_is_neither_added_to_nor_followed(gradient):
    p = nn.Parameter([1.0, 2.0], name="p")
    p.grad = gradient
    with pytest.raises(ValueError, match=r"the \.grad of tensor 'p' was set to shape .*write \.grad = None"):
        np.sum(p).backward()
    with pytest.raises(ValueError, match=r"the \.grad of tensor 'p' has shape"):
        optim.SGD([p], lr=0.1).step()
    assert p.data.tolist() == [1, 2]


def test_a_gradient_of_another_dtype_takes_that_of_the_data_when_it_is_added_to():
    p = nn.Parameter(np.ones(2, np.float32))
    p.grad = np.ones(2)
    np.sum(p).backward()
    assert p.grad.dtype == np.float32
    assert p.grad.tolist() == [2, 2]


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()], ids=repr)
@pytest.mark.parametrize("kind", [np.asarray, tg.Tensor], ids=["array", "Tensor"])
@pytest.mark.parametrize("dtype", [float, int])
def test_complex_targets_are_refused(loss, kind, dtype):
    """NumPy drops the imaginary part, and a warning can be off."""
    with pytest.raises(TypeError, match=r"complex128.*write \.real or abs\(\)"):
        loss(tg.Tensor(np.zeros((1, 2), dtype)), kind([[1j, 0]]))


def test_complex_cotangents_are_refused():
    t = tg.Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"complex128.*write \.real or abs\(\)"):
        (2 * t).backward([1j])


def test_a_cotangent_in_a_tensor_takes_the_dtype_too():
    for recorded in (False, True):
        t = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
        (2 * t).backward(tg.Tensor([1, 2]), create_graph=recorded)
        assert t.grad.dtype == np.float32


@pytest.mark.parametrize("target", [np.array([[0.0], [1.0]]), np.array([0, 0])], ids=["floats", "indices"])
def test_one_class_has_no_cross_entropy(target):
    with pytest.raises(ValueError, match=r"softmax of one class is 1 .* BCEWithLogitsLoss"):
        nn.CrossEntropyLoss()(tg.Tensor([[0.3], [0.4]]), target)
