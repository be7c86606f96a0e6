"""What the bridge's instruments cost: the time of training in PyTorch with them, over bare PyTorch.

    python -m tests.benchmarks.recording_torch

Each line is a median of ratios, and their quartiles, of pairs of runs that follow one another; one thread. The first
step of a run, in which a recorder numbers the layers, is not timed. The hooks alone are there to compare: one on each
module, and one on each output, that do nothing.
"""

import os

os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")  # before NumPy

from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from time import perf_counter

from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import ratio
from tinygrad_vg.bridges.torch import GradientRecorder, Ledger

PAIRS, STEPS, BATCH = 41, 50, 32
NETS = {"[784, 30×4, 10]": [784, *[30] * 4, 10], "[784, 100×8, 10]": [784, *[100] * 8, 10]}
HOOKS = "hooks that do nothing"
BARS = {
    HOOKS: None,
    "recorder every 10": Bar("≤", 1.03),
    "recorder": None,
    "recorder and ledger": Bar("≤", 1.6),
    "recorder and ledger with history": Bar("≤", 1.6),
}


def drawn(sizes):
    """A network, and its step on a random batch."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    parts = []
    for n_in, n_out in pairwise(sizes):
        parts += [torch.nn.Linear(n_in, n_out), torch.nn.Sigmoid()]
    net = torch.nn.Sequential(*parts[:-1])
    images, targets = torch.rand(5000, sizes[0]), torch.randint(sizes[-1], (5000,))
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=1e-4)

    def step():
        batch = torch.randint(5000, (BATCH,))
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(net(images[batch]), targets[batch]).backward()
        sgd.step()

    return net, step


@contextmanager
def bare_hooks(net):
    def on_output(module, inputs, output):
        output.register_hook(lambda gradient: None)

    handles = [module.register_forward_hook(on_output) for module in net]
    yield
    for handle in handles:
        handle.remove()


INSTRUMENTS = {
    HOOKS: (bare_hooks,),
    "recorder every 10": (partial(GradientRecorder, every=10),),
    "recorder": (GradientRecorder,),
    "recorder and ledger": (GradientRecorder, Ledger),
    "recorder and ledger with history": (GradientRecorder, partial(Ledger, every=1)),
}


def seconds_of(step):
    step()
    start = perf_counter()
    for _ in range(STEPS):
        step()
    return perf_counter() - start


def measured():
    """Yield network, instruments, and the seconds of each pair of runs: with them, and bare."""
    for name, sizes in NETS.items():
        net, step = drawn(sizes)
        seconds_of(step)
        for label, instruments in INSTRUMENTS.items():
            with_them, bare = [], []
            for _ in range(PAIRS):
                with ExitStack() as on:
                    for instrument in instruments:
                        on.enter_context(instrument(net))
                    with_them.append(seconds_of(step) / STEPS)
                bare.append(seconds_of(step) / STEPS)
            yield name, label, with_them, bare


def measure() -> Result:
    rows, seconds, notes = [], {}, []
    try:
        for net, label, with_them, bare in measured():
            rows.append(Row(f"{label} / bare, {net}", ratio(with_them, bare), BARS[label]))
            seconds |= {f"{net}, {label}": with_them, f"{net}, bare beside {label}": bare}
    except ModuleNotFoundError as error:
        notes.append(missing("recording in PyTorch", error))
        rows += [Row(f"{label} / bare", None, bar) for label, bar in BARS.items()]
    return Result(f"training in PyTorch with instruments of the bridge on, batch {BATCH}", rows, seconds, notes)


def main():
    for row in measure().rows:
        print("  ".join(row.cells()))


if __name__ == "__main__":
    main()
