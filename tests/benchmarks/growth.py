"""How the main job grows with depth and with the number of members: seconds an epoch, and all its training.

A few hundred steps are measured and scaled. They are bare training steps: the main job (examples/mnist_depth.py) also
validates after each epoch, records every 50th step, and shares its networks among the machine's cores.
"""

from functools import partial

import numpy as np

from tests.benchmarks.jobs import draw_job, mnist
from tests.benchmarks.ours import ours
from tests.benchmarks.report import Result
from tests.benchmarks.timing import interleaved, timed

DEPTHS, MEMBERS = (1, 2, 3, 4, 5, 6), (1, 4, 16, 64)
STEPS, REPEATS = 100, 3  # in all, 24 networks are trained for 300 steps
BATCH, EPOCHS, JOB_MEMBERS = 10, 30, 4  # of the main job


def measure() -> Result:
    steps_per_epoch = len(mnist()[0]) // BATCH
    blocks = {}
    for depth in DEPTHS:
        for members in MEMBERS:
            sizes = [784, *[30] * depth, 10]
            training = ours(draw_job(mnist(), sizes, BATCH, lr=0.1, members=None if members == 1 else members))
            training.run(STEPS // 10)
            blocks[f"{depth} hidden, {members} members"] = timed(partial(training.run, STEPS))
    seconds = {name: [block / STEPS for block in each] for name, each in interleaved(blocks, REPEATS).items()}
    epochs = {name: np.median(each) * steps_per_epoch for name, each in seconds.items()}
    by_depth = np.reshape(list(epochs.values()), (len(DEPTHS), len(MEMBERS)))

    head = "".join(f"{members:>9}" for members in MEMBERS)
    gap = " " * (len(head) - len("members"))
    lines = [f"{'':8}  seconds an epoch{' ' * (len(head) - 16)}  minutes for {EPOCHS} epochs"]
    lines += [f"{'hidden':8}  members{gap}  members", f"{'layers':8}  {head}  {head}"]
    for depth, row in zip(DEPTHS, by_depth, strict=True):
        epoch, job = ("".join(f"{value:9.1f}" for value in values) for values in (row, row * EPOCHS / 60))
        lines.append(f"{depth:<8}  {epoch}  {job}")
    total = by_depth[:, MEMBERS.index(JOB_MEMBERS)].sum() * EPOCHS / 60
    notes = [
        f"scaled from {STEPS} steps of batch {BATCH}, median of {REPEATS}; {steps_per_epoch:,} steps are an epoch",
        f"the main job's training, {JOB_MEMBERS} members of each depth: {total:.1f} minutes of one core",
    ]
    return Result("training of [784, 30, ..., 30, 10] as depth and members grow", [], seconds, notes, "\n".join(lines))
