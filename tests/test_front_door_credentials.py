"""Keys and tokens through the front door: told apart by nobody, last use kept, and a ledger that is away (A28, A50)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway import keys
from gateway.audit import DAY_MS, event, now_ms
from gateway.ledger.connect import open_ledger
from gateway.ledger.values import Admins
from gateway.model import Credential, CredentialKind
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.ledger import Ledger
    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

OWN = "made-by-team-a-themselves"
FORMS = {"api_key": keys.mint, "tenant_token": keys.mint_token}


@pytest.fixture(scope="module")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer
) -> AsyncIterator[Portcullis]:
    """A front door of two tenants, one of them with a key of its own, whose ledger may be away for two seconds."""
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    config["auth"]["max_stale_seconds"] = 2
    config["server"] = {"trusted_proxies": ["127.0.0.1/32"]}
    own = {"key_hash": f"sha256:{keys.sha256(OWN)}", "name": "production"}
    config["tenants"] = [{"id": "tenant:a", "api_keys": [own]}]
    async with Portcullis(tmp_path_factory.mktemp("credentials"), config) as running:
        yield running


@pytest.fixture
async def ledger(gateway: Portcullis) -> AsyncIterator[Ledger]:
    opened = await open_ledger(f"sqlite:///{gateway.state / 'portcullis.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def store(ledger: Ledger, gateway: Portcullis) -> Callable[..., Any]:
    """Store a credential beside the running gateway and wait until it is known there; return secret and id."""

    async def stored(kind: str, *, known: bool = True, **more: Any) -> tuple[str, str]:
        secret, id_ = FORMS[kind](), keys.new_id()
        subject = f"token:{id_}" if kind == "tenant_token" else "service:ci"
        credential = Credential(
            id_, keys.sha256(secret), keys.shown(secret), subject, "", "developer", "tenant:a", now_ms(), "tests",
            **{"expires_at": now_ms() + DAY_MS, "kind": CredentialKind(kind), **more},
        )  # fmt: skip
        await ledger.add_credential(credential, event("KeyCreated", "success"))
        if known:
            await gateway.knows(Authorization=f"Bearer {secret}")
        return secret, id_

    return stored


async def ping(gateway: Portcullis, secret: str, address: str = "192.0.2.90") -> Reply:
    return await gateway.rpc("ping", token=secret, X_Forwarded_For=address)


async def admitted(gateway: Portcullis, secret: str) -> bool:
    return (await ping(gateway, secret)).status == 200


async def refused(gateway: Portcullis, secret: str) -> bool:
    return (await ping(gateway, secret)).status in (401, 429)


@pytest.mark.parametrize("kind", FORMS)
async def test_a50_revoked_expired_unknown_and_mistyped_are_answered_alike_byte_for_byte(
    gateway: Portcullis, ledger: Ledger, store: Callable[..., Any], kind: str
) -> None:
    revoked, id_ = await store(kind)
    await ledger.revoke_credential(id_, "tests", now_ms(), event("KeyRevoked", "success"), admins=Admins(1))
    await until(lambda: refused(gateway, revoked), what="the revocation counts")
    expired, _ = await store(kind, known=False, expires_at=now_ms() - 1)
    mistyped = revoked[:20] + ("A" if revoked[20] != "A" else "B") + revoked[21:]
    answers = []
    for number, secret in enumerate((revoked, expired, FORMS[kind](), mistyped, revoked[:-1])):
        for sent in ({"Authorization": f"Bearer {secret}"}, {"X_API_Key": secret}):
            reply = await gateway.rpc("ping", X_Forwarded_For=f"2001:db8:50:{number:x}::1", **sent)
            told = reply.headers["X-Request-Id"].encode()
            answers.append((reply.status, reply.body.replace(told, b""), reply.json["detail"]))
    assert len(set(answers)) == 1
    detail = "Invalid API key" if kind == "api_key" else "No valid credentials provided"
    assert (answers[0][0], answers[0][2]) == (401, detail)


async def test_a_tenants_own_key_is_let_in_on_either_header(gateway: Portcullis) -> None:
    assert await admitted(gateway, OWN)
    assert (await gateway.rpc("ping", X_API_Key=OWN)).status == 200
    assert (await gateway.rpc("ping", X_API_Key=OWN, X_Tenant_ID="tenant:b")).status == 403
    events = await gateway.events(reason="tenant_mismatch")
    assert events[-1]["actor"]["principal"] == "service:tenant:a/production"
    assert events[-1]["actor"]["kind"] == "tenant_key"


async def test_while_the_ledger_is_away_keys_serve_for_a_while_then_503_and_tokens_of_issuers_go_on(
    gateway: Portcullis, store: Callable[..., Any], issuer: Issuer
) -> None:
    secret, _ = await store("api_key")
    path = gateway.state / "portcullis.db"
    away = path.with_name("away.db")
    path.rename(away)
    try:
        assert await admitted(gateway, secret)

        async def undecided() -> Reply | None:
            reply = await ping(gateway, secret)
            return reply if reply.status == 503 else None

        reply = await until(undecided, what="the key is not believed any more")
        assert int(reply.headers["Retry-After"]) > 0
        assert reply.json["detail"] == "Keys and tokens cannot be checked at the moment"
        unknown = await ping(gateway, keys.mint())
        assert (unknown.status, unknown.json["detail"]) == (503, reply.json["detail"])
        assert (await ping(gateway, issuer.mint())).status == 200
        assert await admitted(gateway, OWN)
    finally:
        away.rename(path)
    await until(lambda: admitted(gateway, secret), what="the ledger is back")


async def test_the_last_use_of_a_key_is_in_the_ledger_after_shutdown(
    tmp_path: Path, backend: FakeBackend, issuer: Issuer
) -> None:
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    before = now_ms()
    async with Portcullis(tmp_path, config) as gateway:
        used = await gateway.key("service:used")
        assert (await gateway.rpc("ping", X_API_Key=used)).status == 200
    ledger = await open_ledger(f"sqlite:///{gateway.state / 'portcullis.db'}")
    try:
        last = {one.principal: one.last_used_at for one in await ledger.credentials()}
    finally:
        await ledger.close()
    assert last["service:used"] is not None
    assert before <= last["service:used"] <= now_ms()
