"""The gateway before an OPA that lies, dawdles or breaks off (A08), and what any OPA is told (A20, A32, A42)."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.ledger.connect import open_ledger
from gateway.state import StateDir
from tests.support.agents import EVERY_VERSION, ask
from tests.support.backend import FakeBackend, tool
from tests.support.fake_opa import FakeOpa, Reply, Request, answer, chunked, decided, fake_opa, http
from tests.support.gateway import Portcullis, elsewhere, front_door
from tests.support.processes import free_port
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.conftest import World
    from tests.support.issuer import Issuer


@dataclass
class Doubtful:
    """A gateway that asks a fake OPA; `opa.script` is what it answers."""

    gateway: Portcullis
    opa: FakeOpa
    server: FakeBackend
    epoch: str
    token: str
    key: str

    def good(self, request: Request) -> Reply:
        """Admit whatever is asked."""
        return decided(request, epoch=self.epoch)


REVISION = 42  # what the fake OPA says that it decides by


@pytest.fixture(scope="module")
async def doubtful(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Doubtful]:
    folder = tmp_path_factory.mktemp("doubtful")
    ledger = await open_ledger(StateDir.open(folder / "state").ledger_url)
    epoch = (await ledger.meta()).epoch
    # A ledger that is behind what was decided by it would be taken for a restored one.
    while await ledger.note_config(secrets.token_hex(8)) < REVISION:
        pass
    await ledger.close()
    server = FakeBackend(definitions=[tool("charge"), tool("refund")])
    async with server.serve(), fake_opa(lambda request: decided(request, epoch=epoch)) as opa:
        config = front_door(server.url, issuer.url, sync={"url": "http://127.0.0.1:9"})
        config["auth"]["opa"] = {"url": opa.url}
        async with Portcullis(folder, config, command="serve") as gateway:
            key = await gateway.key()
            yield Doubtful(gateway, opa, server, epoch, issuer.mint(tenant_id="tenant:a"), key)


def changed(**members: object) -> Callable[[Doubtful], Callable[[Request], Reply]]:
    return lambda doubtful: lambda request: decided(request, **{"epoch": doubtful.epoch, **members})


def raw(data: bytes, *, close: bool = False) -> Callable[[Doubtful], Callable[[Request], Reply]]:
    return lambda _: lambda request: Reply(data, close=close)


ADMITS = answer({"allow": True, "ids": ["payments/charge"], "id": "payments/charge"})
LIES = {
    "nothing": raw(b"", close=True),
    "silence": lambda _: lambda request: Reply(silent=True),
    "500": raw(http(ADMITS, "500 Internal Server Error")),
    "404": raw(http(b"{}", "404 Not Found")),
    "a redirect": raw(http(ADMITS, "307 Temporary Redirect")),
    "undefined": raw(http(b"{}")),
    "null": raw(http(answer(None))),
    "a bare true": raw(http(answer(True))),
    "a list": raw(http(answer([True]))),
    "too little": raw(http(ADMITS)),
    "no JSON": raw(http(b"<html>")),
    "cut JSON": raw(http(ADMITS[:-5])),
    "a cut body": raw(http(ADMITS)[:-5], close=True),
    "cut chunks": raw(chunked(ADMITS)[:-5], close=True),
    "allow as text": changed(allow="true"),
    "allow as number": changed(allow=1),
    "no allow": changed(allow=...),
    "another epoch": changed(epoch="f" * 32),
    "no epoch": changed(epoch=""),
    "no revision": changed(revision=0),
    "an older revision": changed(revision=41),
    "an unknown obligation": changed(obligations={"erase": True}),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a08_whatever_is_no_well_formed_decision_is_503_and_reaches_no_server(
    doubtful: Doubtful, lie: str
) -> None:
    gateway = doubtful.gateway

    async def healed() -> bool:
        return (await gateway.call("charge", token=doubtful.token)).status == 200

    # What is refused below is refused for this lie, and not because of the one before.
    await until(healed)
    before = len(doubtful.server.calls)
    doubtful.opa.script = LIES[lie](doubtful)
    try:
        replies = [await gateway.call("charge", {"amount": 1}, token=doubtful.token)]
        replies.append(await gateway.rpc("tools/list", token=doubtful.token))
        admin = await gateway.admin("payments/charge/withdraw", None, key=doubtful.key)
    finally:
        doubtful.opa.script = doubtful.good
    for reply in replies:
        assert (reply.status, reply.json["error"]["code"]) == (503, 50300)
        assert "Retry-After" in reply.headers
    assert admin.status == 503
    assert len(doubtful.server.calls) == before


async def test_a08_a_good_decision_admits_what_it_names_and_every_doubt_was_recorded(doubtful: Doubtful) -> None:
    doubtful.opa.script = doubtful.good
    reply = await doubtful.gateway.call("charge", {"amount": 1}, token=doubtful.token)
    assert reply.json["result"]
    assert await doubtful.gateway.tools(doubtful.token) == ["charge", "refund"]
    doubtful.opa.script = LIES["null"](doubtful)
    refused = await doubtful.gateway.call("charge", {"amount": 1}, token=doubtful.token)
    doubtful.opa.script = doubtful.good
    (event,) = await doubtful.gateway.events(source__request_id=refused.headers["X-Request-Id"])
    assert (event["type"], event["outcome"], event["reason"]) == ("AuthorizationDenied", "error", "engine_unavailable")


async def test_the_server_that_policy_names_is_called_and_no_other_reading_of_the_name(doubtful: Doubtful) -> None:
    doubtful.opa.script = lambda request: decided(request, epoch=doubtful.epoch, id="payments/refund")
    try:
        await doubtful.gateway.call("charge", {"amount": 1}, token=doubtful.token)
        assert doubtful.server.calls[-1].message["params"]["name"] == "refund"
        before = len(doubtful.server.calls)
        doubtful.opa.script = lambda request: decided(request, epoch=doubtful.epoch, id="elsewhere/charge")
        reply = await doubtful.gateway.call("charge", {"amount": 1}, token=doubtful.token)
        assert reply.json["error"]["code"] == 50200
        assert len(doubtful.server.calls) == before
    finally:
        doubtful.opa.script = doubtful.good


async def test_a_start_without_the_opa_that_is_configured_says_where_it_was_looked_for_and_why_it_is_not_there(
    tmp_path: Path, issuer: Issuer
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    config = front_door("http://127.0.0.1:9/mcp", issuer.url, sync={"url": "http://127.0.0.1:9"})
    config["auth"]["opa"] = {"url": url}
    async with Portcullis(tmp_path, config, command="serve", wait_ready=False) as gateway:
        said = f"OPA at {url} gives no decision: OPA cannot be reached: "
        await until(lambda: said in gateway.log, timeout=30, what="the gateway says so")
        assert gateway.log.count(said) == 1


CLAIMED = {"roles": ["admin"], "tenant": "tenant:b", "subject": "user:root", "principal": {"kind": "api_key"}}


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_a42_what_an_agent_says_of_itself_is_told_as_untrusted_alone(doubtful: Doubtful, version: str) -> None:
    spoofed = {"_meta": CLAIMED, "name": "charge", "arguments": {"principal": CLAIMED}, "principal": CLAIMED}
    await ask(
        doubtful.gateway, version, "tools/call", spoofed, token=doubtful.token,
        X_Roles="admin", X_User="root", X_Forwarded_For="203.0.113.9",
    )  # fmt: skip
    told = [request for request in doubtful.opa.requests if "/decision" in request.target][-1].input
    assert told["principal"]["subject"] == "user:jo"
    assert told["principal"]["tenant"] == "tenant:a"
    assert told["principal"]["kind"] == "jwt"
    assert told["principal"]["groups"] == []
    assert told["request"].keys() == {"time"}
    trusted = json.dumps({name: value for name, value in told.items() if name != "untrusted"})
    assert "root" not in trusted
    assert "tenant:b" not in trusted


async def test_a20_opa_is_never_told_a_credential(doubtful: Doubtful) -> None:
    await doubtful.gateway.call("charge", {"amount": 1}, token=doubtful.token, X_Forwarded_For=doubtful.token)
    await doubtful.gateway.admin("payments/charge/restore", None, key=doubtful.key)
    for request in doubtful.opa.requests:
        text = str(request.headers) + request.body.decode()
        for secret in (doubtful.token, doubtful.token.rpartition(".")[2], doubtful.key):
            assert secret not in text


async def test_a32_opa_is_asked_at_constant_paths_whatever_names_are_in_the_request(doubtful: Doubtful) -> None:
    for name in ("../../v1/policies", "a/b[c]", "%2e%2e", "charge?pretty"):
        await doubtful.gateway.call(name, {}, token=doubtful.token)
    paths = {f"/v1/data/portcullis/{kind}/decision?strict-builtin-errors" for kind in ("call", "list", "admin")}
    paths |= {"/health", "/v1/data/system/bundles", "/v1/data/portcullis_live/generated_at"}
    paths |= {"/v1/data/portcullis_live/revision"}
    paths |= {"/v1/data/portcullis_data/config", "/v1/data/portcullis_data/contested"}
    assert {request.target for request in doubtful.opa.requests} <= paths


@pytest.mark.parametrize("tenant", ["a/b", "a[0]", "../a", "a b", 'a"', "a\n", "x" * 129, ""])
async def test_a32_a_tenant_that_could_be_a_path_is_no_tenant(guarded: World, tenant: str) -> None:
    token = guarded.issuer.mint(tenant_id=tenant)
    reply = await guarded.gateway.rpc("tools/list", token=token, X_Forwarded_For=elsewhere())
    assert reply.status == 401


async def test_a32_the_supervised_opa_listens_on_no_port(world: World) -> None:
    opa = Path(f"/proc/{world.gateway.child('opa')}")
    links = [link.readlink().name for link in (opa / "fd").iterdir()]
    inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    listening = set()
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in (opa / "net" / table).read_text().splitlines()[1:]]
        listening |= {row[9] for row in rows if row[3] == "0A"}
    assert listening
    assert not inodes & listening
    unix = [line.split() for line in (opa / "net" / "unix").read_text().splitlines()[1:]]
    assert inodes & {row[6] for row in unix}
