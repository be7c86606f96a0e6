"""The benchmarks' sides train the same: the floor and the peers that ours is timed against are honest.

Nothing is timed here; `python -m tests.benchmarks` does that.
"""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from tests.benchmarks import plain, tuned
from tests.benchmarks.by_hand import by_hand
from tests.benchmarks.footprint import bytes_needed
from tests.benchmarks.jobs import DisagreementError, Job, UnavailableError, check, draw_job
from tests.benchmarks.ours import compiled, ours, over
from tests.benchmarks.report import Bar, Result, Row, markdown, table
from tests.benchmarks.timing import Spread, fastest, interleaved
from tests.benchmarks.torch_compiled import AROUND, torch_compiled
from tests.benchmarks.works import ALONE, OWN, PYTORCH, PYTORCH_BATCHED, TUNED, WORKS, check_alone

JOBS = {
    "A": dict(sizes=[784, 30, 30, 10], batch=10, lr=0.5),
    "B, small": dict(sizes=[784, 30, 30, 10], batch=100, lr=0.5),
    "C": dict(sizes=[784, 30, 30, 10], batch=10, lr=0.5, members=16),
    "D": dict(sizes=[784, *[100] * 8, 10], batch=32, lr=0.1),
}
PYTORCH_WAYS, BATCHED_WAYS = (
    {way or "plain": train for ways in peer.values() for way, train in ways.items()}
    for peer in (PYTORCH, PYTORCH_BATCHED)
)
BACKENDS = [
    "numpy",
    pytest.param("numba", marks=pytest.mark.skipif(not find_spec("numba"), reason="Numba is not installed")),
]


@pytest.fixture
def one_thread():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def draw(name: str) -> Job:
    rng = np.random.default_rng(1)
    images = rng.random((300, 784), dtype=np.float32)
    return draw_job((images, np.eye(10, dtype=np.float32)[rng.integers(10, size=300)]), **JOBS[name])


@pytest.mark.parametrize("name", JOBS)
def test_numpy_by_hand_trains_as_ours(name):
    job = draw(name)
    check({"ours": ours(job), "by hand": by_hand(job)})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", JOBS)
def test_compiled_steps_train_as_the_eager_ones(name, backend):
    job = draw(name)
    check({"ours": ours(job), "compiled": compiled(job, backend), "many in one call": over(job, backend)})


def test_what_trains_many_steps_in_one_call_goes_on_where_it_was():
    job = draw("A")
    job = replace(job, batches=job.batches[:3])
    several, single = over(job, "numpy"), over(job, "numpy")
    losses = np.concatenate([several.losses(2), several.losses(5)])
    np.testing.assert_allclose(losses, [single.run(1) for _ in range(7)], rtol=1e-6)


