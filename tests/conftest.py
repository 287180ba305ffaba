"""What many tests share: an issuer, a back end, and one gateway between them that nobody disturbs."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support import postgresql
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.issuer import ABSENT, Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

TOOLS = ("charge", "refund", "legacy_charge", "beta_tool")


@dataclass
class World:
    """A gateway with what stands around it."""

    gateway: Portcullis
    backend: FakeBackend
    issuer: Issuer
    admin_key: str

    def token(self, tenant: str | None, **claims: object) -> str:
        """Return an access token of a tenant."""
        return self.issuer.mint(tenant_id=tenant or ABSENT, **claims)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[dict[str, str]]:
    """A PostgreSQL of our own; without one its tests are skipped, and fail in CI."""
    with postgresql.server() as there:
        if there is None:
            refuse = pytest.fail if os.environ.get("CI") else pytest.skip
            refuse(postgresql.ABSENT)
        yield there


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: dict[str, str]) -> Callable[[], str]:
    """Return URLs for ledgers that are not there yet, in schemas of their own."""
    return lambda: postgresql.fresh(postgresql_server)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Return addresses of ledgers that are not there yet; a test that asks for this runs once for each backend."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / secrets.token_hex(4)}.db"
    new: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return new


@pytest.fixture
def ledger_url(new_ledger_url: Callable[[], str]) -> str:
    """The address of a ledger that is not there yet, on each backend in turn."""
    return new_ledger_url()


@pytest.fixture(scope="session")
async def issuer() -> AsyncIterator[Issuer]:
    """An issuer on loopback."""
    async with Issuer().serve() as serving:
        yield serving


@pytest.fixture(scope="session")
async def backend() -> AsyncIterator[FakeBackend]:
    """The recipe's server, which keeps what it is sent."""
    async with FakeBackend(definitions=[tool(name) for name in TOOLS]).serve() as serving:
        yield serving


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend) -> AsyncIterator[World]:
    """The recipe, running; tests that withdraw a tool give it back."""
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    async with Portcullis(tmp_path_factory.mktemp("world"), config) as gateway:
        yield World(gateway, backend, issuer, await gateway.key())


# Roles beside those of the product: everything but everything, and each the smallest that one test is about.
OWN_ROLES = {
    "steward": [
        "audit:read", "keys:*", "mcp_servers:*", "metrics:read", "roles:*", "tokens:*", "tool:*",
    ],
    "keysmith": ["keys:read", "keys:write"],
    "registrar": ["roles:read", "roles:write"],
}  # fmt: skip


@pytest.fixture(scope="session")
async def office(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend
) -> AsyncIterator[World]:
    """The recipe with roles of its own, for tests of the administration; each makes the principals that it needs."""
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    config["auth"]["roles"] = OWN_ROLES
    config["auth"]["role_assignments"] = [{"principal": "user:rooted", "role": "auditor", "scope": "global"}]
    async with Portcullis(tmp_path_factory.mktemp("office"), config) as gateway:
        yield World(gateway, backend, issuer, await gateway.key())


GUARD = {
    "trusted_proxies": ["127.0.0.1/32"],
    "allowed_hosts": ["127.0.0.1", "gateway.example.com"],
    "allowed_origins": ["https://app.example.com"],
    "max_body_bytes": 65536,
}


@pytest.fixture(scope="session")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend
) -> AsyncIterator[World]:
    """The recipe with every guard of a public listener configured, and an audit file.

    Tests choose their address by X-Forwarded-For, so that failed logins of one are not folded into those of another.
    """
    folder = tmp_path_factory.mktemp("guarded")
    settings = {"server": GUARD, "audit": {"file": str(folder / "audit.jsonl")}, "opa": PATIENT}
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, **settings)
    async with Portcullis(folder, config) as gateway:
        yield World(gateway, backend, issuer, await gateway.key())
