"""Rules between tenants: nothing that names one of them may name two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config.document import Path as Keys
    from gateway.config.tenants import Tenant

    Numbered = tuple[int, Tenant]

TENANTS: Keys = ("tenants",)


def tenant_findings(tenants: Sequence[Numbered]) -> Iterator[Finding]:
    """Yield every rule that tenants break; each comes with its place in the list."""
    yield from _twice(tenants)
    yield from _folders(tenants)
    yield from _prefixes(tenants)


def _twice(tenants: Sequence[Numbered]) -> Iterator[Finding]:
    ids: dict[str, str] = {}
    namespaces: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for index, tenant in tenants:
        if tenant.id in ids:
            yield Finding((*TENANTS, index, "id"), f"{tenant.id} is defined twice; keep one")
        ids[tenant.id] = tenant.id
        name = tenant.namespace
        if name is not None and (other := namespaces.setdefault(name, tenant.id)) != tenant.id:
            yield Finding((*TENANTS, index, "namespace"), f"{name} is the namespace of {other} too")
        for number, key in enumerate(tenant.api_keys):
            if key.key_hash in hashes:
                whose = hashes[key.key_hash]
                message = f"is a key of {whose} too; a key has one tenant, so make another"
                yield Finding((*TENANTS, index, "api_keys", number, "key_hash"), message)
            hashes[key.key_hash] = tenant.id


def _folders(tenants: Sequence[Numbered]) -> Iterator[Finding]:
    """Refuse folders of secrets that lie in one another: the outer tenant could read the inner one's."""
    found = [(Path(os.path.normpath(one.secrets_dir)), index, one.id) for index, one in tenants if one.secrets_dir]
    outer: tuple[Path, str] | None = None
    for folder, index, id_ in sorted(found, key=lambda one: (one[0].parts, one[1])):
        if outer and folder.is_relative_to(outer[0]):
            message = f"lies in {outer[0]}, where the secrets of {outer[1]} are; give each its own"
            yield Finding((*TENANTS, index, "secrets_dir"), message)
        else:
            outer = (folder, id_)


def _prefixes(tenants: Sequence[Numbered]) -> Iterator[Finding]:
    """Refuse prefixes of variables that begin with one another."""
    found = [(one.env_prefix, index, one.id) for index, one in tenants if one.env_prefix is not None]
    outer: tuple[str, str] | None = None
    for prefix, index, id_ in sorted(found):
        if outer and prefix.startswith(outer[0]):
            message = f"begins with {outer[0]}, which is the prefix of {outer[1]}; give each its own"
            yield Finding((*TENANTS, index, "env_prefix"), message)
        else:
            outer = (prefix, id_)
