"""The admin API on withdrawals: what bad bodies and unknown names get, who may, and that nothing changes then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.ledger.connect import open_ledger
from gateway.state import StateDir

if TYPE_CHECKING:
    from tests.conftest import World

WITHDRAW = "/api/admin/tools/payments/refund/withdraw"


async def revision(world: World) -> int:
    """Return the ledger's revision, which any change would have raised."""
    ledger = await open_ledger(StateDir.open(world.gateway.state).ledger_url)
    try:
        return (await ledger.meta()).revision
    finally:
        await ledger.close()


async def refused(world: World, expected: int, path: str = WITHDRAW, body: Any = None, **headers: str) -> Any:
    """Post to the admin API, hold that it is refused and changes nothing, and return the problem."""
    before = await revision(world)
    reply = await world.gateway.http("POST", path, body, **(headers or {"X_API_Key": world.admin_key}))
    assert reply.status == expected, reply
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == expected
    assert await revision(world) == before
    return reply.json


@pytest.mark.parametrize("body", [None, {}, {"tenant_id": None}, {"tenant_id": "tenant:a"}])
async def test_who_acts_for_one_tenant_does_nothing_to_another_or_to_all(world: World, body: Any) -> None:
    for action in ("withdraw", "restore"):
        path = f"/api/admin/tools/payments/refund/{action}"
        await refused(world, 403, path, body, X_API_Key=world.admin_key, X_Tenant_ID="tenant:b")


@pytest.mark.parametrize("action", ["withdraw", "restore"])
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"tenant_id=tenant:b",
        b"\xff",
        b"[]",
        b"null",
        b'"tenant:b"',
        b'{"tenant_id":""}',
        b'{"tenant_id":5}',
        b'{"tenant_id":true}',
        b'{"tenant_id":["tenant:b"]}',
        b'{"tenant_id":{}}',
        b'{"tenant_id":"tenant:b "}',
        b'{"tenant_id":"tenant/b"}',
        b'{"tenant_id":"tenant:b\\u0000"}',
        b'{"tenant_id":"tenant:a","tenant_id":"tenant:b"}',
        b'{"tenant_id":"tenant:b","reason":"x"}',
        b'{"tenantId":"tenant:b"}',
        b'{"Tenant_ID":"tenant:b"}',
        b'{"tenant":"tenant:b"}',
        b'{"kind":"server"}',
        b'{"kind":["tool"]}',
        b'{"kind":null}',
        b'{"tenant_id":"' + b"x" * 129 + b'"}',
    ],
)
async def test_a_bad_body_is_refused_and_changes_nothing(world: World, action: str, body: bytes) -> None:
    problem = await refused(world, 400, f"/api/admin/tools/payments/refund/{action}", body)
    assert problem["errors"]


async def test_a_body_that_is_no_json_is_told_so_once(world: World) -> None:
    (mistake,) = (await refused(world, 400, body=b"{"))["errors"]
    assert mistake["detail"].startswith("the body is not JSON: ")


async def test_every_mistake_of_a_body_is_named(world: World) -> None:
    problem = await refused(world, 400, body={"tenant_id": 5, "kind": 5, "reason": "x", "until": "y"})
    assert {mistake["field"] for mistake in problem["errors"]} == {"tenant_id", "kind", "reason", "until"}


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("tool", "charge", "charge"),
        ("prompt", "greet%20me", "greet me"),
        ("resource", "file%3A%2F%2F%2Fa%3Fb%3D1", "file:///a?b=1"),
        ("resource", "file:///%7B+path%7D", "file:///{+path}"),
    ],
)
async def test_prompts_and_resources_are_withdrawn_by_their_kind_and_answered_by_it(
    world: World, kind: str, path: str, name: str
) -> None:
    where, key = f"/api/admin/tools/payments/{path}", {"X_API_Key": world.admin_key}
    body = {"kind": kind, "tenant_id": "tenant:b"}
    reply = await world.gateway.http("POST", f"{where}/withdraw", body, **key)
    named = {"mcp_server": "payments", kind: name, "tenant_id": "tenant:b"}
    assert (reply.status, reply.json) == (200, {"withdrawn": True} | named)
    listed = (await world.gateway.http("GET", "/api/admin/withdrawals", **key)).json["withdrawals"]
    assert named in [{field: one[field] for field in named if field in one} for one in listed]
    reply = await world.gateway.http("POST", f"{where}/restore", body, **key)
    assert (reply.status, reply.json) == (200, {"restored": True} | named)


