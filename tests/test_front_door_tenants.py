"""Teams behind one gateway, from tenants.yaml to the answer: each sees its own, by key, by header and by path."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from gateway import keys
from gateway.cli import main
from tests.support.agents import ask
from tests.support.backend import FakeBackend, tool
from tests.support.files import written
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door
from tests.support.issuer import ABSENT
from tests.support.streaming import StreamingAgent
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

KEYS = {name: keys.mint() for name in ("a", "a2", "b", "asleep")}
ORIGIN = "https://hangar.example.com"
WELL_KNOWN = "/.well-known/oauth-protected-resource"
# Each test guesses from an address of its own, where one that guesses often is made to wait.
BEHIND = {"trusted_proxies": ["127.0.0.1/32"]}
TENANTS = f"""\
tenants:
  - id: team-a
    display_name: Team Alpha
    namespace: mcp-team-a
    catalog_file: catalogs/team-a.yaml
    allowed_networks: [127.0.0.0/8]
    api_keys:
      - key_hash: "sha256:{keys.sha256(KEYS["a"])}"
        name: "production"
      - key_hash: "sha256:{keys.sha256(KEYS["a2"])}"
        name: "development"
    quotas: {{max_servers: 5, max_concurrent_requests: 100, requests_per_minute: 60000}}
  - id: team-b
    display_name: Team Beta
    namespace: mcp-team-b
    catalog_file: catalogs/team-b.yaml
    api_keys:
      - key_hash: "sha256:{keys.sha256(KEYS["b"])}"
    quotas: {{max_servers: 10}}
  - id: asleep
    active: false
    api_keys:
      - key_hash: "sha256:{keys.sha256(KEYS["asleep"])}"
"""
A = """\
servers:
  payments: {{tools: {{deny_list: [refund]}}}}
  search: {{}}
mcp_servers:
  reports:
    mode: remote
    endpoint: {reports}
    description: What Alpha reports
