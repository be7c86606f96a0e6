"""Compiled steps of two functions and several batch sizes, in any order with all else that changes parameters."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.compiler.backends import BACKENDS
from tests.compiler.steps import NETS, SGDS
from tinygrad_vg import nn
from tinygrad_vg.instruments import GradientRecorder

IMAGES, TARGETS = np.random.default_rng(0).normal(size=(60, 4)), np.random.default_rng(1).uniform(size=(60, 3))


class Side:
    """A network with two steps that share its parameters and its optimizer; compiled, if there is a backend."""

    def __init__(self, name, optimizer, backend=None):
        self.net, self.cost = NETS[name](), nn.BCEWithLogitsLoss("batchmean")
        self.optimizer = SGDS[optimizer](self.net.parameters())
        self.one, self.other = (self.run_one, self.run_other) if backend is None else (
            tg.compile(function, backend=backend) for function in (self.run_one, self.run_other)
        )  # fmt: skip

    def trained(self, cost):
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost

    def run_one(self, x, t):
        return self.trained(self.cost(self.net(x), t))

    def run_other(self, x, t):
        return self.trained(0.5 * self.cost(self.net(2 * x), t))

    def over(self, rows):
        if not hasattr(self.one, "over"):
            return np.array([self.one(IMAGES[row], TARGETS[row]).data for row in rows])
        return self.one.over(rows, IMAGES, TARGETS).data

    def graph(self, x, t):
        """The gradients of a graph of before a step, from after it; None if its backward is refused."""
        cost = self.cost(self.net(x), t)
        self.one(x, t)
        self.optimizer.zero_grad()
        try:
            cost.backward()
        except RuntimeError:
            return None
        gradients = [p.grad for p in self.net.parameters()]
        self.optimizer.zero_grad()
        return gradients

    def change(self, what, saved):
        if what == "load":
            self.net.load_state_dict(saved)
        for p in self.net.parameters():
            if what == "scale":
                p.data *= 0.9
            elif what == "rebind":
                p.data = p.data.copy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(40))
def test_in_any_order(seed, backend):
    rng = np.random.default_rng(seed)
    name, optimizer = rng.choice(["plain", "ensemble", "parts"]), rng.choice([*SGDS])
    sides = Side(name, optimizer, backend), Side(name, optimizer)
    recorder, saved = GradientRecorder(sides[0].net), sides[1].net.state_dict()
    for _ in range(40):
        what = rng.choice(
            ["one", "one", "other", "eager", "over", "graph", "save", "load", "scale", "rebind", "record"]
        )
        rows = rng.integers(0, 60, (3, rng.integers(5, 7)))
        x, t = IMAGES[rows[0]], TARGETS[rows[0]]
        if what in ("one", "other"):
            a, b = (getattr(side, what)(x, t).data for side in sides)
            assert np.allclose(a, b, rtol=1e-9)
        elif what == "eager":
            for side in sides:
                side.run_one(x, t)
        elif what == "over":
            a, b = (side.over(rows) for side in sides)
            assert np.allclose(a, b, rtol=1e-9)
        elif what == "graph":
            found, expected = (side.graph(x, t) for side in sides)
            assert found is None or all(map(np.allclose, found, expected))
        elif what == "record":
            recorder.__exit__() if recorder._handles else recorder.__enter__()
        elif what == "save":
            saved = sides[1].net.state_dict()
        else:
            for side in sides:
                side.change(what, saved)
        for p, q in zip(*(side.net.parameters() for side in sides), strict=True):
            assert np.allclose(p.data, q.data, rtol=1e-8, atol=1e-11), what
    if recorder._handles:
        recorder.__exit__()
