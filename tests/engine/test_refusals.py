"""What of NumPy has rules, what is constant, and that all the rest is refused by name, never done silently wrong."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import ops
from tinygrad_vg.engine import name_of
from tinygrad_vg.engine.operations import OPERATIONS
from tinygrad_vg.nn.classification import rows_of_classes

# fmt: off
WITHOUT_A_RULE = {
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_count", "invert", "left_shift", "right_shift",  # of bits
    "gcd", "lcm",  # of integers
    "isnat",  # of dates
    "nextafter",  # a step of rounding, nothing to a function of real numbers
    "frexp", "modf", "divmod",  # two outputs, where a node has one
    "matvec", "vecmat",  # new in NumPy 2.2; matmul does the same
}
OF_PAIRS = {
    np.allclose, np.array_equal, np.array_equiv, np.common_type, np.isclose, np.may_share_memory, np.result_type,
    np.searchsorted, np.shares_memory,
}
# fmt: on
MORE_ARGUMENTS = {np.can_cast: (np.float32,)}


WITHOUT_DERIVATIVE = {f for f, operation in OPERATIONS.items() if operation.kind in ("constant", "plain")}
WITHOUT_DERIVATIVE -= {rows_of_classes}  # takes whole numbers only: tests/nn/test_weighted_losses.py has it


def leaf(*numbers):
    return tg.Tensor(np.array(numbers), requires_grad=True)


def test_every_ufunc_of_numpy_is_accounted_for():
    ufuncs = {f for f in vars(np).values() if isinstance(f, np.ufunc) and f.nin <= 2}
    assert {f.__name__ for f in ufuncs - OPERATIONS.keys()} == {name for name in WITHOUT_A_RULE if hasattr(np, name)}


@pytest.mark.parametrize("name", sorted(name for name in WITHOUT_A_RULE if hasattr(np, name)))
def test_a_ufunc_without_a_rule_is_refused(name):
    function = getattr(np, name)
    with pytest.raises(TypeError, match=rf"gradient of np\.{name} is not defined; add it with .*defvjp\(np\.{name}"):
        function(*[leaf(1.0, 2.0)] * function.nin)


@pytest.mark.parametrize("function", sorted(WITHOUT_DERIVATIVE, key=name_of), ids=name_of)
def test_a_constant_function_returns_what_it_returns_on_arrays(function):
    of_pairs = function in OF_PAIRS or getattr(function, "nin", 1) == 2
    arrays = [[0.4, 1.5, 2.5], [-0.3, 1.5, 2.0]] if of_pairs else [[-1.5, 0.4, 2.5]]
    more = MORE_ARGUMENTS.get(function, ())
    result, expected = function(*[leaf(*a) for a in arrays], *more), function(*map(np.array, arrays), *more)
    assert type(result) is type(expected)
    assert np.shape(result) == np.shape(expected)
    if function is not np.empty_like:  # whose values are whatever the memory holds
        np.testing.assert_equal(result, expected)


@pytest.fixture
def names():
    """What the lines of code below may speak of."""
    return dict(np=np, tg=tg, ops=ops, t=leaf(1.0, 2.0, 3.0), u=leaf(0.0, 1.0, 2.0), array=np.ones(3))


REFUSED = {
    "np.exp(t, out=array)": r"np\.exp .*out=.* write `t = f\(u\)`",
    "np.exp(array, out=t)": r"np\.exp .*out=",
    "np.exp(t, array)": r"np\.exp .*out=",
    "np.floor(t, out=t)": r"np\.floor .*out=",
    "np.less(array, array, out=t)": r"np\.less .*out=",
    "np.stack([t, u], out=array)": r"np\.stack .*out=",
    "np.concatenate([t, u], dtype=np.float32)": r"np\.concatenate .*dtype=",
    "np.exp(t, where=array > 0)": r"np\.exp .*where=.* write `np\.where\(",
    "np.sum(t, where=array > 0)": r"np\.sum .*where=",
    "np.exp(t, dtype=np.float32)": r"np\.exp .*dtype=",
    "np.sum(t, dtype=np.float32)": r"np\.sum .*dtype=.* covers these options: .*axis, keepdims",
    "np.max(t, initial=3.0)": r"np\.max .*initial=",
    "np.add(t, u, casting='unsafe')": r"np\.add .*casting=",
    "np.reshape(t, (3, 1), order='F')": r"np\.reshape .*order=",
    "np.sum(t, 0, None)": r"np\.sum .* takes 2 positional arguments, not 3; pass options .* by keyword",
    "np.mean(t, None, None, None)": r"np\.mean .* takes 2 positional arguments, not 4",
    "ops.relu(t, 1)": "relu .* takes 1 positional arguments, not 2",
    "np.clip(array, a_min=t, a_max=2)": r"np\.clip got a Tensor as a_min=.* by position",
    "np.sum(t, axis=u)": r"np\.sum got a Tensor as axis=",
    "ops.linear(t, weight=u)": "linear got a Tensor as weight=",
    "np.sum(t, u)": r"np\.sum has no rule for a Tensor as argument 2; pass its \.data",
    "t[tg.Tensor([0, 1])]": r"getitem has no rule for a Tensor as argument 2; pass its \.data",
    "np.where(t)": r"two branches; for indices write np\.nonzero",
    "np.inner(t, u)": r"np\.inner is not defined; add it with tinygrad_vg\.defvjp\(np\.inner",
    "np.linalg.norm(t)": r"np\.linalg\.norm is not defined; add it with tinygrad_vg\.defvjp\(np\.linalg\.norm",
    "np.add.reduce(t)": r"np\.add\.reduce .*np\.sum",
    "np.add.accumulate(t)": r"np\.add\.accumulate .*np\.cumsum",
    "np.multiply.outer(t, u)": r"np\.multiply\.outer .*broadcasting",
    "np.add.at(array, 0, t)": r"np\.add\.at",
    "np.array([t, u])": r"drop its gradient; write \.data .* np\.stack\(",
    "np.asarray(t)": r"drop its gradient; write \.data",
    "np.sum([t, u])": r"drop its gradient; write \.data",
    "float(t)": r"drop its gradient; write \.item\(\)",
    "complex(t)": r"drop its gradient; write \.item\(\)",
    "int(t)": r"write \.item\(\) or \.data",
    "t[0] = 1": "cannot be changed in place",
    "array += t": r"np\.add .*out=",
}


@pytest.mark.parametrize(("code", "message"), REFUSED.items(), ids=REFUSED)
def test_refused_at_the_call(code, message, names):
    with pytest.raises(TypeError, match=message):
        exec(code, names)
    assert np.array_equal(names["array"], np.ones(3))


@pytest.mark.parametrize("code", ["t.astype(int)", "t * 1j", "np.full_like(array, t)", "np.full_like(t, u)"])
def test_a_gradient_is_not_lost_on_integers_complex_numbers_and_copies(code, names):
    """An integer has no slope, and the rules are those of real numbers: a wrong gradient is worse than none."""
    with pytest.raises(TypeError, match="gradient"):
        exec(code, names)


@pytest.mark.parametrize("dtype", [bool, int, complex, object])
def test_only_real_floating_point_numbers_have_gradients(dtype):
    with pytest.raises(TypeError, match=f"real floating-point numbers have gradients, not {np.dtype(dtype)}"):
        tg.Tensor(np.zeros(2, dtype), requires_grad=True)
