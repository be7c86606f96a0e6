"""Passes keep the meaning of a plan: here a tiny interpreter says what that is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tinygrad_vg import ops
from tinygrad_vg.compiler.expand import COMMON, ELEMENTARY, PRODUCTS, Builder, expanded
from tinygrad_vg.compiler.passes import (
    folded,
    folded_updates,
    followed,
    in_place,
    merged,
    recipe_of,
    simplified,
    without_unused,
)  # fmt: skip
from tinygrad_vg.compiler.places import Argument
from tinygrad_vg.compiler.plan import Instruction, Plan, Value
from tinygrad_vg.engine.kernels import sum_of_outer
from tinygrad_vg.engine.operations import OPERATIONS, Operation
from tinygrad_vg.nn.losses import divided_binary_cross_entropy, divided_sum

SHAPES = [(3, 4), (4, 4), (4,), ()]
UNARY = [np.tanh, np.negative, np.absolute, ops.sigmoid, ops.sigmoid_slope, ops.softplus, ops.relu]
BINARY = [np.add, np.subtract, np.multiply, np.maximum, np.minimum, ops.sigmoid_error,
          ops.binary_cross_entropy_with_logits]  # fmt: skip


def evaluated(plan, arrays, into=()):
    """The outputs of a plan for these arrays of its inputs; what `into` names is written into an input's array."""
    known = dict(arrays)
    for i in plan.instructions:
        args = [known[a] if isinstance(a, Value) else a for a in i.args]
        if i.out in into:
            known[i.out] = known[into[i.out]]
            one_by_one(i.operation.kernel, args, known[i.out])
        else:
            known[i.out] = np.asarray(i.operation.kernel(*args, **i.kwargs))
    return [known[v] if isinstance(v, Value) else v for v in plan.outputs]


def one_by_one(kernel, args, out):
    """Elementwise as the loop of a machine: it writes an element before it reads the next."""
    args = [np.broadcast_to(a, out.shape) for a in args]
    for at in np.ndindex(out.shape):
        out[at] = kernel(*(a[at] for a in args))


def random_plan(seed, length=14):
    """A plan of random operations on four inputs and a few constants, with two to five outputs; and its arrays."""
    rng = np.random.default_rng(seed)
    inputs = [Value(shape, np.dtype(float), Argument(n, f"argument {n}")) for n, shape in enumerate(SHAPES)]
    constants = [np.array(0.5), rng.uniform(-1, 1, 4), 2.0]
    build, values = Builder("user.py:1"), [*inputs]

    def some(*pool):
        return pool[rng.integers(len(pool))]

    for _ in range(length):
        a, kind = some(*values), rng.integers(8)
        if kind < 2:
            values.append(build(some(*UNARY), a))
        elif kind < 5:
            fits = [b for b in values if b.shape in ((), a.shape)]
            values.append(build(some(*BINARY), a, some(*fits, *(c for c in constants if np.ndim(c) == 0))))
        elif kind == 5 and a.ndim == 2:
            values.append(some(
                lambda a: build(np.swapaxes, a, 0, 1), lambda a: build(np.reshape, a, (a.shape[1], a.shape[0])),
                lambda a: build(np.sum, a, axis=0), lambda a: build(np.transpose, a),
                lambda a: build(divided_sum, a, 3),
            )(a))  # fmt: skip
        elif kind == 6 and a.ndim == 2:
            b = some(*(b for b in values if b.ndim == 2 and b.shape[0] == a.shape[1]), build(np.swapaxes, a, 0, 1))
            values.append(build(np.tanh, build(np.matmul, a, b)))
        elif a.ndim == 2:
            pairs = [b for b in values if b.ndim == 2 and b.shape[0] == a.shape[0]]
            values.append(some(
                lambda a, b: build(ops.linear, a, build(np.tanh, build(np.reshape, a, a.shape))),
                lambda a, b: build(np.tanh, build(sum_of_outer, a, b)),
                lambda a, b: build(divided_binary_cross_entropy, a, build(ops.sigmoid, a), 3),
            )(a, some(*pairs)))  # fmt: skip
    build(np.add, 1.0, np.array([1.0, 2.0]))  # of constants alone, and unused
    values.append(build(np.multiply, inputs[2], build(np.exp, constants[1])))
    outputs = tuple(values[n] for n in sorted(rng.choice(np.arange(4, len(values)), rng.integers(2, 6))))
    plan = Plan(tuple(build.instructions), outputs)
    return plan, {v: rng.normal(size=v.shape) for v in inputs}


def same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert np.asarray(a).shape == np.asarray(b).shape
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


