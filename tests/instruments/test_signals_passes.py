"""Passes and backwards in every order: the accounts are those of the last pass that a backward has come through."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg import nn
from tinygrad_vg.instruments import Ledger

WIDTH = 4


class Net(nn.Module):
    """Layers, and a block at the end, called by a forward of its own."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        make = [nn.Linear(WIDTH, WIDTH, rng=rng) for _ in range(4)]
        self.block = nn.Residual(nn.Sequential(make[3], nn.Tanh()))
        self.third, self.second, self.first = make[2], make[1], make[0]

    def forward(self, x: Any) -> Any:
        h = np.tanh(self.first(x))
        h = tg.ops.sigmoid(self.second(h))
        return self.block(self.third(h))


def images(seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(5, WIDTH))


def cost_of(net: Any, x: Any = None) -> Any:
    y = net(images() if x is None else x)
    return np.sum(y * np.random.default_rng(2).normal(size=y.shape[-2:]))


def figures(ledger: Ledger) -> Any:
    return np.array([[row.weights, row.activation, row.total, row.log10_norm] for row in ledger])


def expected(net: Any, x: Any = None) -> Any:
    return figures(Ledger.of(net, cost_of(net, x)))


def same(ledger: Ledger, wanted: Any) -> None:
    assert figures(ledger) == pytest.approx(wanted, abs=1e-12)
    assert [unit.label for unit in ledger.chain.tail] == ["Residual"]


@pytest.mark.parametrize("options", [{}, {"extended_range": True}, {"create_graph": True}], ids=str)
def test_every_kind_of_backward_has_the_same_accounts(options: dict[str, bool]) -> None:
    net = Net()
    with Ledger(net) as ledger:
        cost_of(net).backward(**options)
    same(ledger, expected(net))


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_that_is_asked_for_is_a_backward(create_graph: bool) -> None:
    """`tg.grad` of the first bias comes through all layers, of the second layer's through those above."""
    net = Net()
    wanted = expected(net)
    with Ledger(net) as ledger:
        tg.grad(cost := cost_of(net), net.first.bias, create_graph=create_graph)
        same(ledger, wanted)
        tg.grad(cost, net.second.bias, create_graph=create_graph)
    assert [row.cause for row in ledger] == ["not computed", None]
    assert figures(ledger)[1] == pytest.approx(wanted[1], abs=1e-12)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_second_derivative_comes_through_the_pass_once_more() -> None:
    """Of a gradient penalty the accounts are those of its own backward, which takes other gradients down."""
    net = Net()
    x = tg.Tensor(images(), requires_grad=True)
    with Ledger(net) as ledger:
        (slope,) = tg.grad(cost_of(net, x), x, create_graph=True)
        first = figures(ledger)
        np.sum(slope * slope).backward()
    assert first == pytest.approx(expected(net), abs=1e-12)
    assert np.isfinite(figures(ledger)).all()
    assert figures(ledger) != pytest.approx(first, abs=1e-3)
    for row in ledger:
        assert row.weights + row.activation == pytest.approx(row.total, abs=1e-12)


def test_one_graph_may_be_walked_back_several_times() -> None:
    net = Net()
    wanted = expected(net)
    with Ledger(net) as ledger:
        y = net(images())
        other = np.random.default_rng(7).normal(size=y.shape)
        y.backward(other)
        assert figures(ledger) != pytest.approx(wanted, abs=1e-3)
        y.backward(np.random.default_rng(2).normal(size=y.shape))
        same(ledger, wanted)
        y.backward(other, extended_range=True)
        same(ledger, figures(Ledger.of(net, np.sum(y * other))))


def test_two_passes_before_one_backward_and_the_last_is_counted() -> None:
    net = Net()
    wanted = expected(net)
    with Ledger(net) as ledger:
        first, last = cost_of(net, images(5)), cost_of(net)
        (first + 2 * last).backward()
        same(ledger, wanted + np.array([0, 0, 0, np.log10(2)]))
        first.backward()  # the pass before does not count any more
        same(ledger, wanted + np.array([0, 0, 0, np.log10(2)]))
        last.backward()
        same(ledger, wanted)


def test_two_networks_by_turns_have_their_own_accounts() -> None:
    one, other = Net(0), Net(1)
    with Ledger(one) as mine, Ledger(other) as theirs:
        for k in range(3):
            first, second = cost_of(one, images(k)), cost_of(other, images(k + 10))
            second.backward()
            first.backward()
            same(mine, expected(one, images(k)))
            same(theirs, expected(other, images(k + 10)))


def test_a_network_on_top_of_another_hears_the_same_backward() -> None:
    """As generator and discriminator: the lower one's accounts begin with the gradient at its own last layer."""
    lower, upper = Net(0), Net(1)
    with Ledger(lower) as low, Ledger(upper) as high:
        cost = cost_of(upper, lower(images()))
        cost.backward()
    assert figures(high) == pytest.approx(figures(Ledger.of(upper, cost)), abs=1e-12)
    assert figures(low) == pytest.approx(figures(Ledger.of(lower, cost)), abs=1e-12)
    same(high, expected(upper, lower(images()).data))


