"""Whose a process is: nobody else's requests ever reach it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import CredentialKind

if TYPE_CHECKING:
    from gateway.model import Principal


@dataclass(frozen=True, slots=True)
class Owner:
    """A tenant; or, of callers without one, whoever was authenticated, or all those together who were not."""

    tenant: str | None = None
    kind: str | None = None
    issuer: str | None = None
    subject: str | None = None

    @classmethod
    def of(cls, principal: Principal) -> Owner:
        """Return the owner of the processes that a verified caller may use."""
        if (tenant := principal.for_tenant) is not None:
            return cls(tenant=tenant)
        if principal.kind is CredentialKind.ANONYMOUS:
            return cls()
        return cls(kind=principal.kind, issuer=principal.issuer, subject=principal.subject)

    def __str__(self) -> str:
        if self.tenant is not None:
            return f"tenant {self.tenant}"
        return self.subject or "callers without a name"
