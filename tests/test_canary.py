"""Secrets planted wherever one can be sent are nowhere but where they belong (A20, A36, A64)."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from gateway import keys
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import PATIENT, Portcullis, Reply, front_door, payments
from tests.support.issuer import Issuer, segment
from tests.support.office import KEYS, TOKENS, Clerk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def canary(what: str) -> str:
    """Return a text that nothing else holds."""
    return f"canary-{what}-{secrets.token_hex(8)}"


class Aviary:
    """A gateway that was told every kind of secret, in every place, and all that it let out."""

    def __init__(self, folder: Path, issuer: Issuer, backend: FakeBackend) -> None:
        self.folder = folder
        self.issuer = issuer
        self.backend = backend
        self.ours = canary("of-the-server")
        self.credentials: list[str] = []
        self.others: list[str] = []
        self.replies: list[Reply] = []

    def config(self) -> dict[str, Any]:
        """Return a configuration that tells as much as it can."""
        (self.folder / "secret").write_text(self.ours)
        config = front_door(self.backend.url, self.issuer.url, opa=PATIENT)
        header = {"Authorization": f"Bearer ${{file:{self.folder / 'secret'}}}"}
        config["mcp_servers"]["payments"] = payments(self.backend.url, headers=header)
        return config | {"logging": {"level": "debug"}, "audit": {"file": str(self.folder / "audit.jsonl")}}

    async def send(self, gateway: Portcullis, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request and keep the answer."""
        reply = await gateway.http(method, path, body, **headers)
        self.replies.append(reply)
        return reply

    def good(self, secret: str) -> str:
        """Remember a credential, and the parts of it by which it could be used."""
        self.credentials += [secret, secret.rpartition(".")[2]]
        return secret

    def planted(self, what: str) -> str:
        """Remember a text that is not to be let out."""
        self.others.append(canary(what))
        return self.others[-1]


async def with_good_credentials(aviary: Aviary, gateway: Portcullis) -> None:
    """List, call and administer with every kind of credential."""
    key, jwt = aviary.good(await gateway.key()), aviary.good(aviary.issuer.mint())
    admin, jo = Clerk.with_key(gateway, key), Clerk.with_token(gateway, jwt)
    token = aviary.good((await jo.made(TOKENS, name="x"))["token"])
    made = await admin.key(role="developer", tenant_id="tenant:a")
    aviary.good(made["key"])
    aviary.good((await admin.made(f"{KEYS}/{made['id']}/rotate"))["key"])
    for sent in ({"Authorization": f"Bearer {jwt}"}, {"Authorization": f"Bearer {token}"}, {"X_API_Key": made["key"]}):
        cookie, custom = aviary.planted("cookie"), aviary.planted("header")
        headers = {**sent, "Cookie": f"session={cookie}", "X_Secret": custom, "User_Agent": aviary.planted("agent")}
        for params in (
            {"name": "charge", "arguments": {"password": aviary.planted("argument")}},
            {"name": "refund", "arguments": {"pin": aviary.planted("refused")}},
        ):
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            await aviary.send(gateway, "POST", "/mcp", message, **headers)
        await aviary.send(gateway, "GET", "/api/auth/whoami", **headers)
        await aviary.send(gateway, "GET", KEYS, **headers)
    for path in (KEYS, TOKENS, "/api/audit?limit=200", "/api/auth/roles", "/metrics"):
        await aviary.send(gateway, "GET", path, X_API_Key=key)


async def with_bad_ones(aviary: Aviary, gateway: Portcullis) -> None:
    """Send credentials that are none, in every place where somebody puts one."""
    jwt = aviary.issuer.mint().rpartition(".")[0] + "." + segment(aviary.planted("signature"))
    text = aviary.planted("password")
    basic = base64.b64encode(f"root:{text}".encode()).decode()
    aviary.others.append(basic)
    bad = [
        {"Authorization": f"Bearer {jwt}"},
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Bearer mcpt_{aviary.planted('token')}"},
        {"X_API_Key": f"mcp_{aviary.planted('key')}"},
        {"X_API_Key": aviary.planted("nonsense"), "Authorization": f"Bearer {aviary.planted('two')}"},
    ]
    for headers in bad:
        await aviary.send(gateway, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, **headers)
    for name in ("access_token", "api_key"):
        await aviary.send(gateway, "GET", f"/api/auth/whoami?{name}={aviary.planted('query')}")


async def with_bodies_that_make_no_sense(aviary: Aviary, gateway: Portcullis, key: str) -> None:
    """Send secrets where a name, a number or nothing belongs."""
    for body in (
        {"principal": aviary.planted("principal"), "name": 5, "role": aviary.planted("role")},
        {"principal": "user:x", "name": "x", "key": aviary.planted("member")},
        b'{"principal": "' + aviary.planted("broken").encode(),
    ):
        await aviary.send(gateway, "POST", KEYS, body, X_API_Key=key)


@pytest.fixture(scope="module")
async def aviary(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Aviary]:
    async with FakeBackend(definitions=[tool("charge"), tool("refund")]).serve() as backend:
        aviary = Aviary(tmp_path_factory.mktemp("aviary"), issuer, backend)
        async with Portcullis(aviary.folder, aviary.config()) as gateway:
            await with_good_credentials(aviary, gateway)
            await with_bad_ones(aviary, gateway)
            await with_bodies_that_make_no_sense(aviary, gateway, aviary.credentials[0])
            await gateway.events(type="RequestRefused")
        yield aviary


def found(aviary: Aviary, text: bytes) -> list[str]:
    """Return which secrets are in a text, those of the gateway itself included."""
    every = [*aviary.credentials, *aviary.others, aviary.ours]
    state = aviary.folder / "state"
    every += [
        path.read_text().strip() for path in state.rglob("*token*") if path.is_file() and path.stat().st_size > 16
    ]
    return [one for one in every if one.encode() in text]


def test_the_canaries_were_sent_and_the_gateway_told_of_it(aviary: Aviary) -> None:
    assert len(aviary.others) > 25
    assert {reply.status for reply in aviary.replies} >= {200, 400, 401}
    assert (aviary.folder / "log").stat().st_size > 100
    assert (aviary.folder / "audit.jsonl").read_text().count("\n") > 20


def test_no_secret_is_in_any_log(aviary: Aviary) -> None:
    assert not found(aviary, (aviary.folder / "log").read_bytes())


def test_no_secret_is_in_the_audit_trail(aviary: Aviary) -> None:
    assert not found(aviary, (aviary.folder / "audit.jsonl").read_bytes())


def test_no_secret_is_in_the_ledger_nor_in_what_opa_was_given(aviary: Aviary) -> None:
    files = [path for path in (aviary.folder / "state").rglob("*") if path.is_file() and "token" not in path.name]
    assert any(path.name == "portcullis.db" for path in files)
    assert {
        path.name: held for path in files if (held := found(aviary, path.read_bytes())) and path.name != "opa.json"
    } == {}
    assert keys.sha256(aviary.credentials[0]).encode() in b"".join(path.read_bytes() for path in files)


def test_no_secret_is_in_any_answer_but_that_of_its_making(aviary: Aviary) -> None:
    for reply in aviary.replies:
        assert not found(aviary, reply.body + str(dict(reply.headers)).encode())


def test_a_server_is_sent_its_own_credential_and_the_arguments_and_nothing_else(aviary: Aviary) -> None:
    sent = b"".join(str(dict(one.headers)).encode() + one.body for one in aviary.backend.received)
    arrived = found(aviary, sent)
    assert aviary.ours in arrived
    assert {one.split("-")[1] for one in arrived if one != aviary.ours} == {"argument"}
