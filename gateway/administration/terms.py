"""What of the configuration administration is held to: which roles, tenants and issuers there are, and who is admin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.audit import DAY_MS
from gateway.config import global_admins, known_tenants
from gateway.errors import InvalidBody, NotFound
from gateway.ids import Mode
from gateway.ledger.values import Admins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config import Config
    from gateway.config.schema import RoleAssignment

GLOBAL = "global"
TENANT = "tenant:"
DEFAULT_DAYS = 90
MAX_DAYS = 3650
Mistakes = tuple[tuple[str, str], ...]


def scope_of(tenant: str | None) -> str:
    """Return the scope of a tenant, or of all of them."""
    return GLOBAL if tenant is None else TENANT + tenant


def tenant_of(scope: str) -> str | None:
    """Return the tenant that a scope is of, None for everywhere."""
    return None if scope == GLOBAL else scope.removeprefix(TENANT)


@dataclass(frozen=True, slots=True)
class Terms:
    """What administration is held to. `tenants` of None means that nobody knows which there are.

    `default_everywhere` says that the default role counts without a tenant, too.
    """

    roles: Mapping[str, tuple[str, ...]]
    tenants: frozenset[str] | None
    issuers: tuple[str, ...]
    assigned: tuple[RoleAssignment, ...]
    default_role: str | None
    default_everywhere: bool
    allow_non_expiring: bool
    admins: Admins

    @classmethod
    def of(cls, config: Config, *, tenants_known: bool = True) -> Terms:
        """Return the terms of a configuration."""
        auth = config.auth
        return cls(
            roles=auth.every_role,
            tenants=known_tenants(config) if tenants_known else None,
            issuers=tuple(one.issuer for one in auth.oidc.trusted if one.issuer),
            assigned=auth.role_assignments,
            default_role=auth.default_role,
            default_everywhere=config.tool_access.mode is Mode.EGRESS,
            allow_non_expiring=auth.api_key.allow_non_expiring,
            admins=Admins(global_admins(config), auth.admin_roles),
        )

    def require_tenant(self, tenant: str | None) -> None:
        """Raise NotFound for a tenant that there is not."""
        if tenant is not None and self.tenants is not None and tenant not in self.tenants:
            raise NotFound(f"no tenant {tenant!r}")

    def role_mistakes(self, role: str | None) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with a role that is named."""
        if role is not None and role not in self.roles:
            yield "role", f"is none of the roles: {', '.join(sorted(self.roles))}"

    def expiry_mistakes(self, lifetime: Lifetime, now: int) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with how long something is to live; `now` in milliseconds."""
        if lifetime.at is not None and lifetime.days is not None:
            yield "expires_at", "and expires_in_days are both there; keep one"
        elif lifetime.at is not None and lifetime.at <= now:
            yield "expires_at", "is over already (milliseconds since 1970)"
        elif lifetime.at is not None and lifetime.at > now + MAX_DAYS * DAY_MS:
            yield "expires_at", f"is more than {MAX_DAYS} days from now (milliseconds since 1970)"
        if lifetime.days == 0 and not self.allow_non_expiring:
            yield "expires_in_days", "0 means never, which needs auth.api_key.allow_non_expiring in the configuration"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a credential is to live: so many days, 0 for ever, or until a time in milliseconds; else 90 days."""

    days: int | None = None
    at: int | None = None

    def end(self, now: int) -> int | None:
        """Return when it ends for what is made `now`, both in milliseconds; None for never."""
        if self.at is not None:
            return self.at
        days = DEFAULT_DAYS if self.days is None else self.days
        return now + days * DAY_MS if days else None


USUAL = Lifetime()


def require_none(mistakes: Iterator[tuple[str, str]]) -> None:
    """Raise InvalidBody with these mistakes, if there are any."""
    found = tuple(mistakes)
    if found:
        raise InvalidBody(found)
