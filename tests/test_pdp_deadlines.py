"""One timer for many deadlines: each passes when it is due, none that was ended, whatever was waited for meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import DecisionUnavailable
from gateway.pdp.connection import Late
from gateway.pdp.deadlines import Deadlines
from gateway.pdp.lanes import Lanes, NoTurn

SECONDS = 0.05


def waited_for() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_what_is_not_there_in_time_fails() -> None:
    deadlines, future = Deadlines(SECONDS), waited_for()
    deadlines.begin().covers(future, Late)
    with pytest.raises(Late):
        await future


async def test_each_of_many_passes_in_the_order_in_which_it_began() -> None:
    deadlines, order = Deadlines(SECONDS), list[int]()

    async def wait(number: int) -> None:
        future = waited_for()
        deadlines.begin().covers(future, Late)
        with pytest.raises(Late):
            await future
        order.append(number)

    waits = []
    for number in range(20):
        waits.append(asyncio.create_task(wait(number)))
        await asyncio.sleep(SECONDS / 50)
    await asyncio.gather(*waits)
    assert order == list(range(20))


async def test_one_that_was_ended_fails_nothing_and_the_one_after_it_still_passes() -> None:
    deadlines, first, second = Deadlines(SECONDS), waited_for(), waited_for()
    ended = deadlines.begin()
    ended.covers(first, Late)
    deadlines.begin().covers(second, Late)
    deadlines.end(ended)
    with pytest.raises(Late):
        await second
    assert not first.done()


async def test_a_deadline_spans_everything_that_is_waited_for_under_it() -> None:
    deadlines, turn, answer = Deadlines(SECONDS), waited_for(), waited_for()
    deadline = deadlines.begin()
    deadline.covers(turn, NoTurn)
    turn.set_result(None)
    deadline.covers(answer, Late)
    with pytest.raises(Late):
        await answer


async def test_what_is_waited_for_after_the_time_is_over_fails_at_once() -> None:
    deadlines, late = Deadlines(SECONDS), waited_for()
    deadline = deadlines.begin()
    deadline.covers(late, Late)
    with pytest.raises(Late):
        await late
    another = waited_for()
    deadline.covers(another, NoTurn)
    assert isinstance(another.exception(), NoTurn)


async def test_a_deadline_begun_after_a_quiet_time_passes_too() -> None:
    deadlines = Deadlines(SECONDS)
    deadlines.end(deadlines.begin())
    await asyncio.sleep(2 * SECONDS)
    future = waited_for()
    deadlines.begin().covers(future, Late)
    with pytest.raises(Late):
        await future


async def test_a_turn_that_does_not_come_in_time_leaves_its_place_to_others() -> None:
    deadlines, lanes = Deadlines(SECONDS), Lanes(1, waiting=10)
    assert lanes.try_enter()
    late = asyncio.create_task(lanes.enter("a", deadlines.begin()))
    with pytest.raises(DecisionUnavailable, match="no connection to OPA came free"):
        await late
    assert lanes.waiting == 0
    patient = asyncio.create_task(lanes.enter("a"))
    await asyncio.sleep(0)
    lanes.leave()
    await patient
    lanes.leave()
    assert lanes.try_enter()
