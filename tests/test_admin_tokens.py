"""Tenant tokens by the admin API: whose they are, what they may do, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway import keys
from gateway.audit import DAY_MS
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import PATIENT, Portcullis, front_door, payments
from tests.support.office import TOKENS, Clerk, anybody, holder, person, root
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World
    from tests.support.issuer import Issuer


async def mint(clerk: Clerk, **body: Any) -> dict[str, Any]:
    """Mint a token."""
    return await clerk.made(TOKENS, **{"name": "Claude Desktop", **body})


async def test_a_person_mints_a_token_of_its_own_and_it_is_shown_once(office: World) -> None:
    jo = person(office, "tenant:a")
    reply = await jo.post(TOKENS, {"name": "Claude Desktop", "expires_in_days": 90, "tools": ["payments/*"]})
    assert (reply.status, reply.headers["Cache-Control"]) == (201, "no-store")
    made = reply.json
    assert keys.looks_like_token(made["token"])
    assert len(made["token"]) == 48
    assert (made["prefix"], made["tenant_id"], made["role"]) == (made["token"][:12], "tenant:a", "developer")
    assert made["expires_at"] - made["created_at"] == 90 * DAY_MS
    assert await office.gateway.tools(made["token"]) == ["charge"]
    assert (await office.gateway.call("charge", token=made["token"])).json["result"]
    (listed,) = await jo.all(TOKENS, "tokens")
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert listed["created_by_issuer"] == office.issuer.url
    assert keys.sha256(made["token"]) not in str(listed)


async def test_the_tenant_is_the_credentials_and_never_the_bodys(office: World) -> None:
    jo = person(office, "tenant:a")
    refused = await jo.post(TOKENS, {"name": "x", "tenant_id": "tenant:b"})
    assert (refused.status, refused.json["detail"]) == (403, "Access denied: the tenant is not the credential's")
    assert (await mint(jo, tenant_id="tenant:a"))["tenant_id"] == "tenant:a"
    nobody = person(office, None)
    missing = await nobody.post(TOKENS, {"name": "x"})
    assert [one["field"] for one in missing.json["errors"]] == ["tenant_id"]
    assert (await nobody.post(TOKENS, {"name": "x", "tenant_id": "tenant:a"})).status == 403
    assert await office.gateway.events(type="AuthorizationDenied", reason="tenant_mismatch")


async def test_an_admin_of_everything_mints_for_a_tenant_that_it_names_and_that_is_recorded(office: World) -> None:
    made = await mint(root(office), tenant_id="tenant:b")
    assert await office.gateway.tools(made["token"]) == ["charge", "refund"]
    (event,) = await office.gateway.events(type="TokenMinted", target__id=made["id"])
    assert (event["actor"]["acting_for"], event["tenant"]) == ("tenant:b", "tenant:b")
    selected = await root(office).post(TOKENS, {"name": "x"}, X_Tenant_ID="tenant:a")
    assert selected.json["tenant_id"] == "tenant:a"
    two = await root(office).post(TOKENS, {"name": "x", "tenant_id": "tenant:b"}, X_Tenant_ID="tenant:a")
    assert (two.status, two.json["detail"]) == (403, "Access denied: the tenant is not the credential's")
    assert (await root(office).post(TOKENS, {"name": "x", "tenant_id": "tenant:zz"})).status in (403, 404)


async def test_a_token_has_what_its_minter_had_at_that_moment_and_no_more(office: World) -> None:
    viewer = anybody("user")
    await root(office).made("/api/auth/roles/assign", principal=viewer, role="viewer", scope="tenant:tenant:a")
    made = await mint(person(office, "tenant:a", viewer))
    assert made["role"] == "viewer"
    assert await office.gateway.tools(made["token"]) == ["charge"]
    assert (await office.gateway.call("charge", token=made["token"])).json["result"]["isError"] is True
    auditor = anybody("user")
    await root(office).made("/api/auth/roles/assign", principal=auditor, role="auditor", scope="tenant:tenant:a")
    refused = await person(office, "tenant:a", auditor).post(TOKENS, {"name": "x"})
    assert refused.status == 403


async def test_a_token_mints_nothing_and_administers_nothing(office: World) -> None:
    made = await mint(person(office, "tenant:a"))
    token = Clerk.with_token(office.gateway, made["token"])
    assert (await token.post(TOKENS, {"name": "x"})).status == 403
    assert (await token.get(TOKENS)).status == 403
    assert (await token.delete(f"{TOKENS}/{made['id']}")).status == 403
    assert (await token.get("/api/auth/whoami")).json["principal"] == f"token:{made['id']}"


async def test_a_person_sees_and_revokes_its_own_and_a_tenants_admin_all_of_the_tenant(office: World) -> None:
    jo, mo = person(office, "tenant:b"), person(office, "tenant:b")
    of_jo, of_mo = await mint(jo), await mint(mo)
    assert [one["id"] for one in await jo.all(TOKENS, "tokens")] == [of_jo["id"]]
    assert (await jo.delete(f"{TOKENS}/{of_mo['id']}")).status == 404
    steward = await holder(office, "steward", "tenant:b")
    seen = {one["id"]: one["created_by"] for one in await steward.all(TOKENS, "tokens")}
    assert {of_jo["id"], of_mo["id"]} <= seen.keys()
    assert seen[of_jo["id"]] != seen[of_mo["id"]]
    assert (await steward.delete(f"{TOKENS}/{of_mo['id']}")).status == 200
    assert (await jo.delete(f"{TOKENS}/{of_jo['id']}")).status == 200
    for made in (of_jo, of_mo):
        refused = await office.gateway.rpc("ping", token=made["token"])
        assert (refused.status, refused.json["detail"]) == (401, "No valid credentials provided")
    kept = {one["id"]: one["state"] for one in await steward.all(TOKENS, "tokens")}
    assert (kept[of_jo["id"]], kept[of_mo["id"]]) == ("revoked", "revoked")


async def test_a11_another_tenants_token_is_not_found(office: World) -> None:
    theirs = await mint(person(office, "tenant:a"))
    for clerk in (person(office, "tenant:b"), await holder(office, "steward", "tenant:b")):
        foreign, nothing = [await clerk.delete(f"{TOKENS}/{id_}") for id_ in (theirs["id"], "c_0")]
        assert (foreign.status, nothing.status) == (404, 404)
        assert (await clerk.get(f"{TOKENS}?tenant_id=tenant:a")).status == 403
    assert (await office.gateway.rpc("ping", token=theirs["token"])).status == 200


async def test_a_key_is_no_token_and_a_token_no_key(office: World) -> None:
    token, key = await mint(root(office), tenant_id="tenant:a"), await root(office).key(tenant_id="tenant:a")
    assert (await root(office).delete(f"{TOKENS}/{key['id']}")).status == 404
    assert (await root(office).delete(f"/api/auth/keys/{token['id']}")).status == 404
    assert (await root(office).post(f"/api/auth/keys/{token['id']}/rotate", {})).status == 404


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": "x", "tools": "payments/*"}, {"tools"}),
        ({"name": "x", "tools": ["payments/*", 5, ""]}, {"tools.1", "tools.2"}),
        ({"name": "x", "tools": ["a", "a"]}, {"tools"}),
        ({"name": "x", "tools": ["a"] * 1 + [f"t/{n}" for n in range(100)]}, {"tools"}),
        ({"name": "x", "tenant": "tenant:a", "role": "admin"}, {"tenant", "role"}),
        ({"name": "x" * 201, "expires_in_days": -1}, {"name", "expires_in_days"}),
        ({"name": "x", "expires_in_days": 0}, {"expires_in_days"}),
    ],
)
async def test_every_mistake_of_a_body_is_named_at_once(office: World, body: dict[str, Any], fields: set[str]) -> None:
    reply = await person(office, "tenant:a").post(TOKENS, body)
    assert (reply.status, {one["field"] for one in reply.json["errors"]}) == (400, fields)


async def test_a56_a_glob_that_could_explode_costs_nothing_and_shows_nothing(office: World) -> None:
    made = await mint(person(office, "tenant:a"), tools=["*a" * 1200, "(a+)+$", "pay[!a]ents/ref*"])
    assert await office.gateway.tools(made["token"]) == []


@pytest.fixture(scope="module")
async def two_servers(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Any:
    """A gateway with two servers that one tenant is offered whole, and keys that never end."""
    one, two = FakeBackend(definitions=[tool("charge"), tool("refund")]), FakeBackend(definitions=[tool("find")])
    async with one.serve(), two.serve():
        config = front_door(one.url, issuer.url, opa=PATIENT)
        everybody = {"member": {"tenant:a": {}}}
        config["mcp_servers"] = {
            "payments": payments(one.url, tool_access=everybody, tool_projection={}),
            "search": payments(two.url, tool_access=everybody, tool_projection={}),
        }
        config["auth"]["api_key"] = {"allow_non_expiring": True}
        folder: Path = tmp_path_factory.mktemp("two-servers")
        async with Portcullis(folder, config) as gateway:
            yield gateway, Clerk.with_token(gateway, issuer.mint(tenant_id="tenant:a"))


async def test_tools_only_narrows_on_list_and_on_call(two_servers: Any) -> None:
    gateway, jo = two_servers
    whole, narrow = await mint(jo), await mint(jo, tools=["payments/*"])
    exact = await mint(jo, tools=["payments/refund", "search/nothing", "other/*"])
    assert sorted(await gateway.tools(whole["token"])) == ["charge", "find", "refund"]
    assert sorted(await gateway.tools(narrow["token"])) == ["charge", "refund"]
    assert await gateway.tools(exact["token"]) == ["refund"]
    hidden = await gateway.call("find", token=narrow["token"])
    nothing = await gateway.call("fixd", token=narrow["token"])
    assert hidden.body == nothing.body.replace(b"fixd", b"find")
    assert "result" in (await gateway.call("charge", token=narrow["token"])).json
    events = await gateway.events(type="AuthorizationDenied", target__name="find")
    assert events[-1]["reason"] == "not_in_token_scope"


async def test_a_token_may_live_for_ever_only_where_the_configuration_says_so(two_servers: Any) -> None:
    _, jo = two_servers
    assert (await mint(jo, expires_in_days=0))["expires_at"] is None


async def test_a_tokens_end_is_enforced(two_servers: Any) -> None:
    gateway, jo = two_servers
    made = await mint(jo)
    soon = await jo.post(TOKENS, {"name": "short", "expires_at": made["created_at"] + 1500})
    assert soon.status == 201
    token = soon.json["token"]
    assert await gateway.tools(token)

    async def over() -> bool:
        return (await gateway.rpc("tools/list", token=token)).status == 401

    await until(over, what="the token has expired")
    (listed,) = [one for one in await jo.all(TOKENS, "tokens") if one["id"] == soon.json["id"]]
    assert listed["state"] == "expired"


async def test_the_last_use_is_kept_across_a_restart_and_delays_nothing(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend
) -> None:
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    async with Portcullis(tmp_path, config) as gateway:
        jo = Clerk.with_token(gateway, issuer.mint())
        made = await mint(jo)
        assert made["last_used_at"] is None
        await gateway.tools(made["token"])
        await gateway.stop()
        await gateway.start()
        (listed,) = await Clerk.with_token(gateway, issuer.mint()).all(TOKENS, "tokens")
        assert listed["last_used_at"] >= made["created_at"]
