"""API keys by the admin API: made, listed, rotated and revoked, and never for more than their maker holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway import keys
from gateway.audit import DAY_MS, now_ms
from tests.support.office import KEYS, Clerk, anybody, holder, person, root

if TYPE_CHECKING:
    from tests.conftest import World


async def works(world: World, secret: str) -> bool:
    """Say whether a credential is let in."""
    return (await world.gateway.rpc("ping", X_API_Key=secret)).status == 200


async def test_a_key_is_made_shown_once_and_good_at_once(office: World) -> None:
    body = {"principal": "service:my-app", "name": "My App Key", "role": "developer", "tenant_id": None}
    reply = await root(office).post(KEYS, {**body, "expires_in_days": 30})
    assert (reply.status, reply.headers["Cache-Control"]) == (201, "no-store")
    assert reply.headers["Portcullis-Applied"] == "1/1"
    made = reply.json
    assert {name: made[name] for name in body} == body
    assert made["expires_at"] - made["created_at"] == 30 * DAY_MS
    assert keys.looks_like_key(made["key"])
    assert made["key"].startswith(made["prefix"])
    assert await works(office, made["key"])
    assert (await office.gateway.rpc("ping", token=made["key"])).status == 200
    (listed,) = [one for one in await root(office).all(KEYS, "keys") if one["id"] == made["id"]]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["created_by"], listed["state"]) == ("user:root", "live")
    assert keys.sha256(made["key"]) not in str(listed)


async def test_a_key_lives_90_days_unless_another_end_is_asked_for(office: World) -> None:
    usual = await root(office).key()
    assert usual["expires_at"] - usual["created_at"] == 90 * DAY_MS
    end = now_ms() + DAY_MS
    assert (await root(office).key(expires_at=end))["expires_at"] == end


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"principal", "name"}),
        ({"principal": "jo", "name": ""}, {"principal", "name"}),
        ({"principal": "group:ops", "name": "x"}, {"principal"}),
        ({"principal": "user:jo\n", "name": "x\n", "tenant_id": "tenant:a\n"}, {"principal", "name", "tenant_id"}),
        ({"principal": "user:jo", "name": "x", "role": "wizard", "expires_in_days": 0}, {"role", "expires_in_days"}),
        ({"principal": "user:jo", "name": "x", "expires_in_days": 1, "expires_at": 1}, {"expires_at"}),
        ({"principal": "user:jo", "name": "x", "expires_at": 1}, {"expires_at"}),
        ({"principal": "user:jo", "name": "x", "expires_at": 9_007_199_254_740_991}, {"expires_at"}),
        ({"principal": "user:jo", "name": 5, "role": "wizard", "key": "mine"}, {"name", "role", "key"}),
        ({"principal": "user:jo", "name": "x", "expires_in_days": 1.0}, {"expires_in_days"}),
        ({"principal": "user:jo", "name": "x", "expires_in_days": True}, {"expires_in_days"}),
        ({"principal": "user:jo", "name": "x", "expires_in_days": 3651}, {"expires_in_days"}),
    ],
)
async def test_every_mistake_of_a_body_is_named_at_once(office: World, body: dict[str, Any], fields: set[str]) -> None:
    reply = await root(office).post(KEYS, body)
    assert (reply.status, reply.headers["Content-Type"]) == (400, "application/problem+json")
    assert {one["field"] for one in reply.json["errors"]} == fields


async def test_a_key_of_a_tenant_is_that_tenants_and_nobody_elses(office: World) -> None:
    made = await root(office).key("service:tenant-a-ci", role="developer", tenant_id="tenant:a")
    assert await office.gateway.tools(X_API_Key=made["key"]) == ["charge"]
    elsewhere = await office.gateway.rpc("tools/list", X_API_Key=made["key"], X_Tenant_ID="tenant:b")
    assert elsewhere.status == 403
    unknown = await root(office).post(KEYS, {"principal": "service:x", "name": "x", "tenant_id": "tenant:zz"})
    assert unknown.status == 404


async def test_a_revoked_key_is_refused_when_the_answer_is_there_and_cannot_be_revoked_again(office: World) -> None:
    made = await root(office).key()
    assert await works(office, made["key"])
    reply = await root(office).delete(f"{KEYS}/{made['id']}")
    assert (reply.status, reply.json) == (200, {"revoked": True, "id": made["id"]})
    refused = await office.gateway.rpc("ping", X_API_Key=made["key"])
    assert (refused.status, refused.json["detail"]) == (401, "Invalid API key")
    assert (await root(office).delete(f"{KEYS}/{made['id']}")).status == 404
    (listed,) = [one for one in await root(office).all(KEYS, "keys") if one["id"] == made["id"]]
    assert (listed["state"], listed["revoked_by"]) == ("revoked", "user:root")


async def test_a50_unknown_revoked_expired_and_mistyped_keys_are_answered_alike(office: World) -> None:
    revoked = await root(office).key()
    await root(office).delete(f"{KEYS}/{revoked['id']}")
    replaced = await root(office).key()
    await root(office).post(f"{KEYS}/{replaced['id']}/rotate", {"overlap_seconds": 0})
    secrets = (revoked["key"], replaced["key"], keys.mint(), keys.mint()[:-6] + "000000", "mcp_" + "x" * 49)
    seen = set()
    for secret in secrets:
        reply = await office.gateway.rpc("ping", X_API_Key=secret)
        document = {name: value for name, value in reply.json.items() if name != "instance"}
        seen.add((reply.status, str(document), reply.headers["WWW-Authenticate"]))
    assert len(seen) == 1
    assert "Invalid API key" in seen.pop()[1]


async def test_a_rotated_key_and_its_successor_are_both_good_until_the_overlap_is_over(office: World) -> None:
    old = await root(office).key("service:rotating", role="viewer", tenant_id="tenant:a", expires_in_days=7)
    reply = await root(office).post(f"{KEYS}/{old['id']}/rotate", {"overlap_seconds": 3600})
    new = reply.json
    assert (reply.status, reply.headers["Cache-Control"], new["replaces"]) == (201, "no-store", old["id"])
    same = ("principal", "role", "tenant_id", "name")
    assert [new[name] for name in same] == [old[name] for name in same]
    assert new["expires_at"] - new["created_at"] == 7 * DAY_MS
    assert await works(office, old["key"])
    assert await works(office, new["key"])
    (kept,) = [one for one in await root(office).all(KEYS, "keys") if one["id"] == old["id"]]
    assert kept["replaced_by"] == new["id"]
    assert kept["expires_at"] <= now_ms() + 3_600_000
    again = await root(office).post(f"{KEYS}/{old['id']}/rotate", {})
    assert again.status == 404


async def test_keys_come_in_pages_in_one_order_and_each_once(office: World) -> None:
    smith = await holder(office, "keysmith", "tenant:b")
    for _ in range(5):
        await smith.key(tenant_id="tenant:b", role="keysmith")
    every = await smith.all(f"{KEYS}?tenant_id=tenant:b", "keys")
    assert len(every) >= 5
    assert await smith.all(f"{KEYS}?tenant_id=tenant:b", "keys", limit=2) == every
    assert {one["tenant_id"] for one in every} == {"tenant:b"}
    # Without a tenant that is named, it is one's own.
    assert await smith.all(KEYS, "keys") == every


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=%21", "cursor"),
        ("cursor=bnVsbA", "cursor"),
        ("tenant_id=", "tenant_id"),
        ("colour=red", "colour"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(office: World, query: str, field: str) -> None:
    reply = await root(office).get(f"{KEYS}?{query}")
    assert (reply.status, [one["field"] for one in reply.json["errors"]]) == (400, [field])


async def test_a65_a_cursor_of_another_tenants_list_shows_nothing_of_it(office: World) -> None:
    for _ in range(3):
        await root(office).key(tenant_id="tenant:a")
    cursor = (await root(office).get(f"{KEYS}?tenant_id=tenant:a&limit=1")).json["next"]
    smith = await holder(office, "keysmith", "tenant:b")
    reply = await smith.get(f"{KEYS}?cursor={cursor}")
    assert reply.status == 200
    assert {one["tenant_id"] for one in reply.json["keys"]} == {"tenant:b"}


async def test_nobody_makes_a_key_with_a_role_beyond_its_own_rights_or_scope(office: World) -> None:
    smith = await holder(office, "keysmith", "tenant:a")
    assert (await smith.key(role="keysmith", tenant_id="tenant:a"))["role"] == "keysmith"
    for body in (
        {"role": "developer", "tenant_id": "tenant:a"},
        {"role": "admin", "tenant_id": "tenant:a"},
        {"role": "keysmith", "tenant_id": "tenant:b"},
        {"role": "keysmith", "tenant_id": None},
        {"role": None, "tenant_id": "tenant:a"},  # which would have the default role
    ):
        reply = await smith.post(KEYS, {"principal": anybody(), "name": "x", **body})
        assert (body, reply.status) == (body, 403)


async def test_nobody_makes_a_key_for_a_service_that_was_given_more_than_the_maker_has(office: World) -> None:
    boss = anybody()
    await root(office).made("/api/auth/roles/assign", principal=boss, role="steward", scope="tenant:tenant:a")
    smith = await holder(office, "keysmith", "tenant:a")
    refused = await smith.post(KEYS, {"principal": boss, "name": "x", "role": "keysmith", "tenant_id": "tenant:a"})
    assert refused.status == 403
    steward = await holder(office, "steward", "tenant:a")
    assert await steward.key(boss, role="keysmith", tenant_id="tenant:a")
    # Of no tenant, a key has what its principal was given anywhere.
    everywhere = await holder(office, "keysmith")
    assert (await everywhere.post(KEYS, {"principal": boss, "name": "x", "tenant_id": None})).status == 403


async def test_nobody_gets_at_the_rights_of_a_key_by_rotating_it(office: World) -> None:
    boss = await root(office).key(role="steward", tenant_id="tenant:a")
    smith = await holder(office, "keysmith", "tenant:a")
    assert (await smith.post(f"{KEYS}/{boss['id']}/rotate", {})).status == 403
    assert await works(office, boss["key"])
    steward = await holder(office, "steward", "tenant:a")
    assert (await steward.post(f"{KEYS}/{boss['id']}/rotate", {})).status == 201


async def test_only_an_admin_of_everything_makes_a_key_for_a_person(office: World) -> None:
    jo = anybody("user")
    for clerk in (await holder(office, "steward", "tenant:a"), await holder(office, "steward"),
                  await holder(office, "admin", "tenant:a")):  # fmt: skip
        reply = await clerk.post(KEYS, {"principal": jo, "name": "x", "tenant_id": "tenant:a", "role": "viewer"})
        assert reply.status == 403
    assert (await root(office).key(jo, tenant_id="tenant:a", role="viewer"))["principal"] == jo


async def test_a11_a_tenants_admin_finds_no_key_of_another_tenant_by_any_verb(office: World) -> None:
    theirs = await root(office).key(tenant_id="tenant:a")
    steward = await holder(office, "steward", "tenant:b")
    for verb, path, body in (
        ("DELETE", f"{KEYS}/{theirs['id']}", None),
        ("POST", f"{KEYS}/{theirs['id']}/rotate", {}),
    ):
        foreign = await office.gateway.http(verb, path, body, **steward.header)
        nothing = await office.gateway.http(verb, path.replace(theirs["id"], "c_0"), body, **steward.header)
        assert (foreign.status, nothing.status) == (404, 404)
        same = {reply.body.replace(theirs["id"].encode(), b"").replace(b"c_0", b"").replace(
            reply.json["instance"].encode(), b"") for reply in (foreign, nothing)}  # fmt: skip
        assert len(same) == 1
    assert (await steward.get(f"{KEYS}?tenant_id=tenant:a")).status == 403
    assert await works(office, theirs["key"])


async def test_who_may_not_write_keys_is_refused_alike_for_every_id(office: World) -> None:
    theirs = await root(office).key(tenant_id="tenant:a")
    viewer = person(office, "tenant:b")
    statuses = [(await viewer.delete(f"{KEYS}/{id_}")).status for id_ in (theirs["id"], "c_0")]
    assert statuses == [403, 403]


async def test_what_was_done_to_keys_is_in_the_trail(office: World) -> None:
    made = await root(office).key("service:told", role="viewer", tenant_id="tenant:a")
    await root(office).post(f"{KEYS}/{made['id']}/rotate", {})
    await root(office).delete(f"{KEYS}/{made['id']}")
    for type_ in ("KeyCreated", "KeyRotated", "KeyRevoked"):
        (event,) = await office.gateway.events(type=type_, target__id=made["id"])
        assert (event["outcome"], event["actor"]["principal"]) == ("success", "user:root")
        assert event["target"]["principal"] == "service:told"
        assert event["policy"]["allow"] is True
    again = await root(office).delete(f"{KEYS}/{made['id']}")
    assert again.status == 404
    failed = await office.gateway.events(type="KeyRevoked", target__id=made["id"], outcome="failure")
    assert [one["reason"] for one in failed] == ["not_found"]


async def test_a54_the_last_admin_of_everything_can_neither_be_revoked_nor_demoted(office: World) -> None:
    everyone = await root(office).all(KEYS, "keys")
    admins = [one for one in everyone if one["role"] == "admin" and one["tenant_id"] is None and one["state"] == "live"]
    assert len(admins) == 1
    reply = await root(office).delete(f"{KEYS}/{admins[0]['id']}")
    assert (reply.status, reply.headers["Content-Type"]) == (409, "application/problem+json")
    assert await works(office, office.admin_key)
    (event,) = await office.gateway.events(type="KeyRevoked", reason="last_admin")
    assert event["target"]["id"] == admins[0]["id"]
    second = await root(office).key("user:second", role="admin", tenant_id=None)
    other = Clerk.with_key(office.gateway, second["key"])
    assert (await other.delete(f"{KEYS}/{second['id']}")).status == 200
