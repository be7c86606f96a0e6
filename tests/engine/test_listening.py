"""Those who listen hear of every backward, its beginning and its end, once; and leave nothing behind."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.engine import graph, hooks, listen
from tinygrad_vg.instruments import GradientRecorder, Ledger


@pytest.fixture(autouse=True)
def nobody_else_listens() -> Iterator[None]:
    """Whoever a failed test has left behind would be heard in the next."""
    yield
    hooks.LISTENERS.clear()


def leaf(value: Any = 2.0) -> Any:
    return tg.Tensor(value, requires_grad=True)


class Ear:
    """Notes what it hears; `want` are the tensors whose gradients it asks for."""

    def __init__(self, *want: Any, say: list[Any] | None = None, name: str = "") -> None:
        self.want, self.name, self.said = want, name, [] if say is None else say
        self.gradients: list[dict[Any, Any]] = []

    def __call__(self, walk: Any) -> None:
        self.said.append(self.name + "begin")
        walk.want(self.want)
        walk.at_end(self.end)

    def end(self, walk: Any) -> None:
        self.said.append(self.name + "end")
        self.gradients.append(walk.gradients)


@contextmanager
def collector_off() -> Iterator[None]:
    """What is freed in here is freed by counting references."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


BACKWARDS: dict[str, Callable[[Any, Any], Any]] = {
    "backward": lambda y, x: y.backward(),
    "recorded": lambda y, x: y.backward(create_graph=True),
    "extended": lambda y, x: y.backward(extended_range=True),
    "grad": lambda y, x: tg.grad(y, x),
    "grad, recorded": lambda y, x: tg.grad(y, x, create_graph=True),
}


@pytest.mark.parametrize("kind", BACKWARDS)
def test_each_backward_begins_once_and_ends_once(kind: str) -> None:
    x = leaf()
    square = x * x
    with listen(ear := Ear(square)):
        BACKWARDS[kind](np.exp(square), x)
        assert ear.said == ["begin", "end"]
        BACKWARDS[kind](np.exp(square), x)
    BACKWARDS[kind](np.exp(square), x)
    assert ear.said == ["begin", "end"] * 2
    found = ear.gradients[0]
    assert set(found) == {x, square}
    arrays = [np.asarray(g.data if isinstance(g, tg.Tensor) else g) for g in (found[x], found[square])]
    assert arrays == pytest.approx([4 * np.exp(4.0), np.exp(4.0)], rel=1e-15)
    assert type(found[square]) is type(found[x])


def test_a_walk_tells_where_it_starts() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    seeds: list[Any] = []
    with listen(lambda walk: seeds.append(dict(walk.starts))):
        y.backward([3.0, 4.0])
    ((tensor, seed),) = seeds[0].items()
    assert tensor is y
    assert seed.tolist() == [3.0, 4.0]


def test_what_is_wanted_is_kept_for_the_listener_alone() -> None:
    """No interior tensor gets a `.grad`, the answers of `grad` are the same, and what is not reached is not there."""
    x, other = leaf(), leaf(5.0)
    inner = x * x
    aside = other * other
    with listen(ear := Ear(inner, aside, x)):
        np.exp(inner).backward()
        (answer,) = tg.grad(np.exp(inner), x)
    assert inner.grad is None
    assert aside.grad is None
    assert set(ear.gradients[0]) == {inner, x}
    assert answer == x.grad


def test_where_nobody_listens_a_walk_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    net = nn.mlp([3, 4, 4, 1], rng=rng)
    x = rng.normal(size=(5, 3))
    plain = tg.grad(np.sum(net(x)), list(net.parameters()))
    with listen(Ear()):
        heard = tg.grad(np.sum(net(x)), list(net.parameters()))
    assert all(np.array_equal(a, b) for a, b in zip(plain, heard, strict=True))