async def test_a_tools_withdrawal_leaves_the_prompt_of_its_name(world: World) -> None:
    key = {"X_API_Key": world.admin_key}
    try:
        await world.gateway.http("POST", WITHDRAW, {"kind": "prompt"}, **key)
        reply = await world.gateway.http("POST", WITHDRAW.replace("withdraw", "restore"), {"kind": "tool"}, **key)
        assert "Portcullis-Still-Withdrawn" not in reply.headers
    finally:
        await world.gateway.http("POST", WITHDRAW.replace("withdraw", "restore"), {"kind": "prompt"}, **key)


async def test_a_name_that_nothing_of_its_kind_can_have_is_not_found(world: World) -> None:
    await refused(world, 404, "/api/admin/tools/payments/greet%20me/withdraw", {"kind": "tool"})
    await refused(world, 404, "/api/admin/tools/payments/a%20b/withdraw", {"kind": "resource"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/admin/tools/paymints/refund/withdraw", None),
        ("/api/admin/tools/PAYMENTS/refund/withdraw", None),
        ("/api/admin/tools/paymints/refund/restore", None),
        (WITHDRAW, {"tenant_id": "tenant:c"}),
        (WITHDRAW, {"tenant_id": "a"}),
        (WITHDRAW, {"tenant_id": "*"}),
        ("/api/admin/tools/payments/ref%20und/withdraw", None),
        ("/api/admin/tools/payments/ref%00und/withdraw", None),
        ("/api/admin/tools/pay%2fments/refund/withdraw", None),
        ("/api/admin/tools/payments/" + "x" * 129 + "/withdraw", None),
        ("/api/admin/tools/payments/refund/delete", None),
    ],
)
async def test_an_unknown_server_or_tenant_is_not_found_and_nothing_changes(
    world: World, path: str, body: object
) -> None:
    if body == {"tenant_id": "*"}:
        await refused(world, 400, path, body)
    else:
        await refused(world, 404, path, body)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_another_method_is_not_allowed(world: World, method: str) -> None:
    reply = await world.gateway.http(method, WITHDRAW, X_API_Key=world.admin_key)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


async def test_without_or_with_a_bad_credential_nothing_is_said_of_servers_and_tenants(guarded: World) -> None:
    for path in (WITHDRAW, "/api/admin/tools/paymints/refund/withdraw"):
        anonymous = await refused(guarded, 401, path, X_Forwarded_For="198.51.100.1")
        assert anonymous["detail"] == "No valid credentials provided"
        bad = await refused(guarded, 401, path, X_API_Key="mcp_" + "x" * 49, X_Forwarded_For="198.51.100.2")
        assert bad["detail"] == "Invalid API key"


@pytest.fixture(scope="module")
async def keys(world: World) -> dict[str, str]:
    """Keys of several roles, some of them of tenant:b alone."""
    made = {
        role: await world.gateway.key(f"user:{role}", role=role) for role in ("mcp_server_admin", "viewer", "auditor")
    }
    bound = ("--tenant", "tenant:b")
    made["tenant admin"] = await world.gateway.key("service:tenant:b/ops", *bound, role="mcp_server_admin")
    return made


async def test_a_token_without_a_role_may_withdraw_nothing_not_even_for_its_own_tenant(world: World) -> None:
    token = {"Authorization": f"Bearer {world.token('tenant:b')}"}
    for body in (None, {"tenant_id": "tenant:b"}, {"tenant_id": "tenant:a"}):
        problem = await refused(world, 403, body=body, **token)
        assert problem["detail"].startswith("Access denied")


@pytest.mark.parametrize("role", ["viewer", "auditor"])
async def test_a_role_that_only_reads_withdraws_nothing(world: World, keys: dict[str, str], role: str) -> None:
    await refused(world, 403, X_API_Key=keys[role])


