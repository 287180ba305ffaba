"""A running gateway as the command line speaks to it: by its admin API, with a key out of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
import click
import orjson
from yarl import URL

from gateway.addresses import is_loopback
from gateway.cli.common import warn
from gateway.endpoints.contract import Contract
from gateway.errors import GatewayError, InvalidBody, LastAdmin, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

TIMEOUT_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 << 20
OTHERS_MAY_READ = 0o077


class NotAdmitted(GatewayError):
    """The gateway does not let this key do this."""


KINDS: Mapping[int, type[GatewayError]] = {404: NotFound, 409: LastAdmin, 503: Unavailable}


def key_in(server: str | None, key_file: Path | None) -> str | None:
    """Return the key for a server, None where none is spoken to. Raises click.UsageError for half of both."""
    if (server is None) != (key_file is None):
        raise click.UsageError("--server and --key-file belong together")
    if server is None or key_file is None:
        return None
    parts = urlsplit(server)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise click.UsageError("--server must be https, or http on this machine: the key would be there to read")
    if key_file.stat().st_mode & OTHERS_MAY_READ:
        warn(f"others on this machine may read {key_file}; chmod 600 it")
    return key_file.read_text().strip()


class Remote:
    """The admin API of a gateway, as a session; entered, it has a connection."""

    page = 200

    def __init__(self, server: str, key: str) -> None:
        self._server = server.rstrip("/")
        self._key = key
        self._contract = Contract.read()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def do(
        self, operation: str, body: Mapping[str, Any], query: Mapping[str, Any], at: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Do an operation; what it changed is told with `revision` and `applied`.

        Raises the error that an operation on the ledger would, Unavailable also where there is no gateway, and
        NotAdmitted.
        """
        method, path = self._contract.place_of(operation)
        for name, value in (at or {}).items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        url = URL(self._server + path, encoded=True)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        data = orjson.dumps(body) if method == "POST" else None
        sent = {name: str(value) for name, value in query.items()}
        try:
            async with self._session.request(
                method, url, params=sent, data=data, headers=headers, allow_redirects=False
            ) as response:
                return _told(response, await response.content.read(MAX_ANSWER_BYTES))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{self._server} cannot be reached: {error or 'it does not answer'}") from error


def _told(response: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or response.status >= 300:
        raise _refusal(response.status, document)
    if (revision := response.headers.get("Portcullis-Revision")) is None:
        return document
    applied = response.headers.get("Portcullis-Applied")
    if response.status == 202:
        warn(f"not every gateway enforces it yet: {applied}")
    return {**document, "revision": revision, "applied": applied}


def _refusal(status: int, document: Any) -> GatewayError:
    """Return what the gateway says against it, as the error that the ledger would have raised here."""
    told = document if isinstance(document, dict) else {}
    detail = str(told.get("detail") or "nothing that can be read")
    if mistakes := told.get("errors"):
        return InvalidBody(tuple((str(one.get("field")), str(one.get("detail"))) for one in mistakes))
    kind = KINDS.get(status)
    return kind(detail) if kind else NotAdmitted(f"the gateway answers {status}: {detail}")
