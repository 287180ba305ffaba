"""Which kinds of answer an agent takes, by what its Accept header leaves room for (RFC 9110 12.5.1)."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.mcp.headers import Accepted, accepted

JSON, EVENTS = "application/json", "text/event-stream"
BOTH = Accepted(json=True, events=True, stream=True, events_first=False)
EITHER = BOTH._replace(stream=False)
JSON_ALONE = Accepted(json=True, events=False, stream=False, events_first=False)
EVENTS_ALONE = Accepted(json=False, events=True, stream=True, events_first=True)
NEITHER = Accepted(json=False, events=False, stream=False, events_first=True)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), EITHER),
        ((" ",), EITHER),
        (("*/*",), EITHER),
        ((f"{JSON}, {EVENTS}",), BOTH),
        ((JSON, EVENTS), BOTH),
        (("Application/JSON;q=0.9 , Text/Event-Stream; charset=utf-8",), BOTH),
        ((f"{EVENTS}, {JSON}",), BOTH._replace(events_first=True)),
        ((f"*/*, {EVENTS}",), BOTH),
        ((JSON,), JSON_ALONE),
        (("application/*",), JSON_ALONE),
        ((f"{JSON}, {EVENTS};q=0",), JSON_ALONE),
        ((f"{JSON}, {EVENTS}; q=0.000",), JSON_ALONE),
        ((f"{JSON}, {EVENTS}; q = 0.001",), BOTH),
        ((EVENTS,), EVENTS_ALONE),
        ((f"{EVENTS}, {JSON};q=0",), EVENTS_ALONE),
        (("text/*",), EVENTS_ALONE._replace(stream=False)),
        (("text/html",), NEITHER),
        ((f"{JSON}x, x{EVENTS}",), NEITHER),
    ],
)
def test_an_agent_gets_what_it_leaves_room_for(lines: tuple[str, ...], expected: Accepted) -> None:
    assert accepted(CIMultiDict(("accept", line) for line in lines)) == expected
