"""The audit trail by the admin API: looked for by what events say, within the reader's scope, and verified."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.audit import now_ms
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.office import Clerk, anybody, holder, person, root
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

AUDIT, VERIFY = "/api/audit", "/api/audit/verify"


async def found(clerk: Clerk, query: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the events that a query finds, once there are so many of them: events are written behind decisions."""

    async def enough() -> list[dict[str, Any]] | None:
        events = await clerk.all(f"{AUDIT}?{query}", "events")
        return events if len(events) >= count else None

    return await until(enough, what=f"{count} events for {query}")


async def test_events_are_found_by_who_did_what_to_what_when_and_with_what_outcome(office: World) -> None:
    before, name = now_ms(), anybody("user")
    token = office.token("tenant:a", sub=name.removeprefix("user:"))
    await office.gateway.call("charge", token=token)
    await office.gateway.call("refund", token=token)
    every = await found(root(office), f"principal={name}&since={before}&type=ToolCalled")
    assert [one["target"]["id"] for one in every] == ["payments/charge"]
    (called,) = await found(root(office), f"principal={name}&tool=payments/charge&outcome=success")
    assert called["tenant"] == "tenant:a"
    (denied,) = await found(root(office), f"principal={name}&outcome=failure")
    assert (denied["type"], denied["reason"]) == ("AuthorizationDenied", "not_in_member_scope")
    nothing = await root(office).get(f"{AUDIT}?principal={name}&until={before}")
    assert nothing.json == {"events": [], "next": None}


async def test_events_come_newest_first_in_pages_or_oldest_first(office: World) -> None:
    await root(office).get(AUDIT)
    newest = (await root(office).get(f"{AUDIT}?limit=5")).json["events"]
    assert [one["seq"] for one in newest] == sorted((one["seq"] for one in newest), reverse=True)
    oldest = await root(office).get(f"{AUDIT}?limit=2&order=oldest")
    following = await root(office).get(f"{AUDIT}?limit=2&order=oldest&cursor={oldest.json['next']}")
    numbers = [one["seq"] for reply in (oldest, following) for one in reply.json["events"]]
    assert (numbers == sorted(set(numbers)), len(numbers)) == (True, 4)


async def test_a63_a_tenants_reader_sees_that_tenants_events_and_no_others(office: World) -> None:
    await office.gateway.tools(office.token("tenant:a"))
    await office.gateway.tools(office.token("tenant:b"))
    reader = await holder(office, "auditor", "tenant:b")
    seen = await found(reader, "type=AuthorizationGranted")
    assert {one["tenant"] for one in seen} == {"tenant:b"}
    assert {one["tenant"] for one in await reader.all(AUDIT, "events")} == {"tenant:b"}
    assert (await reader.get(f"{AUDIT}?tenant_id=tenant:a")).status == 403
    assert (await reader.post(VERIFY)).status == 403
    # A cursor from everybody's trail goes on in one's own.
    cursor = (await root(office).get(f"{AUDIT}?limit=1")).json["next"]
    beyond = (await reader.get(f"{AUDIT}?cursor={cursor}")).json["events"]
    assert {one["tenant"] for one in beyond} == {"tenant:b"}
    assert (await person(office, "tenant:b").get(AUDIT)).status == 403


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("type=%3Cb%3E&outcome=maybe&since=-1&order=best", {"type", "outcome", "since", "order"}),
        ("since=yesterday", {"since"}),
        ("since=99999999999999999999", {"since"}),
        ("cursor=W10", {"cursor"}),
        ("cursor=dHJ1ZQ", {"cursor"}),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(office: World, query: str, fields: set[str]) -> None:
    reply = await root(office).get(f"{AUDIT}?{query}")
    assert (reply.status, {one["field"] for one in reply.json["errors"]}) == (400, fields)


async def test_a35_a_row_that_was_edited_or_dropped_is_found_and_named(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend
) -> None:
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    async with Portcullis(tmp_path, config) as gateway:
        admin = Clerk.with_key(gateway, await gateway.key())
        for _ in range(3):
            await admin.key()
        intact = (await admin.post(VERIFY)).json
        assert (intact["intact"], intact["breaks"]) == (True, [])
        with sqlite3.connect(gateway.state / "portcullis.db") as database:
            (seq,) = database.execute(
                "select min(seq) from audit where type = 'KeyCreated' and principal = 'user:root'"
            ).fetchone()
            database.execute("update audit set body = replace(body, 'success', 'failure') where seq = ?", (seq,))
        (edited,) = (await admin.post(VERIFY)).json["breaks"]
        assert (edited["damage"], edited["seq"]) == ("edited", seq)
        with sqlite3.connect(gateway.state / "portcullis.db") as database:
            database.execute("delete from audit where seq = ?", (seq,))
        (dropped,) = (await admin.post(VERIFY)).json["breaks"]
        assert dropped["damage"] == "dropped"
