"""Works A to D: one training step, by all sides, from the same start on the same batches of MNIST."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

from tests.benchmarks import plain, tuned
from tests.benchmarks.by_hand import by_hand
from tests.benchmarks.jobs import (
    CHECKED_STEPS,
    Job,
    Side,
    Training,
    UnavailableError,
    check,
    check_parameters,
    draw_job,
    mnist,
)
from tests.benchmarks.ours import compiled, ours, over
from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import Spread, fastest, interleaved, ratio, timed
from tests.benchmarks.torch_compiled import AROUND, torch_compiled

OURS, ALONE, BY_HAND = "ours", "ours alone", "NumPy by hand"
COMPILED, ON_NUMPY, OVER = "ours compiled", "ours compiled, numpy", "ours over"
JIT, SCAN, VMAPPED = "JAX jit", "JAX scan", "JAX jit(vmap(grad))"

# PyTorch's three ways through the parameters. Which is fastest differs from work to work, so each is tried.
DESCENTS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}
PRODUCTS = ("baddbmm", "bmm", "einsum")

# Each peer is there twice, as its documentation writes it and tuned, and held to the same bar both times.
TUNED = " tuned"
Ways = dict[str, Callable[[Job], Side]]  # by name; the fastest is taken
PYTORCH: dict[str, Ways] = {
    "PyTorch": {"": plain.pytorch},
    "PyTorch tuned": {f"SGD {name}": partial(tuned.pytorch, **options) for name, options in DESCENTS.items()},
}
PYTORCH_BATCHED: dict[str, Ways] = {
    "PyTorch batched": {"": plain.pytorch_ensemble},
    "PyTorch batched tuned": {
        f"{name}, SGD {descent}": partial(tuned.pytorch_ensemble, product=name, **DESCENTS[descent])
        for name, descent in product(PRODUCTS, DESCENTS)
    },
    "PyTorch vmap": {"": plain.pytorch_vmap},
}
MYGRAD: dict[str, Ways] = {"MyGrad": {"": plain.mygrad}, "MyGrad tuned": {"": tuned.mygrad}}
HIPS: dict[str, Ways] = {"HIPS autograd": {"": plain.hips}, "HIPS autograd tuned": {"": tuned.hips}}
TORCH_COMPILE: dict[str, Ways] = {
    "torch.compile": {f"around {around}": partial(torch_compiled, around=around) for around in AROUND}
}
JAX: Ways = {"": tuned.jax}
OWN: dict[str, Ways] = {
    OURS: {"": ours},
    COMPILED: {"": compiled},
    ON_NUMPY: {"": partial(compiled, backend="numpy")},
    OVER: {"": over},
    BY_HAND: {"": by_hand},
    SCAN: {"": tuned.jax_scan},
}


@dataclass(frozen=True)
class Work:
    """What is trained, for how many steps at a stretch, by which peers, and what the ratios are held to.

    Each peer is compared with ours, eager and compiled: `eager` and `compiled` have the bars, by peer. `pairs` are the
    other ratios.
    """

    title: str
    sizes: list[int]
    batch: int
    lr: float
    steps: int
    peers: dict[str, Ways]
    eager: dict[str, Bar]
    compiled: dict[str, Bar]
    pairs: dict[tuple[str, str], Bar | None]
    members: int | None = None

    def rows(self) -> dict[tuple[str, str], Bar | None]:
        """What is compared, (over, under), with its bar."""
        bars = {OURS: self.eager, COMPILED: self.compiled}
        return {
            (peer, own): held.get(peer, held.get(peer.removesuffix(TUNED)))
            for own, held in bars.items()
            for peer in self.peers
        } | self.pairs


WORKS = {
    "A": Work(
        "one step of [784, 30, 30, 10], batch 10",
        sizes=[784, 30, 30, 10], batch=10, lr=0.5, steps=1000,
        peers=PYTORCH | TORCH_COMPILE | MYGRAD | HIPS | {JIT: JAX},
        eager={"PyTorch": Bar("≥", 3), "MyGrad": Bar("≥", 4), "HIPS autograd": Bar("≥", 8)},
        compiled={"PyTorch": Bar("≥", 9), JIT: Bar("≥", 1.1)},
        pairs={
            (OURS, BY_HAND): Bar("≤", 1.4), (BY_HAND, COMPILED): Bar("≥", 1.8), (BY_HAND, ON_NUMPY): Bar("≥", 0.65),
            (SCAN, OVER): Bar("≥", 1),
        },
    ),
    "B": Work(
        "one step of [784, 30, 30, 10], batch 1,000",
        sizes=[784, 30, 30, 10], batch=1000, lr=0.5, steps=60,
        peers=PYTORCH | TORCH_COMPILE | MYGRAD | HIPS | {JIT: JAX},
        eager={"PyTorch": Bar("≥", 1.4)},
        compiled={"PyTorch": Bar("≥", 1.5), "PyTorch tuned": Bar("≥", 1.1)},
        pairs={
            (OURS, BY_HAND): Bar("≤", 1.1), (COMPILED, BY_HAND): Bar("≤", 1), (BY_HAND, ON_NUMPY): None,
            (SCAN, OVER): None,
        },
    ),
    "C": Work(
        "one step of an ensemble of 16 [784, 30, 30, 10], batch 10; times are a member's",
        sizes=[784, 30, 30, 10], batch=10, lr=0.5, steps=200, members=16,
        peers=PYTORCH_BATCHED | TORCH_COMPILE | {VMAPPED: JAX},
        eager={"PyTorch batched": Bar("≥", 4), VMAPPED: Bar("≥", 1)},
        compiled={"PyTorch batched": Bar("≥", 6), "PyTorch vmap": Bar("≥", 6), VMAPPED: Bar("≥", 1.4)},
        pairs={
            (OURS, BY_HAND): None, (COMPILED, BY_HAND): None, (BY_HAND, ON_NUMPY): None, (SCAN, OVER): None,
            (OURS, ALONE): Bar("≤", 0.35),
        },
    ),
    "D": Work(
        "one step of [784, 100 × 8, 10], batch 32",
        sizes=[784, *[100] * 8, 10], batch=32, lr=0.1, steps=200,
        peers=PYTORCH | TORCH_COMPILE | {JIT: JAX},
        eager={"PyTorch": Bar("≥", 2)},
        compiled={"PyTorch": Bar("≥", 2.2)},
        pairs={
            (OURS, BY_HAND): None, (COMPILED, BY_HAND): Bar("≤", 0.9), (BY_HAND, ON_NUMPY): Bar("≥", 0.8),
            (SCAN, OVER): None,
        },
    ),
}  # fmt: skip


def measure(work: Work, repeats: int) -> Result:
    """Check that all sides train the same, then time them.

    Raises:
        DisagreementError: if they do not.
    """
    job = draw_job(mnist(), work.sizes, work.batch, work.lr, work.members)
    trainings, notes = all_sides(work, job)
    check(trainings)
    if work.members is not None:
        alone = ours(job.member(0))
        check_alone(alone, trainings[OURS])
        trainings[ALONE] = alone
    blocks = {name: timed(partial(training.run, work.steps)) for name, training in trainings.items()}
    for block in blocks.values():
        block()
    seconds = {
        name: [block / work.steps / (1 if name == ALONE else work.members or 1) for block in each]
        for name, each in interleaved(blocks, repeats).items()
    }
    rows = [Row(label(*pair), compared(seconds, *pair), bar) for pair, bar in work.rows().items()]
    return Result(work.title, rows, seconds, notes)


def all_sides(work: Work, job: Job) -> tuple[dict[str, Side], list[str]]:
    """The trainings of a job by all sides that are installed, ours first, and notes on them."""
    trainings: dict[str, Side] = {}
    notes = []
    for name, ways in (OWN | work.peers).items():
        try:
            trainings[name], chosen = fastest_way(ways, job, work.steps // 8)
        except (ImportError, UnavailableError) as error:
            notes.append(missing(name, error))
            continue
        if len(ways) > 1:
            notes.append(f"{name}: {chosen} was the fastest of {len(ways)} ways")
    return trainings, notes


def label(over: str, under: str) -> str:
    """What a row of the table compares."""
    return "ours, a member / ours, one net alone" if under == ALONE else f"{over} / {under}"


def fastest_way(ways: Ways, job: Job, steps: int) -> tuple[Side, str]:
    """A training from the start in the way that was fastest in a short trial, and that way's name."""
    if len(ways) == 1:
        ((name, way),) = ways.items()
        return way(job), name
    trials = {name: way(job) for name, way in ways.items()}
    name = fastest({name: timed(partial(trial.run, steps)) for name, trial in trials.items()})
    return ways[name](job), name


def check_alone(alone: Training, ensemble: Training) -> None:
    """Train one member alone for as long as the ensemble has been checked, and compare it with the ensemble's."""
    alone.run(CHECKED_STEPS)
    check_parameters("a net alone", alone.parameters(), "its ensemble", [p[0] for p in ensemble.parameters()])


def compared(seconds: dict[str, list[float]], over: str, under: str) -> Spread | None:
    """None if a side is missing."""
    return ratio(seconds[over], seconds[under]) if {over, under} <= seconds.keys() else None
