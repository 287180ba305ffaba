"""A gateway that was taken out of the count while it runs notices, says so, and counts itself again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.facts import Replica
from gateway.ledger.connect import open_ledger
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.ledger import Ledger
    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

NAME = "gw-1"


@pytest.fixture(scope="module")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer
) -> AsyncIterator[Portcullis]:
    config = front_door(backend.url, issuer.url, opa={**PATIENT, "replica": NAME})
    async with Portcullis(tmp_path_factory.mktemp("replica"), config) as running:
        yield running


@pytest.fixture
async def ledger(gateway: Portcullis) -> AsyncIterator[Ledger]:
    opened = await open_ledger(ledger_url(gateway.state))
    yield opened
    await opened.close()


def ledger_url(state: Path) -> str:
    return f"sqlite:///{state / 'portcullis.db'}"


async def applied(gateway: Portcullis, key: str) -> tuple[int, str]:
    """Withdraw a tool and give it back; return what the withdrawal was answered with."""
    reply = await gateway.admin("payments/refund/withdraw", key=key)
    await gateway.admin("payments/refund/restore", key=key)
    return reply.status, reply.headers["Portcullis-Applied"]


async def waiting_for(gateway: Portcullis) -> list[str]:
    reply = await gateway.http("GET", "/health/ready")
    assert reply.status == (503 if reply.json["waiting_for"] else 200)
    return list(reply.json["waiting_for"])


async def test_a_gateway_that_runs_is_not_forgotten_by_mistake(gateway: Portcullis, ledger: Ledger) -> None:
    status, out, err = await gateway.cli("replica", "forget", NAME)
    assert (status, out) == (1, "")
    assert f"{NAME} is alive: its OPA waits for news; stop it, and it is forgotten" in err
    assert [one.name for one in await ledger.replicas()] == [NAME]


async def test_a_gateway_that_was_forgotten_all_the_same_counts_itself_again_and_its_opa_hears_on(
    gateway: Portcullis, ledger: Ledger
) -> None:
    key = await gateway.key()
    status, _, err = await gateway.cli("replica", "forget", NAME, "--force")
    assert status == 0, err

    async def counted() -> bool:
        return [one.name for one in await ledger.replicas()] == [NAME]

    await until(counted)
    assert f"the replica {NAME} was forgotten while it runs: it counts itself again" in gateway.log

    async def heard() -> bool:
        return await applied(gateway, key) == (200, "1/1")

    await until(heard, 20)
    assert await waiting_for(gateway) == []


async def test_a_gateway_whose_name_another_has_taken_is_not_ready_until_the_name_is_free(
    gateway: Portcullis, ledger: Ledger
) -> None:
    key = await gateway.key()
    await ledger.register_replica(Replica(NAME, "of another token", 1))

    async def told() -> bool:
        return await waiting_for(gateway) == ["registration"]

    await until(told)
    assert f"another gateway has taken the name {NAME}" in gateway.log
    assert (await applied(gateway, key))[0] == 202
    await ledger.forget_replica(NAME)

    async def well() -> bool:
        return await waiting_for(gateway) == [] and await applied(gateway, key) == (200, "1/1")

    await until(well, 20)


async def test_a_gateway_that_ends_leaves_its_name_to_whoever_has_taken_it(
    tmp_path: Path, backend: FakeBackend, issuer: Issuer
) -> None:
    config = front_door(backend.url, issuer.url, opa={**PATIENT, "replica": NAME})
    async with Portcullis(tmp_path, config) as leaving:
        opened = await open_ledger(ledger_url(leaving.state))
        await opened.register_replica(Replica(NAME, "of another token", 1))
        await leaving.stop()
        assert [one.token_hash for one in await opened.replicas()] == ["of another token"]
        await opened.close()
