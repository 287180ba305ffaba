"""Streamable HTTP as a client: one message out, one answer in, everything bounded, no redirect followed."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from gateway.config.servers import is_own_header
from gateway.errors import UpstreamFailed
from gateway.mcp.answers import Answer, ServerRequest, Unusable, parse
from gateway.mcp.headers import SESSION
from gateway.mcp.sse import Events, TooLong
from gateway.net import AddressRefused, RedirectRefused
from gateway.upstream import outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.upstream.errands import Errands
    from gateway.upstream.target import Target

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024

_OWN_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
# The deadline is the caller's: it spans probing, handshake and call, which no single request knows.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_TOO_LARGE = f"answered more than {MAX_ANSWER_BYTES // 1024 // 1024} MiB"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `answer` is None where the body is no JSON-RPC answer; `session` is the id that came along."""

    status: int
    answer: Answer | None = None
    session: str | None = None


class Endpoint:
    """One server's address; raises UpstreamFailed for whatever is not an HTTP answer of bounded size."""

    def __init__(self, target: Target, session: aiohttp.ClientSession, errands: Errands) -> None:
        self._server = target.server
        self._url = URL(target.endpoint)
        self._session = session
        self._errands = errands
        configured = {name: value for name, value in target.headers.items() if not is_own_header(name)}
        self._headers = {**configured, **_OWN_HEADERS}

    async def ask(self, id_: int, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post request `id_` and return its answer."""
        with self._failures():
            response = await self._post(body, headers)
            try:
                return await self._reply(response, id_, headers)
            except BaseException:
                # Closing tells a modern server to stop working on it (2026-07-28, patterns/cancellation).
                response.close()
                raise

    async def tell(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post what wants no answer; what the server thinks of it is not asked."""
        with self._failures():
            (await self._post(body, headers)).close()

    async def courtesy(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post what wants no answer and what may well get lost."""
        with suppress(UpstreamFailed):
            await self.tell(body, headers)

    async def leave(self, headers: Mapping[str, str]) -> None:
        """End a session; a server that does not care for that is left alone."""
        with suppress(UpstreamFailed), self._failures():
            request = self._session.delete(
                self._url, headers={**self._headers, **headers}, allow_redirects=False, timeout=_NO_TIMEOUT
            )
            (await request).close()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        return await self._session.post(
            self._url, data=body, headers={**self._headers, **headers}, allow_redirects=False, timeout=_NO_TIMEOUT
        )

    async def _reply(self, response: aiohttp.ClientResponse, id_: int, headers: Mapping[str, str]) -> Reply:
        status, session = response.status, response.headers.get(SESSION)
        if 300 <= status < 400:
            raise Unusable("answered with a redirect, which is not followed")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Unusable("answered compressed, unasked")
        if status >= 400:
            return Reply(status, await _error_answer(response, id_), session)
        if response.content_type == "text/event-stream":
            return Reply(status, await self._streamed(response, id_, headers), session)
        body = await _read(response, MAX_ANSWER_BYTES)
        if response.content_type != "application/json":
            raise Unusable("did not answer with JSON")
        answer = parse(body, id_)
        if isinstance(answer, ServerRequest):
            raise Unusable("answered with a request of its own")
        return Reply(status, answer, session)

    async def _streamed(self, response: aiohttp.ClientResponse, id_: int, headers: Mapping[str, str]) -> Answer:
        events, total = Events(MAX_ANSWER_BYTES), 0
        async for chunk in response.content.iter_any():
            total += len(chunk)
            # Chatter that never comes to an answer is no better than one event that never ends.
            if total > MAX_ANSWER_BYTES:
                raise TooLong
            for data in events.feed(chunk):
                answer = self._heard(data, id_, headers)
                if answer is not None:
                    # The end of the stream is a packet away, and reading it lets the connection be used again.
                    if not self._errands.run(_drain(response)):
                        response.close()
                    return answer
        raise Unusable("broke off before it answered")

    def _heard(self, data: bytes, id_: int, headers: Mapping[str, str]) -> Answer | None:
        message = parse(data, id_)
        if isinstance(message, Answer):
            return message
        if message.id is not None:
            self._errands.run(self.courtesy(outgoing.refusal(message.id, message.method), headers))
        return None

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, OSError, Unusable, TooLong) as error:
            raise UpstreamFailed(self._server, _why(error)) from error


def _why(error: Exception) -> str:
    match error:
        case Unusable() | RedirectRefused():
            return str(error)
        case TooLong():
            return _TOO_LARGE
        case aiohttp.ClientConnectorDNSError() if not isinstance(error.os_error, AddressRefused):
            return "its name does not resolve"
        case aiohttp.ClientSSLError():
            return "its certificate is not accepted"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, AddressRefused):
            return "its address is not one to connect to"
        case ConnectionRefusedError() | aiohttp.ClientConnectorError():
            return "cannot be reached"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | ConnectionError():
            return "broke off before it answered"
        case aiohttp.ClientResponseError():
            return "does not speak HTTP"
        case _:
            return "cannot be reached"


async def _error_answer(response: aiohttp.ClientResponse, id_: int) -> Answer | None:
    """Return the JSON-RPC error in an HTTP error, if it is one about this very request."""
    try:
        message = parse(await _read(response, MAX_ERROR_BYTES), id_)
    except (Unusable, TooLong):
        response.close()
        return None
    return message if isinstance(message, Answer) and message.error else None


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if (response.content_length or 0) > max_bytes:
        raise TooLong
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise TooLong
    return bytes(body)


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        await _read(response, MAX_ERROR_BYTES)
    except (aiohttp.ClientError, OSError, TooLong):
        pass
    finally:
        response.close()