async def test_a_tenants_admin_acts_for_that_tenant_alone(world: World, keys: dict[str, str]) -> None:
    key = keys["tenant admin"]
    await refused(world, 403, X_API_Key=key)
    await refused(world, 403, body={"tenant_id": "tenant:a"}, X_API_Key=key)
    # A tenant that does not exist is refused like one that is not theirs.
    await refused(world, 403, body={"tenant_id": "tenant:c"}, X_API_Key=key)
    try:
        reply = await world.gateway.admin("payments/refund/withdraw", {"tenant_id": "tenant:b"}, key=key)
        assert reply.status == 200
        assert await world.gateway.tools(world.token("tenant:b")) == ["charge"]
    finally:
        await world.gateway.admin("payments/refund/restore", {"tenant_id": "tenant:b"}, key=key)
    assert await world.gateway.tools(world.token("tenant:b")) == ["charge", "refund"]


async def test_a_tenants_admin_does_not_lift_what_was_withdrawn_for_all(world: World, keys: dict[str, str]) -> None:
    try:
        await world.gateway.admin("payments/refund/withdraw", None, key=world.admin_key)
        await world.gateway.admin("payments/refund/restore", {"tenant_id": "tenant:b"}, key=keys["tenant admin"])
        assert await world.gateway.tools(world.token("tenant:b")) == ["charge"]
    finally:
        await world.gateway.admin("payments/refund/restore", None, key=keys["mcp_server_admin"])


async def test_withdrawals_are_listed_to_who_may_read_them_and_by_tenant(world: World, keys: dict[str, str]) -> None:
    async def listed(key: str, query: str = "") -> Any:
        reply = await world.gateway.http("GET", f"/api/admin/withdrawals{query}", X_API_Key=key)
        return reply.status, [
            (one["tool"], one["tenant_id"], one.get("by")) for one in (reply.json.get("withdrawals") or ())
        ]

    try:
        for tenant in (None, "tenant:a", "tenant:b"):
            await world.gateway.admin("payments/charge/withdraw", {"tenant_id": tenant}, key=world.admin_key)
        every = {("charge", tenant, "user:root") for tenant in (None, "tenant:a", "tenant:b")}
        status, found = await listed(keys["viewer"])
        assert (status, set(found)) == (200, every)
        status, found = await listed(keys["tenant admin"])
        assert (status, {tenant for _, tenant, _ in found}) == (200, {None, "tenant:b"})
        status, found = await listed(keys["viewer"], "?tenant_id=tenant:a")
        assert (status, {tenant for _, tenant, _ in found}) == (200, {None, "tenant:a"})
        assert (await listed(keys["tenant admin"], "?tenant_id=tenant:a"))[0] == 403
        assert (await listed(keys["auditor"]))[0] == 403
        assert (await listed(keys["viewer"], "?tenant_id="))[0] == 400
    finally:
        await world.gateway.admin("payments/charge/restore", None, key=world.admin_key)


async def test_who_is_of_a_tenant_learns_of_withdrawals_no_tool_that_it_is_not_offered_and_not_who_made_them(
    world: World, keys: dict[str, str]
) -> None:
    made = [(tool, tenant) for tool in ("refund", "beta_tool") for tenant in (None, "tenant:b")]
    try:
        for tool, tenant in made:
            await world.gateway.admin(f"payments/{tool}/withdraw", {"tenant_id": tenant}, key=world.admin_key)
        for query in ("", "?tenant_id=tenant:b"):
            seen = await world.gateway.http("GET", f"/api/admin/withdrawals{query}", X_API_Key=keys["tenant admin"])
            rows = seen.json["withdrawals"]
            # `beta_tool` is no tool of tenant:b's, by its allow_list.
            assert {(row["tool"], row["tenant_id"]) for row in rows} == {("refund", None), ("refund", "tenant:b")}
            assert not [row for row in rows if "by" in row]
        every = await world.gateway.http("GET", "/api/admin/withdrawals?tenant_id=tenant:b", X_API_Key=world.admin_key)
        assert {(row["tool"], row["tenant_id"]) for row in every.json["withdrawals"]} == set(made)
        assert {row["by"] for row in every.json["withdrawals"]} == {"user:root"}
    finally:
        for tool in ("refund", "beta_tool"):
            await world.gateway.admin(f"payments/{tool}/restore", None, key=world.admin_key)
