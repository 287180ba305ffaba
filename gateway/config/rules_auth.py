"""Rules of `auth`: who may vouch for whom, and which roles there are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.addresses import is_loopback
from gateway.config.findings import Finding
from gateway.config.schema import TrustedIssuer
from gateway.permissions import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.document import Path
    from gateway.config.schema import Auth, Config, Oidc

OIDC: Path = ("auth", "oidc")
ENABLED: Path = (*OIDC, "enabled")
ISSUERS: Path = (*OIDC, "issuers")
ROLES: Path = ("auth", "roles")
NO_ROLE = "none"


def auth_findings(config: Config) -> Iterator[Finding]:
    """Yield every rule that `auth` breaks."""
    yield from _forms(config.auth.oidc)
    yield from _issuers(config.auth.oidc)
    yield from _roles(config.auth)
    yield from _assignments(config.auth)


def issuers_at(oidc: Oidc) -> Iterator[tuple[Path, TrustedIssuer]]:
    """Yield each issuer with where it stands."""
    if oidc.issuers:
        yield from (((*ISSUERS, index), one) for index, one in enumerate(oidc.issuers))
    else:
        yield OIDC, oidc


def _forms(oidc: Oidc) -> Iterator[Finding]:
    """Refuse one issuer beside several: which of them would the audience be of?"""
    for key in sorted(oidc.model_fields_set & TrustedIssuer.model_fields.keys()) if oidc.issuers else ():
        yield Finding((*OIDC, key), "belongs to one issuer; write it in the entries of issuers", (ISSUERS,))


def _issuers(oidc: Oidc) -> Iterator[Finding]:
    if not oidc.enabled:
        return
    several = len(oidc.issuers) > 1
    first: dict[str, int] = {}
    for index, (at, one) in enumerate(issuers_at(oidc)):
        yield from _issuer(one, at, audience=oidc.resource_uri)
        if several and not one.tenants:
            message = "is missing; of several issuers each needs the tenants that it may speak for"
            yield Finding((*at, "tenants"), message, (ISSUERS,))
        if one.issuer and first.setdefault(one.issuer, index) != index:
            yield Finding((*at, "issuer"), f"{one.issuer} is there twice; keep one")


def _issuer(one: TrustedIssuer, at: Path, *, audience: str | None) -> Iterator[Finding]:
    if one.issuer is None:
        yield Finding((*at, "issuer"), "is missing; auth.oidc needs the address of its issuer", (ENABLED,))
    if one.audience is None and audience is None:
        message = "needs audience or resource_uri, so that a token for another service is refused"
        yield Finding(at, message, (ENABLED, (*at, "audience"), (*OIDC, "resource_uri")))
    for key, url in (("issuer", one.issuer), ("jwks_uri", one.jwks_uri)):
        if url and not one.allow_insecure_issuer and not _is_private(url):
            message = f"{url} is neither https nor loopback; use https, or set allow_insecure_issuer: true beside it"
            yield Finding((*at, key), message, ((*at, "allow_insecure_issuer"),))


def _is_private(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _roles(auth: Auth) -> Iterator[Finding]:
    for name in auth.roles:
        if name in BUILT_IN:
            yield Finding((*ROLES, name), "comes with the product and cannot be changed; choose another name")
        elif name == NO_ROLE:
            yield Finding((*ROLES, name), "stands for no role in default_role; choose another name")
    if auth.default_role is not None and auth.default_role not in auth.every_role:
        message = f"{_unknown(auth, auth.default_role)}, {NO_ROLE}"
        yield Finding(("auth", "default_role"), message, (ROLES,))


def _unknown(auth: Auth, role: str) -> str:
    return f"{role!r} is not one of: {', '.join(auth.every_role)}"


def _assignments(auth: Auth) -> Iterator[Finding]:
    trusted = {one.issuer for one in auth.oidc.trusted}
    for index, one in enumerate(auth.role_assignments):
        at: Path = ("auth", "role_assignments", index)
        if one.role not in auth.every_role:
            yield Finding((*at, "role"), _unknown(auth, one.role), (ROLES,))
        if one.principal.startswith("service:"):
            if one.issuer:
                yield Finding((*at, "issuer"), "a service has a key and no issuer; remove it")
        elif one.issuer is None and len(trusted) > 1:
            message = "needs issuer: equal names from two issuers are different principals"
            yield Finding(at, message, (ISSUERS,))
