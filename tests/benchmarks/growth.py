"""How the main job grows with depth, width and the number of members: seconds an epoch, and all its training.

A few hundred steps are measured and scaled, eager and compiled. They are bare training steps: the main job
(examples/mnist_depth.py) also validates after each epoch, records every 50th step, and shares its networks among the
machine's cores.
"""

from functools import partial
from itertools import product

import numpy as np

from tests.benchmarks.jobs import Side, UnavailableError, draw_job, mnist
from tests.benchmarks.ours import compiled, ours
from tests.benchmarks.report import Result, missing
from tests.benchmarks.timing import interleaved, timed

DEPTHS, MEMBERS, WIDTHS = (1, 2, 3, 4, 5, 6), (1, 4, 16, 64), (10, 30, 100, 300)
STEPS, REPEATS = 100, 3
BATCH, EPOCHS, WIDTH, JOB_MEMBERS = 10, 30, 30, 4  # of the main job
OF_WIDTHS = 3  # hidden layers, of the networks that grow in width
SIDES = {"eager": ours, "compiled": compiled}

Grown = tuple[int, int, int]  # hidden layers, their width, members
GROWN: list[Grown] = [
    *((depth, WIDTH, members) for depth, members in product(DEPTHS, MEMBERS)),
    *((OF_WIDTHS, width, 1) for width in WIDTHS if width != WIDTH),
]


def measure() -> Result:
    steps_per_epoch = len(mnist()[0]) // BATCH
    trainings: dict[tuple[str, Grown], Side] = {}
    notes = [f"scaled from {STEPS} steps of batch {BATCH}, median of {REPEATS}; {steps_per_epoch:,} steps are an epoch"]
    for side in SIDES:
        try:
            trainings |= {(side, grown): training_of(side, *grown) for grown in GROWN}
        except UnavailableError as error:
            notes.append(missing(side, error))
    blocks = {}
    for (side, (depth, width, members)), training in trainings.items():
        training.run(STEPS // 10)
        blocks[f"{side}, {depth} hidden of {width}, {members} members"] = timed(partial(training.run, STEPS))
    seconds = {name: [block / STEPS for block in each] for name, each in interleaved(blocks, REPEATS).items()}
    epochs = dict(zip(trainings, (np.median(each) * steps_per_epoch for each in seconds.values()), strict=True))
    texts = []
    for side in dict.fromkeys(side for side, _ in trainings):
        own = {grown: epoch for (its, grown), epoch in epochs.items() if its == side}
        texts.append(f"{side}\n{by_depth(own)}\n\n{by_width(own)}")
        total = sum(own[depth, WIDTH, JOB_MEMBERS] for depth in DEPTHS) * EPOCHS / 60
        notes.append(
            f"the main job's training, {JOB_MEMBERS} members of each depth, {side}: {total:.1f} minutes of one core"
        )
    title = "training of [784, 30, ..., 30, 10] as depth, width and members grow"
    return Result(title, [], seconds, notes, "\n\n".join(texts))


def training_of(side: str, depth: int, width: int, members: int) -> Side:
    sizes = [784, *[width] * depth, 10]
    return SIDES[side](draw_job(mnist(), sizes, BATCH, lr=0.1, members=None if members == 1 else members))


def by_depth(epochs: dict[Grown, float]) -> str:
    """A table of seconds an epoch, and of minutes for all epochs, by hidden layers and members."""
    head = "".join(f"{members:>9}" for members in MEMBERS)
    gap = " " * (len(head) - len("members"))
    lines = [f"{'':8}  seconds an epoch{' ' * (len(head) - 16)}  minutes for {EPOCHS} epochs"]
    lines += [f"{'hidden':8}  members{gap}  members", f"{'layers':8}  {head}  {head}"]
    for depth in DEPTHS:
        row = np.array([epochs[depth, WIDTH, members] for members in MEMBERS])
        epoch, job = ("".join(f"{value:9.1f}" for value in values) for values in (row, row * EPOCHS / 60))
        lines.append(f"{depth:<8}  {epoch}  {job}")
    return "\n".join(lines)


def by_width(epochs: dict[Grown, float]) -> str:
    """A table of seconds an epoch, by the width of the hidden layers."""
    head = "".join(f"{width:>9}" for width in WIDTHS)
    row = "".join(f"{epochs[OF_WIDTHS, width, 1]:9.1f}" for width in WIDTHS)
    return f"{'width':8}  {head}\n{'seconds':8}  {row}   an epoch of one network of {OF_WIDTHS} hidden layers"
