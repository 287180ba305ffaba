"""The demo's issuer, run as the demo runs it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.authn import Authn, CredentialIndex
from gateway.config.schema import Auth, Oidc
from tests.support.tokens import admit, refused
from tests.support.wait import until

SCRIPT = Path(__file__).parent.parent / "examples" / "front-door" / "issuer.py"


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@asynccontextmanager
async def running():
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), "--port", str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                try:
                    async with session.get(f"{url}/jwks") as response:
                        return response.status == 200
                except aiohttp.ClientConnectorError:
                    return False

            await until(answers, timeout=20)
            yield url, session
    finally:
        process.send_signal(signal.SIGINT)
        printed, _ = await process.communicate()
        assert printed == f"issuer {url}\n".encode()


async def ask(session, url, client, **form):
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": client, **form}
    async with session.post(f"{url}/token", data=form) as response:
        return response.status, await response.json()


@pytest.fixture(scope="module")
async def demo():
    async with running() as (url, session):
        oidc = Oidc(enabled=True, issuer=url, audience="mcp-hangar", resource_uri="https://hangar.example.com")
        authn = Authn(Auth(enabled=True, oidc=oidc), CredentialIndex())
        yield url, session, authn
        await authn.close()


@pytest.mark.parametrize(
    ("client", "tenant"), [("agent-a", "tenant:a"), ("agent-b", "tenant:b"), ("agent-without-tenant", None)]
)
async def test_each_demo_agent_gets_a_token_of_its_tenant_for_either_audience(demo, client, tenant):
    url, session, authn = demo
    for form in ({}, {"resource": "https://hangar.example.com"}):
        status, body = await ask(session, url, client, **form)
        assert status == 200
        assert body["token_type"] == "Bearer"
        principal = await admit(authn, body["access_token"])
        assert (principal.subject, principal.tenant) == (f"user:{client}", tenant)


async def test_a_demo_token_for_another_resource_is_refused_at_the_gateway(demo):
    url, session, authn = demo
    _, body = await ask(session, url, "agent-a", resource="https://else.example")
    await refused(authn, body["access_token"])


async def test_a_stranger_gets_no_demo_token(demo):
    url, session, _ = demo
    assert (await ask(session, url, "nobody"))[0] == 401
    assert (await ask(session, url, "agent-a", client_secret="agent-b"))[0] == 401
    assert (await ask(session, url, "agent-a", grant_type="password"))[0] == 400
