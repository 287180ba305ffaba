"""The audit trail as an operator reads it: one event for each decision and admin action, with the true reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway import audit
from gateway.ledger.connect import open_ledger
from gateway.state import StateDir
from tests.support.agents import headers, message
from tests.support.gateway import MODERN, Portcullis, elsewhere, front_door
from tests.support.raw import connected, request
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

CANARY = "canary-8d1f"


def file_of(gateway: Portcullis) -> Path:
    """Return where the audit file is."""
    return Path(gateway.config["audit"]["file"])


def written(gateway: Portcullis) -> list[dict[str, Any]]:
    """Return the events of the audit file, but for those that somebody was let in."""
    return [event for event in everything(gateway) if event["type"] != "AuthenticationSucceeded"]


def everything(gateway: Portcullis) -> list[dict[str, Any]]:
    """Return the events of the audit file."""
    path = file_of(gateway)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def only_event(world: World, reply: Reply) -> dict[str, Any]:
    """Return the event of a request, once a later one is written too, which shows that there is no second."""

    def events_of(one: Reply) -> list[dict[str, Any]]:
        wanted = one.headers["X-Request-Id"]
        return [event for event in written(world.gateway) if event["source"].get("request_id") == wanted]

    await until(lambda: events_of(reply), what=f"an event of {reply}")
    later = await world.gateway.rpc("tools/list", token=world.token("tenant:a"))
    await until(lambda: events_of(later))
    found = events_of(reply)
    assert len(found) == 1
    return found[0]


DENIED = "AuthorizationDenied"
CALLS: list[tuple[str | None, str, str, str, str | None, str | None]] = [
    ("tenant:a", "charge", "ToolCalled", "success", None, None),
    ("tenant:a", "refund", DENIED, "failure", "not_in_member_scope", "scope"),
    ("tenant:b", "beta_tool", DENIED, "failure", "not_in_member_scope", "scope"),
    ("tenant:a", "beta_tool", DENIED, "failure", "withdrawn", "withdrawal"),
    ("tenant:a", "legacy_charge", DENIED, "failure", "withdrawn", "withdrawal"),
    ("tenant:a", "no_such_tool", DENIED, "failure", "unknown_target", None),
    ("tenant:c", "charge", DENIED, "failure", "unknown_tenant", "frontdoor"),
    (None, "charge", DENIED, "failure", "no_tenant", "frontdoor"),
]


@pytest.mark.parametrize(("tenant", "name", "type_", "outcome", "reason", "layer"), CALLS)
async def test_a_call_leaves_one_event_with_the_reason_that_the_caller_is_not_told(
    guarded: World, tenant: str | None, name: str, type_: str, outcome: str, reason: str | None, layer: str | None
) -> None:
    reply = await guarded.gateway.call(
        name, {"note": CANARY}, token=guarded.token(tenant, sub="ann"), X_Forwarded_For="192.0.2.77"
    )
    event = await only_event(guarded, reply)
    assert (event["type"], event["outcome"], event["reason"], event["tenant"]) == (type_, outcome, reason, tenant)
    assert event["actor"]["principal"] == "user:ann"
    assert (event["source"]["ip"], event["target"]["name"], event["count"]) == ("192.0.2.77", name, 1)
    assert event["policy"]["revision"] > 0
    assert event["latency_ms"] > 0
    if layer is not None:
        assert event["policy"]["layer"] == layer
    if reason is not None:
        assert reason.encode() not in reply.body
    else:
        assert event["target"]["id"] == f"payments/{name}"


@pytest.mark.parametrize(
    ("tenant", "type_", "reason"),
    [("tenant:b", "AuthorizationGranted", None), ("tenant:c", DENIED, "unknown_tenant"), (None, DENIED, "no_tenant")],
)
async def test_a_list_leaves_one_event_and_an_empty_one_says_why(
    guarded: World, tenant: str | None, type_: str, reason: str | None
) -> None:
    reply = await guarded.gateway.rpc("tools/list", token=guarded.token(tenant))
    event = await only_event(guarded, reply)
    assert (event["type"], event["reason"], event["tenant"]) == (type_, reason, tenant)
    assert event["target"]["count"] == len(reply.json["result"]["tools"])


LOGINS: list[tuple[str, dict[str, str], int, str]] = [
    ("nothing", {}, 401, "unauthenticated"),
    ("no token", {"Authorization": "Bearer"}, 401, "invalid_credential"),
    ("no JWT", {"Authorization": f"Bearer {CANARY}"}, 401, "invalid_credential"),
    ("an unknown key", {"X_API_Key": f"mcp_{CANARY}"}, 401, "invalid_credential"),
    ("two", {"Authorization": f"Bearer {CANARY}", "X_API_Key": CANARY}, 400, "ambiguous_credential"),
]


@pytest.mark.parametrize(("kind", "sent", "status", "reason"), LOGINS, ids=[row[0] for row in LOGINS])
async def test_a_failed_login_leaves_one_event(
    guarded: World, kind: str, sent: dict[str, str], status: int, reason: str
) -> None:
    reply = await guarded.gateway.rpc("tools/list", X_Forwarded_For="192.0.2.78", **sent)
    assert reply.status == status
    event = await only_event(guarded, reply)
    assert (event["type"], event["outcome"], event["reason"]) == ("AuthenticationFailed", "failure", reason)


async def test_a_foreign_tenant_in_header_or_path_leaves_one_event(guarded: World) -> None:
    token = guarded.token("tenant:a")
    for path, sent in (("/mcp", {"X_Tenant_ID": "tenant:b"}), ("/tenant/tenant:b/mcp", {})):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        reply = await guarded.gateway.http("POST", path, body, Authorization=f"Bearer {token}", **sent)
        assert reply.status == 403
        event = await only_event(guarded, reply)
        assert (event["type"], event["reason"], event["tenant"]) == (DENIED, "tenant_mismatch", "tenant:a")
        assert event["target"]["tenant"] == "tenant:b"


async def test_an_admin_action_leaves_one_event_whether_done_refused_or_pointless(guarded: World) -> None:
    gateway, user = guarded.gateway, {"Authorization": f"Bearer {guarded.token('tenant:b')}"}
    path, body = "/api/admin/tools/payments/refund", {"tenant_id": "tenant:b"}
    done = await gateway.http("POST", f"{path}/withdraw", body, X_API_Key=guarded.admin_key)
    back = await gateway.http("POST", f"{path}/restore", body, X_API_Key=guarded.admin_key)
    refused = await gateway.http("POST", f"{path}/withdraw", body, **user)
    unknown = await gateway.http("POST", path.replace("payments", "x") + "/withdraw", body, X_API_Key=guarded.admin_key)
    for reply, type_, outcome, reason in (
        (done, "ToolWithdrawn", "success", None),
        (back, "ToolRestored", "success", None),
        (refused, DENIED, "failure", "missing_permission"),
        (unknown, "ToolWithdrawn", "failure", "not_found"),
    ):
        event = await only_event(guarded, reply)
        assert (event["type"], event["outcome"], event["reason"]) == (type_, outcome, reason)
        assert event["target"]["tenant"] == "tenant:b"


async def test_the_file_and_the_ledger_have_the_same_events_and_neither_has_a_secret_or_an_argument(
    guarded: World,
) -> None:
    reply = await guarded.gateway.call("charge", {"note": CANARY}, token=guarded.token("tenant:a"))
    await only_event(guarded, reply)
    status, out, _ = await guarded.gateway.cli("audit", "tail", "--json", "-n", "5000")
    assert status == 0
    ledger = {json.loads(line)["id"] for line in out.splitlines()}
    assert {event["id"] for event in written(guarded.gateway)} <= ledger
    text = file_of(guarded.gateway).read_text() + out + guarded.gateway.log
    for secret in (CANARY, guarded.admin_key, guarded.token("tenant:a").rpartition(".")[0]):
        assert secret not in text
    assert file_of(guarded.gateway).stat().st_mode & 0o777 == 0o600


async def test_a_client_that_hangs_up_takes_no_event_along(guarded: World) -> None:
    before, params, address = len(guarded.backend.calls), {"name": "charge", "arguments": {}}, elsewhere()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers(MODERN, "tools/call", params).items()]
    lines += ["Content-Type: application/json", f"Authorization: Bearer {guarded.token('tenant:a')}"]
    body = json.dumps(message(MODERN, "tools/call", params)).encode()
    for number in range(30):
        arrived = len(guarded.backend.calls)
        async with connected(guarded.gateway.url) as (_, writer):
            writer.write(request("POST /mcp HTTP/1.1", *lines, f"X-Forwarded-For: {address}", body=body))
            if number % 2:
                # Some hang up while the server answers, the others perhaps before anybody has read their request.
                await until(lambda: len(guarded.backend.calls) > arrived)  # noqa: B023 (awaited within the loop)
    await only_event(guarded, await guarded.gateway.rpc("tools/list", token=guarded.token("tenant:a")))
    called = len(guarded.backend.calls) - before
    events = [event for event in written(guarded.gateway) if event["source"].get("ip") == address]
    assert len(events) >= called >= 15
    assert {(event["outcome"], event["reason"]) for event in events} <= {("success", None), ("error", "cancelled")}


async def test_a_credential_that_begins_to_be_used_from_an_address_leaves_one_event_and_its_requests_theirs(
    guarded: World,
) -> None:
    token = guarded.token("tenant:a", sub="ann", jti="login")
    for address in ("192.0.2.81", "192.0.2.81", "192.0.2.82", "192.0.2.81"):
        assert (await guarded.gateway.rpc("tools/list", token=token, X_Forwarded_For=address)).status == 200

    def logins() -> list[dict[str, Any]]:
        mine = [one for one in everything(guarded.gateway) if one["actor"].get("credential_id") == "jwt:login"]
        return [one for one in mine if one["type"] == "AuthenticationSucceeded"] if len(mine) == 6 else []

    first, second = await until(logins, what="four lists and two logins are written")
    assert [one["source"]["ip"] for one in (first, second)] == ["192.0.2.81", "192.0.2.82"]
    assert (first["outcome"], first["tenant"], first["actor"]["principal"]) == ("success", "tenant:a", "user:ann")


@pytest.fixture
def small(tmp_path: Path, backend: FakeBackend, issuer: Issuer) -> Callable[..., Portcullis]:
    """Make a gateway with an audit file and more settings of the trail."""

    def made(**settings: Any) -> Portcullis:
        file = {"file": str(tmp_path / "audit.jsonl")}
        return Portcullis(tmp_path, front_door(backend.url, issuer.url, audit=file | settings))

    return made


async def test_a_flood_of_failed_logins_is_ten_events_a_lock_out_and_one_number(
    small: Callable[..., Portcullis],
) -> None:
    async with small() as gateway:
        statuses = [(await gateway.rpc("tools/list", token=f"guess-{number}")).status for number in range(25)]
        missing = [(await gateway.rpc("tools/list")).status for _ in range(15)]
    assert (statuses, missing) == ([401] * 10 + [429] * 15, [401] * 15)
    events = [event for event in written(gateway) if event["type"].startswith("Authentication")]
    reasons = ["invalid_credential"] * 10 + ["too_many_failures", "repeated", "repeated"]
    assert [event["reason"] for event in events] == reasons
    assert [event["count"] for event in events] == [1] * 11 + [15, 14]
    assert {event["source"]["ip"] for event in events} == {"127.0.0.1"}


async def test_an_issuer_that_is_away_is_a_503_with_a_time_and_an_event_of_its_own(
    small: Callable[..., Portcullis], issuer: Issuer
) -> None:
    issuer.status = 500
    try:
        async with small() as gateway:
            reply = await gateway.rpc("tools/list", token=issuer.mint())
            assert reply.status == 503
            assert int(reply.headers["Retry-After"]) > 0
    finally:
        issuer.status = 200
    (event,) = [event for event in written(gateway) if event["type"] == "AuthenticationFailed"]
    assert (event["outcome"], event["reason"]) == ("error", "issuer_unavailable")


async def test_events_past_their_retention_are_deleted_and_younger_ones_stay(small: Callable[..., Portcullis]) -> None:
    gateway = small(retention_days=1)
    gateway.folder.mkdir(exist_ok=True)
    ledger = await open_ledger(StateDir.open(gateway.state).ledger_url)
    try:
        day = 86_400_000
        ages = {"old": 2 * day, "young": day // 2}
        events = [
            dataclasses.replace(audit.event("ToolCalled", "success", reason=name), time=audit.now_ms() - age)
            for name, age in ages.items()
        ]
        await ledger.append_audit(events)
    finally:
        await ledger.close()
    async with gateway:
        await until(lambda: "1 audit events older than 1 days were deleted" in gateway.log)
        assert await gateway.events(reason="young")
        status, out, _ = await gateway.cli("audit", "tail", "--json", "-n", "100")
        assert (status, '"old"' in out) == (0, False)
