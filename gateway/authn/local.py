"""The one agent that a process was started for: nothing it says proves who it is, and nothing can change it."""

from __future__ import annotations

from gateway.model import CredentialKind, Principal

SUBJECT = "service:stdio"


def local_agent(tenant: str) -> Principal:
    """Return whom the agent on this process's own standard streams acts for.

    Whoever could start the process chose the tenant; no request, header or credential leads here.
    """
    return Principal(subject=SUBJECT, kind=CredentialKind.LOCAL, tenant=tenant)
