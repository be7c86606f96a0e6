"""Over time instead of depth: ∂C/∂h_t of a plain recurrent network, an LSTM and a GRU against t, and what they learn.

The gradient is measured at initialization, over 20 seeds, and again after a short training of three of them.
over_time_tasks.py has the networks and the tasks.
"""

import os
import sys

import chapter
import numpy as np
from over_time_report import draw, tell
from over_time_tasks import NETWORKS, TASKS, TRAINED, Net, sequences

import tinygrad_vg as tg
from tinygrad_vg.instruments import Ledger
from tinygrad_vg.study import run_tasks

BATCH = 50
FULL = dict(seeds=20, members=3, steps=None)  # as many steps as TRAINED says
QUICK = dict(seeds=2, members=1, steps=5)


def measure(net, cost, x, target, when):
    """log10‖∂C/∂h_t‖, (T, R), its change from h_T to h_1, and the mean decades of each part of a time step, (R,)."""
    with Ledger(net) as ledger:
        cost(net(x), target).backward(extended_range=True)  # 200 steps take more decades than float32 has
    norms, rows = ledger.log10_norm, ledger.rows
    found = {"norms": norms, "total": norms[0] - norms[-1], "W_hh": np.mean([row.weights for row in rows], axis=0)}
    for i, part in enumerate(rows[0].parts):
        found[part.label] = np.mean([row.parts[i].decades for row in rows], axis=0)
    return {f"{when}: {key}": values for key, values in found.items()}


def experiment(case, do, report=lambda share: False):
    """Measure an ensemble; then train its first members, and measure them again; case = (task, network)."""
    (task, name), rng = case, np.random.default_rng(0)
    digits = task == "digits"
    cost = tg.nn.CrossEntropyLoss() if digits else tg.nn.MSELoss()
    x, target = sequences(task, BATCH, rng)
    nets = [Net(name, x.shape[-1], 10 if digits else 1, seed) for seed in range(do["seeds"])]
    result, net = measure(tg.nn.stack(nets), cost, x, target, "start"), tg.nn.stack(nets[: do["members"]])
    if task not in TRAINED:
        return result
    adam, steps = tg.optim.Adam(net.parameters(), lr=0.01), do["steps"] or TRAINED[task]
    new_x, new_target = sequences(task, 1000, np.random.default_rng(1000), "validation")

    def step(x, target):
        adam.zero_grad()
        cost(net(x), target).backward()
        tg.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()

    if steps > 100:  # below, recording takes longer than it saves
        step = tg.compile(step, backend="numpy")
    for i in range(steps):
        step(*sequences(task, BATCH, rng))
        if report((i + 1) / steps):
            break
    with tg.no_grad():
        y = np.asarray(net(new_x).data)
    scores = np.argmax(y, axis=-1) == new_target if digits else np.square(y - new_target)[..., 0]
    result |= measure(net, cost, x, target, "after")
    return result | {"score": scores.mean(axis=-1), "steps": i + 1, "always 1": np.square(new_target - 1.0).mean()}


def main():
    args = chapter.options(__doc__, quick="2 seeds, 5 steps of training, no adding 100 and 200")
    cases = [(task, name) for task in (TRAINED if args.quick else TASKS) for name in NETWORKS]
    cases.sort(key=lambda case: -TRAINED.get(case[0], 0))  # the longest first
    tasks = {case: (experiment, (case, QUICK if args.quick else FULL)) for case in cases}
    results, interrupted = run_tasks(tasks, os.cpu_count() or 1, lambda results: None)
    if results:  # else interrupted before the first one
        tell(results)
        draw(results, args.out)
    sys.exit(130 if interrupted else 0)


if __name__ == "__main__":
    main()
