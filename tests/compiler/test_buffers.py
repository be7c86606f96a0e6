"""Memory of a plan: what lives at the same time lies apart, views are views, and a printed plan says what is where."""

import re

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import NETS, run, training
from tinygrad_vg.compiler.buffers import STEP, Life, allocated, laid_out
from tinygrad_vg.compiler.expand import Builder
from tinygrad_vg.compiler.layout import accesses, view_of
from tinygrad_vg.compiler.places import Argument
from tinygrad_vg.compiler.plan import Instruction, Plan, Value
from tinygrad_vg.engine.operations import OPERATIONS

law = settings(max_examples=200, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
dtypes = st.sampled_from([np.float32, np.float64, np.bool_, np.int8, np.longdouble])


@st.composite
def lives(draw):
    """Lives of values of all sizes; each instruction makes one value, as in a plan."""
    found = []
    for first in range(draw(st.integers(1, 20))):
        value = Value(draw(shapes) if draw(st.booleans()) else (draw(st.integers(1, 300)),), np.dtype(draw(dtypes)))
        found.append(Life(value, first, first + draw(st.integers(0, 8)), draw(st.booleans())))
    return found


def overlap(one, two):
    """Whether two lives need memory of their own."""
    early, late = sorted([one, two], key=lambda life: life.first)
    if early.early and early.last > early.first and late.first == early.last:
        return False  # the last reader writes in the place of what it reads
    return late.first <= early.last


@given(found=lives())
@law
def test_lives_that_overlap_share_no_memory(found):
    arena = laid_out(found)
    arrays = allocated(arena)
    for n, life in enumerate(found):
        array = arrays[life.value]
        assert (array.shape, array.dtype) == (life.value.shape, life.value.dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % STEP == 0 or not array.size
        for other in found[:n]:
            if overlap(life, other):
                assert not np.shares_memory(array, arrays[other.value]), (life, other)


@given(found=lives())
@law
def test_the_arena_is_not_larger_than_it_must(found):
    """Not larger than all values side by side, and not smaller than what lives at one time."""
    arena = laid_out(found)
    sizes = {
        life: max(1, -(-int(np.prod(life.value.shape)) * life.value.dtype.itemsize // STEP)) * STEP for life in found
    }
    assert arena.size <= sum(sizes.values())
    for now in range(30):
        alive = [life for life in found if life.first <= now <= life.last - (life.early and life.last > life.first)]
        assert arena.size >= sum(sizes[life] for life in alive)


def test_a_chain_needs_two_buffers_and_in_place_one():
    values = [Value((100,), np.dtype(float)) for _ in range(9)]
    size = laid_out([Life(values[0], 0, 1)]).size
    assert laid_out([Life(v, n, n + 1) for n, v in enumerate(values)]).size == 2 * size
    assert laid_out([Life(v, n, n + 1, early=True) for n, v in enumerate(values)]).size == size


VIEWS = [
    lambda rng, a: (np.swapaxes, 0, -1), lambda rng, a: (np.transpose,), lambda rng, a: (np.reshape, -1),
    lambda rng, a: (np.ravel,), lambda rng, a: (np.expand_dims, int(rng.integers(a.ndim + 1))),
    lambda rng, a: (np.squeeze,), lambda rng, a: (np.moveaxis, 0, -1), lambda rng, a: (np.flip, 0),
    lambda rng, a: (np.broadcast_to, (2, *a.shape)), lambda rng, a: (OPERATIONS_GETITEM, slice(None, None, 2)),
    lambda rng, a: (OPERATIONS_GETITEM, (..., -1)), lambda rng, a: (OPERATIONS_GETITEM, (0, None)),
    lambda rng, a: (OPERATIONS_GETITEM, [0, 0]), lambda rng, a: (OPERATIONS_GETITEM, slice(None, None, -1)),
]  # fmt: skip
OPERATIONS_GETITEM = next(f for f in OPERATIONS if getattr(f, "__name__", "") == "getitem")


@given(seed=st.integers(0, 10**6))
@example(seed=4000)  # NumPy's array of an index by array lies in another order than its buffer
@law
def test_the_access_of_a_view_is_that_of_numpy(seed):
    """Root, offset and strides give the very numbers; and what NumPy copies is said to be no view."""
    rng = np.random.default_rng(seed)
    value = Value(tuple(map(int, rng.integers(1, 4, rng.integers(1, 4)))), np.dtype(float), Argument(0, "x"))
    build, known = Builder(""), {value: rng.normal(size=value.shape)}
    for _ in range(4):
        if not value.ndim:
            break
        function, *options = VIEWS[rng.integers(len(VIEWS))](rng, value)
        value = build(function, value, *options)
        i = build.instructions[-1]
        array = np.asarray(i.operation.kernel(known[i.reads[0]], *options))
        is_view = np.shares_memory(array, known[i.reads[0]])
        known[value] = array if is_view else np.array(array, order="C")  # what is no view has a buffer of its own
    found = accesses(Plan(tuple(build.instructions), (value,)), {})
    for i in build.instructions:
        root, offset, strides = found[i.out]
        is_view = np.shares_memory(known[i.out], known[i.reads[0]])
        assert (view_of(i, found) is not None) <= is_view or i.out.shape == i.reads[0].shape
        steps = tuple(s * 8 for s in strides)
        flat = np.ascontiguousarray(known[root]).reshape(-1)[offset:]
        assert np.array_equal(np.lib.stride_tricks.as_strided(flat, i.out.shape, steps), known[i.out])


def test_an_index_by_array_is_no_view():
    x = Value((3, 3), np.dtype(float), Argument(0, "x"))
    operation = OPERATIONS[OPERATIONS_GETITEM]
    for index in ([0, 0], np.array([1, 2]), np.array([True, False, True]), (slice(None), [1]), True):
        shape = np.zeros((3, 3))[index].shape
        i = Instruction(operation, (x, index), {}, Value(shape, x.dtype), "")
        assert view_of(i, accesses(Plan((), (x,)), {}) | {x: accesses(Plan((i,), (x,)), {})[x]}) is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_printed_plan(backend):
    """A line for each operation: number, name with arguments, shape, dtype, buffer, the user's line."""
    step = training(NETS["plain"](), backend)
    assert step.plan is None
    run(step)
    head, *rows, last = str(step.plan).splitlines()
    assert head.split() == ["operation", "shape", "dtype", "buffer", "line"]
    assert last.startswith("gives ")
    assert len(rows) == len(step.plan.instructions)
    for number, (row, i) in enumerate(zip(rows, step.plan.instructions, strict=True), 1):
        cells = re.split("  +", row)
        assert cells[0] == f"%{number}"
        assert cells[1].startswith(f"{i.operation.name}(")
        assert cells[2:4] == [str(i.out.shape), str(i.out.dtype)]
        assert re.fullmatch(r"\w+\.py:\d+", cells[-1]), row
        assert all(int(n) < number for n in re.findall(r"%(\d+)", cells[1]))
    assert max(map(len, [head, *rows])) <= 140
    lines = {row.split()[-1].split(":")[0] for row in rows}
    assert lines == {"steps.py"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_printed_plan_names_buffers(backend):
    """Which buffer an operation writes into, once there are buffers; views and parts of loops need none."""
    step = training(NETS["plain"](), backend)
    run(step)
    rows = str(step.plan).splitlines()[1:-1]
    assert any(len(re.split("  +", row)) == 6 for row in rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_source_is_text_with_the_users_lines(backend):
    step = training(NETS["plain"](), backend)
    run(step, range(1))
    assert step.source is None
    run(step)
    assert "def " in step.source
    assert "steps.py:" in step.source
    compile(step.source, "<source>", "exec")


def test_the_plan_is_that_of_the_program_used_last():
    compiled = tg.compile(lambda x: np.exp(x) if len(x) > 2 else np.sin(x), backend="numpy")
    x = np.ones(4)
    compiled(x)
    compiled(x[:2])
    assert "sin" in str(compiled.plan)
    compiled(x)
    assert "exp" in str(compiled.plan)
    assert "exp" in compiled.source
