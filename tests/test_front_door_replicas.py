"""Two whole gateways, each with an OPA and a sync of its own, on one PostgreSQL: they wait for each other."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.replicas import two_gateways
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.backend import FakeBackend
    from tests.support.gateway import Portcullis, Reply
    from tests.support.issuer import Issuer
    from tests.support.replicas import Gateways


@pytest.fixture(scope="module")
async def gateways(
    tmp_path_factory: pytest.TempPathFactory,
    backend: FakeBackend,
    issuer: Issuer,
    new_postgresql: Callable[[], str],
) -> AsyncIterator[Gateways]:
    async with two_gateways(tmp_path_factory.mktemp("replicas"), backend.url, issuer.url, new_postgresql()) as both:
        yield both


@pytest.fixture(scope="module")
async def key(gateways: Gateways) -> str:
    return await gateways[0].key()


def told(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.headers["Portcullis-Applied"]


async def refused(gateway: Portcullis, token: str) -> bool:
    """Say whether a call is answered like one of a tool that is not there."""
    reply = await gateway.call("charge", {"amount": 1}, token=token)
    assert reply.status == 200, reply
    return "error" in reply.json


async def test_what_one_is_told_the_other_enforces_before_the_answer(
    gateways: Gateways, key: str, issuer: Issuer
) -> None:
    token = issuer.mint(tenant_id="tenant:b")
    for one, other in (gateways, gateways[::-1]) * 3:
        reply = await one.admin("payments/charge/withdraw", key=key)
        assert (told(reply), await refused(other, token), await refused(one, token)) == ((200, "2/2"), True, True)
        reply = await other.admin("payments/charge/restore", key=key)
        assert (told(reply), await refused(one, token), await refused(other, token)) == ((200, "2/2"), False, False)


async def test_an_opa_that_hangs_is_waited_for_and_missed_by_the_other_gateway_too(
    gateways: Gateways, key: str
) -> None:
    one, other = gateways
    hung = one.child("opa")
    os.kill(hung, signal.SIGSTOP)
    try:
        assert told(await other.admin("payments/charge/withdraw", key=key)) == (202, "1/2")
    finally:
        os.kill(hung, signal.SIGCONT)

    async def applied() -> bool:
        return told(await other.admin("payments/charge/restore", key=key)) == (200, "2/2")

    await until(applied)


async def test_a_sync_that_is_killed_is_back_and_its_replica_is_heard_of_again(gateways: Gateways, key: str) -> None:
    one, other = gateways
    os.kill(one.child("sync"), signal.SIGKILL)

    async def applied() -> bool:
        withdrawn = told(await other.admin("payments/charge/withdraw", key=key))
        restored = told(await other.admin("payments/charge/restore", key=key))
        return {withdrawn, restored} == {(200, "2/2")}

    await until(applied, 20)


async def test_doctor_tells_of_the_replica_of_the_other_gateway(gateways: Gateways) -> None:
    _, out, _ = await gateways[1].cli("doctor")
    assert "gw-1: everything up to r" in out
    assert "as another sync says" in out


async def test_one_that_is_gone_is_missed_until_it_is_forgotten(gateways: Gateways, key: str) -> None:
    one, other = gateways
    await one.kill()
    assert told(await other.admin("payments/charge/withdraw", key=key)) == (202, "1/2")
    assert (await other.cli("replica", "forget", "gw-1", "--force"))[0] == 0
    assert told(await other.admin("payments/charge/restore", key=key)) == (200, "1/1")
    # It counts again as soon as it is back.
    await one.start()
    assert told(await one.admin("payments/charge/withdraw", key=key)) == (200, "2/2")
    assert told(await other.admin("payments/charge/restore", key=key)) == (200, "2/2")
