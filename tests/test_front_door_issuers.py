"""One gateway, two real OpenID providers, and every hostile token at its front door (threats A03, A05, A13, A14)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.provider import Provider, provider
from tests.test_authn_signatures import MALFORMED, WRONG_SIGNATURES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply

RESOURCE = "https://hangar.example.com"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@dataclass
class Federation:
    """A gateway that trusts two providers, each for one tenant."""

    gateway: Portcullis
    one: Provider
    two: Provider

    async def listed(self, token: str, path: str = "/mcp", **headers: str) -> Reply:
        """Ask for the list of tools at a path."""
        return await self.gateway.http("POST", path, LIST, Authorization=f"Bearer {token}", **headers)


@pytest.fixture(scope="module")
async def federation(tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend) -> AsyncIterator[Federation]:
    async with provider(RESOURCE, "tenant:a") as one, provider(RESOURCE, "tenant:b", "RS256") as two:
        issuers = [{"issuer": one.url, "tenants": ["tenant:a"]}, {"issuer": two.url, "tenants": ["tenant:b"]}]
        config = front_door(f"http://127.0.0.1:{backend.port}/mcp", "", opa=PATIENT)
        config["auth"]["oidc"] = {"enabled": True, "resource_uri": RESOURCE, "issuers": issuers}
        config["auth"]["role_assignments"] = [
            {"principal": "user:ann", "issuer": one.url, "role": "viewer", "scope": "global"},
            {"principal": "group:auditing", "issuer": two.url, "role": "viewer", "scope": "global"},
        ]
        config["server"] = {"trusted_proxies": ["127.0.0.1/32"]}
        async with Portcullis(tmp_path_factory.mktemp("federation"), config) as gateway:
            yield Federation(gateway, one, two)


def names(reply: Reply) -> set[str]:
    return {tool["name"] for tool in reply.json["result"]["tools"]}


async def test_each_providers_agents_see_what_their_tenant_is_offered(federation: Federation) -> None:
    assert names(await federation.listed(await federation.one.token())) == {"charge"}
    assert names(await federation.listed(await federation.two.token())) == {"charge", "refund"}
    nobodys = await federation.listed(await federation.one.token("agent-without-tenant"))
    assert (nobodys.status, names(nobodys)) == (200, set())


async def test_an_agent_that_knows_only_the_address_finds_each_issuer_and_gets_in(federation: Federation) -> None:
    challenge = (await federation.gateway.http("POST", "/mcp", LIST)).headers["WWW-Authenticate"]
    (where,) = re.findall(r'resource_metadata="([^"]+)"', challenge)
    found = (await federation.gateway.http("GET", URL(where).path)).json
    assert found["resource"] == RESOURCE
    assert found["authorization_servers"] == [federation.one.url, federation.two.url]
    for issuer in found["authorization_servers"]:
        async with federation.one.session.get(f"{issuer}/.well-known/openid-configuration") as response:
            metadata = await response.json()
        one = next(one for one in (federation.one, federation.two) if one.url == metadata["issuer"])
        status, body = await one.ask(resource=found["resource"])
        assert status == 200
        assert (await federation.listed(body["access_token"])).status == 200


async def test_an_opaque_token_of_a_trusted_provider_is_refused(federation: Federation) -> None:
    _, body = await federation.one.ask()
    reply = await federation.listed(body["access_token"], X_Forwarded_For="192.0.2.61")
    assert reply.status == 401
    assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]


async def test_a14_a_provider_that_speaks_for_anothers_tenant_is_refused(federation: Federation) -> None:
    stolen = await federation.two.mint(tenant_id="tenant:a")
    reply = await federation.listed(stolen, X_Forwarded_For="192.0.2.62")
    assert reply.status == 401
    events = await federation.gateway.events(source__request_id=reply.headers["X-Request-Id"])
    assert [event["target"]["detail"] for event in events] == ["this issuer may not speak for that tenant"]


async def test_an_equal_name_or_group_of_another_issuer_holds_nothing_of_what_the_first_ones_holds(
    federation: Federation,
) -> None:
    async def reads_of_the_other_tenant(issuer: Provider, **claims: object) -> int:
        tenant = "tenant:b" if issuer is federation.one else "tenant:a"
        token = await issuer.mint(**claims)
        path = f"/api/admin/withdrawals?tenant_id={tenant}"
        return (await federation.gateway.http("GET", path, Authorization=f"Bearer {token}")).status

    for claims, holder in ({"sub": "ann"}, federation.one), ({"sub": "bo", "groups": ["auditing"]}, federation.two):
        found = {one.url: await reads_of_the_other_tenant(one, **claims) for one in (federation.one, federation.two)}
        assert found == {one.url: 200 if one is holder else 403 for one in (federation.one, federation.two)}


async def test_a_token_for_a_tenants_address_is_good_there_and_only_there(federation: Federation) -> None:
    where = {"X_Forwarded_For": "192.0.2.63"}
    paths = ["/tenant/tenant:a/mcp", "/tenant/tenant:a/servers/payments/mcp"]
    for path in paths:
        found = (await federation.gateway.http("GET", f"/.well-known/oauth-protected-resource{path}")).json
        assert found["resource"] == RESOURCE + path
        challenge = (await federation.gateway.http("POST", path, LIST)).headers["WWW-Authenticate"]
        assert f'resource_metadata="{RESOURCE}/.well-known/oauth-protected-resource{path}"' in challenge
        token = await federation.one.mint(aud=found["resource"])
        statuses = {
            other: (await federation.listed(token, other, **where)).status
            for other in ("/mcp", *paths, "/tenant/tenant:b/mcp")
        }
        assert statuses == {other: 200 if other == path else 401 for other in statuses}
    foreign = await federation.one.mint(aud=f"{RESOURCE}/tenant/tenant:b/mcp")
    assert (await federation.listed(foreign, "/tenant/tenant:b/mcp", **where)).status == 403


async def test_explain_asks_as_a_user_of_the_issuer_that_is_named_and_guesses_none(federation: Federation) -> None:
    async def explained(*words: str) -> tuple[int, str]:
        status, out, err = await federation.gateway.cli("explain", "--tenant", "tenant:a", *words)
        return status, out + err

    assert (await explained("--principal", "user:ann", "--issuer", federation.one.url, "--tool", "charge"))[0] == 1
    assert (await explained("--principal", "user:ann", "--issuer", federation.two.url, "--tool", "charge"))[0] == 0
    for words, why in (
        (("--principal", "user:ann"), f"name the principal's --issuer, one of {federation.one.url}"),
        (("--issuer", "https://else.example.com"), "https://else.example.com is not one of the issuers"),
        (("--principal", "service:ci", "--issuer", federation.one.url), "--issuer is whose user the principal is"),
    ):
        status, said = await explained(*words)
        assert (status, why in said) == (2, True)


async def test_doctor_asks_every_issuer_for_its_keys(federation: Federation) -> None:
    await federation.two.order("jwks", status=503)
    _, out, _ = await federation.gateway.cli("doctor", "--json")
    await federation.two.order("jwks", status=200)
    found = [one for one in json.loads(out)["findings"] if one["part"] == "issuer"]
    assert [one["level"] for one in found] == ["ok", "error"]
    assert all(one.url in said["text"] for one, said in zip((federation.one, federation.two), found, strict=True))


HOSTILE = {**WRONG_SIGNATURES, **MALFORMED}


async def test_a03_every_hostile_token_is_401_and_never_500_and_reaches_nobody(guarded: World) -> None:
    before, answers = len(guarded.backend.received), {}
    for number, (case, make) in enumerate(HOSTILE.items()):
        address = {"X_Forwarded_For": f"2001:db8:a03:{number:x}::1"}
        reply = await guarded.gateway.rpc("tools/list", token=make(guarded.issuer), **address)
        answers[case] = reply.status
    # A header line of more than 8,190 bytes is not even read (A43).
    assert answers == dict.fromkeys(HOSTILE, 401) | {"more than 8 kB": 400}
    assert len(guarded.backend.received) == before
