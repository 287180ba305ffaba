"""Slots handed out in turn: none is lost, none is given twice, and no lane waits behind all of another."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DecisionUnavailable
from gateway.pdp.lanes import Lanes
from tests.support.wait import until

steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abc")),
        st.tuples(st.just("leave"), st.just("")),
        st.tuples(st.just("cancel"), st.integers(min_value=0, max_value=20)),
        st.tuples(st.just("leave and cancel"), st.integers(min_value=0, max_value=20)),
    ),
    max_size=40,
)


class Play:
    """Enters, leaves and cancellations in any order."""

    def __init__(self, slots: int) -> None:
        self.lanes = Lanes(slots, waiting=100)
        self.tasks: list[asyncio.Task[None]] = []
        self.inside = 0

    async def _visit(self, lane: str) -> None:
        await self.lanes.enter(lane)
        self.inside += 1

    async def step(self, what: str, which: str | int) -> None:
        if what == "enter":
            self.tasks.append(asyncio.create_task(self._visit(str(which))))
        if what.startswith("leave") and self.inside:
            self.inside -= 1
            self.lanes.leave()
        if what.endswith("cancel") and self.tasks:
            self.tasks[int(which) % len(self.tasks)].cancel()  # before the one that was let in has run
        for _ in range(3):
            await asyncio.sleep(0)

    async def end(self) -> None:
        while self.inside:
            await self.step("leave", "")
        await asyncio.gather(*self.tasks, return_exceptions=True)


@given(st.integers(min_value=1, max_value=3), steps)
def test_whatever_is_cancelled_every_slot_is_held_once_and_comes_back(slots: int, steps: list[tuple[str, str | int]]):
    async def play() -> None:
        game = Play(slots)
        for what, which in steps:
            await game.step(what, which)
            assert 0 <= game.inside <= slots
            assert not game.lanes.waiting or game.inside == slots, "somebody waits beside a free slot"
        await game.end()
        assert not game.lanes.waiting
        assert [game.lanes.try_enter() for _ in range(slots + 1)] == [True] * slots + [False]

    asyncio.run(play())


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_a_lane_is_passed_at_most_once_by_each_other_lane(arrivals: list[str]):
    async def play() -> None:
        lanes, served = Lanes(1, waiting=100), []

        async def visit(lane: str) -> None:
            await lanes.enter(lane)
            served.append(lane)
            lanes.leave()

        assert lanes.try_enter()
        tasks = []
        for lane in arrivals:
            tasks.append(asyncio.create_task(visit(lane)))
            await asyncio.sleep(0)
        lanes.leave()
        await asyncio.gather(*tasks)
        assert served == in_turns(arrivals)

    asyncio.run(play())


def in_turns(arrivals: list[str]) -> list[str]:
    """One of each lane, lanes in the order of arrival, until none is left: what fair means here."""
    left = deque((lane, arrivals.count(lane)) for lane in dict.fromkeys(arrivals))
    order = []
    while left:
        lane, count = left.popleft()
        order.append(lane)
        if count > 1:
            left.append((lane, count - 1))
    return order


async def test_a_lane_that_is_full_refuses_at_once_and_another_lane_still_waits():
    lanes = Lanes(1, waiting=1)
    await lanes.enter("a")
    waiting = asyncio.create_task(lanes.enter("a"))
    await until(lambda: lanes.waiting == 1)
    with pytest.raises(DecisionUnavailable):
        await lanes.enter("a")
    other = asyncio.create_task(lanes.enter("b"))
    await until(lambda: lanes.waiting == 2)
    lanes.leave()
    lanes.leave()
    await asyncio.gather(waiting, other)
