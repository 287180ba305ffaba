"""Presenting tokens, and what must come of the bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.authn import Authn, Presented
from gateway.errors import InvalidCredential
from gateway.model import CredentialKind

if TYPE_CHECKING:
    from gateway.model import Principal


async def admit(authn: Authn, token: str, endpoint: str | None = None) -> Principal:
    """Return whom a bearer token speaks for."""
    return await authn.authenticate(Presented(token, "bearer"), endpoint)


async def refused(authn: Authn, token: str, endpoint: str | None = None) -> None:
    """Demand that a bearer token is an invalid JWT, and nothing worse."""
    with pytest.raises(InvalidCredential) as caught:
        await admit(authn, token, endpoint)
    assert caught.value.kind == CredentialKind.JWT
