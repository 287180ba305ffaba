"""How the admin API answers: what was changed and who enforces it, or what is shown."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.replication import Applied

JSON = "application/json"
# What is made once and shown once must not be found in a cache (RFC 9111, section 5.2.2.5).
SECRET = {"Cache-Control": "no-store"}


class Done(Protocol):
    """A mutation that is in the ledger: at which revision, and which replicas enforce it by now."""

    @property
    def revision(self) -> int:
        """The revision."""

    @property
    def applied(self) -> Applied | None:
        """Who enforces it; None where nobody was asked."""


def changed(
    document: Mapping[str, Any],
    done: Done,
    headers: Mapping[str, str] | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> web.Response:
    """Return the status when every counted replica enforces the revision, else 202 with the same body."""
    told = {**(headers or {}), "Portcullis-Revision": f"r{done.revision}", "Portcullis-Applied": str(done.applied)}
    everywhere = done.applied is not None and done.applied.everywhere
    code = status if everywhere else HTTPStatus.ACCEPTED
    return web.Response(status=code, body=orjson.dumps(document), content_type=JSON, headers=told)


def shown(document: Mapping[str, Any]) -> web.Response:
    """Return what was asked for; it depends on who asks."""
    return web.Response(body=orjson.dumps(document), content_type=JSON, headers={"Cache-Control": "private, no-store"})
