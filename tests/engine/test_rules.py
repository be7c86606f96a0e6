"""Laws of the table: every function has cases, its rules are right to second order, and a wrong rule is noticed."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.engine import cases, cases_of_arrays, cases_of_networks
from tinygrad_vg import ops
from tinygrad_vg.engine import name_of, record_everything
from tinygrad_vg.engine.operations import OPERATIONS, ForEach

CASES = [*cases.CASES, *cases_of_arrays.CASES, *cases_of_networks.CASES]

OWNERS = {"numpy", "_operator", "tinygrad_vg"}  # what other tests enter in the table is their own affair
FUNCTIONS = [
    f for f, operation in OPERATIONS.items()
    if operation.kind == "differentiable" and (getattr(f, "__module__", None) or "numpy").split(".")[0] in OWNERS
]  # fmt: skip
RULES = [
    (f, i) for f in FUNCTIONS
    for i, rule in enumerate([1] if isinstance(OPERATIONS[f].rules, ForEach) else OPERATIONS[f].rules) if rule
]  # fmt: skip


def rule_id(value):
    return value if isinstance(value, int) else name_of(value)


def cotangent(y):
    """A direction without symmetry, of the shape and dtype of `y`."""
    return np.random.default_rng(0).uniform(0.5, 2, y.shape).astype(y.dtype)


def is_refused(case, dtype):
    """Whether NumPy refuses the dtype, as its linear algebra refuses all but two; then the call says so."""
    if case.function not in cases_of_arrays.LAPACK or dtype in (np.float32, np.float64):
        return False
    with pytest.raises(TypeError, match="unsupported in linalg"):
        case.on_tensors(*case.leaves())
    return True


def cases_of(function):
    return [case for case in CASES if case.function is function]


@pytest.mark.parametrize(("function", "i"), RULES, ids=rule_id)
def test_every_rule_has_a_case(function, i):
    assert any(i in case.checked for case in cases_of(function)), (
        f"{name_of(function)} is in the table, but has no case that differentiates in argument {i}"
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rules_are_right_to_second_order(case):
    case.gradcheck(order=2)


MUTATIONS = {
    "scaled": lambda rule: lambda *args, **kwargs: 1.01 * rule(*args, **kwargs),
    "flipped": lambda rule: lambda *args, **kwargs: -rule(*args, **kwargs),
    "zeroed": lambda rule: lambda *args, **kwargs: 0 * rule(*args, **kwargs),
    "dropped": lambda rule: None,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize(("function", "i"), RULES, ids=rule_id)
def test_a_wrong_rule_is_noticed(function, i, mutation, monkeypatch):
    """The tester is tested: were a case too tame to tell a wrong rule from a right one, this would fail."""
    rules = OPERATIONS[function].rules
    if isinstance(rules, ForEach):
        rules = tuple(rules[index] for index in range(max(len(case.args) for case in cases_of(function))))
    monkeypatch.setattr(OPERATIONS[function], "rules", (*rules[:i], MUTATIONS[mutation](rules[i]), *rules[i + 1 :]))
    with pytest.raises(tg.GradcheckError):
        [case.gradcheck(order=1) for case in cases_of(function)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rules_keep_the_dtype(case, dtype):
    """The engine would cast their answer, and so hide that a strong scalar made them compute in float64."""
    case = case.with_arrays(lambda a: a.astype(dtype))
    if is_refused(case, dtype):
        return
    y = case.on_arrays()
    if case.function not in (np.float_power, np.ndarray.astype):  # these two change it themselves
        assert y.dtype == dtype
    assert [share.dtype for share in case.shares(cotangent(y), y)] == [y.dtype] * len(case.checked)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_have_the_shape_and_dtype_of_their_argument(case, dtype):
    case = case.with_arrays(lambda a: a.astype(dtype))
    if is_refused(case, dtype):
        return
    leaves = case.leaves()
    y = case.on_tensors(*leaves)
    y.backward(np.ones(y.shape))
    for i in case.checked:
        assert (leaves[i].grad.shape, leaves[i].grad.dtype) == (leaves[i].shape, leaves[i].dtype)


@pytest.mark.parametrize("writeable", [True, False], ids=["writeable", "readonly"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_changed_in_place(case, writeable):
    case = case.with_arrays(np.copy)
    y = case.on_arrays().copy()
    g = cotangent(y)
    arrays = [g, y, *(a for a in case.args if isinstance(a, np.ndarray))]
    before = [a.tobytes() for a in arrays]
    for a in arrays:
        a.setflags(write=writeable)
    case.on_arrays()
    case.shares(g, y)
    assert [a.tobytes() for a in arrays] == before


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rules_are_linear_in_g_to_the_last_bit(case):
    """Scaling by a power of two is exact, which is what lets a backward carry an exponent of its own."""
    y = case.on_arrays()
    g = cotangent(y)
    for share, scaled in zip(case.shares(g, y), case.shares(g * 2.0**-60, y), strict=True):
        assert np.array_equal(share, scaled * 2.0**60)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_rule_looks_at_the_numbers(case, monkeypatch):
    """A branch on data would be baked into a recorded backward, and be wrong when that is run on other numbers."""

    def looked_at(tensor):
        raise AssertionError(f"the rule asked whether {tensor.label} is true")

    with record_everything():
        leaves = case.leaves()
        y = case.on_tensors(*leaves)
        monkeypatch.setattr(tg.Tensor, "__bool__", looked_at)
        tg.grad(y, [leaves[i] for i in case.checked], np.ones(y.shape), create_graph=True)


KINKS = [  # where the derivative jumps, the table takes a side, or the middle
    (np.absolute, [0.0], [0.0]),
    (np.maximum, [2.0, 2.0], [0.5, 0.5]),
    (np.fmin, [2.0, 2.0], [0.5, 0.5]),
    (np.max, [[1.0, 3.0, 3.0]], [[0.0, 0.5, 0.5]]),
    (np.std, [[2.0, 2.0]], [[0.0, 0.0]]),
    (np.hypot, [0.0, 0.0], [0.0, 0.0]),
    (np.clip, [1.0, 1.0, 2.0], [1.0, 0.0, 0.0]),
    (np.clip, [2.0, 1.0, 2.0], [1.0, 0.0, 0.0]),
    (np.clip, [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]),
    (np.clip, [2.0, 1.0, 1.0], [0.0, 0.0, 1.0]),
    (np.power, [0.0, 0.0], [0.0, 0.0]),
    (np.power, [0.0, 2.0], [0.0, 0.0]),
    (np.power, [0.0, -1.0], [-np.inf, -np.inf]),
    (np.arctan2, [0.0, 0.0], [0.0, 0.0]),
    (ops.relu, [0.0], [0.0]),
    (ops.softplus, [0.0], [0.5]),
]


@pytest.mark.parametrize(("function", "arguments", "slopes"), KINKS, ids=lambda value: getattr(value, "__name__", None))
def test_slopes_at_kinks(function, arguments, slopes):
    leaves = [tg.Tensor(argument, requires_grad=True) for argument in arguments]
    with np.errstate(divide="ignore"):
        gradients = tg.grad(function(*leaves), leaves)
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert gradient.tolist() == slope


@pytest.mark.parametrize("function", [np.remainder, np.fmod], ids=name_of)
def test_remainders_divide_as_numpy_does(function):
    """1.0 // 0.1 is 9, although 1.0 / 0.1 rounds to 10."""
    b = tg.Tensor(0.1, requires_grad=True)
    assert tg.grad(function(1.0, b), b)[0] == -9


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_arctan2_is_as_exact_far_out_as_near_1(size):
    a, b = tg.Tensor(3 * size, requires_grad=True), tg.Tensor(4 * size, requires_grad=True)
    np.testing.assert_allclose(np.array(tg.grad(np.arctan2(a, b), [a, b])) * size, [0.16, -0.12])
