"""Over time instead of depth: ∂C/∂h_t of a plain recurrent network, an LSTM and a GRU against t, and what they learn.

The "open LSTM" is the same LSTM with 3 added to the bias of its forget gates. The tasks are

    digits       MNIST's images, a row of 28 pixels at each of 28 time steps; the cost is at the last step;
    adding T     the adding problem (Hochreiter & Schmidhuber 1997): T random numbers, two of them marked, one in each
                 half; the target is the sum of the two. Who always answers the mean, 1, has the MSE 1/6.

Results go to runs/cures_over_time/: history.npz, over_time.png.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

import argparse
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tinygrad_vg as tg
from tinygrad_vg.extras import install
from tinygrad_vg.instruments import Ledger
from tinygrad_vg.storage import replacing
from tinygrad_vg.study import run_tasks

OUT = Path("runs/cures_over_time")
NETWORKS = {"RNN": (tg.nn.RNN, 0), "LSTM": (tg.nn.LSTM, 0), "open LSTM": (tg.nn.LSTM, 3), "GRU": (tg.nn.GRU, 0)}
TASKS = {"digits": 28, "adding 50": 50, "adding 100": 100, "adding 200": 200}  # time steps
TRAINED = {"digits": 400, "adding 50": 900}  # steps of training
HIDDEN, BATCH = 32, 50
PARTS = ("W_hh", "Tanh", "output gate", "gates", "cell state", "update gate")
mnist = cache(tg.datasets.mnist)


class Net(tg.nn.Module):
    """A recurrent layer, and a Linear that reads its last state; weights as PyTorch draws them."""

    def __init__(self, name, inputs, outputs, seed):
        rng, (layer, forget) = np.random.default_rng(seed), NETWORKS[name]
        self.recurrent = layer(inputs, HIDDEN, dtype=np.float32, rng=rng)
        self.head = tg.nn.Linear(HIDDEN, outputs, dtype=np.float32, rng=rng)
        if forget:
            self.recurrent.bias_ih_l0.data[HIDDEN : 2 * HIDDEN] += forget  # rows of i, f, g, o

    def forward(self, x):
        return self.head(self.recurrent(x)[0][-1])


def sequences(task, n, rng, split="train"):
    """n sequences, (T, n, features), and their targets."""
    if task == "digits":
        images, labels = mnist(split)
        chosen = rng.integers(0, len(images), n)
        return np.swapaxes(images[chosen].reshape(n, 28, 28), 0, 1).copy(), labels[chosen]
    steps = TASKS[task]
    x = np.stack([rng.random((steps, n)), np.zeros((steps, n))], axis=-1).astype(np.float32)
    marked = rng.integers(0, steps // 2, n), rng.integers(steps // 2, steps, n)
    for t in marked:
        x[t, range(n), 1] = 1
    return x, sum(x[t, range(n), 0] for t in marked)[:, None]


def measure(net, cost, x, target, when):
    """log10‖∂C/∂h_t‖, (T, R), its change from h_T to h_1, and the mean decades of each part of a time step, (R,)."""
    with Ledger(net) as ledger:
        cost(net(x), target).backward(extended_range=True)  # 200 steps take more decades than float32 has
    norms, rows = ledger.log10_norm, ledger.rows
    found = {"norms": norms, "total": norms[0] - norms[-1], "W_hh": np.mean([row.weights for row in rows], axis=0)}
    for i, part in enumerate(rows[0].parts):
        found[part.label] = np.mean([row.parts[i].decades for row in rows], axis=0)
    return {f"{when}: {key}": values for key, values in found.items()}


def experiment(task, name, args, report):
    """Measure an ensemble at initialization; then train its first members, and measure them again."""
    rng, digits = np.random.default_rng(args.seed), task == "digits"
    cost = tg.nn.CrossEntropyLoss() if digits else tg.nn.MSELoss()
    x, target = sequences(task, BATCH, rng)
    nets = [Net(name, x.shape[-1], 10 if digits else 1, args.seed + i) for i in range(args.seeds)]
    result, net = measure(tg.nn.stack(nets), cost, x, target, "start"), tg.nn.stack(nets[: args.members])
    if task not in TRAINED:
        return result
    adam, steps = tg.optim.Adam(net.parameters(), lr=0.01), args.steps or TRAINED[task]
    new_x, new_target = sequences(task, 1000, np.random.default_rng(args.seed + 1000), "validation")

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


def lines(ax, color, name, result, when):
    """Draw ‖∂C/∂h_t‖ against t, relative to that of the last step: median, and band from 5 to 95 %."""
    norms = result[f"{when}: norms"] - result[f"{when}: norms"][-1]
    low, median, high = np.percentile(norms, [5, 50, 95], axis=1)
    t = range(1, len(norms) + 1)
    ax.fill_between(t, low, high, color=color, alpha=0.2, lw=0)
    ax.plot(t, median, color=color, label=name)
    ax.set(xlabel="t", ylabel="decades of ‖∂C/∂h$_t$‖ : ‖∂C/∂h$_T$‖")


def bars(ax, color, name, result, when):
    """Draw the parts of a time step as bars, losses downwards and gains upwards, with a mark at their sum."""
    ends, ax.use_sticky_edges = {True: 0.0, False: 0.0}, False  # leave a margin at the bars' ends
    for shade, part in enumerate(PARTS, 4):
        decades = np.mean(result.get(f"{when}: {part}", 0))
        ax.bar(name, decades, 0.7, ends[decades > 0], color=f"C{shade}", label=part)
        ends[decades > 0] += decades
    ax.plot(name, sum(ends.values()), "D", color="black", label="sum")
    ax.set(ylabel="decades of each part per time step")


def draw(results):
    """Draw gradients against t at initialization and after training, and the parts of a time step."""
    from matplotlib.figure import Figure

    panels = [(lines, task, "start") for task in TASKS] + [(lines, task, "after") for task in TRAINED]
    panels += [(bars, task, "after") for task in TRAINED] + [(bars, task, "start") for task in TASKS]
    figure = Figure(figsize=(16, 11), layout="constrained")
    axes = [*figure.subplots(-(-len(panels) // 4), 4).flat]
    for ax, (artist, task, when) in zip(axes, panels, strict=False):
        ax.set_title(f"{task}, {'after training' if when == 'after' else 'at initialization'}")
        for i, name in enumerate(NETWORKS):
            if f"{when}: norms" in results.get((task, name), {}):
                artist(ax, f"C{i}", name, results[task, name], when)
    named = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside lower center", ncols=len(named))
    with replacing(OUT / "over_time.png") as temporary:
        figure.savefig(temporary, format="png", dpi=70)


def report(results):
    """Print a table, decades and their parts for each task and network; then a sentence for each network."""
    said = {}
    print("decades from h_T to h_1, median (5 to 95 %); of a time step: mean decades of its parts")
    for task, name in ((task, name) for task in TASKS for name in NETWORKS if (task, name) in results):
        result = results[task, name]
        low, median, high = np.percentile(result["start: total"], [5, 50, 95])
        parts = [f"{part} {np.mean(result[f'start: {part}']):+.2f}" for part in PARTS if f"start: {part}" in result]
        print(f"{task:11}{name:10}{median:+6.1f} ({low:+.1f} to {high:+.1f})".ljust(46), ", ".join(parts))
        said.setdefault(name, []).append(f"{median:+.1f} decades on {task}")
        if "score" in result:
            score, decades = result["score"], np.median(result["after: total"])
            solved, errors = np.sum(score < result["always 1"] / 2), ", ".join(f"{s:.4f}" for s in score)
            learnt = f"MSE {errors}, {solved} of {len(score)} below half of {result['always 1']:.3f}"
            if task == "digits":
                learnt = f"{100 * score.mean():.1f} % of new digits right"
            said[name][-1] += f" ({decades:+.1f} after {result['steps']} steps of training; {learnt})"
    for name, words in said.items():
        print(f"{name}: from the last state to the first the gradient changes by {', by '.join(words)}.")


def main():
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it is closed
        stream.reconfigure(errors="replace")  # not every terminal can show ∂
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO: none
    parser.add_argument("--quick", action="store_true", help="2 seeds, 5 steps of training, not adding 200: a preview")
    parser.add_argument("--seed", type=int, default=0, help="of the first member (0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one for each core)")
    args = parser.parse_args()
    if missing := [name for name in ("matplotlib", "rich") if find_spec(name) is None]:
        parser.error(f"{' and '.join(missing)} missing: {install('examples')} installs what the examples need")
    args.seeds, args.members, args.steps, longest = (2, 1, 5, 100) if args.quick else (20, 3, None, 200)

    def keep(results):
        arrays = {", ".join((*key, k)): np.asarray(v) for key, found in results.items() for k, v in found.items()}
        tg.save(arrays, OUT / "history.npz")

    OUT.mkdir(parents=True, exist_ok=True)
    keys = [(task, name) for task, steps in TASKS.items() if steps <= longest for name in NETWORKS]
    keys.sort(key=lambda key: -TRAINED.get(key[0], 0))
    results, interrupted = run_tasks({key: (experiment, (*key, args)) for key in keys}, args.workers, keep)
    if not results:
        sys.exit("Interrupted before the first result.")
    draw(results)
    report(results)
    print(f"history.npz and over_time.png are in {OUT}/.")
    if interrupted:
        sys.exit("Interrupted: these are the results so far.")


if __name__ == "__main__":
    main()
