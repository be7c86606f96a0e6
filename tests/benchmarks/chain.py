"""Work E: a chain of 1,000 operations on scalars, forward and back; nothing but what a library itself costs.

y ← exp(tanh(w y + b)), 250 times, from x: a product, a sum, tanh and exp. The start is chosen so that each round's
factor is close to 0.98, and all three gradients keep their digits. Scalars are float64 here, their common type.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

import tinygrad_vg as tg
from tests.benchmarks.jobs import DisagreementError
from tests.benchmarks.report import Bar, Result, Row, missing
from tests.benchmarks.timing import interleaved, ratio, timed

ROUNDS, PASSES = 250, 20
START = (0.9, 0.98, -0.98)  # x, w, b
TOLERANCE = 1e-9  # relative

# A pass builds the chain and walks it back; it returns the value and the gradients of x, w and b.
Pass = Callable[[], tuple[float, ...]]


def ours() -> Pass:
    def once():
        x, w, b = (tg.Tensor(value, requires_grad=True) for value in START)
        y = x
        for _ in range(ROUNDS):
            y = np.exp(np.tanh(y * w + b))
        y.backward()
        return y.item(), x.grad.item(), w.grad.item(), b.grad.item()

    return once


def pytorch() -> Pass:
    import torch

    torch.set_num_threads(1)

    def once():
        x, w, b = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in START)
        y = x
        for _ in range(ROUNDS):
            y = torch.exp(torch.tanh(y * w + b))
        y.backward()
        return y.item(), x.grad.item(), w.grad.item(), b.grad.item()

    return once


def mygrad() -> Pass:
    import mygrad as mg

    def once():
        x, w, b = (mg.tensor(value) for value in START)
        y = x
        for _ in range(ROUNDS):
            y = mg.exp(mg.tanh(y * w + b))
        y.backward()
        return y.item(), x.grad.item(), w.grad.item(), b.grad.item()

    return once


def mygrad_tuned() -> Pass:
    """Without its guard against writing into arrays, which is on again after the pass."""
    import mygrad as mg

    return mg.mem_guard_off(mygrad())


def hips() -> Pass:
    import autograd.numpy as anp
    from autograd import value_and_grad

    def chain(x, w, b):
        y = x
        for _ in range(ROUNDS):
            y = anp.exp(anp.tanh(y * w + b))
        return y

    value_and_gradients = value_and_grad(chain, (0, 1, 2))

    def once():
        y, gradients = value_and_gradients(*START)
        return y, *gradients

    return once


PEERS = {"PyTorch": pytorch, "MyGrad": mygrad, "MyGrad tuned": mygrad_tuned, "HIPS autograd": hips}


def measure(repeats: int) -> Result:
    """Check that all sides get the same value and gradients, then time them.

    Raises:
        DisagreementError: if they do not.
    """
    passes, notes = {"ours": ours()}, []
    for name, side in PEERS.items():
        try:
            passes[name] = side()
        except ImportError as error:
            notes.append(missing(name, error))
    expected = passes["ours"]()
    for name, once in passes.items():
        answer = once()
        if not np.allclose(answer, expected, rtol=TOLERANCE, atol=0):
            raise DisagreementError(f"a chain's value and gradients are {answer} in {name} and {expected} in ours")
    blocks = {name: timed(partial(many, once)) for name, once in passes.items()}
    for block in blocks.values():
        block()
    seconds = {name: [each / PASSES for each in times] for name, times in interleaved(blocks, repeats).items()}
    rows = [
        Row(f"{name} / ours", ratio(seconds[name], seconds["ours"]) if name in seconds else None, Bar(">", 1))
        for name in PEERS
    ]
    return Result("a chain of 1,000 scalar operations, forward and back", rows, seconds, notes)


def many(once: Pass) -> None:
    for _ in range(PASSES):
        once()
