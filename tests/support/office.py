"""The admin API as its callers use it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.support.gateway import Portcullis, Reply

KEYS = "/api/auth/keys"
TOKENS = "/api/v1/mcp-tokens"
ROLES = "/api/auth/roles"
_NUMBERS = itertools.count(1)


def anybody(kind: str = "service") -> str:
    """Return a principal that no other test knows."""
    return f"{kind}:somebody-{next(_NUMBERS)}"


@dataclass(frozen=True, slots=True)
class Clerk:
    """Somebody at the admin API, with one credential in one header."""

    gateway: Portcullis
    header: dict[str, str]

    @classmethod
    def with_key(cls, gateway: Portcullis, key: str) -> Clerk:
        """Return whoever holds an API key."""
        return cls(gateway, {"X_API_Key": key})

    @classmethod
    def with_token(cls, gateway: Portcullis, token: str) -> Clerk:
        """Return whoever holds a JWT or a tenant token."""
        return cls(gateway, {"Authorization": f"Bearer {token}"})

    async def get(self, path: str, **headers: str) -> Reply:
        """Get."""
        return await self.gateway.http("GET", path, **self.header, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        """Post."""
        return await self.gateway.http("POST", path, body, **self.header, **headers)

    async def delete(self, path: str) -> Reply:
        """Delete."""
        return await self.gateway.http("DELETE", path, **self.header)

    async def made(self, path: str, **body: Any) -> dict[str, Any]:
        """Post what must succeed everywhere, and return the answer's document."""
        reply = await self.post(path, body)
        assert reply.status in (200, 201), (reply.status, reply.body)
        document: dict[str, Any] = reply.json
        return document

    async def key(self, principal: str | None = None, **body: Any) -> dict[str, Any]:
        """Make a key."""
        return await self.made(KEYS, principal=principal or anybody(), **{"name": "test", **body})

    async def all(self, path: str, name: str, limit: int = 200) -> list[dict[str, Any]]:
        """Return every entry of a list, page by page."""
        joint = "&" if "?" in path else "?"
        found, cursor = [], ""
        while True:
            reply = await self.get(f"{path}{joint}limit={limit}{cursor}")
            assert reply.status == 200, reply
            found += reply.json[name]
            if reply.json["next"] is None:
                return found
            cursor = f"&cursor={reply.json['next']}"


def root(world: World) -> Clerk:
    """Return the admin of everything."""
    return Clerk.with_key(world.gateway, world.admin_key)


def person(world: World, tenant: str | None, name: str | None = None, **claims: Any) -> Clerk:
    """Return a person with a JWT of a tenant."""
    subject = (name or anybody("user")).removeprefix("user:")
    return Clerk.with_token(world.gateway, world.token(tenant, sub=subject, **claims))


async def holder(world: World, role: str | None, tenant: str | None = None, principal: str | None = None) -> Clerk:
    """Return whoever holds a new key with a role of its own."""
    made = await root(world).key(principal, role=role, tenant_id=tenant)
    return Clerk.with_key(world.gateway, made["key"])
