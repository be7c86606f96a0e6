"""Works A to D: one training step, by all sides, from the same start on the same batches of MNIST."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

from tests.benchmarks import plain, tuned
from tests.benchmarks.by_hand import by_hand
from tests.benchmarks.jobs import CHECKED_STEPS, Job, Training, check, check_parameters, draw_job, mnist
from tests.benchmarks.ours import ours
from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import Spread, fastest, interleaved, ratio, timed

OURS, ALONE, BY_HAND = "ours", "ours alone", "NumPy by hand"

# PyTorch's three ways through the parameters. Which is fastest differs from work to work, so each is tried.
DESCENTS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}
PRODUCTS = ("baddbmm", "bmm", "einsum")

# Each peer is there twice, as its documentation writes it and tuned, and held to the same bar both times.
TUNED = " tuned"
Ways = dict[str, Callable[[Job], Training]]  # by name; the fastest is taken
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
}
MYGRAD: dict[str, Ways] = {"MyGrad": {"": plain.mygrad}, "MyGrad tuned": {"": tuned.mygrad}}
HIPS: dict[str, Ways] = {"HIPS autograd": {"": plain.hips}, "HIPS autograd tuned": {"": tuned.hips}}
JAX: Ways = {"": tuned.jax}


@dataclass(frozen=True)
class Work:
    """What is trained, for how many steps at a stretch, by which peers, and what the ratios are held to."""

    title: str
    sizes: list[int]
    batch: int
    lr: float
    steps: int
    peers: dict[str, Ways]
    bars: dict[str, Bar]
    members: int | None = None


WORKS = {
    "A": Work(
        "one step of [784, 30, 30, 10], batch 10",
        sizes=[784, 30, 30, 10], batch=10, lr=0.5, steps=1000,
        peers=PYTORCH | MYGRAD | HIPS | {"JAX jit": JAX},
        bars={"PyTorch": Bar("≥", 3), "MyGrad": Bar("≥", 4), "HIPS autograd": Bar("≥", 8), BY_HAND: Bar("≤", 1.4)},
    ),
    "B": Work(
        "one step of [784, 30, 30, 10], batch 1,000",
        sizes=[784, 30, 30, 10], batch=1000, lr=0.5, steps=60,
        peers=PYTORCH | MYGRAD | HIPS | {"JAX jit": JAX},
        bars={"PyTorch": Bar("≥", 1.4), BY_HAND: Bar("≤", 1.1)},
    ),
    "C": Work(
        "one step of an ensemble of 16 [784, 30, 30, 10], batch 10; times are a member's",
        sizes=[784, 30, 30, 10], batch=10, lr=0.5, steps=200, members=16,
        peers=PYTORCH_BATCHED | {"JAX jit(vmap(grad))": JAX},
        bars={"PyTorch batched": Bar("≥", 4), "JAX jit(vmap(grad))": Bar("≥", 1), ALONE: Bar("≤", 0.35)},
    ),
    "D": Work(
        "one step of [784, 100 × 8, 10], batch 32",
        sizes=[784, *[100] * 8, 10], batch=32, lr=0.1, steps=200,
        peers=PYTORCH,
        bars={"PyTorch": Bar("≥", 2)},
    ),
}  # fmt: skip


def measure(work: Work, repeats: int) -> Result:
    """Check that all sides train the same, then time them.

    Raises:
        DisagreementError: if they do not.
    """
    job = draw_job(mnist(), work.sizes, work.batch, work.lr, work.members)
    trainings, notes = {OURS: ours(job), BY_HAND: by_hand(job)}, []
    for peer, ways in work.peers.items():
        try:
            trainings[peer], chosen = fastest_way(ways, job, work.steps // 8)
        except ImportError as error:
            notes.append(missing(peer, error))
            continue
        if len(ways) > 1:
            notes.append(f"{peer}: {chosen} was the fastest of {len(ways)} ways")
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
    rows = [
        Row(f"{peer} / ours", compared(seconds, peer, OURS), work.bars.get(peer.removesuffix(TUNED)))
        for peer in work.peers
    ]
    rows.append(Row(f"ours / {BY_HAND}", compared(seconds, OURS, BY_HAND), work.bars.get(BY_HAND)))
    if work.members is not None:
        rows.append(Row("ours, a member / ours, one net alone", compared(seconds, OURS, ALONE), work.bars[ALONE]))
    return Result(work.title, rows, seconds, notes)


def fastest_way(ways: Ways, job: Job, steps: int) -> tuple[Training, str]:
    """A training from the start in the way that was fastest in a short trial, and that way's name."""
    trials = {name: way(job) for name, way in ways.items()}
    name = fastest({name: timed(partial(trial.run, steps)) for name, trial in trials.items()})
    return ways[name](job), name


def check_alone(alone: Training, ensemble: Training) -> None:
    """Train one member alone for as long as the ensemble has been checked, and compare it with the ensemble's."""
    alone.run(CHECKED_STEPS)
    check_parameters("a net alone", alone.parameters(), "its ensemble", [p[0] for p in ensemble.parameters()])


def compared(seconds: dict[str, list[float]], over: str, under: str) -> Spread | None:
    return ratio(seconds[over], seconds[under]) if over in seconds else None
