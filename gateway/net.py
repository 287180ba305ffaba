"""Outgoing connections: a session that connects to admitted addresses (`addresses.py`) and to no other.

The rule is applied twice to every connection: to all answers for a name, where one bad answer refuses the name, and
to the address that is connected to in the end, because literal addresses never pass through a resolver.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.addresses import Addresses, AddressRefused, is_loopback

if TYPE_CHECKING:
    from aiohttp.client_middlewares import ClientHandlerType


class RedirectRefused(aiohttp.ClientError):
    """The server answered 3xx; it is never followed, because credentials and bodies would go along."""


class FetchFailed(Exception):
    """A document could not be had; `status` is the HTTP status where the server answered one, else None."""

    def __init__(self, why: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(why)


def require_safe_url(url: str, *, plain: bool = False) -> URL:
    """Return the parsed URL; FetchFailed unless https (or plain http to loopback, or anywhere with `plain`)."""
    try:
        parsed = URL(url)
    except ValueError as error:
        raise FetchFailed(f"not a URL: {url!r}") from error
    if parsed.user is not None or parsed.password is not None or parsed.fragment or not parsed.host:
        raise FetchFailed(f"a URL with a user, a fragment or no host: {parsed.host!r}")
    if parsed.scheme == "https" or (parsed.scheme == "http" and (plain or is_loopback(parsed.host))):
        return parsed
    raise FetchFailed(f"not an https URL: {parsed}")


class GuardedResolver(AbstractResolver):
    """Refuses a name when any of its addresses is refused, because the next connection may pick that one."""

    def __init__(self, addresses: Addresses, inner: AbstractResolver) -> None:
        self._addresses = addresses
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return every address of the name, or raise AddressRefused."""
        answers = await self._inner.resolve(host, port, family)
        for answer in answers:
            if not self._addresses.admit(answer["host"]):
                raise AddressRefused(f"{host} resolves to {answer['host']}, which is not an address to connect to")
        return answers

    async def close(self) -> None:
        """Close the resolver underneath."""
        await self._inner.close()


def guarded_connector(
    addresses: Addresses,
    *,
    resolver: AbstractResolver | None = None,
) -> aiohttp.TCPConnector:
    """Return a connector that opens sockets to admitted addresses only; needs a running loop."""

    def open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, proto, _, where = info
        if not addresses.admit(str(where[0])):
            raise AddressRefused(f"{where[0]} is not an address to connect to")
        return socket.socket(family, kind, proto)

    return aiohttp.TCPConnector(
        resolver=GuardedResolver(addresses, resolver or aiohttp.ThreadedResolver()),
        socket_factory=open_socket,
    )


async def refuse_redirects(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Client middleware: a 3xx answer raises RedirectRefused before aiohttp looks at its Location."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise RedirectRefused(f"answered {response.status}, and redirects are not followed")
    return response


def guarded_session(
    addresses: Addresses,
    *,
    resolver: AbstractResolver | None = None,
    timeout: aiohttp.ClientTimeout | None = None,
) -> aiohttp.ClientSession:
    """Return a session that connects to admitted addresses only, follows no redirect, keeps no cookie, reads no
    proxy or netrc settings, and neither asks for nor undoes compression; needs a running loop.
    """
    return aiohttp.ClientSession(
        connector=guarded_connector(addresses, resolver=resolver),
        headers={"Accept-Encoding": "identity", "User-Agent": "portcullis"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        middlewares=(refuse_redirects,),
        timeout=timeout or aiohttp.ClientTimeout(total=60),
    )


async def fetch_json(
    session: aiohttp.ClientSession, url: str, *, max_bytes: int, timeout: float, plain: bool = False
) -> Any:
    """GET a JSON document of at most `max_bytes` within `timeout` seconds; raises FetchFailed and nothing else."""
    safe = require_safe_url(url, plain=plain)
    try:
        async with (
            asyncio.timeout(timeout),
            session.get(safe, headers={"Accept": "application/json"}, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"{safe} answered {response.status}", response.status)
            body = await _read(response, max_bytes)
        return json.loads(body)
    except RedirectRefused as error:
        raise FetchFailed(f"{safe} {error}", 300) from error
    except TimeoutError as error:
        raise FetchFailed(f"{safe} gave no answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise FetchFailed(f"{safe} cannot be reached: {error}") from error
    except (ValueError, RecursionError) as error:
        raise FetchFailed(f"{safe} did not answer JSON", 200) from error


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchFailed(f"{response.url} answered compressed, unasked", response.status)
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > max_bytes:
            raise FetchFailed(f"{response.url} answered more than {max_bytes} bytes", response.status)
    return bytes(body)
