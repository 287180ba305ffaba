"""A gateway that OPA is ahead of reads its files once, and goes on with what it has where they do not help."""

from __future__ import annotations

import asyncio

import pytest

from gateway.catching_up import MAX_GIVEN_UP, CatchUp, Reread
from gateway.config.reloading import Outcome
from gateway.errors import Unavailable
from gateway.replication import Applied

CAME = Reread(Outcome("new"), 2, Applied(1, 1))


class Files:
    """Files that say something new when they are read; `known` is what is in force."""

    def __init__(self, says: str) -> None:
        self.says = says
        self.known = {"old"}
        self.readings = 0

    async def read(self) -> Reread:
        self.readings += 1
        await asyncio.sleep(0)
        self.known.add(self.says)
        return CAME

    def catch_up(self, **options: float) -> CatchUp:
        made = CatchUp(self.known.__contains__, **options)
        made.reread = self.read
        return made


async def test_everybody_who_is_decided_by_newer_files_waits_for_one_reading_of_them():
    files = Files("new")
    catch_up = files.catch_up()
    await asyncio.gather(*(catch_up.to("new") for _ in range(5)))
    assert files.readings == 1
    await catch_up.to("old")
    assert files.readings == 1


async def test_what_the_files_do_not_have_is_waited_for_once(caplog):
    files = Files("other")
    catch_up = files.catch_up()
    for _ in range(3):
        await catch_up.to("new")
    assert files.readings == 1
    assert "policy decides by the configuration new, which the files here do not have" in caplog.text
    for number in range(MAX_GIVEN_UP + 1):
        await catch_up.to(f"c{number}")
    await catch_up.to("new")
    assert files.readings == MAX_GIVEN_UP + 3


async def test_files_that_take_too_long_or_that_nobody_watches_keep_nobody_waiting(caplog):
    files = Files("new")
    catch_up = files.catch_up(patience=0)
    await catch_up.to("new")
    assert "could not be read again" in caplog.text
    alone = CatchUp(lambda _: False)
    await alone.to("new")
    with pytest.raises(Unavailable):
        await alone.now()


async def test_what_an_administrator_asks_for_is_what_came_of_it():
    assert await Files("new").catch_up().now() is CAME