def test_a_backend_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr("tinygrad_vg.compiler.backends.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="numba"):
        compiled(draw("A"), "numba")


def test_a_member_trains_alone_as_in_its_ensemble():
    job = draw("C")
    ensemble, alone = ours(job), ours(job.member(0))
    check({"ours": ensemble})
    check_alone(alone, ensemble)


@pytest.mark.torch
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", PYTORCH_WAYS.values(), ids=PYTORCH_WAYS)
@pytest.mark.parametrize("name", ["A", "B, small", "D"])
def test_pytorch_trains_as_ours(name, way):
    job = draw(name)
    check({"ours": ours(job), "PyTorch": way(job)})


@pytest.mark.torch
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", BATCHED_WAYS.values(), ids=BATCHED_WAYS)
def test_pytorch_with_batched_parameters_trains_as_ours(way):
    job = draw("C")
    check({"ours": ours(job), "PyTorch": way(job)})


@pytest.mark.torch
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("default")  # PyTorch's own
@pytest.mark.parametrize("name", ["A", "C"])
def test_pytorch_compiled_trains_as_ours(name):
    job = draw(name)
    try:
        side = torch_compiled(job, AROUND[-1])
    except UnavailableError as error:
        pytest.skip(str(error))
    check({"ours": ours(job), "torch.compile": side})


@pytest.mark.parametrize("name", ["A", "C"])
def test_jax_trains_as_ours(name):
    pytest.importorskip("jax")
    job = draw(name)
    check({"ours": ours(job), "jit": tuned.jax(job), "scan": tuned.jax_scan(job)})


@pytest.mark.parametrize("library", ["mygrad", "autograd"])
@pytest.mark.parametrize("name", ["A", "B, small"])
def test_mygrad_and_hips_autograd_train_as_ours(name, library):
    pytest.importorskip(library)
    job, side = draw(name), {"mygrad": "mygrad", "autograd": "hips"}[library]
    check({"ours": ours(job), "plain": getattr(plain, side)(job), "tuned": getattr(tuned, side)(job)})


def test_mygrad_has_its_guard_except_in_tuned_steps():
    mg = pytest.importorskip("mygrad")
    guarded = []
    for side in (plain, tuned):
        training = side.mygrad(draw("A"))
        step = training.step
        training._replace(step=lambda batch, step=step: guarded.append(mg.mem_guard_active()) or step(batch)).run(1)
    assert guarded == [True, False]
    assert mg.mem_guard_active()


@pytest.mark.parametrize("change", [dict(lr=0.4), dict(weight_decay=0.0)], ids=["step length", "weight decay"])
def test_the_check_sees_a_side_that_trains_differently(change):
    job = draw("A")
    with pytest.raises(DisagreementError, match="other and ours"):
        check({"ours": ours(job), "other": by_hand(replace(job, **change))})


def test_the_check_sees_double_precision():
    job = draw("A")
    training = by_hand(job)
    double = training._replace(parameters=lambda: [p.astype(np.float64) for p in training.parameters()])
    with pytest.raises(DisagreementError, match="float64"):
        check({"ours": ours(job), "other": double})


def test_plain_and_tuned_peers_are_both_there_and_all_bars_are_used():
    for work in WORKS.values():
        plain_peers = {peer.removesuffix(TUNED) for peer in work.peers}
        assert plain_peers <= work.peers.keys()
        assert work.eager.keys() | work.compiled.keys() <= work.peers.keys()
        sides = work.peers.keys() | OWN.keys() | {ALONE}
        assert {side for pair in work.rows() for side in pair} <= sides


def test_a_tuned_peer_has_the_bar_of_the_plain_one_where_it_has_none_of_its_own():
    assert WORKS["A"].rows()["PyTorch tuned", "ours compiled"] == Bar("≥", 9)
    assert WORKS["B"].rows()["PyTorch tuned", "ours compiled"] == Bar("≥", 1.1)


def test_blocks_take_turns():
    order = []
    blocks = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    assert interleaved(blocks, 3) == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}
    assert order == list("abcbcacab")


def test_the_fastest_way_is_the_one_with_the_best_time():
    assert fastest({"slow": lambda: 2.0, "quick": lambda: 1.0}) == "quick"


def test_what_is_needed_are_the_arrays_of_a_step():
    job = draw("B, small")
    parameters = sum(array.nbytes for layer in job.start for array in layer)
    outputs = 4 * job.batch * (30 + 30 + 10)
    batch = 4 * job.batch * (784 + 10)
    assert bytes_needed([784, 30, 30, 10], job.batch) == 2 * parameters + outputs + batch


def test_the_table_is_honest_of_bars_and_of_what_is_missing():
    rows = [
        Row("met", Spread(3.0, 2.9, 3.1), Bar("≥", 3)),
        Row("not met", Spread(1.5, 1.4, 1.6), Bar("≤", 1.4)),
        Row("not installed", None, Bar("≥", 4)),
    ]
    lines = table({"A": Result("a work", rows, notes=["a note"])}).splitlines()
    cells = [line.split() for line in lines[2:5]]
    assert [line[-1] for line in cells] == ["yes", "NO", "–"]
    assert cells[2][-5:] == ["–", "–", "≥", "4", "–"]
    assert lines[-1].strip() == "a note"


def test_the_table_in_markdown_has_the_same_cells():
    rows = [Row("ours / theirs", Spread(1.5, 1.4, 1.6), Bar("≤", 1.4))]
    head, rule, row, *rest = markdown({"A": Result("a work", rows, notes=["a note"], text="2  3\n")}).splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row == "| A | ours / theirs | 1.500 | 1.400 to 1.600 | ≤ 1.4 | NO |"
    assert rest == ["", "**A**: a work; a note", "", "```text", "2  3", "```"]
