"""What of NumPy has rules, what is constant, and that all the rest is refused by name, never done silently wrong."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import ops
from tinygrad_vg.engine import name_of
from tinygrad_vg.engine.calculus import last_of_largest
from tinygrad_vg.engine.constants import counts_of
from tinygrad_vg.engine.linalg import sign_of_det
from tinygrad_vg.engine.operations import OPERATIONS

# fmt: off
OF_PAIRS = {
    np.allclose, np.array_equal, np.array_equiv, np.common_type, np.isclose, np.may_share_memory, np.result_type,
    np.searchsorted, np.shares_memory, np.isin, np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d,
}
# fmt: on
MORE_ARGUMENTS = {np.can_cast: (np.float32,), np.argpartition: (1,), np.digitize: ([0.0, 1.0],)}
SQUARE = {np.linalg.matrix_rank, np.diag_indices_from, np.tril_indices_from, np.triu_indices_from, sign_of_det}


WITHOUT_DERIVATIVE = {f for f, operation in OPERATIONS.items() if operation.kind in ("constant", "plain")}
WITHOUT_DERIVATIVE -= {counts_of}  # of integers, which require no gradients: np.bincount in test_functions.py
# Those of `nn` take more than an array; the tests of its costs and of clipping call them.
WITHOUT_DERIVATIVE -= {f for f in WITHOUT_DERIVATIVE if str(getattr(f, "__module__", "")).startswith("tinygrad_vg.nn")}


def leaf(*numbers):
    return tg.Tensor(np.array(numbers), requires_grad=True)


@pytest.mark.parametrize("function", sorted(WITHOUT_DERIVATIVE, key=name_of), ids=name_of)
def test_a_constant_function_returns_what_it_returns_on_arrays(function):
    of_pairs = function in OF_PAIRS or getattr(function, "nin", 1) == 2
    arrays = [[0.4, 1.5, 2.5], [-0.3, 1.5, 2.0]] if of_pairs else [[-1.5, 0.4, 2.5]]
    arrays = [[[1.0, 2.0], [3.0, 4.0]]] if function in SQUARE else arrays
    more = MORE_ARGUMENTS.get(function, ())
    if function is np.einsum_path:
        arrays, more, function = [[1.0, 2.0]], (), lambda a: np.einsum_path("i->", a)
    if function is last_of_largest:
        more = (0,)
    result, expected = function(*[leaf(*a) for a in arrays], *more), function(*map(np.array, arrays), *more)
    assert type(result) is type(expected)
    if not isinstance(expected, tuple):
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
    "np.gcd(t, u)": r"np\.gcd takes no Tensor: it works on integers",
    "np.linalg.eig(t)": r"np\.linalg\.eig takes no Tensor: its result is complex.*write np\.linalg\.eigh",
    "np.fft.rfft(t)": r"np\.fft\.rfft takes no Tensor: it computes with complex numbers.*write tinygrad_vg\.ops\.rfft",
    "np.put(t, [0], 1)": r"np\.put takes no Tensor: it changes an array in place.*write np\.where",
    "np.save('file', t)": r"np\.save takes no Tensor: it writes a file; pass \.data",
    "np.zeros(3, like=t)": r"np\.zeros takes no Tensor: it makes an array.*np\.zeros_like\(t\.data\)",
    "np.isnat(t)": r"np\.isnat takes no Tensor: it works on dates",
    "np.strings.str_len(t)": "str_len takes no Tensor: it works on text",
    "np.pad(t, 1, mode='mean')": r"np\.pad .*'edge', 'reflect', 'symmetric', 'wrap'; write np\.concatenate",
    "np.pad(t, 1, constant_values=u)": r"np\.pad got a Tensor as constant_values.* pass its \.data",
    "np.repeat(t, tg.Tensor([1, 2, 0]))": r"np\.repeat got a Tensor as repeats.* pass its \.data",
    "np.quantile(t, u)": r"np\.quantile got a Tensor as q.* pass its \.data",
    "np.linalg.svd(np.outer(t, u)[:2])": r"full_matrices=True adds; write full_matrices=False",
    "np.linalg.qr(np.outer(t, u)[:, :2], 'complete')": r"mode='reduced' or 'r', not 'complete'",
    "np.histogram(t, weights=u)": r"np\.histogram .*weights=",
    "np.einsum(t, [0], u, [0])": r"np\.einsum .*subscripts as a string",
    "np.sort(t, order='x')": r"np\.sort .*order=",
    "np.add.reduce(t)": r"np\.add\.reduce .*np\.sum",
    "np.logaddexp.accumulate(t)": r"np\.logaddexp\.accumulate .*np\.cumsum",
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


@pytest.mark.parametrize("code", ["t.astype(int)", "t * 1j", "np.full_like(array, t)"])
def test_a_gradient_is_not_lost_on_integers_complex_numbers_and_copies(code, names):
    """An integer has no slope, and the rules are those of real numbers: a wrong gradient is worse than none."""
    with pytest.raises(TypeError, match="gradient"):
        exec(code, names)


@pytest.mark.parametrize("dtype", [bool, int, complex, object])
def test_only_real_floating_point_numbers_have_gradients(dtype):
    with pytest.raises(TypeError, match=f"real floating-point numbers have gradients, not {np.dtype(dtype)}"):
        tg.Tensor(np.zeros(2, dtype), requires_grad=True)