@pytest.mark.parametrize("inside", ["hook", "listener", "end"])
def test_a_backward_inside_of_a_backward_is_heard_as_one_of_its_own(inside: str) -> None:
    """In a hook, in a listener, and when a walk has ended; the outer one goes on as if nothing had been."""
    x, y = leaf(), leaf(3.0)
    said: list[str] = []
    nested = iter([1])

    def go(*_: Any) -> None:
        if next(nested, None):
            (y * y).backward()

    cost = x * x
    if inside == "hook":
        cost.register_hook(go)
    with listen(Ear(say=said)):
        if inside == "listener":
            handle = listen(go)
        elif inside == "end":
            handle = listen(lambda walk: walk.at_end(go))
        cost.backward()
        if inside != "hook":
            handle.remove()
    assert said == (["begin", "begin", "end", "end"] if inside != "end" else ["begin", "end", "begin", "end"])
    assert (float(x.grad), float(y.grad)) == (4.0, 6.0)


def test_an_end_comes_before_any_gradient_is_changed() -> None:
    x = leaf()
    with listen(lambda walk: walk.at_end(lambda walk: seen.append((x.grad, float(walk.gradients[x]))))):
        seen: list[Any] = []
        (x * x).backward()
    assert seen == [(None, 4.0)]
    assert x.grad == 4.0


@tg.differentiable(lambda g, y, a: 1 / 0)
def broken(a: Any) -> Any:
    return a


@pytest.mark.parametrize("where", ["hook", "rule", "listener", "end"])
def test_an_exception_ends_the_walk_for_all_who_listen(where: str) -> None:
    """Each hears of the end once, whoever has raised; no `.grad` is changed, and the next backward is as ever."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    x = leaf()
    middle = x * x
    cost = np.exp(broken(middle) if where == "rule" else middle)
    handles = [middle.register_hook(fail)] if where == "hook" else []
    first, last = Ear(cost, middle), Ear()
    handles += [listen(first)]
    if where in ("listener", "end"):
        handles += [listen(fail if where == "listener" else lambda walk: walk.at_end(fail))]
    handles += [listen(last)]
    with pytest.raises(ZeroDivisionError):
        cost.backward()
    assert first.said == ["begin", "end"]
    assert last.said == ([] if where == "listener" else ["begin", "end"])
    assert x.grad is None
    if where in ("hook", "rule"):
        assert set(first.gradients[0]) == {cost}
    for handle in handles:
        handle.remove()
    with listen(ear := Ear()):
        (x * x).backward()
    assert (ear.said, float(x.grad)) == (["begin", "end"], 4.0)


def test_a_listener_that_goes_during_a_walk_hears_its_end_and_no_more() -> None:
    x = leaf()
    cost = x * x
    handle = listen(ear := Ear())
    cost.register_hook(lambda g: handle.remove())
    cost.backward()
    cost.backward()
    handle.remove()
    assert ear.said == ["begin", "end"]


def test_a_listener_that_comes_during_a_walk_hears_the_next() -> None:
    x = leaf()
    cost, ear, handles = x * x, Ear(), []
    with cost.register_hook(lambda g: handles.append(listen(ear))):
        cost.backward()
    assert ear.said == []
    cost.backward()
    handles[0].remove()
    assert ear.said == ["begin", "end"]


def test_listeners_are_told_in_the_order_in_which_they_came() -> None:
    said: list[str] = []
    with listen(Ear(say=said, name="first ")), listen(Ear(say=said, name="second ")):
        (leaf() * 2.0).backward()
    assert said == ["first begin", "second begin", "first end", "second end"]


def test_walks_of_other_threads_are_heard_too() -> None:
    """Each as a walk of its own, with its own gradients."""
    leaves = [leaf(float(k)) for k in range(8)]

    def work(x: Any) -> None:
        for _ in range(20):
            (x * x).backward()

    with listen(ear := Ear()):
        threads = [threading.Thread(target=work, args=(x,)) for x in leaves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(ear.said) == ["begin"] * 160 + ["end"] * 160
    heard = [(x, float(g)) for found in ear.gradients for x, g in found.items()]
    assert sorted(g for _, g in heard) == sorted(2.0 * k for k in range(8) for _ in range(20))
    assert all(g == 2 * x.data for x, g in heard)


def test_pictures_and_readings_are_not_told() -> None:
    from matplotlib.figure import Figure

    net = nn.mlp([2, 3, 3, 1], rng=0)
    x = np.ones((1, 2))
    cost = np.sum(net(x))
    cost.backward()
    with listen(ear := Ear()):
        for expand in (False, True):
            tg.draw.layers(net, cost, expand=expand)
        tg.draw.neurons(net, cost)
        tg.draw.graph(cost)
        Ledger.of(net, cost).table()
        tg.engine.cotangents(cost)
        tg.instruments.diagnose(Ledger.of(net, cost))
        tg.draw.layers(net, Ledger(net))
        tg.plots.slope_curve(nn.Sigmoid(), Figure().subplots())
    assert ear.said == []


# What stays behind: nothing.


@pytest.mark.parametrize("kind", ["backward", "extended", "grad"])  # what a recorded one leaves has a graph
def test_nothing_is_kept_alive_by_a_walk_that_was_heard(kind: str) -> None:
    """Not the graph, not a gradient, not the walk: no cycle, even where a callback refers to the walk itself."""
    walks: list[Any] = []
    wanted: list[Any] = []

    class Watched(dict[Any, Any]):
        """A dictionary that can be referred to weakly."""

    def listener(walk: Any) -> None:
        walk.want(reference() for reference in wanted)
        walk.gradients = gradients = Watched()
        walks.append(weakref.ref(gradients))
        walk.at_end(lambda _: walk.gradients)

    x = leaf(np.ones(3))
    with collector_off(), listen(listener):
        inner = x * x
        cost = np.sum(np.exp(inner))
        dropped = [weakref.ref(cost), weakref.ref(inner)]
        wanted += dropped
        BACKWARDS[kind](cost, x)
        del inner, cost
        assert [reference() for reference in dropped + walks] == [None] * 3


def test_a_replacement_is_what_listeners_recorders_and_ledgers_get() -> None:
    """A hook of the user's comes first: they are told what goes on, not what had come."""
    net = nn.mlp([3, 4, 4, 2], rng=0)
    x = np.random.default_rng(0).normal(size=(5, 3))
    with Ledger(net) as plain, GradientRecorder(net, statistics=True) as before:
        np.sum(net(x)).backward()
    with Ledger(net) as ledger, GradientRecorder(net, statistics=True) as recorder:
        h = net[:2](x)
        z = net[2](h)
        z.register_hook(lambda g: 100 * g)
        np.sum(net[3:](z)).backward()
    assert ledger.log10_norm == pytest.approx(plain.log10_norm + np.array([2, 2, 0]), abs=1e-12)
    assert recorder.history.log10_norm[0] == pytest.approx(
        before.history.log10_norm[0] + np.array([2, 2, 0]), abs=1e-12
    )
    assert recorder.history.log10_rms[0] == pytest.approx(before.history.log10_rms[0] + np.array([2, 2, 0]), abs=1e-12)
    assert ledger.rows[1].total == pytest.approx(plain.rows[1].total + 2, abs=1e-12)
    with GradientRecorder(net) as recorder, net[0].bias.register_hook(lambda g: 1000 * g):
        np.sum(net(x)).backward()
    assert recorder.history.log10_norm[0] == pytest.approx(
        before.history.log10_norm[0] + np.array([3, 0, 0]), abs=1e-12
    )