"""
B = "servers: {payments: {}}\n"


@dataclass
class Teams:
    """A gateway that two teams share, an administrator's key, and a front end's that may act for tenants."""

    gateway: Portcullis
    issuer: Issuer
    reports: FakeBackend
    admin: str
    front: str

    async def servers(self, tenant: str, **headers: str) -> Reply:
        """Ask what a tenant is offered."""
        return await self.gateway.http("GET", f"/tenant/{tenant}/servers", **headers)

    async def names(self, path: str = "/mcp", **headers: str) -> list[str]:
        """Return the tools that are listed at a path."""
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        reply = await self.gateway.http("POST", path, message, **headers)
        assert reply.status == 200, reply
        return [one["name"] for one in reply.json["result"]["tools"]]


@pytest.fixture(scope="module")
async def teams(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Teams]:
    folder = tmp_path_factory.mktemp("teams")
    shared = FakeBackend(definitions=[tool("charge"), tool("refund"), tool("report")])
    search = FakeBackend(definitions=[tool("find"), tool("report")])
    reports = FakeBackend(definitions=[tool("monthly"), tool("find")])
    async with shared.serve(), search.serve(), reports.serve():
        written(folder, TENANTS, "tenants.yaml")
        written(folder, A.format(reports=reports.url), "catalogs/team-a.yaml")
        written(folder, B, "catalogs/team-b.yaml")
        config = front_door("", issuer.url, opa=PATIENT, tenants_file="tenants.yaml", server=BEHIND)
        config["auth"]["act_as_on_mcp"] = True
        config["auth"]["roles"] = {"front_end": ["tenant:act_as", "tool:list", "tool:invoke"]}
        config["auth"]["role_assignments"] = [
            {"principal": who, "role": "front_end", "scope": "global"} for who in ("service:front", "user:jo")
        ]
        config["mcp_servers"] = {
            "payments": {"mode": "remote", "endpoint": shared.url, "description": "Payments"},
            "search": {"mode": "remote", "endpoint": search.url},
        }
        async with Portcullis(folder, config) as gateway:
            front = await gateway.key("service:front", role="viewer")
            yield Teams(gateway, issuer, reports, await gateway.key(), front)


async def test_several_tenants_are_configured_and_each_key_maps_to_its_own_which_sees_only_its_servers(
    teams: Teams,
) -> None:
    # `report` and `find` are two servers' each, so that neither name means anything among several.
    assert await teams.names(X_API_Key=KEYS["a"]) == ["charge", "monthly"]
    assert await teams.names(X_API_Key=KEYS["a2"]) == ["charge", "monthly"]
    assert await teams.names(Authorization=f"Bearer {KEYS['a']}") == ["charge", "monthly"]
    assert await teams.names(X_API_Key=KEYS["b"]) == ["charge", "refund", "report"]
    assert await teams.names(X_API_Key=KEYS["asleep"]) == []
    reply = await teams.gateway.call("monthly", X_API_Key=KEYS["a"])
    assert "result" in reply.json
    before = len(teams.reports.calls)
    for name in ("monthly", "find", "team-a:reports/monthly"):
        assert (await teams.gateway.call(name, X_API_Key=KEYS["b"])).json["error"]["code"] == -32602
    assert len(teams.reports.calls) == before
    events = await teams.gateway.events(target__id="team-a:reports/monthly")
    assert {(one["tenant"], one["actor"]["principal"]) for one in events} == {("team-a", "service:team-a/production")}


async def test_a_tenant_is_named_by_its_key_by_header_and_by_path_and_all_three_are_the_same(teams: Teams) -> None:
    for path, header in (("/mcp", {"X_Tenant_ID": "team-a"}), ("/tenant/team-a/mcp", {})):
        assert await teams.names(path, X_API_Key=KEYS["a"], **header) == ["charge", "monthly"]
    for path, header in (("/mcp", {"X_Tenant_ID": "team-b"}), ("/tenant/team-b/mcp", {}), ("/tenant/nobody/mcp", {})):
        reply = await teams.gateway.http("POST", path, {}, X_API_Key=KEYS["a"], **header)
        assert (reply.status, reply.json["detail"]) == (403, "Access denied: the tenant is not the credential's")


async def test_at_the_endpoint_of_one_server_there_are_no_collisions(teams: Teams) -> None:
    names = {}
    for server in ("payments", "search", "reports", "nothing"):
        names[server] = await teams.names(f"/tenant/team-a/servers/{server}/mcp", X_API_Key=KEYS["a"])
    assert names == {
        "payments": ["charge", "report"],
        "search": ["find", "report"],
        "reports": ["find", "monthly"],
        "nothing": [],
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find", "arguments": {}}}
    before = len(teams.reports.calls)
    reply = await teams.gateway.http("POST", "/tenant/team-a/servers/reports/mcp", call, X_API_Key=KEYS["a"])
    assert "result" in reply.json
    assert len(teams.reports.calls) == before + 1
    assert await teams.names("/tenant/team-b/servers/reports/mcp", X_API_Key=KEYS["b"]) == []


async def test_a_team_reads_which_servers_it_is_offered_how_they_are_and_what_it_may_use(teams: Teams) -> None:
    reply = await teams.servers("team-a", X_API_Key=KEYS["a"])
    assert (reply.status, reply.headers["Cache-Control"]) == (200, "private, no-store")
    assert reply.json == {
        "tenant": "team-a",
        "servers": [
            {"id": "payments", "description": "Payments", "mode": "remote", "health": "healthy",
             "tools": ["charge", "report"]},
            {"id": "reports", "description": "What Alpha reports", "mode": "remote", "health": "healthy",
             "tools": ["find", "monthly"]},
            {"id": "search", "description": "", "mode": "remote", "health": "healthy", "tools": ["find", "report"]},
        ],
    }  # fmt: skip
    assert [one["id"] for one in (await teams.servers("team-b", X_API_Key=KEYS["b"])).json["servers"]] == ["payments"]


async def test_only_operators_read_which_names_are_contested(teams: Teams) -> None:
    reply = await teams.servers("team-a", X_API_Key=teams.admin)
    assert reply.status == 200
    assert reply.json["collisions"] == [
        {"name": "find", "ids": ["search/find", "team-a:reports/find"]},
        {"name": "report", "ids": ["payments/report", "search/report"]},
    ]
    # Whoever acts for a tenant on the admin API may not use its tools for that.
    assert {tuple(one["tools"]) for one in reply.json["servers"]} == {()}
    assert (await teams.servers("team-b", X_API_Key=teams.admin)).json["collisions"] == []


@pytest.mark.parametrize("path", ["servers", "metrics"])
async def test_nobody_reads_of_another_tenant_and_one_that_is_not_there_is_answered_alike(
    teams: Teams, path: str
) -> None:
    bodies = set()
    for tenant in ("team-b", "nobody", "asleep"):
        reply = await teams.gateway.http("GET", f"/tenant/{tenant}/{path}", X_API_Key=KEYS["a"])
        bodies.add((reply.status, reply.json["detail"]))
    assert bodies == {(403, "Access denied: the tenant is not the credential's")}
    # A key without a tenant and without the right to act for one learns as little of either.
    plain = await teams.gateway.key("service:plain", role="developer")
    bodies = set()
    for tenant in ("team-a", "nobody"):
        reply = await teams.gateway.http("GET", f"/tenant/{tenant}/{path}", X_API_Key=plain)
        bodies.add((reply.status, reply.json["detail"]))
    assert bodies == {(403, "Access denied: insufficient permissions")}
    assert (await teams.gateway.http("GET", f"/tenant/team-a/{path}")).status == 401
    assert (await teams.gateway.http("GET", f"/tenant/asleep/{path}", X_API_Key=KEYS["asleep"])).status == 403


async def test_a_service_key_acts_for_a_tenant_on_mcp_where_that_is_switched_on_and_it_is_audited_each_time(
    teams: Teams,
) -> None:
    for path, header in (("/mcp", {"X_Tenant_ID": "team-a"}), ("/tenant/team-a/mcp", {})):
        assert await teams.names(path, X_API_Key=teams.front, **header) == ["charge", "monthly"]
    assert await teams.names(X_API_Key=teams.front, X_Tenant_ID="team-b") == ["charge", "refund", "report"]
    assert await teams.names(X_API_Key=teams.front, X_Tenant_ID="nobody") == []
    for who in (teams.admin, await teams.gateway.key("user:jo", role="viewer")):
        reply = await teams.gateway.http("POST", "/tenant/team-a/mcp", {}, X_API_Key=who)
        assert reply.status == 403
    events = await teams.gateway.events(actor__principal="service:front", actor__acting_for="team-a")
    assert [(one["type"], one["tenant"]) for one in events] == [("AuthorizationGranted", "team-a")] * 2


async def test_metrics_are_labelled_by_tenant_and_each_tenant_reads_its_own_alone(teams: Teams) -> None:
    await teams.names(X_API_Key=KEYS["b"])
    await teams.gateway.call("monthly", X_API_Key=KEYS["a"])
    nobody = teams.issuer.mint(tenant_id="team-z")
    await teams.names(Authorization=f"Bearer {nobody}")
    everything = (await teams.gateway.http("GET", "/metrics", X_API_Key=teams.admin)).body.decode()
    assert all(f'tenant="{name}"' in everything for name in ("team-a", "team-b", "other"))
    assert "team-z" not in everything
    for who in (KEYS["a"], KEYS["a2"], teams.admin):
        reply = await teams.gateway.http("GET", "/tenant/team-a/metrics", X_API_Key=who)
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        samples = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
        assert samples
        assert all('tenant="team-a"' in line or 'server="team-a:reports"' in line for line in samples)
        assert {word for line in samples for word in ("team-a:reports", 'tenant="team-a"') if word in line} == {
            "team-a:reports", 'tenant="team-a"'}  # fmt: skip


PATHS = ("/tenant/team-a/mcp", "/tenant/team-a/servers/search/mcp", "/tenant/team-a/servers", "/tenant/team-a/metrics")


@pytest.mark.parametrize("path", PATHS)
async def test_each_endpoint_of_a_tenant_has_its_document_and_its_audience_is_accepted_there_alone(
    teams: Teams, path: str
) -> None:
    reply = await teams.gateway.http("GET", WELL_KNOWN + path)
    assert (reply.status, reply.json["resource"]) == (200, ORIGIN + path)
    method = "POST" if path.endswith("mcp") else "GET"
    challenged = await teams.gateway.http(method, path)
    assert f'resource_metadata="{ORIGIN}{WELL_KNOWN}{path}"' in challenged.headers["WWW-Authenticate"]
    token = teams.issuer.mint(tenant_id="team-a", sub="kim", aud=ORIGIN + path)
    sent = {"Authorization": f"Bearer {token}", "X_Forwarded_For": f"198.51.100.{PATHS.index(path)}"}

    async def status(at: str) -> int:
        if at.endswith("mcp"):
            message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            return (await teams.gateway.http("POST", at, message, **sent)).status
        return (await teams.gateway.http("GET", at, **sent)).status

    # A developer, as whoever was assigned nothing is one, lists servers and reads no metrics.
    assert await status(path) == (403 if path.endswith("metrics") else 200)
    for other in {*PATHS, path.replace("team-a", "team-b"), "/mcp"} - {path}:
        assert await status(other) == 401


async def test_a_tenants_document_answers_for_any_id_that_could_be_one(teams: Teams) -> None:
    for path in ("/tenant/nobody/mcp", "/tenant/nobody/servers"):
        assert (await teams.gateway.http("GET", WELL_KNOWN + path)).json["resource"] == ORIGIN + path
    for path in ("/tenant/_x/mcp", "/tenant/a b/servers", "/tenant/a/servers/b:c/mcp"):
        assert (await teams.gateway.http("GET", WELL_KNOWN + path)).status == 404


async def test_a_server_that_a_catalog_brings_along_comes_and_goes_with_its_file(teams: Teams) -> None:
    path = teams.gateway.folder / "catalogs" / "team-a.yaml"

    async def settles(text: str, expected: list[str]) -> None:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)

        async def settled() -> bool:
            return await teams.names(X_API_Key=KEYS["a"]) == expected

        await until(settled, 15, what=str(expected))

    await settles("servers: {payments: {}}\n", ["charge", "refund", "report"])
    assert await teams.names("/tenant/team-a/servers/reports/mcp", X_API_Key=KEYS["a"]) == []
    await settles(A.format(reports=teams.reports.url), ["charge", "monthly"])


async def test_a_modern_agent_of_a_team_is_served_like_any(teams: Teams) -> None:
    reply = await ask(teams.gateway, MODERN, "tools/list", token=None, X_API_Key=KEYS["b"])
    assert [one["name"] for one in reply.json["result"]["tools"]] == ["charge", "refund", "report"]
    nobody = teams.issuer.mint(tenant_id=ABSENT)
    found: Any = (await ask(teams.gateway, MODERN, "tools/list", token=nobody)).json["result"]["tools"]
    assert found == []


async def test_check_and_doctor_ask_the_servers_that_tenants_bring_along_and_name_what_collides(teams: Teams) -> None:
    _, out, _ = await teams.gateway.cli("doctor")
    assert "team-a:reports: 2 tools" in out
    arguments = ["check", "--config", str(teams.gateway.config_path)]
    done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert done.exit_code == 0, done.output
    assert "the name 'find' of search/find, team-a:reports/find is offered by none of them" in done.stdout


@pytest.mark.parametrize("version", [MODERN, "2025-11-25"])
async def test_a_front_end_listens_for_the_tenant_that_it_acts_for_and_hears_of_its_changes_alone(
    teams: Teams, version: str
) -> None:
    async def change(tool: str, tenant: str, verb: str) -> None:
        reply = await teams.gateway.admin(f"{tool}/{verb}", {"tenant_id": tenant}, key=teams.admin)
        assert reply.status == 200

    credential = {"X-API-Key": teams.front, "X-Tenant-ID": "team-a"}
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(StreamingAgent(teams.gateway.url, credential, version))
        if version == MODERN:
            wanted = {"notifications": {"toolsListChanged": True}}
            stream = await stack.enter_async_context(agent.ask("subscriptions/listen", wanted))
            assert (await stream.next())["method"] == "notifications/subscriptions/acknowledged"
        else:
            await agent.open()
            stream = await stack.enter_async_context(agent.listen())
            # The session is of this tenant, and with another one it is not known.
            agent.credential = {**credential, "X-Tenant-ID": "team-b"}
            assert (await agent.result("charge"))["error"]["message"] == "No such session"
        await change("payments/refund", "team-b", "withdraw")
        await change("payments/refund", "team-b", "restore")
        for verb in ("withdraw", "restore"):
            await change("payments/charge", "team-a", verb)
            assert (await stream.next())["method"] == "notifications/tools/list_changed"
        # Twice, and not once more for the other tenant.
        assert stream.seen() == stream.events
    (event, *_) = (await teams.gateway.events(type="StreamEnded", actor__principal="service:front"))[::-1]
    assert (event["tenant"], event["actor"]["acting_for"]) == ("team-a", "team-a")
