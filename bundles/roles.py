"""Roles and what binds them, as the role layer of policy reads them: `{principal: {scope: {role: {issuer: held}}}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.permissions import GRANTABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROUP = "group:"
# Stands for every issuer, and for credentials that come from none.
ANY_ISSUER = ""
Bindings = dict[str, dict[str, dict[str, dict[str, bool]]]]


def roles(granted: Mapping[str, Iterable[str]]) -> dict[str, dict[str, bool]]:
    """Return every role with all that it grants: a wildcard stands beside everything that it covers."""
    return {
        role: dict.fromkeys(sorted({one for grant in grants for one in covered(grant)}), True)
        for role, grants in granted.items()
    }


def covered(grant: str) -> Iterable[str]:
    """Return what a role grants that has this in its list: a permission, or a wildcard and everything below it."""
    if grant == "*":
        return GRANTABLE
    return (grant, *(one for one in GRANTABLE if grant.endswith(":*") and one.startswith(grant.removesuffix("*"))))


def bindings(assigned: Iterable[tuple[str, str, str, str | None, bool]]) -> tuple[Bindings, Bindings]:
    """Return what binds subjects, and what binds groups by their bare names.

    Each assignment is a principal, a role, a scope, an issuer or None, and whether it is held: a revoked one stays as
    not held, for who was once assigned something never falls back to the default role.
    """
    subjects: Bindings = {}
    groups: Bindings = {}
    for principal, role, scope, issuer, held in assigned:
        of_group = principal.startswith(GROUP)
        bound = (groups if of_group else subjects).setdefault(
            principal.removeprefix(GROUP) if of_group else principal, {}
        )
        issuers = bound.setdefault(scope, {}).setdefault(role, {})
        issuers[issuer or ANY_ISSUER] = held or issuers.get(issuer or ANY_ISSUER, False)
    return subjects, groups