plans = st.integers(0, 10**6).map(random_plan)
law = settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])
PASSES = {
    "folded": folded, "merged": merged, "without_unused": without_unused, "simplified": simplified,
    "common": lambda plan: expanded(plan, COMMON), "products": lambda plan: expanded(plan, PRODUCTS),
    "elementary": lambda plan: expanded(expanded(plan, COMMON), ELEMENTARY),
    "all": lambda plan: simplified(expanded(simplified(expanded(expanded(plan, COMMON), PRODUCTS)), ELEMENTARY)),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSES)
@given(made=plans)
@law
def test_the_meaning_stays(name, made):
    plan, arrays = made
    after = PASSES[name](plan)
    same(evaluated(plan, arrays), evaluated(after, arrays))
    if name in ("folded", "merged", "without_unused", "simplified"):
        assert len(after.instructions) <= len(plan.instructions)
        again = PASSES[name](after)
        assert len(again.instructions) == len(after.instructions)  # nothing is left to do


@given(made=plans)
@law
def test_folded_leaves_no_call_of_numbers(made):
    build = Builder("")
    build(np.multiply, build(np.add, 1.0, 2.0), made[0].instructions[0].out)
    plan = folded(Plan((*made[0].instructions, *build.instructions), (*made[0].outputs, build.instructions[-1].out)))
    assert all(i.reads or any(np.ndim(a) for a in i.args) for i in plan.instructions)
    assert len(plan.instructions) <= len(made[0].instructions) + 1


@given(made=plans)
@law
def test_merged_finds_every_call_that_is_there_twice(made):
    plan, arrays = made
    copies, twice = {}, list(plan.instructions)
    for i in plan.instructions:
        copies[i.out] = replace(i.out)
        args = tuple(copies.get(a, a) if isinstance(a, Value) else a for a in i.args)
        twice.append(Instruction(i.operation, args, i.kwargs, copies[i.out], i.line))
    both = Plan(tuple(twice), (*plan.outputs, *(copies[v] for v in plan.outputs)))
    assert len(merged(both).instructions) == len(merged(plan).instructions)
    same(evaluated(both, arrays), evaluated(merged(both), arrays))


@pytest.mark.parametrize(
    ("function", "one", "other"),
    [
        (np.add, (1,), (1.0,)), (np.add, (np.float32(1),), (np.float64(1),)), (np.add, (0.0,), (-0.0,)),
        (np.add, (np.zeros(2000),), (np.r_[np.zeros(1999), 1],)), (np.reshape, ((2, 2),), ((4, 1),)),
        (np.add, (np.ones(4),), (np.ones((1, 4)),)), (np.add, (np.zeros(4),), (np.zeros(4, int),)),
    ],
)  # fmt: skip
def test_merged_keeps_calls_apart_that_differ(function, one, other):
    build, x = Builder(""), Value((2000,) if np.size(one[0]) == 2000 else (4,), np.dtype(float), Argument(0, "x"))
    plan = Plan((), tuple(build(function, x, *args) for args in (one, other)))
    assert len(merged(replace(plan, instructions=tuple(build.instructions))).instructions) == 2


def test_random_numbers_are_neither_folded_nor_merged():
    draw = next(operation for operation in OPERATIONS.values() if operation.kind == "random")
    outs = [Value((3,), np.dtype(float)) for _ in range(2)]
    calls = tuple(Instruction(draw, (0.5, (3,)), {}, out, "") for out in outs)
    assert len(simplified(Plan(calls, tuple(outs))).instructions) == 2


def test_two_functions_of_one_name_are_two():
    """What a user calls `f` in two places is merged in no plan."""

    def make(factor):
        @tg.differentiable(lambda g, y, a: factor * g)
        def f(a):
            return factor * a

        return f

    one, two = make(2.0), make(3.0)
    compiled = tg.compile(lambda x: (one(x), two(x)), backend="numpy")
    for x in np.random.default_rng(0).normal(size=(3, 4)):
        first, second = compiled(tg.Tensor(x))
        assert np.allclose(first.data, 2 * x)
        assert np.allclose(second.data, 3 * x)


@given(made=plans, seed=st.integers(0, 100))
@law
def test_without_unused_keeps_what_an_output_needs(made, seed):
    plan = Plan(made[0].instructions, (made[0].outputs[seed % len(made[0].outputs)],))
    after = without_unused(plan)
    needed = {v for i in after.instructions for v in i.reads} | set(after.outputs)
    assert all(i.out in needed for i in after.instructions)
    same(evaluated(plan, made[1]), evaluated(after, made[1]))


