"""What somebody who listens has seen: that it has changed, of which kind, and which resources have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.endpoints.listening import MAX_TOLD_APART, News, Seen, Watched
from gateway.ids import Kind
from gateway.model import ListDecision
from gateway.sight import Sight

if TYPE_CHECKING:
    from collections.abc import Callable


def sight(**ids: tuple[str, ...]) -> Sight:
    decisions = [(Kind(kind), ListDecision(True, "e", 1, ids=found)) for kind, found in ids.items()]
    return Sight.of(decisions or [(Kind.TOOL, ListDecision(True, "e", 1))])


NOTHING = sight()
TOOL, PROMPT = sight(tool=("s/t",)), sight(tool=("s/t",), prompt=("p#prompts/x",))


async def test_news_is_of_the_kinds_that_differ_and_are_listened_for():
    seen = Seen(TOOL, {Kind.PROMPT})
    waiting = asyncio.ensure_future(seen.news())
    await asyncio.sleep(0)
    seen.look(NOTHING)
    await asyncio.sleep(0)
    assert not waiting.done()
    seen.look(PROMPT)
    assert await waiting == News(frozenset({Kind.PROMPT}), ())


async def test_a_server_is_heard_by_who_sees_something_of_it():
    seen = Seen(PROMPT)
    seen.changed_at("other", frozenset(Kind))
    seen.changed_at("p", frozenset({Kind.RESOURCE}))
    assert await seen.news() == News(frozenset({Kind.RESOURCE}), ())


def test_a_sight_is_of_all_lists_and_as_old_as_the_oldest_of_them():
    lists = [("resource", ("a#resources/x:",), 3), ("resource", ("b#resources/{y}",), 2), ("tool", ("c/t",), 4)]
    found = Sight.of([(Kind(kind), ListDecision(True, "e", at, ids=ids)) for kind, ids, at in lists])
    assert (found.revision, found.servers) == (2, {"a", "b", "c"})
    assert found.differs(NOTHING) == {Kind.RESOURCE, Kind.TOOL}
    assert not found.differs(found)


async def test_a_server_that_tells_of_very_many_resources_is_told_of_in_few_words():
    ended: list[str] = []
    seen = Seen(NOTHING)
    end: Callable[[], None] = lambda: ended.append("x")  # noqa: E731
    seen.watched["x://all"] = Watched("s", end)
    for number in range(10_000):
        seen.updated_at("s", f"x://all/{number}")
        seen.updated_at("other", f"x://all/{number}")
        seen.updated_at("s", f"x://others/{number}")
    updated = (await seen.news()).updated
    assert len(updated) == MAX_TOLD_APART + 1
    assert updated[-1] == ("s", "x://all")
    seen.close()
    seen.close()
    assert ended == ["x"]
