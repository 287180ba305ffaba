"""Keys of tenants.yaml: configuration knows each by its hash alone, and it is gone with the line that names it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.model import CredentialKind, CredentialRef, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.tenants import Tenant

SHOWN_DIGITS = 12
PREFIX = "sha256:"


class TenantKey(NamedTuple):
    """Whose key a hash is; `name` is what the tenant's file calls it, if anything."""

    tenant: str
    name: str | None = None


def tenant_keys(tenants: Iterable[Tenant]) -> Mapping[bytes, TenantKey]:
    """Return every key of the configured tenants by its digest; a suspended tenant's too, which policy turns away."""
    return {digest_of(key.key_hash): TenantKey(tenant.id, key.name) for tenant in tenants for key in tenant.api_keys}


def digest_of(key_hash: str) -> bytes:
    """Return the digest that `sha256:<64 hexadecimal digits>` writes."""
    return bytes.fromhex(key_hash.removeprefix(PREFIX))


@lru_cache(maxsize=4096)
def principal_of_key(key: TenantKey, digest: bytes) -> Principal:
    """Return whom a key of this hash speaks for: a service of its tenant, and of no other."""
    shown = digest.hex()[:SHOWN_DIGITS]
    return Principal(
        subject=f"service:{key.tenant}/{key.name or shown}",
        kind=CredentialKind.TENANT_KEY,
        tenant=key.tenant,
        credential=CredentialRef(f"k_{shown}"),
    )