def plan_of_views(seed):
    """Elementwise calls and views of two square inputs, each of which gets a new value."""
    rng = np.random.default_rng(seed)
    inputs = [Value((3, 3), np.dtype(float), Argument(n, f"argument {n}")) for n in range(2)]
    build, values = Builder(""), [*inputs]
    for _ in range(rng.integers(2, 8)):
        a, b = (values[rng.integers(len(values))] for _ in range(2))
        if rng.random() < 0.4:
            values.append(build(np.swapaxes, a, 0, 1))
        else:
            values.append(build(BINARY[rng.integers(5)], a, b))
    changed = dict(zip((values[n] for n in rng.choice(np.arange(2, len(values)), 2)), inputs, strict=True))
    outputs = (*(values[n] for n in rng.choice(len(values), 2) if n > 1), *changed)
    return Plan(tuple(build.instructions), outputs), changed, {v: rng.normal(size=v.shape) for v in inputs}


def test_what_is_in_place_harms_nobody():
    count = 0
    for seed in range(400):
        plan, changed, arrays = plan_of_views(seed)
        into = in_place(plan, changed)
        count += len(into)
        assert into.items() <= changed.items()
        expected = evaluated(plan, {v: a.copy() for v, a in arrays.items()})
        same(expected, evaluated(plan, {v: a.copy() for v, a in arrays.items()}, into))
    assert count > 80  # it happens at all


def update(kept=None, shaped=False, is_used=False):
    """p ← kept·p − lr·(a b), as an optimizer writes it, and its arrays."""
    kind, build = np.dtype(float), Builder("")
    shapes = {"p": (3, 2, 4) if shaped else (6, 4), "lr": (), "kept": (), "a": (6, 5), "b": (5, 4)}
    p, lr, factor, a, b = (Value(shape, kind, Argument(n, name)) for n, (name, shape) in enumerate(shapes.items()))
    g = product = build(np.matmul, a, b)
    if shaped:
        g = build(np.reshape, g, p.shape)
    new = build(np.subtract, p if kept is None else build(np.multiply, factor, p), build(np.multiply, lr, g))
    outputs = (new, product) if is_used else (new,)
    rng = np.random.default_rng(0)
    return (
        Plan(tuple(build.instructions), outputs),
        {new: p},
        {v: rng.normal(size=v.shape) for v in (p, lr, factor, a, b)},
    )


@pytest.mark.parametrize("kept", [None, 0.9])
@pytest.mark.parametrize("shaped", [False, True])
def test_updates_are_folded_into_the_product(kept, shaped):
    plan, changed, arrays = update(kept, shaped)
    after = folded_updates(plan, changed)
    assert len(after.instructions) == 1
    same(evaluated(plan, arrays), evaluated(after, arrays))


def test_a_gradient_that_somebody_needs_is_not_folded():
    plan, changed, arrays = update(is_used=True)
    after = folded_updates(plan, changed)
    assert after.instructions == plan.instructions
    same(evaluated(plan, arrays), evaluated(after, arrays))


@given(made=plans)
@law
def test_a_recipe_gives_the_value_later(made):
    plan, arrays = made
    for i in plan.instructions:
        recipe, rest = recipe_of(plan, i.out)
        known = dict(zip((v for v in rest), evaluated(Plan(plan.instructions, tuple(rest)), arrays), strict=True))
        (expected,) = evaluated(Plan(plan.instructions, (i.out,)), arrays)
        found = followed(recipe, i.out, known)
        same([expected], [found])
        assert not any(np.shares_memory(found, array) for array in known.values())


@given(made=plans)
@law
def test_expanded_leaves_nothing_of_its_table(made):
    plan = expanded(expanded(expanded(made[0], COMMON), PRODUCTS), ELEMENTARY)
    left = {i.operation.function for i in plan.instructions} & {*COMMON, *PRODUCTS, *ELEMENTARY}
    assert not left


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("function", ELEMENTARY, ids=lambda f: f.__name__)
def test_elementary_is_as_exact_as_the_operation(function, dtype):
    """In the dtype of the operation, over its range: an expansion is a formula, not an approximation."""
    z = Value((999,), np.dtype(dtype), Argument(0, "z"))
    others = (0.25,) if OPERATIONS[function].kernel.__code__.co_argcount > 1 else ()
    out = Value((999,), np.dtype(dtype))
    operation: Operation = OPERATIONS[function]
    plan = Plan((Instruction(operation, (z, *(np.array(o, dtype) for o in others)), {}, out, ""),), (out,))
    x = np.concatenate([np.linspace(-90, 90, 900), np.linspace(-1, 1, 99)]).astype(dtype)
    x = x if dtype != np.float16 else (x / 8).astype(dtype)
    with np.errstate(all="ignore"):
        (expected,), (found,) = evaluated(plan, {z: x}), evaluated(expanded(plan, ELEMENTARY), {z: x})
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).smallest_subnormal)
