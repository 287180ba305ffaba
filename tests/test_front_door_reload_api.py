"""`POST /api/config/reload`: who may, and what the answer says of every mistake in config, tenants and catalogs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.files import written
from tests.support.gateway import PATIENT, Portcullis, front_door, payments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

ROWS = "tenants:\n  - {id: team-a, catalog_file: a.yaml}\n  - {id: team-b, catalog_file: b.yaml}\n"
GOOD = "servers: {payments: {}}\n"


class Reloaded:
    """A gateway, its files, and an administrator."""

    def __init__(self, gateway: Portcullis, issuer: Issuer, admin: str) -> None:
        self.gateway = gateway
        self.issuer = issuer
        self.admin = admin

    def put(self, text: str, name: str) -> Path:
        """Write a file as an editor does, by a rename."""
        new = written(self.gateway.folder, text, f"{name}.new")
        return new.rename(self.gateway.folder / name)

    async def reload(self, body: Any = None, **headers: str) -> Reply:
        """Ask for the files to be read again."""
        return await self.gateway.http("POST", "/api/config/reload", body, **({"X_API_Key": self.admin} | headers))

    async def sees(self, tenant: str) -> list[str]:
        """Return what a tenant lists."""
        return sorted(await self.gateway.tools(self.issuer.mint(tenant_id=tenant)))


@pytest.fixture(scope="module")
async def reloaded(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend
) -> AsyncIterator[Reloaded]:
    folder = tmp_path_factory.mktemp("reload-api")
    for name, text in {"tenants.yaml": ROWS, "a.yaml": GOOD, "b.yaml": GOOD}.items():
        written(folder, text, name)
    config = front_door("", issuer.url, opa=PATIENT, tenants_file="tenants.yaml")
    config["mcp_servers"] = {"payments": payments(backend.url, tool_access={}, tool_projection={})}
    async with Portcullis(folder, config) as gateway:
        yield Reloaded(gateway, issuer, await gateway.key())


async def test_configuration_reloads_and_is_in_force_when_the_answer_comes_which_says_where(reloaded: Reloaded) -> None:
    for tools in (["charge"], ["charge", "refund"]):
        reloaded.put(f"servers: {{payments: {{tools: {{allow_list: {tools}}}}}}}\n", "a.yaml")
        reply = await reloaded.reload({})
        assert (reply.status, reply.headers["Portcullis-Applied"]) == (200, "1/1")
        assert reply.headers["Portcullis-Revision"].startswith("r")
        assert reply.json == {"reloaded": True, "config": reply.json["config"], "kept_back": []}
        assert await reloaded.sees("team-a") == tools
    again = await reloaded.reload()
    assert (again.status, again.json) == (200, reply.json)


async def test_every_mistake_in_config_and_tenants_is_in_the_answer_and_nothing_of_them_in_force(
    reloaded: Reloaded,
) -> None:
    good = reloaded.gateway.config_path.read_text()
    before = await reloaded.sees("team-b")
    reloaded.put(good.replace("mode: remote", "mode: remotely") + "tols: {}\n", "config.yaml")
    reloaded.put(ROWS + "  - {id: team-a}\n  - {id: _x, actve: false}\n", "tenants.yaml")
    reply = await reloaded.reload()
    assert (reply.status, reply.headers["Content-Type"]) == (422, "application/problem+json")
    found = {(one["file"].rpartition("/")[2], one["field"]) for one in reply.json["errors"]}
    assert found >= {("config.yaml", "mcp_servers.payments.mode"), ("config.yaml", "tols")}
    assert all(one["detail"] and one["line"] for one in reply.json["errors"])
    assert await reloaded.sees("team-b") == before
    reloaded.put(good, "config.yaml")
    reply = await reloaded.reload()
    assert reply.status == 422
    assert {one["file"].rpartition("/")[2] for one in reply.json["errors"]} == {"tenants.yaml"}
    assert len(reply.json["errors"]) >= 3
    reloaded.put(ROWS, "tenants.yaml")
    assert (await reloaded.reload()).status == 200


async def test_a_broken_catalog_is_told_with_its_tenant_and_keeps_nobody_else_back(reloaded: Reloaded) -> None:
    reloaded.put("servers: {nowhere: {}}\n", "a.yaml")
    reloaded.put("servers: {payments: {tools: {allow_list: [refund]}}}\n", "b.yaml")
    reply = await reloaded.reload()
    assert reply.status == 200
    (kept,) = reply.json["kept_back"]
    assert (kept["tenant"], kept["suspended"]) == ("team-a", False)
    (error,) = kept["errors"]
    assert (error["field"], error["line"]) == ("servers.nowhere", 1)
    assert await reloaded.sees("team-b") == ["refund"]
    for name in ("a.yaml", "b.yaml"):
        reloaded.put(GOOD, name)
    assert (await reloaded.reload()).json["kept_back"] == []


async def test_a_setting_that_needs_a_restart_is_named_and_refused(reloaded: Reloaded) -> None:
    good = reloaded.gateway.config_path.read_text()
    reloaded.put(good.replace("mode: front_door", "mode: egress"), "config.yaml")
    reply = await reloaded.reload()
    assert [one["field"] for one in reply.json["errors"]] == ["tool_access.mode"]
    reloaded.put(good, "config.yaml")
    assert (await reloaded.reload()).status == 200


async def test_only_who_holds_config_reload_everywhere_may_and_both_ways_are_audited(reloaded: Reloaded) -> None:
    assert (await reloaded.gateway.http("POST", "/api/config/reload")).status == 401
    viewer = await reloaded.gateway.key("service:viewer", role="viewer")
    tied = await reloaded.gateway.key("service:tied", "--tenant", "team-a")
    for key in (viewer, tied):
        reply = await reloaded.reload(X_API_Key=key)
        assert (reply.status, reply.json["detail"]) == (403, "Access denied: insufficient permissions")
    denied = await reloaded.gateway.events(type="AuthorizationDenied", target__action="config:reload")
    assert {one["actor"]["principal"] for one in denied} == {"service:viewer", "service:tied"}
    granted = await reloaded.gateway.events(type="AuthorizationGranted", target__action="config:reload")
    assert {one["actor"]["principal"] for one in granted} == {"user:root"}
    assert {"mistakes", "config"} <= granted[0]["target"].keys()


@pytest.mark.parametrize("body", [{"force": True}, [], b"{", b"null"])
async def test_the_route_takes_no_fields(reloaded: Reloaded, body: Any) -> None:
    assert (await reloaded.reload(body)).status == 400