def test_an_evaluation_in_between_changes_nothing() -> None:
    """Neither the rows nor what stands behind the last layer; nor does one inside of a training step."""
    net = Net()
    with Ledger(net) as ledger:
        cost = cost_of(net)
        with tg.no_grad():
            evaluated = net(images(9))
        cost.backward()
        same(ledger, expected(net))
        with tg.no_grad():
            net(images(8))
            assert len(ledger.outputs) == 3
    same(ledger, expected(net))
    assert not evaluated.requires_grad


def test_the_output_of_an_older_pass_is_not_that_of_parts_that_are_called_later() -> None:
    """The model was called; then its layers are called one by one, and walked back, while the old output lives on."""
    net = Net()
    with Ledger(net) as ledger:
        old = net(images(3))
        h = tg.ops.sigmoid(net.second(np.tanh(net.first(images()))))
        np.sum(net.third(h) * np.random.default_rng(2).normal(size=(5, WIDTH))).backward()
    assert [row.cause for row in ledger] == [None, None]
    assert ledger.names == ("first", "second", "third")
    assert old.requires_grad


def test_a_model_below_another_lets_go_of_its_passes() -> None:
    """Its input is recorded, so no pass begins with data; what was put out is freed all the same."""
    below, net, arrays = nn.Linear(WIDTH, WIDTH, rng=0), Net(), []
    with net.second.register_forward_hook(lambda module, args, z: arrays.append(weakref.ref(z.data))), Ledger(net):
        for _ in range(10):
            cost_of(net, np.tanh(below(images()))).backward()
        gc.collect()
        assert sum(array() is not None for array in arrays) <= 2


def test_a_backward_through_parts_of_a_pass_is_counted_as_far_as_it_comes() -> None:
    net = Net()
    with Ledger(net) as ledger:
        h = np.tanh(net.first(images()))
        np.sum(net.third(tg.ops.sigmoid(net.second(h.detach())))).backward()
    assert [row.cause for row in ledger] == ["not computed", None]


def test_a_backward_through_something_else_is_not_heard() -> None:
    net, other = Net(), nn.Linear(WIDTH, WIDTH, rng=3)
    with Ledger(net) as ledger:
        cost_of(other).backward()
        with pytest.raises(RuntimeError, match="has heard no backward"):
            _ = ledger.rows
        cost_of(net).backward()
        cost_of(other).backward()
    same(ledger, expected(net))


def test_a_forward_that_failed_is_no_part_of_the_next_pass() -> None:
    net = Net()
    with Ledger(net) as ledger:
        h = net.first(images())
        with pytest.raises(ValueError, match="takes arrays of shape"):
            net(np.ones((2, WIDTH + 1)))
        cost_of(net).backward()
    same(ledger, expected(net))
    assert h.requires_grad


def test_a_backward_inside_of_forward_is_heard_and_the_pass_goes_on() -> None:
    """A network that looks at its own gradient on the way, at an inner layer, keeps its whole chain."""

    class Looks(Net):
        def forward(self, x: Any) -> Any:
            h = np.tanh(self.first(x))
            self.looked = tg.grad(np.sum(h), self.first.weight)
            return self.block(self.third(tg.ops.sigmoid(self.second(h))))

    net = Looks()
    with Ledger(net) as ledger:
        cost = cost_of(net)
        assert ledger.names == ("first",)
        cost.backward()
    same(ledger, expected(net))


@pytest.mark.parametrize("depth", [1, 2])
def test_ledgers_inside_of_ledgers_say_the_same(depth: int) -> None:
    net = Net()
    with Ledger(net) as outer:
        for _ in range(depth):
            with Ledger(net) as inner:
                cost_of(net).backward()
            same(inner, expected(net))
            same(outer, expected(net))
        cost_of(net, images(4)).backward()
    same(outer, expected(net, images(4)))
    same(inner, expected(net))


def test_a_block_at_the_end_of_parts_that_are_called_one_by_one_is_no_layer() -> None:
    block = nn.Residual(nn.Sequential(nn.Linear(3, 3, rng=2), nn.Tanh()))
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh(), nn.Linear(3, 3, rng=1), block)
    h = np.ones((2, 3))
    for part in net:
        h = part(h)
    assert Ledger.of(net, np.sum(h)).names == Ledger.of(net, np.sum(net(np.ones((2, 3))))).names == ("0", "2")


def test_a_recurrence_by_two_linears_side_by_side_names_the_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1))
    h = np.zeros((2, 3))
    for x in np.ones((2, 2, 3)):
        h = np.tanh(net[0](h) + net[1](x))
    with pytest.raises(ValueError, match=r"or from a branch: '.' is called again, and its input does not come"):
        Ledger.of(net, np.sum(h))
