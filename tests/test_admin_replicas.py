"""What is administered at one of two gateways counts at the other before it is answered, and survives what kills."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import psycopg
import pytest

from gateway.ledger.connect import open_ledger
from tests.support import postgresql
from tests.support.office import KEYS, ROLES, TOKENS, Clerk, anybody
from tests.support.postgresql import PostgreSQL
from tests.support.replicas import two_gateways
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from tests.support.backend import FakeBackend
    from tests.support.gateway import Portcullis, Reply
    from tests.support.issuer import Issuer
    from tests.support.replicas import Gateways

HOME = "tenant:tenant:a"


@pytest.fixture(scope="module")
async def gateways(
    tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer, new_postgresql: Callable[[], str]
) -> AsyncIterator[Gateways]:
    folder = tmp_path_factory.mktemp("admin-replicas")
    endpoint = f"http://127.0.0.1:{backend.port}/mcp"
    async with two_gateways(folder, endpoint, issuer.url, new_postgresql()) as both:
        yield both


@pytest.fixture(scope="module")
async def admin_key(gateways: Gateways) -> str:
    return await gateways[0].key()


def told(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.headers["Portcullis-Applied"]


async def known(gateway: Portcullis, secret: str) -> bool:
    return (await gateway.rpc("ping", Authorization=f"Bearer {secret}")).status == 200


async def listed(gateway: Portcullis, secret: str) -> int:
    return (await gateway.rpc("tools/list", Authorization=f"Bearer {secret}")).status


async def test_a_key_or_token_revoked_at_one_is_refused_by_the_other_before_the_answer(
    gateways: Gateways, admin_key: str
) -> None:
    for one, other in (gateways, gateways[::-1]):
        admin = Clerk.with_key(one, admin_key)
        await until(lambda one=one: known(one, admin_key))
        for path, secret, body in (
            (KEYS, "key", {"principal": anybody(), "name": "x", "tenant_id": "tenant:a", "role": "developer"}),
            (TOKENS, "token", {"name": "x", "tenant_id": "tenant:a"}),
        ):
            made = await admin.post(path, body)
            assert told(made) == (201, "2/2")
            await until(lambda other=other, made=made, secret=secret: known(other, made.json[secret]))
            revoked = await admin.delete(f"{path}/{made.json['id']}")
            assert told(revoked) == (200, "2/2")
            assert await listed(other, made.json[secret]) == 401
            assert await listed(one, made.json[secret]) == 401


async def test_a_role_taken_at_one_is_gone_at_the_other_before_the_answer(
    gateways: Gateways, admin_key: str, issuer: Issuer
) -> None:
    one, other = gateways
    admin, name = Clerk.with_key(one, admin_key), anybody("user")
    token = issuer.mint(sub=name.removeprefix("user:"))
    wanted = {"principal": name, "role": "viewer", "scope": HOME}
    for _ in range(3):
        assert told(await admin.post(f"{ROLES}/assign", wanted)) == (200, "2/2")
        assert await other.tools(token) == ["charge"]
        assert told(await admin.post(f"{ROLES}/revoke", wanted)) == (200, "2/2")
        assert await other.tools(token) == []


async def test_where_one_does_not_answer_it_is_202_and_says_so(gateways: Gateways, admin_key: str) -> None:
    one, other = gateways
    admin = Clerk.with_key(other, admin_key)
    made = await admin.key(role="viewer", tenant_id="tenant:a")
    hung = one.child("opa")
    os.kill(hung, signal.SIGSTOP)
    try:
        revoked = await admin.delete(f"{KEYS}/{made['id']}")
        assert (told(revoked), revoked.json) == ((202, "1/2"), {"revoked": True, "id": made["id"]})
    finally:
        os.kill(hung, signal.SIGCONT)


async def test_what_one_made_the_other_administers(gateways: Gateways, admin_key: str, issuer: Issuer) -> None:
    one, other = gateways
    minted = await Clerk.with_token(one, issuer.mint(sub="both")).made(TOKENS, name="x")
    seen = await Clerk.with_token(other, issuer.mint(sub="both")).all(TOKENS, "tokens")
    assert [entry["id"] for entry in seen] == [minted["id"]]
    verified = await Clerk.with_key(other, admin_key).post("/api/audit/verify")
    assert (verified.json["intact"], len(verified.json["writers"]) >= 2) == (True, True)


async def keep_administering(gateway: Portcullis, key: str, stop: asyncio.Event, done: dict[str, bool]) -> None:
    """Make keys and revoke every other one, and note what was acknowledged: by id, whether it is live."""
    admin, number = Clerk.with_key(gateway, key), 0
    while not stop.is_set():
        number += 1
        try:
            made = await admin.post(KEYS, {"principal": anybody(), "name": "load", "tenant_id": "tenant:a"})
            if made.status not in (201, 202):
                continue
            done[made.json["id"]] = True
            if number % 2:
                # Whether it is live is not known until this is answered.
                del done[made.json["id"]]
                revoked = await admin.delete(f"{KEYS}/{made.json['id']}")
                if revoked.status in (200, 202):
                    done[made.json["id"]] = False
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.02)


@pytest.mark.skipif(postgresql.binaries() is None, reason=postgresql.ABSENT)
async def test_a35_no_acknowledged_action_is_lost_when_gateways_and_the_database_are_killed_under_load(
    tmp_path: Any, backend: FakeBackend, issuer: Issuer
) -> None:
    endpoint = f"http://127.0.0.1:{backend.port}/mcp"
    with PostgreSQL() as database:
        url = postgresql.fresh(database.parameters)
        async with two_gateways(tmp_path, endpoint, issuer.url, url) as (one, other):
            key = await one.key()
            await until(lambda: known(other, key))
            stop, done = asyncio.Event(), dict[str, bool]()
            work = [asyncio.create_task(keep_administering(each, key, stop, done)) for each in (one, other)]

            async def more() -> None:
                before = len(done)
                await until(lambda: len(done) > before + 3, 30, "actions go on")

            await more()
            await one.kill()
            await one.start()
            await more()
            database.kill()
            refused = await until(lambda: unavailable(other, key), 20, "the admin API says that it cannot")
            assert refused
            assert await other.tools(issuer.mint())
            database.start()
            await more()
            cut(postgresql.address(database.parameters))
            await more()
            await other.kill()
            await other.start()
            await more()
            stop.set()
            await asyncio.gather(*work)
            ledger = await open_ledger(url)
            try:
                kept = {one.id: one.revoked_at is None for one in await ledger.credentials()}
                verified = await ledger.audit_chain()
            finally:
                await ledger.close()
            assert {id_: kept.get(id_) for id_ in done} == done
            assert (verified.breaks, len(done) > 12) == ((), True)


def cut(url: str) -> None:
    """Cut every connection to the database, those that listen included."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")


async def unavailable(gateway: Portcullis, key: str) -> bool:
    """Say whether the admin API answers that nothing can be changed now."""
    reply = await Clerk.with_key(gateway, key).post(KEYS, {"principal": anybody(), "name": "x"})
    return reply.status == 503
