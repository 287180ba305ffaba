"""The recipe, step by step, through a running gateway: what an agent sees, and what an operator takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import elsewhere

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.support.gateway import Reply

RESTORED, WITHDRAWN = "restored", "withdrawn"


def done(word: str, tenant: str | None, tool: str = "refund") -> dict[str, object]:
    return {word: True, "mcp_server": "payments", "tool": tool, "tenant_id": tenant}


async def restored(world: World, tenant: str | None = None, tool: str = "refund") -> Reply:
    return await world.gateway.admin(f"payments/{tool}/restore", {"tenant_id": tenant}, key=world.admin_key)


async def withdrawn(world: World, tenant: str | None = None, tool: str = "refund") -> Reply:
    return await world.gateway.admin(f"payments/{tool}/withdraw", {"tenant_id": tenant}, key=world.admin_key)


async def test_the_metadata_of_the_resource_is_public_and_names_the_issuer(world: World) -> None:
    reply = await world.gateway.http("GET", "/.well-known/oauth-protected-resource")
    assert reply.status == 200
    assert reply.json["resource"] == "https://hangar.example.com"
    assert reply.json["authorization_servers"] == [world.issuer.url]


async def test_a_list_without_a_token_is_challenged_to_the_metadata(world: World) -> None:
    reply = await world.gateway.rpc("tools/list")
    assert reply.status == 401
    expected = 'Bearer resource_metadata="https://hangar.example.com/.well-known/oauth-protected-resource", ApiKey'
    assert reply.headers["WWW-Authenticate"] == expected
    assert reply.json["detail"] == "No valid credentials provided"


@pytest.mark.parametrize(("tenant", "tools"), [("tenant:a", ["charge"]), ("tenant:b", ["charge", "refund"])])
async def test_each_tenant_lists_exactly_its_tools_as_plain_json(world: World, tenant: str, tools: list[str]) -> None:
    reply = await world.gateway.rpc("tools/list", token=world.token(tenant))
    assert reply.headers["Content-Type"].partition(";")[0] == "application/json"
    assert [tool["name"] for tool in reply.json["result"]["tools"]] == tools


@pytest.mark.parametrize("audience", ["mcp-hangar", "https://hangar.example.com", ["other", "mcp-hangar"]])
async def test_a_token_may_name_the_audience_or_the_resource(world: World, audience: object) -> None:
    assert await world.gateway.tools(world.token("tenant:a", aud=audience)) == ["charge"]


async def test_what_is_listed_can_be_called(world: World) -> None:
    for tenant, name in (("tenant:a", "charge"), ("tenant:b", "charge"), ("tenant:b", "refund")):
        reply = await world.gateway.call(name, {"amount": 5}, token=world.token(tenant))
        assert reply.status == 200
        assert reply.json["result"]["content"]


@pytest.mark.parametrize(
    ("tenant", "name"),
    [
        ("tenant:a", "refund"),
        ("tenant:a", "beta_tool"),
        ("tenant:a", "legacy_charge"),
        ("tenant:b", "beta_tool"),
        ("tenant:b", "legacy_charge"),
        ("tenant:c", "charge"),
        (None, "charge"),
    ],
)
async def test_what_is_not_listed_answers_like_an_unknown_tool_and_never_reaches_the_server(
    world: World, tenant: str | None, name: str
) -> None:
    before = len(world.backend.calls)
    token = world.token(tenant)
    refused, unknown = [await world.gateway.call(one, token=token) for one in (name, "no_such_tool")]
    assert refused.status == unknown.status == 200
    assert refused.body.replace(name.encode(), b"no_such_tool") == unknown.body
    assert refused.json["error"] == {"code": -32602, "message": f"Unknown tool: {name}"}
    assert len(world.backend.calls) == before


@pytest.mark.parametrize("tenant", ["tenant:c", "tenant:A", "tenant:a ", None])
async def test_a_stranger_lists_nothing(guarded: World, tenant: str | None) -> None:
    reply = await guarded.gateway.rpc("tools/list", token=guarded.token(tenant), X_Forwarded_For=elsewhere())
    if tenant == "tenant:a ":
        assert reply.status == 401
    else:
        assert reply.json["result"]["tools"] == []


async def test_a_withdrawal_for_one_tenant_is_known_to_the_next_list_and_call_of_that_tenant_alone(
    world: World,
) -> None:
    a, b = world.token("tenant:a"), world.token("tenant:b")
    try:
        reply = await withdrawn(world, "tenant:b", "charge")
        assert (reply.status, reply.json) == (200, done(WITHDRAWN, "tenant:b", "charge"))
        assert reply.headers["Portcullis-Applied"] == "1/1"
        assert await world.gateway.tools(b) == ["refund"]
        assert (await world.gateway.call("charge", token=b)).json["error"]["message"] == "Unknown tool: charge"
        assert await world.gateway.tools(a) == ["charge"]
    finally:
        reply = await restored(world, "tenant:b", "charge")
    assert (reply.status, reply.json) == (200, done(RESTORED, "tenant:b", "charge"))
    assert await world.gateway.tools(b) == ["charge", "refund"]


@pytest.mark.parametrize("body", [None, {}, {"tenant_id": None}])
async def test_without_a_tenant_a_withdrawal_is_for_everybody(world: World, body: object) -> None:
    try:
        reply = await world.gateway.admin("payments/charge/withdraw", body, key=world.admin_key)
        assert (reply.status, reply.json) == (200, done(WITHDRAWN, None, "charge"))
        assert await world.gateway.tools(world.token("tenant:a")) == []
        assert await world.gateway.tools(world.token("tenant:b")) == ["refund"]
    finally:
        reply = await world.gateway.admin("payments/charge/restore", body, key=world.admin_key)
    assert (reply.status, reply.json) == (200, done(RESTORED, None, "charge"))
    assert await world.gateway.tools(world.token("tenant:a")) == ["charge"]


async def test_restoring_for_a_tenant_does_not_lift_a_withdrawal_for_everybody(world: World) -> None:
    try:
        await withdrawn(world)
        await restored(world, "tenant:b")
        assert await world.gateway.tools(world.token("tenant:b")) == ["charge"]
    finally:
        await restored(world)


async def test_restoring_for_everybody_lifts_every_runtime_withdrawal_and_says_which(world: World) -> None:
    await withdrawn(world)
    await withdrawn(world, "tenant:b")
    await restored(world)
    assert await world.gateway.tools(world.token("tenant:b")) == ["charge", "refund"]
    events = await world.gateway.events(type="ToolRestored", target__name="refund", target__tenant=None)
    assert set(events[-1]["target"]["lifted"]) == {None, "tenant:b"}


async def test_a_tool_that_configuration_withdraws_stays_so_and_the_answer_says_it(world: World) -> None:
    reply = await restored(world, None, "legacy_charge")
    assert reply.status == 200
    assert reply.headers["Portcullis-Still-Withdrawn"] == "config"
    assert "legacy_charge" not in await world.gateway.tools(world.token("tenant:b"))


async def test_a_tool_that_no_server_offers_yet_can_be_withdrawn(world: World) -> None:
    try:
        reply = await withdrawn(world, None, "not_yet")
        assert reply.status == 200
        assert reply.headers["Portcullis-Matched"] == "0"
    finally:
        await restored(world, None, "not_yet")
