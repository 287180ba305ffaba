"""Roles at runtime, who one is, and what somebody may do: one evaluator for the admin API and for MCP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.office import ROLES, Clerk, anybody, holder, person, root

if TYPE_CHECKING:
    from tests.conftest import World

ASSIGN, REVOKE, CHECK, WHOAMI = f"{ROLES}/assign", f"{ROLES}/revoke", "/api/auth/check", "/api/auth/whoami"
HOME = "tenant:tenant:a"


async def test_a_role_that_is_given_counts_at_once_on_mcp_and_on_the_admin_api(office: World) -> None:
    name = anybody("user")
    jo = person(office, "tenant:a", name)
    assert (await jo.get("/api/audit")).status == 403
    reply = await root(office).post(ASSIGN, {"principal": name, "role": "auditor", "scope": HOME})
    assert (reply.status, reply.headers["Portcullis-Applied"]) == (200, "1/1")
    assert reply.json == {"assigned": True, "principal": name, "role": "auditor", "scope": HOME, "issuer": None}
    assert (await jo.get("/api/audit")).status == 200
    # Whoever was assigned something has that, and the default role no more.
    assert await office.gateway.tools(jo.header["Authorization"].removeprefix("Bearer ")) == []


async def test_revoking_never_widens(office: World) -> None:
    name = anybody("user")
    token = office.token("tenant:a", sub=name.removeprefix("user:"))
    assert await office.gateway.tools(token) == ["charge"]
    wanted = {"principal": name, "role": "viewer", "scope": HOME}
    await root(office).made(ASSIGN, **wanted)
    assert await office.gateway.tools(token) == ["charge"]
    reply = await root(office).post(REVOKE, wanted)
    assert (reply.status, reply.json) == (200, {"revoked": True, **wanted, "issuer": None})
    assert await office.gateway.tools(token) == []
    assert (await root(office).post(REVOKE, wanted)).status == 404
    # Given again, it is there again.
    await root(office).made(ASSIGN, **wanted)
    assert await office.gateway.tools(token) == ["charge"]


async def test_roles_and_assignments_are_listed_within_the_readers_scope(office: World) -> None:
    here, there = anybody("user"), anybody("user")
    await root(office).made(ASSIGN, principal=here, role="viewer", scope=HOME)
    await root(office).made(ASSIGN, principal=there, role="viewer", scope="tenant:tenant:b")
    reply = await root(office).get(ROLES)
    roles = {one["name"]: one for one in reply.json["roles"]}
    assert roles["viewer"]["built_in"] is True
    assert roles["keysmith"] == {"name": "keysmith", "permissions": ["keys:read", "keys:write"], "built_in": False}
    every = await root(office).all(ROLES, "assignments")
    configured = {"principal": "user:rooted", "role": "auditor", "scope": "global", "issuer": None}
    assert {**configured, "origin": "config", "by": None, "at": None} in every
    assert await root(office).all(ROLES, "assignments", limit=1) == every
    registrar = await holder(office, "registrar", "tenant:a")
    seen = await registrar.all(ROLES, "assignments")
    assert here in {one["principal"] for one in seen}
    assert {one["scope"] for one in seen} == {HOME}
    assert [one["origin"] for one in await root(office).all(f"{ROLES}?principal={there}", "assignments")] == ["runtime"]
    assert (await registrar.get(f"{ROLES}?tenant_id=tenant:b")).status == 403


async def test_a29_nobody_gives_a_role_beyond_its_own_rights_or_scope(office: World) -> None:
    registrar, name = await holder(office, "registrar", "tenant:a"), anybody("user")
    assert (await registrar.post(ASSIGN, {"principal": name, "role": "registrar", "scope": HOME})).status == 200
    for role, scope in (
        ("developer", HOME), ("admin", HOME), ("registrar", "global"), ("registrar", "tenant:tenant:b"),
    ):  # fmt: skip
        reply = await registrar.post(ASSIGN, {"principal": name, "role": role, "scope": scope})
        assert (role, scope, reply.status) == (role, scope, 403)
    assert (await registrar.post(REVOKE, {"principal": name, "role": "registrar", "scope": "global"})).status == 403


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"principal", "role", "scope"}),
        ({"principal": "jo", "role": "Viewer", "scope": "everywhere"}, {"principal", "role", "scope"}),
        ({"principal": "user:jo", "role": "wizard", "scope": "global"}, {"role"}),
        ({"principal": "user:jo", "role": "viewer", "scope": "tenant:"}, {"scope"}),
        ({"principal": "service:jo", "role": "viewer", "scope": "global", "issuer": "https://x"}, {"issuer"}),
        ({"principal": "user:jo", "role": "wizard", "scope": "global", "issuer": "https://x"}, {"role", "issuer"}),
        ({"principal": "user:jo", "role": "viewer", "scope": "global", "until": 1}, {"until"}),
    ],
)
async def test_every_mistake_of_a_body_is_named_at_once(office: World, body: dict[str, Any], fields: set[str]) -> None:
    reply = await root(office).post(ASSIGN, body)
    assert (reply.status, {one["field"] for one in reply.json["errors"]}) == (400, fields)


async def test_a_role_at_a_tenant_that_there_is_not_is_not_found(office: World) -> None:
    reply = await root(office).post(ASSIGN, {"principal": anybody(), "role": "viewer", "scope": "tenant:zz"})
    assert reply.status == 404


async def test_what_the_configuration_gives_stays_and_that_is_said(office: World) -> None:
    configured = {"principal": "user:rooted", "role": "auditor", "scope": "global"}
    missing = await root(office).post(REVOKE, configured)
    assert (missing.status, "the configuration gives it" in missing.json["detail"]) == (404, True)
    await root(office).made(ASSIGN, **configured)
    taken = await root(office).post(REVOKE, configured)
    assert (taken.status, taken.headers["Portcullis-Still-Assigned"]) == (200, "config")


async def test_an_admin_by_assignment_is_an_admin_that_may_be_the_last(office: World) -> None:
    name = anybody("user")
    await root(office).made(ASSIGN, principal=name, role="admin", scope="global")
    second = person(office, None, name)
    assert (await second.get("/api/auth/keys")).status == 200
    assert (await second.post(REVOKE, {"principal": name, "role": "admin", "scope": "global"})).status == 200
    assert (await second.get("/api/auth/keys")).status == 403


async def test_whoami_says_who_one_is_and_what_one_may_do(office: World) -> None:
    jo = (await person(office, "tenant:a", "jo", groups=["ops"]).get(WHOAMI)).json
    assert (jo["principal"], jo["kind"], jo["tenant_id"], jo["groups"]) == ("user:jo", "jwt", "tenant:a", ["ops"])
    assert jo["roles"] == ["developer"]
    assert jo["permissions"] == [
        "mcp_servers:list", "mcp_servers:read", "mcp_servers:start", "tool:invoke", "tool:list",
    ]  # fmt: skip
    admin = (await root(office).get(WHOAMI)).json
    assert (admin["tenant_id"], admin["roles"], len(admin["permissions"])) == (None, ["admin"], 15)
    assert set(admin["credential"]) == {"id", "role", "scope", "expires_at"}
    nobody = (await person(office, None).get(WHOAMI)).json
    assert (nobody["roles"], nobody["permissions"]) == ([], [])
    assert (await office.gateway.http("GET", WHOAMI)).status == 401


@pytest.mark.parametrize(
    ("asked", "allow", "layer", "code"),
    [
        ({"action": "tools/call", "name": "charge"}, True, None, None),
        ({"action": "tools/call", "name": "refund"}, False, "scope", "not_in_member_scope"),
        ({"action": "tools/call", "name": "beta_tool"}, False, "withdrawal", "withdrawn"),
        ({"action": "tools/call", "name": "nothing"}, False, "catalog", "unknown_target"),
        ({"action": "tools/call", "name": "charge", "tenant_id": None}, False, "frontdoor", "no_tenant"),
        ({"action": "tools/list"}, True, None, None),
        ({"action": "keys:write"}, False, "role", "missing_permission"),
        ({"action": "tokens:own"}, True, None, None),
        ({"action": "tokens:own", "grants": {"role": "admin", "scope": HOME}}, False, "role", "exceeds_own_rights"),
        ({"action": "keys:write", "principal": "service:ci", "role": "steward"}, True, None, None),
    ],
)
async def test_a_check_answers_as_policy_would_and_names_the_layer_that_says_no(
    office: World, asked: dict[str, Any], allow: bool, layer: str | None, code: str | None
) -> None:
    body = {"principal": "user:checked", "tenant_id": "tenant:a", **asked}
    found = (await root(office).post(CHECK, body)).json
    assert (found["allow"], found["layer"]) == (allow, layer)
    assert [one["code"] for one in found["reasons"]][:1] == ([code] if code else [])


async def test_a_check_is_for_who_may_read_roles_there(office: World) -> None:
    asked = {"principal": "user:jo", "action": "tools/list"}
    registrar = await holder(office, "registrar", "tenant:a")
    assert (await registrar.post(CHECK, asked)).json["ids"] == ["payments/charge"]
    assert (await registrar.post(CHECK, {**asked, "tenant_id": "tenant:b"})).status == 403
    assert (await registrar.post(CHECK, {**asked, "action": "keys:read", "target_tenant_id": None})).status == 403
    assert (await person(office, "tenant:a").post(CHECK, asked)).status == 403
    missing = await registrar.post(CHECK, {"action": "fly"})
    assert {one["field"] for one in missing.json["errors"]} == {"principal", "action"}


async def test_what_was_done_to_roles_is_in_the_trail(office: World) -> None:
    name = anybody("user")
    wanted = {"principal": name, "role": "viewer", "scope": HOME}
    await root(office).made(ASSIGN, **wanted)
    await root(office).made(REVOKE, **wanted)
    for type_ in ("RoleAssigned", "RoleRevoked"):
        (event,) = await office.gateway.events(type=type_, target__principal=name)
        assert (event["outcome"], event["target"]["name"], event["target"]["scope"]) == ("success", "viewer", HOME)


async def test_equal_names_of_a_key_and_of_a_person_do_not_lend_each_other_tokens(office: World) -> None:
    name = anybody("user")
    made = await person(office, "tenant:a", name).made("/api/v1/mcp-tokens", name="x")
    key = await root(office).key(name, role="viewer", tenant_id="tenant:a")
    same_name = Clerk.with_key(office.gateway, key["key"])
    assert (await same_name.delete(f"/api/v1/mcp-tokens/{made['id']}")).status == 403