# The order of the walk.


def test_the_youngest_is_visited_first() -> None:
    """Else a tensor would be visited with a part of its sum, and its hook called again for the rest."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        tensors, visits = [leaf(1.0)], []
        for _ in range(30):
            i, j = rng.integers(len(tensors), size=2)
            tensors.append(tensors[i] + 0.5 * tensors[j])
        for tensor in tensors[1:]:
            tensor.register_hook(lambda g, order=tensor.node.order, visits=visits: visits.append(order))
        cost = tensors[-1] * sum(tensors[1:], start=0.0)
        totals = graph.walk({cost: np.asarray(1.0)}, keep=set(tensors))
        assert visits == sorted(visits, reverse=True)
        assert len(set(visits)) == len(visits) == 30
        # ∂C/∂t of each by forward mode, which knows no order.
        for tensor in tensors[1::7]:
            assert totals[tensor] == pytest.approx(float(tg.jvp(cost, tensor, np.asarray(1.0))[0]), rel=1e-12)


def test_several_starts_are_visited_in_that_order_too() -> None:
    """Of an output and one that was computed from it."""
    x, visits = leaf(2.0), []
    y = x * x
    y.register_hook(lambda g: visits.append(float(g)))
    z = 3 * y
    assert tg.grad([y, z], x)[0] == 16
    assert tg.grad([z, y], x)[0] == 16
    assert visits == [4, 4]
