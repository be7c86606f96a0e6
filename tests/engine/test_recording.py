"""What is recorded: contexts entered again and left in any order, and functions that stop on their way."""

import asyncio

import numpy as np
import pytest

import tinygrad_vg as tg


def recorded():
    return (tg.Tensor(1.0, requires_grad=True) * 2).requires_grad


def suspended():
    with tg.no_grad():
        yield recorded()


def test_one_context_may_be_entered_inside_itself():
    context = tg.no_grad()
    with context:
        with context:
            assert not recorded()
        assert not recorded()
    assert recorded()
    with context:
        assert not recorded()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_generators_closed_in_any_order_leave_recording_on(order):
    generators = [suspended(), suspended()]
    assert [next(generator) for generator in generators] == [False, False]
    for i in order:
        assert not recorded()
        generators[i].close()
    assert recorded()


def test_the_innermost_context_that_is_open_decides():
    first = suspended()
    next(first)
    with tg.enable_grad():
        first.close()
        assert recorded()
    assert recorded()
    with tg.no_grad(), tg.enable_grad(), tg.no_grad():
        assert not recorded()


@tg.no_grad()
def steps(seen):
    """A generator: it takes what is sent, catches what is thrown, and returns a value."""
    got = yield recorded()
    seen.append((got, recorded()))
    try:
        yield recorded()
    except KeyError:
        seen.append(recorded())
    return "end"


def test_the_decorator_holds_for_the_steps_of_a_generator_and_not_between_them():
    seen = []
    generator = steps(seen)
    assert next(generator) is False
    assert recorded()
    assert generator.send("sent") is False
    with pytest.raises(StopIteration) as end:
        generator.throw(KeyError)
    assert end.value.value == "end"
    assert seen == [("sent", False), False]
    assert recorded()


def test_the_decorator_holds_for_the_steps_of_a_coroutine_and_not_for_other_tasks():
    @tg.no_grad()
    async def quiet():
        before = recorded()
        await asyncio.sleep(0)
        return before, recorded()

    async def loud():
        seen = []
        for _ in range(3):
            seen.append(recorded())
            await asyncio.sleep(0)
        return all(seen)

    async def both():
        return await asyncio.gather(quiet(), loud())

    assert asyncio.iscoroutinefunction(quiet)
    assert asyncio.run(both()) == [(False, False), True]


def test_what_the_decorator_cannot_follow_is_refused():
    async def numbers():
        yield 1

    with pytest.raises(TypeError, match=r"numbers makes an asynchronous generator, .* write `with tg\.no_grad"):
        tg.no_grad()(numbers)
    with pytest.raises(TypeError, match="takes a function, not 3"):
        tg.no_grad()(3)


def test_a_penalty_from_a_decorated_generator_takes_no_terms_from_its_caller():
    @tg.no_grad()
    def penalties(w):
        while True:
            yield 3 * w

    w = tg.Tensor(1.0, requires_grad=True)
    penalty = next(penalties(w))
    np.add(w * 2, penalty).backward()
    assert w.grad == 2
    assert not penalty.requires_grad
