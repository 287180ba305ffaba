"""Parts killed at any moment, under load: nothing that policy denies ever reaches a server, and all of it heals."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import TYPE_CHECKING

import aiohttp

from tests.conftest import TOOLS
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

DENIED = (("tenant:a", "refund"), ("tenant:a", "beta_tool"), ("tenant:b", "legacy_charge"), ("tenant:c", "charge"))
SEED = 20261121


async def test_whatever_is_killed_whenever_no_denied_call_reaches_the_server(tmp_path: Path, issuer: Issuer) -> None:
    server = FakeBackend(definitions=[tool(name) for name in TOOLS])
    chance = random.Random(SEED)
    async with server.serve(), Portcullis(tmp_path, front_door(server.url, issuer.url)) as gateway:
        stop = asyncio.Event()
        tokens = {tenant: issuer.mint(tenant_id=tenant) for tenant in ("tenant:a", "tenant:b", "tenant:c")}
        *attackers, customer = [
            asyncio.create_task(keep_calling(gateway, tokens[tenant], name, {"caller": tenant}, stop))
            for tenant, name in (*DENIED, ("tenant:b", "charge"))
        ]
        for part in ("opa", "sync", "opa", "opa", "sync", "opa"):
            before = len(server.calls)
            # The moment is chance's; what is waited for afterwards is that calls go through again.
            await asyncio.sleep(chance.uniform(0, 0.3))
            os.kill(gateway.child(part), chance.choice((signal.SIGKILL, signal.SIGTERM)))
            await until(lambda before=before: len(server.calls) > before + 3, 20, f"calls after {part} was killed")
        stop.set()
        answers = [answer for task in attackers for answer in await task]
        assert len(answers) > 50
        assert not [answer for answer in answers if answer.json and "result" in answer.json]
        assert [answer for answer in await customer if answer.json and "result" in answer.json]
        reached = {
            (call["arguments"]["caller"], call["name"]) for call in (one.message["params"] for one in server.calls)
        }
        assert reached == {("tenant:b", "charge")}


async def keep_calling(
    gateway: Portcullis, token: str, name: str, arguments: dict[str, str], stop: asyncio.Event
) -> list[Reply]:
    """Call a tool again and again and return the answers."""
    answers = []
    while not stop.is_set():
        try:
            answers.append(await gateway.call(name, arguments, token=token))
        except aiohttp.ClientError:
            await asyncio.sleep(0)
    return answers
