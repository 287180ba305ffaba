"""Real OpenID providers: `tests/provider/issuer.mjs`, one process an issuer, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOLDER = Path(__file__).parent.parent / "provider"
START_SECONDS = 30
MISSING = "the tests' OpenID provider is not installed: run `make provider` (needs node 20 or newer, npm, its registry)"


@dataclass(frozen=True, slots=True)
class Provider:
    """A running provider: `url` is the issuer, `resource` the only audience that it gives JWTs for."""

    url: str
    resource: str
    session: aiohttp.ClientSession

    async def ask(self, client: str = "agent-a", **form: str) -> tuple[int, dict[str, Any]]:
        """Ask for a token by client credentials; return the status and the answer."""
        headers = {"Authorization": aiohttp.encode_basic_auth(client, f"{client}-secret")}
        data = {"grant_type": "client_credentials", "scope": "mcp:tools", **form}
        async with self.session.post(f"{self.url}/token", data=data, headers=headers) as response:
            return response.status, await response.json()

    async def token(self, client: str = "agent-a") -> str:
        """Return an access token of an agent for the resource."""
        status, body = await self.ask(client, resource=self.resource)
        assert status == 200, body
        return str(body["access_token"])

    async def order(self, control: str, **what: Any) -> Any:
        """Order it to rotate its keys, to fail, to mint what it never would, or to count."""
        async with self.session.post(f"{self.url}/__test/{control}", json=what) as response:
            assert response.status == 200
            return await response.json()

    async def mint(self, header: dict[str, Any] | None = None, *, foreign: bool = False, **claims: Any) -> str:
        """Return a token with these changes to a good one, signed by the current key or by a stranger's."""
        said = await self.order("mint", header=header or {}, claims=claims, foreign=foreign)
        return str(said["token"])


@asynccontextmanager
async def provider(resource: str, tenant: str, algorithm: str = "ES256") -> AsyncIterator[Provider]:
    """Run a provider that speaks for a tenant."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(MISSING)
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            node, str(FOLDER / "issuer.mjs"), "--resource", resource, "--tenant", tenant, "--alg", algorithm,
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            url = (await asyncio.wait_for(process.stdout.readline(), START_SECONDS)).decode().strip()
            assert url, log.seek(0) or log.read().decode()
            async with aiohttp.ClientSession() as session:
                yield Provider(url, resource, session)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
